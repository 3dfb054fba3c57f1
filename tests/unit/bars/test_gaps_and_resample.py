"""Gaps by the calendar, and higher bars that are complete or not at all."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.bars.test_checks import STEP, walk

from kalibre.bars.calendars import get_calendar
from kalibre.bars.gaps import count_missing, find_gaps
from kalibre.bars.resample import incomplete_opens, resample
from kalibre.core.bars import Bars
from kalibre.core.errors import BarError
from kalibre.core.timeframe import DAY_MS

CRYPTO, XIST = get_calendar("24/7"), get_calendar("XIST")


def series(n: int, start: int = 0) -> Bars:
    return Bars.from_rows("X", "15m", walk(n, start=start))


def at(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp()) * 1000  # type: ignore[misc, arg-type]


def on(calendar_opens: np.ndarray, timeframe: str) -> Bars:  # type: ignore[type-arg]
    rows = Bars.from_rows("THYAO", timeframe, walk(len(calendar_opens)))
    columns = {name: getattr(rows, name) for name in ("open", "high", "low", "close", "volume")}
    return Bars(symbol="THYAO", timeframe=timeframe, open_time=calendar_opens, **columns)


@pytest.mark.real_data
def test_the_hourly_set_has_28_gaps_and_128_missing_bars(shared_data: Path) -> None:
    import polars as pl

    frame = pl.read_parquet(shared_data / "market" / "crypto" / "BTCUSDT_spot_1h_2017_2024.parquet")
    gaps = find_gaps(Bars.from_frame(frame, symbol="BTCUSDT", timeframe="1h"), CRYPTO)
    assert (len(gaps), count_missing(gaps), max(gap.missing_bars for gap in gaps)) == (28, 128, 33)


@given(st.sets(st.integers(1, 98), max_size=60))
def test_gaps_are_exactly_what_was_taken_out(removed: set[int]) -> None:
    whole = series(100)
    kept = whole[np.array([i not in removed for i in range(100)])]
    gaps = find_gaps(kept, CRYPTO)
    told = {t // STEP for gap in gaps for t in range(gap.start_ms, gap.end_ms, STEP)}
    assert told == removed
    assert all(later.start_ms > gap.end_ms for gap, later in itertools.pairwise(gaps))  # joined where they touch


def test_a_gap_may_reach_over_a_night() -> None:
    opens = XIST.expected_opens("1h", at(2024, 4, 1), at(2024, 4, 6))
    kept = np.delete(opens, [6, 7, 8, 9])  # the last two hours of a day and the first two of the next
    [gap] = find_gaps(on(kept, "1h"), XIST)
    assert (gap.missing_bars, gap.start_ms, gap.end_ms) == (4, int(opens[6]), int(opens[9]) + 3_600_000)


def test_a_range_counts_from_its_ends() -> None:
    gaps = find_gaps(series(10, start=5), CRYPTO, start_ms=0, end_ms=20 * STEP)
    assert [(gap.start_ms // STEP, gap.missing_bars) for gap in gaps] == [(0, 5), (15, 5)]


@given(st.sets(st.integers(0, 95), max_size=20), st.sampled_from(["30m", "1h", "4h", "1d"]))
def test_resampled_bars_are_complete_and_right(removed: set[int], timeframe: str) -> None:
    whole = series(96)
    kept = whole[np.array([i not in removed for i in range(96)])]
    higher = resample(kept, timeframe)
    many = higher.step_ms // STEP
    full = [k for k in range(96 // many) if not removed & set(range(k * many, (k + 1) * many))]
    assert higher.open_time.tolist() == [k * many * STEP for k in full]
    for row, k in enumerate(full):
        part = whole[k * many : (k + 1) * many]
        assert higher.open[row] == part.open[0]
        assert higher.close[row] == part.close[-1]
        assert higher.high[row] == part.high.max()
        assert higher.low[row] == part.low.min()
        assert higher.volume[row] == pytest.approx(part.volume.sum())
    partial = {i // many for i in set(range(96)) - removed} - set(full)
    assert incomplete_opens(kept, timeframe).tolist() == [k * many * STEP for k in sorted(partial)]


@given(st.integers(0, 400), st.integers(1, 400))
def test_resampling_looks_at_no_later_bar(start: int, n: int) -> None:
    whole = series(800)
    all_bars, part = resample(whole, "4h"), resample(whole[start : start + n], "4h")
    places = np.searchsorted(all_bars.open_time, part.open_time)
    np.testing.assert_array_equal(part.close, all_bars.close[places])
    assert (part.close_time <= whole.close_time[min(start + n, 800) - 1]).all()


def test_twice_is_once() -> None:
    bars = series(960)
    twice, once = resample(resample(bars, "1h"), "4h"), resample(bars, "4h")
    np.testing.assert_array_equal(twice.open_time, once.open_time)
    np.testing.assert_array_equal(twice.high, once.high)
    np.testing.assert_allclose(twice.volume, once.volume)


def test_sessions_make_daily_bars_and_a_half_day_is_complete() -> None:
    opens = XIST.expected_opens("15m", at(2024, 4, 8), at(2024, 4, 16))  # Monday, half a Tuesday, feast, Monday
    bars = on(opens, "15m")
    daily = resample(bars, "1d", XIST)
    assert [time // DAY_MS * DAY_MS for time in daily.open_time.tolist()] == [
        at(2024, 4, 8),
        at(2024, 4, 9),
        at(2024, 4, 15),
    ]
    assert daily.volume.tolist() == [320.0, 100.0, 320.0]
    hours = resample(bars, "4h", XIST)
    assert [datetime.fromtimestamp(t / 1000, UTC).strftime("%d %H") for t in hours.open_time.tolist()] == [
        "08 07", "08 11", "09 07", "15 07", "15 11",
    ]  # fmt: skip
    assert resample(bars[:-1], "1d", XIST).open_time.tolist() == daily.open_time.tolist()[:2]


def test_auctions_join_the_session() -> None:
    opens = XIST.expected_opens("15m", at(2024, 4, 8), at(2024, 4, 9))
    with_auctions = np.concatenate([[opens[0] - 15 * 60_000], opens, [opens[-1] + 15 * 60_000]])
    bars = on(with_auctions, "15m")
    [day] = list(resample(bars, "1d", XIST))
    assert (day.open, day.close, day.volume) == (bars.open[0], bars.close[-1], 340.0)
    first, last = list(resample(bars, "4h", XIST))
    assert (first.open, last.close, first.volume + last.volume) == (bars.open[0], bars.close[-1], 340.0)


def test_optional_columns_are_summed() -> None:
    bars = series(8)
    from dataclasses import replace

    bars = replace(bars, quote_volume=np.arange(8.0), trades=np.ones(8), taker_buy_volume=np.full(8, 2.0))
    hour = resample(bars, "1h")
    assert hour.quote_volume is not None
    assert hour.trades is not None
    assert hour.taker_buy_volume is not None
    assert (hour.quote_volume.tolist(), hour.trades.tolist()) == ([6.0, 22.0], [4.0, 4.0])
    assert hour.taker_buy_volume.tolist() == [8.0, 8.0]


def test_what_cannot_be_resampled_says_why() -> None:
    with pytest.raises(BarError, match="20m is not a whole multiple of 15m"):
        resample(series(10), "20m")
    with pytest.raises(BarError, match="do not rise"):
        resample(series(10)[::-1], "1h")
    assert len(resample(series(0), "1h")) == 0
    assert len(resample(series(2), "1h")) == 0
