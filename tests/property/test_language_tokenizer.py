"""Laws of the tokenizer: every string comes back, and concatenation at a line break is concatenation of pieces."""

from __future__ import annotations

from functools import cache

from hypothesis import example, given, settings
from hypothesis import strategies as st

from kalibre.language.tokenizer.pieces import Tokenizer
from kalibre.language.tokenizer.training import train
from kalibre.language.tokenizer.words import BORDER, Part, bordered

ANY = st.text(st.characters(exclude_categories=()), max_size=80)
ODD = st.text(st.sampled_from(" \n\t\r\u2581\x00\ud800\udfffa1'’🚀\u0307İ<>x0A"), max_size=40)


@cache
def tokenizer() -> Tokenizer:
    return train([Part("toy", ["Borsa güne 2 puan yükselişle başladı, THYAO'nun kârı arttı."] * 50)]).tokenizer


@settings(max_examples=300, deadline=None)
@given(ANY | ODD)
@example("\u2581")
@example("\ud83d\ude00")
def test_every_string_comes_back(text: str):
    ids = tokenizer().encode(text)
    assert tokenizer().decode(ids) == text
    assert tokenizer().unknown(ids) == 0


@settings(max_examples=150, deadline=None)
@given(ANY | ODD, ANY | ODD)
def test_lines_are_encoded_apart(one: str, other: str):
    cut = tokenizer().encode
    assert cut(f"{one}\n{other}") == [*cut(one), *cut("\n"), *cut(other)]


@settings(max_examples=200, deadline=None)
@given(ANY | ODD)
def test_borders_change_nothing_else(word: str):
    word = "".join(word.replace("|", "").split())
    assert bordered(word).replace(BORDER, "") == word
