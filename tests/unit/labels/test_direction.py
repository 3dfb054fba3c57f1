"""Direction: the sign of the return, by hand, at the edges, and over holes."""

from __future__ import annotations

import numpy as np
import pytest

from kalibre.core.bars import Bars
from kalibre.core.errors import BarError, LabelError
from kalibre.labels.direction import Direction

HOUR = 3_600_000


class AroundTheClock:
    """A calendar on which every hour should have had a bar."""

    def expected_opens(self, timeframe: str, start_ms: int, end_ms: int) -> np.ndarray:
        return np.arange(start_ms, end_ms, HOUR)


def series(close: list[float], hours: list[int] | None = None) -> Bars:
    price = np.array(close)
    times = np.arange(len(close)) if hours is None else np.array(hours)
    return Bars("X", "1h", times * HOUR, price, price, price, price, np.ones(len(close)))


def test_rise_fall_and_unchanged():
    y, known = Direction(horizon_bars=2).compute(series([5, 5, 6, 4, 6, 4]))
    np.testing.assert_array_equal(y, [1, 0, 0, 0, np.nan, np.nan])
    np.testing.assert_array_equal(known, [2, 3, 4, 5, -1, -1])


def test_an_unchanged_close_is_not_above():
    y, _ = Direction(horizon_bars=1).compute(series([3, 3, 3]))
    assert y[:2].tolist() == [0, 0]


def test_a_horizon_over_a_hole_is_unknown():
    bars = series([1, 2, 3, 4, 5, 6], hours=[0, 1, 2, 35, 36, 37])
    y, known = Direction(horizon_bars=2, calendar=AroundTheClock()).compute(bars)
    np.testing.assert_array_equal(known, [2, -1, -1, 5, -1, -1])
    np.testing.assert_array_equal(y, [1, np.nan, np.nan, 1, np.nan, np.nan])


def test_without_a_calendar_rows_are_counted():
    bars = series([1, 2, 3, 4], hours=[0, 1, 40, 41])
    _, known = Direction(horizon_bars=2).compute(bars)
    assert known.tolist() == [2, 3, -1, -1]


def test_a_bar_the_calendar_does_not_expect_breaks_no_horizon():
    class Evens:
        def expected_opens(self, timeframe, start_ms, end_ms):
            return np.arange(start_ms, end_ms, 2 * HOUR)

    bars = series([1, 2, 3, 4], hours=[0, 1, 2, 4])
    _, known = Direction(horizon_bars=1, calendar=Evens()).compute(bars)
    assert known.tolist() == [1, 2, 3, -1]


@pytest.mark.parametrize("length", [0, 1, 3])
def test_fewer_bars_than_the_horizon_leave_all_unknown(length):
    y, known = Direction(horizon_bars=3).compute(series([1.0] * length))
    assert np.isnan(y).all()
    assert (known == -1).all()


@pytest.mark.parametrize("horizon", [0, -1, 1.5, True])
def test_a_horizon_that_is_none_is_quoted(horizon):
    with pytest.raises(LabelError, match=repr(horizon)):
        Direction(horizon_bars=horizon)


def test_bars_that_are_none_are_refused():
    with pytest.raises(BarError, match="row 1 is no bar"):
        Direction(horizon_bars=1).compute(series([1, float("nan"), 2]))


@pytest.mark.real_data
def test_real_holes_leave_no_label_behind(shared_data):
    import polars as pl

    from kalibre.bars.calendars import get_calendar

    frame = pl.read_parquet(shared_data / "market/crypto/BTCUSDT_spot_1h_2017_2024.parquet")
    bars = Bars.from_frame(frame, symbol="BTCUSDT", timeframe="1h")
    bars = bars[np.concatenate([[True], np.diff(bars.open_time) > 0])]
    y, known = Direction(horizon_bars=4, calendar=get_calendar("24/7")).compute(bars)
    certain = known >= 0
    assert (bars.open_time[known[certain]] - bars.open_time[certain] == 4 * HOUR).all()
    holes = np.flatnonzero(np.diff(bars.open_time) > HOUR)
    assert len(holes) == 28
    lost = np.unique(np.concatenate([np.arange(max(at - 3, 0), at + 1) for at in holes]))
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(y))[:-4], lost)
