"""Splits: planted ones are found to the day, limit moves and crashes are not taken for them, factors undo them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks.bars import crash_at, split_at
from hypothesis import given
from hypothesis import strategies as st

from kalibre.bars.calendars import get_calendar
from kalibre.bars.corporate_actions import AFTER, DatedAction, adjust, detect, usual_factors
from kalibre.core.bars import Bars
from kalibre.core.errors import BarError
from kalibre.core.events import CorporateAction

DAYS = get_calendar("XIST").expected_opens("1d", 1_577_836_800_000, 1_704_067_200_000)
RATIOS = (2, 3, 5, 10, 10.8, 11, 100, 1.5, 2.5, 1.75, 2.332, 1 / 2, 1 / 5, 1 / 10)


def market(seed: int = 1, n: int = 300) -> Bars:
    """Daily bars of a lively share: overnight gaps, moves cut at the limit, volume that doubles and halves."""
    rng = np.random.default_rng(seed)
    night, day = rng.standard_t(4, n) * 0.007, rng.standard_t(4, n) * 0.02
    day = np.clip(night + day, np.log(0.9), np.log(1.1)) - night
    close = 50 * np.exp(np.cumsum(night + day))
    open_ = close / np.exp(day)
    high, low = np.maximum(open_, close) * 1.002, np.minimum(open_, close) * 0.998
    volume = 1e6 * np.exp(rng.normal(0, 0.6, n))
    return Bars("X", "1d", DAYS[:n], open_, high, low, close, volume)


@given(st.integers(0, 50), st.integers(20, 290), st.sampled_from(RATIOS))
def test_every_planted_split_is_found_to_the_day(seed: int, t: int, factor: float) -> None:
    bars = split_at(market(seed), t, factor)
    found = detect(bars)
    assert [(one.event_time, one.action.status) for one in found] == [(int(bars.open_time[t]), "confirmed")]
    # Which factor it was the night's own move blurs: within ten percent it must be right.
    assert abs(np.log(found[0].action.factor / factor)) < 0.1


@given(st.integers(0, 50), st.integers(20, 280), st.integers(1, 5), st.sampled_from([-0.0999, -0.095, 0.0999]))
def test_limit_moves_are_no_splits(seed: int, t: int, days: int, move: float) -> None:
    rng = np.random.default_rng(seed)
    assert detect(crash_at(market(seed), t, days, move, rng)) == []


def test_without_a_limit_a_crash_is_no_split_but_most_splits_are() -> None:
    found = 0
    for seed in range(30):
        bars, t = market(seed), 60 + 7 * seed
        scale = np.where(np.arange(len(bars)) < t, 1 / 0.52, 1.0)  # a night that took nearly half, and a rush to sell
        volume = bars.volume.copy()
        volume[t : t + AFTER] *= 7
        fields = {name: getattr(bars, name) * scale for name in ("open", "high", "low", "close")}
        fields["low"][t] *= 0.93
        assert detect(replace(bars, **fields, volume=volume), daily_limit=None) == []
        split = detect(split_at(bars, t, 5.0), daily_limit=None)
        found += [(one.event_time, one.action.factor) for one in split] == [(int(bars.open_time[t]), 5.0)]
    assert found >= 24  # a night that moved by itself hides some; nothing here says that it could not have


def test_a_long_feast_allows_no_more_than_one_session() -> None:
    bars = split_at(market(4), 145, 1.5)
    assert bars.open_time[145] - bars.open_time[144] == 5 * 86_400_000  # the feast of sacrifice, 2020
    calendar = get_calendar("XIST")
    assert [one.event_time for one in detect(bars, calendar=calendar)] == [int(bars.open_time[145])]


def test_a_missed_session_allows_the_limit_twice() -> None:
    bars = market(3)
    t = 100
    kept = np.delete(np.arange(len(bars)), t)
    scale = np.where(np.arange(len(bars)) < t, 1 / 0.82, 1.0) * bars.close[t] / bars.close[t - 1]
    fields = {name: (getattr(bars, name) * scale)[kept] for name in ("open", "high", "low", "close")}
    gapped = replace(bars, open_time=bars.open_time[kept], volume=bars.volume[kept], **fields)
    assert detect(gapped) == []


def test_later_bars_never_change_a_finding() -> None:
    bars = split_at(market(5), 150, 3.0)
    first = detect(bars[: 150 + AFTER])
    assert detect(bars) == first
    assert len(first) == 1
    assert detect(bars[: 150 + AFTER - 1]) == []


def test_an_impossible_move_that_is_no_factor_is_left_to_a_person() -> None:
    bars = market(6)
    scale = np.where(np.arange(len(bars)) < 100, 1.0, 1.31)  # upwards by a third: a repaired price, not a split
    fields = {name: getattr(bars, name) * scale for name in ("open", "high", "low", "close")}
    [one] = detect(replace(bars, **fields))
    assert one.action.status == "detected"
    assert "no usual factor" in one.action.evidence


@given(st.integers(25, 270), st.sampled_from(RATIOS))
def test_adjusting_undoes_a_split(t: int, factor: float) -> None:
    bars = market(7)
    split = split_at(bars, t, factor)
    action = DatedAction(int(bars.open_time[t]), CorporateAction(factor=factor, status="confirmed"))
    undone = adjust(split, [action])
    for name in ("open", "high", "low", "close", "volume"):
        np.testing.assert_allclose(getattr(undone, name), getattr(bars, name), rtol=1e-12)
    forward = adjust(split, [action], forward=True)
    np.testing.assert_array_equal(forward.close[:t], split.close[:t])  # nothing that was known has changed
    np.testing.assert_allclose(np.diff(np.log(forward.close)), np.diff(np.log(bars.close)), atol=1e-9)


def test_a_factor_counts_from_its_event_on() -> None:
    bars = split_at(market(8), 100, 2.0)
    action = DatedAction(int(bars.open_time[100]), CorporateAction(factor=2.0, status="confirmed"))
    before = adjust(bars[:100], [action])
    np.testing.assert_array_equal(before.close, bars.close[:100])
    np.testing.assert_array_equal(adjust(bars, [action], as_of_ms=int(bars.open_time[99])).close, bars.close)
    assert adjust(bars, [action]).close[0] == bars.close[0] / 2


def test_only_daily_bars_are_searched() -> None:
    with pytest.raises(BarError, match="15m bars"):
        detect(replace(market(), timeframe="15m"))
    assert detect(market(n=5)) == []


def test_usual_factors_hold_each_ratio_once_and_prefer_the_simple() -> None:
    factors = usual_factors()
    assert factors[2.0] > factors[2.1]
    assert all(factor > 0 and factor != 1 for factor in factors)


@pytest.mark.real_data
def test_the_borsa_istanbul_set_holds_the_split_of_coca_cola_icecek(shared_data: Path) -> None:
    import polars as pl

    frame = pl.read_parquet(shared_data / "market" / "bist" / "bist92_daily_2021_2025-06.parquet")
    one = frame.filter(pl.col("ticker") == "CCOLA").rename({"date": "open_time"}).sort("open_time")
    [found] = detect(Bars.from_frame(one, symbol="CCOLA", timeframe="1d"))
    assert (found.event_time, found.action.factor, found.action.status) == (1_722_470_400_000, 11.0, "confirmed")
