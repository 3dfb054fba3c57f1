import time

import pytest

from kalibre.core.errors import LanguageError
from kalibre.language.text.normal import check_text, clean


@pytest.mark.parametrize(
    ("broken", "right"),
    [
        ("Ã¶ÄŸren", "öğren"),
        ("TÃ¼rkiyeâ€™nin dÄ±ÅŸ ticaret aÃ§Ä±ÄŸÄ±", "Türkiye’nin dış ticaret açığı"),
        ("TÃƒÂ¼rkiye", "Türkiye"),
        ("ÅŸirket Ä°ÅŸ BankasÄ±", "şirket İş Bankası"),
        ("KÃ–Y Ã‡AÄžRI Ä\u009eÅ\u009e", "KÖY ÇAĞRI ĞŞ"),
        ("â‚º100 ðŸš€ â€œevetâ€\x9d", "₺100 🚀 “evet”"),
        ("Ýþ Bankasý dýþ ticaret açýðýný deðerlendirdi", "İş Bankası dış ticaret açığını değerlendirdi"),
        ("T&uuml;rkiye&nbsp;b&#252;y&#252;d&#252;", "Türkiye büyüdü"),
        ("2013\x92te", "2013’te"),
        ("i̇stanbul", "istanbul"),
        ("I\u0307stanbul s\u0327u\u0308", "İstanbul şü"),
        ("\u200fTHYAO\u202e\x00 art\u00adtı\ufeff", "THYAO arttı"),
        ("a\u00a0b\u3000c\r\nd\u2028e", "a b c\nd\ne"),
        ("\ud83d\ude80 \ud800", "🚀 \ufffd"),
    ],
)
def test_what_is_broken_is_repaired(broken, right):
    assert clean(broken).text == right


@pytest.mark.parametrize(
    "text",
    [
        "Kâr, rüzgâr ve “HÂLÂ” dediler; “KÖTÜ” mü?",
        "Âşık Veysel'in sözü: “Dünya…” — «HALÂ»",
        "5 Å… ölçüldü; Ångström, Ärzte, Ñandú, São Paulo, MAÇÃ”",
        "það er ný bók",
        "Dvořák, Škoda, Łódź; ÖÄÜ",
        "İŞ BANKASI’NIN %5’lik payı ₺100 🚀 👨‍👩‍👧",
        "AT&T; R&D &lt;b&gt; Ben & Jerry's",
        "Привет, мир. 日本語 مرحبا",
    ],
)
def test_what_is_good_stays(text):
    assert clean(text).text == text


def test_the_way_back():
    text = "\u200fAÃ§Ä±k: THYAO\u00ad'nun kÃ¢rÄ±"
    cleaned = clean(text)
    start = cleaned.text.index("kârı")
    assert text[slice(*cleaned.span(start, start + 4))] == "kÃ¢rÄ±"
    start = cleaned.text.index("THYAO")
    assert text[slice(*cleaned.span(start, start + 5))].rstrip("\u00ad") == "THYAO"
    assert cleaned.span(0, len(cleaned.text))[1] == len(text)


@pytest.mark.parametrize("text", ["0Â\x08\x80", "kÃ\x00¢r", "kÃ&ZeroWidthSpace;¢r", "kÃ\u200b\x01¢rÄ\u200e±"])
def test_what_is_clean_stays_so_when_marks_parted_a_broken_letter(text):
    cleaned = clean(text)
    assert clean(cleaned.text).text == cleaned.text
    assert cleaned.span(0, len(cleaned.text)) == (0, len(text))


def test_a_letter_buried_under_marks_is_dug_out():
    assert len(clean("a" + "\u0301\u0316" * 100_000).text) < 40


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"bytes", "bytes b.bytes. is not text"),
        (None, "NoneType None is not text"),
        ("\x00\x01\x02\x03\x04\x05abc", "looks binary"),
        ("a" * 11, "cut it, at most 10 can be read"),
        (" \n ", "is blank"),
    ],
)
def test_what_cannot_be_used_is_refused(text, words):
    with pytest.raises(LanguageError, match=words):
        check_text(text, limit=10, empty=False)


def test_a_text_that_can_be_used_is_handed_through():
    assert check_text("") == ""
    assert check_text("kâr", empty=False) == "kâr"


def test_a_long_line_beside_a_damaged_one_costs_no_more_than_its_length():
    begin = time.process_time()
    assert clean("Ã¶ÄŸren\n" + "ö" * 300_000).text.startswith("öğren\nöö")
    assert time.process_time() - begin < 10, "every letter of the line was a beginning once: minutes"
