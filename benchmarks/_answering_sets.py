"""What the benchmarks of answering are asked over: history paragraphs, laws, notices, the project's own questions."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from benchmarks import _turkish as sets

from kalibre.language import near
from kalibre.language.answering.cloze import cloze
from kalibre.language.answering.examples import Example
from kalibre.language.answering.passages import Document, document_key, passages, start_of
from kalibre.language.answering.retrieval import Index
from kalibre.language.base import Passage

GRAM, SHARE = 12, 0.30
"""A paragraph of which this share of its runs of 12 words stands in training is a near-duplicate."""


@cache
def history(split: str) -> list[Example]:
    """History questions, `train` or `dev`, as they stand."""
    return [
        Example(
            id=row["id"],
            question=row["question"],
            context=row["context"],
            answers=tuple((one["text"], one["answer_start"]) for one in row["answers"]),
            group=row["title"],
        )
        for row in sets.history_qa(split)
    ]


def grams(text: str) -> set[tuple[str, ...]]:
    """Return the runs of 12 words of a text."""
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[at : at + GRAM]) for at in range(len(words) - GRAM + 1)}


def leaks(train: Iterable[str], test: Sequence[str]) -> list[int]:
    """Return which test texts stand in training texts: exactly, nearly (Jaccard), or in runs of 12 words."""
    given = list(train)
    known = set().union(*map(grams, given)) if given else set()
    found = {one.test_index for one in near.overlap(given, test)}
    for at, text in enumerate(test):
        mine = grams(text)
        if mine and len(mine & known) / len(mine) >= SHARE:
            found.add(at)
    return sorted(found)


@cache
def judged() -> tuple[list[Example], int, int]:
    """Dev questions but those over near-duplicates of training paragraphs; how many paragraphs and questions went."""
    dev = history("dev")
    contexts = sorted({one.context for one in dev})
    bad = {contexts[at] for at in leaks({one.context for one in history("train")}, contexts)}
    kept = [one for one in dev if one.context not in bad]
    return kept, len(bad), len(dev) - len(kept)


def passage_id(one: Example) -> str:
    """Return the id of a history paragraph among the passages."""
    return f"{document_key(one.context)}:0"


@cache
def pool() -> list[Passage]:
    """Every passage: history paragraphs of both halves, laws by article, notices by paragraph."""
    documents = [
        Document(text=law["text"], title=law["title"], source=f"{law['law']} sayılı Kanun") for law in sets.laws()
    ]
    documents += [
        Document(text=notice["text"], title=notice["title"], source=notice["file"]) for notice in sets.notices()
    ]
    found = {one.id: one for one in passages(documents)}
    for one in (*history("train"), *history("dev")):
        key = passage_id(one)
        found.setdefault(
            key,
            Passage(id=key, document=key[:-2], title=one.group, text=one.context, source="history"),
        )
    return list(found.values())


class Asked(NamedTuple):
    """A question of the project's own with its answer's place in the document."""

    question: str
    document: str
    start: int
    end: int
    kind: str
    answer: str


TAUGHT = Path(__file__).resolve().parent / "taught" / "questions.jsonl"
"""Questions that were written to train on; they are no test, and stand apart from the labels for that."""

RIVALS = 5
"""Passages without the answer that each of these questions is trained to doubt."""


@cache
def own_questions() -> list[Asked]:
    """The project's own questions over laws and notices; empty where they are not there."""
    return _asked(sets.LABELS / "questions.jsonl")


def _asked(path: Path) -> list[Asked]:
    if not path.is_file():
        return []
    texts = {sets.text_hash(row["text"]): row["text"] for row in (*sets.laws(), *sets.notices())}
    with path.open(encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    return [
        Asked(
            question=row["question"],
            document=row["document_hash"],
            start=row["start"],
            end=row["end"],
            kind=row["kind"],
            answer=texts[row["document_hash"]][row["start"] : row["end"]],
        )
        for row in rows
    ]


def holds(passage: Passage, asked: Asked) -> bool:
    """Say whether a passage holds the answer where it was marked."""
    begin = start_of(passage)
    return passage.document == asked.document and begin <= asked.start and asked.end <= begin + len(passage.text)


@cache
def own_passages() -> list[Passage]:
    """The passages that hold the answers of the project's own questions."""
    asked = own_questions()
    documents = {one.document for one in asked}
    return [one for one in pool() if one.document in documents and any(holds(one, question) for question in asked)]


@cache
def allowed() -> list[Passage]:
    """The passages of laws and notices that may be trained on.

    Left out are the documents of the project's own questions, and every passage that shares a run of 12 words with one
    that holds an answer of these.
    """
    judged = {one.document for one in own_questions()}
    assert judged, "the project's own questions are not here: their documents could not be left out"
    held = set().union(*(grams(one.text) for one in own_passages()))
    return [
        one for one in pool() if one.source != "history" and one.document not in judged and not grams(one.text) & held
    ]


@cache
def made() -> list[Example]:
    """Questions made by cloze out of laws and notices: what the reader learns the style of such texts from."""
    return cloze(allowed())


@cache
def taught() -> list[Example]:
    """Questions written for training, each with the passages without its answer that an index puts near it."""
    asked = _asked(TAUGHT)
    index = Index.build(allowed())
    by_document: dict[str, list[Passage]] = defaultdict(list)
    for one in index.passages:
        by_document[one.document].append(one)
    found = []
    for number, question in enumerate(asked):
        own = next((one for one in by_document[question.document] if holds(one, question)), None)
        assert own is not None, f"question {question.question!r} is over a passage that must not be trained on"
        hits = [hit.passage for hit in index.search(question.question, RIVALS + 1)]
        found.append(
            Example(
                id=f"taught:{number}",
                question=question.question,
                context=own.text,
                answers=((question.answer, question.start - start_of(own)),),
                group=own.document,
                rivals=tuple(one.text for one in hits if not holds(one, question))[:RIVALS],
            )
        )
    return found
