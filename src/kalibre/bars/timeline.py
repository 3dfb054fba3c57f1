"""One series in time order and in one scale, whatever the order in which the log recorded it.

Whoever follows a series (paper engine, server) takes `bar` and `corporate_action` events as they come and is told what
that means: the next bar, the newest one corrected, or a past that is no longer the one it knew.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np

from kalibre.core.bars import OPTIONAL, Bar, Bars
from kalibre.core.events import BarClosed, CorporateAction, Event

_FIELDS = Bar.__struct_fields__
_SCALED = {"open": 1, "high": 1, "low": 1, "close": 1, "volume": -1, "taker_buy_volume": -1}
"""Which fields a corporate action multiplies by its factor (1) or divides by it (-1)."""


class Change(Enum):
    """What an event means to a series."""

    NOTHING = "nothing"
    """What is known stays as it is."""
    NEXT = "next"
    """The next bar came."""
    CORRECTED = "corrected"
    """The newest bar is another one than before."""
    REWRITTEN = "rewritten"
    """An older bar came or was corrected, or prices have another scale: compute anew from `bars()`."""


class Timeline:
    """The newest bars of a series, sorted by time, newest revisions, in the scale that its first prices had.

    Prices from a confirmed corporate action on are multiplied by its factor and volumes divided (`adjust(forward=True)`
    does the same to a loaded history), so a bar that was taken never changes because of a later action. While an action
    is `detected` and nobody has confirmed or rejected it, prices from it on stand in a scale that nobody knows.

    Parameters
    ----------
    keep
        Bars kept; what falls out is only counted.

    Examples
    --------
    >>> from kalibre.core.events import new_event
    >>> line = Timeline("X", "1h", keep=10)
    >>> bar = BarClosed(open_time=0, open=1.0, high=1.0, low=1.0, close=1.0, volume=1.0)
    >>> line.take(new_event("X|1h", 0, bar)), line.take(new_event("X|1h", 0, bar))
    (<Change.NEXT: 'next'>, <Change.NOTHING: 'nothing'>)
    """

    def __init__(self, symbol: str, timeframe: str, *, keep: int) -> None:
        self.symbol, self.timeframe = symbol, timeframe
        self.n_bars = 0
        """Bars taken since the first, those no longer kept included."""
        self._keep = keep
        self._rows: list[Bar] = []
        self._times: list[int] = []
        self._actions: dict[int, CorporateAction] = {}

    def take(self, event: Event) -> Change:
        """Take a `bar` or `corporate_action` event of this series and say what it means."""
        match event.payload:
            case BarClosed() as closed:
                return self._take_bar(closed, event.revision)
            case CorporateAction() as action:
                return self._take_action(event.event_time, action)
        return Change.NOTHING

    def _take_bar(self, closed: BarClosed, revision: int) -> Change:
        bar = Bar(**{name: getattr(closed, name) for name in _FIELDS})
        times = self._times
        if not times or bar.open_time > times[-1]:
            self.n_bars += 1
            self._rows.append(bar)
            times.append(bar.open_time)
            if len(times) > self._keep:
                del self._rows[0], times[0]
            return Change.NEXT
        place = bisect_left(times, bar.open_time)
        if times[place] == bar.open_time:
            if self._rows[place] == bar:
                return Change.NOTHING
            self._rows[place] = bar
            return Change.CORRECTED if place == len(times) - 1 else Change.REWRITTEN
        if revision == 0:
            self.n_bars += 1
        if place == 0 and len(times) == self._keep:
            return Change.NOTHING
        self._rows.insert(place, bar)
        times.insert(place, bar.open_time)
        if len(times) > self._keep:
            del self._rows[0], times[0]
        return Change.REWRITTEN

    def _take_action(self, event_time: int, action: CorporateAction) -> Change:
        before = self.scale(self._times[-1]) if self._times else 1.0
        self._actions[event_time] = action
        after = self.scale(self._times[-1]) if self._times else 1.0
        return Change.NOTHING if before == after else Change.REWRITTEN

    # --- what is known ------------------------------------------------------------------------------------------------

    def scale(self, open_time: int) -> float:
        """Return what prices of a bar that opens then are multiplied by."""
        factor = 1.0
        for time in sorted(self._actions):
            if time <= open_time and self._actions[time].status == "confirmed":
                factor *= self._actions[time].factor
        return factor

    @property
    def undecided_ms(self) -> int | None:
        """Time of the oldest `detected` action, up to the newest bar, that was neither confirmed nor rejected."""
        last = self._times[-1] if self._times else 0
        times = [time for time, one in self._actions.items() if one.status == "detected" and time <= last]
        return min(times, default=None)

    @property
    def last(self) -> Bar | None:
        """The newest bar, as it was traded."""
        return self._rows[-1] if self._rows else None

    def scaled(self, bar: Bar) -> Bar:
        """Return a bar in the series' scale."""
        factor = self.scale(bar.open_time)
        if factor == 1.0:
            return bar
        values = {name: getattr(bar, name) for name in _FIELDS}
        for name, power in _SCALED.items():
            if values[name] is not None:
                values[name] = values[name] * factor if power > 0 else values[name] / factor
        return Bar(**values)

    def bars(self) -> list[Bar]:
        """Return the bars kept, oldest first, in the series' scale."""
        if not any(action.status == "confirmed" for action in self._actions.values()):
            return list(self._rows)
        return [self.scaled(bar) for bar in self._rows]

    def since(self, open_time: int) -> list[Bar]:
        """Return the bars kept that open after a time, in the series' scale."""
        return [self.scaled(bar) for bar in self._rows[bisect_right(self._times, open_time) :]]

    # --- state --------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return everything that later answers depend on."""
        table = np.full((len(self._rows), len(_FIELDS)), np.nan)
        for i, bar in enumerate(self._rows):
            table[i] = [np.nan if (value := getattr(bar, name)) is None else value for name in _FIELDS]
        actions = [[time, one.factor, one.status, one.evidence] for time, one in sorted(self._actions.items())]
        return {"rows": table, "n_bars": self.n_bars, "actions": json.dumps(actions)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take on a state returned by `state`."""
        self.n_bars = int(state["n_bars"])
        self._rows = [_bar(row) for row in np.asarray(state["rows"]).tolist()]
        self._times = [bar.open_time for bar in self._rows]
        self._actions = {
            time: CorporateAction(factor=factor, status=status, evidence=evidence)
            for time, factor, status, evidence in json.loads(state["actions"])
        }


def as_bars(symbol: str, timeframe: str, rows: list[Bar]) -> Bars:
    """Build a series in which an optional value that one bar lacks is NaN in that bar only, as it is step by step."""
    columns: dict[str, Any] = {name: np.array([getattr(row, name) for row in rows]) for name in _FIELDS[:6]}
    for name in OPTIONAL:
        values = [getattr(row, name) for row in rows]
        if any(value is not None for value in values):
            columns[name] = np.array([np.nan if value is None else value for value in values])
    return Bars(symbol=symbol, timeframe=timeframe, **columns)


def _bar(row: list[float]) -> Bar:
    values: dict[str, Any] = dict(zip(_FIELDS, (None if math.isnan(value) else value for value in row), strict=True))
    return Bar(**{**values, "open_time": int(row[0])})
