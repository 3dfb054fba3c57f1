"""Funding rates of a live series: asked for when a settlement may have passed, and stored before the bar that pays."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from itertools import pairwise

from kalibre.bars.funding import fetch_funding
from kalibre.core.clock import to_text
from kalibre.core.errors import SourceError
from kalibre.core.events import Event
from kalibre.core.protocols import FundedSource, Source
from kalibre.core.timeframe import DAY_MS
from kalibre.log.protocol import Reader

_logger = logging.getLogger(__name__)

_HOUR_MS = 3_600_000
LEEWAY_MS = 1_000
"""Exchanges stamp a settlement some milliseconds late; rates are kept to the second."""


@dataclass
class FundingWatch:
    """Knows up to when the funding of one symbol is told, and what is still owed.

    Exchanges settle at full hours. The next settlement is foreseen from those that are known; until the source tells
    its rate the bar waits for as long as `patience_s`, and later bars do not wait for the same one again.
    """

    log: Reader
    source: Source
    symbol: str
    patience_s: float
    told_ms: int | None = None
    """Up to when everything is told; None until the first bar says where to begin."""
    notes: list[str] = field(default_factory=list)
    _late: bool = False

    async def settled(self, from_ms: int, close_ms: int) -> list[Event]:
        """Return the rates settled by the close of a bar that is about to be stored.

        Parameters
        ----------
        from_ms
            Close of the bar before: where to begin if nothing is known.
        close_ms
            UTC milliseconds.
        """
        if not isinstance(self.source, FundedSource):
            return []
        if self.told_ms is None:
            known = self.log.latest("funding", key=self.symbol, by="event_time")
            self.told_ms = from_ms if known is None else known.event_time
        if close_ms // _HOUR_MS * _HOUR_MS <= self.told_ms:
            return []
        loop, pause_s = asyncio.get_running_loop(), min(self.patience_s / 10, 1.0)
        deadline = loop.time() + (0.0 if self._late else self.patience_s)
        due_ms = self._next_settlement()
        while True:
            events = await self._ask(
                self.told_ms + 1, close_ms + LEEWAY_MS, max(deadline - loop.time(), min(self.patience_s, 1.0))
            )
            owed = events is None or (
                due_ms is not None and due_ms <= close_ms and not any(event.event_time >= due_ms for event in events)
            )
            if not owed or loop.time() + pause_s > deadline:
                break
            await asyncio.sleep(pause_s)
        if owed and not self._late and due_ms is not None:
            note = f"funding settled by {to_text(close_ms)} was not told in time: asked for again at the next bar"
            _logger.warning("%s: %s", self.symbol, note)
            self.notes.append(note)
        self._late = owed
        if not owed:
            self.told_ms = close_ms
        return events or []

    def _next_settlement(self) -> int | None:
        """Return when the next rate is due if the rhythm of the last day goes on; None if no rhythm is known."""
        last = self.log.latest("funding", key=self.symbol, by="event_time")
        if last is None:
            return None
        events = self.log.read(
            kinds={"funding"}, key=self.symbol, start_ms=last.event_time - DAY_MS, end_ms=last.event_time + 1
        )
        times = sorted({event.event_time for event in events})
        rhythm = min((later - earlier for earlier, later in pairwise(times)), default=None)
        return None if rhythm is None else last.event_time + rhythm

    async def _ask(self, start_ms: int, end_ms: int, patience_s: float) -> list[Event] | None:
        """Ask in a thread; None where the source fails or takes too long, which is announced, not fatal."""
        asked = asyncio.to_thread(fetch_funding, self.log, self.source, self.symbol, start_ms=start_ms, end_ms=end_ms)
        try:
            return await asyncio.wait_for(asked, patience_s)
        except TimeoutError:
            note = f"{self.source.name} told no funding within {patience_s:.3g} s"
        except SourceError as error:
            note = f"no funding: {error}"
        if not self._late:
            _logger.warning("%s: %s", self.symbol, note)
            self.notes.append(note)
        return None
