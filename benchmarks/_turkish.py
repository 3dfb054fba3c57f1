"""The shared Turkish sets as the benchmarks read them: each with its traps seen to, and found again by text hash.

Nothing of the sets is in the project. What the project labelled itself (benchmarks/labels) names a text by its hash;
`texts_by_hash` finds it in the sets, wherever it stands there.
"""

from __future__ import annotations

import csv
import hashlib
import json
import lzma
import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "turkish"
LABELS = Path(__file__).resolve().parent / "labels"


def there() -> bool:
    """Say whether the shared sets are there."""
    return ROOT.is_dir()


def text_hash(text: str) -> str:
    """Return the name of a text: 16 hex digits of the sha256 of its NFC form with single blanks."""
    return hashlib.sha256(" ".join(unicodedata.normalize("NFC", text).split()).encode()).hexdigest()[:16]


def _jsonl(path: str) -> list[dict[str, Any]]:
    with (lzma.open if path.endswith(".xz") else open)(ROOT / path, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream if line.strip()]


# --- sentiment and news -----------------------------------------------------------------------------------------------


@cache
def bist_headlines() -> list[dict[str, Any]]:
    """450 headlines of 2026 with a language model's labels (`title`, `llm_label`, `llm_score`, `date`)."""
    return _jsonl("sentiment/bist_headlines_llm_labelled.jsonl")


@cache
def weak_news() -> list[dict[str, Any]]:
    """1,540 brokers' notes and headlines with weak labels: for diagnosis only."""
    return _jsonl("sentiment/bist_news_weak_labels.jsonl")


@cache
def tweets() -> list[tuple[str, str]]:
    """University tweets (text, label): handles masked, exact duplicates dropped (also those that masking makes)."""
    seen: dict[str, str] = {}
    for row in _jsonl("sentiment/university_tweets.jsonl"):
        text = re.sub(r"@\w+", "@kullanıcı", row["text"])
        seen.setdefault(" ".join(text.split()), row["label"])
    return list(seen.items())


@cache
def news() -> list[tuple[str, str]]:
    """News texts and their category."""
    return [(row["text"], row["category"]) for row in _jsonl("news/news_categories.jsonl")]


@cache
def broker_notes() -> list[dict[str, Any]]:
    """Brokers' daily notes, 2021-23 (`broker`, `date` as dd.mm.yyyy, `text`)."""
    return _jsonl("finance/broker_daily_notes.jsonl.xz")


@cache
def forum() -> list[dict[str, str]]:
    """Investor forum comments (`text`, `intent`, `asset`)."""
    with (ROOT / "finance/investor_forum_intents.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


# --- laws, notices, questions -----------------------------------------------------------------------------------------


@cache
def laws() -> list[dict[str, Any]]:
    """Finance laws (`law`, `title`, `status`, `text`)."""
    return _jsonl("finance/finance_laws.jsonl.xz")


@cache
def notices() -> list[dict[str, Any]]:
    """Tax notices and standards (`file`, `type`, `title`, `text`)."""
    return _jsonl("finance/tax_notices.jsonl.xz")


def history_qa(split: str) -> list[dict[str, Any]]:
    """History questions, split `train` or `dev` (`id`, `question`, `context`, `title`, `answers`), as they stand."""
    with (ROOT / f"qa/history_qa_{split}.json").open(encoding="utf-8") as stream:
        articles = json.load(stream)["data"]
    return [
        {"title": article["title"], "context": paragraph["context"], **question}
        for article in articles
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]


# --- entities ---------------------------------------------------------------------------------------------------------


def conll(name: str, split: str) -> list[tuple[list[str], list[str]]]:
    """Sentences (tokens, IOB2 tags) of `penn15_wsj_tr` or `wikiner_tr`, split `train` or `dev`, as they stand."""
    sentences: list[tuple[list[str], list[str]]] = []
    tokens: list[str] = []
    tags: list[str] = []
    with (ROOT / f"ner/{name}.{split}.conll").open(encoding="utf-8") as stream:
        for line in (*stream, "\n"):
            if line.strip():
                token, tag = line.rstrip("\n").rsplit("\t", 1) if "\t" in line else line.rsplit(maxsplit=1)
                tokens.append(token)
                tags.append(tag.strip())
            elif tokens:
                sentences.append((tokens, tags))
                tokens, tags = [], []
    return sentences


# --- running text -----------------------------------------------------------------------------------------------------


def corpus_names() -> list[str]:
    """Names of the general texts."""
    return sorted(path.name.removesuffix(".txt.xz") for path in (ROOT / "corpus").glob("*.txt.xz"))


def corpus(name: str) -> Iterator[str]:
    """Documents of a general text: paragraphs a line, documents apart by a blank line."""
    with lzma.open(ROOT / f"corpus/{name}.txt.xz", "rt", encoding="utf-8") as stream:
        lines: list[str] = []
        for line in stream:
            if line.strip():
                lines.append(line.rstrip("\n"))
            elif lines:
                yield "\n".join(lines)
                lines = []
        if lines:
            yield "\n".join(lines)


# --- what the project labels ------------------------------------------------------------------------------------------


def sentences(text: str) -> list[str]:
    """Cut a text into sentences, plainly: the pools below must not change when kalibre.language.text does."""
    found = re.split(r"(?<=[.!?])\s+(?=[A-ZÇĞİÖŞÜ\"“])", " ".join(text.split()))
    return [sentence.strip() for sentence in found if sentence.strip()]


@cache
def texts_by_hash() -> dict[str, str]:
    """Every short text that a label may name, by hash."""
    found: dict[str, str] = {}

    def offer(text: str) -> None:
        found.setdefault(text_hash(text), text)

    for row in bist_headlines():
        offer(row["title"])
    for row in weak_news():
        if len(row["text"]) <= 200:
            offer(row["text"])
    for text, category in news():
        if category == "ekonomi":
            for sentence in sentences(text)[:3]:
                offer(sentence)
    for document in corpus("news"):
        for line in document.split("\n")[:2]:
            for sentence in sentences(line)[:2]:
                offer(sentence)
    for row in broker_notes():
        for sentence in sentences(row["text"]):
            offer(sentence)
    for row in forum():
        offer(row["text"])
    return found
