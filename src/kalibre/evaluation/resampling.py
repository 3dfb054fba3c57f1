"""Resampling in blocks: intervals that stay honest when neighbouring samples say nearly the same."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from kalibre.core.errors import EvaluationError
from kalibre.core.protocols import FloatArray

_CELLS: Final = 4_000_000
"""Block sums held in memory at once."""


def block_length(series: FloatArray, *, horizon_bars: int = 1) -> int:
    """Return a block length for the circular block bootstrap of a series' mean.

    The automatic length of Politis and White, but never less than it takes to hold overlapping labels together: four
    horizons, since a block of L holds lag k in a share `1 - k/L` of its pairs only; nor less than the cube root of the
    series' length, which costs next to nothing where samples are independent.

    Parameters
    ----------
    series
        Shape (n_samples,), in order of time.
    horizon_bars
        Samples that neighbouring labels overlap by.

    Returns
    -------
    Samples, at least 1 and at most a third of the series.

    References
    ----------
    Politis & White (2004), Econometric Reviews 23(1), 53-70; corrected by Patton, Politis & White (2009), 28(4),
    372-375.

    Examples
    --------
    >>> block_length(np.random.default_rng(0).standard_normal(1000))
    10
    """
    n = len(series)
    least = max(4 * horizon_bars if horizon_bars > 1 else 1, round(math.cbrt(n)))
    return max(min(max(_automatic_length(series), least), n // 3), 1)


def _automatic_length(series: FloatArray) -> int:
    n = len(series)
    centred = series - series.mean()
    variance = float(np.mean(centred**2))
    if n < 10 or variance <= 0:
        return 1
    run = max(5, math.ceil(math.sqrt(math.log10(n))))
    most = min(math.ceil(math.sqrt(n)) + run, n - 1)
    covariance = np.fft.irfft(np.abs(np.fft.rfft(centred, 2 * n)) ** 2, 2 * n)[: most + 1] / n
    small = np.abs(covariance[1:] / covariance[0]) < 2.0 * math.sqrt(math.log10(n) / n)
    # The first lag after which `run` correlations in a row are negligible.
    quiet = [k for k in range(len(small) - run + 1) if small[k : k + run].all()]
    significant = quiet[0] if quiet else int(np.flatnonzero(~small)[-1]) + 1 if not small.all() else 0
    if significant == 0:
        return 1
    reach = min(2 * significant, most)
    lag = np.arange(reach + 1)
    ratio = lag / reach
    window = np.where(ratio <= 0.5, 1.0, 2.0 * (1.0 - ratio))
    weighted = window * covariance[: reach + 1]
    g = 2.0 * float(lag @ weighted)
    spectrum = float(weighted[0] + 2.0 * weighted[1:].sum())
    if spectrum <= 0:
        return significant
    length = (2.0 * g**2 / (4.0 / 3.0 * spectrum**2)) ** (1 / 3) * n ** (1 / 3)
    return math.ceil(float(min(length, 3.0 * math.sqrt(n), n / 3.0)))


def block_bootstrap_means(series: FloatArray, *, length: int, resamples: int, seed: int) -> FloatArray:
    """Resample a series in circular blocks and return the mean of each resample.

    Parameters
    ----------
    series
        Shape (n_samples,) or (n_samples, n_columns), in order of time; the columns are resampled together.
    length
        Samples in a block, 1 to n_samples.
    resamples
        How many.
    seed
        Of the block starts.

    Returns
    -------
    Shape (resamples,) or (resamples, n_columns).

    Raises
    ------
    EvaluationError
        If there is nothing to resample or the length is out of range.

    References
    ----------
    Politis & Romano (1992), A circular block-resampling procedure for stationary data.

    Examples
    --------
    >>> means = block_bootstrap_means(np.arange(100.0) % 2, length=2, resamples=3, seed=1)
    >>> means.tolist()
    [0.5, 0.5, 0.5]
    """
    n = len(series)
    if not 1 <= length <= n or resamples < 1:
        raise EvaluationError(
            f"{n} samples cannot be resampled {resamples} times in blocks of {length}: pass 1 to {n} for the length"
        )
    columns = series.reshape(n, -1)
    # A block's sum is a difference of running sums, so a resample costs its number of blocks, not of samples.
    running = np.vstack([np.zeros((1, columns.shape[1])), np.cumsum(np.vstack([columns, columns[:length]]), axis=0)])
    rng = np.random.default_rng(seed)
    whole, rest = divmod(n, length)
    means = np.empty((resamples, columns.shape[1]))
    at_once = max(_CELLS // ((whole + 1) * columns.shape[1]), 1)
    for first in range(0, resamples, at_once):
        count = min(at_once, resamples - first)
        start = rng.integers(0, n, size=(count, whole))
        total = (running[start + length] - running[start]).sum(axis=1)
        if rest:
            start = rng.integers(0, n, size=count)
            total += running[start + rest] - running[start]
        means[first : first + count] = total / n
    return means.reshape(resamples, *series.shape[1:])


def block_bootstrap_deviation(series: FloatArray, *, length: int) -> float:
    """Return the standard deviation of a series' mean under the circular block bootstrap, without drawing.

    It is known in closed form: the mean square of all `length`-sample block sums of the centred series.

    Parameters
    ----------
    series
        Shape (n_samples,), in order of time.
    length
        Samples in a block, 1 to n_samples.

    Examples
    --------
    >>> round(block_bootstrap_deviation(np.array([1.0, -1.0, 1.0, -1.0]), length=1), 3)
    0.5
    """
    n = len(series)
    centred = series - series.mean()
    running = np.concatenate([[0.0], np.cumsum(np.concatenate([centred, centred[:length]]))])
    sums = running[length : length + n] - running[:n]
    return math.sqrt(float(np.mean(sums**2)) / length / n)


def thin(n_samples: int, horizon_bars: int) -> int:
    """Return how many of the samples do not overlap: every `horizon_bars`-th.

    Examples
    --------
    >>> thin(1000, 4)
    250
    """
    return n_samples // max(horizon_bars, 1)
