"""The newest matured forecasts of one forecaster, and the figures of a table over them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from kalibre.core.protocols import FloatArray
from kalibre.evaluation.calibration import debiased_error

_CLOSEST = 1e-6
_LEAST = 50
"""Matured forecasts below which a table shows nothing."""
_LEAST_PER_BIN = 50
_MOST_BINS = 10
_CRITICAL = (1.96, 2.9694, 0.4160, -0.5324)
"""Two-sided 95 % point by the share of the lags in the sample: the more lags, the less their variance is known."""
_FIELDS = 7
_TIME, _P, _UP, _LOSS, _BASE_LOSS, _RETURN, _MARGIN = range(_FIELDS)


class Interval(NamedTuple):
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


class Tally:
    """A window over the matured forecasts of one forecaster.

    Parameters
    ----------
    window
        Forecasts kept.
    horizon_bars
        How many neighbouring forecasts share one another's bars.
    """

    def __init__(self, window: int, *, horizon_bars: int) -> None:
        self._window, self._horizon = window, horizon_bars
        # Twice the room: forecasts are appended in place, and only every `window` of them they move to the front.
        self._columns = np.empty((_FIELDS, 2 * window))
        self._end = 0
        self.n_new = 0
        """Forecasts that matured since the figures were last asked for."""

    def __len__(self) -> int:
        """Return the number of forecasts kept."""
        return min(self._end, self._window)

    def take(
        self,
        close_ms: int,
        p_up: float,
        *,
        went_up: bool,
        log_return: float,
        base_loss: float,
        margin: float = math.nan,
    ) -> float:
        """Take in what became of a forecast; return its log-loss.

        Parameters
        ----------
        base_loss
            Log-loss of the base rate at the same bar.
        margin
            How much more the ensemble's log-loss would have been without it; NaN where it had no part.
        """
        if self._end == 2 * self._window:
            self._columns[:, : self._window] = self._columns[:, self._window :]
            self._end = self._window
        loss = log_loss_of(p_up, went_up=went_up)
        self._columns[:, self._end] = (close_ms, p_up, went_up, loss, base_loss, log_return, margin)
        self._end += 1
        self.n_new += 1
        return loss

    def _column(self, place: int) -> FloatArray:
        return self._columns[place, max(0, self._end - self._window) : self._end]

    def edge(self) -> Interval | None:
        """Return the mean gain in log-loss over the base rate, with an interval for overlapping horizons."""
        if len(self) < _LEAST:
            return None
        return mean_interval(self._column(_BASE_LOSS) - self._column(_LOSS), overlap=self._horizon)

    def marginal(self) -> float | None:
        """Return how much worse the ensemble's log-loss is without it; None where it had too small a part."""
        margins = self._column(_MARGIN)
        margins = margins[~np.isnan(margins)]
        return float(margins.mean()) if len(margins) >= _LEAST else None

    def figures(self, *, fee: float, horizons_per_year: float, calibrated: bool = True) -> dict[str, float | None]:
        """Return the figures of a score over the forecasts kept.

        Parameters
        ----------
        fee
            What one side of a trade costs, as a share of its value.
        horizons_per_year
            Horizons, one after the other, in a year.
        calibrated
            Whether its calibration is asked for: that costs more than all the rest.
        """
        names = ("base_rate", "accuracy", "precision", "recall", "brier", "log_loss", "ece", "win_rate", "sharpe")
        if len(self) < _LEAST:
            return dict.fromkeys(names)
        n, p, up = len(self), self._column(_P), self._column(_UP)
        says_up = (p > 0.5).astype(np.float64)
        n_says, n_up, hits = float(says_up.sum()), float(up.sum()), float(says_up @ up)
        earned = says_up * (self._column(_RETURN) - 2.0 * fee)
        miss = p - up
        return {
            "base_rate": n_up / n,
            "accuracy": (n - n_says - n_up + 2.0 * hits) / n,
            "precision": hits / n_says if n_says else None,
            "recall": hits / n_up if n_up else None,
            "brier": float(miss @ miss) / n,
            "log_loss": float(self._column(_LOSS).sum()) / n,
            "ece": self._calibration_error(p, up) if calibrated else None,
            "win_rate": float((earned > 0.0).sum()) / n_says if n_says else None,
            "sharpe": _sharpe(earned, horizons_per_year),
        }

    def _calibration_error(self, p: FloatArray, up: FloatArray) -> float | None:
        """Return the calibration error without what noise adds to it, over bins of equally many forecasts."""
        n_bins = min(_MOST_BINS, len(p) // (_LEAST_PER_BIN * self._horizon))
        if n_bins < 2:
            return None
        order = np.argsort(p, kind="stable")
        edges = np.arange(n_bins) * len(p) // n_bins
        count = np.diff(np.append(edges, len(p))).astype(np.float64)
        gap = np.add.reduceat((up - p)[order], edges) / count
        spread = np.add.reduceat((p * (1.0 - p))[order], edges) / count
        noise = np.sqrt(spread * self._horizon / count)
        return float(debiased_error(gap[np.newaxis], noise, count / len(p))[0])

    def state(self) -> dict[str, Any]:
        """Return everything that later answers depend on."""
        kept = self._columns[:, max(0, self._end - self._window) : self._end]
        return {"columns": kept, "n_new": self.n_new}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take on what `state` returned."""
        kept = np.array(state["columns"])
        self._end, self.n_new = kept.shape[1], int(state["n_new"])
        self._columns[:, : self._end] = kept


def log_loss_of(p_up: float, *, went_up: bool) -> float:
    """Return the log-loss of one forecast, in nats."""
    p = p_up if went_up else 1.0 - p_up
    return -math.log(max(p, _CLOSEST))


def mean_interval(values: FloatArray, *, overlap: int) -> Interval:
    """Return a mean with its 95 % interval where neighbouring values depend on each other.

    Parameters
    ----------
    values
        Shape (n,), oldest first.
    overlap
        How many neighbouring values share one another's bars.

    References
    ----------
    Newey and West (1987), Econometrica 55(3), 703-708; the lag is theirs (1994) or twice the overlap if that is more.
    Kiefer and Vogelsang (2005), Econometric Theory 21, 1130-1164, table 1: the critical value.
    """
    n = len(values)
    mean = float(values.sum()) / n
    centred = values - mean
    lags = min(n - 1, max(2 * overlap, int(4 * (n / 100) ** (2 / 9))))
    variance = float(centred @ centred) / n
    for lag in range(1, lags + 1):
        variance += 2.0 * (1.0 - lag / (lags + 1)) * float(centred[lag:] @ centred[:-lag]) / n
    share = lags / n
    critical = _CRITICAL[0] + share * (_CRITICAL[1] + share * (_CRITICAL[2] + share * _CRITICAL[3]))
    half = critical * math.sqrt(max(variance, 0.0) / n)
    return Interval(mean, mean - half, mean + half)


def _sharpe(earned: FloatArray, horizons_per_year: float) -> float | None:
    """Return a year's Sharpe ratio of returns per horizon; None where they do not vary."""
    if not earned.any() or float(np.ptp(earned)) <= 1e-12 * float(np.abs(earned).max()):
        return None
    mean = float(earned.mean())
    variance = float(np.square(earned - mean).mean())
    return mean / math.sqrt(variance) * math.sqrt(horizons_per_year)
