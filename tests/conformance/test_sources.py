"""One suite over every source that the catalogue finds; a source without a rig here fails, so none goes unchecked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from tests.fakes.exchange import exchange_in_thread
from tests.fakes.exchange_btcturk import btcturk_in_thread
from tests.fakes.exchange_listener import listening, random_market
from tests.fakes.postgres import Postgres, binaries_or_skip

from kalibre.core.bars import Bars, concat
from kalibre.core.clock import ManualClock
from kalibre.core.errors import BarError, SourceFormatError, UnknownSymbolError, UsageError
from kalibre.core.protocols import FundedSource, LiveSource, Source
from kalibre.core.timeframe import timeframe_ms
from kalibre.sources import open_source, source_names, source_options

START = 1_704_067_200_000
HOUR = 3_600_000
N_BARS = 2_345
NOW = START + N_BARS * HOUR + HOUR // 2
"""Bar N_BARS is still open: each rig's store holds it, no source may deliver it."""


@dataclass
class Rig:
    """A source over a real small store, what it has to deliver, and a symbol that it has not (None: it has all)."""

    source: Source
    expected: Bars
    unknown: str | None = "NOPE"
    rates: tuple[tuple[int, float], ...] = ()
    """Funding that it has to tell; empty: it offers none."""


MARKET = random_market("BTCUSDT", N_BARS + 1, timeframe="1h", start_ms=START)
CLOSED = MARKET[:N_BARS]
RATES = tuple((START + 8 * k * HOUR + k % 4, round(1e-6 * (k % 300 - 100), 8)) for k in range(1, N_BARS // 8))
PRICES_ONLY = Bars(
    **{
        name: getattr(CLOSED, name)
        for name in ("symbol", "timeframe", "open_time", "open", "high", "low", "close", "volume")
    }
)


@contextlib.contextmanager
def rig_binance(_: Path) -> Iterator[Rig]:
    with exchange_in_thread({"BTCUSDT": MARKET}, now_ms=NOW) as exchange:
        yield Rig(open_source("binance", rest_url=exchange.rest_url, ws_url=exchange.ws_url), CLOSED)


@contextlib.contextmanager
def rig_binance_perpetual(_: Path) -> Iterator[Rig]:
    options: dict[str, Any] = {"market": "perpetual", "funding": {"BTCUSDT": RATES}}
    with exchange_in_thread({"BTCUSDT": MARKET}, now_ms=NOW, **options) as exchange:
        source = open_source("binance", market="perpetual", rest_url=exchange.rest_url, ws_url=exchange.ws_url)
        yield Rig(source, CLOSED, rates=RATES)


@contextlib.contextmanager
def rig_ccxt(_: Path) -> Iterator[Rig]:
    with btcturk_in_thread({"BTCUSDT": MARKET}) as fake:
        options: dict[str, Any] = {"config": {"rateLimit": 1}, "earliest_ms": START - 5000 * HOUR}
        source = open_source("ccxt", exchange="btcturk", urls=fake.urls, clock=ManualClock(NOW), **options)
        yield Rig(source, PRICES_ONLY)


@contextlib.contextmanager
def rig_files(folder: Path) -> Iterator[Rig]:
    path = folder / "BTCUSDT-1h.csv"
    MARKET.to_frame().write_csv(path)
    funding = folder / "BTCUSDT-funding.csv"
    funding.write_text("\n".join(["time,funding_rate", *(f"{time},{rate:.8f}" for time, rate in RATES)]))
    yield Rig(open_source("files", path=path, funding_path=funding, clock=ManualClock(NOW)), CLOSED, rates=RATES)


@contextlib.contextmanager
def rig_postgres(_: Path) -> Iterator[Rig]:
    import psycopg

    server = Postgres(binaries_or_skip())
    try:
        server.start()
        with psycopg.connect(server.url()) as connection:
            connection.execute(
                "CREATE TABLE bars (symbol text, open_time timestamptz, open numeric, high numeric, low numeric, "
                "close numeric, volume numeric, quote_volume numeric, trades bigint, taker_buy_volume numeric)"
            )
            columns = "symbol, open_time, open, high, low, close, volume, quote_volume, trades, taker_buy_volume"
            with connection.cursor().copy(f"COPY bars ({columns}) FROM STDIN") as copy:  # type: ignore[arg-type]
                for bar in MARKET[::-1]:
                    opened = np.datetime64(bar.open_time, "ms").astype(str) + "Z"
                    rest = (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.quote_volume)
                    copy.write_row(("BTCUSDT", opened, *rest, int(bar.trades or 0), bar.taker_buy_volume))
            connection.execute("CREATE TABLE rates (symbol text, time bigint, funding_rate float8)")
            with connection.cursor().copy("COPY rates FROM STDIN") as copy:
                for time, rate in RATES[::-1]:
                    copy.write_row(("BTCUSDT", time, rate))
        query = "SELECT * FROM rates"
        source = open_source("postgres", url=server.url(), table="bars", funding_query=query, clock=ManualClock(NOW))
        yield Rig(source, CLOSED, rates=RATES)
    finally:
        server.stop()


@contextlib.contextmanager
def rig_replay(_: Path) -> Iterator[Rig]:
    yield Rig(open_source("replay", bars={"BTCUSDT": CLOSED}), CLOSED)


@contextlib.contextmanager
def rig_sample(_: Path) -> Iterator[Rig]:
    source = open_source("sample")
    yield Rig(source, concat(list(source.history("EURUSD", "1h"))))


@contextlib.contextmanager
def rig_simulated(_: Path) -> Iterator[Rig]:
    source = open_source("simulated", n_bars=N_BARS, seed=3)
    yield Rig(source, concat(list(source.history("ANY", "1h"))), unknown=None)


RIGS: dict[str, Callable[[Path], contextlib.AbstractContextManager[Rig]]] = {
    name.removeprefix("rig_"): value for name, value in list(globals().items()) if name.startswith("rig_")
}


def test_every_source_has_a_rig() -> None:
    assert {name.split("_")[0] for name in RIGS} == set(source_names()), (
        "write a rig for the new source: the suite below then checks it"
    )


@pytest.fixture(scope="module", params=sorted(RIGS))
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with RIGS[request.param](tmp_path_factory.mktemp(request.param)) as made:
        yield made


def read(rig: Rig, **limits: Any) -> Bars:
    expected = rig.expected
    parts = list(rig.source.history(expected.symbol, expected.timeframe, **limits))
    return concat(parts) if parts else expected[:0]


def same(a: Bars, b: Bars) -> bool:
    return list(a) == list(b)


def test_it_keeps_the_protocol(rig: Rig) -> None:
    assert isinstance(rig.source, Source)
    assert rig.source.name in source_names()
    assert isinstance(source_options(rig.source.name), dict)


def test_it_delivers_all_closed_bars_and_no_open_one(rig: Rig) -> None:
    assert same(read(rig), rig.expected)


def test_bars_are_sound_and_ascend(rig: Rig) -> None:
    bars = read(rig)
    bars.check()
    assert (bars.symbol, bars.timeframe) == (rig.expected.symbol, rig.expected.timeframe)


def test_chunks_join_up(rig: Rig) -> None:
    expected = rig.expected
    parts = list(rig.source.history(expected.symbol, expected.timeframe))
    assert all(len(part) for part in parts)
    for earlier, later in pairwise(parts):
        assert earlier.open_time[-1] < later.open_time[0]


@pytest.mark.parametrize(("first", "last"), [(0, 1), (7, 1_500), (1_000, 2_000), (N_BARS - 3, None), (None, 5)])
def test_a_range_is_its_start_and_not_its_end(rig: Rig, first: int | None, last: int | None) -> None:
    times = rig.expected.open_time
    start, end = (None if at is None else int(times[at]) for at in (first, last))
    assert same(read(rig, start_ms=start, end_ms=end), rig.expected.between(start, end))


def test_a_range_off_the_grid_is_kept_to_the_millisecond(rig: Rig) -> None:
    start, end = int(rig.expected.open_time[3]) + 1, int(rig.expected.open_time[9]) + 1
    assert same(read(rig, start_ms=start, end_ms=end), rig.expected.between(start, end))


def test_ranges_that_touch_join_without_loss_or_double(rig: Rig) -> None:
    middle = int(rig.expected.open_time[1_234])
    assert same(concat([read(rig, end_ms=middle), read(rig, start_ms=middle)]), rig.expected)


def test_ranges_without_bars_are_empty(rig: Rig) -> None:
    times = rig.expected.open_time
    first, last = int(times[0]), int(times[-1])
    step = timeframe_ms(rig.expected.timeframe)
    for start, end in ((first, first), (first - 99 * step, first), (last + step, last + 9 * step)):
        assert not len(read(rig, start_ms=start, end_ms=end))


def test_a_reversed_range_delivers_nothing(rig: Rig) -> None:
    times = rig.expected.open_time
    with contextlib.suppress(UsageError):
        assert not len(read(rig, start_ms=int(times[9]), end_ms=int(times[3])))


def test_asked_twice_it_says_the_same(rig: Rig) -> None:
    assert same(read(rig), read(rig))


def funding(rig: Rig, start_ms: int, end_ms: int) -> tuple[tuple[int, float], ...]:
    assert isinstance(rig.source, FundedSource)
    return tuple(rig.source.funding(rig.expected.symbol, start_ms=start_ms, end_ms=end_ms))


def test_funding_is_told_whole_in_order_and_within_the_range(rig: Rig) -> None:
    if not isinstance(rig.source, FundedSource):
        pytest.skip("this source tells no funding")
    assert funding(rig, START, NOW) == rig.rates
    assert funding(rig, START, NOW) == rig.rates, "asked twice it says the same"
    assert funding(rig, START, START) == ()
    if rig.rates:
        middle = rig.rates[77][0]
        assert funding(rig, START, middle) + funding(rig, middle, NOW) == rig.rates
        assert funding(rig, middle + 1, rig.rates[80][0] + 1) == rig.rates[78:81]


def test_funding_refuses_a_reversed_range_or_tells_nothing(rig: Rig) -> None:
    if not isinstance(rig.source, FundedSource):
        pytest.skip("this source tells no funding")
    with contextlib.suppress(UsageError):
        assert funding(rig, NOW, START) == ()


def test_an_unknown_symbol_is_an_error_that_quotes_it(rig: Rig) -> None:
    if rig.unknown is None:
        pytest.skip("this source makes any symbol")
    with pytest.raises(UnknownSymbolError, match=repr(rig.unknown)):
        list(rig.source.history(rig.unknown, rig.expected.timeframe))


@pytest.mark.parametrize("timeframe", ["7x", "", "h", "0m"])
def test_a_timeframe_that_is_none_is_an_error_that_quotes_it(rig: Rig, timeframe: str) -> None:
    with pytest.raises((BarError, UsageError), match=repr(timeframe)):
        list(rig.source.history(rig.expected.symbol, timeframe))


def test_another_timeframe_is_refused_or_delivered_but_never_mislabelled(rig: Rig) -> None:
    try:
        bars = concat(list(rig.source.history(rig.expected.symbol, "4h")))
    except (UsageError, SourceFormatError):
        return
    assert np.diff(bars.open_time).min() == timeframe_ms("4h")


def test_an_unknown_option_is_an_error_that_lists_the_known_ones(rig: Rig) -> None:
    name = rig.source.name
    with pytest.raises(UsageError, match="'sped'") as caught:
        open_source(name, sped=1)
    assert all(option in str(caught.value) for option in source_options(name))


def test_a_live_source_streams_what_its_history_has(rig: Rig) -> None:
    import asyncio

    source, expected = rig.source, rig.expected
    if not isinstance(source, LiveSource):
        pytest.skip("this source has no stream")

    async def first_bars() -> None:
        since = {expected.symbol: int(expected.open_time[-6])}
        async with listening(source, [expected.symbol], expected.timeframe, since_ms=since) as listener:
            await listener.until(lambda: len(listener.items) >= 5)
            assert [item.bar for item in listener.items] == list(expected[-5:])
            assert {item.provenance for item in listener.items} <= {"received", "backfilled", "replayed"}

    asyncio.run(first_bars())


class _Leaky:
    """A planted source that delivers the open bar, ignores the end, repeats a bar and tells a rate too early."""

    name: ClassVar[str] = "replay"

    def history(
        self, symbol: str, timeframe: str, *, start_ms: int | None = None, end_ms: int | None = None
    ) -> Iterator[Bars]:
        yield MARKET[:1000]
        yield MARKET[999:]

    def funding(self, symbol: str, *, start_ms: int, end_ms: int) -> Iterator[tuple[int, float]]:
        yield from (rate for rate in RATES if rate[0] <= end_ms)


@pytest.mark.parametrize(
    "check",
    [
        test_it_delivers_all_closed_bars_and_no_open_one,
        test_bars_are_sound_and_ascend,
        test_chunks_join_up,
        test_ranges_that_touch_join_without_loss_or_double,
        test_ranges_without_bars_are_empty,
        test_a_range_off_the_grid_is_kept_to_the_millisecond,
        test_funding_is_told_whole_in_order_and_within_the_range,
    ],
)
def test_the_suite_catches_a_leaky_source(check: Callable[[Rig], None]) -> None:
    with pytest.raises((AssertionError, BarError)):
        check(Rig(_Leaky(), CLOSED, rates=RATES))
