"""The pace of a replay: no further ahead of its readers than what they can hold in mind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from kalibre.log.protocol import EventLog

MOST_BEHIND = 20_000
"""Positions of the log that the slowest reader may be behind the newest bar."""
_EVERY_BARS = 100
_LOOK_S = 0.02
_PATIENCE_S = 60.0


class Pace:
    """Makes a replay wait for the projections that read it.

    At full speed bars would be stored faster than they are learnt from. Whoever joins what the others say holds what
    the faster ones said until the slowest has spoken, so that its memory would grow with the length of the history.

    A projection that does not get on (its worker is stopped, or fails again and again) is waited for no longer after a
    while, until it gets on again. What the log holds in the end does not depend on any of this, only when.

    Parameters
    ----------
    log
        What is written and read.
    readers
        Names of the projections.
    should_stop
        Says when nobody is to be waited for any more.
    most_behind, every_bars, patience_s
        Positions that one may be behind; bars after which that is looked at; seconds without getting on.
    """

    def __init__(
        self,
        log: EventLog,
        readers: Sequence[str],
        *,
        should_stop: Callable[[], bool] = lambda: False,
        most_behind: int = MOST_BEHIND,
        every_bars: int = _EVERY_BARS,
        patience_s: float = _PATIENCE_S,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log, self._readers = log, tuple(readers)
        self._most, self._every, self._patience_s = most_behind, every_bars, patience_s
        self._should_stop, self._sleep, self._now_s = should_stop, sleep, now_s
        self._bars = 0
        self._seen: dict[str, tuple[int, float]] = {}
        """By projection its position, and when it was first seen there."""

    async def __call__(self) -> None:
        """Wait, before the next bar, until nobody who gets on is too far behind."""
        self._bars += 1
        if self._bars % self._every:
            return
        newest = self._log.last_position({"bar"})
        while not self._should_stop() and any(self._is_waited_for(name, newest) for name in self._readers):
            await self._sleep(_LOOK_S)

    def _is_waited_for(self, name: str, newest: int) -> bool:
        progress = self._log.progress(name)
        position = 0 if progress is None else progress.seq
        if newest - position <= self._most:
            self._seen.pop(name, None)
            return False
        now_s = self._now_s()
        seen = self._seen.get(name)
        if seen is None or seen[0] != position:
            self._seen[name] = seen = (position, now_s)
        return now_s - seen[1] < self._patience_s
