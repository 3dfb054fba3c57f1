"""What the shipped tokenizer learns from, and what it is scored on: chosen here, for shipping and for the benchmark.

No text that any task is scored on is left in the training texts: a line that holds a test sentence, or almost, loses
its sentences of that kind, and goes altogether where that is not enough.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache

from benchmarks import _turkish as turkish

from kalibre.language.near import contained, overlap
from kalibre.language.tokenizer.words import Part

GENERAL, FINANCE = "news_sentences", "broker_daily_notes"
"""Kept out altogether: CNN Türk's sentences (Apache-2.0), brokers' notes (daily; numbers, indices, tickers)."""
WEIGHTS = {
    "news": 3.0,
    "columns_politics_finance": 1.0,
    "essays_interviews": 0.5,
    "treebank_sentences": 1.0,
    "laws": 1.0,
    "history": 1.0,
    "finance_instructions": 5.0,
}
CAPS = {"laws": 100_000}
"""Words: laws would swamp the rest."""
_SHORTEST = 24  # characters of a sentence that belongs to somebody
_LAWS_TAKEN = 6  # every so many lines of the laws are looked at, of which the cap then takes its share


@cache
def test_sentences() -> tuple[str, ...]:
    """Every sentence of every text that a task is scored on, or that may be labelled for it."""
    texts = list(turkish.texts_by_hash().values())
    texts += [row["title"] for row in turkish.bist_headlines()] + [row["text"] for row in turkish.weak_news()]
    texts += [text for text, _ in turkish.tweets()] + [text for text, _ in turkish.news()]
    texts += [row["text"] for row in turkish.broker_notes()] + [row["text"] for row in turkish.forum()]
    for name, splits in (("penn15_wsj_tr", ("train", "dev")), ("wikiner_tr", ("dev",))):
        texts += [" ".join(tokens) for split in splits for tokens, _ in turkish.conll(name, split)]
    for row in turkish.history_qa("dev"):
        texts += [row["context"], row["question"]]
    texts += [line for document in turkish.corpus(GENERAL) for line in document.split("\n")]
    for path in sorted(turkish.LABELS.glob("*.jsonl")):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        texts += [str(row[field]) for row in rows for field in ("text", "question") if field in row]
    found = {sentence for text in set(texts) for sentence in turkish.sentences(text)}
    return tuple(sorted(sentence for sentence in found if len(sentence) >= _SHORTEST))


@cache
def test_laws() -> tuple[str, ...]:
    """Lines of the laws and notices that questions are asked over."""
    lines = {line for row in turkish.laws() for line in row["text"].split("\n") if len(line) >= 40}
    return tuple(sorted(lines | {row["text"] for row in turkish.notices()}))


def without(texts: Sequence[str], tests: Sequence[str]) -> list[str]:
    """Return texts without the sentences that stand among the tests."""
    hit = sorted({one.document_index for one in contained(tests, texts)})
    cut = [(place, sentence) for place in hit for sentence in turkish.sentences(texts[place])]
    bad = {one.document_index for one in contained(tests, [sentence for _, sentence in cut], 0.5)}
    left: dict[int, list[str]] = {place: [] for place in hit}
    for number, (place, sentence) in enumerate(cut):
        if number not in bad:
            left[place].append(sentence)
    again = [" ".join(left[place]) for place in hit]
    still = {hit[one.document_index] for one in contained(tests, again)}
    kept = {place: text for place, text in zip(hit, again, strict=True) if text and place not in still}
    gone = set(hit) - set(kept)
    rest = [kept.get(place, text) for place, text in enumerate(texts) if place not in gone]
    near = {one.train_index for one in overlap(rest, tests)}
    return [text for place, text in enumerate(rest) if place not in near]


def _lines(name: str) -> list[str]:
    if name == "history":
        return sorted({row["context"] for row in turkish.history_qa("train")})
    if name == "finance_instructions":
        with (turkish.ROOT / "finance/finance_instructions.jsonl").open(encoding="utf-8") as stream:
            return [" ".join(str(value) for value in json.loads(line).values()) for line in stream if line.strip()]
    lines = [line for document in turkish.corpus(name) for line in document.split("\n")]
    return lines[::_LAWS_TAKEN] if name == "laws" else lines


def parts() -> Iterator[Part]:
    """Yield the training texts with their weights."""
    for name, weight in WEIGHTS.items():
        tests = (*test_sentences(), *test_laws()) if name == "laws" else test_sentences()
        yield Part(name, without(_lines(name), tests), weight, CAPS.get(name, 0))


def general() -> list[str]:
    """Held-out general news: running text of twenty sentences each."""
    lines = [line for document in turkish.corpus(GENERAL) for line in document.split("\n")]
    return [" ".join(lines[first : first + 20]) for first in range(0, len(lines), 20)]


def finance() -> list[str]:
    """Held-out financial text: one note each."""
    return [row["text"] for row in turkish.broker_notes()]
