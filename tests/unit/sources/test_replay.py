"""Replays: the schedule, the line between past and present, and every kind of history."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.fakes.exchange_listener import random_market

from kalibre.bars.live import LiveSettings, ingest_live
from kalibre.core.bars import concat
from kalibre.core.clock import PlayedClock
from kalibre.core.errors import UnknownSymbolError, UsageError
from kalibre.core.events import BarClosed, new_event, series_key
from kalibre.core.protocols import PlayedSource, SourceBar
from kalibre.log import open_log
from kalibre.sources import open_source

START = 1_704_067_200_000
MINUTE = 60_000
BARS = {symbol: random_market(symbol, 40, start_ms=START) for symbol in ("BTCUSDT", "ETHUSDT")}


class Time:
    """A loop's time that moves when it is waited for."""

    def __init__(self) -> None:
        self.now = 100.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


def play(
    symbols: list[str] | None = None, timeframe: str = "1m", *, since_ms: Any = None, **options: Any
) -> list[SourceBar]:
    async def collect() -> list[SourceBar]:
        source: Any = open_source("replay", **options)
        return [item async for item in source.stream(symbols or list(BARS), timeframe, since_ms=since_ms)]

    return asyncio.run(collect())


def test_a_year_is_played_at_once_and_its_last_day_bar_by_bar() -> None:
    time = Time()
    slows_at_ms = START + 30 * MINUTE
    delivered: list[float] = []

    async def collect() -> None:
        source: Any = open_source(
            "replay", bars=BARS, slows_at_ms=slows_at_ms, slow_speed="60x", sleep=time.sleep, now_s=lambda: time.now
        )
        async for item in source.stream(["BTCUSDT"], "1m"):
            delivered.append(time.now)
            assert source.clock.now_ms() == item.bar.open_time + MINUTE

    asyncio.run(collect())
    assert delivered == [100.0] * 30 + [100.0 + k for k in range(1, 11)]


def test_symbols_are_woven_by_their_closes() -> None:
    items = play(bars=BARS)
    assert [(item.bar.open_time, item.symbol) for item in items] == [
        (START + i * MINUTE, symbol) for i in range(40) for symbol in ("BTCUSDT", "ETHUSDT")
    ]
    assert {item.provenance for item in items} == {"replayed"}
    assert [item.bar for item in items if item.symbol == "ETHUSDT"] == list(BARS["ETHUSDT"])


@pytest.mark.parametrize(("speed", "seconds"), [("1x", 60.0), ("60x", 1.0), (120, 0.5), ("2.5x", 24.0), ("max", 0.0)])
def test_the_schedule_is_the_markets_divided_by_the_speed(speed: Any, seconds: float) -> None:
    time = Time()
    delivered: list[float] = []

    async def collect() -> None:
        source: Any = open_source("replay", bars=BARS, speed=speed, sleep=time.sleep, now_s=lambda: time.now)
        async for _ in source.stream(["BTCUSDT"], "1m"):
            delivered.append(time.now)
            time.now += seconds * 0.4  # a reader that takes its time is not waited for twice

    asyncio.run(collect())
    expected = [100.0 + i * seconds for i in range(40)]
    assert delivered == pytest.approx(expected, abs=seconds * 0.4 + 1e-9)
    assert delivered[-1] == pytest.approx(expected[-1]) or seconds == 0


def test_past_and_present_meet_without_loss_or_double() -> None:
    border = START + 25 * MINUTE
    source = open_source("replay", bars=BARS, live_from_ms=border)
    past = concat(list(source.history("BTCUSDT", "1m")))
    live = [item.bar for item in play(["BTCUSDT"], bars=BARS, live_from_ms=border)]
    assert (len(past), list(past) + live) == (25, list(BARS["BTCUSDT"]))


