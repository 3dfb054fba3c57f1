"""Binance's markets that Kalibre reads, and how they differ: addresses, intervals, request weights, funding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kalibre.core.errors import UsageError

_FUTURES_INTERVALS = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w")


@dataclass(frozen=True)
class Market:
    """One market of Binance.

    `root` is where its REST paths begin. `weights` are of the requests that Kalibre sends, klines by the thousand.
    `info_by_symbol` says whether exchangeInfo can be asked for one symbol. `elsewhere` is where else the data is to be
    had from a region that Binance refuses.
    """

    name: str
    rest_url: str
    ws_url: str
    root: str
    intervals: tuple[str, ...]
    weight_limit: int
    weights: Mapping[str, int] = field(repr=False)
    info_by_symbol: bool
    has_funding: bool
    elsewhere: str = field(repr=False)

    def check_interval(self, timeframe: str) -> None:
        """Refuse a timeframe that this market has no klines of.

        Raises
        ------
        UsageError
            The message lists those it has.
        """
        if timeframe not in self.intervals:
            raise UsageError(f"Binance has no klines of {timeframe!r}: choose one of {', '.join(self.intervals)}")


SPOT = Market(
    name="spot",
    rest_url="https://api.binance.com",
    ws_url="wss://stream.binance.com:9443",
    root="/api/v3",
    intervals=("1s", *_FUTURES_INTERVALS),
    weight_limit=6_000,
    weights={"time": 1, "exchangeInfo": 20, "klines": 2},
    info_by_symbol=True,
    has_funding=False,
    elsewhere=(
        "Its public market data is also at data-api.binance.vision: set rest_url = 'https://data-api.binance.vision' "
        "and ws_url = 'wss://data-stream.binance.vision' in the source's options"
    ),
)
PERPETUAL = Market(
    name="perpetual",
    rest_url="https://fapi.binance.com",
    # Since April 2026 the market streams have an entry of their own, the bare host serves none.
    ws_url="wss://fstream.binance.com/market",
    root="/fapi/v1",
    intervals=_FUTURES_INTERVALS,
    weight_limit=2_400,
    weights={"time": 1, "exchangeInfo": 1, "klines": 5, "fundingRate": 1},
    info_by_symbol=False,
    has_funding=True,
    elsewhere=(
        "Its futures have no other address: take another exchange through the source ccxt, or files with the options "
        "path and funding_path"
    ),
)
MARKETS: Mapping[str, Market] = {market.name: market for market in (SPOT, PERPETUAL)}


def market_of(name: str) -> Market:
    """Return the market of a name.

    Raises
    ------
    UsageError
        If there is none; the message lists those there are.

    Examples
    --------
    >>> market_of("perpetual").root
    '/fapi/v1'
    """
    if name not in MARKETS:
        raise UsageError(f"market {name!r} is unknown to this source: choose one of {', '.join(MARKETS)}")
    return MARKETS[name]
