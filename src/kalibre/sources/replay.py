"""Any stored history as a live stream, at any speed: a file, another source, or the event log itself."""

from __future__ import annotations

import asyncio
import heapq
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from kalibre.core.bars import OPTIONAL, Bar, Bars, concat
from kalibre.core.errors import SourceError, UnknownSymbolError, UsageError
from kalibre.core.events import BarClosed, series_key
from kalibre.core.protocols import Source, SourceBar
from kalibre.core.timeframe import timeframe_ms
from kalibre.sources.base import check_range, chunks


class Replay:
    """A stored history, streamed as if it were happening.

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
    live_from_ms
        Where the past ends and the playing begins, UTC ms: `history` has the bars that had closed by then, `stream` the
        later ones. None: all is past for `history`, and all is played by `stream`.
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
        live_from_ms: int | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now_s: Callable[[], float] | None = None,
    ) -> None:
        if sum(map(bool, (path, source, log_url, bars))) != 1:
            raise UsageError(
                f"replay plays one history: path = {path!r}, source = {source!r}, log_url = {log_url!r}, bars = "
                f"{sorted(bars or {})}: name exactly one of them"
            )
        if source == self.name:
            raise UsageError("replay cannot play itself: name the source that holds the history")
        self._speed = _parse_speed(speed)
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

    def history(
        self, symbol: str, timeframe: str, *, start_ms: int | None = None, end_ms: int | None = None
    ) -> Iterator[Bars]:
        """Yield the bars that had closed by `live_from_ms`, with `start_ms <= open_time < end_ms`, oldest first.

        Raises
        ------
        UnknownSymbolError
            If the history does not hold the series.
        """
        timeframe_ms(timeframe)
        check_range(start_ms, end_ms)
        for bars in self._stored(symbol, timeframe):
            part = bars.between(start_ms, end_ms)
            yield from chunks(part if self._live_from_ms is None else part[part.close_time <= self._live_from_ms])

    async def stream(
        self, symbols: Sequence[str], timeframe: str, *, since_ms: Mapping[str, int] | None = None
    ) -> AsyncIterator[SourceBar]:
        """Yield the bars after `live_from_ms` and after `since_ms`, in order of their closes over all symbols.

        Between two closes it waits as long as the market did, divided by the speed; a late reader is not waited for
        twice, the schedule is kept from the first bar on. Ends with the history.

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
        now_s = self._now_s or asyncio.get_running_loop().time
        begun: tuple[int, float] | None = None
        for close_ms, _, item in heapq.merge(*lines, key=lambda entry: entry[:2]):
            if begun is None:
                begun = (close_ms, now_s())
            due_s = begun[1] + (close_ms - begun[0]) / 1_000 / self._speed
            # At full speed too the loop is given its turn: a reader's other tasks must not starve.
            await self._sleep(max(0.0, due_s - now_s()))
            yield item

    def _line(self, symbol: str, timeframe: str, since_ms: int | None) -> Iterator[tuple[int, str, SourceBar]]:
        step_ms = timeframe_ms(timeframe)
        for bars in self._stored(symbol, timeframe):
            part = bars if self._live_from_ms is None else bars[bars.close_time > self._live_from_ms]
            for bar in part.between(None if since_ms is None else since_ms + 1, None):
                item = SourceBar(symbol=symbol, timeframe=timeframe, bar=bar, provenance="replayed")
                yield bar.open_time + step_ms, symbol, item

    def _stored(self, symbol: str, timeframe: str) -> Iterator[Bars]:
        if self._source is not None:
            return self._source.history(symbol, timeframe)
        if self._bars is not None:
            return iter([_own(self._bars, symbol, timeframe)])
        return iter([self._logged(symbol, timeframe)])

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
            rows.append(_bar(payload))
        return Bars.from_rows(symbol, timeframe, rows)


def _bar(payload: BarClosed) -> Bar:
    return Bar(
        open_time=payload.open_time,
        open=payload.open,
        high=payload.high,
        low=payload.low,
        close=payload.close,
        volume=payload.volume,
        **{name: getattr(payload, name) for name in OPTIONAL},
    )


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
