"""Laws of Turkish text: places are always valid, casing never moves anything, nothing crashes or takes too long."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalibre.core.errors import LanguageError
from kalibre.language.text.amounts import find_amounts
from kalibre.language.text.assets import link
from kalibre.language.text.casing import fold, lower, title, upper
from kalibre.language.text.language_id import detect
from kalibre.language.text.normal import clean
from kalibre.language.text.sentences import split
from kalibre.language.text.stems import stem, stems
from kalibre.language.text.tickers import find_tickers
from kalibre.language.text.tokens import tokenize

PIECES = st.sampled_from(
    [
        "THYAO", "'nun", "’ın", " ", ".", ",", "%", "yüzde ",
        "5", "14", "2023", " Mayıs", " milyon", " TL", "lira", "dolar",
        "$", "€", "-", "/", "\n", "I", "İ", "ı", "i\u0307", "Ã¶", "ÄŸ", "\u200f", "\x92",
        "A.Ş.", "Dr.", "“", "”", "(", "[", "]",
        "bin ", "yüz", "buçuk", "saat ", "14.00", "3Ç22", "BIST", "100", "son ", "üç ", "yıl",
        "ın ", "ilk", " çeyreği", "nde",
        "\ud83d", "\ude80", "\0", "é", "e\u0301", "&uuml;", "ß", "ﬁ", "ý", "þ", "ð",
    ]
)  # fmt: skip
TEXTS = st.one_of(
    st.text(st.characters(), max_size=80),
    st.lists(PIECES, max_size=30).map("".join),
    st.text("abıiIİşğ.'5 ", max_size=60),
)


@given(TEXTS)
def test_casing_keeps_the_length_and_is_done_once(text):
    for call in (lower, upper, title, fold):
        once = call(text)
        assert len(once) == len(text)
        assert call(once) == once


@given(TEXTS)
def test_tokens_cover_everything_but_blanks_and_point_at_the_text(text):
    at = 0
    for token in tokenize(text):
        assert at <= token.start < token.end <= len(text)
        assert text[token.start : token.end] == token.text
        assert token.start < token.suffix_start <= token.end
        assert token.body + token.suffix == token.text
        assert not text[at : token.start].strip()
        at = token.end
    assert not text[at:].strip()


@given(TEXTS)
def test_sentences_cover_everything_but_blanks_in_order(text):
    at = 0
    for start, end in split(text):
        assert at <= start < end <= len(text)
        assert text[start:end].strip() == text[start:end]
        assert not text[at:start].strip()
        at = end
    assert not text[at:].strip()


@given(TEXTS)
def test_amounts_and_tickers_point_at_the_text_and_do_not_overlap(text):
    for found in (find_amounts(text), find_tickers(text)):
        at = 0
        for one in found:
            assert at <= one.start < one.end <= len(text)
            assert text[one.start : one.end] == one.text
            at = one.end


@given(TEXTS)
def test_a_clean_text_is_composed_and_leads_back(text):
    try:
        cleaned = clean(text)
    except LanguageError:
        return
    assert len(cleaned.offsets) == len(cleaned.text) + 1
    assert (cleaned.offsets[1:] >= cleaned.offsets[:-1]).all()
    assert cleaned.offsets[-1] == len(text)
    assert unicodedata.is_normalized("NFC", cleaned.text)
    cleaned.text.encode("utf-8")
    for k, letter in enumerate(cleaned.text):
        start, end = cleaned.span(k, k + 1)
        if letter.isascii() and letter.isalnum() and letter != "i" and "&" not in text:
            assert letter in text[start:end] or not text[start:end].isascii()


@given(st.text(st.characters(codec="utf-8", exclude_characters="ÂÃÄÅâðğþýÞÐÝ&"), max_size=60))
def test_cleaning_twice_is_cleaning_once(text):
    try:
        once = clean(text).text
    except LanguageError:
        return
    assert clean(once).text == once


@given(TEXTS)
def test_language_links_and_stems_take_anything(text):
    code, probability = detect(text)
    assert code in ("tr", "en", "other", "unknown")
    assert 0 <= probability <= 1
    link(text)
    assert stem(text) is not None
    assert len(stems(text)) <= len(text)


HARD = [
    "a",
    "5",
    "1.",
    "bin ",
    "bir gün ",
    "“(",
    "A.Ş. ",
    "\n",
    "Ã",
    "e\u0301",
    "%5 ",
    "THYAO'nun ",
    "[a",
    "ý",
    "a'",
    "14 Mayıs ",
]


@pytest.mark.parametrize("piece", HARD)
def test_long_texts_take_linear_time(piece):
    calls = (tokenize, split, find_amounts, find_tickers, clean, detect, lower, fold)

    def seconds(length):
        text = piece * (length // len(piece))
        start = time.process_time()
        for call in calls:
            call(text)
        return time.process_time() - start

    seconds(1_000)
    short, long = seconds(8_000), seconds(64_000)
    assert long < 40 * short + 0.3  # a quadratic one takes 64 times as long
