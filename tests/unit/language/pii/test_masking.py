import pytest

from kalibre.core.errors import LanguageError, UsageError
from kalibre.language.pii import find, mask


def test_each_kind_becomes_its_sign():
    text = (
        "(TCKN 10000000146, VKN 4540536920) 0532 123 45 67, a@ornek.com, TR33 0006 1005 1978 6457 8413 26, 34 ABC 123"
    )
    masked = mask(text)
    assert masked.text == "(TCKN <TCKN>, VKN <VKN>) <PHONE>, <EMAIL>, <IBAN>, <PLATE>"
    assert [one.kind for one in masked.found] == ["TCKN", "VKN", "PHONE", "EMAIL", "IBAN", "PLATE"]
    assert all(text[one.start : one.end] == one.text for one in masked.found)


def test_what_masking_uncovers_is_masked_and_still_pointed_at():
    text = "yaz: a@b.com@gizli ve x@y.com(0532)123 45 67(0533)123 45 67"
    masked = mask(text)
    assert find(masked.text) == []
    assert "0533" not in masked.text
    assert all(text[one.start : one.end] == one.text for one in masked.found)


def test_a_text_without_any_stays():
    text = "Endeks 9.850,55 puana çıktı; 14.05.2023'te 2,5 milyar TL."
    assert mask(text).text is text or mask(text).text == text
    assert mask(text).found == ()


def test_a_text_made_to_uncover_ever_more_ends():
    text = "-".join(["4111111111111111"] * 300) + "".join(f"@a{k}-" for k in range(300)) + "34ABC123-" * 300
    assert find(mask(text).text) == []


@pytest.mark.parametrize("text", [b"TCKN 10000000146", None, 10000000146])
def test_what_is_no_text_is_refused_and_not_passed_through(text):
    with pytest.raises(LanguageError, match="is not text"):
        mask(text)


def test_a_kind_that_is_none_is_not_passed_over():
    with pytest.raises(UsageError, match="'TCNK' is unknown"):
        mask("TCKN 10000000146", ("TCNK",))
