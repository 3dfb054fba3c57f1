"""The states that the reinforcement learner tells apart: edges that a trader would name, none of them fitted.

A state of the market is one of 120 cells: RSI, sign and slope of the MACD, trend, volatility. RSI and trend are read
between their knots: a bar half way between two belongs to both by half, so that nothing jumps where an edge happens to
lie. Everything is known at the close of the bar whose row it is read from.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kalibre.core.protocols import FloatArray
from kalibre.learners.kernels import compiled

COLUMNS: Final = (
    "rsi_14",
    "macd_relative_12_26",
    "macd_histogram_relative_12_26_9",
    "sma_distance_96",
    "realised_volatility_20",
    "realised_volatility_96",
)
"""What a state is read from, in this order."""
RSI: Final = (30.0, 50.0, 70.0)
"""Wilder's own marks."""
TREND: Final = (-0.6, -0.3, 0.0, 0.3, 0.6)
"""How far the close stands from the mean of 96 bars, in standard deviations of what 96 bars move."""
TREND_BARS: Final = 96.0
N_RSI: Final = 3
N_TREND: Final = 5
N_CELLS: Final = N_RSI * 2 * 2 * N_TREND * 2
CORNERS: Final = 4
"""Cells that a bar can belong to at once: two by RSI, times two by trend."""

_RSI_NAMES = ("oversold (30)", "even (50)", "overbought (70)")
_MACD_NAMES = ("below 0", "above 0")
_SLOPE_NAMES = ("falling", "rising")
_TREND_NAMES = ("far below", "below", "at its mean", "above", "far above")
_VOLATILITY_NAMES = ("calm", "wild")
CELL_NAMES: Final = tuple(
    dict(zip(("rsi", "macd", "slope", "trend", "volatility"), named, strict=True))
    for named in product(_RSI_NAMES, _MACD_NAMES, _SLOPE_NAMES, _TREND_NAMES, _VOLATILITY_NAMES)
)
"""Every cell in words, by its number."""


@compiled
def _rsi_place(value: float) -> tuple[int, float]:
    """Return the knot at or below a value and the share of the next one, 0 to 1."""
    if value <= RSI[0]:
        return 0, 0.0
    for k in range(N_RSI - 1):
        if value < RSI[k + 1]:
            return k, (value - RSI[k]) / (RSI[k + 1] - RSI[k])
    return N_RSI - 2, 1.0


@compiled
def _trend_place(value: float) -> tuple[int, float]:
    if value <= TREND[0]:
        return 0, 0.0
    for k in range(N_TREND - 1):
        if value < TREND[k + 1]:
            return k, (value - TREND[k]) / (TREND[k + 1] - TREND[k])
    return N_TREND - 2, 1.0


class Reading(NamedTuple):
    """The numbers of a row that a state is read from, in the order of `COLUMNS`."""

    rsi: float
    macd: float
    histogram: float
    distance: float
    volatility_now: float
    volatility: float


class Place(NamedTuple):
    """Where a bar is: the cells that it belongs to and its share of each, both of shape (CORNERS,)."""

    cells: NDArray[np.int64]
    shares: FloatArray


def nowhere() -> Place:
    """Return a place to be written to."""
    return Place(np.zeros(CORNERS, dtype=np.int64), np.zeros(CORNERS))


@compiled
def locate(place: Place, reading: Reading) -> bool:
    """Write the cells that a row belongs to and their shares, which sum to 1; False where a number is unknown.

    The slope of the MACD is the sign of its histogram: MACD less its own exponential mean is an exponential mean of
    the MACD's changes.
    """
    known = math.isfinite(reading.rsi + reading.macd + reading.histogram + reading.distance + reading.volatility_now)
    if not (known and 0.0 < reading.volatility < math.inf):
        return False
    r, r_share = _rsi_place(reading.rsi)
    t, t_share = _trend_place(reading.distance / (reading.volatility * math.sqrt(TREND_BARS)))
    signs = 2 * (reading.macd > 0.0) + (reading.histogram > 0.0)
    wild = 1 if reading.volatility_now > reading.volatility else 0
    for corner in range(CORNERS):
        up_r, up_t = corner // 2, corner % 2
        place.cells[corner] = (((r + up_r) * 4 + signs) * N_TREND + t + up_t) * 2 + wild
        place.shares[corner] = (r_share if up_r else 1.0 - r_share) * (t_share if up_t else 1.0 - t_share)
    return True


@compiled
def trend_of(cell: int) -> int:
    """Return the trend's knot of a cell."""
    return (cell // 2) % N_TREND


@compiled
def nearest(place: Place) -> int:
    """Return the cell that a bar belongs to most, the first of equals."""
    best = 0
    for corner in range(1, CORNERS):
        if place.shares[corner] > place.shares[best]:
            best = corner
    return int(place.cells[best])


@compiled
def _cell_of(scratch: Place, reading: Reading) -> int:
    return nearest(scratch) if locate(scratch, reading) else -1


def cell_of(reading: Reading) -> int:
    """Return the cell that a row belongs to most; -1 where a number is unknown."""
    cell: int = _cell_of(nowhere(), reading)
    return cell
