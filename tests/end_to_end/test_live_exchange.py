"""Binance's stream against the fake exchange: every fault on demand, and any sequence of faults."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.fakes.exchange import FakeExchange
from tests.fakes.exchange_listener import Listener, listening, random_market

from kalibre.core.errors import SourceBannedError, SourceRefusedError, UnknownSymbolError, UsageError
from kalibre.sources import open_source

MINUTE = 60_000
START = 1_704_067_200_000
SYMBOLS = ("BTCUSDT", "ETHUSDT")


def make_source(exchange: FakeExchange, **options: Any) -> Any:
    """Return a source that tries again at once, but never takes silence for a fault unless told to.

    A reconnect compares and heals everything, so it would hide it if a heal of its own accord did not work.
    """
    quick = {
        **{"backoff_s": 0.01, "backoff_cap_s": 0.05, "stall_after_s": 30, "ping_every_s": 30, "seed": 1},
        **{"confirm_after_s": 0.02, "timeout_s": 0.5},
    }
    return open_source("binance", rest_url=exchange.rest_url, ws_url=exchange.ws_url, **{**quick, **options})


def run(scenario: Callable[[FakeExchange, Listener], Awaitable[None]], *, n_bars: int = 60, **options: Any) -> None:
    """Play a scenario on two symbols, begun after ten bars, and check that in the end all is known, in order, once."""

    async def play() -> None:
        bars = {symbol: random_market(symbol, n_bars, start_ms=START) for symbol in SYMBOLS}
        async with FakeExchange(bars, now_ms=START + 10 * MINUTE) as exchange:
            since = dict.fromkeys(SYMBOLS, START - MINUTE)
            async with listening(make_source(exchange, **options), SYMBOLS, "1m", since_ms=since) as listener:
                await listener.until(lambda: len(listener.items) == 20)
                await exchange.wait_for(lambda: exchange.open_streams == 1)
                await scenario(exchange, listener)
                await settle(exchange, listener)

    asyncio.run(play())


async def settle(exchange: FakeExchange, listener: Listener) -> None:
    """Let the faults be over, and wait until everything that has closed is known."""
    exchange.faults.lift()
    await advance(exchange, 0.2)
    for symbol in SYMBOLS:
        await listener.until(lambda symbol=symbol: listener.knows(exchange.closed(symbol)))  # type: ignore[misc]
        listener.check_order(symbol)


async def advance(exchange: FakeExchange, n_bars: float) -> None:
    await exchange.advance_to(exchange.now_ms + int(n_bars * MINUTE))


def provenances(listener: Listener, symbol: str, first_bar: int) -> list[str]:
    return [item.provenance for item in listener.of(symbol) if item.bar.open_time >= START + first_bar * MINUTE]


def test_quiet_times_are_received_not_asked_for() -> None:
    async def scenario(exchange: FakeExchange, listener: Listener) -> None:
        asked = len(exchange.requests)
        await advance(exchange, 5)
        await listener.until(lambda: len(listener.items) == 30)
        assert provenances(listener, "BTCUSDT", 10) == ["received"] * 5
        assert len(exchange.requests) == asked

    run(scenario)


def test_without_since_the_stream_begins_with_the_bar_that_is_open() -> None:
    async def play() -> None:
        bars = {"BTCUSDT": random_market("BTCUSDT", 30, start_ms=START)}
        async with (
            FakeExchange(bars, now_ms=START + 10 * MINUTE + 1) as exchange,
            listening(make_source(exchange), ["BTCUSDT"], "1m") as listener,
        ):
            await exchange.wait_for(lambda: exchange.open_streams == 1)
            await advance(exchange, 2)
            await listener.until(lambda: len(listener.items) == 2)
            assert [item.bar for item in listener.items] == list(bars["BTCUSDT"][10:12])

    asyncio.run(play())


def test_a_lost_bar_is_healed_before_the_next_one_is_delivered() -> None:
    async def scenario(exchange: FakeExchange, listener: Listener) -> None:
        exchange.faults.lose("BTCUSDT", 2)
        await advance(exchange, 4)
        await listener.until(lambda: len(listener.items) == 28)
        assert provenances(listener, "BTCUSDT", 10)[:2] == ["backfilled"] * 2

    run(scenario, late_after_s=3600)  # the hole itself has to be noticed, not the time


def test_a_lost_bar_is_missed_by_the_exchanges_clock_without_a_later_bar() -> None:
    async def scenario(exchange: FakeExchange, listener: Listener) -> None:
        exchange.faults.lose("BTCUSDT")
        await exchange.advance_to(START + 11 * MINUTE + 6_000)
        await listener.until(lambda: len(listener.of("BTCUSDT")) == 11)
        assert provenances(listener, "BTCUSDT", 10) == ["backfilled"]

    run(scenario)


@pytest.mark.parametrize("how", ["drop", "close", "stall", "mute"])
def test_a_dead_connection_is_noticed_and_what_it_missed_is_fetched(how: str) -> None:
    async def scenario(exchange: FakeExchange, listener: Listener) -> None:
        await advance(exchange, 1)
        if how == "drop":
            exchange.drop_connections()
        elif how == "close":
            await exchange.close_connections()
        elif how == "stall":
            exchange.stall()
        else:
            exchange.mute()
        await advance(exchange, 3)
        await exchange.wait_for(lambda: exchange.connections >= 2)
        await listener.until(lambda: len(listener.items) == 28)
        assert "backfilled" in provenances(listener, "BTCUSDT", 11)

    # Pongs alone must reveal the half-open connection, silence alone the mute one.
    run(scenario, **{"stall": {"ping_every_s": 0.2}, "mute": {"stall_after_s": 0.5}}.get(how, {}))


def test_connections_are_rotated_before_the_exchange_ends_them() -> None:
    async def scenario(exchange: FakeExchange, listener: Listener) -> None:
        for _ in range(3):
            seen = exchange.connections
            await advance(exchange, 1)
            await exchange.wait_for(lambda seen=seen: exchange.connections > seen)  # type: ignore[misc]

    run(scenario, rotate_after_s=0.2)


def test_doubles_are_dropped_and_swapped_bars_come_in_order() -> None:
    async def scenario(exchange: FakeExchange, listener: Listener) -> None:
        exchange.faults.duplicate("BTCUSDT", 3)
        exchange.faults.reorder("ETHUSDT", 2)
        await advance(exchange, 6)

    run(scenario)


def test_an_open_kline_is_never_delivered() -> None:
    async def scenario(exchange: FakeExchange, listener: Listener) -> None:
        for _ in range(12):
            await advance(exchange, 0.25)
        await listener.until(lambda: len(listener.items) == 26)

    run(scenario)


def test_a_correction_is_passed_on_live_and_after_a_reconnect() -> None:
    async def scenario(exchange: FakeExchange, listener: Listener) -> None:
        await advance(exchange, 2)
        live = await exchange.correct("BTCUSDT", START + 11 * MINUTE, volume=77.0)
        await listener.until(lambda: live in [item.bar for item in listener.of("BTCUSDT")])
        exchange.drop_connections()
        missed = await exchange.correct("BTCUSDT", START + 10 * MINUTE, volume=78.0)
        await listener.until(lambda: missed in [item.bar for item in listener.of("BTCUSDT")])
        assert provenances(listener, "BTCUSDT", 10)[-1] == "backfilled"

    run(scenario)


def test_a_stale_event_does_not_undo_a_correction() -> None:
    async def scenario(exchange: FakeExchange, listener: Listener) -> None:
        exchange.faults.reorder("BTCUSDT")
        await advance(exchange, 1)
        await exchange.correct("BTCUSDT", START + 10 * MINUTE, volume=5.0)
        await advance(exchange, 1)

    run(scenario)


def test_a_late_symbol_delays_no_other() -> None:
    async def scenario(exchange: FakeExchange, listener: Listener) -> None:
        exchange.faults.delay("ETHUSDT", START + 30 * MINUTE)
        await exchange.advance_to(START + 12 * MINUTE, updates=False)
        await listener.until(lambda: len(listener.of("BTCUSDT")) == 12)
        assert len(listener.of("ETHUSDT")) <= 11  # the twelfth is not overdue yet
        await advance(exchange, 20)

    run(scenario)


def test_a_symbol_whose_back_fill_hangs_delays_no_other() -> None:
    async def scenario(exchange: FakeExchange, listener: Listener) -> None:
        exchange.faults.lose("ETHUSDT")
        exchange.faults.hang(2)
        await advance(exchange, 3)
        await listener.until(lambda: len(listener.of("BTCUSDT")) == 13)
        assert len(listener.of("ETHUSDT")) == 10

    run(scenario)


def test_a_replica_that_is_behind_does_not_lose_a_bar() -> None:
    async def scenario(exchange: FakeExchange, listener: Listener) -> None:
        exchange.faults.lose("BTCUSDT")
        exchange.faults.lag(2)
        await advance(exchange, 1.2)
        await listener.until(lambda: len(listener.of("BTCUSDT")) == 11)

    run(scenario)


def test_a_hole_of_the_exchange_is_believed_after_asking_again_and_holds_up_nothing() -> None:
    async def play() -> None:
        whole = random_market("BTCUSDT", 40, start_ms=START)
        holed = whole[[i for i in range(40) if i not in {12, 13}]]  # type: ignore[index]
        async with FakeExchange({"BTCUSDT": holed}, now_ms=START + 10 * MINUTE) as exchange:
            since = {"BTCUSDT": START - MINUTE}
            async with listening(make_source(exchange), ["BTCUSDT"], "1m", since_ms=since) as listener:
                await exchange.wait_for(lambda: exchange.open_streams == 1)
                for _ in range(10):
                    await advance(exchange, 1)
                await listener.until(lambda: listener.knows(exchange.closed("BTCUSDT")))
                listener.check_order("BTCUSDT")

    asyncio.run(play())


@pytest.mark.parametrize("fault", ["rate_limit", "fail", "hang", "cut", "malformed", "shuffle"])
def test_back_fill_survives_a_bad_rest_side(fault: str) -> None:
    async def scenario(exchange: FakeExchange, listener: Listener) -> None:
        options = {"retry_after_s": 0.05} if fault == "rate_limit" else {}
        getattr(exchange.faults, fault)(3, **options)
        exchange.faults.lose("BTCUSDT")
        await advance(exchange, 2)
        await listener.until(lambda: len(listener.of("BTCUSDT")) == 12)

    run(scenario)


def test_malformed_events_are_left_out_and_their_bars_fetched() -> None:
    async def scenario(exchange: FakeExchange, listener: Listener) -> None:
        exchange.faults.malformed_event(3)
        await advance(exchange, 4)

    run(scenario)


def test_a_refused_handshake_is_tried_again() -> None:
    async def scenario(exchange: FakeExchange, listener: Listener) -> None:
        exchange.faults.refuse_stream(2)
        exchange.faults.refuse_stream(1, status=429, headers={"Retry-After": "0.05"})
        exchange.drop_connections()
        await advance(exchange, 2)
        await exchange.wait_for(lambda: exchange.connections >= 2)

    run(scenario)


def test_a_long_back_fill_is_delivered_page_by_page() -> None:
    async def play() -> None:
        bars = {"BTCUSDT": random_market("BTCUSDT", 3_500, start_ms=START)}
        async with FakeExchange(bars, now_ms=START + 3_300 * MINUTE) as exchange:
            exchange.faults.wait(4)  # the time, the time, two pages
            exchange.faults.hang(10**4)
            since = {"BTCUSDT": START - MINUTE}
            async with listening(make_source(exchange), ["BTCUSDT"], "1m", since_ms=since) as listener:
                await listener.until(lambda: len(listener.items) == 2_000)
                await advance(exchange, 5)
                exchange.faults.lift()
                await listener.until(lambda: listener.knows(exchange.closed("BTCUSDT")))
                listener.check_order("BTCUSDT")

    asyncio.run(play())


@pytest.mark.parametrize(("fault", "error"), [("ban", SourceBannedError), ("refuse_region", SourceRefusedError)])
def test_what_cannot_be_mended_ends_the_stream(fault: str, error: type[Exception]) -> None:
    async def play() -> None:
        bars = {"BTCUSDT": random_market("BTCUSDT", 30, start_ms=START)}
        async with (
            FakeExchange(bars, now_ms=START + 10 * MINUTE) as exchange,
            listening(make_source(exchange), ["BTCUSDT"], "1m") as listener,
        ):
            await exchange.wait_for(lambda: exchange.open_streams == 1)
            getattr(exchange.faults, fault)()
            exchange.drop_connections()
            assert isinstance(await listener.failed(), error)

    asyncio.run(play())


def test_an_unknown_symbol_or_timeframe_ends_the_stream() -> None:
    async def play() -> None:
        async with FakeExchange({"BTCUSDT": random_market("BTCUSDT", 30, start_ms=START)}) as exchange:
            for symbols, timeframe, error in (
                (["BTCUSDT", "NOPE"], "1m", UnknownSymbolError),
                (["BTCUSDT"], "7m", UsageError),
                ([], "1m", UsageError),
            ):
                async with listening(make_source(exchange), symbols, timeframe) as listener:
                    assert isinstance(await listener.failed(), error)

    asyncio.run(play())


@pytest.mark.parametrize("seed", range(12))
def test_after_any_faults_the_bars_are_the_exchanges(seed: int) -> None:
    rng = random.Random(seed)

    async def scenario(exchange: FakeExchange, listener: Listener) -> None:
        for _ in range(12):
            symbol = rng.choice(SYMBOLS)
            faults = exchange.faults
            for _ in range(rng.randint(0, 2)):
                kind = rng.randrange(15)
                if kind == 0:
                    exchange.drop_connections()
                elif kind == 1:
                    exchange.stall()
                elif kind == 2:
                    exchange.mute()
                elif kind == 3:
                    await exchange.close_connections()
                elif kind == 4:
                    faults.lose(symbol, rng.randint(1, 3))
                elif kind == 5:
                    faults.duplicate(symbol, 2)
                elif kind == 6:
                    faults.reorder(symbol)
                elif kind == 7:
                    faults.delay(symbol, exchange.now_ms + rng.randint(1, 4) * MINUTE)
                elif kind == 8:
                    newest = len(exchange.closed(symbol)) - 1
                    bar = max(0, newest - rng.randint(0, 5))
                    await exchange.correct(symbol, START + bar * MINUTE, volume=float(rng.randint(1, 10**6)))
                elif kind == 9:
                    faults.fail(rng.randint(1, 8))
                elif kind == 10:
                    faults.rate_limit(rng.randint(1, 2), retry_after_s=0.02)
                elif kind == 11:
                    faults.lag()
                elif kind == 12:
                    faults.shuffle()
                elif kind == 13:
                    faults.refuse_stream(rng.randint(1, 3))
                else:
                    faults.malformed_event(rng.randint(1, 2))
            await advance(exchange, rng.choice([0.3, 1, 1, 2, 3]))
            if rng.random() < 0.5:
                await exchange.wait_for(lambda: exchange.open_streams >= 1)

    run(scenario, stall_after_s=0.6, ping_every_s=0.2)
