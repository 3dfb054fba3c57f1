"""How the fake exchange's two markets differ: paths, weights, what exchangeInfo says, funding rates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

ROOTS = {"spot": "/api/v3", "perpetual": "/fapi/v1"}
STREAMS = {"spot": "", "perpetual": "/market"}
"""Where the kline streams are: since April 2026 futures serve them under /market only."""
PATHS = {"spot": {"ping", "time", "exchangeInfo", "klines"}, "perpetual": {"ping", "time", "exchangeInfo", "klines"}}
PATHS["perpetual"].add("fundingRate")
_SPOT_WEIGHTS = {"exchangeInfo": 20, "klines": 2}
_MOST_KLINES = {"spot": 1_000, "perpetual": 1_500}
_MOST_RATES, _FIVE_MINUTES_MS = 1_000, 300_000


def weight(market: str, name: str, query: Mapping[str, str]) -> int:
    """Return the request weight; futures klines by how many are asked for, funding by none (it has its own limit)."""
    if market == "spot":
        return _SPOT_WEIGHTS.get(name, 1)
    if name == "klines":
        limit = int(query.get("limit", "500"))
        return next(cost for bound, cost in ((100, 1), (500, 2), (1_001, 5), (10**9, 10)) if limit < bound)
    return 0 if name == "fundingRate" else 1


def most_klines(market: str) -> int:
    return _MOST_KLINES[market]


def symbol_info(market: str, name: str) -> dict[str, Any]:
    if market == "spot":
        return {"symbol": name, "status": "TRADING", "isSpotTradingAllowed": True}
    quote = {"quoteAsset": "USDT", "marginAsset": "USDT", "deliveryDate": 4133404800000}
    return {
        "symbol": name,
        "pair": name,
        "baseAsset": name.removesuffix("USDT"),
        "contractType": "PERPETUAL",
        "status": "TRADING",
        **quote,
    }


class FundingDesk:
    """The funding rates of the perpetual market, as `/fapi/v1/fundingRate` tells them, with its limit of its own."""

    def __init__(self, rates: Mapping[str, Sequence[tuple[int, float]]], *, limit: int) -> None:
        self.rates = {symbol: sorted(told) for symbol, told in rates.items()}
        self.limit = limit
        self.asked: dict[int, int] = defaultdict(int)

    def over_limit(self, now_ms: int) -> bool:
        """Count a request, and say whether it is one too many in these five minutes."""
        window = now_ms // _FIVE_MINUTES_MS
        self.asked[window] += 1
        return self.asked[window] > self.limit

    def answer(self, query: Mapping[str, str], now_ms: int) -> list[dict[str, Any]]:
        start, end = int(query.get("startTime", "0")), int(query.get("endTime", str(now_ms)))
        limit = min(int(query.get("limit", "100")), _MOST_RATES)
        told = [
            (symbol, time, rate)
            for symbol, rates in self.rates.items()
            for time, rate in rates
            if query.get("symbol") in {None, symbol} and start <= time <= min(end, now_ms)
        ]
        return [
            {"symbol": symbol, "fundingTime": time, "fundingRate": rate_text(rate), "markPrice": "34287.54619963"}
            for symbol, time, rate in (told[:limit] if "startTime" in query else told[-limit:])
        ]


def rate_text(rate: float) -> str:
    """Write a rate as Binance does, with at least eight decimals; it reads back as the same double."""
    whole, _, fraction = format(Decimal(repr(rate)), "f").partition(".")
    return f"{whole}.{fraction:0<8}"
