"""Where a replay goes on: behind what its log has, and never in a log that was live."""

from __future__ import annotations

from collections.abc import Sequence

from kalibre.core.clock import to_text
from kalibre.core.errors import UsageError
from kalibre.core.events import series_key
from kalibre.core.protocols import PlayedSource
from kalibre.log.protocol import EventLog

_LIVE_WITHIN_MS = 60_000
"""A tick that was recorded within this of the time it tells is of a real clock."""


def begin_playing(log: EventLog, feed: PlayedSource, symbols: Sequence[str], timeframe: str) -> None:
    """Let a replay go on behind what the log has.

    Raises
    ------
    UsageError
        If the log's clock was a real one and is past the bars: they would be stale to all that follow it.
    """
    newest = {name: log.latest("bar", key=series_key(name, timeframe), by="event_time") for name in symbols}
    since_ms = {name: event.event_time for name, event in newest.items() if event is not None}
    tick = log.latest("tick", by="event_time")
    due_ms = feed.first_close(symbols, timeframe, since_ms=since_ms)
    # A replay records the times that it plays; what was recorded as it happened comes from a live market.
    was_live = tick is not None and tick.recorded_at - tick.event_time < _LIVE_WITHIN_MS
    if tick is not None and was_live and due_ms is not None and due_ms < tick.event_time:
        raise UsageError(
            f"this log was live until {to_text(tick.event_time)}: a bar of {to_text(due_ms)} played into it would be "
            "stale to all that follow it; a replay writes a log of its own: set KALIBRE_HOME to another folder, or "
            "leave out --follow to store these bars as history"
        )
    feed.begin(symbols, timeframe, since_ms=since_ms, clock_ms=None if tick is None else tick.event_time)
