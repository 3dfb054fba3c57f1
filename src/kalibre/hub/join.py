"""Forecasts of one series side by side: a bar is complete once everyone who is waited for has spoken.

Forecasters write at their own pace, so what arrives first says nothing. Bars are joined by their close, completed in
the order of time, and an outcome counts from the bar at which it was told: whoever reads a join sees the same in every
order of arrival.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from heapq import heappop, heappush
from typing import Any, NamedTuple

import msgspec

from kalibre.core.events import Forecast, Outcome
from kalibre.core.hub_events import Bench, EnsembleForecast


class Said(NamedTuple):
    """What one forecaster said of a bar."""

    p_up: float | None
    model: str
    abstained: str
    late: bool


class Truth(NamedTuple):
    """What became of a bar, and the close of the bar at which that was told."""

    went_up: bool
    log_return: float
    told_ms: int


class Complete(NamedTuple):
    """A bar of which everyone who is waited for has spoken."""

    close_ms: int
    said: dict[str, Said]
    """By forecaster, without who was released from waiting."""
    released: tuple[str, ...]


class Join:
    """Waits for forecasters, bar by bar, in the order of time.

    Parameters
    ----------
    forecasters
        Who is waited for, the ensemble included where its reader waits for it.
    horizon_bars
        What is foreseen: a forecast of another horizon or label says nothing here.
    """

    def __init__(self, forecasters: Sequence[str], *, horizon_bars: int) -> None:
        self._names = tuple(sorted(forecasters))
        self._horizon = horizon_bars
        self.done_ms = -1
        """Close of the newest complete bar."""
        self._waiting: dict[int, dict[str, Said]] = {}
        self._truths: dict[int, dict[str, Truth | None]] = {}
        """By bar what each told; None where it had foreseen something else, so that its outcome is of that."""
        # Closes of both, oldest first: a forecaster may be a year ahead of another.
        self._next: list[int] = []
        self._oldest: list[int] = []
        self._released: dict[str, list[tuple[int, bool]]] = {}

    # --- what comes in ------------------------------------------------------------------------------------------------

    def take_forecast(self, name: str, close_ms: int, forecast: Forecast | EnsembleForecast) -> None:
        """Take in what a forecaster said; a bar that is complete already stays as it is."""
        if name not in self._names:
            return
        if isinstance(forecast, EnsembleForecast):
            heard = Said(forecast.p_up, "", forecast.abstained or "", late=False)
        else:
            heard = self._heard(name, close_ms, forecast)
        if close_ms > self.done_ms:
            self._hear(name, close_ms, heard)

    def take_context(self, name: str, close_ms: int, label: str) -> None:
        """Take in what an annotator said: its label stands where a forecaster's model would."""
        if name in self._names and close_ms > self.done_ms:
            self._hear(name, close_ms, Said(None, label, "", late=False))

    def _hear(self, name: str, close_ms: int, heard: Said) -> None:
        if close_ms not in self._waiting:
            self._waiting[close_ms] = {}
            heappush(self._next, close_ms)
        self._waiting[close_ms].setdefault(name, heard)

    def _heard(self, name: str, close_ms: int, forecast: Forecast) -> Said:
        p_up, why = forecast.p_up, forecast.abstained or ""
        if p_up is not None and (forecast.horizon_bars, forecast.label) != (self._horizon, "direction"):
            why = f"it foresees {forecast.label} over {forecast.horizon_bars} bars, not direction over {self._horizon}"
            p_up = None
            self._tell(name, close_ms, None)
        return Said(p_up, forecast.model, why, forecast.late)

    def take_outcome(self, name: str, close_ms: int, outcome: Outcome) -> None:
        """Take in what a learner says became of a bar; of another horizon or label it is no truth here."""
        if name in self._names and outcome.told_ms:
            self._tell(name, close_ms, Truth(outcome.went_up, outcome.log_return, outcome.told_ms))

    def _tell(self, name: str, close_ms: int, truth: Truth | None) -> None:
        if close_ms not in self._truths:
            self._truths[close_ms] = {}
            heappush(self._oldest, close_ms)
        self._truths[close_ms].setdefault(name, truth)

    def take_bench(self, name: str, from_ms: int, bench: Bench) -> None:
        """Take in that nobody waits for a forecaster any more, or that it is waited for again."""
        spans = self._released.setdefault(name, [])
        spans.append((from_ms, bench.benched))
        spans.sort(key=lambda span: span[0])

    def is_released(self, name: str, close_ms: int) -> bool:
        """Say whether nobody waits for a forecaster at a bar."""
        spans = self._released.get(name)
        if not spans:
            return False
        place = bisect_right(spans, close_ms, key=lambda span: span[0])
        return place > 0 and spans[place - 1][1]

    # --- what comes out -----------------------------------------------------------------------------------------------

    def first_waiting(self) -> Complete | None:
        """Return the oldest bar that is not done, if it is complete; `done` moves on."""
        if not self._waiting:
            return None
        close_ms = self._next[0]
        heard = self._waiting[close_ms]
        if not self._released:
            return Complete(close_ms, heard, ()) if len(heard) == len(self._names) else None
        released = tuple(name for name in self._names if self.is_released(name, close_ms))
        if any(name not in heard for name in self._names if name not in released):
            return None
        return Complete(close_ms, {name: one for name, one in heard.items() if name not in released}, released)

    def missing(self) -> dict[str, int]:
        """Return who is waited for, and since which bar."""
        if not self._waiting:
            return {}
        close_ms = self._next[0]
        heard = self._waiting[close_ms]
        return {name: close_ms for name in self._names if name not in heard and not self.is_released(name, close_ms)}

    def done(self, close_ms: int) -> None:
        """Go on from the oldest bar to the next."""
        del self._waiting[close_ms]
        heappop(self._next)
        self.done_ms = close_ms

    def truth(self, close_ms: int, *, by_ms: int) -> Truth | None:
        """Return what became of a bar as far as it was told by a bar; by someone who is waited for there."""
        told = self._truths.get(close_ms)
        if not told:
            return None
        for name in self._names:
            one = told.get(name)
            if one is not None and one.told_ms <= by_ms and not self.is_released(name, by_ms):
                return one
        return None

    def forget(self, before_ms: int) -> None:
        """Forget what became of bars before a time."""
        while self._oldest and self._oldest[0] < before_ms:
            del self._truths[heappop(self._oldest)]

    # --- state --------------------------------------------------------------------------------------------------------

    def state(self) -> str:
        """Return everything that later answers depend on, as JSON."""
        parts = [self.done_ms, _by_time(self._waiting), _by_time(self._truths), self._released]
        return msgspec.json.encode(parts, order="sorted").decode()

    def restore(self, state: str) -> None:
        """Take on what `state` returned."""
        self.done_ms, waiting, truths, released = json.loads(state)
        self._waiting = {int(t): {name: Said(*one) for name, one in by.items()} for t, by in waiting}
        self._truths = {int(t): {name: one and Truth(*one) for name, one in by.items()} for t, by in truths}
        self._next, self._oldest = sorted(self._waiting), sorted(self._truths)
        self._released = {name: [(int(t), bool(on)) for t, on in spans] for name, spans in released.items()}


def _by_time(values: Mapping[int, Any]) -> list[tuple[int, Any]]:
    return sorted(values.items())


def complete_bars(join: Join) -> Iterator[Complete]:
    """Yield the bars that are complete now, in the order of time; each is done once the next one is asked for."""
    while (bar := join.first_waiting()) is not None:
        yield bar
        join.done(bar.close_ms)
