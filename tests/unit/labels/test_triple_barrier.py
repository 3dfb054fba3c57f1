"""Triple barrier: against a plain loop over paths, and bar by bar where order within a bar is unknown."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.fakes.models import random_bars

from kalibre.core.bars import Bars
from kalibre.core.errors import LabelError
from kalibre.labels.triple_barrier import TripleBarrier, trailing_volatility

HOUR = 3_600_000
WARM = [100.0, 101.0, 100.0]
"""Closes that give a volatility: log returns of +-0.995 %, deviation 1.407 %."""
MOVE = float(np.std(np.diff(np.log(WARM)), ddof=1))


def after_warm(*rows: tuple[float, float, float, float], hours: list[int] | None = None) -> Bars:
    """Return bars with barriers at row 2 of 100 * exp(+-MOVE * sqrt(horizon)), then rows of open, high, low, close."""
    table = np.array([(c, c, c, c) for c in WARM] + list(rows))
    times = np.arange(len(table)) if hours is None else np.array(hours)
    return Bars("X", "1h", times * HOUR, *table.T, np.ones(len(table)))


def label_of_row_2(bars: Bars, horizon: int = 3) -> tuple[float, int]:
    y, known = TripleBarrier(horizon_bars=horizon, volatility_window=2).compute(bars)
    return y[2], int(known[2])


UP, DOWN = 100 * math.exp(MOVE * math.sqrt(3)), 100 * math.exp(-MOVE * math.sqrt(3))


def test_the_upper_barrier_touched_first_is_up_and_known_at_once():
    assert label_of_row_2(after_warm((100, UP + 0.1, 99.9, 100), (100, 100, DOWN - 1, 99))) == (1.0, 3)


def test_the_lower_barrier_touched_first_is_down():
    assert label_of_row_2(after_warm((100, 100, 99.9, 100), (100, 100, DOWN - 1, 99))) == (0.0, 4)


def test_both_within_one_bar_count_against_the_long_side():
    assert label_of_row_2(after_warm((100, UP + 1, DOWN - 1, 100))) == (0.0, 3)


def test_an_open_beyond_the_upper_barrier_proves_the_order():
    assert label_of_row_2(after_warm((UP + 1, UP + 2, DOWN - 1, 100))) == (1.0, 3)


def test_an_open_beyond_the_lower_barrier_proves_the_order():
    assert label_of_row_2(after_warm((DOWN - 1, UP + 2, DOWN - 2, 100))) == (0.0, 3)


@pytest.mark.parametrize(("last", "y"), [(100.1, 1.0), (100.0, 0.0), (99.9, 0.0)])
def test_the_vertical_barrier_goes_by_the_close(last, y):
    quiet = (100, 100.2, 99.8, 100)
    assert label_of_row_2(after_warm(quiet, quiet, (100, 100.2, 99.8, last))) == (y, 5)


def test_a_path_that_ends_with_the_series_is_unknown():
    y, known = label_of_row_2(after_warm((100, 100.2, 99.8, 100)))
    assert math.isnan(y)
    assert known == -1


class AroundTheClock:
    def expected_opens(self, timeframe: str, start_ms: int, end_ms: int) -> np.ndarray:
        return np.arange(start_ms, end_ms, HOUR)


def test_a_hole_before_any_touch_makes_the_label_unknown_but_not_one_after():
    quiet, jump = (100, 100.2, 99.8, 100), (100, UP + 1, 99.9, 100)
    label = TripleBarrier(horizon_bars=3, volatility_window=2, calendar=AroundTheClock())
    _, known = label.compute(after_warm(quiet, jump, quiet, hours=[0, 1, 2, 3, 10, 11]))
    assert known[2] == -1
    _, known = label.compute(after_warm(jump, quiet, quiet, hours=[0, 1, 2, 3, 10, 11]))
    assert known[2] == 3


def test_no_volatility_no_label():
    price = np.full(30, 5.0)
    bars = Bars("X", "1h", np.arange(30) * HOUR, price, price, price, price, np.ones(30))
    y, known = TripleBarrier(horizon_bars=3, volatility_window=5).compute(bars)
    assert np.isnan(y).all()
    assert (known == -1).all()


def test_against_a_loop_over_every_path():
    bars = random_bars(600, seed=3)
    horizon, window, up, down = 7, 20, 0.8, 1.3
    y, known = TripleBarrier(horizon_bars=horizon, upper_width=up, lower_width=down, volatility_window=window).compute(
        bars
    )
    volatility = trailing_volatility(bars.close, window)
    for t in range(len(bars)):
        expected = (math.nan, -1)
        move = volatility[t] * math.sqrt(horizon)
        if move > 0:
            above, below = bars.close[t] * math.exp(up * move), bars.close[t] * math.exp(-down * move)
            for k in range(t + 1, min(t + horizon, len(bars) - 1) + 1):
                if bars.open[k] >= above:
                    expected = (1.0, k)
                elif bars.low[k] <= below:
                    expected = (0.0, k)
                elif bars.high[k] >= above:
                    expected = (1.0, k)
                elif k == t + horizon:
                    expected = (float(bars.close[k] > bars.close[t]), k)
                else:
                    continue
                break
        np.testing.assert_equal((y[t], known[t]), expected)
    assert 0.2 < np.nanmean(y) < 0.8


def test_volatility_against_numpy_and_chunks(monkeypatch):
    close = random_bars(500).close
    monkeypatch.setattr("kalibre.labels.triple_barrier._CHUNK_ROWS", 7)
    volatility = trailing_volatility(close, 20)
    assert np.isnan(volatility[:20]).all()
    for t in (20, 27, 28, 499):
        assert volatility[t] == pytest.approx(np.diff(np.log(close[t - 20 : t + 1])).std(ddof=1), rel=1e-12)


@pytest.mark.parametrize(
    "wrong", [{"upper_width": 0.0}, {"lower_width": -1.0}, {"upper_width": math.inf}, {"volatility_window": 1}]
)
def test_parameters_out_of_range_are_quoted(wrong):
    with pytest.raises(LabelError, match=repr(next(iter(wrong.values())))):
        TripleBarrier(horizon_bars=3, **wrong)
