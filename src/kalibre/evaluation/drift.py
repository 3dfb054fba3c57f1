"""Drift: whether what comes in, or how well it is foreseen, is no longer what it was.

Two tests watch a stream of losses and remember little (ADWIN, Page-Hinkley); two compare samples (PSI,
Kolmogorov-Smirnov). None of them says why.
"""

from __future__ import annotations

import json
import math
from typing import NamedTuple

import numpy as np

from kalibre.core.errors import EvaluationError
from kalibre.core.protocols import FloatArray

_CUTS_EVERY = 32
"""Values between two looks for a cut: a look costs more than taking a value in."""
_BUCKETS = 5
_LEAST_SIDE = 30


class Alarm(NamedTuple):
    """A test's alarm: what it measured, and what it would have let pass."""

    statistic: float
    threshold: float


class PageHinkley:
    """Gives alarm when a mean has risen: losses grow.

    Parameters
    ----------
    delta
        Rise that is tolerated, in the unit of the values.
    threshold
        Cumulated excess at which it gives alarm; smaller is quicker and errs more often.
    least
        Values before it may give alarm.

    References
    ----------
    Page (1954), Biometrika 41(1/2), 100-115; Hinkley (1971), Biometrika 58(3), 509-523.

    Examples
    --------
    >>> test = PageHinkley(delta=0.005, threshold=5.0, least=30)
    >>> alarms = [k for k in range(400) if test.take(0.2 if k < 200 else 0.9)]
    >>> 200 < alarms[0] < 220
    True
    """

    def __init__(self, *, delta: float, threshold: float, least: int) -> None:
        self._delta, self._threshold, self._least = delta, threshold, least
        self._n, self._mean, self._sum, self._lowest = 0, 0.0, 0.0, 0.0

    def take(self, value: float) -> Alarm | None:
        """Take a value in; after an alarm it begins anew."""
        self._n += 1
        self._mean += (value - self._mean) / self._n
        self._sum += value - self._mean - self._delta
        self._lowest = min(self._lowest, self._sum)
        excess = self._sum - self._lowest
        if self._n < self._least or excess <= self._threshold:
            return None
        self._n, self._mean, self._sum, self._lowest = 0, 0.0, 0.0, 0.0
        return Alarm(excess, self._threshold)

    def state(self) -> str:
        """Return everything that later answers depend on, as JSON."""
        return json.dumps([self._n, self._mean, self._sum, self._lowest])

    def restore(self, state: str) -> None:
        """Take on what `state` returned."""
        self._n, self._mean, self._sum, self._lowest = json.loads(state)


