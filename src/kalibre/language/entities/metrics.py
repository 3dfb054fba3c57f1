"""How right told mentions are: exact place and type, with intervals by blocks of neighbouring sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import UsageError

Spans = Sequence[tuple[Any, ...]]
"""Mentions of one sentence: begin, end, type. What else a tuple holds is not looked at."""
BLOCK, ROUNDS = 10, 2_000


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """Precision, recall and F1 over all mentions; `low` and `high` bound F1 by a 95 % bootstrap interval."""

    f1: float
    precision: float
    recall: float
    low: float
    high: float
    mentions: int
    told: int


def counts(true: Sequence[Spans], told: Sequence[Spans], kind: str | None = None) -> NDArray[np.int64]:
    """Count by sentence: hits, true mentions, told mentions; of one type only where it is named.

    Raises
    ------
    UsageError
        If there are not as many sentences told as true.

    Examples
    --------
    >>> counts([[(0, 2, "ORG")], []], [[(0, 2, "ORG"), (3, 4, "PER")], []]).tolist()
    [[1, 1, 2], [0, 0, 0]]
    """
    if len(true) != len(told):
        raise UsageError(f"{len(told)} sentences are told, {len(true)} true: they are compared one by one")
    found = np.zeros((len(true), 3), dtype=np.int64)
    for row, (right, said) in enumerate(zip(true, told, strict=True)):
        one = {tuple(span[:3]) for span in right if kind in (None, span[2])}
        other = {tuple(span[:3]) for span in said if kind in (None, span[2])}
        found[row] = len(one & other), len(one), len(other)
    return found


def f1_of(sums: NDArray[Any]) -> NDArray[np.float64]:
    """Return F1 of counts (hits, true, told) along the last axis; 1 where there is nothing to find and nothing told."""
    all_mentions = np.asarray(sums[..., 1] + sums[..., 2], dtype=np.float64)
    return np.where(all_mentions > 0, 2 * sums[..., 0] / np.maximum(all_mentions, 1), 1.0)


def drawn(n_sentences: int, *, block: int = BLOCK, rounds: int = ROUNDS, seed: int = 0) -> NDArray[np.int64]:
    """Draw how often each sentence is in each bootstrap sample, whole blocks of neighbours at a time.

    Returns
    -------
    Shape (rounds, n_sentences).
    """
    blocks = max(1, -(-n_sentences // block))
    picked = np.random.default_rng(seed).integers(0, blocks, size=(rounds, blocks))
    times = np.stack([np.bincount(row, minlength=blocks) for row in picked])
    return np.repeat(times, block, axis=1)[:, :n_sentences]


def score(
    true: Sequence[Spans], told: Sequence[Spans], kind: str | None = None, *, block: int = BLOCK, seed: int = 0
) -> Score:
    """Score told mentions against the true ones.

    Parameters
    ----------
    true, told
        Per sentence, in the order of the text: neighbours are drawn together.
    kind
        Only mentions of this type.
    block, seed
        Sentences in a block, and the seed, of the bootstrap.

    Examples
    --------
    >>> found = score([[(0, 1, "ORG")], [(2, 3, "PER")]], [[(0, 1, "ORG")], [(2, 3, "ORG")]])
    >>> found.f1, found.precision, found.recall
    (0.5, 0.5, 0.5)
    """
    table = counts(true, told, kind)
    hits, n_true, n_told = (int(value) for value in table.sum(axis=0))
    again = f1_of(drawn(len(table), block=block, seed=seed) @ table) if len(table) else np.ones(1)
    low, high = np.percentile(again, [2.5, 97.5])
    return Score(
        f1=float(f1_of(table.sum(axis=0))),
        precision=hits / n_told if n_told else float(n_true == 0),
        recall=hits / n_true if n_true else 1.0,
        low=float(low),
        high=float(high),
        mentions=n_true,
        told=n_told,
    )


def gain(
    true: Sequence[Spans], one: Sequence[Spans], other: Sequence[Spans], *, block: int = BLOCK, seed: int = 0
) -> tuple[float, float, float]:
    """Return how much higher F1 of `one` is than that of `other`, with its paired 95 % bootstrap interval."""
    first, second = counts(true, one), counts(true, other)
    times = drawn(len(first), block=block, seed=seed)
    low, high = np.percentile(f1_of(times @ first) - f1_of(times @ second), [2.5, 97.5])
    return float(f1_of(first.sum(axis=0)) - f1_of(second.sum(axis=0))), float(low), float(high)


def calibration_error(told: Sequence[tuple[float, bool]], bins: int = 10) -> float:
    """Return the expected calibration error of probabilities and whether each was right, in bins of equal width.

    Examples
    --------
    >>> round(calibration_error([(0.8, True)] * 8 + [(0.8, False)] * 2), 3)
    0.0
    """
    if not told:
        return 0.0
    probability, right = np.array(told, dtype=np.float64).T
    place = np.minimum((probability * bins).astype(np.int64), bins - 1)
    of_bin = np.bincount(place, weights=probability - right, minlength=bins)
    return float(np.abs(of_bin).sum() / len(told))
