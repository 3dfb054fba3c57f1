"""A loopback BtcTurk as ccxt sees it: its exchangeinfo and its klines history, which answers a window of time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from tests.fakes.exchange_http import HttpAnswer, HttpRequest, LoopbackHttpServer

from kalibre.core.bars import Bars


class FakeBtcturk:
    def __init__(self, bars: Mapping[str, Bars]) -> None:
        self.bars = bars
        self.failures: list[HttpAnswer] = []
        self.requests: list[HttpRequest] = []
        self._http = LoopbackHttpServer(self._answer)

    @property
    def urls(self) -> dict[str, str]:
        base = self._http.url
        return {"public": f"{base}/api/v2", "private": f"{base}/api/v1", "graph": f"{base}/v1"}

    async def start(self) -> None:
        await self._http.start()

    async def stop(self) -> None:
        await self._http.stop()

    async def _answer(self, request: HttpRequest) -> HttpAnswer:
        self.requests.append(request)
        if self.failures:
            return self.failures.pop(0)
        if request.path == "/api/v2/server/exchangeinfo":
            return HttpAnswer(body=json.dumps({"data": {"symbols": [_market(name) for name in self.bars]}}).encode())
        if request.path == "/v1/klines/history" and request.query["symbol"] in self.bars:
            return HttpAnswer(body=json.dumps(self._klines(request.query)).encode())
        return HttpAnswer(404, b"<html>Not found</html>")

    def _klines(self, query: dict[str, str]) -> dict[str, Any]:
        held = self.bars[query["symbol"]]
        part = held.between(int(query["from"]) * 1_000, int(query["to"]) * 1_000 + 1)
        columns = {"h": part.high, "o": part.open, "l": part.low, "c": part.close, "v": part.volume}
        return {"s": "ok", "t": (part.open_time // 1_000).tolist(), **{key: c.tolist() for key, c in columns.items()}}


def _market(name: str) -> dict[str, Any]:
    return {
        **{"id": "1", "name": name, "nameNormalized": f"{name[:3]}_{name[3:]}", "status": "TRADING"},
        **{"numerator": name[:3], "denominator": name[3:], "numeratorScale": "8", "denominatorScale": "2"},
        "filters": [],
    }


@contextlib.contextmanager
def btcturk_in_thread(bars: Mapping[str, Bars]) -> Iterator[FakeBtcturk]:
    """Run the fake in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="fake-btcturk", daemon=True)
    thread.start()
    fake = FakeBtcturk(bars)
    try:
        asyncio.run_coroutine_threadsafe(fake.start(), loop).result(30)
        try:
            yield fake
        finally:
            asyncio.run_coroutine_threadsafe(fake.stop(), loop).result(30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()
