"""The ensemble: what the forecasters say together, each weighed by what its word was worth so far."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from kalibre.core.events import Event, Forecast, Outcome, new_event, series_key
from kalibre.core.hub_events import Bench, Benched, EnsembleForecast
from kalibre.core.protocols import State
from kalibre.core.settings import Settings
from kalibre.core.timeframe import timeframe_ms
from kalibre.hub.join import Complete, Join, complete_bars
from kalibre.hub.periods import Periods, bench_ms
from kalibre.learners import _calibration
from kalibre.learners._calibration import RollingCalibration

CHAMPION = "champion"
NAME = "ensemble"
_BASE_RATE = "base rate"
_SHARE = 0.002
"""Weight that moves to the others at each whole sample: who was good once is not trusted for ever."""
_FORGET_BASE = 1.0 / 2_000
_PATIENCE = 8
"""Horizons, in bars, after which an outcome that was not told is no longer waited for."""
_CLOSEST = 1e-4


class Waiting(NamedTuple):
    """What was said of a bar whose outcome is not known: by whom, the base rate among them, and together."""

    close_ms: int
    said: dict[str, float]
    score: float | None
    patience: int
    """Number of the bar at which it is no longer waited for."""


class Weights:
    """Fixed-share exponential weights over forecasters that come and go.

    A forecaster that says nothing keeps its weight. The base rate of the series is always among them: where nobody
    knows anything, the ensemble says the base rate. Neighbouring samples share their outcome, so each counts as the
    `horizon_bars`-th part of one: else a lucky stretch would be taken for so many proofs.

    Parameters
    ----------
    horizon_bars
        How many neighbouring samples share one another's bars.
    logs
        Log-weights to go on from.

    References
    ----------
    Herbster and Warmuth (1998), Machine Learning 32, 151-178; Freund et al. (1997), STOC, 334-343 (specialists).

    Examples
    --------
    >>> weights = Weights(horizon_bars=1)
    >>> for _ in range(50):
    ...     weights.learn({"sure": 0.9, "coin": 0.5}, went_up=True)
    >>> weights.pool({"sure": 0.9, "coin": 0.5})[0] > 0.89
    True
    """

    def __init__(self, *, horizon_bars: int, logs: Mapping[str, float] | None = None) -> None:
        self._part = 1.0 / horizon_bars
        self.logs: dict[str, float] = dict(logs or {})

    def pool(self, said: Mapping[str, float]) -> tuple[float, dict[str, float]]:
        """Return the weighed probability and the weight of each who said one; the weights sum to 1."""
        names = sorted(said)
        logs = [self.logs.get(name, 0.0) for name in names]
        top = max(logs)
        shares = [math.exp(one - top) for one in logs]
        total = math.fsum(shares)
        weights = {name: share / total for name, share in zip(names, shares, strict=True)}
        return math.fsum(weights[name] * said[name] for name in names), weights

    def learn(self, said: Mapping[str, float], *, went_up: bool) -> None:
        """Move weight to those whose probability of what happened was higher, among those who said one."""
        weights = self.pool(said)[1]
        # Weights are relative to the whole of those awake, which keeps its mass: the sleeping are not touched.
        names = sorted(said)
        mass = math.log(math.fsum(math.exp(self.logs.get(name, 0.0)) for name in names))
        kept = {}
        for name in names:
            p = said[name] if went_up else 1.0 - said[name]
            kept[name] = weights[name] * max(p, _CLOSEST) ** self._part
        whole, share = math.fsum(kept.values()), _SHARE * self._part
        for name in names:
            self.logs[name] = mass + math.log((1.0 - share) * kept[name] / whole + share / len(names))


class SeriesEnsemble:
    """The ensemble of one series."""

    def __init__(self, forecasters: Sequence[str], *, horizon_bars: int, step_ms: int) -> None:
        self.join = Join(forecasters, horizon_bars=horizon_bars)
        self.periods = Periods(bench_ms(step_ms))
        self._patience, self._n_bars = _PATIENCE * (horizon_bars + 1), 0
        self._horizon = horizon_bars
        self._weights = Weights(horizon_bars=horizon_bars)
        self._calibration = RollingCalibration(window=2_000, needed=200, refit_every=50, horizon_bars=horizon_bars)
        self._base = (1.0, 2.0)
        self._waiting: list[Waiting] = []
        self._benched: dict[int, tuple[str, ...]] = {}

    def take_benched(self, end_ms: int, benched: Benched) -> None:
        """Take in who did worse than knowing nothing up to the end of a day."""
        self._benched[end_ms] = benched.names

    def forecasts(self) -> list[tuple[int, EnsembleForecast]]:
        """Return what can be said now: of each bar of which everyone has spoken, in the order of time."""
        said = []
        for bar in complete_bars(self.join):
            needed = self.periods.before_last(bar.close_ms)
            if needed is not None and needed not in self._benched:
                break  # who is benched at this bar is not told yet
            said.append((bar.close_ms, self._forecast(bar, self._benched.get(needed or -1, ()))))
            self.periods.enter(bar.close_ms)
            for end_ms in [end_ms for end_ms in self._benched if needed is not None and end_ms < needed]:
                del self._benched[end_ms]
        return said

    def _forecast(self, bar: Complete, benched: Sequence[str]) -> EnsembleForecast:
        self._learn(bar.close_ms)
        self._n_bars += 1
        until = self._n_bars + self._patience
        said: dict[str, float] = {}
        silent = dict.fromkeys(bar.released, "nobody waits for it: its worker has stopped")
        for name, one in sorted(bar.said.items()):
            if one.p_up is None:
                silent[name] = one.abstained or "it says nothing"
            elif name in benched:
                silent[name] = "benched: it does worse than the base rate"
            else:
                said[name] = one.p_up
        if not said:
            self._waiting.append(Waiting(bar.close_ms, {}, None, until))
            return EnsembleForecast(
                horizon_bars=self._horizon,
                score=None,
                p_up=None,
                weights={},
                silent=silent,
                abstained="no forecaster says anything",
            )
        said[_BASE_RATE] = self._base[0] / self._base[1]
        score, weights = self._weights.pool(said)
        p_up = self._calibration.apply(score)
        self._waiting.append(Waiting(bar.close_ms, said, score, until))
        why = f"not calibrated yet: {self._calibration.missing} more of its forecasts have to mature"
        return EnsembleForecast(
            horizon_bars=self._horizon,
            score=score,
            p_up=p_up,
            weights=weights,
            silent=silent,
            abstained=None if p_up is not None else why,
        )

    def _learn(self, now_ms: int) -> None:
        """Learn from what was told by this bar."""
        waiting = []
        for one in self._waiting:
            truth = self.join.truth(one.close_ms, by_ms=now_ms)
            if truth is None:
                if self._n_bars < one.patience:
                    waiting.append(one)
                continue
            up, n = self._base
            self._base = (up + (truth.went_up - up / n), n) if n >= 1 / _FORGET_BASE else (up + truth.went_up, n + 1)
            if one.score is not None:
                self._calibration.take(one.score, went_up=truth.went_up)
                self._weights.learn(one.said, went_up=truth.went_up)
        self._waiting = waiting
        self.join.forget(waiting[0].close_ms if waiting else now_ms)

    def state(self) -> dict[str, Any]:
        """Return everything that later emissions depend on."""
        rest = [self._weights.logs, self._base, self._waiting, sorted(self._benched.items()), self.periods.state()]
        return {
            "join": self.join.state(),
            "rest": json.dumps([*rest, self._n_bars], sort_keys=True),
            **{f"calibration.{name}": value for name, value in self._calibration.state().items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take on a state returned by `state`."""
        self.join.restore(str(state["join"]))
        logs, base, waiting, benched, periods, self._n_bars = json.loads(str(state["rest"]))
        self._weights.logs, self._base = logs, (float(base[0]), float(base[1]))
        self._waiting = [Waiting(*one) for one in waiting]
        self._benched = {int(end_ms): tuple(names) for end_ms, names in benched}
        self.periods.restore(periods)
        prefix = "calibration."
        self._calibration.restore(
            {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        )


class EnsembleProjection:
    """Says for each bar what its forecasters make of it together, once each has spoken or nobody waits for it.

    Only the forecasts as they were first said count, not what corrections or later code made of them. `benched` of the
    day before the last one says who does worse than the base rate and is not counted; a `bench` event says who is not
    waited for at all.

    Parameters
    ----------
    series
        (symbol, timeframe) of each series.
    forecasters
        Who is waited for: every forecaster of `learners/`, and the champion.
    horizon_bars
        What is foreseen.
    """

    name = NAME
    reads = frozenset({"forecast", "outcome", "bench", "benched"})

    def __init__(self, series: Sequence[tuple[str, str]], forecasters: Sequence[str], *, horizon_bars: int) -> None:
        self._series = {
            series_key(symbol, timeframe): SeriesEnsemble(
                forecasters, horizon_bars=horizon_bars, step_ms=timeframe_ms(timeframe)
            )
            for symbol, timeframe in series
        }
        settings = [sorted(self._series), sorted(forecasters), horizon_bars]
        self.version = sha256((_code_digest() + json.dumps(settings)).encode()).hexdigest()[:16]

    def missing(self) -> dict[str, dict[str, int]]:
        """Return by series who is waited for, and since which bar."""
        return {key: found for key, one in self._series.items() if (found := one.join.missing())}

    def apply(self, event: Event) -> list[Event]:
        """Take one event in and return what follows from it, in order."""
        if isinstance(event.payload, Bench):
            for one in self._series.values():
                one.join.take_bench(event.key, event.event_time, event.payload)
            return [event for key in self._series for event in self._say(key)]
        key, _, name = event.key.rpartition("|")
        if isinstance(event.payload, Benched):
            key = event.key
        one_series = self._series.get(key)
        if one_series is None or event.revision:
            return []
        match event.payload:
            case Forecast() as forecast:
                one_series.join.take_forecast(name, event.event_time, forecast)
            case Outcome() as outcome:
                one_series.join.take_outcome(name, event.event_time, outcome)
                return []
            case Benched() as benched:
                one_series.take_benched(event.event_time, benched)
        return self._say(key)

    def _say(self, key: str) -> list[Event]:
        return [new_event(f"{key}|{NAME}", close_ms, said) for close_ms, said in self._series[key].forecasts()]

    def state(self) -> State:
        """Return everything that later emissions depend on."""
        return {f"{key}/{name}": value for key, one in self._series.items() for name, value in one.state().items()}

    def restore(self, state: State) -> None:
        """Take on a state returned by `state`."""
        for key, one in self._series.items():
            prefix = f"{key}/"
            one.restore({name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)})


@cache
def _code_digest() -> str:
    here = Path(__file__).parent
    files = [here / "ensemble.py", here / "join.py", here / "periods.py", Path(_calibration.__file__)]
    return sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def forecasters_of(settings: Settings) -> tuple[str, ...]:
    """Return who is waited for: every forecaster of `learners/` that is enabled, and the champion."""
    from kalibre.learners.base import enabled_learners

    return (*enabled_learners(settings, "forecaster"), CHAMPION)


def ensemble_projection(settings: Settings) -> EnsembleProjection:
    """Make the ensemble that the settings describe."""
    market = settings.market
    return EnsembleProjection(
        [(symbol, market.timeframe) for symbol in market.symbols],
        forecasters_of(settings),
        horizon_bars=settings.model.horizon_bars,
    )
