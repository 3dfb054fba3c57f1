"""Laws of the kernels, run as plain Python beside the definition, and of the engine over histories with holes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from benchmarks.features_right import simulated_bars
from hypothesis import given, settings
from hypothesis import strategies as st

from kalibre.features.base import bars_to_forget
from kalibre.features.engine import FeatureEngine, FeatureSpec
from kalibre.features.kernels import (
    ema_step,
    lag_step,
    phase_step,
    window_max_step,
    window_min_step,
    window_sum_step,
    window_variance_step,
)
from kalibre.features.momentum import mean_deviation_step
from kalibre.features.trend import bars_since_extreme_step, weighted_sum_step
from kalibre.features.volume import lagging_gap_step

numbers = st.floats(-1e12, 1e12, allow_subnormal=False) | st.integers(-3, 3).map(float)
series = st.lists(numbers, min_size=1, max_size=60)
windows = st.integers(2, 9)


def run(kernel: Callable[..., Any], xs: list[float], n: int, *extra: float) -> list[Any]:
    """Run a kernel as plain Python over a series, with room to spare around its state."""
    floats, ints = [0.0] * (4 * n + 20), [0] * (2 * n + 20)
    out = []
    for x in xs:
        k = phase_step(floats, ints, 0, 0, n)
        out.append(kernel(floats, ints, 5, 3, x, n, k, *extra))
    assert floats[:5] == [0.0] * 5, "a kernel wrote outside of its slots"
    return out


def windows_of(xs: list[float], n: int) -> list[list[float]]:
    return [xs[t - n + 1 : t + 1] for t in range(n - 1, len(xs))]


@given(series, windows)
def test_window_sum(xs: list[float], n: int) -> None:
    for found, window in zip(run(window_sum_step, xs, n)[n - 1 :], windows_of(xs, n), strict=True):
        assert math.isclose(found, math.fsum(window), abs_tol=n * 2.3e-16 * math.fsum(map(abs, window)))


@given(series, windows)
def test_window_sum_keeps_no_residue(xs: list[float], n: int) -> None:
    """Whatever came before: once it has left the window, zeros sum to zero exactly."""
    assert run(window_sum_step, [*xs, *[0.0] * n], n)[-1] == 0.0


@given(series, windows)
def test_window_extremes(xs: list[float], n: int) -> None:
    assert run(window_max_step, xs, n)[n - 1 :] == [max(w) for w in windows_of(xs, n)]
    assert run(window_min_step, xs, n)[n - 1 :] == [min(w) for w in windows_of(xs, n)]


@given(series, windows)
def test_bars_since_extreme_takes_the_latest_of_equals(xs: list[float], n: int) -> None:
    expected = [next(age for age in range(n) if w[n - 1 - age] == max(w)) for w in windows_of(xs, n)]
    assert run(bars_since_extreme_step, xs, n)[n - 1 :] == expected


@given(series, windows)
def test_weighted_sum(xs: list[float], n: int) -> None:
    for found, window in zip(run(weighted_sum_step, xs, n)[n - 1 :], windows_of(xs, n), strict=True):
        expected = math.fsum((j + 1) * x for j, x in enumerate(window))
        assert math.isclose(found, expected, abs_tol=n * n * 1e-15 * math.fsum(map(abs, window)))


@given(st.floats(-1e9, 1e9), st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=60), windows)
def test_window_variance_survives_any_level(level: float, xs: list[float], n: int) -> None:
    shifted = [level + x for x in xs]
    found = run(window_variance_step, shifted, n, 1.0 / n)[n - 1 :]
    for (variance, lead), window in zip(found, windows_of(shifted, n), strict=True):
        mean = math.fsum(window) / n
        expected = math.fsum((x - mean) ** 2 for x in window) / n
        assert math.isclose(variance, expected, abs_tol=1e-13 + 1e-15 * abs(level))
        # Of differences: next to their own size nothing is lost, whatever the level.
        exact = math.fsum(window[-1] - x for x in window) / n
        assert math.isclose(lead, exact, abs_tol=1e-14 * n * (max(window) - min(window)))


@given(series, windows)
def test_mean_deviation_and_lag(xs: list[float], n: int) -> None:
    floats, ints = [0.0] * (2 * n), [0] * 4
    for t, x in enumerate(xs):
        k = phase_step(floats, ints, 0, 0, n)
        lead, summed = mean_deviation_step(floats, ints, 0, 1, x, n, k)
        old = lag_step(floats, ints, n, 1, x, n, k)
        if t >= n:
            assert old == xs[t - n]
            window = xs[t - n + 1 : t + 1]
            room, mean = 1e-14 * n * (max(window) - min(window)), math.fsum(window) / n
            rounding = 1e-15 * max(map(abs, window))  # of the oracle's own mean
            assert math.isclose(lead, math.fsum(x - y for y in window) / n, abs_tol=room)
            assert math.isclose(summed, math.fsum(abs(y - mean) for y in window), abs_tol=n * (room + rounding))


@given(series, st.floats(0.01, 0.9))
def test_exponential_average(xs: list[float], alpha: float) -> None:
    floats, y = [0.0], xs[0]
    for t, x in enumerate(xs):
        y = y + alpha * (x - y) if t else x
        assert ema_step(floats, [], 0, 0, x, alpha, t == 0) == y


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=50), st.floats(0.05, 0.9), st.floats(-1e3, 1e3))
def test_gap_of_a_running_total_does_not_depend_on_where_it_began(
    increments: list[float], alpha: float, start: float
) -> None:
    floats, total, average = [0.0], start, start
    for increment in increments:
        total += increment
        average += alpha * (total - average)
        gap = lagging_gap_step(floats, [], 0, 0, increment, alpha)
        assert math.isclose(gap, average - total, abs_tol=1e-9)


@given(st.lists(st.floats(0.05, 0.97), min_size=1, max_size=3))
def test_what_is_forgotten_is_below_rounding(decays: list[float]) -> None:
    """Started one apart and fed the same, every stage of a cascade agrees after the declared bars."""
    errors = [1.0] * len(decays)
    for _ in range(bars_to_forget(tuple(decays))):
        into = 0.0
        for stage, decay in enumerate(decays):
            errors[stage] = into = decay * errors[stage] + (1 - decay) * into
    assert max(errors) <= 1.1e-16


@pytest.fixture(scope="module")
def engine() -> FeatureEngine:
    return FeatureEngine(
        FeatureSpec("15m", columns=("sma_10", "log_return_1", "donchian_upper_5@1h", "log_return_1@4h"), scale_window=7)
    )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_holes_any_cut_bit_for_bit(engine: FeatureEngine, data: st.DataObject) -> None:
    """Prefix, state and step laws hold whatever bars are missing."""
    bars = simulated_bars(160, seed=data.draw(st.integers(0, 99)))
    kept = sorted(data.draw(st.sets(st.integers(0, 159), min_size=3)))
    bars = bars[np.array(kept)]
    cut = data.draw(st.integers(0, len(bars)))
    whole = engine.batch(bars)
    assert np.array_equal(engine.batch(bars[:cut]), whole[:cut], equal_nan=True)
    state = engine.state()
    engine.reset()
    engine.restore(state)
    live = [engine.step(bar) for bar in bars[cut:]]
    assert np.array_equal(np.array(live).reshape(-1, 4), whole[cut:], equal_nan=True)
