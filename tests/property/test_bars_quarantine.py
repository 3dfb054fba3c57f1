"""Every corrupt bar is quarantined with its reason, leaves no trace in the state, and costs no sound bar."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.corrupt_bars import EXTRA, INSTEAD, Outcome, plant, play
from tests.unit.bars.test_checks import STEP, walk

from kalibre.bars.calendars import get_calendar
from kalibre.bars.checks import BarChecker, Verdict
from kalibre.core.bars import Bar, Bars
from kalibre.core.timeframe import timeframe_ms

CRYPTO = get_calendar("24/7")
KINDS = [*EXTRA, *INSTEAD, "late", "mixed timeframe"]


def check(outcome: Outcome) -> None:
    assert not outcome.missed
    assert not outcome.other_reason
    assert not outcome.state_changed
    assert not outcome.sound_lost
    assert outcome.sound_accepted == outcome.sound
    assert outcome.caught.total() == outcome.planted.total() - outcome.planted["late"]


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10**6),
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=12),
    st.floats(0.0005, 0.008),
)
def test_any_mixture_of_corrupt_bars(seed: int, kinds: list[str], sigma: float) -> None:
    bars = walk(420, sigma=sigma, seed=seed % 97)
    feed = plant(bars, STEP, np.random.default_rng(seed), count=30, kinds=kinds)
    assert sum(bool(delivery.kind) for delivery in feed) >= 30
    check(play(feed, "X", "15m", CRYPTO))


def test_ten_thousand_corrupt_bars() -> None:
    bars = walk(32_000, sigma=0.002, start=10**6)
    feed = plant(bars, STEP, np.random.default_rng(7), count=10_400)
    outcome = play(feed, "X", "15m", CRYPTO)
    assert outcome.caught.total() >= 10_000
    assert set(outcome.planted) == set(KINDS)
    check(outcome)


@pytest.mark.real_data
def test_corrupt_bars_in_real_series_with_a_crash_in_them(shared_data: Path) -> None:
    import polars as pl

    frame = pl.read_parquet(shared_data / "market" / "crypto" / "BTCUSDT_spot_1h_2017_2024.parquet")
    march_2020 = frame.slice(18_000, 6_000)
    bars = Bars.from_frame(march_2020, symbol="BTCUSDT", timeframe="1h")
    feed = plant(list(bars), timeframe_ms("1h"), np.random.default_rng(11), count=1_200)
    check(play(feed, "BTCUSDT", "1h", CRYPTO))


@pytest.mark.real_data
@pytest.mark.parametrize("file", ["SOLUSDT_perp_30m_1095d_to_2025-06", "BTCUSDT_spot_1m_2024-12"])
def test_no_sound_real_bar_is_lost(shared_data: Path, file: str) -> None:
    import polars as pl

    frame = pl.read_parquet(shared_data / "market" / "crypto" / f"{file}.parquet")
    symbol, _, timeframe = file.split("_")[:3]
    checker = BarChecker(symbol, timeframe, CRYPTO)
    bars = Bars.from_frame(frame, symbol=symbol, timeframe=timeframe)
    verdicts = [v for bar in bars for v in checker.judge(bar, now_ms=10**13)]
    assert {v.action for v in verdicts} == {"hold", "accept"}
    assert sum(v.action == "accept" for v in verdicts) + len(checker.held) == len(bars)


def test_a_checker_that_believes_everything_is_found_out() -> None:
    """Plant the failure that these tests exist for."""

    class Gullible(BarChecker):
        def judge(
            self,
            bar: Bar,
            *,
            now_ms: int,
            trusted: bool = False,
            symbol: str | None = None,
            timeframe: str | None = None,
        ) -> list[Verdict]:
            if bar.volume < 0 and bar.open > 0:
                self.prime([bar])
                return [Verdict(bar, "accept")]
            return super().judge(bar, now_ms=now_ms, trusted=trusted, symbol=symbol, timeframe=timeframe)

    feed = plant(walk(420), STEP, np.random.default_rng(1), count=10, kinds=["negative volume"])
    import tests.fakes.corrupt_bars as harness

    original = harness.BarChecker
    harness.BarChecker = Gullible  # type: ignore[misc]
    try:
        outcome = play(feed, "X", "15m", CRYPTO)
    finally:
        harness.BarChecker = original  # type: ignore[misc]
    assert outcome.missed["negative volume"] == 10
    with pytest.raises(AssertionError):
        check(outcome)
