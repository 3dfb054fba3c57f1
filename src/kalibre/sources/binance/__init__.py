"""Binance, spot or perpetual futures: closed klines over REST, and the kline stream, healed through REST."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import ClassVar

from kalibre.core.bars import Bars
from kalibre.core.clock import Clock, SystemClock
from kalibre.core.errors import UsageError
from kalibre.core.protocols import SourceBar
from kalibre.core.timeframe import timeframe_ms
from kalibre.sources.base import check_range
from kalibre.sources.binance.markets import market_of
from kalibre.sources.binance.rest import AsyncDriver, Patience, RestProtocol, WeightBudget, drive
from kalibre.sources.binance.stream import StreamSession, Tempo


class Binance:
    """Bars of Binance's spot market, or of its USD-margined perpetual futures with their funding; no key is needed.

    Parameters
    ----------
    market
        `spot` or `perpetual`. One log holds a symbol of one of them: `BTCUSDT` is the name of both.
    rest_url, ws_url
        Where to ask; empty: the market's own addresses. Where Binance refuses the region, spot is also at
        `https://data-api.binance.vision` and `wss://data-stream.binance.vision`.
    timeout_s
        Of one request.
    attempts, backoff_s, backoff_cap_s
        Tries of one request that failed with 5xx, a timeout, a broken connection or broken JSON, and the bounds of the
        waits between them (full jitter: uniform up to `backoff_s * 2**n`, capped).
    max_wait_s
        The longest Retry-After that is waited for.
    weight_share
        Share of Binance's request weight a minute that is used before waiting for the next.
    stall_after_s, ping_every_s, rotate_after_s, late_after_s, confirm_after_s, recheck_bars
        See `kalibre.sources.binance.stream.Tempo`.
    seed
        Of the jitter; None: by chance.
    clock, sleep, asleep
        The time, and what waits for `history` and for `stream`; tests pass their own.

    Raises
    ------
    UsageError
        If a URL has the wrong scheme or a number is out of range.

    References
    ----------
    https://developers.binance.com/docs/binance-spot-api-docs (REST API, WebSocket streams, limits) and
    https://developers.binance.com/docs/derivatives/usds-margined-futures (market data, Important WebSocket Change
    Notice of March 2026).
    """

    name: ClassVar[str] = "binance"

    def __init__(
        self,
        *,
        market: str = "spot",
        rest_url: str = "",
        ws_url: str = "",
        timeout_s: float = 10.0,
        attempts: int = 6,
        backoff_s: float = 0.5,
        backoff_cap_s: float = 30.0,
        max_wait_s: float = 120.0,
        weight_share: float = 0.8,
        stall_after_s: float = 60.0,
        ping_every_s: float = 20.0,
        rotate_after_s: float = 23.5 * 3600,
        late_after_s: float = 5.0,
        confirm_after_s: float = 0.5,
        recheck_bars: int = 100,
        seed: int | None = None,
        clock: Clock | None = None,
        sleep: Callable[[float], None] = time.sleep,
        asleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._market = market_of(market)
        rest_url, ws_url = rest_url or self._market.rest_url, ws_url or self._market.ws_url
        for option, url, schemes in (("rest_url", rest_url, ("http", "https")), ("ws_url", ws_url, ("ws", "wss"))):
            if url.partition("://")[0] not in schemes:
                raise UsageError(
                    f"{option} {url!r} begins with neither of {schemes}: write for example {schemes[1]}://host"
                )
        if attempts < 1 or not 0 < weight_share <= 1 or timeout_s <= 0:
            raise UsageError(
                f"attempts = {attempts}, weight_share = {weight_share}, timeout_s = {timeout_s}: at least one attempt, "
                "a share in (0, 1] and a positive timeout are needed"
            )
        self._rest_url, self._ws_url, self._timeout_s = rest_url.rstrip("/"), ws_url, timeout_s
        self._sleep, self._asleep = sleep, asleep
        self._rest = RestProtocol(
            market=self._market,
            patience=Patience(attempts, backoff_s, backoff_cap_s, max_wait_s),
            budget=WeightBudget(limit=self._market.weight_limit, share=weight_share),
            rng=random.Random(seed),  # noqa: S311 (jitter is no secret)
            clock=clock or SystemClock(),
        )
        self._tempo = Tempo(
            stall_after_s=stall_after_s,
            ping_every_s=ping_every_s,
            rotate_after_s=rotate_after_s,
            late_after_s=late_after_s,
            confirm_after_s=confirm_after_s,
            recheck_bars=recheck_bars,
        )

    def history(
        self, symbol: str, timeframe: str, *, start_ms: int | None = None, end_ms: int | None = None
    ) -> Iterator[Bars]:
        """Yield closed bars with `start_ms <= open_time < end_ms`, a page of 1,000 at a time, oldest first.

        What counts as closed is what had closed by the exchange's own clock before the first page was asked for, so
        neither this machine's clock nor a slow answer can let an unfinished bar in.

        Raises
        ------
        UnknownSymbolError
            If Binance does not list the symbol.
        SourceBannedError, SourceRefusedError, RateLimitedError, SourceUnavailableError, SourceFormatError
            If Binance bans or refuses this address, asks for more patience than `max_wait_s`, or does not answer
            soundly within `attempts`.
        """
        import httpx

        self._market.check_interval(timeframe)
        check_range(start_ms, end_ms)
        step_ms = timeframe_ms(timeframe)
        with httpx.Client(base_url=self._rest_url, timeout=self._timeout_s) as client:
            drive(self._rest.limits(symbol), client, self._sleep)
            now_ms = drive(self._rest.server_time(), client, self._sleep)
            at, end = start_ms or 0, now_ms if end_ms is None else min(end_ms, now_ms)
            while at < end:
                steps = self._rest.page(symbol, timeframe, at, end, step_ms=step_ms, now_ms=now_ms)
                page = drive(steps, client, self._sleep)
                if not page:
                    return
                yield Bars.from_rows(symbol, timeframe, page)
                at = page[-1].open_time + step_ms

    def funding(self, symbol: str, *, start_ms: int, end_ms: int) -> Iterator[tuple[int, float]]:
        """Yield (settlement, rate) with `start_ms <= settlement < end_ms`, oldest first; nothing for spot.

        Settlements as Binance stamps them, often some milliseconds after the hour.

        Raises
        ------
        SourceError
            As `history`.
        """
        if not self._market.has_funding:
            return
        import httpx

        check_range(start_ms, end_ms)
        with httpx.Client(base_url=self._rest_url, timeout=self._timeout_s) as client:
            at, more = start_ms, True
            while more and at < end_ms:
                page, more = drive(self._rest.rates(symbol, at, end_ms), client, self._sleep)
                yield from page
                if page:
                    at = page[-1][0] + 1

    async def stream(
        self, symbols: Sequence[str], timeframe: str, *, since_ms: Mapping[str, int] | None = None
    ) -> AsyncIterator[SourceBar]:
        """Yield closed bars as they close, each symbol in order, after a back-fill from `since_ms`.

        Provenance is `received` for what the stream said, `backfilled` for what REST had to. After a lost connection
        what was missed is fetched before any later bar of that symbol is delivered; other symbols go on meanwhile. A
        bar that the exchange corrects comes again, at once. Ends only when closed, or with an error that trying again
        cannot mend.

        Raises
        ------
        UnknownSymbolError, SourceBannedError, SourceRefusedError
            As `history`. An outage is waited for, however long, unless it is there from the start.
        UsageError
            If there is no symbol, or Binance has no klines of the timeframe.
        """
        import httpx

        self._market.check_interval(timeframe)
        if not symbols:
            raise UsageError("stream: no symbol was given; name at least one, for example BTCUSDT")
        async with httpx.AsyncClient(base_url=self._rest_url, timeout=self._timeout_s) as client:
            session = StreamSession(
                self._rest,
                AsyncDriver(client, self._asleep),
                ws_url=self._ws_url,
                symbols=symbols,
                timeframe=timeframe,
                since_ms=since_ms or {},
                tempo=self._tempo,
            )
            task = asyncio.create_task(session.run())
            task.add_done_callback(session.report)
            try:
                while True:
                    item = await session.queue.get()
                    if isinstance(item, BaseException):
                        raise item
                    yield item
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


SOURCE = Binance
