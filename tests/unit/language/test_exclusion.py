"""Test texts are kept out of training text: as they are, nearly so, inside a line, and over the end of one."""

import pytest

from kalibre.core.errors import VerificationError
from kalibre.language.exclusion import exclude, standing, verify, without

TESTS = [
    "Örnek Bankası yılın üçüncü çeyreğinde beklentilerin üzerinde kâr açıkladı",
    "Deneme Holding fabrikasındaki üretimi iki hafta süreyle durdurdu ve çalışanlarına izin verdi. "
    "Şirketin açıklamasına göre talep düştü.",
]
CLEAN = ["Hava bugün açık ve rüzgârlı olacak.\nYarın yağmur bekleniyor.", "Başka bir metin burada duruyor."]


@pytest.mark.parametrize(
    "planted",
    [
        TESTS[0],
        TESTS[0].upper().replace("İ", "i"),
        "Son dakika: " + TESTS[0] + " ve hisseler yükseldi.",
        "Önceki satır.\n" + TESTS[0].replace("üzerinde", "üstünde") + "\nSonraki satır.",
        # A sentence of a longer test text, alone in a line of its own.
        "Deneme Holding fabrikasındaki üretimi iki hafta süreyle durdurdu ve çalışanlarına izin verdi.",
        # Over the end of a line.
        "Örnek Bankası yılın üçüncü çeyreğinde\nbeklentilerin üzerinde kâr açıkladı",
    ],
)
def test_a_planted_test_text_is_dropped(planted: str) -> None:
    kept = exclude([*CLEAN, planted], TESTS)
    assert kept.lines_dropped >= 1
    assert kept.documents[: len(CLEAN)] == CLEAN
    assert "kâr açıkladı" not in "\n".join(kept.documents)
    assert "Deneme Holding fabrikasındaki" not in "\n".join(kept.documents)
    verify(kept.documents, TESTS)


def test_what_is_clean_stays_as_it_is() -> None:
    kept = exclude(CLEAN, TESTS)
    assert kept.documents == CLEAN
    assert (kept.lines_dropped, kept.lines, kept.owners) == (0, 3, [0, 1])
    assert exclude([TESTS[0], CLEAN[1]], TESTS).owners == [1]
    assert exclude([], TESTS).documents == []
    assert exclude(CLEAN, []).documents == CLEAN


def test_verify_names_what_was_left_in() -> None:
    with pytest.raises(VerificationError, match="Örnek Bankası"):
        verify([*CLEAN, "Bugün " + TESTS[0]], TESTS)


def test_a_document_of_short_lines_out_of_one_test_text_goes() -> None:
    planted = "Deneme Holding fabrikasındaki üretimi\niki hafta süreyle durdurdu ve"
    assert exclude([*CLEAN, planted], TESTS).documents == CLEAN
    with pytest.raises(VerificationError, match="Deneme Holding"):
        verify([*CLEAN, planted], TESTS)


def cut(text: str) -> list[str]:
    return [part.strip() for part in text.split(".") if part.strip()]


def test_a_text_loses_only_the_sentence_that_is_a_test() -> None:
    text = f"Hava bugün açık ve güneşli. {TESTS[0]}. Yarın yağmur bekleniyor ve rüzgâr esecek."
    (left,) = without([text], TESTS, TESTS, cut)
    assert left == "Hava bugün açık ve güneşli Yarın yağmur bekleniyor ve rüzgâr esecek"
    assert not standing([left], TESTS).places


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (TESTS[0], "alike"),
        ("Deneme Holding fabrikasındaki üretimi iki hafta süreyle durdurdu ve çalışanlarına", "inside"),
        ("Bugün " + TESTS[1] + " " + "Piyasalar ise yatay seyretti ve işlem hacmi düşük kaldı. " * 3, "holding"),
    ],
)
def test_what_stands_how_is_told_and_what_cannot_be_cut_goes(text: str, kind: str) -> None:
    found = standing([*CLEAN, text], TESTS)
    assert getattr(found, kind) == {len(CLEAN)}
    assert without([*CLEAN, text], TESTS, TESTS, lambda whole: [whole]) == [*CLEAN, ""]


def test_nothing_to_keep_out_changes_nothing() -> None:
    assert without(CLEAN, [], [], cut) == CLEAN
    assert without([], TESTS, TESTS, cut) == []
    assert standing([], []).as_dict() == {"exact or near": 0, "holding a test text": 0, "inside a test text": 0}
