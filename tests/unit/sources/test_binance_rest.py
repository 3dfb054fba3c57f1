"""Binance's REST rules against the fake exchange, with time that only the tests move."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from tests.fakes.exchange import ExchangeThread, exchange_in_thread
from tests.fakes.exchange_listener import random_market

from kalibre.core.bars import Bars, concat
from kalibre.core.clock import ManualClock
from kalibre.core.errors import (
    RateLimitedError,
    SourceBannedError,
    SourceError,
    SourceFormatError,
    SourceRefusedError,
    SourceUnavailableError,
    UnknownSymbolError,
    UsageError,
)
from kalibre.sources import open_source
from kalibre.sources.binance.rest import Patience, WeightBudget
from kalibre.sources.binance.wire import parse_event, parse_row

START = 1_704_067_200_000
MINUTE = 60_000
MARKET = random_market("BTCUSDT", 2_500, start_ms=START)
NOW = START + 2_400 * MINUTE + 30_000


class Naps:
    """A sleep that moves a clock instead of waiting, and remembers how long it was asked to."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOW)
        self.taken: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)
        self.clock.set(self.clock.now_ms() + round(seconds * 1_000))


@pytest.fixture
def exchange() -> Iterator[ExchangeThread]:
    with exchange_in_thread({"BTCUSDT": MARKET}, now_ms=NOW) as running:
        yield running


def read(exchange: ExchangeThread, naps: Naps | None = None, **options: Any) -> Bars:
    naps = naps or Naps()
    quick: dict[str, Any] = {"timeout_s": 0.3, "seed": 1, **options}
    source = open_source(
        "binance", rest_url=exchange.rest_url, ws_url=exchange.ws_url, clock=naps.clock, sleep=naps, **quick
    )
    return concat(list(source.history("BTCUSDT", "1m")))


def paths(exchange: ExchangeThread) -> list[str]:
    return [request.path.rsplit("/", 1)[1] for request in exchange.exchange.requests]


def test_pages_of_a_thousand_and_nothing_more_than_is_needed(exchange: ExchangeThread) -> None:
    bars = read(exchange)
    assert list(bars) == list(MARKET[:2_400])
    assert paths(exchange) == ["exchangeInfo", "time", "klines", "klines", "klines", "klines"]
    assert all(request.query["limit"] == "1000" for request in exchange.exchange.requests[2:])


def test_the_open_bar_is_on_the_wire_and_is_left_out(exchange: ExchangeThread) -> None:
    rows = exchange.exchange._klines({"symbol": "BTCUSDT", "interval": "1m"})
    assert rows[-1][0] == START + 2_400 * MINUTE
    assert read(exchange).open_time[-1] == START + 2_399 * MINUTE


@pytest.mark.parametrize("fault", ["fail", "hang", "cut", "malformed"])
def test_passing_trouble_is_tried_again_with_jitter(exchange: ExchangeThread, fault: str) -> None:
    getattr(exchange.faults, fault)(3)
    naps = Naps()
    assert list(read(exchange, naps)) == list(MARKET[:2_400])
    assert len(naps.taken) == 3
    assert all(nap <= 0.5 * 2.0**attempt for attempt, nap in enumerate(naps.taken))


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ("fail", SourceUnavailableError, "HTTP 503"),
        ("hang", SourceUnavailableError, "ReadTimeout"),
        ("malformed", SourceFormatError, "no JSON"),
    ],
)
def test_lasting_trouble_is_given_up_after_the_attempts(
    exchange: ExchangeThread, fault: str, error: type[Exception], words: str
) -> None:
    getattr(exchange.faults, fault)(50)
    with pytest.raises(error, match=rf"{words}.*gave up after 4 attempts"):
        read(exchange, attempts=4)
    assert len(exchange.exchange.requests) == 4


def test_nobody_there_is_an_outage() -> None:
    naps = Naps()
    source = open_source("binance", rest_url="http://127.0.0.1:9", sleep=naps, clock=naps.clock, attempts=3)
    with pytest.raises(SourceUnavailableError, match="did not answer: ConnectError"):
        list(source.history("BTCUSDT", "1m"))
    assert len(naps.taken) == 2


def test_a_rate_limit_is_obeyed_to_the_second(exchange: ExchangeThread) -> None:
    exchange.faults.rate_limit(2, retry_after_s=7)
    naps = Naps()
    assert len(read(exchange, naps)) == 2_400
    assert naps.taken == [7.0, 7.0]


def test_a_longer_wait_than_allowed_is_an_error_at_once(exchange: ExchangeThread) -> None:
    exchange.faults.rate_limit(retry_after_s=500)
    naps = Naps()
    with pytest.raises(RateLimitedError, match="wait 500 s") as caught:
        read(exchange, naps)
    assert (caught.value.retry_after_s, naps.taken) == (500.0, [])


def test_a_ban_stops_everything_until_it_is_over_without_asking(exchange: ExchangeThread) -> None:
    naps = Naps()
    source = open_source("binance", rest_url=exchange.rest_url, ws_url=exchange.ws_url, sleep=naps, clock=naps.clock)
    exchange.faults.ban(retry_after_s=600)
    for _ in range(3):
        with pytest.raises(SourceBannedError, match=rf"banned.*until 2024-01-02 19:10.*{NOW + 600_000}"):
            list(source.history("BTCUSDT", "1m"))
    assert (len(exchange.exchange.requests), naps.taken) == (1, [])
    exchange.faults.lift()
    naps.clock.set(NOW + 600_001)
    assert sum(map(len, source.history("BTCUSDT", "1m"))) == 2_400


