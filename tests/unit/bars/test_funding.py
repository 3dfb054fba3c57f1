"""Funding: what a source tells becomes events once and whole, and every rate is paid by exactly one bar."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalibre.bars.funding import MAX_RATE, fetch_funding, funding_by_bar, load_funding, missing_funding
from kalibre.core.bars import Bars
from kalibre.core.errors import SourceFormatError, UsageError
from kalibre.core.events import Funding, new_event
from kalibre.core.protocols import FundedSource
from kalibre.log import open_log
from kalibre.sources import open_source

HOUR = 3_600_000
START = 1_704_067_200_000
END = START + 1_000 * HOUR
RATES = [(START + 8 * k * HOUR, 1e-4 * (k % 5 - 2)) for k in range(1, 20)]


class Told:
    """A source that tells the rates it was given, and remembers what it was asked."""

    name: ClassVar[str] = "told"

    def __init__(self, rates: Sequence[tuple[Any, Any]]) -> None:
        self.rates = list(rates)
        self.asked: list[tuple[int, int]] = []

    def history(
        self, symbol: str, timeframe: str, *, start_ms: int | None = None, end_ms: int | None = None
    ) -> Iterator[Bars]:
        yield from ()

    def funding(self, symbol: str, *, start_ms: int, end_ms: int) -> Iterator[tuple[int, float]]:
        self.asked.append((start_ms, end_ms))
        yield from ((time, rate) for time, rate in self.rates if start_ms <= time < end_ms)


class Careless(Told):
    """It tells everything it has, whatever was asked."""

    def funding(self, symbol: str, *, start_ms: int, end_ms: int) -> Iterator[tuple[int, float]]:
        yield from self.rates


@pytest.fixture
def log(tmp_path):
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as opened:
        yield opened


def fetch(log: Any, source: Any, *, store: bool = True, **options: Any) -> list[tuple[int, float]]:
    events = fetch_funding(log, source, "BTCUSDT", **{"start_ms": START, "end_ms": END, **options})
    if store:
        log.append(events, writer="ingest")
    return [(event.event_time, event.payload.rate) for event in events]


def make_bars(open_times: Sequence[int], timeframe: str = "1h") -> Bars:
    price = np.full(len(open_times), 10.0)
    return Bars("BTCUSDT", timeframe, np.array(open_times, dtype=np.int64), price, price, price, price, price)


def test_what_is_told_is_stored_once(log):
    source = Told(RATES)
    assert isinstance(source, FundedSource)
    assert fetch(log, source) == RATES
    assert fetch(log, source) == []
    assert source.asked == [(START, END), (START, RATES[0][0]), (RATES[-1][0] + 1_000, END)]
    stored = log.read(kinds={"funding"}, key="BTCUSDT")
    assert [(event.event_time, event.revision, event.provenance) for event in stored] == [
        (time, 0, "backfilled") for time, _ in RATES
    ]


def test_an_earlier_start_a_later_end_and_a_hole_between_are_asked_for(log):
    source = Told(RATES)
    assert fetch(log, source, start_ms=RATES[8][0], end_ms=RATES[10][0]) == RATES[8:10]
    assert fetch(log, source, start_ms=RATES[14][0], end_ms=RATES[16][0]) == RATES[14:16]
    source.asked.clear()
    assert fetch(log, source) == [*RATES[:8], *RATES[10:14], *RATES[16:]]
    assert source.asked == [
        (START, RATES[8][0]),
        (RATES[9][0] + 1_000, RATES[14][0]),
        (RATES[15][0] + 1_000, END),
    ]


def test_a_market_that_settles_daily_is_asked_in_one_go(log):
    daily = [(START + 24 * k * HOUR, 1e-4) for k in range(1, 30)]
    source = Told(daily)
    fetch(log, source)
    assert fetch(log, source) == []
    assert source.asked[1:] == [(START, END)]


def test_settlements_are_kept_to_the_second_so_a_stamp_that_wanders_is_no_new_one(log):
    assert fetch(log, Told([(START + 8 * HOUR + 1, 1e-4)])) == [(START + 8 * HOUR, 1e-4)]
    assert fetch(log, Told([(START + 8 * HOUR + 7, 1e-4)]), refresh=True) == []


@pytest.mark.parametrize("source", [Told([]), open_source("sample"), open_source("simulated")])
def test_a_source_without_funding_gives_none(log, source):
    assert fetch(log, source) == []


@pytest.mark.parametrize("rate", [math.nan, math.inf, -math.inf, 0.11, -0.2, 1e6, None, "0.0001", True])
def test_a_rate_that_is_none_is_quoted_and_nothing_is_stored(log, rate):
    told = [*RATES[:3], (RATES[3][0], rate), *RATES[4:]]
    with pytest.raises(SourceFormatError, match=rf"{rate!r}.*{RATES[3][0]}.*nothing was stored"):
        fetch(log, Told(told))
    assert log.head() == 0


def test_the_bound_itself_is_a_rate(log):
    assert fetch(log, Told([(START + HOUR, MAX_RATE), (START + 2 * HOUR, -MAX_RATE)]))


@pytest.mark.parametrize(
    ("told", "quoted"),
    [
        ([RATES[1], RATES[0]], "oldest first"),
        ([RATES[0], (RATES[0][0] + 3, 0.002)], "stands beside the rate -0.0001"),
        ([(START // 1_000 + 8 * 3_600, 1e-4)], "UTC milliseconds"),
        ([(END, 1e-4)], "outside the range"),
    ],
)
def test_backward_double_and_foreign_settlements_are_quoted_and_nothing_is_stored(log, told, quoted):
    with pytest.raises(SourceFormatError, match=quoted) as caught:
        fetch(log, Careless(told))
    assert str(told[-1][1]) in str(caught.value)
    assert str(told[-1][0]) in str(caught.value)
    assert log.head() == 0


def test_the_same_rate_told_twice_is_one(log):
    assert fetch(log, Careless([RATES[0], RATES[0], RATES[1]])) == RATES[:2]


def test_a_correction_is_announced_and_becomes_a_revision(log, caplog):
    fetch(log, Told(RATES))
    corrected = [(RATES[0][0], 0.00042), *RATES[1:]]
    with caplog.at_level(logging.WARNING):
        assert fetch(log, Told(corrected), refresh=True) == corrected[:1]
    assert "-0.0001" in caplog.text
    assert "0.00042" in caplog.text
    newest = log.read(kinds={"funding"}, key="BTCUSDT", newest_revision=True, end_ms=RATES[0][0] + 1)
    assert [(event.revision, event.payload.rate) for event in newest] == [(1, 0.00042)]


def test_a_reversed_range_is_refused(log):
    with pytest.raises(UsageError, match="before it starts"):
        fetch(log, Told(RATES), start_ms=END, end_ms=START)


def test_a_log_without_rates_for_these_bars_loads_none(log):
    bars = make_bars([START + k * HOUR for k in range(24)])
    assert load_funding(log, bars) is None
    log.append([new_event("ETHUSDT", START + 8 * HOUR, Funding(rate=0.001))], writer="ingest")
    log.append([new_event("BTCUSDT", START + 25 * HOUR, Funding(rate=0.001))], writer="ingest")
    assert load_funding(log, bars) is None
    assert load_funding(log, bars[:0]) is None


def test_the_bar_that_closes_at_the_settlement_pays_and_the_newest_revision_counts(log):
    fetch(log, Told([(START + 8 * HOUR + 1, 0.001), (START + 24 * HOUR + 4, 0.004)]))
    fetch(log, Told([(START + 8 * HOUR, 0.002)]), refresh=True)
    column = load_funding(log, make_bars([START + k * HOUR for k in range(24)]))
    assert column is not None
    assert {int(t): column[t] for t in np.flatnonzero(column)} == {7: 0.002, 23: 0.004}


def test_rates_that_another_writer_stamped_late_count_to_the_second(log):
    log.append([new_event("BTCUSDT", START + 24 * HOUR + 16, Funding(rate=0.003))], writer="elsewhere")
    log.append([new_event("BTCUSDT", START + 8 * HOUR + 5, Funding(rate=0.001))], writer="elsewhere")
    log.append([new_event("BTCUSDT", START + 8 * HOUR, Funding(rate=0.002))], writer="ingest")
    column = load_funding(log, make_bars([START + k * HOUR for k in range(24)]))
    assert column is not None
    assert {int(t): column[t] for t in np.flatnonzero(column)} == {7: 0.002, 23: 0.003}


def test_a_settlement_at_the_first_open_was_paid_by_whoever_held_before(log):
    fetch(log, Told([(START + 8 * HOUR, 0.001)]))
    assert load_funding(log, make_bars([START + k * HOUR for k in range(8, 20)])) is None


def test_stretches_without_any_rate_are_named(log):
    bars = make_bars([START + k * HOUR for k in range(240)])
    assert missing_funding(log, bars) == []
    assert missing_funding(log, bars[:0]) == []
    rates = [(START + 8 * k * HOUR, 1e-4) for k in range(1, 31)]
    fetch(log, Told([*rates[5:12], *rates[16:]]))
    assert missing_funding(log, bars) == [(START, rates[5][0]), (rates[11][0], rates[16][0])]
    fetch(log, Told(rates))
    assert missing_funding(log, bars) == []


def test_a_rate_of_zero_is_recorded_and_a_daily_settlement_is_no_gap(log):
    bars = make_bars([START + k * HOUR for k in range(240)])
    fetch(log, Told([(START + 24 * k * HOUR, 0.0) for k in range(1, 11)]))
    assert missing_funding(log, bars) == []


@st.composite
def series_and_rates(draw: st.DrawFn) -> tuple[Bars, list[tuple[int, float]]]:
    """Bars with holes, and rates at whole seconds anywhere from the first open to the last close."""
    steps = draw(st.lists(st.integers(1, 30), min_size=1, max_size=25))
    bars = make_bars([START + HOUR * int(k) for k in np.cumsum([0, *steps])])
    seconds = st.integers(int(bars.open_time[0]) // 1_000 + 1, int(bars.close_time[-1]) // 1_000)
    times = draw(st.lists(seconds, unique=True, max_size=30))
    # Multiples of a power of two: their sums are exact, so the law is an equality.
    rates = draw(st.lists(st.integers(-800, 800), min_size=len(times), max_size=len(times)))
    return bars, [(1_000 * time, rate / 2**16) for time, rate in zip(sorted(times), rates, strict=True)]


@given(series_and_rates())
def test_every_rate_is_paid_by_exactly_one_bar(drawn):
    bars, rates = drawn
    column = funding_by_bar(rates, bars)
    assert column.sum() == sum(rate for _, rate in rates)
    payers = [np.flatnonzero(funding_by_bar([(time, 0.01)], bars)).tolist() for time, _ in rates]
    assert all(len(rows) == 1 for rows in payers)
    for (time, _), (row,) in zip(rates, payers, strict=True):
        assert time <= bars.close_time[row]
        before = bars.close_time[row - 1] if row else bars.open_time[0]
        assert time > before, "an earlier bar should have paid it"
        if time <= bars.open_time[row]:
            assert bars.open_time[row] > before, "only what was settled in a hole is paid by a later bar"


@given(series_and_rates(), st.integers(1, 24))
def test_what_a_bar_pays_is_known_at_its_close(drawn, cut):
    """Prefix: a longer history, and later rates, change nothing of what earlier bars pay."""
    bars, rates = drawn
    head = bars[: min(cut, len(bars))]
    known = [(time, rate) for time, rate in rates if time <= head.close_time[-1]]
    np.testing.assert_array_equal(funding_by_bar(known, head), funding_by_bar(rates, bars)[: len(head)])