class Adwin:
    """Keeps as long a window as its mean stays the same, and gives alarm when it has to cut.

    The window is an exponential histogram: its size grows with the logarithm of its length.

    Parameters
    ----------
    delta
        Probability of a false alarm at a look.

    References
    ----------
    Bifet and Gavalda (2007), SIAM International Conference on Data Mining, 443-448.

    Examples
    --------
    >>> test = Adwin(delta=0.002)
    >>> alarms = [k for k in range(2_000) if test.take(float(k >= 1_000))]
    >>> 1_000 < alarms[0] < 1_100
    True
    """

    def __init__(self, *, delta: float = 0.002) -> None:
        self._delta = delta
        # Of each row k, oldest first, (sum, sum of squared deviations) of up to `_BUCKETS` buckets of 2**k values.
        self._rows: list[list[tuple[float, float]]] = [[]]
        self._n, self._total, self._spread, self._since = 0, 0.0, 0.0, 0

    @property
    def length(self) -> int:
        """Values in the window."""
        return self._n

    @property
    def mean(self) -> float:
        """Mean of the window; 0 while it is empty."""
        return self._total / self._n if self._n else 0.0

    def take(self, value: float) -> Alarm | None:
        """Take a value in and cut what no longer belongs to it; alarm only where the mean has risen."""
        if self._n:
            self._spread += (value - self.mean) ** 2 * self._n / (self._n + 1)
        self._rows[0].append((value, 0.0))
        self._n += 1
        self._total += value
        self._compress()
        self._since += 1
        if self._since < _CUTS_EVERY or self._n < 2 * _LEAST_SIDE:
            return None
        self._since = 0
        return self._cut()

    def _compress(self) -> None:
        k = 0
        while len(self._rows[k]) > _BUCKETS:
            (one, spread_one), (other, spread_other) = self._rows[k][:2]
            del self._rows[k][:2]
            if k + 1 == len(self._rows):
                self._rows.append([])
            size = 2**k
            between = (one - other) ** 2 / (2 * size)
            self._rows[k + 1].append((one + other, spread_one + spread_other + between))
            k += 1

    def _cut(self) -> Alarm | None:
        """Drop the oldest buckets as long as some split of the window has two different means."""
        alarm: Alarm | None = None
        cutting = True
        while cutting and self._n >= 2 * _LEAST_SIDE:
            cutting = False
            left_n, left_sum = 0, 0.0
            variance = max(self._spread / self._n, 0.0)
            for k, total in self._oldest_first():
                left_n, left_sum = left_n + 2**k, left_sum + total
                right_n = self._n - left_n
                if left_n < _LEAST_SIDE:
                    continue
                if right_n < _LEAST_SIDE:
                    break
                left, right = left_sum / left_n, (self._total - left_sum) / right_n
                limit = self._limit(left_n, right_n, variance)
                if abs(left - right) > limit:
                    if right > left and alarm is None:
                        alarm = Alarm(right - left, limit)
                    self._drop_oldest()
                    cutting = True
                    break
        return alarm

    def _limit(self, left_n: int, right_n: int, variance: float) -> float:
        harmonic = 1.0 / (1.0 / left_n + 1.0 / right_n)
        log_term = math.log(2.0 * math.log(self._n) / self._delta)
        return math.sqrt(2.0 / harmonic * variance * log_term) + 2.0 / (3.0 * harmonic) * log_term

    def _oldest_first(self) -> list[tuple[int, float]]:
        return [(k, total) for k in range(len(self._rows) - 1, -1, -1) for total, _ in self._rows[k]]

    def _drop_oldest(self) -> None:
        k = len(self._rows) - 1
        total, spread = self._rows[k].pop(0)
        size = 2**k
        rest = self._n - size
        if rest:
            difference = total / size - (self._total - total) / rest
            self._spread = max(self._spread - spread - difference**2 * size * rest / self._n, 0.0)
        self._n, self._total = rest, self._total - total
        if not self._rows[k] and k:
            self._rows.pop()

    def state(self) -> str:
        """Return everything that later answers depend on, as JSON."""
        return json.dumps([self._rows, self._n, self._total, self._spread, self._since])

    def restore(self, state: str) -> None:
        """Take on what `state` returned."""
        rows, self._n, self._total, self._spread, self._since = json.loads(state)
        self._rows = [[(float(total), float(spread)) for total, spread in row] for row in rows]


def population_stability(reference: FloatArray, recent: FloatArray, *, n_bins: int = 10) -> float:
    """Return the population stability index: below 0.1 the same, above 0.25 another distribution.

    Parameters
    ----------
    reference, recent
        Samples of any length, finite. The bins are the reference's quantiles; ties may leave fewer of them.

    Raises
    ------
    EvaluationError
        If a sample is empty.

    References
    ----------
    Siddiqi (2006), Credit Risk Scorecards, Wiley. It is the symmetric Kullback-Leibler divergence of two histograms.

    Examples
    --------
    >>> same = np.linspace(0, 1, 1_000)
    >>> population_stability(same, same) < 0.001, population_stability(same, same**3) > 0.25
    (True, True)
    """
    if not len(reference) or not len(recent):
        raise EvaluationError(f"samples of {len(reference)} and {len(recent)} values cannot be compared: give both")
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, n_bins + 1)[1:-1]))
    counts = [np.bincount(np.searchsorted(edges, one), minlength=len(edges) + 1) for one in (reference, recent)]
    # Half a sample in every bin: an empty one is no proof that nothing ever falls there.
    expected, found = ((count + 0.5) / (count.sum() + 0.5 * len(count)) for count in counts)
    return float(np.sum((found - expected) * np.log(found / expected)))


def kolmogorov_smirnov(reference: FloatArray, recent: FloatArray) -> tuple[float, float]:
    """Return the largest distance between two empirical distributions, and its p-value (asymptotic, two-sided).

    Raises
    ------
    EvaluationError
        If a sample is empty.

    References
    ----------
    Smirnov (1948), Annals of Mathematical Statistics 19(2), 279-281.

    Examples
    --------
    >>> kolmogorov_smirnov(np.arange(100.0), np.arange(100.0) + 50)[0]
    0.5
    """
    if not len(reference) or not len(recent):
        raise EvaluationError(f"samples of {len(reference)} and {len(recent)} values cannot be compared: give both")
    from scipy.special import kolmogorov

    one, other = np.sort(reference), np.sort(recent)
    at = np.concatenate([one, other])
    distance = np.abs(
        np.searchsorted(one, at, side="right") / len(one) - np.searchsorted(other, at, side="right") / len(other)
    ).max()
    size = len(one) * len(other) / (len(one) + len(other))
    return float(distance), float(kolmogorov(math.sqrt(size) * distance))
