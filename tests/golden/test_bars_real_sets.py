"""What the checks and the search for splits say about every real set, as it was judged by hand once.

The golden file holds counts and dates only. In the Borsa Istanbul set: 80 bars of 2023-02-08 (that day's trades were
annulled), 3 bars of 2022-06-27 whose close lies outside low to high, and two absurd lows of 2023-04-06 are bad; 29 rows
with one price and no volume are the source's fillers. Everything else is sound and must stay.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from benchmarks.bars import bist, find, sound

from kalibre.bars.calendars import get_calendar
from kalibre.bars.checks import BarChecker
from kalibre.bars.corporate_actions import detect
from kalibre.bars.gaps import count_missing, find_gaps
from kalibre.core.bars import Bars
from kalibre.sources import open_source

GOLDEN = Path(__file__).with_name("bars_real_sets.json")


def counts(bars: Bars, calendar: str) -> Counter[str]:
    checker = BarChecker(bars.symbol, bars.timeframe, get_calendar(calendar))
    verdicts = [v for bar in bars for v in checker.judge(bar, now_ms=10**13)] + checker.finish()
    settled = Counter(" ".join([v.action, *v.reasons]) for v in verdicts if v.action != "hold")
    settled["waiting"] = len(checker.held)
    return +settled


@pytest.fixture(scope="module")
def golden() -> dict[str, object]:
    read: dict[str, object] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return read


@pytest.mark.real_data
def test_borsa_istanbul(shared_data: Path, golden: dict[str, object]) -> None:
    total = Counter[str]()
    actions = []
    for bars in bist():
        total += counts(bars, "XIST")
        for time, action in find(sound(bars)):
            day = datetime.fromtimestamp(time / 1000, tz=UTC).strftime("%Y-%m-%d")
            actions.append([bars.symbol, day, action.status, round(action.factor, 4)])
    assert {"verdicts": dict(sorted(total.items())), "actions": actions} == golden["bist"]


@pytest.mark.real_data
def test_hourly_bitcoin(shared_data: Path, golden: dict[str, object]) -> None:
    import polars as pl

    frame = pl.read_parquet(shared_data / "market" / "crypto" / "BTCUSDT_spot_1h_2017_2024.parquet")
    bars = Bars.from_frame(frame, symbol="BTCUSDT", timeframe="1h")
    gaps = find_gaps(bars, get_calendar("24/7"))
    found = {"verdicts": dict(counts(bars, "24/7")), "gaps": len(gaps), "missing": count_missing(gaps)}
    found["longest"] = max(gap.missing_bars for gap in gaps)
    assert found == golden["btc_1h"]


def test_samples_that_ship(golden: dict[str, object]) -> None:
    """Apple's daily bars are adjusted: not one action, though a night of 2000 took 45 % and one of 1987 a fifth."""
    sample = open_source("sample")
    found = {}
    for symbol, timeframe, calendar in (("EURUSD", "1h", "forex"), ("AAPL", "1d", "XNYS"), ("AAPL", "1m", "XNYS")):
        chunks = list(sample.history(symbol, timeframe))
        bars = Bars.from_rows(symbol, timeframe, [bar for chunk in chunks for bar in chunk])
        found[f"{symbol} {timeframe}"] = dict(counts(bars, calendar))
        if timeframe == "1d":
            assert detect(bars, daily_limit=None) == []
    assert found == golden["samples"]
