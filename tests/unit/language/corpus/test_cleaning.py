"""Cleaning: what goes, what is refused, and that nothing can break it."""

from __future__ import annotations

from typing import Any

import pytest

from kalibre.core.errors import SettingsError, SourceFormatError
from kalibre.language.corpus.cleaning import Rules, clean, line
from kalibre.language.corpus.decoding import decode

NEWS = "Merkez Bankası politika faizini değiştirmedi, kararın ardından dolar kuru sınırlı geriledi."


@pytest.mark.parametrize(
    "line",
    [
        "Tüm hakları saklıdır.",
        "© 2024 Örnek Haber",
        "Haberin devamı için tıklayınız",
        "Sitemizde çerezler kullanılmaktadır, çerez politikası için bakınız",
        "Abone ol",
        "PAYLAŞ",
        "İlgili haberler",
        "Bizi Twitter'da takip edin",
        "Yorum yap",
    ],
)
def test_boilerplate_goes(line: str):
    assert clean(f"{NEWS}\n{line}\n{NEWS[:40]} bugün", Rules()).text == f"{NEWS}\n{NEWS[:40]} bugün"


@pytest.mark.parametrize(
    "line", ["Paylaşım ekonomisi büyüyor ve şirketler buna göre yatırım yapıyor.", "Reklamcılık sektörü büyüdü."]
)
def test_sentences_stay(line: str):
    assert line in clean(f"{NEWS}\n{line}", Rules()).text


def test_repeated_lines_go_and_double_encoding_is_repaired():
    broken = NEWS.encode().decode("latin-1")
    cleaned = clean(f"{broken}\n\n\n\n{broken}", Rules(repeated=0.6))
    assert cleaned.text == NEWS
    assert cleaned.language == "tr"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "short"),
        ("Kısa haber", "short"),
        ("The central bank kept its policy rate unchanged and the market was calm after the decision.", "language en"),
        ("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20", "few letters"),
        ("🚀" * 50, "short"),
        ("borsa " * 60, "repetitive"),
        ("\n".join([NEWS] * 10), "repetitive"),
        ("x" * 300 + " " + "y" * 300 + " a b c d e f g", "no words"),
        ("\x00\x01\x02" * 200, "not text"),
        ("a" * 5_000_001, "long"),
        ("\ud800" * 100, "not text"),
    ],
)
def test_refused_with_the_reason(text: str, reason: str):
    cleaned = clean(text, Rules())
    assert cleaned.text == ""
    assert cleaned.refused == reason


def test_other_languages_by_choice():
    text = "The central bank kept its policy rate unchanged and the market was calm after the decision."
    assert clean(text, Rules(languages=("tr", "en"))).language == "en"


@pytest.mark.parametrize(
    ("content", "declared", "text"),
    [
        ("Şükrü".encode(), "iso-8859-9", "Şükrü"),
        ("Şükrü".encode("cp1254"), "", "Şükrü"),
        ("Şükrü".encode("cp1254"), "utf-8", "Şükrü"),
        ("Şükrü".encode("utf-16"), "", "Şükrü"),
        ("Ünlü".encode("cp857"), "cp857", "Ünlü"),
        (b'<?xml encoding="cp857"?>' + "Ünlü".encode("cp857"), "", '<?xml encoding="cp857"?>Ünlü'),
        (b"", "nonsense", ""),
        *(
            ("Şükrü".encode("cp1254"), name, "Şükrü")
            for name in ("base64", "rot13", "idna", "undefined", "zip", "utf-7")
        ),
        ("Şükrü".encode("cp1254") + b"\x81", "no-such-code", "Şükrü\ufffd"),
        ("Kâr arttı, Ş".encode("utf-16-le"), "", "Kâr arttı, Ş"),
        ("Kâr arttı, Ş".encode("utf-16-be"), "", "Kâr arttı, Ş"),
        ("Şükrü Ğ".encode()[:-1], "", "Şükrü \ufffd"),
        ("Ğ\nŞ\n".encode() + "Şükrü\n".encode("cp1254"), "iso-8859-9", "Ğ\nŞ\nŞükrü\n"),
        ("Ğ ".encode() * 50 + b"\xff" + "Ş".encode(), "", "Ğ " * 50 + "\ufffdŞ"),
    ],
)
def test_bytes_become_text(content: bytes, declared: str, text: str):
    assert decode(content, declared) == text


@pytest.mark.parametrize(
    "content",
    [
        b"\x00" * 100,
        b"\xff\xfea",
        b"PK\x03\x04" + b"\x00" * 40,
        b"%PDF-1.7 metin",
        "{\\rtf1 Şirket}".encode(),
        bytes(range(1, 256)) * 20,
    ],
)
def test_binary_is_no_text(content: bytes):
    with pytest.raises(SourceFormatError):
        decode(content)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"languages": ()}, "languages: an empty list"),
        ({"languages": ("tur",)}, "languages: 'tur'"),
        ({"shortest_words": 0}, "shortest_words = 0"),
        ({"longest_chars": 10**9}, "longest_chars = 1000000000"),
        ({"letters": 60.0}, r"letters = 60\.0 is no share"),
        ({"repeated": float("nan")}, "repeated = nan"),
    ],
)
def test_rules_have_bounds(rules: dict[str, Any], words: str):
    with pytest.raises(SettingsError, match=words):
        Rules(**rules)


def test_titles_are_repaired_and_brought_to_one_line():
    assert line("Åžirket\n\u202ekÃ¢rÄ±\x00") == "Şirket kârı"
    assert line("\ud800 kur") == "\ufffd kur"
    assert line("\x01" * 50) == ""
