"""Calibration on the way: a learner's own matured forecasts say what its scores are worth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from kalibre.core.errors import LearnerError
from kalibre.core.protocols import FloatArray

_CLOSEST = 1e-4
"""No score counts as closer to 0 or 1 than this, and no probability comes closer."""
_STEPS = 25
_ENOUGH = 1e-10


class RollingCalibration:
    """A logistic curve in the log-odds of the score, fitted again and again to the newest matured forecasts.

    Slope and intercept are those of a Bayesian logistic regression (MAP) whose prior expects little: slope 0, that is
    the base rate alone. A learner that knows nothing is therefore calibrated to say so; what it does know has to show
    in the samples first. Overlapping horizons make neighbouring samples repeat each other, so each counts as the
    `horizon_bars`-th part of one. The slope is never negative: a learner that is wrong is worth its base rate, not
    its contrary.

    Parameters
    ----------
    window
        Newest matured forecasts that it is fitted to.
    needed
        Matured forecasts before it says anything.
    refit_every
        Matured forecasts between two fits.
    horizon_bars
        How many neighbouring samples share one another's bars.
    prior
        Precision of the prior of the slope, in effective samples at log-odds of 1.

    References
    ----------
    Platt (1999), Advances in Large Margin Classifiers, 61-74; with the prior of Gelman et al. (2008), Annals of
    Applied Statistics 2(4), made Gaussian.

    Examples
    --------
    >>> calibration = RollingCalibration(window=400, needed=100, refit_every=50, horizon_bars=1)
    >>> calibration.apply(0.9) is None
    True
    >>> for k in range(400):
    ...     calibration.take(0.9, went_up=k % 4 != 0)
    >>> round(calibration.apply(0.9), 2)
    0.75
    """

    def __init__(self, *, window: int, needed: int, refit_every: int, horizon_bars: int, prior: float = 2.0) -> None:
        self._window, self._needed, self._every = window, needed, refit_every
        self._weight, self._prior = 1.0 / horizon_bars, prior
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self._odds, self._up = np.zeros(self._window), np.zeros(self._window)
        self._n = 0
        self._slope, self._intercept, self._fitted = 0.0, 0.0, False

    @property
    def n_matured(self) -> int:
        """Matured forecasts so far."""
        return self._n

    @property
    def missing(self) -> int:
        """Matured forecasts that are still needed before it says anything."""
        return max(0, self._needed - self._n)

    def take(self, score: float, *, went_up: bool) -> None:
        """Take in what became of a score."""
        place = self._n % self._window
        self._odds[place], self._up[place] = _log_odds(score), went_up
        self._n += 1
        if self._n >= self._needed and (not self._fitted or self._n % self._every == 0):
            self._fit()

    def apply(self, score: float) -> float | None:
        """Return the probability of up; None while too few forecasts have matured."""
        if not self._fitted:
            return None
        z = self._slope * _log_odds(score) + self._intercept
        return min(max(1.0 / (1.0 + math.exp(-z)), _CLOSEST), 1.0 - _CLOSEST)

    def _fit(self) -> None:
        used = min(self._n, self._window)
        odds, up = self._odds[:used], self._up[:used]
        slope, intercept = _newton(odds, up, self._weight, self._prior, self._slope, self._intercept)
        if slope < 0.0:
            rate = (float(up.sum()) + 1.0) / (used + 2.0)
            slope, intercept = 0.0, math.log(rate / (1.0 - rate))
        self._slope, self._intercept, self._fitted = slope, intercept, True

    def state(self) -> dict[str, Any]:
        """Return everything that later answers depend on."""
        return {
            "odds": self._odds,
            "up": self._up,
            "n": self._n,
            "curve": np.array([self._slope, self._intercept, float(self._fitted)]),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take on a state returned by `state` of one with the same window.

        Raises
        ------
        LearnerError
            If it is of another window; nothing has changed then.
        """
        odds, up = np.array(state["odds"]), np.array(state["up"])
        if odds.shape != (self._window,) or up.shape != (self._window,):
            raise LearnerError(f"the state keeps {odds.shape} scores, not {self._window}: replay the log")
        self._odds, self._up = odds, up
        self._n = int(state["n"])
        slope, intercept, fitted = state["curve"].tolist()
        self._slope, self._intercept, self._fitted = slope, intercept, bool(fitted)


def _log_odds(score: float) -> float:
    kept = min(max(score, _CLOSEST), 1.0 - _CLOSEST)
    return math.log(kept / (1.0 - kept))


def _newton(
    odds: FloatArray, up: FloatArray, weight: float, prior: float, slope: float, intercept: float
) -> tuple[float, float]:
    """Return slope and intercept that maximise the weighted likelihood times the slope's prior."""
    for _ in range(_STEPS):
        p = 1.0 / (1.0 + np.exp(-(slope * odds + intercept)))
        error, curve = weight * (p - up), weight * p * (1.0 - p)
        by_slope, by_intercept = float(error @ odds) + prior * slope, float(error.sum()) + 1e-3 * intercept
        aa, ab, bb = float(curve @ (odds * odds)) + prior, float(curve @ odds), float(curve.sum()) + 1e-3
        determinant = aa * bb - ab * ab
        if not determinant > 0.0:
            break
        step_slope = (bb * by_slope - ab * by_intercept) / determinant
        step_intercept = (aa * by_intercept - ab * by_slope) / determinant
        # A step of more than 4 in log-odds comes from a curve that is nearly flat: go part of the way.
        limit = max(abs(step_slope), abs(step_intercept)) / 4.0
        scale = 1.0 / max(1.0, limit)
        slope, intercept = slope - scale * step_slope, intercept - scale * step_intercept
        if max(abs(step_slope), abs(step_intercept)) < _ENOUGH:
            break
    return slope, intercept