@pytest.mark.parametrize("speed", ["max", "60x"])
def test_the_clock_follows_the_closes_and_passes_none_that_is_not_handed_out(speed: str) -> None:
    time = Time()
    between: list[int] = []

    async def sleep(seconds: float) -> None:
        await time.sleep(seconds / 2)
        between.append(source.clock.now_ms())
        await time.sleep(seconds / 2)

    source: Any = open_source("replay", bars=BARS, speed=speed, sleep=sleep, now_s=lambda: time.now)
    assert isinstance(source, PlayedSource)

    async def collect() -> list[tuple[int, int]]:
        seen = []
        async for item in source.stream(["BTCUSDT"], "1m"):
            seen.append((item.bar.open_time + MINUTE, source.clock.now_ms()))
            time.now += 0.4  # the clock waits for a reader that takes its time
            assert source.clock.now_ms() == seen[-1][0]
        return seen

    assert all(close_ms == now_ms for close_ms, now_ms in asyncio.run(collect()))
    halfway = [START + minute * MINUTE - (MINUTE if speed == "max" else MINUTE // 2) for minute in range(2, 41)]
    assert between[1:] == pytest.approx(halfway, abs=1)


def test_playing_begins_behind_what_is_known() -> None:
    def begun(**options: Any) -> Any:
        given = {name: options.pop(name) for name in ("since_ms", "clock_ms") if name in options}
        source: Any = open_source("replay", bars=BARS, **options)
        source.begin(["BTCUSDT", "ETHUSDT"], "1m", **given)
        return source

    assert begun().clock.now_ms() == START
    assert list(begun().history("BTCUSDT", "1m")) == [], "before the first bar nothing is past"
    assert begun().span("BTCUSDT", "1m") is None
    assert begun(live_from_ms=START + 5 * MINUTE).span("BTCUSDT", "1m") == (START, START + 4 * MINUTE)
    source = begun(since_ms={"BTCUSDT": START + 9 * MINUTE}, live_from_ms=START + 5 * MINUTE)
    assert source.clock.now_ms() == START + 10 * MINUTE
    assert len(concat(list(source.history("ETHUSDT", "1m")))) == 10, "the other symbol's past reaches as far"
    assert begun(since_ms={"BTCUSDT": START}, clock_ms=START + 7 * MINUTE).clock.now_ms() == START + 7 * MINUTE
    assert source.first_close(["BTCUSDT"], "1m", since_ms={"BTCUSDT": START + 9 * MINUTE}) == START + 11 * MINUTE
    assert source.first_close(["BTCUSDT"], "1m", since_ms={"BTCUSDT": START + 39 * MINUTE}) is None
    with pytest.raises(UsageError, match="the history ends at 2024-01-01 03:40"):
        begun(live_from_ms=START + 40 * MINUTE)


def test_as_the_stream_goes_on_history_grows_by_what_has_closed() -> None:
    source: Any = open_source("replay", bars=BARS)
    source.begin(["BTCUSDT"], "1m")

    async def collect() -> None:
        async for item in source.stream(["BTCUSDT"], "1m"):
            (known,) = source.history("BTCUSDT", "1m")
            assert int(known.open_time[-1]) == item.bar.open_time

    asyncio.run(collect())


def test_a_clock_that_is_late_does_not_overrun() -> None:
    now = [0.0]
    clock = PlayedClock(lambda: now[0])
    clock.stand(1_000)
    clock.run(5_000, due_s=-3.0)  # due already
    assert clock.now_ms() == 1_000
    now[0] = 0.001
    assert clock.now_ms() == 5_000
    now[0] = 100.0
    assert clock.now_ms() == 5_000


def test_what_is_known_is_not_played_again() -> None:
    items = play(["BTCUSDT"], bars=BARS, since_ms={"BTCUSDT": START + 36 * MINUTE})
    assert [item.bar.open_time for item in items] == [START + 37 * MINUTE, START + 38 * MINUTE, START + 39 * MINUTE]


def test_a_file_another_source_and_the_log_can_be_played(tmp_path: Path) -> None:
    bars = BARS["BTCUSDT"]
    path = tmp_path / "BTCUSDT.parquet"
    bars.to_frame().write_parquet(path)
    assert [item.bar for item in play(["BTCUSDT"], path=str(path))] == list(bars)
    items = play(["X"], "1h", source="simulated", source_options={"n_bars": 9})
    assert len(items) == 9
    url = f"sqlite:///{tmp_path / 'log.sqlite'}"
    with open_log(url) as log:
        key = series_key("BTCUSDT", "1m")
        for close in (1.0, None):  # the second writing is a revision: the newest is played
            payloads = [
                BarClosed.of(msgspec.structs.replace(bar, **({"close": close} if close else {}))) for bar in bars
            ]
            log.append([new_event(key, p.open_time, p) for p in payloads], writer="ingest")
    assert [item.bar for item in play(["BTCUSDT"], log_url=url)] == list(bars)
    with pytest.raises(UnknownSymbolError, match="no bar of XRP 1m"):
        play(["XRP"], log_url=url)


@pytest.mark.parametrize("stops", [(), (1, 2, 17)])
def test_two_symbols_are_recorded_in_step_and_a_stopped_replay_goes_on(tmp_path: Path, stops: tuple[int, ...]) -> None:
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as log:
        for bars_until_stop in (*stops, 1_000):
            since = {
                symbol: newest.event_time
                for symbol in BARS
                if (newest := log.latest("bar", key=series_key(symbol, "1m"), by="event_time")) is not None
            }
            source: Any = open_source("replay", bars=BARS)
            source.begin(list(BARS), "1m", since_ms=since)
            had = len(log.read(kinds={"bar"}))
            _ingest(log, source, lambda had=had, most=bars_until_stop: len(log.read(kinds={"bar"})) - had >= most)
            assert bars_until_stop == 1_000 or len(log.read(kinds={"bar"})) < 80, "it was stopped before its end"
        clock_ms = 0
        for event in log.read(kinds={"bar", "tick"}):
            if event.kind == "tick":
                assert event.event_time >= clock_ms
                clock_ms = event.event_time
            else:
                # When it closed, not before and not later; only the first waits for the one that confirms it.
                late_ms = MINUTE if event.event_time == START else 0
                assert event.event_time + MINUTE + late_ms == clock_ms
        bars = log.read(kinds={"bar"})
        assert sorted((event.key, event.event_time) for event in bars) == [
            (series_key(symbol, "1m"), START + i * MINUTE) for symbol in BARS for i in range(40)
        ]
        assert log.read(kinds={"gap", "quarantine"}) == []


def test_the_funding_of_what_is_played_comes_before_the_bar_that_pays_it(tmp_path: Path) -> None:
    bars = {"BTCUSDT": random_market("BTCUSDT", 60, start_ms=START, timeframe="1h")}
    bars["BTCUSDT"].to_frame().write_csv(tmp_path / "BTCUSDT.csv")
    rates = [(START + hour * 60 * MINUTE + 3, 0.0001 * hour) for hour in range(8, 57, 8)]
    told = ["time,funding_rate", *(f"{settled},{rate:.8f}" for settled, rate in rates)]
    (tmp_path / "funding.csv").write_text("\n".join(told))
    urls = [f"sqlite:///{tmp_path / name}.sqlite" for name in ("first", "second")]
    files = {"path": str(tmp_path / "BTCUSDT.csv"), "funding_path": str(tmp_path / "funding.csv")}
    for url, played in zip(urls, ({"source": "files", "source_options": files}, {"log_url": urls[0]}), strict=True):
        source: Any = open_source("replay", **played)
        source.begin(["BTCUSDT"], "1h")
        with open_log(url) as log:
            live = ingest_live(
                log, source, ["BTCUSDT"], "1h", calendar="24/7", clock=source.clock, should_stop=lambda: False
            )
            asyncio.run(live)
            paid = [(event.event_time, event.payload.rate) for event in log.read(kinds={"funding"})]  # type: ignore[attr-defined]
            assert paid == [(settled - 3, pytest.approx(rate)) for settled, rate in rates]
            places = {event.event_time: event.seq for event in log.read(kinds={"bar"})}
            for event in log.read(kinds={"funding"}):
                assert places[event.event_time - 120 * MINUTE] < event.seq < places[event.event_time - 60 * MINUTE]
    unfunded: Any = open_source("replay", bars=bars)
    assert list(unfunded.funding("BTCUSDT", start_ms=START, end_ms=START + 10**9)) == []


def _ingest(log: Any, source: Any, should_stop: Any) -> None:
    live = ingest_live(
        log,
        source,
        list(BARS),
        "1m",
        calendar="24/7",
        clock=source.clock,
        should_stop=should_stop,
        settings=LiveSettings(poll_s=0.0005),
    )
    asyncio.run(live)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bars": BARS, "source": "sample"},
        {"source": "replay"},
        *({"bars": BARS, "speed": s} for s in ("fast", 0, "-1x", "")),
    ],
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        open_source("replay", **options)


def test_unknown_series_are_said() -> None:
    with pytest.raises(UnknownSymbolError, match=r"'XRP'.*BTCUSDT, ETHUSDT"):
        play(["XRP"], bars=BARS)
    with pytest.raises(UsageError, match="is of 1m, not 5m"):
        play(["BTCUSDT"], "5m", bars=BARS)
    with pytest.raises(UsageError, match="no symbol"):
        asyncio.run(anext(open_source("replay", bars=BARS).stream([], "1m")))  # type: ignore[attr-defined]
