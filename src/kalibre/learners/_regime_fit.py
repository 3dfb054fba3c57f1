"""How the regimes' model is learnt from a stretch of bars: what is seen of a bar, where to begin, which order to keep.

Of a bar two numbers are seen: its *level*, the logarithm of its volatility by Garman and Klass, and its *lean*, its
return over that volatility. Within a regime the first is nearly normal (Alizadeh, Brandt and Diebold, 2002, found so of
the range) and far less noisy than the return's square; the second tells direction without telling volatility once
more. A drift leans a bar the more, the more volatile the bar is (Girsanov), so the bar's own volatility weighs the mean
of its lean.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kalibre.core.bars import Bar
from kalibre.core.protocols import FloatArray
from kalibre.learners import _hmm as hmm

_GARMAN_KLASS = 2.0 * math.log(2.0) - 1.0
_CALM, _LEAST_SHARE = 0.2, 0.1
"""No bar counts as less volatile than a tenth of what a fifth of all bars are below: prices come in ticks."""
_WILD, _MOST_TIMES = 0.8, 5.0
"""Nor as more than five times what a fifth are above: beyond, a normal law believes whichever state varies most."""
FLOORS = np.array([0.1**2, 0.2**2])
"""Least variance of level and lean: a third, and less, of what a single bar's chance alone makes of them."""
_STAY = 0.97
_SMOOTHED = 16
_CUTS = ((1 / 3, 2 / 3), (0.6, 0.9), (0.85, 0.97), (0.1, 0.4))
"""Quantiles of the volatility by which learning begins: regimes are rarely as frequent as each other."""
_RANDOM_STARTS = 2
_TRIED = 2_048
"""Newest bars that beginnings are tried on; only the last rounds are on all."""
_FIRST_ROUNDS, _FOLLOWED, _MORE_ROUNDS, _LAST_ROUNDS = 20, 2, 50, 20
"""All beginnings are tried for so many rounds, the best two for so many more, and the better one for the last."""


class Scale(NamedTuple):
    """What is added to the variance of every bar, and what it counts at most."""

    least: float
    most: float

    @property
    def typical(self) -> float:
        """The volatility whose weight is 1."""
        return math.sqrt(self.least) / _LEAST_SHARE


class Fit(NamedTuple):
    """A model in canonical order, the filtered probabilities of the newest bar, and the log-likelihood of all."""

    model: FloatArray
    belief: FloatArray
    log_likelihood: float


def measured(bar: Bar, log_return: float) -> tuple[float, float]:
    """Return a bar's variance (Garman and Klass, from the close before on) and its log return; NaN where it has none.

    A bar that nobody traded in tells nothing.

    Examples
    --------
    >>> bar = Bar(open_time=0, open=1.0, high=1.02, low=1.0, close=1.0, volume=5.0)
    >>> round(measured(bar, 0.0)[0] ** 0.5, 4)
    0.014
    """
    high, low, close = bar.high, bar.low, bar.close
    if not (bar.volume > 0.0 and 0.0 < low <= close <= high < math.inf and math.isfinite(log_return)):
        return math.nan, math.nan
    over, under = max(math.log(high / close), -log_return), min(math.log(low / close), -log_return)
    spread = over - under
    return 0.5 * spread * spread - _GARMAN_KLASS * log_return * log_return, log_return


def scale_of(bars: FloatArray) -> Scale | None:
    """Return the scale of bars, rows of `measured`; None where none of them moved."""
    moved = bars[bars[:, 0] > 0.0, 0]
    if not len(moved):
        return None
    calm, wild = np.quantile(moved, (_CALM, _WILD)).tolist()
    return Scale(_LEAST_SHARE**2 * calm, _MOST_TIMES**2 * wild)


def seen_of(bars: FloatArray, scale: Scale) -> FloatArray:
    """Return level, lean and weight of bars, shape (n_bars, 3), NaN where nothing is known."""
    volatility = np.sqrt(np.minimum(bars[:, 0], scale.most) + scale.least)
    lean = bars[:, 1] / np.sqrt(bars[:, 0] + scale.least)
    return np.stack([np.log(volatility), lean, volatility / scale.typical], axis=1)


def seen_one(variance: float, log_return: float, scale: Scale) -> tuple[float, float, float]:
    """Return level, lean and weight of a bar."""
    volatility = math.sqrt(min(variance, scale.most) + scale.least)
    return math.log(volatility), log_return / math.sqrt(variance + scale.least), volatility / scale.typical


