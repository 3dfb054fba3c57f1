"""What a tokenizer learns from: counts, weights, caps, and where no piece may cross."""

from __future__ import annotations

import pytest

from kalibre.core.errors import UsageError
from kalibre.language.tokenizer.words import BORDER, Part, bordered, lines, mixed


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("THYAO'nun", ["THYAO", "'nun"]),
        ("TCMB’den", ["TCMB", "’den"]),
        ("(2023'te).", ["(", "2023", "'te", ")."]),
        ("“Borsa”", ["“", "Borsa", "”"]),
        ("'deniz'", ["'", "deniz", "'"]),
        ("%4,5", ["%", "4", ",", "5"]),
        ("...", ["..."]),
        ("a_b", ["a", "_", "b"]),
        ("'", ["'"]),
        ("", []),
    ],
)
def test_pieces_cross_no_border(word: str, parts: list[str]):
    assert bordered(word) == BORDER.join(parts)


def test_weights_and_sources_add_up():
    mix = mixed([Part("one", ["kur arttı", "kur"], 3), Part("two", iter(["kur faiz"]), 0.5)])
    assert mix.counts == {"kur": 6, "arttı": 3}
    assert mix.words == {"one": 3, "two": 2}
    assert mix.digest == mixed([Part("x", ["kur"] * 6 + ["arttı"] * 3)]).digest


def test_a_cap_takes_the_same_texts_in_any_order():
    texts = [f"söz{i} " * 10 for i in range(50)]
    first, second = mixed([Part("laws", texts, cap=100)]), mixed([Part("laws", reversed(texts), cap=100)])
    assert first.counts == second.counts
    assert first.words == {"laws": 100}


def test_words_that_sentencepiece_cannot_read_are_left_out():
    assert list(lines({"kur": 2, "a\u2581b": 9, "x\x00": 9, "\ud800": 9, BORDER: 9})) == ["kur\t2"]


@pytest.mark.parametrize("weight", [0, -1, 1e9, float("nan")])
def test_a_weight_out_of_range_is_refused(weight: float):
    with pytest.raises(UsageError, match=r"weight .* of 'news' is out of range"):
        Part("news", [], weight)


def test_a_negative_cap_is_refused():
    with pytest.raises(UsageError, match="cap -1 of 'news'"):
        Part("news", [], 1.0, -1)
