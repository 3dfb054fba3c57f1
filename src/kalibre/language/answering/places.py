"""What speaks for each unit of a passage as the first, the last, or an inner unit of the answer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kalibre.language.answering.kinds import good_pieces
from kalibre.language.answering.matching import Pair, place_features
from kalibre.language.answering.question import Question
from kalibre.language.answering.words import NUMBER, POINT, PREFIX, Units, hashed

Floats = NDArray[np.float32]
BUCKETS = 1 << 17
"""Columns of the lexical models."""

_MARKS = {",": 4, ".": 5, "(": 6, ")": 7, ";": 8, ":": 9, "-": 10, "–": 10, "!": 5, "?": 5, "%": 13}


@dataclass(frozen=True, eq=False)
class Places:
    """What is known of each unit before any model of places has spoken.

    Attributes
    ----------
    laid
        The question over the passage.
    around
        Shape (n, k), see `place_features`.
    channels
        Arrays of shape (n,) that are read at neighbouring units.
    kind
        What the question asks for, an index of `kinds.ASKED`.
    pieces
        First and last unit of each piece of such a kind, shape (k, 2).
    """

    laid: Pair
    around: Floats
    channels: dict[str, Floats]
    kind: int
    pieces: NDArray[np.int64]


def places(laid: Pair, rare: Floats) -> Places:
    """Gather what is known of each unit; `rare` is the rarity of the passage's units."""
    around, channels = place_features(laid)
    passage = laid.passage
    shapes = passage.shapes
    channels = {
        **channels,
        "mark": marks(passage),
        "ending": passage.endings.astype(np.float32),
        "capital": shapes[:, 0],
        "number": shapes[:, 4] + 2 * shapes[:, 2] + 4 * shapes[:, 3],
        "rare": rare,
        "bracket": shapes[:, 6] + 2 * shapes[:, 7],
        "roman": shapes[:, 5],
    }
    kind, spans, pieces = good_pieces(laid.question, passage)
    opens, closes, good = (np.zeros(len(passage), np.float32) for _ in range(3))
    for first, last in spans.tolist():
        opens[first], closes[last], good[first : last + 1] = 1, 1, 1
    channels |= {"kind": pieces.at.astype(np.float32), "opens": opens, "closes": closes, "good": good}
    return Places(laid, around, channels, kind, spans)


def register(found: Places) -> tuple[float, float, float]:
    """Return what kind of text a passage is: how rare its words are, and its shares of numbers and of capitals."""
    passage = found.laid.passage
    return (
        float(found.channels["rare"].mean()),
        float((passage.kinds == NUMBER).mean()),
        float(passage.shapes[:, 0].mean()),
    )


def marks(passage: Units) -> Floats:
    """Return the class of each unit: word, number, suffix, or which point."""
    return np.array(
        [
            kind if kind != POINT else _MARKS.get(word, 11 if word in "\"“”'’‘«»`´" else 12)
            for kind, word in zip(passage.kinds.tolist(), passage.words, strict=True)
        ],
        np.float32,
    )


_WINDOWS = (
    ("match", -4, 4), ("sided", -3, 3), ("focus", -2, 3), ("mark", -2, 3), ("ending", -2, 3), ("capital", -2, 2),
    ("number", -1, 2), ("rare", -1, 2), ("bracket", 0, 0), ("roman", 0, 0), ("start", -1, 2), ("end", -2, 1),
    ("inside", -2, 2), ("kind", -1, 2), ("opens", 0, 1), ("closes", -1, 0), ("good", -1, 1),
)  # fmt: skip


