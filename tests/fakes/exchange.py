"""A fake exchange: Binance's REST and WebSocket wire format over loopback, from given bars, with faults on demand.

Spot by default; with `market="perpetual"` it speaks USD-margined futures (`/fapi/v1`, `/market/stream`), and tells the
`funding` it was given.

    async with FakeExchange({"BTCUSDT": bars}) as exchange:
        exchange.faults.lose("BTCUSDT")
        await exchange.advance_to(ms)   # the market's clock: closes bars, sends their klines

The market clock moves only when told to. `exchange_in_thread` offers the same to tests without an event loop.
Optional columns that the bars lack are 0 on the wire (Binance always sends them), and in `closed`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
from tests.fakes.exchange_faults import Faults, error_body
from tests.fakes.exchange_http import HttpAnswer, HttpRequest, LoopbackHttpServer
from tests.fakes.exchange_markets import PATHS, ROOTS, STREAMS, FundingDesk, most_klines, symbol_info, weight
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from kalibre.core.bars import OPTIONAL, Bar, Bars

INTERVALS = frozenset(
    ["1s", "1M", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w"]
)


@dataclass(eq=False)
class _Stream:
    connection: ServerConnection
    names: set[str]
    deaf: bool = False
    """Half-open or mute: whatever is sent never arrives."""


@dataclass
class _Market:
    timeframe: str
    step_ms: int
    bars: dict[int, Bar] = field(default_factory=dict)


class FakeExchange:
    def __init__(
        self,
        bars: Mapping[str, Bars],
        *,
        now_ms: int | None = None,
        weight_limit: int = 6_000,
        market: str = "spot",
        funding: Mapping[str, Sequence[tuple[int, float]]] | None = None,
        funding_limit: int = 500,
    ) -> None:
        self.market = market
        self.funding = FundingDesk(funding or {}, limit=funding_limit)
        self.markets = {
            symbol: _Market(
                series.timeframe,
                series.step_ms,
                {bar.open_time: msgspec.structs.replace(bar, **_filled(bar)) for bar in series},
            )
            for symbol, series in bars.items()
        }
        starts = [int(series.open_time[0]) for series in bars.values() if len(series)]
        self.now_ms = now_ms if now_ms is not None else min(starts, default=0)
        self.weight_limit = weight_limit
        self.faults = Faults()
        self.requests: list[HttpRequest] = []
        self.connections = 0
        self._event_ms = 0
        self._used_weight: dict[int, int] = defaultdict(int)
        self._streams: set[_Stream] = set()
        self._held: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self._swapped: dict[str, str] = {}
        self._changed = asyncio.Condition()
        self._http = LoopbackHttpServer(self._answer)
        self._ws: Server | None = None
        self.ws_url = ""

    # --- life -------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> FakeExchange:
        await self._http.start()
        self._ws = await serve(
            self._stream, "127.0.0.1", 0, process_request=self._handshake, ping_interval=None, close_timeout=0.2
        )
        host, port = next(iter(self._ws.sockets)).getsockname()[:2]
        self.ws_url = f"ws://{host}:{port}{STREAMS[self.market]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._ws is not None
        for stream in list(self._streams):
            stream.connection.transport.abort()
        self._ws.close()
        await self._ws.wait_closed()
        await self._http.stop()

    @property
    def rest_url(self) -> str:
        return self._http.url

    # --- the market -------------------------------------------------------------------------------------------------

    def closed(self, symbol: str) -> Bars:
        """Return what the exchange's history says now: the closed bars, corrections included."""
        market = self.markets[symbol]
        rows = [bar for time, bar in sorted(market.bars.items()) if time + market.step_ms <= self.now_ms]
        return Bars.from_rows(symbol, market.timeframe, rows)

    async def advance_to(self, now_ms: int, *, updates: bool = True) -> None:
        """Move the market's clock: close bars in order, send a final kline for each, then one open kline a symbol."""
        closing = sorted(
            (time + market.step_ms, symbol, time)
            for symbol, market in self.markets.items()
            for time in market.bars
            if self.now_ms < time + market.step_ms <= now_ms
        )
        for close_ms, symbol, open_ms in closing:
            self.now_ms = close_ms
            await self._release()
            await self._send_final(symbol, open_ms)
        self.now_ms = now_ms
        await self._release()
        if updates:
            for symbol, market in self.markets.items():
                open_ms = now_ms - now_ms % market.step_ms
                if open_ms in market.bars:
                    await self._send(symbol, self._event(symbol, open_ms, final=False))

    async def correct(self, symbol: str, open_ms: int, *, announce: bool = True, **changes: float) -> Bar:
        """Change a bar of the past; `announce` sends it again as a final kline."""
        market = self.markets[symbol]
        market.bars[open_ms] = msgspec.structs.replace(market.bars[open_ms], **changes)
        self._event_ms = max(self.now_ms, self._event_ms + 1)
        if announce and open_ms + market.step_ms <= self.now_ms:
            await self._send(symbol, self._event(symbol, open_ms, final=True))
        return market.bars[open_ms]

    async def wait_for(self, condition: Callable[[], bool], *, timeout_s: float = 20) -> None:
        """Wait until the condition holds; it is looked at whenever a request or a connection comes or goes."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(condition)

    @property
    def server_ms(self) -> int:
        """The exchange's time: the market clock, and never before an event that was sent."""
        return max(self.now_ms, self._event_ms)

    @property
    def open_streams(self) -> int:
        return sum(not stream.deaf for stream in self._streams)

    # --- stream faults that act at once -----------------------------------------------------------------------------

    def drop_connections(self) -> None:
        """Cut every stream without a word."""
        for stream in list(self._streams):
            stream.deaf = True
            stream.connection.transport.abort()

    async def close_connections(self) -> None:
        """End every stream politely, as Binance does after 24 hours."""
        for stream in list(self._streams):
            stream.deaf = True
            await stream.connection.close(1001)

    def stall(self) -> None:
        """Leave every present stream half-open: nothing is sent, nothing is read, pings stay unanswered."""
        for stream in self._streams:
            stream.deaf = True
            stream.connection.transport.pause_reading()

    def mute(self) -> None:
        """Let every present stream live, pongs included, but never say anything again."""
        for stream in self._streams:
            stream.deaf = True

    # --- WebSocket --------------------------------------------------------------------------------------------------

    async def _handshake(self, connection: ServerConnection, request: Request) -> Response | None:
        if self.faults.always is not None:
            answer = self.faults.always(self.now_ms)
            status, headers = answer.status, dict(answer.headers)
        elif self.faults.handshake:
            status, headers = self.faults.handshake.popleft()
        elif not urlsplit(request.path).path.startswith(
            (f"{STREAMS[self.market]}/stream", f"{STREAMS[self.market]}/ws")
        ):
            status, headers = 404, {}
        else:
            return None
        response = connection.respond(status, "refused")  # type: ignore[arg-type]
        for key, value in headers.items():
            response.headers[key] = value
        await self._notify()
        return response

    async def _stream(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        parts = urlsplit(connection.request.path)
        raw = parse_qs(parts.query).get(
            "streams", [parts.path.removeprefix(STREAMS[self.market]).removeprefix("/ws").strip("/")]
        )[0]
        stream = _Stream(connection, {name for name in raw.split("/") if name})
        self._streams.add(stream)
        self.connections += 1
        await self._notify()
        try:
            async for message in connection:
                command = json.loads(message)
                if command.get("method") == "SUBSCRIBE":
                    stream.names |= set(command["params"])
                    await connection.send(json.dumps({"result": None, "id": command.get("id")}))
        except ConnectionClosed:
            pass
        finally:
            self._streams.discard(stream)
            await self._notify()

    def _event(self, symbol: str, open_ms: int, *, final: bool) -> str:
        market = self.markets[symbol]
        bar = market.bars[open_ms]
        self._event_ms = max(self.now_ms, self._event_ms + 1)
        if not final:
            bar = _half_made(bar)
        kline = {
            **{"t": open_ms, "T": open_ms + market.step_ms - 1, "s": symbol, "i": market.timeframe},
            **{"f": 100, "L": 200, "o": _text(bar.open), "c": _text(bar.close), "h": _text(bar.high)},
            **{"l": _text(bar.low), "v": _text(bar.volume), "n": int(bar.trades or 0), "x": final},
            **{"q": _text(bar.quote_volume), "V": _text(bar.taker_buy_volume), "Q": "0", "B": "0"},
        }
        stream = f"{symbol.lower()}@kline_{market.timeframe}"
        return json.dumps({"stream": stream, "data": {"e": "kline", "E": self._event_ms, "s": symbol, "k": kline}})

    async def _send_final(self, symbol: str, open_ms: int) -> None:
        faults = self.faults
        if faults.losing[symbol]:
            faults.losing[symbol] -= 1
            return
        event = self._event(symbol, open_ms, final=True)
        if faults.reordering[symbol] and symbol not in self._swapped:
            faults.reordering[symbol] -= 1
            self._swapped[symbol] = event
            return
        await self._send(symbol, event)
        if faults.duplicating[symbol]:
            faults.duplicating[symbol] -= 1
            await self._send(symbol, event)
        if symbol in self._swapped:
            await self._send(symbol, self._swapped.pop(symbol))

    async def _release(self) -> None:
        for symbol in [key for key, until in self.faults.delayed_until_ms.items() if until <= self.now_ms]:
            del self.faults.delayed_until_ms[symbol]
            for name, event in self._held.pop(symbol, []):
                await self._send(name, event)

    async def _send(self, symbol: str, event: str) -> None:
        if symbol in self.faults.delayed_until_ms:
            self._held[symbol].append((symbol, event))
            return
        name = f"{symbol.lower()}@kline_{self.markets[symbol].timeframe}"
        for stream in list(self._streams):
            if stream.deaf or name not in stream.names:
                continue
            with contextlib.suppress(ConnectionClosed):
                if self.faults.malformed_events:
                    self.faults.malformed_events -= 1
                    await stream.connection.send(event[: len(event) // 2])
                await stream.connection.send(event)

    # --- REST -------------------------------------------------------------------------------------------------------

    async def _answer(self, request: HttpRequest) -> HttpAnswer:
        self.requests.append(request)
        await self._notify()
        if self.faults.always is not None:
            return self.faults.always(self.now_ms)
        if self.faults.rest and (fault := self.faults.rest.popleft()) is not None:
            return fault
        window = self.now_ms // 60_000
        name = request.path.removeprefix(f"{ROOTS[self.market]}/")
        self._used_weight[window] += weight(self.market, name, request.query)
        used = self._used_weight[window]
        headers = {"X-MBX-USED-WEIGHT": str(used), "X-MBX-USED-WEIGHT-1M": str(used)}
        if used > self.weight_limit:
            message = f"Too much request weight used; current limit is {self.weight_limit} request weight per 1 MINUTE."
            return HttpAnswer(429, error_body(-1003, message), {**headers, "Retry-After": "1"})
        if name == "fundingRate" and self.funding.over_limit(self.now_ms):
            return HttpAnswer(429, error_body(-1003, "Too many requests."), {**headers, "Retry-After": "60"})
        status, body = self._route(name, request.query)
        return HttpAnswer(status, body, headers)

    def _route(self, name: str, query: dict[str, str]) -> tuple[int, bytes]:
        if name == "ping":
            return 200, b"{}"
        if name == "time":
            return 200, json.dumps({"serverTime": self.server_ms}).encode()
        if name not in PATHS[self.market]:
            return 404, b"<html>Not found</html>"
        if name == "exchangeInfo" and self.market == "perpetual":
            query = {}  # it knows no parameter: the whole market is told
        if "symbol" in query and query["symbol"] not in self.markets:
            return 400, error_body(-1121, "Invalid symbol.")
        if name == "exchangeInfo":
            return 200, json.dumps(self._exchange_info(query.get("symbol"))).encode()
        if name == "fundingRate":
            return 200, json.dumps(self.funding.answer(query, self.now_ms)).encode()
        if "symbol" not in query or "interval" not in query:
            return 400, error_body(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        if query["interval"] not in INTERVALS or query["interval"] != self.markets[query["symbol"]].timeframe:
            return 400, error_body(-1120, "Invalid interval.")
        return 200, json.dumps(self._klines(query)).encode()

    def _exchange_info(self, symbol: str | None) -> dict[str, Any]:
        limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": self.weight_limit}
        orders = {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100}
        return {
            "timezone": "UTC",
            "serverTime": self.server_ms,
            "rateLimits": [limit, orders],
            "exchangeFilters": [],
            "symbols": [symbol_info(self.market, name) for name in self.markets if symbol in {None, name}],
        }

    def _klines(self, query: dict[str, str]) -> list[list[Any]]:
        market = self.markets[query["symbol"]]
        limit = min(int(query.get("limit", "500")), most_klines(self.market))
        start, end = int(query.get("startTime", "0")), int(query.get("endTime", str(self.now_ms)))
        times = sorted(time for time in market.bars if start <= time <= min(end, self.now_ms))
        times = times[:limit] if "startTime" in query else times[-limit:]
        if self.faults.lagging_answers and any(time + market.step_ms <= self.now_ms for time in times):
            self.faults.lagging_answers -= 1
            newest = max(time for time in times if time + market.step_ms <= self.now_ms)
            times.remove(newest)
        rows = [_row(market, time, final=time + market.step_ms <= self.now_ms) for time in times]
        if self.faults.shuffled_answers and rows:
            self.faults.shuffled_answers -= 1
            rows = [*rows[::-1], rows[0]]
        return rows

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def _filled(bar: Bar) -> dict[str, float]:
    return {name: 0.0 for name in OPTIONAL if getattr(bar, name) is None}


def _half_made(bar: Bar) -> Bar:
    """Return the bar as it stands in the middle of its time: none of its final values but the open."""
    middle = (bar.open + bar.close) / 2
    return msgspec.structs.replace(
        bar, high=max(bar.open, middle), low=min(bar.open, middle), close=middle, volume=bar.volume / 2
    )


def _row(market: _Market, time: int, *, final: bool) -> list[Any]:
    bar = market.bars[time] if final else _half_made(market.bars[time])
    prices = [_text(value) for value in (bar.open, bar.high, bar.low, bar.close, bar.volume)]
    taker = [_text(bar.quote_volume), int(bar.trades or 0), _text(bar.taker_buy_volume), "0", "0"]
    return [time, *prices, time + market.step_ms - 1, *taker]


def _text(value: float | None) -> str:
    """Write a number as Binance does: no exponent, at least eight decimals; it reads back as the same double."""
    text = format(Decimal(repr(float(value or 0.0))), "f")
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction:0<8}"


class ExchangeThread:
    """A fake exchange whose event loop runs in a thread, for tests that have none."""

    def __init__(self, exchange: FakeExchange, loop: asyncio.AbstractEventLoop) -> None:
        self.exchange = exchange
        self._loop = loop

    @property
    def faults(self) -> Faults:
        return self.exchange.faults

    @property
    def rest_url(self) -> str:
        return self.exchange.rest_url

    @property
    def ws_url(self) -> str:
        return self.exchange.ws_url

    def advance_to(self, now_ms: int, *, updates: bool = True) -> None:
        """Move the market's clock, see `FakeExchange.advance_to`."""
        asyncio.run_coroutine_threadsafe(self.exchange.advance_to(now_ms, updates=updates), self._loop).result(30)

    def correct(self, symbol: str, open_ms: int, **changes: Any) -> Bar:
        """Change a bar of the past, see `FakeExchange.correct`."""
        return asyncio.run_coroutine_threadsafe(self.exchange.correct(symbol, open_ms, **changes), self._loop).result(
            30
        )

    def wait_for(self, condition: Callable[[], bool], *, timeout_s: float = 20) -> None:
        """Wait for a condition, see `FakeExchange.wait_for`."""
        waiting = self.exchange.wait_for(condition, timeout_s=timeout_s)
        asyncio.run_coroutine_threadsafe(waiting, self._loop).result(timeout_s + 5)

    def drop_connections(self) -> None:
        """Cut every stream, see `FakeExchange.drop_connections`."""
        self._loop.call_soon_threadsafe(self.exchange.drop_connections)


@contextlib.contextmanager
def exchange_in_thread(bars: Mapping[str, Bars], **options: Any) -> Iterator[ExchangeThread]:
    """Run a fake exchange in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="fake-exchange", daemon=True)
    thread.start()

    async def start() -> FakeExchange:
        return await FakeExchange(bars, **options).__aenter__()

    try:
        exchange = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
        try:
            yield ExchangeThread(exchange, loop)
        finally:
            asyncio.run_coroutine_threadsafe(exchange.__aexit__(), loop).result(30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()
