"""The entity sets as the benchmark and the shipped model read them, and how training text is kept apart from tests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from benchmarks import _turkish as turkish

from kalibre.core.errors import LanguageError
from kalibre.language.near import contained, overlap

PENN, WIKI = "penn15_wsj_tr", "wikiner_tr"
CAPS = {"laws": 3e6, "software_docs": 3e6, "religion": 3e6, "tech_blogs_notes": 10e6}
"""Characters read of the texts that would swamp the rest."""
ALIKE = 0.8


class Tagged(NamedTuple):
    """A sentence of tokens with IOB2 tags."""

    tokens: list[str]
    tags: list[str]

    @property
    def text(self) -> str:
        return " ".join(self.tokens)


def penn() -> list[Tagged]:
    """Train and dev in their order, each sentence once; what also stands in train is dropped from dev."""
    seen: set[str] = set()
    found = []
    for tokens, tags in [*turkish.conll(PENN, "train"), *turkish.conll(PENN, "dev")]:
        one = Tagged(tokens, tags)
        if one.text not in seen:
            seen.add(one.text)
            found.append(one)
    return found


def penn_part(split: str) -> list[Tagged]:
    """Penn's sentences of one part, each once; dev without those that stand in train."""
    train = {" ".join(tokens) for tokens, _ in turkish.conll(PENN, "train")}
    return [one for one in penn() if (one.text in train) == (split == "train")]


def wiki(split: str) -> list[Tagged]:
    return [Tagged(*one) for one in turkish.conll(WIKI, split)]


class Labelled(NamedTuple):
    """An own sentence: offsets of names without their suffix."""

    text: str
    spans: list[tuple[int, int, str]]


def own(split: str) -> list[Labelled]:
    """Sentences of the project's own, `dev` or `test`; none where the labels are not there."""
    path = turkish.LABELS / "entities.jsonl"
    if not path.is_file():
        return []
    texts = turkish.texts_by_hash()
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [
        Labelled(" ".join(texts[row["hash"]].split()), [(int(a), int(b), str(kind)) for a, b, kind in row["spans"]])
        for row in rows
        if row["split"] == split and row["hash"] in texts
    ]


def without(train: Sequence[Tagged], test: Iterable[Tagged]) -> list[Tagged]:
    """Return training sentences without those that stand, exactly or nearly, among the test sentences."""
    found = overlap([one.text for one in train], [one.text for one in test], ALIKE)
    gone = {one.train_index for one in found}
    return [one for place, one in enumerate(train) if place not in gone]


def check_apart(train: Sequence[str], test: Sequence[str]) -> None:
    """Refuse training texts among which a test text stands, exactly or nearly.

    Raises
    ------
    LanguageError
        If one does.
    """
    if found := overlap(train, test, ALIKE):
        raise LanguageError(
            f"{len(found)} pairs of training and test text are alike, the first with similarity "
            f"{found[0].similarity:.2f}: test text {found[0].test_index} stands among the training texts"
        )


def plain_lines() -> Iterator[str]:
    """Unlabelled paragraphs: the general texts (some capped), brokers' notes, Wiki's training sentences."""
    for name in turkish.corpus_names():
        read = 0
        for line in (line for document in turkish.corpus(name) for line in document.split("\n")):
            if read >= CAPS.get(name, float("inf")):
                break
            yield line
            read += len(line)
    for row in turkish.broker_notes():
        yield row["text"]
    for one in wiki("train"):
        yield one.text


def plain_sentences(tests: Sequence[str]) -> tuple[list[str], int]:
    """Return the sentences of all unlabelled paragraphs in which no test text stands, and how many were left out."""
    lines = list(plain_lines())
    gone = {one.document_index for one in contained(tests, lines)}
    gone |= {one.train_index for one in overlap(lines, tests, ALIKE)}
    kept = [line for place, line in enumerate(lines) if place not in gone]
    return [sentence for line in kept for sentence in turkish.sentences(line)], len(gone)