def table(found: Places, chosen: NDArray[np.int64], sentence_score: Floats, lexical: Floats) -> Floats:
    """Return the features of the chosen units, shape (len(chosen), k).

    Parameters
    ----------
    found
        Of the question over the passage.
    chosen
        Indices of units.
    sentence_score
        Shape (sentences,), what the model of sentences says.
    lexical
        Shape (n, 3), what the lexical models say of start, end and inside.
    """
    laid = found.laid
    passage, question = laid.passage, laid.question
    channels = {**found.channels, "start": lexical[:, 0], "end": lexical[:, 1], "inside": lexical[:, 2]}
    columns = []
    n = len(passage)
    for name, first, last in _WINDOWS:
        padded = np.full(n + 16, -1.0, np.float32)
        padded[8 : 8 + n] = channels[name]
        columns += [padded[chosen + 8 + step] for step in range(first, last + 1)]
    sentence = passage.sentence
    ranks = np.argsort(np.argsort(-sentence_score, kind="stable"), kind="stable")
    first_unit = np.searchsorted(sentence, sentence)
    last_unit = np.searchsorted(sentence, sentence, side="right") - 1
    score = sentence_score[sentence]
    index = np.arange(n)
    columns += [
        score[chosen],
        (score - sentence_score.max())[chosen],
        *(one[chosen].astype(np.float32) for one in (ranks[sentence], index - first_unit, last_unit - index)),
    ]
    ask = (*_asked(question), *register(found), float(found.kind), float(len(found.pieces)))
    columns += [np.full(len(chosen), value, np.float32) for value in ask]
    agrees = channels["ending"] == ask[1]
    columns += [agrees[chosen]]
    return np.column_stack([*columns, found.around[chosen]]).astype(np.float32)


def _asked(question: Question) -> tuple[float, ...]:
    endings = question.units.endings
    n = len(endings)
    asking = float(endings[question.asking]) if n else 0.0
    focus = float(endings[question.focus]) if question.focus >= 0 else -1.0
    follows = question.asking + question.width < n
    return (float(question.kind), focus if focus >= 0 else asking, asking, float(n), float(follows))


# --- the lexical models' columns --------------------------------------------------------------------------------------


@lru_cache(maxsize=400_000)
def _bucket(name: str) -> int:
    return hashed(name, BUCKETS)


def lexical_columns(found: Places, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the buckets that are on for each chosen unit, shape (len(chosen), k): words by kind of question."""
    passage, question = found.laid.passage, found.laid.question
    kind = str(question.kind)
    words = question.units.words
    focus = words[question.focus][:PREFIX] if question.focus >= 0 else "-"
    asked = str(int(_asked(question)[1]))
    verb = next((w[:PREFIX] for w, on in zip(words[::-1], question.content[::-1], strict=True) if on), "-")
    heads = [""] * 3 + [word[:PREFIX] for word in passage.words] + [""] * 3
    tails = (
        [""] * 3
        + [
            f"{end}.{int(mark)}.{int(cap)}"
            for end, mark, cap in zip(
                passage.endings.tolist(),
                found.channels["mark"].tolist(),
                found.channels["capital"].tolist(),
                strict=True,
            )
        ]
        + [""] * 3
    )
    kinds = [0] * 3 + (found.channels["kind"] + 10 * found.channels["good"]).astype(int).tolist() + [0] * 3
    matched = [0] * 3 + np.sign(found.channels["sided"]).astype(int).tolist() + [0] * 3
    numbers = found.channels["number"].astype(int).tolist()
    rows = []
    for unit in chosen.tolist():
        at = unit + 3
        here = f"{tails[at]}.{numbers[unit]}"
        last3 = passage.words[unit][-3:]
        names = [f"k{kind}|{step}{heads[at + step]}" for step in (-2, -1, 0, 1, 2)]
        names += [f"e{kind}|{step}{tails[at + step]}.{matched[at + step]}" for step in (-2, -1, 0, 1, 2)]
        names += [
            f"s{kind}|{here}|{asked}|{matched[at]}",
            f"f{focus}|{here}",
            f"g{focus}|{heads[at]}",
            f"h{focus}|{heads[at + 1]}",
            f"v{verb}|{here}|{kind}",
            f"3{kind}|{last3}|{asked}",
            f"b{kind}|{here}|{tails[at + 1]}|{matched[at + 1]}",
            f"a{kind}|{here}|{tails[at - 1]}|{matched[at - 1]}",
            f"w{heads[at]}",
            f"x{heads[at]}|{heads[at + 1]}",
            f"y{heads[at - 1]}|{heads[at]}",
            f"p{found.kind}|{kinds[at]}|{tails[at]}|{kinds[at - 1] == kinds[at]}|{kinds[at + 1] == kinds[at]}",
            f"q{found.kind}|{heads[at]}",
            f"r{found.kind}|{tails[at]}|{heads[at + 1]}",
        ]
        rows.append([_bucket(name) for name in names])
    return np.array(rows, np.int64).reshape(len(rows), 24 if rows else 0)
