"""What the project's encoder is pretrained on, and what must not stand in it: the shared sets mixed, tests taken out.

Laws and machine-made manuals are capped (they would swamp the rest), news and finance are read twice. Nothing that any
task of the wing is scored on stays in: held-out splits, every set that is scored by cross-validation, and the
project's own labelled texts with the documents its questions are about.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks import _labelled as labelled
from benchmarks._turkish import (
    bist_headlines,
    broker_notes,
    conll,
    corpus,
    forum,
    history_qa,
    laws,
    news,
    notices,
    text_hash,
    tweets,
    weak_news,
)

MILLION = 1_000_000
CAPS = {
    "laws": 3 * MILLION,
    "finance_laws": 4 * MILLION,
    "software_docs": 6 * MILLION,
    "religion": 3 * MILLION,
    "manpages": MILLION,
    "office_help": MILLION,
    "python_docs": MILLION,
}
"""Characters of a source, at most; what is not named is read whole."""
TWICE = ("news", "news_sentences", "columns_politics_finance", "broker_notes", "notices", "weak_news", "forum")
SOURCES = (
    "columns_politics_finance", "essays_interviews", "tech_blogs_notes", "software_docs", "religion", "news",
    "fiction_games", "legal_official", "informal", "laws", "news_sentences", "commonvoice", "office_help",
    "python_docs", "manpages", "treebank_sentences",
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """A source's documents under its name."""

    name: str
    documents: list[str]

    @property
    def characters(self) -> int:
        return sum(map(len, self.documents))


def sources(most: int | None = None) -> Iterator[Source]:
    """Yield the sources, each capped; `most` caps every one of them further (for smoke runs)."""
    asked = labelled.documents()

    def kept(texts: Iterator[str] | list[str], name: str) -> Source:
        cap = min(CAPS.get(name, 10**12), most or 10**12)
        documents: list[str] = []
        for text in texts:
            if cap <= 0:
                break
            # A document that an own question is about is a test text as a whole.
            if text.strip() and text_hash(text) not in asked:
                documents += _pieces(text[:cap])
                cap -= len(text)
        return Source(name, documents)

    for name in SOURCES:
        yield kept(corpus(name), name)
    yield kept([row["text"] for row in laws()], "finance_laws")
    yield kept([row["text"] for row in notices()], "notices")
    yield kept([row["text"] for row in broker_notes()], "broker_notes")
    yield kept([row["text"] for row in weak_news()], "weak_news")
    yield kept([row["text"] for row in forum()], "forum")
    yield kept(list(dict.fromkeys(row["context"] for row in history_qa("train"))), "history_train")
    yield kept([" ".join(tokens) for tokens, _ in conll("wikiner_tr", "train")], "wikiner_train")


def _pieces(text: str, size: int = 8_000) -> list[str]:
    """Cut a text without documents of its own (a file of sentences, a law) at the ends of lines."""
    found, lines, length = [], [], 0
    for line in text.split("\n"):
        lines.append(line)
        length += len(line)
        if length >= size:
            found.append("\n".join(lines))
            lines, length = [], 0
    return [*found, "\n".join(lines)] if lines else found


def test_texts() -> list[str]:
    """Return every text that a task is scored on; a passage of several sentences whole and the sentences too."""
    found: dict[str, None] = {}
    for row in bist_headlines():
        found[row["title"]] = None
    for row in history_qa("dev"):
        found[row["context"]] = found[row["question"]] = None
    for name, splits in (("penn15_wsj_tr", ("train", "dev")), ("wikiner_tr", ("dev",))):
        for split in splits:
            for tokens, _ in conll(name, split):
                found[" ".join(tokens)] = None
    for text, _ in (*tweets(), *news()):
        found[text] = None
    for text in (*labelled.named(), *labelled.written()):
        found[text] = None
    return [text for text in found if text.strip()]
