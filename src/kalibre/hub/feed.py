"""The worker that brings the market into the log: history first, then each bar as it closes, for ever."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator

from kalibre.bars.calendars import get_calendar
from kalibre.bars.ingest import ingest_history
from kalibre.bars.live import ingest_live
from kalibre.bars.playing import begin_playing
from kalibre.core.clock import Clock, SystemClock
from kalibre.core.errors import SourceError, UsageError
from kalibre.core.events import Tick, new_event, series_key
from kalibre.core.protocols import LiveSource, PlayedSource
from kalibre.core.settings import Settings
from kalibre.core.timeframe import DAY_MS
from kalibre.hub.pace import Pace
from kalibre.log.protocol import EventLog
from kalibre.sources import open_source

_RETRY_S = 5.0
_logger = logging.getLogger(__name__)


def feed(
    log: EventLog,
    settings: Settings,
    *,
    should_stop: Callable[[], bool],
    beat: Callable[[int, str], None],
    pause: Callable[[float], bool],
) -> None:
    """Write bars until told to stop; a replay that has played to its end goes on telling that it lives.

    A source that fails for good is opened anew after a pause: an exchange that was away for an hour is no reason to
    give up, and what was missed is back-filled.

    Parameters
    ----------
    beat
        Told the log's head and what is going on.
    pause
        Waits for so many seconds or until it is time to stop; returns whether it is.
    """
    market = settings.market
    while not should_stop():
        source = open_source(market.source, **market.source_options)
        if not isinstance(source, LiveSource):
            raise UsageError(
                f"source {source.name!r} has no live stream: play it with `kalibre hub up --replay FILE`, or choose "
                "one that streams"
            )
        clock: Clock = SystemClock()
        try:
            if isinstance(source, PlayedSource):
                clock = source.clock
                source.pace = Pace(log, market.symbols, market.timeframe, should_stop=should_stop)
                begin_playing(log, source, market.symbols, market.timeframe)
            now_ms = clock.now_ms()
            log.append([new_event("clock", now_ms, Tick(now_ms=now_ms))], writer="clock")
            beat(log.head(), "recovering")
            _backfill(log, settings, source, clock)
            asyncio.run(_follow(log, settings, source, clock, should_stop, beat))
        except SourceError as error:
            _logger.warning("%s; asked again in %g seconds", error, _RETRY_S)
            beat(log.head(), "waiting")
            pause(_RETRY_S)
            continue
        while isinstance(source, PlayedSource) and not pause(0.5):  # all is played: nothing is left to fetch
            beat(log.head(), "played")


def _backfill(log: EventLog, settings: Settings, source: LiveSource, clock: Clock) -> None:
    """Fetch what lies before the first live bar: the settings' days where the log has nothing yet."""
    market = settings.market
    for symbol in market.symbols:
        known = log.last_position({"bar"}, key=series_key(symbol, market.timeframe)) > 0
        if isinstance(source, PlayedSource) or (known and settings.hub.history_days == 0):
            continue
        start_ms = None if known else clock.now_ms() - settings.hub.history_days * DAY_MS
        ingest_history(
            log,
            source,
            symbol,
            market.timeframe,
            calendar=get_calendar(market.calendar),
            start_ms=start_ms,
            clock=clock,
            relevance=settings.language.relevance,
        )


async def _follow(
    log: EventLog,
    settings: Settings,
    source: LiveSource,
    clock: Clock,
    should_stop: Callable[[], bool],
    beat: Callable[[int, str], None],
) -> None:
    market = settings.market
    with _beating(log, beat):
        await ingest_live(
            log,
            source,
            market.symbols,
            market.timeframe,
            calendar=get_calendar(market.calendar),
            clock=clock,
            should_stop=should_stop,
            relevance=settings.language.relevance,
        )


@contextlib.contextmanager
def _beating(log: EventLog, beat: Callable[[int, str], None], every_s: float = 0.5) -> Iterator[None]:
    """Beat from the loop itself: a loop that hangs stops beating."""

    async def go_on() -> None:
        while True:
            beat(log.head(), "online")
            await asyncio.sleep(every_s)

    task = asyncio.get_running_loop().create_task(go_on(), name="heart")
    try:
        yield
    finally:
        task.cancel()
