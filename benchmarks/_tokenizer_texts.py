"""What the shipped tokenizer learns from, and what it is scored on: chosen here, for shipping and for the benchmark.

No text that any task is scored on is left in the training texts: a line that holds a test sentence, or almost, loses
its sentences of that kind, and goes altogether where that is not enough, or where it stands inside a test text. What
the shipped tokenizer did without is recorded by number (`RECORD`), so that labels that come later do not change what it
is said to have been trained on, and are looked for in that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks import _labelled as labelled
from benchmarks import _turkish as turkish

from kalibre.language.exclusion import LONG_ENOUGH, standing, without
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
RECORD = Path(__file__).with_name("tokenizer_lines.json")
"""Which lines the shipped tokenizer did without, by number: so that what it was trained on is known for good."""
NEAR = 0.8  # similarity of whole texts that are nearly the same
_SHORTEST = 24  # characters of a sentence that belongs to somebody
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
    texts += labelled.written()
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
    lines = {line for text in law_texts() for line in text.split("\n") if len(line) >= LONG_ENOUGH}
    return tuple(sorted(lines))


def leaks(parts: Sequence[Part]) -> dict[str, int]:
    """Count the training texts that have something in common with what any task is scored on today, by kind."""
    laws = [text for part in parts if part.name == "laws" for text in part.texts]
    every = [text for part in parts for text in part.texts]
    found = standing(every, test_sentences(), test_texts(), near=NEAR)
    of_laws = standing(laws, test_laws(), law_texts(), near=NEAR)
    return {kind: count + of_laws.as_dict()[kind] for kind, count in found.as_dict().items()}


def _lines(name: str) -> list[str]:
    if name == "history":
        return sorted({row["context"] for row in turkish.history_qa("train")})
    if name == "finance_instructions":
        with (turkish.ROOT / "finance/finance_instructions.jsonl").open(encoding="utf-8") as stream:
            return [" ".join(str(value) for value in json.loads(line).values()) for line in stream if line.strip()]
    lines = [line for document in turkish.corpus(name) for line in document.split("\n")]
    return lines[::_LAWS_TAKEN] if name == "laws" else lines


def candidates() -> dict[str, list[str]]:
    """Return the lines of every source, before any is left out."""
    return {name: _lines(name) for name in WEIGHTS}


def clean() -> dict[str, list[str]]:
    """Return the lines without what tasks are scored on today, in their place; what is left out is empty."""
    found = candidates()
    whole = [line for lines in found.values() for line in lines]
    left = iter(without(whole, test_sentences(), test_texts(), turkish.sentences, near=NEAR))
    kept = {name: [next(left) for _ in lines] for name, lines in found.items()}
    laws = [place for place, line in enumerate(kept["laws"]) if line]
    again = without([kept["laws"][place] for place in laws], test_laws(), law_texts(), turkish.sentences, near=NEAR)
    for place, line in zip(laws, again, strict=True):
        kept["laws"][place] = line
    return kept


def as_parts(kept: Mapping[str, Sequence[str]]) -> list[Part]:
    """Return lines with their weights, as the trainer takes them."""
    return [
        Part(name, [line for line in kept[name] if line], weight, CAPS.get(name, 0)) for name, weight in WEIGHTS.items()
    ]


def record(kept: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Say by number which lines are left out, and of which lines only some sentences are kept."""
    told: dict[str, Any] = {}
    for name, lines in candidates().items():
        pairs = enumerate(zip(lines, kept[name], strict=True))
        changed = [(place, one, now) for place, (one, now) in pairs if one != now]
        told[name] = {
            "lines": len(lines),
            "without": [place for place, _, now in changed if not now],
            "cut": {str(place): _taken(turkish.sentences(one), now) for place, one, now in changed if now},
        }
    return told


def trained() -> list[Part]:
    """Return what the shipped tokenizer was trained on, from the record of what it did without."""
    told = json.loads(RECORD.read_text(encoding="utf-8"))
    kept = candidates()
    for name, lines in kept.items():
        if told[name]["lines"] != len(lines):
            raise SystemExit(f"{name!r} has {len(lines)} lines, {told[name]['lines']} at the time: other shared sets?")
        for place in told[name]["without"]:
            lines[place] = ""
        for place, numbers in told[name]["cut"].items():
            sentences = turkish.sentences(lines[int(place)])
            lines[int(place)] = " ".join(sentences[number] for number in numbers)
    return as_parts(kept)


def _taken(sentences: Sequence[str], kept: str) -> list[int]:
    numbers, at = [], 0
    for number, sentence in enumerate(sentences):
        end = at + len(sentence)
        if kept.startswith(sentence, at) and kept[end : end + 1] in ("", " "):
            numbers.append(number)
            at = end + 1
    assert " ".join(sentences[number] for number in numbers) == kept
    return numbers


def general() -> list[str]:
    """Held-out general news: running text of twenty sentences each."""
    lines = [line for document in turkish.corpus(GENERAL) for line in document.split("\n")]
    return [" ".join(lines[first : first + 20]) for first in range(0, len(lines), 20)]


def finance() -> list[str]:
    """Held-out financial text: one note each."""
    return [row["text"] for row in turkish.broker_notes()]
