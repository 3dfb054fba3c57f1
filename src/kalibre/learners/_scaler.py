"""Standardising on the way, compiled: running mean and variance of each column, which forget slowly."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kalibre.learners.kernels import compiled

MEAN, VARIANCE, SCALE = 0, 1, 2
SCALER_ROWS = 3
"""Rows of a scaler: the mean of each column, its population variance, and one over its standard deviation."""


def _is_known(row: NDArray[np.float64], n: int) -> bool:
    """Say whether the first `n` numbers of a row are finite."""
    unknown = 0
    for i in range(n):
        unknown |= int(not abs(row[i]) < np.inf)
    return unknown == 0


is_known = compiled(_is_known)


def _take(table: NDArray[np.float64], at: int, row: NDArray[np.float64], n: int, rate: float) -> None:
    """Let the scaler that begins at a row of the table learn the first `n` numbers of a sample.

    With `rate` = 1/k at the k-th row they are those of all rows (Welford); with a rate that stays above some 1/memory
    the past fades from then on, as in an exponentially weighted mean and variance.
    """
    mean, variance, scale = table[at + MEAN], table[at + VARIANCE], table[at + SCALE]
    kept = 1.0 - rate
    for i in range(n):
        apart = row[i] - mean[i]
        mean[i] += rate * apart
        variance[i] = kept * (variance[i] + rate * apart * apart)
        # What has not moved yet, or only by rounding, says nothing.
        scale[i] = 1.0 / math.sqrt(variance[i]) if variance[i] > 1e-28 * mean[i] * mean[i] else 0.0


take = compiled(_take)


def _standardise(
    table: NDArray[np.float64], at: int, row: NDArray[np.float64], n: int, furthest: float, out: NDArray[np.float64]
) -> None:
    """Write by how many standard deviations each of `n` numbers lies off its mean, at most `furthest`; then a 1."""
    mean, scale = table[at + MEAN], table[at + SCALE]
    for i in range(n):
        out[i] = min(max((row[i] - mean[i]) * scale[i], -furthest), furthest)
    out[n] = 1.0


standardise = compiled(_standardise)
