"""What was tried and seen on a history, over all runs: trials for the deflated Sharpe ratio, looks at final windows.

A trial is a configuration whose out-of-sample result on a history was seen (docs/adr/0002-what-is-a-trial.md). The same
configuration again is no new trial. A history is known by the digest of its bars; so that one bar more or less, or
another timeframe, does not wipe the slate, trials and looks of the same symbol count wherever their window overlaps
this history's. A final window is unseen only if neither a look (a study's, a backtest's, a recalibration's) nor a
trial's out-of-sample figures have shown any bar of it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kalibre.core.bars import NEWS, OPTIONAL, REQUIRED, Bars
from kalibre.core.events import Look, Trial, new_event, series_key
from kalibre.core.protocols import FloatArray
from kalibre.core.timeframe import DAY_MS

if TYPE_CHECKING:
    from kalibre.log.protocol import EventLog, Reader

WRITER = "study"
_DISTINCT = 0.999


def history_digest(bars: Bars) -> str:
    """Return the sha256 of a history's timeframe, times, prices, volumes and news.

    Examples
    --------
    >>> from kalibre.core.bars import Bar
    >>> row = Bar(open_time=0, open=1, high=2, low=1, close=2, volume=3)
    >>> history_digest(Bars.from_rows("X", "1h", [row])) == history_digest(Bars.from_rows("Y", "1h", [row]))
    True
    """
    digest = hashlib.sha256(bars.timeframe.encode())
    for name in (*REQUIRED, *OPTIONAL):
        column = getattr(bars, name)
        digest.update(name.encode())
        if column is not None:
            digest.update(np.ascontiguousarray(column).tobytes())
    for name in NEWS:
        if (column := getattr(bars, name)) is not None:
            digest.update(name.encode() + np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()


def config_digest(config: Mapping[str, Any]) -> str:
    """Return the sha256 of a configuration, whatever the order of its names.

    Examples
    --------
    >>> config_digest({"a": 1, "b": 2}) == config_digest({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(config, sort_keys=True, allow_nan=False).encode()).hexdigest()


@dataclass(frozen=True)
class Tried:
    """What the deflated Sharpe ratio needs to know: how many distinct trials, as if independent, and their spread.

    `sharpe_std` is per bar, not annualised, and never below what sampling alone makes of a worthless strategy.
    """

    n_trials: int
    effective: float
    sharpe_std: float


def daily_returns(time_ms: NDArray[np.int64], returns: FloatArray) -> tuple[int, FloatArray]:
    """Sum per-bar returns by UTC day.

    Returns
    -------
    The first day (days since 1970) and one sum a day from there on, days without bars as 0.
    """
    day = time_ms // DAY_MS
    sums: FloatArray = np.bincount(day - day[0], weights=returns).astype(np.float64)
    return int(day[0]), sums


def effective_number(trials: Sequence[Trial]) -> float:
    """Return how many independent trials are worth as much as these.

    From Bailey & Lopez de Prado (2014), appendix 3: `rho + (1 - rho) n`, with `rho` the mean correlation of the pairs'
    daily returns on common days; pairs that share fewer than 20 days, or negatively correlated ones, count as
    uncorrelated.
    """
    n = len(trials)
    if n < 2:
        return float(n)
    correlations = []
    for i, first in enumerate(trials):
        for second in trials[i + 1 :]:
            start = max(first.start_ms, second.start_ms) // DAY_MS
            mine, theirs = (_from_day(trial, start) for trial in (first, second))
            common = min(len(mine), len(theirs))
            correlations.append(_correlation(mine[:common], theirs[:common]))
    rho = float(np.mean(correlations))
    return rho + (1.0 - rho) * n


def _from_day(trial: Trial, day: int) -> FloatArray:
    return np.asarray(trial.daily_returns)[day - trial.start_ms // DAY_MS :]


def _correlation(first: FloatArray, second: FloatArray) -> float:
    if np.array_equal(first, second):
        return 1.0
    if len(first) < 20 or first.std() == 0 or second.std() == 0:
        return 0.0
    rho = float(np.corrcoef(first, second)[0, 1])
    return 1.0 if rho > _DISTINCT else max(rho, 0.0)


class TrialBook:
    """The trials and looks recorded for a history, read from and written to the log.

    Parameters
    ----------
    bars
        The history of the study.
    log
        Where trials and looks are events; None keeps no memory, which suits simulations only.
    """

    def __init__(self, bars: Bars, log: EventLog | None) -> None:
        self.digest = history_digest(bars)
        self.series = series_key(bars.symbol, bars.timeframe)
        self._symbol = _symbol(self.series)
        self._start_ms, self._end_ms = int(bars.open_time[0]), int(bars.close_time[-1])
        self._log = log

    def record(self, config: str, time_ms: NDArray[np.int64], returns: FloatArray, sharpe: float) -> Tried:
        """Record a trial unless this configuration is known, and say what has been tried so far, this one included.

        Parameters
        ----------
        config
            Digest of the configuration.
        time_ms
            Close time of each out-of-sample bar, UTC milliseconds.
        returns
            Out-of-sample return of each bar after costs, shape as `time_ms`.
        sharpe
            Their Sharpe ratio per bar.
        """
        _, daily = daily_returns(time_ms, returns)
        trial = Trial(
            config=config,
            sharpe=sharpe,
            n_returns=len(returns),
            series=self.series,
            start_ms=int(time_ms[0]),
            end_ms=int(time_ms[-1]),
            daily_returns=tuple(np.round(daily, 8).tolist()),
        )
        known = [] if self._log is None else self._append(self._log, trial)
        distinct = {**{other.config: other for other in known}, config: trial}
        return _summarise(list(distinct.values()), trial)

    def _append(self, log: EventLog, trial: Trial) -> list[Trial]:
        """Append a trial under the write lock, so that two studies at once cannot take the same number."""
        with log.transaction() as transaction:
            here = transaction.read(kinds={"trial"}, key=self.digest)
            if trial.config not in {event.payload.config for event in here if isinstance(event.payload, Trial)}:
                number = 1 + max((event.event_time for event in here), default=0)
                transaction.append([new_event(self.digest, number, trial)], writer=WRITER, conflict="refuse")
        return self._trials(log)

    def _trials(self, reader: Reader) -> list[Trial]:
        return [
            event.payload
            for event in reader.read(kinds={"trial"})
            if isinstance(event.payload, Trial) and self._concerns(event.key, event.payload)
        ]

    def _concerns(self, key: str, window: Trial | Look) -> bool:
        """Say whether something tried or seen belongs to this history: its very bars, or its symbol at that time."""
        overlaps = window.start_ms < self._end_ms and window.end_ms > self._start_ms
        return key == self.digest or (_symbol(window.series) == self._symbol and overlaps)

    def shown(self) -> list[Trial | Look]:
        """Return what has shown figures on bars of this history: looks, and the trials' out-of-sample windows."""
        return [] if self._log is None else self._shown(self._log)

    def _shown(self, reader: Reader) -> list[Trial | Look]:
        looks = [
            event.payload
            for event in reader.read(kinds={"look"})
            if isinstance(event.payload, Look) and self._concerns(event.key, event.payload)
        ]
        return [*looks, *self._trials(reader)]

    def look(self, start_ms: int, end_ms: int, model: str) -> bool:
        """Record a look at a window, before its figures are shown; say whether any part of it was shown before.

        Parameters
        ----------
        start_ms, end_ms
            Close times of the window's first and last bar, UTC milliseconds.
        model
            Who looks: the configuration's digest, or the model that is tried on the window.
        """
        if self._log is None:
            return False
        with self._log.transaction() as transaction:
            seen = any(other.start_ms <= end_ms and other.end_ms >= start_ms for other in self._shown(transaction))
            event = new_event(
                self.digest, start_ms, Look(start_ms=start_ms, end_ms=end_ms, model=model, series=self.series)
            )
            transaction.append([event], writer=WRITER, conflict="revise")
        return seen


def _symbol(series: str) -> str:
    return series.rpartition("|")[0]


def _per_bar(trial: Trial, of: Trial) -> float:
    """Return a trial's Sharpe ratio per bar of another one, which may have been tried on longer or shorter bars."""
    if trial.series == of.series:
        return trial.sharpe
    ours, theirs = (each.n_returns / max(len(each.daily_returns), 1) for each in (of, trial))
    return trial.sharpe * math.sqrt(theirs / ours)


def _summarise(trials: Sequence[Trial], judged: Trial) -> Tried:
    sharpes = np.array([_per_bar(trial, judged) for trial in trials])
    sampling = 1.0 / math.sqrt(max(judged.n_returns, 2))
    spread = float(sharpes.std(ddof=1)) if len(sharpes) > 1 else 0.0
    return Tried(n_trials=len(trials), effective=effective_number(trials), sharpe_std=max(spread, sampling))
