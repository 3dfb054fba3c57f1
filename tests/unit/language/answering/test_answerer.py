"""A question put to an index: cited, or abstained with a reason."""

from __future__ import annotations

import time

import pytest

from kalibre.core.errors import UsageError
from kalibre.language.answering.answerer import Answerer
from kalibre.language.answering.passages import Document, passages
from kalibre.language.answering.retrieval import Index


@pytest.fixture(scope="module")
def index(world) -> Index:
    documents = [
        Document(text=one.context, title=f"Yaşam {at}", source="özgeçmişler", date="2024-05-17")
        for at, one in enumerate(world[:120])
    ]
    return Index.build(passages(documents))


def test_answers_with_source_and_date(index, reader, world):
    answerer = Answerer(index, reader, threshold=0.0)
    right = 0
    for one in world[:40]:
        answer = answerer.answer(one.question)
        assert answer.text is not None
        assert answer.passage is not None
        assert answer.passage.text[answer.start : answer.end] == answer.text
        assert (answer.passage.source, answer.passage.date) == ("özgeçmişler", "2024-05-17")
        right += one.answers[0][0].startswith(answer.text)

    assert right >= 20


def test_abstains_when_unsure_and_says_why(index, reader, world):
    answer = Answerer(index, reader, threshold=1.0).answer(world[0].question)

    assert answer.text is None
    assert answer.abstained is not None
    assert answer.abstained.startswith("unsure")
    assert answer.passage is not None


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("", "no word"),
        ("👍", "no word"),
        ("\u202e\x00", "no word"),
        ("zzzz qqqq xxxx?", "no passage"),
        ("a" * 601, "601 characters"),
        ("a" * 10_000_000, "10,000,000 characters"),
    ],
)
def test_says_why_there_is_no_answer(index, reader, question, reason):
    answer = Answerer(index, reader, threshold=0.0).answer(question)

    assert answer.text is None
    assert reason in (answer.abstained or "")


def test_a_threshold_comes_from_the_precision(index, reader):
    strict, loose = (Answerer(index, reader, precision=one).threshold for one in (0.9, 0.5))

    assert strict >= loose
    with pytest.raises(UsageError, match=r"0\.33"):
        Answerer(index, reader, precision=0.33)
    with pytest.raises(UsageError, match=r"1\.5"):
        Answerer(index, reader, threshold=1.5)


def test_an_answer_comes_without_its_case(index, reader, world):
    asked = [one for one in world[:80] if one.answers[0][0].endswith("kentinde")]
    bare, whole = (Answerer(index, reader, threshold=0.0, bare=one) for one in (True, False))
    said = [(bare.answer(one.question), whole.answer(one.question)) for one in asked]

    assert any((a.text, b.text) == ((b.text or "").removesuffix("nde"), b.text) and a.text != b.text for a, b in said)


def test_is_quick(index, reader, world):
    answerer = Answerer(index, reader, threshold=0.0)
    answerer.answer(world[0].question)
    began = time.process_time()
    for one in world[:10]:
        answerer.answer(one.question)

    assert (time.process_time() - began) / 10 < 0.2
