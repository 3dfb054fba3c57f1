"""The scorer: forecasts against what happened, the league, who is benched, and when something has drifted."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from kalibre.bars.calendars import AlwaysOpen, Calendar, get_calendar
from kalibre.core.events import Event, Forecast, Outcome, new_event, series_key
from kalibre.core.hub_events import Annotation, Bench, Benched, EnsembleForecast, League, Score, Standing
from kalibre.core.protocols import State
from kalibre.core.settings import Settings
from kalibre.core.timeframe import timeframe_ms
from kalibre.evaluation import calibration, drift
from kalibre.hub import ensemble
from kalibre.hub._drift_watch import DriftWatch
from kalibre.hub._dummies import DUMMIES, Dummies
from kalibre.hub._tally import Tally, log_loss_of
from kalibre.hub.join import Complete, Join, Said, complete_bars
from kalibre.hub.periods import Periods, bench_ms, period_ms

NAME = "scorer"
REGIME = "regime"
"""The annotator whose switches are looked at for causes of drift: it is waited for like a forecaster."""
WINDOW = 2_000
"""Newest matured forecasts that the league looks at."""
_LEAST_TO_BENCH = 500
_PATIENCE = 8
"""Horizons, in bars, after which an outcome that was not told is no longer waited for."""


class Waiting(NamedTuple):
    """What was said of a bar whose outcome is not known."""

    close_ms: int
    said: dict[str, float]
    models: dict[str, str]
    pooled: dict[str, float]
    """Of each forecaster the ensemble's weighed probability without it; under the ensemble's name the whole one."""
    patience: int
    """Number of the bar at which it is no longer waited for."""


class SeriesScore:
    """Everything that the scorer keeps of one series."""

    def __init__(
        self,
        key: str,
        forecasters: Sequence[str],
        *,
        context: Sequence[str],
        horizon_bars: int,
        step_ms: int,
        bars_per_year: float,
        fee: float,
        window: int,
    ) -> None:
        self.key, self._fee, self._horizon = key, fee, horizon_bars
        self._forecasters = tuple(sorted(forecasters))
        self.join = Join((*self._forecasters, ensemble.NAME, *context), horizon_bars=horizon_bars)
        self.periods, self._days = Periods(period_ms(step_ms)), Periods(bench_ms(step_ms))
        self._patience, self._n_bars = _PATIENCE * (horizon_bars + 1), 0
        self._per_year = bars_per_year / horizon_bars
        self._window = window
        self._ranked = (*self._forecasters, ensemble.NAME, *DUMMIES)
        self._tallies = {name: Tally(window, horizon_bars=horizon_bars) for name in self._ranked}
        self._silent = dict.fromkeys(self._ranked, 0)
        self._benched: set[str] = set()
        self._dummies = Dummies(key)
        watched = (*self._forecasters, ensemble.NAME)
        self._watches = {
            name: DriftWatch(fixed=name == ensemble.CHAMPION, horizon_bars=horizon_bars) for name in watched
        }
        self._waiting: list[Waiting] = []
        self._weights: dict[int, tuple[float, dict[str, float]]] = {}

    def take_ensemble(self, close_ms: int, said: EnsembleForecast) -> None:
        """Take in what the ensemble said, and how it weighed the others."""
        self.join.take_forecast(ensemble.NAME, close_ms, said)
        if said.score is not None and close_ms > self.join.done_ms:
            self._weights[close_ms] = (said.score, said.weights)

    def say(self) -> list[Event]:
        """Return what can be said now, in the order of time."""
        emitted: list[Event] = []
        for bar in complete_bars(self.join):
            for periods, end in ((self._days, self._end_day), (self.periods, self._end_period)):
                newest = periods.newest
                if newest is not None and periods.end(bar.close_ms) > newest:
                    emitted += end(newest)
                periods.enter(bar.close_ms)
            self._mature(bar.close_ms, emitted)
            self._note(bar)
        return emitted

    # --- bars ---------------------------------------------------------------------------------------------------------

    def _note(self, bar: Complete) -> None:
        heard = {name: one for name, one in bar.said.items() if name in self._tallies}
        regime = bar.said.get(REGIME)
        for watch in self._watches.values():
            watch.take_regime("" if regime is None else regime.model)
        self._n_bars += 1
        until = self._n_bars + self._patience
        if any(one.late for one in heard.values()):
            # Back-filled: nobody could have acted on it. It teaches the dummies and is in no table.
            self._weights.pop(bar.close_ms, None)
            self._waiting.append(Waiting(bar.close_ms, {}, {}, {}, until))
            return
        said = {name: one.p_up for name, one in heard.items() if one.p_up is not None}
        for name, one in heard.items():
            self._silent[name] += one.p_up is None
        pooled = self._without(bar.close_ms, heard)
        models = {name: one.model for name, one in heard.items()}
        said |= self._dummies.said(bar.close_ms)
        self._waiting.append(Waiting(bar.close_ms, said, models, pooled, until))

    def _without(self, close_ms: int, heard: Mapping[str, Said]) -> dict[str, float]:
        """Return the weighed probability without each forecaster that had a part in it."""
        whole, weights = self._weights.pop(close_ms, (None, {}))
        if whole is None:
            return {}
        found = {ensemble.NAME: whole}
        for name, weight in weights.items():
            p_up = heard[name].p_up if name in heard else None
            if p_up is not None and weight < 1.0 - 1e-9:
                found[name] = (whole - weight * p_up) / (1.0 - weight)
        return found

    def _mature(self, now_ms: int, emitted: list[Event]) -> None:
        waiting = []
        for one in self._waiting:
            truth = self.join.truth(one.close_ms, by_ms=now_ms)
            if truth is None:
                if self._n_bars < one.patience:
                    waiting.append(one)
                continue
            if one.said:
                self._judge(one, went_up=truth.went_up, log_return=truth.log_return, now_ms=now_ms, emitted=emitted)
            self._dummies.learn(went_up=truth.went_up)
        self._waiting = waiting
        self.join.forget(waiting[0].close_ms if waiting else now_ms)

    def _judge(self, one: Waiting, *, went_up: bool, log_return: float, now_ms: int, emitted: list[Event]) -> None:
        base_loss = log_loss_of(one.said["base rate"], went_up=went_up)
        together = one.pooled.get(ensemble.NAME)
        whole = math.nan if together is None else log_loss_of(together, went_up=went_up)
        for name, p_up in sorted(one.said.items()):
            alone = one.pooled.get(name) if name != ensemble.NAME else None
            margin = math.nan if alone is None else log_loss_of(alone, went_up=went_up) - whole
            loss = self._tallies[name].take(
                one.close_ms, p_up, went_up=went_up, log_return=log_return, base_loss=base_loss, margin=margin
            )
            watch = self._watches.get(name)
            if watch is not None:
                alarms = watch.take(loss - base_loss, p_up, one.models.get(name, ""))
                emitted += [new_event(f"{self.key}|{name}|{alarm.test}", now_ms, alarm) for alarm in alarms]

    # --- periods ------------------------------------------------------------------------------------------------------

    def _end_period(self, end_ms: int) -> list[Event]:
        figures = {
            name: tally.figures(fee=self._fee, horizons_per_year=self._per_year, calibrated=name not in DUMMIES)
            for name, tally in self._tallies.items()
        }
        rows = tuple(self._standing(name, figures[name]) for name in self._ranked)
        emitted = [self._score(name, figures[name], end_ms) for name in (*self._forecasters, ensemble.NAME)]
        emitted.append(new_event(self.key, end_ms, League(window=self._window, rows=rows)))
        return emitted

    def _end_day(self, end_ms: int) -> list[Event]:
        changes = {}
        for name in self._forecasters:
            edge = self._tallies[name].edge()
            if edge is None or len(self._tallies[name]) < _LEAST_TO_BENCH:
                continue
            told = (
                f"its log-loss is {-edge.mean:+.5f} against the base rate's over {len(self._tallies[name])} forecasts"
            )
            if name not in self._benched and edge.high < 0.0:
                self._benched.add(name)
                changes[name] = f"benched: {told}, certainly worse ({-edge.low:+.5f} to {-edge.high:+.5f})"
            elif name in self._benched and edge.mean >= 0.0:
                self._benched.discard(name)
                changes[name] = f"back: {told}, no worse any more"
        return [new_event(self.key, end_ms, Benched(names=tuple(sorted(self._benched)), changes=changes))]

    def _score(self, name: str, figures: dict[str, float | None], end_ms: int) -> Event:
        tally = self._tallies[name]
        score = Score(n=len(tally), n_new=tally.n_new, n_abstained=self._silent[name], **figures)
        tally.n_new, self._silent[name] = 0, 0
        return new_event(f"{self.key}|{name}", end_ms, score)

    def _standing(self, name: str, figures: dict[str, float | None]) -> Standing:
        tally = self._tallies[name]
        edge = tally.edge() if name != "base rate" else None
        return Standing(
            name=name,
            n=len(tally),
            n_abstained=self._silent[name],
            log_loss=figures["log_loss"],
            brier=figures["brier"],
            accuracy=figures["accuracy"],
            ece=figures["ece"],
            edge=None if edge is None else edge.mean,
            edge_low=None if edge is None else edge.low,
            edge_high=None if edge is None else edge.high,
            marginal=tally.marginal(),
            benched=name in self._benched,
            dummy=name in DUMMIES,
        )

    # --- state --------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return everything that later emissions depend on."""
        state: dict[str, Any] = {
            "join": self.join.state(),
            "dummies": self._dummies.state(),
            "rest": json.dumps(
                [
                    self.periods.state(),
                    self._days.state(),
                    sorted(self._benched),
                    self._silent,
                    self._waiting,
                    sorted(self._weights.items()),
                    self._n_bars,
                ],
                sort_keys=True,
            ),
        }
        for name, tally in self._tallies.items():
            state |= {f"tally.{name}.{part}": value for part, value in tally.state().items()}
        for name, watch in self._watches.items():
            state |= {f"watch.{name}.{part}": value for part, value in watch.state().items()}
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take on a state returned by `state`."""
        self.join.restore(str(state["join"]))
        self._dummies.restore(str(state["dummies"]))
        periods, days, benched, self._silent, waiting, weights, self._n_bars = json.loads(str(state["rest"]))
        self.periods.restore(periods)
        self._days.restore(days)
        self._benched = set(benched)
        self._waiting = [Waiting(*one) for one in waiting]
        self._weights = {int(close_ms): (float(whole), by) for close_ms, (whole, by) in weights}
        for name, tally in self._tallies.items():
            tally.restore(_below(state, f"tally.{name}."))
        for name, watch in self._watches.items():
            watch.restore(_below(state, f"watch.{name}."))


class ScorerProjection:
    """Judges every forecaster on what became of its forecasts, period by period of the market's time.

    A period is told once a bar of the next one is complete, so that it depends on bars alone and never on who was
    faster. Whoever does worse than the base rate with 95 % confidence over the window is benched at the end of a day:
    the ensemble no longer counts it, it goes on in shadow, and comes back when its mean is no worse over the window.
    Forecasts of back-filled bars are in no table.

    Parameters
    ----------
    series
        (symbol, timeframe) of each series.
    forecasters
        Who is judged, beside the ensemble and the dummies.
    context
        Annotators that are waited for as well: `regime`, where there is one.
    horizon_bars, fee
        What is foreseen, and what a side of a trade costs as a share of its value.
    window
        Newest matured forecasts that count.
    calendar
        The market's: how many bars a year has, which a year's Sharpe ratio goes by.
    """

    name = NAME
    reads = frozenset({"forecast", "outcome", "ensemble", "bench", "annotation"})

    def __init__(
        self,
        series: Sequence[tuple[str, str]],
        forecasters: Sequence[str],
        *,
        context: Sequence[str] = (),
        horizon_bars: int,
        fee: float,
        window: int = WINDOW,
        calendar: Calendar | None = None,
    ) -> None:
        calendar = calendar or AlwaysOpen()
        self._series = {}
        for symbol, timeframe in series:
            key = series_key(symbol, timeframe)
            self._series[key] = SeriesScore(
                key,
                forecasters,
                context=context,
                horizon_bars=horizon_bars,
                step_ms=timeframe_ms(timeframe),
                bars_per_year=calendar.bars_per_year(timeframe),
                fee=fee,
                window=window,
            )
        settings = [
            sorted(self._series),
            sorted(forecasters),
            sorted(context),
            horizon_bars,
            fee,
            window,
            calendar.name,
        ]
        self.version = sha256((_code_digest() + json.dumps(settings)).encode()).hexdigest()[:16]

    def apply(self, event: Event) -> list[Event]:
        """Take one event in and return what follows from it, in order."""
        if isinstance(event.payload, Bench):
            for one in self._series.values():
                one.join.take_bench(event.key, event.event_time, event.payload)
            return [said for one in self._series.values() for said in one.say()]
        key, _, name = event.key.rpartition("|")
        series = self._series.get(key)
        if series is None or event.revision:
            return []
        match event.payload:
            case Forecast() as forecast:
                series.join.take_forecast(name, event.event_time, forecast)
            case EnsembleForecast() as said:
                series.take_ensemble(event.event_time, said)
            case Outcome() as outcome:
                series.join.take_outcome(name, event.event_time, outcome)
                return []
            case Annotation() as annotation:
                series.join.take_context(name, event.event_time, annotation.label)
        return series.say()

    def state(self) -> State:
        """Return everything that later emissions depend on."""
        return {f"{key}/{name}": value for key, one in self._series.items() for name, value in one.state().items()}

    def restore(self, state: State) -> None:
        """Take on a state returned by `state`."""
        for key, one in self._series.items():
            one.restore(_below(state, f"{key}/"))


def _below(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


@cache
def _code_digest() -> str:
    here = Path(__file__).parent
    own = ("scorer.py", "_tally.py", "_dummies.py", "_drift_watch.py", "join.py", "periods.py", "ensemble.py")
    files = [*(here / name for name in own), Path(drift.__file__), Path(calibration.__file__)]
    return sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def context_of(settings: Settings) -> tuple[str, ...]:
    """Return which annotators are waited for as well."""
    from kalibre.learners.base import enabled_learners

    return tuple(name for name in enabled_learners(settings, "annotator") if name == REGIME)


def scorer_projection(settings: Settings) -> ScorerProjection:
    """Make the scorer that the settings describe."""
    market, costs = settings.market, settings.costs
    return ScorerProjection(
        [(symbol, market.timeframe) for symbol in market.symbols],
        ensemble.forecasters_of(settings),
        context=context_of(settings),
        horizon_bars=settings.model.horizon_bars,
        fee=(costs.fee_bps + costs.slippage_bps) / 10_000,
        calendar=get_calendar(market.calendar),
    )
