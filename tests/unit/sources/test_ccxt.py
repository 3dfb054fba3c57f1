"""ccxt against a loopback BtcTurk: paging through windows, holes, trouble."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.fakes.exchange import ExchangeThread, exchange_in_thread
from tests.fakes.exchange_btcturk import FakeBtcturk, btcturk_in_thread
from tests.fakes.exchange_http import HttpAnswer
from tests.fakes.exchange_listener import random_market

from kalibre.core.bars import Bars, concat
from kalibre.core.clock import ManualClock
from kalibre.core.errors import (
    RateLimitedError,
    SourceError,
    SourceFormatError,
    SourceUnavailableError,
    UnknownSymbolError,
    UsageError,
)
from kalibre.sources import open_source

START = 1_704_067_200_000
HOUR = 3_600_000
MARKET = random_market("BTCTRY", 400, timeframe="1h", start_ms=START)
HOLED = MARKET[[i for i in range(400) if not 100 <= i < 290]]  # type: ignore[index]


@pytest.fixture
def exchange() -> Iterator[FakeBtcturk]:
    with btcturk_in_thread({"BTCTRY": HOLED}) as fake:
        yield fake


def make(exchange: FakeBtcturk, **options: Any) -> Any:
    naps: list[float] = []
    defaults: dict[str, Any] = {"config": {"rateLimit": 1}, "page_bars": 50, "sleep": naps.append, "seed": 1}
    clock = ManualClock(START + 399 * HOUR + HOUR // 2)
    source = open_source("ccxt", exchange="btcturk", urls=exchange.urls, clock=clock, **{**defaults, **options})
    source.naps = naps  # type: ignore[attr-defined]
    return source


def read(source: Any, symbol: str = "BTC/TRY", **limits: int) -> Bars:
    return concat(list(source.history(symbol, "1h", **{"start_ms": START, **limits})))


def closes(bars: Bars) -> list[tuple[int, float]]:
    return list(zip(bars.open_time.tolist(), bars.close.tolist(), strict=True))


@pytest.mark.parametrize("symbol", ["BTC/TRY", "BTCTRY"])
def test_windows_join_over_a_hole_wider_than_a_window(exchange: FakeBtcturk, symbol: str) -> None:
    bars = read(make(exchange), symbol)
    assert closes(bars) == closes(HOLED[:-1])  # the last one is still open


def test_a_start_before_the_listing_is_no_trouble(exchange: FakeBtcturk) -> None:
    assert len(read(make(exchange), start_ms=START - 200 * HOUR)) == len(HOLED) - 1
    assert len(read(make(exchange), start_ms=START - 200 * HOUR, end_ms=START + 5 * HOUR)) == 5


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_passing_trouble_is_tried_again(exchange: FakeBtcturk, status: int) -> None:
    source = make(exchange)
    exchange.failures += [HttpAnswer(status, b"<html></html>")] * 2
    assert len(read(source)) == len(HOLED) - 1
    assert len(source.naps) == 2


@pytest.mark.parametrize(("status", "error"), [(503, SourceUnavailableError), (429, RateLimitedError)])
def test_lasting_trouble_is_given_up(exchange: FakeBtcturk, status: int, error: type[Exception]) -> None:
    source = make(exchange, attempts=3)
    exchange.failures += [HttpAnswer(status, b"<html></html>")] * 9
    with pytest.raises(error, match="btcturk"):
        read(source)
    assert len(exchange.requests) == 3


def test_a_refusal_is_not_tried_again(exchange: FakeBtcturk) -> None:
    exchange.failures += [HttpAnswer(400, b'{"code": 1047, "message": "no"}')]
    source = make(exchange)
    with pytest.raises(SourceError, match="no"):
        read(source)
    assert source.naps == []


def test_an_unknown_symbol_names_near_ones(exchange: FakeBtcturk) -> None:
    with pytest.raises(UnknownSymbolError, match=r"'BTC/TRYX'.*BTC/TRY"):
        read(make(exchange), "BTC/TRYX")


def test_timeframes_and_exchanges_are_checked(exchange: FakeBtcturk) -> None:
    with pytest.raises(UsageError, match=r"'7h'.*15m"):
        list(make(exchange).history("BTC/TRY", "7h"))
    with pytest.raises(SourceFormatError, match="4h was asked for"):
        list(make(exchange).history("BTC/TRY", "4h", start_ms=START))  # this fake takes no notice of the timeframe
    with pytest.raises(UsageError, match=r"'btctürk'.*btcturk"):
        open_source("ccxt", exchange="btctürk")
    with pytest.raises(UsageError, match="page_bars = 1"):
        make(exchange, page_bars=1)


def test_what_is_no_bar_is_quoted(exchange: FakeBtcturk) -> None:
    source = make(exchange)
    source._try(source._exchange.load_markets)
    body = b'{"s":"ok","t":[1704067200],"o":["x"],"h":[1],"l":[1],"c":[1],"v":[1]}'
    exchange.failures += [HttpAnswer(body=body)]
    bars = read(source, end_ms=START + HOUR)
    assert bars.open[0] != bars.open[0]  # ccxt itself makes a missing number of it; the checks quarantine it
    with pytest.raises(SourceFormatError, match="no bar"):
        source._bar(["soon", 1, 1, 1, 1, 1])


# --- funding: binanceusdm against the fake of Binance's perpetual market --------------------------------------------

PERPETUAL = random_market("BTCUSDT", 60, timeframe="1h", start_ms=START)
RATES = [(START + 8 * k * HOUR + k % 3, round(1e-6 * (k - 150), 8)) for k in range(-320, 7)]


@pytest.fixture
def futures() -> Iterator[ExchangeThread]:
    options: dict[str, Any] = {"market": "perpetual", "funding": {"BTCUSDT": RATES}}
    with exchange_in_thread({"BTCUSDT": PERPETUAL}, now_ms=START + 59 * HOUR, **options) as running:
        yield running


def perpetual(futures: ExchangeThread) -> Any:
    import ccxt

    urls = dict.fromkeys(ccxt.binanceusdm().urls["api"], f"{futures.rest_url}/nowhere")
    urls["fapiPublic"] = f"{futures.rest_url}/fapi/v1"
    config = {"enableRateLimit": False, "options": {"fetchMarkets": {"types": ["linear"]}}}
    clock = ManualClock(START + 59 * HOUR)
    return open_source("ccxt", exchange="binanceusdm", urls=urls, config=config, clock=clock, sleep=lambda _: None)


@pytest.mark.parametrize("symbol", ["BTC/USDT:USDT", "BTCUSDT"])
def test_funding_comes_page_by_page_whole_and_in_order(futures: ExchangeThread, symbol: str) -> None:
    source = perpetual(futures)
    told = list(source.funding(symbol, start_ms=RATES[0][0], end_ms=START + 99 * HOUR))
    assert told == RATES
    pages = [request for request in futures.exchange.requests if request.path.endswith("fundingRate")]
    assert len(pages) >= 4
    some = list(source.funding(symbol, start_ms=RATES[5][0], end_ms=RATES[150][0]))
    assert some == RATES[5:150]


def test_rates_that_an_exchange_no_longer_has_are_named(futures: ExchangeThread, caplog: Any) -> None:
    told = list(perpetual(futures).funding("BTCUSDT", start_ms=RATES[0][0] - 400 * HOUR, end_ms=START + 99 * HOUR))
    assert told == RATES
    assert "what lies before is not charged" in caplog.text


def test_no_perpetual_or_no_history_of_rates_is_no_funding(exchange: FakeBtcturk) -> None:
    assert list(make(exchange).funding("BTC/TRY", start_ms=START, end_ms=START + HOUR)) == []


def test_a_rate_that_is_none_is_quoted(futures: ExchangeThread) -> None:
    source = perpetual(futures)
    source._exchange.load_markets()
    body = b'[{"symbol": "BTCUSDT", "fundingTime": %d, "fundingRate": null}]' % START
    futures.faults.wait(1)  # the time
    futures.faults.malformed(body=body)
    with pytest.raises(SourceFormatError, match="which is no funding rate"):
        list(source.funding("BTCUSDT", start_ms=START, end_ms=START + 9 * HOUR))
