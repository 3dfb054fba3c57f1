"""Sentences of a toy market of our own: what a headline says, whom it names, and where an answer stands."""

from __future__ import annotations

import random

NAMES = ("Örnek Holding", "Deneme Bankası", "Sınama Çelik", "Misal Enerji", "Kurgu Gıda", "Yapay Cam")
TICKERS = ("ORNEK", "DENEM", "SINAM", "MISAL")
MOVES = {
    "positive": ("kârını artırdı", "güçlü yükseldi", "yeni ihale aldı"),
    "negative": ("kârını düşürdü", "sert geriledi", "üretimi durdurdu"),
    "neutral": ("genel kurulu topladı", "adresini değiştirdi", "sunum yaptı"),
}
DAYS = ("pazartesi", "salı", "çarşamba", "perşembe", "cuma")


def headlines(count: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Write headlines and what they say."""
    drawn = random.Random(seed)
    rows = []
    for number in range(count):
        label = drawn.choice(sorted(MOVES))
        rows.append((f"{drawn.choice(NAMES)} {drawn.choice(DAYS)} günü {drawn.choice(MOVES[label])} {number}", label))
    return [text for text, _ in rows], [label for _, label in rows]


def tagged(count: int, seed: int = 0) -> tuple[list[list[str]], list[list[str]]]:
    """Write tokenised sentences and their IOB2 tags."""
    drawn = random.Random(seed)
    sentences, tags = [], []
    for _ in range(count):
        first, second = drawn.choice(NAMES).split()
        move = drawn.choice(MOVES[drawn.choice(sorted(MOVES))]).split()
        words = [drawn.choice(DAYS), "günü", first, second, *move, drawn.choice(TICKERS), "payları", "izlendi", "."]
        marks = ["O", "O", "B-ORGANIZATION", "I-ORGANIZATION", *["O"] * len(move), "B-TICKER", "O", "O", "O"]
        sentences.append(words)
        tags.append(marks)
    return sentences, tags


def questions(count: int, seed: int = 0) -> list[tuple[str, str, str, int, str]]:
    """Write (question, passage, answer, start, group)."""
    drawn = random.Random(seed)
    rows = []
    for number in range(count):
        name, day, place = drawn.choice(NAMES), drawn.choice(DAYS), drawn.choice(("Ankara", "İzmir", "Bursa", "Adana"))
        passage = f"{name} {number}. fabrikasını {place} ilinde kurdu. Karar {day} günü alındı."
        question, answer = ((f"{name} nerede fabrika kurdu?", place), (f"{name} ne gün karar aldı?", day))[number % 2]
        rows.append((question, passage, answer, passage.index(answer), f"belge {number // 4}"))
    return rows