def leans(model: FloatArray, scale: Scale) -> FloatArray:
    """Return how a typical bar of each state leans: its return over its volatility."""
    lean: FloatArray = model[:, hmm.MEAN + 1] * np.exp(model[:, hmm.MEAN]) / scale.typical
    return lean


# --- learning ---------------------------------------------------------------------------------------------------------


def bettered(seen: FloatArray, scale: Scale, model: FloatArray, rounds: int) -> Fit:
    """Return what some rounds of learning make of a model."""
    begun = model.copy()
    begun[:, hmm.START] = 1.0 / hmm.N_STATES
    likelihood, better, filtered = hmm.fitted(seen, begun, FLOORS, rounds)
    order = canonical(better, scale)
    return Fit(_reordered(better, order), filtered[-1][order], likelihood)


def fresh(seen: FloatArray, scale: Scale, rng: np.random.Generator) -> Fit:
    """Return the likeliest model that is found from several beginnings."""
    newest = np.ascontiguousarray(seen[-_TRIED:])
    tried = [bettered(newest, scale, begun, _FIRST_ROUNDS) for begun in _beginnings(newest, rng)]
    tried.sort(key=_likelihood, reverse=True)
    best = max((bettered(newest, scale, one.model, _MORE_ROUNDS) for one in tried[:_FOLLOWED]), key=_likelihood)
    return bettered(seen, scale, best.model, _LAST_ROUNDS)


def _likelihood(one: Fit) -> float:
    return one.log_likelihood


def canonical(model: FloatArray, scale: Scale) -> NDArray[np.intp]:
    """Return the states from calm and rising to stormy and falling: level less lean.

    Two states of one volatility differ in drift and two of one drift in volatility, so no chance exchanges them.
    """
    return np.argsort(model[:, hmm.MEAN] - leans(model, scale), kind="stable")


def _reordered(model: FloatArray, order: NDArray[np.intp]) -> FloatArray:
    moved = model[order]
    moved[:, hmm.MOVES : hmm.MOVES + hmm.N_STATES] = moved[:, hmm.MOVES + order]
    return np.ascontiguousarray(moved)


def _beginnings(seen: FloatArray, rng: np.random.Generator) -> list[FloatArray]:
    known = seen[~np.isnan(seen[:, 0])]
    level, lean = _smoothed(known[:, 0]), _smoothed(known[:, 1])
    by_level = [_shared(level, cuts) for cuts in _CUTS]
    by_lean = _shared(lean, _CUTS[0])
    falls = (lean < 0.0).astype(np.intp)
    both = [np.where(by_level[0] == 2, 2, falls), np.where(by_level[0] == 0, 0, 1 + falls)]
    begun = [_of_shares(known, share) for share in (*by_level, by_lean, *both)]
    for _ in range(_RANDOM_STARTS):
        low, high = np.sort(rng.uniform(0.02, 0.98, 2)).tolist()
        begun.append(_of_shares(known, _shared(level, (low, high))))
    return begun


def _shared(values: FloatArray, cuts: tuple[float, float]) -> NDArray[np.intp]:
    """Share bars out among three states at two quantiles."""
    return np.searchsorted(np.quantile(values, cuts), values)


def _of_shares(known: FloatArray, share: NDArray[np.intp]) -> FloatArray:
    """Return the model of bars that are shared out among the states."""
    model = np.zeros((hmm.N_STATES, hmm.MODEL_COLUMNS))
    moves = model[:, hmm.MOVES : hmm.MOVES + hmm.N_STATES]
    moves[:] = (1.0 - _STAY) / (hmm.N_STATES - 1)
    np.fill_diagonal(moves, _STAY)
    for k in range(hmm.N_STATES):
        own = known[share == k] if (share == k).any() else known
        model[k, hmm.MEAN : hmm.MEAN + 2] = own[:, :2].mean(axis=0)
        model[k, hmm.VARIANCE : hmm.VARIANCE + 2] = np.maximum(own[:, :2].var(axis=0), FLOORS)
    return model


def _smoothed(values: FloatArray) -> FloatArray:
    """Return the mean of the bars around each."""
    sums = np.concatenate(([0.0], np.cumsum(values)))
    at = np.arange(len(values))
    begin, end = np.maximum(at - _SMOOTHED // 2, 0), np.minimum(at + _SMOOTHED // 2 + 1, len(values))
    smooth: FloatArray = (sums[end] - sums[begin]) / (end - begin)
    return smooth
