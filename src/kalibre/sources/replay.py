"""Any stored history as a live stream, at any speed and by its own clock: a file, another source, the event log."""

from __future__ import annotations

import asyncio
import heapq
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from kalibre.core.bars import Bars, concat, without_news
from kalibre.core.clock import PlayedClock, to_text
from kalibre.core.errors import SourceError, UnknownSymbolError, UsageError
from kalibre.core.events import BarClosed, Event, Funding, series_key
from kalibre.core.protocols import FundedSource, Source, SourceBar
from kalibre.core.timeframe import timeframe_ms
from kalibre.sources.base import check_range, chunks, span_of


class Replay:
    """A stored history, streamed as if it were happening.

    It has a clock of its own, `clock`: at the close of a bar when that bar is handed out, on the way to the next close
    (at the speed) once the reader asks for it. It never passes the close of a bar that is not handed out yet.

    Exactly one of `path`, `source`, `log_url` and `bars` says what is played.

    Parameters
    ----------
    path
        A file or folder that the source `files` reads.
    source, source_options
        Another source by name, and its options.
    log_url
        An event log (`sqlite:///...` or `postgresql://...`); the newest revision of each bar is played.
    bars
        Series in memory, by symbol.
    speed
        `max`, or how many times faster than the market: `60x`, `1x`, `60`.
    slows_at_ms, slow_speed
        From when on it is played at another speed: a year at once, and then its last day bar by bar.
    live_from_ms
        Where the past ends and the playing begins, UTC ms: `history` has the bars that had closed by then, `stream` the
        later ones. None: all is past for `history`, and all is played by `stream`, until `begin` says otherwise.
    sleep, now_s
        What waits and what measures time (seconds, of any origin); tests pass their own.

    Raises
    ------
    UsageError
        If not exactly one history is named, or the speed is none.

    Examples
    --------
    >>> import asyncio
    >>> async def first() -> SourceBar:
    ...     stream = Replay(source="sample").stream(["EURUSD"], "1h")
    ...     return await anext(stream)
    >>> played = asyncio.run(first())
    >>> played.bar.close, played.provenance
    (1.05227, 'replayed')
    """

    name: ClassVar[str] = "replay"

    def __init__(
        self,
        *,
        path: str = "",
        source: str = "",
        source_options: Mapping[str, Any] | None = None,
        log_url: str = "",
        bars: Mapping[str, Bars] | None = None,
        speed: str | float = "max",
        slows_at_ms: int | None = None,
        slow_speed: str | float = "60x",
        live_from_ms: int | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        if sum(map(bool, (path, source, log_url, bars))) != 1:
            raise UsageError(
                f"replay plays one history: path = {path!r}, source = {source!r}, log_url = {log_url!r}, bars = "
                f"{sorted(bars or {})}: name exactly one of them"
            )
        if source == self.name:
            raise UsageError("replay cannot play itself: name the source that holds the history")
        self._speed = _parse_speed(speed)
        self._slows_at_ms, self._slow_speed = slows_at_ms, _parse_speed(slow_speed)
        self._bars = bars
        self._log_url = log_url
        self._source: Source | None = None
        options = dict(source_options or {})
        if path:
            source, options = "files", {**options, "path": path}
        if source:
            from kalibre.sources import open_source

            self._source = open_source(source, **options)
        self._live_from_ms = live_from_ms
        self._sleep = sleep
        self._now_s = now_s
        self._begun = False
        self._held: dict[tuple[str, str], Bars] = {}
        self._rates: dict[str, list[tuple[int, float]]] = {}
        self.clock = PlayedClock(now_s)
        self.pace: Callable[[], Awaitable[object]] | None = None

    def first_close(
        self, symbols: Sequence[str], timeframe: str, *, since_ms: Mapping[str, int] | None = None
    ) -> int | None:
        """Return when the first bar closes that is left to be played, UTC ms; None if none is left.

        Raises
        ------
        UnknownSymbolError
            If the history does not hold one of the series.
        """
        lines = [self._line(symbol, timeframe, (since_ms or {}).get(symbol)) for symbol in symbols]
        firsts = [first for line in lines if (first := next(line, None)) is not None]
        return min((close_ms for close_ms, _, _ in firsts), default=None)

    def begin(
        self,
        symbols: Sequence[str],
        timeframe: str,
        *,
        since_ms: Mapping[str, int] | None = None,
        clock_ms: int | None = None,
    ) -> None:
        """Set the clock to where playing begins; from now on `history` has what has closed by it, as an exchange would.

        That is the latest of `live_from_ms`, the close of the newest bar that the reader has (`since_ms`, open times),
        and `clock_ms`, the time that it recorded last; with none of these, the opening of the first bar.

        Raises
        ------
        UnknownSymbolError
            If the history does not hold one of the series.
        UsageError
            If playing is to begin after the history has ended.
        """
        step_ms = timeframe_ms(timeframe)
        reached = [open_ms + step_ms for open_ms in (since_ms or {}).values()]
        if clock_ms is not None:
            reached.append(clock_ms)
        if self._live_from_ms is not None:
            held = [bars for symbol in symbols if len(bars := self._series(symbol, timeframe))]
            newest_ms = max((int(bars.close_time[-1]) for bars in held), default=0)
            if self._live_from_ms >= newest_ms:
                raise UsageError(
                    f"playing is to begin at {to_text(self._live_from_ms)}, but the history ends at "
                    f"{to_text(newest_ms)} (Istanbul time): name an earlier time"
                )
            reached.append(self._live_from_ms)
        if not reached:
            first = self.first_close(symbols, timeframe)
            reached.append((first or 0) - step_ms)
        self.clock.stand(max(reached))
        self._begun = True

    def history(
        self, symbol: str, timeframe: str, *, start_ms: int | None = None, end_ms: int | None = None
    ) -> Iterator[Bars]:
        """Yield the bars of the past with `start_ms <= open_time < end_ms`, oldest first.

        The past is what had closed by `live_from_ms`, or by the clock once playing has begun.

        Raises
        ------
        UnknownSymbolError
            If the history does not hold the series.
        """
        timeframe_ms(timeframe)
        check_range(start_ms, end_ms)
        part = self._series(symbol, timeframe).between(start_ms, end_ms)
        until_ms = self.clock.now_ms() if self._begun else self._live_from_ms
        yield from chunks(part if until_ms is None else part[part.close_time <= until_ms])

    def span(self, symbol: str, timeframe: str) -> tuple[int, int] | None:
        """Return the open times of the first and the last bar of the past; None if there is no bar."""
        return span_of(self.history(symbol, timeframe))

    def funding(self, symbol: str, *, start_ms: int, end_ms: int) -> Iterator[tuple[int, float]]:
        """Yield (settlement, rate) with `start_ms <= settlement < end_ms`, oldest first, as far as the past reaches.

        What is played tells them, a source that knows funding or the log, for the time of the bars that were asked for.
        """
        until_ms = self.clock.now_ms() if self._begun else self._live_from_ms
        held = [bars for (name, _), bars in self._held.items() if name == symbol and len(bars)]
        if held and symbol not in self._rates:
            self._rates[symbol] = self._told_rates(symbol, held)
        for settled_ms, rate in self._rates.get(symbol, ()):
            # Exchanges stamp a settlement some milliseconds late; it belongs to the second, as the log keeps it.
            if start_ms <= settled_ms < end_ms and (until_ms is None or settled_ms // 1_000 * 1_000 <= until_ms):
                yield settled_ms, rate

    def _told_rates(self, symbol: str, held: Sequence[Bars]) -> list[tuple[int, float]]:
        """Return every rate of these bars' time: read once, for a reader asks at each full hour."""
        start_ms = min(int(bars.open_time[0]) for bars in held)
        end_ms = max(int(bars.close_time[-1]) for bars in held) + 1_000
        if isinstance(self._source, FundedSource):
            return list(self._source.funding(symbol, start_ms=start_ms, end_ms=end_ms))
        if not self._log_url:
            return []
        from kalibre.log import open_log

        with open_log(self._log_url) as log:
            events = log.read(kinds={"funding"}, key=symbol, start_ms=start_ms, end_ms=end_ms, newest_revision=True)
        rates = ((event.event_time, event.payload.rate) for event in events if isinstance(event.payload, Funding))
        return sorted(rates)

    async def stream(
        self, symbols: Sequence[str], timeframe: str, *, since_ms: Mapping[str, int] | None = None
    ) -> AsyncIterator[SourceBar]:
        """Yield the bars after `live_from_ms` and after `since_ms`, in order of their closes over all symbols.

        Between two closes it waits as long as the market did, divided by the speed; a late reader is not waited for
        twice, the schedule is kept from the first bar on. Where `begin` set the clock, the first bar is waited for too,
        from its opening at the earliest. Ends with the history.

        Raises
        ------
        UnknownSymbolError
            If the history does not hold one of the series.
        UsageError
            If no symbol is given.
        """
        if not symbols:
            raise UsageError("replay: no symbol was given; name at least one")
        lines = [self._line(symbol, timeframe, (since_ms or {}).get(symbol)) for symbol in dict.fromkeys(symbols)]
        start: tuple[int, float] | None = None
        speed, slows_at_ms = self._speed, self._slows_at_ms
        for close_ms, _, item in heapq.merge(*lines, key=lambda entry: entry[:2]):
            if start is None:
                first_ms = max(self.clock.now_ms(), item.bar.open_time) if self._begun else close_ms
                start = (first_ms, self._now_s())
                self.clock.stand(first_ms)
            if slows_at_ms is not None and close_ms > slows_at_ms:
                start, speed, slows_at_ms = (max(start[0], slows_at_ms), self._now_s()), self._slow_speed, None
            due_s = start[1] + (close_ms - start[0]) / 1_000 / speed
            self.clock.run(close_ms, due_s=due_s)
            # At full speed too the loop is given its turn: a reader's other tasks must not starve.
            await self._sleep(max(0.0, due_s - self._now_s()))
            if self.pace is not None:
                await self.pace()
            self.clock.stand(close_ms)
            yield item

    def _line(self, symbol: str, timeframe: str, since_ms: int | None) -> Iterator[tuple[int, str, SourceBar]]:
        step_ms = timeframe_ms(timeframe)
        bars = self._series(symbol, timeframe)
        part = bars if self._live_from_ms is None else bars[bars.close_time > self._live_from_ms]
        for bar in part.between(None if since_ms is None else since_ms + 1, None):
            item = SourceBar(symbol=symbol, timeframe=timeframe, bar=bar, provenance="replayed")
            yield bar.open_time + step_ms, symbol, item

    def headlines(self) -> list[Event]:
        """Return the headlines and scores of the log that is played; nothing where bars are played from elsewhere."""
        if not self._log_url:
            return []
        from kalibre.log import open_log

        with open_log(self._log_url) as log:
            return log.read(kinds={"headline", "headline_score"}, newest_revision=True)

    def _series(self, symbol: str, timeframe: str) -> Bars:
        """Return what is played, read once: a reader asks for missing bars again and again."""
        held = self._held.get((symbol, timeframe))
        if held is None:
            held = self._held[symbol, timeframe] = self._stored(symbol, timeframe)
        return held

    def _stored(self, symbol: str, timeframe: str) -> Bars:
        if self._source is not None:
            parts = list(self._source.history(symbol, timeframe))
            return concat(parts) if parts else Bars.from_rows(symbol, timeframe, [])
        if self._bars is not None:
            return _own(self._bars, symbol, timeframe)
        return self._logged(symbol, timeframe)

    def _logged(self, symbol: str, timeframe: str) -> Bars:
        from kalibre.log import open_log

        with open_log(self._log_url) as log:
            events = log.read(kinds=["bar"], key=series_key(symbol, timeframe), newest_revision=True)
        if not events:
            raise UnknownSymbolError(f"the log holds no bar of {symbol} {timeframe}: ingest it first")
        rows = []
        for event in sorted(events, key=lambda event: event.event_time):
            payload = event.payload
            if not isinstance(payload, BarClosed):
                raise SourceError(f"event {event.seq} of kind bar holds {type(payload).__name__}: run kalibre doctor")
            rows.append(without_news(payload.bar()))
        return Bars.from_rows(symbol, timeframe, rows)


def _own(bars: Mapping[str, Bars], symbol: str, timeframe: str) -> Bars:
    held = bars.get(symbol)
    if held is None:
        raise UnknownSymbolError(f"symbol {symbol!r} is not in this history: it holds {', '.join(sorted(bars))}")
    if held.timeframe != timeframe:
        raise UsageError(f"the history of {symbol} is of {held.timeframe}, not {timeframe}: ask for {held.timeframe}")
    return concat([held])


def _parse_speed(speed: str | float) -> float:
    if speed == "max":
        return float("inf")
    match = re.fullmatch(r"(\d+(?:\.\d+)?)x?", str(speed).strip())
    if match is None or float(match[1]) <= 0:
        raise UsageError(f"speed {speed!r} is none: write max, or how many times faster than the market, such as 60x")
    return float(match[1])


SOURCE = Replay
