"""Binance's perpetual futures: their paths and weights, the stream's own entry, and funding rates page by page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.fakes.exchange import ExchangeThread, FakeExchange, exchange_in_thread
from tests.fakes.exchange_listener import listening, random_market
from tests.unit.sources.test_binance_rest import Naps

from kalibre.core.bars import concat
from kalibre.core.errors import (
    RateLimitedError,
    SourceBannedError,
    SourceFormatError,
    SourceRefusedError,
    SourceUnavailableError,
    UnknownSymbolError,
    UsageError,
)
from kalibre.core.protocols import FundedSource, LiveSource
from kalibre.sources import open_source
from kalibre.sources.binance.markets import PERPETUAL, SPOT
from kalibre.sources.binance.rest import RequestBudget
from kalibre.sources.binance.wire import parse_rate

HOUR = 3_600_000
START = 1_704_067_200_000
MARKET = random_market("BTCUSDT", 1_300, timeframe="1h", start_ms=START)
N_CLOSED = 1_250
NOW = START + N_CLOSED * HOUR + HOUR // 2
# Stamped late by some milliseconds, as Binance does.
RATES = [(START + k * HOUR + k % 7, round(1e-8 * (37 * k % 4001 - 2000), 8)) for k in range(-1_100, 1_250)]
OTHER = [(START + 8 * HOUR, 0.01)]


@pytest.fixture
def exchange() -> Iterator[ExchangeThread]:
    funding = {"BTCUSDT": RATES, "ETHUSDT": OTHER}
    with exchange_in_thread({"BTCUSDT": MARKET}, now_ms=NOW, market="perpetual", funding=funding) as running:
        yield running


def opened(exchange: Any, naps: Naps | None = None, **options: Any) -> Any:
    naps = naps or Naps()
    urls = {"rest_url": exchange.rest_url, "ws_url": exchange.ws_url}
    named = {"market": "perpetual", "clock": naps.clock, "sleep": naps, "timeout_s": 30, "seed": 1}
    return open_source("binance", **urls, **{**named, **options})


def told(source: Any, start_ms: int, end_ms: int, symbol: str = "BTCUSDT") -> list[tuple[int, float]]:
    return list(source.funding(symbol, start_ms=start_ms, end_ms=end_ms))


def asked(exchange: ExchangeThread) -> list[str]:
    return [request.path for request in exchange.exchange.requests]


def test_the_markets_have_their_own_addresses() -> None:
    assert PERPETUAL.ws_url == "wss://fstream.binance.com/market"
    assert (PERPETUAL.rest_url, SPOT.rest_url) == ("https://fapi.binance.com", "https://api.binance.com")
    with pytest.raises(UsageError, match=r"market 'margin' is unknown.*spot, perpetual"):
        open_source("binance", market="margin")


def test_klines_come_from_the_futures_paths_within_their_weight(exchange: ExchangeThread) -> None:
    bars = concat(list(opened(exchange).history("BTCUSDT", "1h")))
    assert list(bars) == list(MARKET[:N_CLOSED])
    assert asked(exchange) == [f"/fapi/v1/{name}" for name in ("exchangeInfo", "time", "klines", "klines", "klines")]
    assert "symbol" not in exchange.exchange.requests[0].query
    # 1 of exchangeInfo, 1 of time, 5 of each page of a thousand klines.
    assert sum(exchange.exchange._used_weight.values()) == 1 + 1 + 3 * 5


def test_the_weight_limit_of_futures_is_kept() -> None:
    naps = Naps()
    naps.clock.set(NOW)
    with exchange_in_thread({"BTCUSDT": MARKET}, now_ms=NOW, market="perpetual", weight_limit=20) as running:
        source = opened(running, naps, weight_share=0.6)
        assert len(concat(list(source.history("BTCUSDT", "1h")))) == N_CLOSED
        # 1 + 1 + 5 + 5 fill 60 % of 20: the third page of klines waits for the next minute.
        assert naps.taken[0] == pytest.approx(60 - NOW % 60_000 / 1_000)


def test_there_are_no_seconds_and_no_unknown_symbols(exchange: ExchangeThread) -> None:
    source = opened(exchange)
    with pytest.raises(UsageError, match=r"no klines of '1s': choose one of 1m"):
        list(source.history("BTCUSDT", "1s"))
    with pytest.raises(UnknownSymbolError, match="'NOPE'"):
        list(source.history("NOPE", "1h"))
    with pytest.raises(UnknownSymbolError, match="'NOPE'"):
        told(source, START, NOW, "NOPE")


def test_a_refused_region_is_told_that_futures_have_no_other_address(exchange: ExchangeThread) -> None:
    exchange.faults.refuse_region()
    with pytest.raises(SourceRefusedError, match=r"451.*no other address.*funding_path") as caught:
        told(opened(exchange), START, NOW)
    assert "data-api" not in str(caught.value)


def test_the_stream_is_heard_at_its_entry() -> None:
    async def scenario() -> None:
        async with FakeExchange({"BTCUSDT": MARKET}, now_ms=NOW, market="perpetual") as running:
            assert running.ws_url.endswith("/market")
            source = open_source(
                "binance", market="perpetual", rest_url=running.rest_url, ws_url=running.ws_url, backoff_s=0.01
            )
            assert isinstance(source, LiveSource)
            since = {"BTCUSDT": int(MARKET.open_time[N_CLOSED - 3])}
            async with listening(source, ["BTCUSDT"], "1h", since_ms=since) as listener:
                await running.wait_for(lambda: running.open_streams == 1)
                await listener.until(lambda: len(listener.items) >= 2)
                await running.advance_to(NOW + 2 * HOUR)
                await listener.until(lambda: len(listener.items) >= 4)
                assert [item.bar for item in listener.items] == list(MARKET[N_CLOSED - 2 : N_CLOSED + 2])
                assert listener.items[-1].provenance == "received"

    asyncio.run(scenario())


def test_rates_come_in_pages_of_a_thousand_whole_and_in_order(exchange: ExchangeThread) -> None:
    source = opened(exchange)
    assert isinstance(source, FundedSource)
    first = RATES[0][0]
    assert told(source, first, NOW) == RATES
    queries = [request.query for request in exchange.exchange.requests]
    assert asked(exchange) == ["/fapi/v1/fundingRate"] * 3
    assert [int(query["startTime"]) for query in queries] == [first, RATES[999][0] + 1, RATES[1_999][0] + 1]
    assert {(query["symbol"], query["limit"], query["endTime"]) for query in queries} == {
        ("BTCUSDT", "1000", str(NOW - 1))
    }


@pytest.mark.parametrize(("first", "last"), [(0, 1), (3, 900), (0, 1_000), (5, 1_005), (2_349, 2_350)])
def test_a_range_is_its_start_and_not_its_end(exchange: ExchangeThread, first: int, last: int) -> None:
    end = RATES[last][0] if last < len(RATES) else NOW
    assert told(opened(exchange), RATES[first][0], end) == RATES[first:last]


def test_empty_answers_are_the_end(exchange: ExchangeThread) -> None:
    source = opened(exchange)
    assert told(source, RATES[0][0] - 9 * HOUR, RATES[0][0]) == []
    assert told(source, START, START) == []
    assert len(exchange.exchange.requests) == 1


def test_spot_has_no_funding_and_is_not_asked() -> None:
    with exchange_in_thread({"BTCUSDT": MARKET}, now_ms=NOW) as running:
        assert told(opened(running, market="spot"), START, NOW) == []
        assert running.exchange.requests == []


@pytest.mark.parametrize("fault", ["fail", "hang", "cut", "malformed", "rate_limit"])
def test_passing_trouble_is_tried_again(exchange: ExchangeThread, fault: str) -> None:
    getattr(exchange.faults, fault)(2)
    naps = Naps()
    # A short patience is for the fault that needs it: on a busy machine it would take good answers for hanging ones.
    timeout_s = 0.5 if fault == "hang" else 30
    assert told(opened(exchange, naps, timeout_s=timeout_s), RATES[0][0], NOW) == RATES
    assert len(naps.taken) >= 2 if fault == "hang" else len(naps.taken) == 2


def test_lasting_trouble_and_a_ban_are_told(exchange: ExchangeThread) -> None:
    exchange.faults.fail(9)
    with pytest.raises(SourceUnavailableError, match="gave up after 3 attempts"):
        told(opened(exchange, attempts=3), START, NOW)
    exchange.faults.lift()
    exchange.faults.rate_limit(retry_after_s=900)
    with pytest.raises(RateLimitedError, match="wait 900 s"):
        told(opened(exchange), START, NOW)
    exchange.faults.ban()
    with pytest.raises(SourceBannedError, match="banned"):
        told(opened(exchange), START, NOW)


def test_the_limit_of_funding_requests_is_kept_before_the_exchange_has_to_ask() -> None:
    naps = Naps()
    naps.clock.set(NOW - NOW % 300_000)
    options = {"market": "perpetual", "funding": {"BTCUSDT": RATES}, "funding_limit": 500}
    with exchange_in_thread({"BTCUSDT": MARKET}, now_ms=NOW, **options) as running:
        source = opened(running, naps, weight_share=1.0)
        source._rest.funding_budget.limit = 2
        assert told(source, RATES[0][0], NOW) == RATES
        assert naps.taken == [300.0]


def test_a_fake_that_limits_funding_by_itself_is_obeyed() -> None:
    """Planted: another program has used the limit up, so only the 429 tells."""
    naps = Naps()
    options = {"market": "perpetual", "funding": {"BTCUSDT": RATES}, "funding_limit": 1}
    with exchange_in_thread({"BTCUSDT": MARKET}, now_ms=NOW, **options) as running:
        with pytest.raises(RateLimitedError, match="wait 60 s"):
            told(opened(running, naps, attempts=2), RATES[0][0], NOW)
        assert naps.taken == [60.0]


def test_a_window_of_requests_slides() -> None:
    budget = RequestBudget(limit=4, window_ms=1_000, share=0.5)
    assert budget.wait_s(0) == 0
    budget.note(0)
    budget.note(300)
    assert budget.wait_s(300) == pytest.approx(0.7)
    assert budget.wait_s(999) == pytest.approx(0.001)
    assert budget.wait_s(1_000) == 0
    budget.note(1_000)
    assert budget.wait_s(1_000) == pytest.approx(0.3)


def rows(*rates: tuple[Any, Any], symbol: str = "BTCUSDT") -> bytes:
    listed = [{"symbol": symbol, "fundingTime": t, "fundingRate": r, "markPrice": ""} for t, r in rates]
    return json.dumps(listed).encode()


@pytest.mark.parametrize(
    ("body", "quoted"),
    [
        (b'{"code": 0}', "where funding rates of BTCUSDT were asked for"),
        (rows((START, "x")), "no funding rate"),
        (rows((str(START), "0.1")), "no integer"),
        (b'[{"symbol": "BTCUSDT"}]', "no funding rate"),
        (b"[5]", "no funding rate"),
        (rows((START, "0.1"), symbol="ETHUSDT"), "ETHUSDT.*where funding rates of BTCUSDT"),
        (rows((START + 5, "0.1"), (START, "0.1")), "oldest first"),
        (rows((START, "0.1"), (START, "0.1")), "oldest first"),
        (rows((START - 1, "0.1")), "oldest first"),
        (rows((NOW, "0.1")), "oldest first"),
    ],
)
def test_what_is_no_funding_is_quoted(exchange: ExchangeThread, body: bytes, quoted: str) -> None:
    exchange.faults.malformed(body=body)
    with pytest.raises(SourceFormatError, match=quoted):
        told(opened(exchange), START, NOW)


def test_a_recorded_row_is_read() -> None:
    recorded = {
        "symbol": "BTCUSDT",
        "fundingTime": 1_570_608_000_000,
        "fundingRate": "-0.00012359",
        "markPrice": "34287.54619963",
    }
    assert parse_rate(recorded) == (1_570_608_000_000, -0.00012359)
