"""What the shipped tokenizer learns from, and what it is scored on: chosen here, for shipping and for the benchmark.

No text that any task is scored on is left in the training texts: a line that holds a test sentence, or almost, loses
its sentences of that kind, and goes altogether where that is not enough, or where it stands inside a test text.
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
_LONG = 40  # characters of a line that is looked for inside test texts
_LAWS_TAKEN = 6  # every so many lines of the laws are looked at, of which the cap then takes its share


@cache
def test_texts() -> tuple[str, ...]:
    """Every text that a task is scored on, or that may be labelled for it, as a whole."""
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
    return tuple(sorted(set(texts)))


@cache
def law_texts() -> tuple[str, ...]:
    """Laws and notices that questions are asked over."""
    return tuple(sorted({row["text"] for row in (*turkish.laws(), *turkish.notices())}))


@cache
def test_sentences() -> tuple[str, ...]:
    """Return the sentences of every text that a task is scored on."""
    found = {sentence for text in test_texts() for sentence in turkish.sentences(text)}
    return tuple(sorted(sentence for sentence in found if len(sentence) >= _SHORTEST))


@cache
def test_laws() -> tuple[str, ...]:
    """Return the lines of the laws, and the notices."""
    lines = {line for text in law_texts() for line in text.split("\n") if len(line) >= _LONG}
    return tuple(sorted(lines))


def without(texts: Sequence[str], tests: Sequence[str], whole: Sequence[str]) -> list[str]:
    """Return texts without what stands among the tests, in their place; what is nothing else becomes empty.

    A text that holds one of `tests` loses those of its sentences; one that still holds one, is nearly one, or stands
    inside a text of `whole` goes altogether.
    """
    kept = list(texts)
    hit = sorted({one.document_index for one in contained(tests, texts)})
    cut = [(place, sentence) for place in hit for sentence in turkish.sentences(texts[place])]
    bad = {one.document_index for one in contained(tests, [sentence for _, sentence in cut], 0.5)}
    left: dict[int, list[str]] = {place: [] for place in hit}
    for number, (place, sentence) in enumerate(cut):
        if number not in bad:
            left[place].append(sentence)
    again = [" ".join(left[place]) for place in hit]
    still = {one.document_index for one in contained(tests, again)}
    for number, place in enumerate(hit):
        kept[place] = "" if number in still else again[number]
    places = [place for place, text in enumerate(kept) if text]
    gone = {places[one.train_index] for one in overlap([kept[place] for place in places], tests)}
    long = [place for place, text in enumerate(kept) if len(text) >= _LONG]
    gone |= {long[one.test_index] for one in contained([kept[place] for place in long], whole)}
    return ["" if place in gone else text for place, text in enumerate(kept)]


def leaks(texts: Sequence[str], tests: Sequence[str], whole: Sequence[str]) -> dict[str, int]:
    """Count test texts that stand in training texts, and training texts that stand in test texts."""
    long = [text for text in texts if len(text) >= _LONG]
    return {
        "exact or near": len(overlap(texts, tests)),
        "inside a line": len(contained(tests, texts)),
        "a line inside a test text": len(contained(long, whole)),
    }


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
    found = {name: _lines(name) for name in WEIGHTS}
    owners = [name for name, lines in found.items() for _ in lines]
    clean = without([line for lines in found.values() for line in lines], test_sentences(), test_texts())
    kept: dict[str, list[str]] = {name: [] for name in WEIGHTS}
    for name, line in zip(owners, clean, strict=True):
        if line:
            kept[name].append(line)
    kept["laws"] = [line for line in without(kept["laws"], test_laws(), law_texts()) if line]
    for name, weight in WEIGHTS.items():
        yield Part(name, kept[name], weight, CAPS.get(name, 0))


def general() -> list[str]:
    """Held-out general news: running text of twenty sentences each."""
    lines = [line for document in turkish.corpus(GENERAL) for line in document.split("\n")]
    return [" ".join(lines[first : first + 20]) for first in range(0, len(lines), 20)]


def finance() -> list[str]:
    """Held-out financial text: one note each."""
    return [row["text"] for row in turkish.broker_notes()]