def test_a_refused_region_is_told_where_else_the_data_is(exchange: ExchangeThread) -> None:
    exchange.faults.refuse_region()
    with pytest.raises(SourceRefusedError, match=r"451.*data-api\.binance\.vision.*rest_url"):
        read(exchange)
    assert len(exchange.exchange.requests) == 1


def test_a_firewall_is_not_asked_again(exchange: ExchangeThread) -> None:
    exchange.faults.refuse(403, 0, "WAF")
    with pytest.raises(SourceRefusedError, match="403"):
        read(exchange)
    assert len(exchange.exchange.requests) == 1


def test_any_other_refusal_quotes_the_exchange(exchange: ExchangeThread) -> None:
    exchange.faults.refuse(400, -1100, "Illegal characters found in parameter 'symbol'")
    with pytest.raises(SourceError, match=r"-1100 .Illegal characters"):
        read(exchange)


def test_unknown_symbols_and_timeframes(exchange: ExchangeThread) -> None:
    source = open_source("binance", rest_url=exchange.rest_url)
    with pytest.raises(UnknownSymbolError, match=r"'btc/usdt'.*BTCUSDT"):
        list(source.history("btc/usdt", "1m"))
    with pytest.raises(UsageError, match=r"'7m'.*15m"):
        list(source.history("BTCUSDT", "7m"))


def test_a_shuffled_answer_is_put_in_order(exchange: ExchangeThread) -> None:
    exchange.faults.shuffle(2)
    assert list(read(exchange)) == list(MARKET[:2_400])


def test_an_answer_from_another_time_is_refused(exchange: ExchangeThread) -> None:
    row = [[START - 99 * MINUTE, "1", "1", "1", "1", "1", START - 98 * MINUTE - 1, "1", 1, "1", "1", "0"]]
    body = str(row).replace("'", '"').encode()
    source = open_source("binance", rest_url=exchange.rest_url, sleep=Naps())
    assert sum(map(len, source.history("BTCUSDT", "1m", end_ms=START + MINUTE))) == 1  # the limits are known now
    exchange.faults.malformed(body=b'{"serverTime": %d}' % NOW)
    exchange.faults.malformed(body=body)
    with pytest.raises(SourceFormatError, match=f"from {row[0][0]}"):
        list(source.history("BTCUSDT", "1m", start_ms=START))


def test_the_weight_limit_of_exchange_info_is_kept() -> None:
    naps = Naps()
    with exchange_in_thread({"BTCUSDT": MARKET}, now_ms=NOW, weight_limit=30) as exchange:
        bars = read(exchange, naps, weight_share=0.8)
        assert len(bars) == 2_400
        # 20 of exchangeInfo, 1 of time and 2 of klines make 23; another 2 would be over 80 % of 30.
        assert len(naps.taken) >= 1
        assert naps.taken[0] == pytest.approx(30.0)
        assert exchange.exchange._used_weight[NOW // MINUTE] <= 30


def test_weight_of_another_program_counts_too() -> None:
    budget = WeightBudget(limit=100, share=0.5)
    assert budget.wait_s(2, 10_000) == 0
    budget.note(49, 10_000)
    assert budget.wait_s(1, 10_000) == 0
    assert budget.wait_s(2, 15_000) == 45.0
    assert budget.wait_s(2, 60_000) == 0


def test_jitter_is_full_and_capped() -> None:
    patience, rng = Patience(backoff_s=1.0, backoff_cap_s=8.0), random.Random(3)
    naps = [[patience.pause_s(attempt, rng) for _ in range(500)] for attempt in range(6)]
    for attempt, (bound, taken) in enumerate(zip([1, 2, 4, 8, 8, 8], naps, strict=True)):
        assert 0 <= min(taken) < 0.05 * bound, attempt
        assert 0.95 * bound < max(taken) <= bound, attempt


@pytest.mark.parametrize(
    "row", [[], None, 5, {}, ["x"] * 12, [1, "1", "1", "1", "NaN", "1", 1, "1", 1, "1"], [1.5] + ["1"] * 11, [1, "1"]]
)
def test_a_row_that_is_no_kline_is_quoted(row: Any) -> None:
    with pytest.raises(SourceFormatError, match="which is no kline"):
        parse_row(row)


@pytest.mark.parametrize("event", [[], "x", None, {"data": {"e": "trade"}}, {"result": None, "id": 1}])
def test_events_of_other_kinds_are_none(event: Any) -> None:
    assert parse_event(event) is None


@pytest.mark.parametrize("event", [{"e": "kline"}, {"e": "kline", "E": 1, "k": {"t": "x"}}, {"e": "kline", "k": 3}])
def test_a_broken_kline_event_is_quoted(event: Any) -> None:
    with pytest.raises(SourceFormatError, match="which is no kline event"):
        parse_event(event)


@pytest.mark.parametrize(
    "options", [{"rest_url": "api.binance.com"}, {"ws_url": "https://x"}, {"attempts": 0}, {"weight_share": 2.0}]
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        open_source("binance", **options)


@pytest.mark.parametrize("seed", range(6))
def test_history_is_whole_after_any_passing_faults(exchange: ExchangeThread, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(rng.randint(3, 12)):
        fault = rng.choice(["fail", "cut", "malformed", "rate_limit", "shuffle", "lag"])
        getattr(exchange.faults, fault)(rng.randint(1, 2))
    assert list(read(exchange, attempts=40)) == list(MARKET[:2_400])
