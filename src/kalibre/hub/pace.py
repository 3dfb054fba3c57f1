"""The pace of a replay: no further ahead of what the hub makes of its bars than can be held in mind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from kalibre.core.events import series_key
from kalibre.core.timeframe import timeframe_ms
from kalibre.log.protocol import EventLog

MOST_AHEAD_BARS = 2_000
_EVERY_BARS = 100
_LOOK_S = 0.02
_PATIENCE_S = 60.0


class Pace:
    """Makes a replay wait for the ensemble, which speaks of a bar after everybody else has.

    At full speed bars would be stored faster than they are learnt from and judged. Whoever joins what the others say
    holds what the faster ones said until the slowest has spoken, so that its memory would grow with the length of the
    history; and ensemble and scorer, which hear of each other by the log, would hear it ever later.

    An ensemble that does not get on (a worker is stopped, or fails again and again) is waited for no longer after a
    while, until it gets on again. What the log holds in the end does not depend on any of this, only when.

    Parameters
    ----------
    log
        What is written and read.
    symbols, timeframe
        What is played.
    should_stop
        Says when nobody is to be waited for any more.
    most_ahead_bars, every_bars, patience_s
        Bars that the newest may be ahead of the ensemble; bars after which that is looked at; seconds without its
        getting on.
    """

    def __init__(
        self,
        log: EventLog,
        symbols: Sequence[str],
        timeframe: str,
        *,
        should_stop: Callable[[], bool] = lambda: False,
        most_ahead_bars: int = MOST_AHEAD_BARS,
        every_bars: int = _EVERY_BARS,
        patience_s: float = _PATIENCE_S,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._series = [series_key(symbol, timeframe) for symbol in symbols]
        self._most_ms = most_ahead_bars * timeframe_ms(timeframe)
        self._every, self._patience_s = every_bars, patience_s
        self._should_stop, self._sleep, self._now_s = should_stop, sleep, now_s
        self._bars = 0
        self._seen: dict[str, tuple[int, float]] = {}
        """By series the newest bar that the ensemble has spoken of, and when that was first seen."""

    async def __call__(self) -> None:
        """Wait, before the next bar, until the ensemble is near enough or does not get on."""
        self._bars += 1
        if self._bars % self._every:
            return
        while not self._should_stop() and any(self._is_waited_for(series) for series in self._series):
            await self._sleep(_LOOK_S)

    def _is_waited_for(self, series: str) -> bool:
        newest = self._log.latest("bar", key=series, by="event_time")
        if newest is None:
            return False
        # While nothing was said yet, as where a learner compiles, it is counted from the first bar.
        spoken = self._log.latest("ensemble", key=f"{series}|ensemble", by="event_time")
        spoken_ms = (spoken or self._log.read(kinds={"bar"}, key=series, limit=1)[0]).event_time
        if newest.event_time - spoken_ms <= self._most_ms:
            self._seen.pop(series, None)
            return False
        now_s = self._now_s()
        seen = self._seen.get(series)
        if seen is None or seen[0] != spoken_ms:
            self._seen[series] = seen = (spoken_ms, now_s)
        return now_s - seen[1] < self._patience_s
