"""Where the verification cuts a history, and what it puts in the place of a future or of a past."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kalibre.core.bars import OPTIONAL, Bars
from kalibre.core.protocols import FloatArray

EDGE_ROWS: Final = 4
BOUNDARIES_MS: Final = (3_600_000, 4 * 3_600_000, 86_400_000, 7 * 86_400_000)


def choose_cuts(bars: Bars, count: int, rng: np.random.Generator, warmups: Sequence[int] = ()) -> list[int]:
    """Choose where to cut a history: both ends, warm-ups, around boundaries and holes, and at random; rising."""
    n = len(bars)
    near: set[int] = {*range(1, EDGE_ROWS), *range(n - EDGE_ROWS, n + 1)}
    for warmup in warmups[:: max(1, len(warmups) // 4)]:
        near |= {warmup, warmup + 1, warmup + 2}
    for span in BOUNDARIES_MS:
        if bars.step_ms < span:
            crossed = np.flatnonzero(np.diff(bars.close_time // span)) + 1
            near |= _around(crossed, rng)
    near |= _around(np.flatnonzero(np.diff(bars.open_time) != bars.step_ms) + 1, rng)
    near = {k for k in near if 0 < k <= n}
    missing = max(0, min(count, n) - len(near))
    return sorted(near | set(rng.integers(1, n + 1, size=missing).tolist()))


def _around(places: NDArray[np.int64], rng: np.random.Generator) -> set[int]:
    if not len(places):
        return set()
    return {int(k) + shift for k in rng.choice(places, size=min(2, len(places)), replace=False) for shift in (-1, 0, 1)}


def altered_futures(tail: Bars, rng: np.random.Generator) -> Iterator[tuple[str, Bars]]:
    """Yield other futures for a tail of bars, each made of sound bars at the same times (but the last, with holes)."""
    n = len(tail)
    yield "scaled", _scaled(tail, np.full(n, 3.7), 0.2)
    yield "reversed", _reordered(tail, np.arange(n)[::-1])
    yield "shuffled", _reordered(tail, rng.permutation(n))
    yield "held constant", _reordered(tail, np.zeros(n, dtype=np.int64))
    yield "thrown to extremes", _scaled(tail, np.where(rng.random(n) < 0.5, 1e-3, 1e3), 1e4)
    yield "thinned out", tail[np.flatnonzero(rng.random(n) < 0.5)]


def other_histories(head: Bars, rng: np.random.Generator) -> Iterator[tuple[str, Bars | None]]:
    """Yield other pasts in the place of a head of bars; None stands for none at all."""
    n = len(head)
    yield "no history", None
    yield "a history at 8 times the price", _scaled(head, np.full(n, 8.0), 30.0)
    yield (
        "a history at a ninth of the price, shuffled",
        _reordered(_scaled(head, np.full(n, 1 / 9), 0.01), rng.permutation(n)),
    )
    yield "a flat history", _reordered(head, np.zeros(n, dtype=np.int64))
    yield "a wild history", _scaled(head, np.exp(np.cumsum(rng.normal(0, 0.05, n))), 1.0)


def _scaled(bars: Bars, price: FloatArray, volume: float) -> Bars:
    columns: dict[str, Any] = {name: getattr(bars, name) * price for name in ("open", "high", "low", "close")}
    for name in ("volume", *OPTIONAL):
        amount = getattr(bars, name)
        columns[name] = None if amount is None else amount * volume
    return replace(bars, **columns)


def _reordered(bars: Bars, order: NDArray[Any]) -> Bars:
    return replace(bars[order], open_time=bars.open_time)
