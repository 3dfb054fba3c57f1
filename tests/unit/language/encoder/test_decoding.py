"""From logits to tags, names and spans, on logits written by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalibre.language.encoder.decoding import best_tags, candidates, first_pieces, names, trimmed, word_logits
from kalibre.language.encoder.networks import Encoded
from kalibre.language.text.tokens import tokenize

TAGS = ["O", "B-ORGANIZATION", "I-ORGANIZATION", "B-TICKER", "I-TICKER"]


def said(*chosen: str) -> np.ndarray:
    return np.array([[4.0 if tag == one else 0.0 for tag in TAGS] for one in chosen])


def test_a_name_ends_before_the_suffix_of_its_last_word() -> None:
    text = "Dün Örnek Holding'in THYAO'ya ilgisi"
    tokens = tokenize(text)
    found = names(text, tokens, said("O", "B-ORGANIZATION", "I-ORGANIZATION", "B-TICKER", "O"), TAGS)
    assert [(one.text, one.type) for one in found] == [("Örnek Holding", "ORGANIZATION"), ("THYAO", "TICKER")]
    assert all(text[one.start : one.end] == one.text and 0.9 < (one.probability or 0) <= 1 for one in found)


def test_two_names_of_a_type_side_by_side_stay_two() -> None:
    text = "Deneme Örnek"
    found = names(text, tokenize(text), said("B-ORGANIZATION", "B-ORGANIZATION"), TAGS)
    assert [one.text for one in found] == ["Deneme", "Örnek"]


@given(st.lists(st.lists(st.floats(-9, 9), min_size=5, max_size=5), max_size=12))
def test_tags_always_keep_iob2(rows: list[list[float]]) -> None:
    chosen = [TAGS[at] for at in best_tags(np.array(rows).reshape(-1, 5), TAGS)]
    for before, tag in zip(["O", *chosen], chosen, strict=False):
        if tag.startswith("I-"):
            assert before in {tag, f"B-{tag[2:]}"}
    assert len(chosen) == len(rows)


def test_first_pieces_pass_over_blanks_and_find_none_where_there_is_none() -> None:
    window = Encoded([0] * 6, [None, (0, 1), (1, 1), (1, 4), (4, 9), None])
    assert first_pieces(window, [(0, 1), (2, 4), (5, 9), (12, 13)]) == [1, 3, 4, -1]


def test_where_windows_overlap_the_inner_one_speaks() -> None:
    first = Encoded([0] * 5, [None, (0, 1), (2, 3), (4, 5), None])
    second = Encoded([0] * 5, [None, (4, 5), (6, 7), (8, 9), None])
    one, two = np.zeros((5, 2)), np.ones((5, 2))
    found = word_logits([first, second], [one, two], [(0, 1), (4, 5), (6, 7)])
    assert found[:, 0].tolist() == [0.0, 0.0, 1.0]


def test_candidates_stand_inside_the_passage_and_are_sorted() -> None:
    window = Encoded([0] * 7, [None, None, None, (0, 3), (3, 8), (8, 11), None])
    logits = np.zeros((7, 2))
    logits[4, 0], logits[5, 1], logits[1] = 5.0, 6.0, 99.0
    found = candidates(window, logits, most=3)
    assert (found[0].start, found[0].end, found[0].score) == (3, 11, 11.0)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert all(0 <= one.start < one.end <= 11 for one in found)
    assert candidates(window, logits, longest=1)[0].score == 6.0


def test_no_answer_lowers_the_score() -> None:
    window = Encoded([0] * 3, [None, (0, 3), None])
    logits = np.zeros((3, 2))
    logits[0] = 2.5
    assert candidates(window, logits)[0].score == pytest.approx(-5.0)
    assert candidates(Encoded([0], [None]), np.zeros((1, 2))) == []


def test_trimmed() -> None:
    assert trimmed("  a b ", 0, 6) == (2, 5)
    assert trimmed("   ", 0, 3) == (3, 3)
