"""One series in time order and in one scale, whatever the order in which the log recorded it.

Whoever follows a series (paper engine, server) takes `bar` and `corporate_action` events as they come and is told what
that means: the next bar, the newest one corrected, or a past that is no longer the one it knew.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Mapping
from enum import Enum
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kalibre.core.bars import NEWS, OPTIONAL, Bar, Bars, news_column
from kalibre.core.events import BarClosed, CorporateAction, Event
from kalibre.core.protocols import FloatArray

_FIELDS = Bar.__struct_fields__
_values = attrgetter(*_FIELDS)
_TIME = _FIELDS.index("open_time")
_PRICES = ("open", "high", "low", "close")
_VOLUMES = ("volume", "taker_buy_volume")
"""A corporate action multiplies prices by its factor and divides volumes by it; money and counts stay."""


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
        self.last: Bar | None = None
        """The newest bar, as it was traded."""
        self._keep = keep
        # Twice the room: a bar is appended in place, and only every `keep` bars the rows move to the front.
        self._buffer = np.empty((2 * keep, len(_FIELDS)))
        self._start = self._end = 0
        self._actions: dict[int, CorporateAction] = {}
        self._learn_actions()

    def take(self, event: Event) -> Change:
        """Take a `bar` or `corporate_action` event of this series and say what it means."""
        match event.payload:
            case BarClosed() as closed:
                return self._take_bar(closed, event.revision)
            case CorporateAction() as action:
                return self._take_action(event.event_time, action)
        return Change.NOTHING

    def _take_bar(self, closed: BarClosed, revision: int) -> Change:
        bar = closed.bar()
        if self.last is None or bar.open_time > self.last.open_time:
            self.n_bars += 1
            self._append(bar)
            return Change.NEXT
        rows = self._rows
        place = int(np.searchsorted(rows[:, _TIME], bar.open_time))
        row = np.array(_values(bar), dtype=np.float64)
        if rows[place, _TIME] == bar.open_time:
            if np.array_equal(rows[place], row, equal_nan=True):
                return Change.NOTHING
            rows[place] = row
            if place < len(rows) - 1:
                return Change.REWRITTEN
            self.last = bar
            return Change.CORRECTED
        if place == 0 and len(rows) == self._keep:
            # It cannot be told any more whether it was there; a bar that is revised was.
            self.n_bars += revision == 0
            return Change.NOTHING
        self.n_bars += 1
        self._insert(place, row)
        return Change.REWRITTEN

    def _append(self, bar: Bar) -> None:
        if self._end == len(self._buffer):
            kept = self._rows[-self._keep :]
            self._buffer[: len(kept)] = kept
            self._start, self._end = 0, len(kept)
        self._buffer[self._end] = _values(bar)
        self._end += 1
        self._start = max(self._start, self._end - self._keep)
        self.last = bar

    def _insert(self, place: int, row: FloatArray) -> None:
        rows = self._rows
        if len(rows) == self._keep:
            rows[: place - 1] = rows[1:place].copy()
            rows[place - 1] = row
            return
        # Below `keep` rows nothing has moved yet: there is room behind them.
        self._end += 1
        rows = self._rows
        rows[place + 1 :] = rows[place:-1].copy()
        rows[place] = row

    def _take_action(self, event_time: int, action: CorporateAction) -> Change:
        before = _factor(self._actions.get(event_time))
        self._actions[event_time] = action
        self._learn_actions()
        reaches = self.last is not None and event_time <= self.last.open_time
        return Change.REWRITTEN if reaches and before != _factor(action) else Change.NOTHING

    def _learn_actions(self) -> None:
        self._since: list[int] = []
        self._scales: list[float] = [1.0]
        for time, action in sorted(self._actions.items()):
            if action.status == "confirmed":
                self._since.append(time)
                self._scales.append(self._scales[-1] * action.factor)
        self._undecided = min((time for time, one in self._actions.items() if one.status == "detected"), default=None)

    # --- what is known ------------------------------------------------------------------------------------------------

    @property
    def _rows(self) -> FloatArray:
        return self._buffer[self._start : self._end]

    def scale(self, open_time: int) -> float:
        """Return what prices of a bar that opens then are multiplied by."""
        return self._scales[bisect_right(self._since, open_time)] if self._since else 1.0

    @property
    def undecided_ms(self) -> int | None:
        """Time of the oldest `detected` action, up to the newest bar, that was neither confirmed nor rejected."""
        if self._undecided is None or self.last is None or self._undecided > self.last.open_time:
            return None
        return self._undecided

    def doubt_ms(self, reach_bars: int, held_since_ms: int | None = None) -> int | None:
        """Return the time of the oldest undecided action that still matters; None if all that matters is known.

        Parameters
        ----------
        reach_bars
            How far features look back: an action that lies behind more bars than that touches none of them.
        held_since_ms
            Open time of the bar at which what is held was bought: an action since then says how much it is.
        """
        if self.undecided_ms is None or self.last is None:
            return None
        for time, action in sorted(self._actions.items()):
            if action.status == "detected" and time <= self.last.open_time:
                held = held_since_ms is not None and held_since_ms < time
                if held or self.after(time - 1) <= reach_bars:
                    return time
        return None

    def spans_doubt(self, start_ms: int, end_ms: int) -> bool:
        """Say whether an undecided action lies between two bars, so that nobody can compare their prices."""
        return any(start_ms < time <= end_ms and action.status == "detected" for time, action in self._actions.items())

    def scaled(self, bar: Bar) -> Bar:
        """Return a bar in the series' scale."""
        scale = self.scale(bar.open_time)
        if scale == 1.0:
            return bar
        values = dict(zip(_FIELDS, _values(bar), strict=True))
        values |= {name: values[name] * scale for name in _PRICES}
        values |= {name: values[name] / scale for name in _VOLUMES if values[name] is not None}
        return Bar(**values)

    @property
    def first(self) -> Bar | None:
        """The oldest bar kept, in the series' scale."""
        return self._at(0)

    def find(self, open_time: int) -> Bar | None:
        """Return the kept bar that opens then, in the series' scale."""
        found = self.next_from(open_time)
        return found if found is not None and found.open_time == open_time else None

    def next_from(self, open_time: int) -> Bar | None:
        """Return the first kept bar that opens then or later, in the series' scale."""
        return self._at(self._place(open_time))

    def _at(self, place: int) -> Bar | None:
        rows = self._rows
        return self.scaled(_bar(rows[place].tolist())) if place < len(rows) else None

    def after(self, open_time: int) -> int:
        """Return how many of the bars kept open after a time."""
        return len(self._rows) - self._place(open_time + 1)

    def bars(self) -> list[Bar]:
        """Return the bars kept, oldest first, in the series' scale."""
        return [self.scaled(_bar(row)) for row in self._rows.tolist()]

    def since(self, open_time: int) -> list[Bar]:
        """Return the bars kept that open after a time, in the series' scale."""
        return [self.scaled(_bar(row)) for row in self._rows[self._place(open_time + 1) :].tolist()]

    def history(self, *, newest: bool = True) -> Bars:
        """Return the bars kept as one series, in the series' scale, with or without the newest.

        An optional value that one bar lacks is NaN in that bar only, as it is step by step; no news is 0.
        """
        rows = self._rows if newest else self._rows[:-1]
        columns: dict[str, Any] = {name: rows[:, place].copy() for place, name in enumerate(_FIELDS)}
        times = columns["open_time"] = columns["open_time"].astype(np.int64)
        for name in OPTIONAL:
            if np.isnan(columns[name]).all():
                columns[name] = None
        for name in NEWS:
            columns[name] = None if np.isnan(columns[name]).all() else np.nan_to_num(columns[name])
        if self._since:
            scale = np.array(self._scales)[np.searchsorted(self._since, times, side="right")]
            columns |= {name: columns[name] * scale for name in _PRICES}
            columns |= {name: columns[name] / scale for name in _VOLUMES if columns[name] is not None}
        return Bars(symbol=self.symbol, timeframe=self.timeframe, **columns)

    def _place(self, open_time: int) -> int:
        return int(np.searchsorted(self._rows[:, _TIME], open_time))

    # --- state --------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return everything that later answers depend on; its array is the one in use, to be copied if it is kept."""
        actions = [[time, one.factor, one.status, one.evidence] for time, one in sorted(self._actions.items())]
        return {"rows": self._rows, "n_bars": self.n_bars, "actions": json.dumps(actions)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take on a state returned by `state` of a series that keeps as many bars."""
        rows: NDArray[np.float64] = np.array(state["rows"], dtype=np.float64)
        self.n_bars = int(state["n_bars"])
        self._start, self._end = 0, len(rows)
        self._buffer[: len(rows)] = rows
        self.last = _bar(rows[-1].tolist()) if len(rows) else None
        self._actions = {
            time: CorporateAction(factor=factor, status=status, evidence=evidence)
            for time, factor, status, evidence in json.loads(state["actions"])
        }
        self._learn_actions()


def as_bars(symbol: str, timeframe: str, rows: list[Bar]) -> Bars:
    """Build a series in which an optional value that one bar lacks is NaN in that bar only, as it is step by step."""
    columns: dict[str, Any] = {name: np.array([getattr(row, name) for row in rows]) for name in _FIELDS[:6]}
    for name in OPTIONAL:
        values = [getattr(row, name) for row in rows]
        if any(value is not None for value in values):
            columns[name] = np.array([np.nan if value is None else value for value in values])
    columns |= {name: news_column([getattr(row, name) for row in rows]) for name in NEWS}
    return Bars(symbol=symbol, timeframe=timeframe, **columns)


def _bar(row: list[float]) -> Bar:
    values: list[Any] = [None if math.isnan(value) else value for value in row]
    values[_TIME] = int(values[_TIME])
    return Bar(**dict(zip(_FIELDS, values, strict=True)))


def _factor(action: CorporateAction | None) -> float:
    return action.factor if action is not None and action.status == "confirmed" else 1.0
