"""Judging a reader by a SQuAD-shaped file."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from kalibre.core.errors import EvaluationError, LanguageError
from kalibre.language.answering.evaluate import auroc, coverage_at, evaluate, interval
from kalibre.language.answering.examples import answer_units, read_squad
from kalibre.language.answering.words import units
from kalibre.language.base import Span

CONTEXT = "Fener 1887 yılında yapıldı. Yapımını Selma Tuna'nın ekibi yürüttü."


class Parrot:
    """Says what it was told to say, as sure as it was told."""

    version = "parrot"

    def __init__(self, said: dict[str, tuple[str, float]]) -> None:
        self._said = said

    def read(self, question: str, passages: Sequence[str], *, limit: int = 5) -> list[Span]:
        text, probability = self._said[question]
        start = passages[0].index(text)
        return [Span(passage=0, start=start, end=start + len(text), text=text, probability=probability)]


def file_of(path, questions):
    qas = [
        {
            "id": str(at),
            "question": question,
            "answers": [{"text": answer, "answer_start": CONTEXT.index(answer)}] if answer else [],
            **({} if answer else {"is_impossible": True}),
        }
        for at, (question, answer) in enumerate(questions)
    ]
    path.write_text(json.dumps({"data": [{"title": "Fener", "paragraphs": [{"context": CONTEXT, "qas": qas}]}]}))
    return path


def test_figures_of_v1(tmp_path):
    path = file_of(tmp_path / "one.json", [("ne zaman?", "1887"), ("kim?", "Selma Tuna")])

    found = evaluate(path, Parrot({"ne zaman?": ("1887", 0.9), "kim?": ("Tuna", 0.2)}))

    assert found["questions"] == 2
    assert found["figures"]["exact"]["value"] == 0.5
    assert found["figures"]["f1"]["value"] == pytest.approx((1 + 2 / 3) / 2)
    json.dumps(found)


def test_figures_of_v2_count_silence(tmp_path):
    path = file_of(tmp_path / "two.json", [("ne zaman?", "1887"), ("kaça?", None)])

    found = evaluate(path, Parrot({"ne zaman?": ("1887", 0.9), "kaça?": ("1887", 0.2)}))

    assert found["impossible"] == 1
    assert found["figures"]["exact"]["value"] == 1.0
    assert found["figures"]["answered"]["value"] == 0.5
    bold = evaluate(path, Parrot({"ne zaman?": ("1887", 0.9), "kaça?": ("1887", 0.7)}))
    assert bold["figures"]["impossible_exact"]["value"] == 0.0


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"data": 5}', '{"data": [{"paragraphs": [{}]}]}', "\x00"])
def test_a_file_of_another_shape_is_refused(tmp_path, content):
    path = tmp_path / "odd.json"
    path.write_text(content)

    with pytest.raises(LanguageError, match=r"odd\.json"):
        read_squad(path)


def test_an_answer_that_is_not_there_is_refused(tmp_path):
    path = file_of(tmp_path / "one.json", [("ne zaman?", "1887")])
    path.write_text(path.read_text().replace('"answer_start": 6', '"answer_start": 7'))

    with pytest.raises(LanguageError, match="does not stand at 7"):
        read_squad(path)


def test_no_file_and_no_question(tmp_path):
    with pytest.raises(LanguageError, match="cannot be read"):
        read_squad(tmp_path / "none.json")
    with pytest.raises(EvaluationError, match="no question"):
        evaluate(file_of(tmp_path / "empty.json", []), Parrot({}))


def test_an_answer_cut_inside_a_word_is_widened_to_it():
    cut = units(CONTEXT)

    first, last = answer_units(cut, "elma Tun", CONTEXT.index("elma"))

    assert CONTEXT[cut.starts[first] : cut.ends[last]] == "Selma Tuna"


def test_measures_of_doubt():
    score, right = np.array([0.9, 0.8, 0.3, 0.1]), np.array([True, True, False, False])

    assert auroc(score, right) == 1.0
    assert auroc(-score, right) == 0.0
    assert auroc(score, np.ones(4, bool)) is None
    assert coverage_at(score, right, 0.8) == 0.5
    assert coverage_at(score, ~right, 0.8) == 0.0


def test_intervals_draw_whole_groups():
    values = np.repeat([0.0, 1.0], 50)
    together = interval(values, ["a"] * 50 + ["b"] * 50)
    apart = interval(values, [str(at) for at in range(100)])

    assert together["high"] - together["low"] > 2 * (apart["high"] - apart["low"])
