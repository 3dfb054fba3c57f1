"""A pruned vocabulary cuts covered words as the whole one does, and everything else all the same."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.gemma_models import WORDS, vocabulary

from kalibre.core.errors import ModelError
from kalibre.language.gemma.vocabulary import LONGEST_WORD, Vocabulary, parts

WHOLE = vocabulary()


def written(known: Vocabulary, text: str) -> list[str | None]:
    return [known.pieces[number] for part in parts(text) for number in known.of(text, part)]


def test_a_word_that_is_a_piece_is_one() -> None:
    assert written(WHOLE, "borsa güne") == ["▁borsa", "▁güne"]


def test_a_suffix_stands_apart_from_its_word() -> None:
    assert written(WHOLE, "banka'sı arttı") == ["▁banka", "'", "sı", "▁arttı"]


def test_what_no_piece_covers_is_written_in_bytes() -> None:
    assert written(WHOLE, "€") == ["▁", "<0xE2>", "<0x82>", "<0xAC>"]


def test_a_pruned_vocabulary_cuts_what_it_covers_as_before() -> None:
    text = "borsa güne bankası arttı"
    few = WHOLE.pruned(WHOLE.used([text]))
    assert few.size < WHOLE.size
    assert written(few, text) == written(WHOLE, text)
    # Each piece remembers its number in the base: the rows of the table that are read.
    assert [WHOLE.pieces[number] for number in few.base] == few.pieces


def test_what_was_pruned_is_cut_smaller() -> None:
    few = WHOLE.pruned(WHOLE.used(["borsa"]))
    found = written(few, "faiz")
    assert found != written(WHOLE, "faiz")
    assert (
        "".join(bytes.fromhex(piece[3:5]).decode() if piece.startswith("<0x") else piece for piece in found) == "▁faiz"
    )


def test_pruning_again_keeps_the_numbers_of_the_first_base() -> None:
    few = WHOLE.pruned(WHOLE.used(["borsa faiz"])).pruned(())
    assert [WHOLE.pieces[number] for number in few.base] == few.pieces


def test_a_vocabulary_without_a_byte_is_refused() -> None:
    with pytest.raises(ModelError, match="lacks the byte 255"):
        Vocabulary(WHOLE.pieces[:258], WHOLE.scores[:258], begin=2)


def test_of_equal_merges_the_leftmost_comes_first() -> None:
    pieces = [None, *(f"<0x{byte:02X}>" for byte in range(256)), "a", "aa"]
    known = Vocabulary(pieces, [0.0] * len(pieces), begin=0)
    assert [known.pieces[number] for number in known.numbers("aaa")] == ["aa", "a"]


@given(st.text(max_size=60))
def test_every_text_has_pieces_that_say_it_again(text: str) -> None:
    few = WHOLE.pruned(())
    for part in parts(text):
        piece = text[part.start : part.end]
        raw = b"".join(
            bytes.fromhex(one[3:5]) if len(one) == 6 and one.startswith("<0x") else one.encode()
            for number in few.of(text, part)
            if (one := few.pieces[number]) is not None
        )
        assert raw.decode().removeprefix("▁" if part.first else "") == piece.replace("▁", "▂")


@given(st.lists(st.sampled_from([*(word.strip("▁") for word in WORDS), "bankası", "Örnek", "faizi"]), max_size=6))
def test_the_cut_is_the_same_wherever_all_pieces_are_kept(words: list[str]) -> None:
    text = " ".join(words)
    few = WHOLE.pruned(WHOLE.used([text]))
    assert written(few, text) == written(WHOLE, text)


@given(st.text(max_size=2 * LONGEST_WORD))
def test_parts_cover_all_but_white_space_in_order(text: str) -> None:
    found = list(parts(text))
    assert "".join(text[part.start : part.end] for part in found) == "".join(text.split())
    assert all(before.end <= after.start for before, after in pairwise(found))
