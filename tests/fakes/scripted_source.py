"""A source that does exactly what a test says: its history may lack, change or delay bars, its stream says anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from threading import Event as Flag
from typing import ClassVar

from kalibre.core.bars import Bar, Bars
from kalibre.core.errors import SourceUnavailableError
from kalibre.core.protocols import SourceBar


class ScriptedSource:
    """History from a dictionary of bars by symbol, in chunks; a stream from a script.

    `hidden` holds (symbol, open time) that the history does not tell for the number of times given; `blocked` makes
    the history of those symbols wait until `released` is set; `down` makes it fail.
    """

    name: ClassVar[str] = "scripted"

    def __init__(self, bars: Mapping[str, Sequence[Bar]], *, timeframe: str = "15m", chunk: int = 100) -> None:
        self.bars = {symbol: {bar.open_time: bar for bar in series} for symbol, series in bars.items()}
        self.timeframe = timeframe
        self.chunk = chunk
        self.asked: list[tuple[str, int | None, int | None]] = []
        self.hidden: dict[tuple[str, int], int] = {}
        self.blocked: set[str] = set()
        self.released = Flag()
        self.down = False
        self.script: list[SourceBar | Callable[[], Awaitable[None]]] = []
        self.since: Mapping[str, int] = {}
        self.closed = False

    def history(
        self, symbol: str, timeframe: str, *, start_ms: int | None = None, end_ms: int | None = None
    ) -> Iterator[Bars]:
        """Yield what is not hidden."""
        self.asked.append((symbol, start_ms, end_ms))
        if self.down:
            raise SourceUnavailableError("scripted: down, as the test said")
        if symbol in self.blocked and not self.released.wait(30):
            raise SourceUnavailableError("scripted: never released")
        rows = []
        for time, bar in sorted(self.bars[symbol].items()):
            if (start_ms is None or time >= start_ms) and (end_ms is None or time < end_ms):
                left = self.hidden.get((symbol, time), 0)
                if left:
                    self.hidden[symbol, time] = left - 1
                else:
                    rows.append(bar)
        for i in range(0, len(rows), self.chunk):
            yield Bars.from_rows(symbol, timeframe, rows[i : i + self.chunk])

    def say(self, symbol: str, *bars: Bar, provenance: str = "received", timeframe: str = "") -> None:
        """Add bars to the script of the stream."""
        for bar in bars:
            item = SourceBar(symbol=symbol, timeframe=timeframe or self.timeframe, bar=bar, provenance=provenance)
            self.script.append(item)

    async def stream(
        self, symbols: Sequence[str], timeframe: str, *, since_ms: Mapping[str, int] | None = None
    ) -> AsyncIterator[SourceBar]:
        """Yield the script; a coroutine function in it is awaited."""
        self.since = dict(since_ms or {})
        try:
            for item in self.script:
                if isinstance(item, SourceBar):
                    yield item
                    await asyncio.sleep(0)
                else:
                    await item()
        finally:
            self.closed = True
