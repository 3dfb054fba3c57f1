"""Stored bars as a series: the newest revisions, adjusted for confirmed corporate actions, as known at any time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from kalibre.bars.corporate_actions import DatedAction, adjust
from kalibre.core.bars import NEWS, OPTIONAL, REQUIRED, Bar, Bars, news_column
from kalibre.core.events import BarClosed, CorporateAction, Event, series_key
from kalibre.log.protocol import EventLog, Reader


def bar_of(event: Event) -> Bar:
    """Return the bar that a `bar` event stores."""
    payload = event.payload
    assert isinstance(payload, BarClosed)
    return payload.bar()


def bars_of(events: Sequence[Event], symbol: str, timeframe: str) -> Bars:
    """Return the series that `bar` events hold, by open time; of several revisions the last one given counts."""
    newest = {event.event_time: event.payload for event in events}
    rows = [newest[time] for time in sorted(newest)]
    columns: dict[str, Any] = {}
    for name in (*REQUIRED, *OPTIONAL):
        values = [getattr(row, name) for row in rows]
        columns[name] = None if name in OPTIONAL and (not rows or None in values) else np.array(values)
    for name in NEWS:
        said = [getattr(row, name) for row in rows]
        columns[name] = news_column([None if value is msgspec.UNSET else value for value in said])
    return Bars(symbol=symbol, timeframe=timeframe, **columns)


def load_bars(
    log: EventLog,
    symbol: str,
    timeframe: str,
    *,
    start_ms: int | None = None,
    end_ms: int | None = None,
    as_of: int | None = None,
    adjusted: bool = True,
    backward: bool = False,
    mirror_dir: Path | None = None,
) -> Bars:
    """Load a series from the log, or from its Parquet mirror.

    Parameters
    ----------
    log
        Where the bars are.
    start_ms, end_ms
        `start_ms <= open_time < end_ms`, UTC milliseconds; None leaves a side open.
    as_of
        Only what had been recorded by this wall time, UTC milliseconds: revisions and corporate actions too.
    adjusted
        True: multiply prices, and divide volumes, from each confirmed corporate action on by its factor, bit for bit
        as `Timeline` does, so that no bar ever known has to change. False: as they were traded.
    backward
        Instead divide prices before each action by its factor, so that the newest are those traded. Only actions up to
        the last loaded bar count, so a range that ends before a split is as it was then.
    mirror_dir
        Folder of the mirror, which reads a million bars in well under a second.

    Returns
    -------
    The newest revision of each bar, oldest first; empty if there is none.
    """
    if mirror_dir is not None:
        from kalibre.log.mirror import Mirror

        bars: Bars = Mirror(log, mirror_dir).bars(symbol, timeframe, start_ms=start_ms, end_ms=end_ms, as_of=as_of)
    else:
        events = log.read(
            kinds={"bar"},
            key=series_key(symbol, timeframe),
            start_ms=start_ms,
            end_ms=end_ms,
            as_of=as_of,
            newest_revision=True,
        )
        bars = bars_of(events, symbol, timeframe)
    if not adjusted or not len(bars):
        return bars
    return adjust(bars, load_actions(log, symbol, as_of=as_of), forward=not backward)


def load_actions(log: Reader, symbol: str, *, as_of: int | None = None, status: str = "confirmed") -> list[DatedAction]:
    """Return a symbol's corporate actions whose newest revision has this status, oldest first."""
    events = log.read(kinds={"corporate_action"}, key=symbol, as_of=as_of, newest_revision=True)
    found = [
        DatedAction(event.event_time, event.payload)
        for event in events
        if isinstance(event.payload, CorporateAction) and event.payload.status == status
    ]
    return sorted(found, key=lambda one: one.event_time)


def undecided_actions(log: Reader, symbol: str) -> list[DatedAction]:
    """Return a symbol's corporate actions that nobody has confirmed or rejected yet, oldest first.

    From such an action on prices stand in a scale that nobody knows: paper and server hold until it is decided.
    """
    return load_actions(log, symbol, status="detected")
