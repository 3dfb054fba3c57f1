"""Binance's kline stream: connect, read, notice silence, reconnect, back-fill, and hand on in order."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kalibre.core.bars import Bar
from kalibre.core.errors import RateLimitedError, SourceError, SourceFormatError, SourceUnavailableError
from kalibre.core.errors import SourceRefusedError as Refused
from kalibre.core.protocols import SourceBar
from kalibre.core.timeframe import timeframe_ms
from kalibre.sources.binance.rest import PAGE_BARS, AsyncDriver, RestProtocol
from kalibre.sources.binance.sequence import Delivery, Sequence
from kalibre.sources.binance.wire import parse_event

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

logger = logging.getLogger(__name__)
_MONDAY_MS = 4 * 86_400_000  # Binance's weeks begin on Mondays, 1970 on a Thursday
_FRESH_MS = 600_000  # a bar younger than this may be missing only because REST's replica is behind


@dataclass(frozen=True)
class Tempo:
    """When the stream acts by itself; seconds.

    `stall_after_s` without any message, or `ping_every_s` twice without a pong, count as a dead connection. Binance
    ends connections after 24 hours, so `rotate_after_s` does it first. A final kline is asked for by REST if it has not
    come `late_after_s` (of the exchange's time) after its close. A hole in REST's answer is asked for `confirmations`
    times more, `confirm_after_s` apart, before it is believed. `recheck_bars` are compared after each reconnect.
    """

    stall_after_s: float = 60.0
    ping_every_s: float = 20.0
    open_timeout_s: float = 10.0
    rotate_after_s: float = 23.5 * 3600
    late_after_s: float = 5.0
    confirmations: int = 2
    confirm_after_s: float = 0.5
    recheck_bars: int = 100


class StreamSession:
    """One `stream` call: its connection, its back-fills, and a queue of what can be delivered.

    Parameters
    ----------
    ask
        Runs steps of `rest` over an async client.
    since_ms
        Open time of the last bar known, by symbol.
    """

    def __init__(
        self,
        rest: RestProtocol,
        ask: AsyncDriver,
        *,
        ws_url: str,
        symbols: Many[str],
        timeframe: str,
        since_ms: Mapping[str, int],
        tempo: Tempo,
    ) -> None:
        self._rest = rest
        self._ask = ask
        streams = "/".join(f"{symbol.lower()}@kline_{timeframe}" for symbol in symbols)
        self._url = f"{ws_url.rstrip('/')}/stream?streams={streams}"
        self._symbols = tuple(symbols)
        self._timeframe = timeframe
        self._step_ms = timeframe_ms(timeframe)
        self._origin_ms = _MONDAY_MS if timeframe == "1w" else 0
        self._since_ms = since_ms
        self._tempo = tempo
        self._sequences: dict[str, Sequence] = {}
        self._recheck: set[str] = set()
        self._overdue: set[str] = set()
        self._healing: dict[str, asyncio.Task[None]] = {}
        self.queue: asyncio.Queue[SourceBar | BaseException] = asyncio.Queue()

    async def run(self) -> None:
        """Keep a connection and the back-fills going until cancelled, or until what cannot be mended is raised."""
        now_ms = await self._ask(self._rest.server_time())
        for symbol in self._symbols:
            since_ms = self._since_ms.get(symbol)
            first = (
                now_ms - (now_ms - self._origin_ms) % self._step_ms if since_ms is None else since_ms + self._step_ms
            )
            self._sequences[symbol] = Sequence(first, self._step_ms)
        failures = 0
        try:
            while True:
                heard, reason = await self._connection()
                failures = 1 if heard else failures + 1
                pause_s = self._rest.patience.pause_s(failures - 1, self._rest.rng)
                logger.warning("Binance stream: %s; connecting again in %.1f s", reason, pause_s)
                await asyncio.sleep(pause_s)
        finally:
            for task in self._healing.values():
                task.cancel()
            await asyncio.gather(*self._healing.values(), return_exceptions=True)

    async def _connection(self) -> tuple[bool, str]:
        """Hold one connection; return whether it said anything, and why it ended."""
        from websockets.asyncio.client import connect
        from websockets.exceptions import InvalidHandshake, InvalidStatus

        heard = False
        tempo = self._tempo
        try:
            connection = await connect(
                self._url,
                ping_interval=tempo.ping_every_s,
                ping_timeout=tempo.ping_every_s,
                open_timeout=tempo.open_timeout_s,
                close_timeout=1.0,
                max_queue=None,
            )
        except InvalidStatus as error:
            response = error.response
            headers = {key.lower(): value for key, value in response.headers.raw_items()}
            try:
                self._rest.check_status(response.status_code, headers, bytes(response.body or b""))
            except RateLimitedError as limited:
                await asyncio.sleep(limited.retry_after_s)
                return False, str(limited)
            except Refused:
                raise
            except SourceUnavailableError as unavailable:
                return False, str(unavailable)
            raise SourceError(f"Binance refused the stream {self._url}: HTTP {response.status_code}") from error
        except (OSError, TimeoutError, InvalidHandshake) as error:
            return False, f"no connection: {type(error).__name__} {error}".strip()
        try:
            # Connected first, asked second: whatever closes from here on is heard or is in REST's answer.
            for symbol in self._symbols:
                self._recheck.add(symbol)
                self._heal(symbol)
            rotate_at = asyncio.get_running_loop().time() + tempo.rotate_after_s
            while True:
                heard, reason = await self._hear(connection, rotate_at, heard)
                if reason:
                    return heard, reason
        finally:
            # A half-open peer never answers a closing handshake: do not wait for it.
            connection.transport.abort()
            await connection.wait_closed()

    async def _hear(self, connection: ClientConnection, rotate_at: float, heard: bool) -> tuple[bool, str]:
        """Take in one message; return whether any has been heard, and why the connection is over, if it is."""
        from websockets.exceptions import ConnectionClosed

        left_s = rotate_at - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(max(0.0, min(self._tempo.stall_after_s, left_s))):
                message = await connection.recv()
        except TimeoutError:
            if left_s <= self._tempo.stall_after_s:
                return True, "rotated before Binance's 24 hours"
            return heard, f"silent for {self._tempo.stall_after_s:g} s"
        except ConnectionClosed as error:
            return heard, f"connection lost: {error}"
        try:
            self._take(message)
        except SourceFormatError as error:
            # What it would have said is asked for by REST once it is overdue.
            logger.warning("Binance stream: %s; left out", error)
        return True, ""

    def _take(self, message: str | bytes) -> None:
        try:
            content = json.loads(message)
        except ValueError as error:
            raise SourceFormatError(f"message {message[:80]!r} is no JSON: {error}") from error
        event = parse_event(content)
        if event is None:
            return
        symbol, interval, bar, final, exchange_ms = event
        sequence = self._sequences.get(symbol)
        if sequence is None or interval != self._timeframe:
            return
        if final:
            self._deliver(symbol, sequence.live(bar, exchange_ms))
            if sequence.hole is not None:
                self._heal(symbol)
        due_ms = exchange_ms - self._step_ms - int(self._tempo.late_after_s * 1_000)
        for other, waiting in self._sequences.items():
            if waiting.known_upto <= due_ms:
                self._overdue.add(other)
                self._heal(other)

    def _deliver(self, symbol: str, deliveries: list[Delivery]) -> None:
        for bar, provenance in deliveries:
            self.queue.put_nowait(SourceBar(symbol=symbol, timeframe=self._timeframe, bar=bar, provenance=provenance))

    def _heal(self, symbol: str) -> None:
        """Start asking REST for what is missing, unless that is under way; each symbol on its own, none waits."""
        task = self._healing.get(symbol)
        if task is None or task.done():
            self._healing[symbol] = asyncio.create_task(self._heal_until_whole(symbol))
            self._healing[symbol].add_done_callback(self.report)

    def report(self, task: asyncio.Task[None]) -> None:
        """Hand what ended a task to the reader of the queue."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self.queue.put_nowait(error)

    async def _heal_until_whole(self, symbol: str) -> None:
        sequence = self._sequences[symbol]
        failures = 0
        while symbol in self._recheck or symbol in self._overdue or sequence.hole is not None:
            before = sequence.known_upto
            recheck = symbol in self._recheck
            self._recheck.discard(symbol)
            self._overdue.discard(symbol)
            start = before - self._tempo.recheck_bars * self._step_ms if recheck else before
            try:
                bars, complete_upto = await self._fetch(symbol, max(sequence.first, start))
            except (SourceUnavailableError, RateLimitedError, SourceFormatError) as error:
                if isinstance(error, Refused):
                    raise
                logger.warning("Binance back-fill of %s: %s; trying again", symbol, error)
                if recheck:
                    self._recheck.add(symbol)
                self._overdue.add(symbol)
                await asyncio.sleep(self._rest.patience.pause_s(failures, self._rest.rng))
                failures += 1
                continue
            failures = 0
            self._deliver(symbol, sequence.healed(bars, complete_upto=complete_upto))
            if sequence.in_doubt:
                self._recheck.add(symbol)
            elif sequence.known_upto == before and sequence.hole is not None:
                await asyncio.sleep(self._tempo.confirm_after_s)  # REST's clock is behind the stream's

    async def _fetch(self, symbol: str, start_ms: int) -> tuple[list[Bar], int]:
        """Return the closed bars from `start_ms` on, and the exchange's time up to which they are complete.

        Pages that are old enough to be beyond doubt are delivered at once: a long back-fill is not kept in memory.
        """
        sequence = self._sequences[symbol]
        sequence.begin_healing()
        for attempt in range(self._tempo.confirmations + 1):
            now_ms = await self._ask(self._rest.server_time())
            bars: list[Bar] = []
            at = start_ms
            while True:
                page = await self._ask(
                    self._rest.page(
                        symbol, self._timeframe, at, max(now_ms, at + 1), step_ms=self._step_ms, now_ms=now_ms
                    )
                )
                if not page:
                    break
                at = page[-1].open_time + self._step_ms
                if len(page) == PAGE_BARS and at < now_ms - _FRESH_MS:
                    self._deliver(symbol, sequence.healed(page, complete_upto=at, told_ms=now_ms))
                    start_ms = at
                else:
                    bars += page
                if at + self._step_ms > now_ms:
                    break
            fresh = [time for time in sequence.missing(bars, now_ms) if time >= now_ms - _FRESH_MS - self._step_ms]
            if not fresh:
                break
            if attempt < self._tempo.confirmations:
                await asyncio.sleep(self._tempo.confirm_after_s)
        return bars, now_ms
