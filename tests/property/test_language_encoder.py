"""Laws of the encoder's way from text to pieces and back, for any text."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.torch_stack import import_or_skip

from kalibre.language.encoder.decoding import Candidate, candidates, first_pieces, word_logits
from kalibre.language.encoder.networks import Encoded, OwnCodec
from kalibre.language.encoder.pieces import Pieces, toy_tokenizer
from kalibre.language.encoder.tasks import logistic, readable, threshold

import_or_skip("sentencepiece")

ANY = st.text(st.characters(codec=None), max_size=60) | st.text("abcçğıİI '’.\n\t\u2581😀 ", max_size=60)


@pytest.fixture(scope="module")
def codec() -> OwnCodec:
    return OwnCodec(Pieces(toy_tokenizer()))


@given(text=ANY)
def test_pieces_cover_every_text(codec: OwnCodec, text: str) -> None:
    ids, spans = codec.pieces.encode(text)
    assert len(ids) == len(spans)
    assert {at for start, end in spans for at in range(start, end)} == set(range(len(text)))
    assert all(0 <= start <= end <= len(text) for start, end in spans)
    assert all(first[0] <= second[0] for first, second in pairwise(spans))
    assert ids == codec.pieces.ids(text)


@given(text=ANY, question=st.none() | ANY, length=st.integers(6, 40), stride=st.integers(0, 30))
@settings(max_examples=60)
def test_windows_cover_every_text_and_are_short_enough(
    codec: OwnCodec, text: str, question: str | None, length: int, stride: int
) -> None:
    windows = codec.windows(text, question=question, length=length, stride=stride)
    assert windows
    assert all(len(one.ids) == len(one.spans) <= length for one in windows)
    covered = {at for one in windows for span in one.spans if span is not None for at in range(*span)}
    assert covered == set(range(len(text)))
    assert all(one.ids[0] == codec.pieces.cls and one.ids[-1] == codec.pieces.sep for one in windows)


@given(text=st.text("ab ğ", min_size=1, max_size=40), length=st.integers(6, 20))
@settings(max_examples=40)
def test_every_word_speaks_in_some_window(codec: OwnCodec, text: str, length: int) -> None:
    words = [(at, at + 1) for at, letter in enumerate(text) if letter != " "]
    windows = codec.windows(text, length=length, stride=3)
    seen = {word for one in windows for word, piece in enumerate(first_pieces(one, words)) if piece >= 0}
    assert seen == set(range(len(words)))
    logits = [np.ones((len(one.ids), 2)) for one in windows]
    assert (word_logits(windows, logits, words) == 1.0).all()


@given(
    logits=st.lists(st.tuples(st.floats(-30, 30), st.floats(-30, 30)), min_size=3, max_size=12),
    longest=st.integers(1, 6),
)
def test_candidates_are_the_best_pairs(logits: list[tuple[float, float]], longest: int) -> None:
    table = np.array(logits)
    inside = range(1, len(logits) - 1)
    window = Encoded([0] * len(logits), [None, *[(at, at + 1) for at in inside], None])
    found = candidates(window, table, most=3, longest=longest)
    none = table[0].sum()
    every = sorted(
        (table[one, 0] + table[two, 1] - none for one in inside for two in inside if 0 <= two - one < longest),
        reverse=True,
    )
    assert [one.score for one in found] == pytest.approx(every[: len(found)])
    assert len(found) == min(3, len(every))
    assert all(isinstance(one, Candidate) and 1 <= one.start < one.end for one in found)


@given(text=ANY)
def test_readable_keeps_every_place(text: str) -> None:
    found = readable(text)
    assert len(found) == len(text)
    found.encode()


@given(st.dictionaries(st.floats(0, 1), st.booleans(), min_size=1, max_size=30), st.floats(0.1, 1.0))
def test_a_threshold_keeps_its_precision(told: dict[float, bool], precision: float) -> None:
    sure, right = list(told), list(told.values())
    found = threshold(sure, right, precision)
    kept = [good for one, good in told.items() if one >= found]
    if found < 1.0:
        assert np.mean(kept) >= precision
    slope, offset = logistic(sure, right)
    assert np.isfinite([slope, offset]).all()
