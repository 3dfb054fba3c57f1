"""The tally: its intervals hold what they promise, its figures agree with others', its window is a window."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss

from kalibre.hub._tally import Interval, Tally, log_loss_of, mean_interval
from kalibre.log.replay import copy_state


def _independent(rng: Any, n: int) -> Any:
    return rng.normal(size=n)


def _moving(overlap: int) -> Callable[[Any, int], Any]:
    return lambda rng, n: np.convolve(rng.normal(size=n + overlap), np.ones(overlap), "valid")[:n]


def _autoregressive(phi: float) -> Callable[[Any, int], Any]:
    def made(rng: Any, n: int) -> Any:
        noise, found = rng.normal(size=n + 50), np.zeros(n + 50)
        for k in range(1, n + 50):
            found[k] = phi * found[k - 1] + noise[k]
        return found[50:]

    return made


@pytest.mark.parametrize(
    ("make", "overlap", "n", "least"),
    [
        (_independent, 1, 100, 0.92),
        (_independent, 1, 2_000, 0.92),
        (_moving(4), 4, 500, 0.91),
        (_moving(4), 4, 2_000, 0.91),
        (_moving(16), 16, 2_000, 0.90),
        (_autoregressive(0.3), 4, 500, 0.91),
        (_autoregressive(0.6), 4, 2_000, 0.90),
    ],
)
def test_an_interval_holds_the_mean_as_often_as_it_promises(make: Any, overlap: int, n: int, least: float) -> None:
    """Of 500 samples, nominal 95 %; measured, in this order: 94.2, 94.6, 92.2, 94.6, 94.8, 93.4, 92.2 %."""
    rng = np.random.default_rng(7)
    held = [_holds(mean_interval(make(rng, n), overlap=overlap)) for _ in range(500)]
    assert least <= np.mean(held) <= 0.975


def _holds(interval: Interval) -> bool:
    return interval.low <= 0.0 <= interval.high


def test_an_interval_that_forgets_the_overlap_is_caught() -> None:
    """Plant: neighbours taken for independent, the interval holds the mean far too seldom."""
    rng = np.random.default_rng(7)
    make = _moving(16)
    held = [_holds(mean_interval(make(rng, 500)[::1], overlap=1)) for _ in range(300)]
    assert np.mean(held) < 0.8


def test_an_interval_is_that_of_newey_and_west_computed_plainly() -> None:
    values = np.random.default_rng(3).normal(0.2, 1.0, 300)
    n, lags = 300, 8
    centred = values - values.mean()
    variance = np.mean(centred**2)
    for lag in range(1, lags + 1):
        variance += 2 * (1 - lag / (lags + 1)) * np.sum(centred[lag:] * centred[:-lag]) / n
    share = lags / n
    critical = 1.96 + 2.9694 * share + 0.4160 * share**2 - 0.5324 * share**3
    found = mean_interval(values, overlap=4)
    assert found.mean == pytest.approx(values.mean())
    assert found.high - found.mean == pytest.approx(critical * math.sqrt(variance / n))
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


def test_values_that_do_not_vary_have_no_spread() -> None:
    assert mean_interval(np.full(60, 0.25), overlap=4) == (0.25, 0.25, 0.25)


def filled(n: int, window: int = 100, *, p: Any = None, earn: Any = None) -> Tally:
    rng = np.random.default_rng(1)
    tally = Tally(window, horizon_bars=4)
    for k in range(n):
        chance = float(rng.uniform(0.1, 0.9)) if p is None else p
        up = bool(rng.random() < chance)
        earned = float(rng.normal(0, 0.01)) if earn is None else earn
        tally.take(k, chance, went_up=up, log_return=earned, base_loss=math.log(2))
    return tally


@pytest.mark.parametrize("n", [99, 100, 101, 199, 200, 201, 1_000])
def test_its_length_is_the_window_at_most(n: int) -> None:
    tally = filled(n)
    assert len(tally) == min(n, 100)
    assert tally.n_new == n
    again = Tally(100, horizon_bars=4)
    again.restore(copy_state(tally.state()))
    figures = {"fee": 0.001, "horizons_per_year": 100.0}
    assert again.figures(**figures) == tally.figures(**figures)
    assert again.edge() == tally.edge()
    assert again.take(n, 0.4, went_up=True, log_return=0.0, base_loss=0.7) == -math.log(0.4)
    assert len(again) == min(n + 1, 100)


def test_calibration_error_is_small_where_it_is_calibrated_and_not_elsewhere() -> None:
    good = filled(2_000, 2_000).figures(fee=0.0, horizons_per_year=1.0)["ece"]
    rng = np.random.default_rng(2)
    bad = Tally(2_000, horizon_bars=4)
    for k in range(2_000):
        bad.take(k, 0.9, went_up=bool(rng.random() < 0.5), log_return=0.0, base_loss=0.7)
    found = bad.figures(fee=0.0, horizons_per_year=1.0)["ece"]
    assert good is not None
    assert found is not None
    assert good < 0.02
    assert found == pytest.approx(0.4, abs=0.05)
    assert filled(300, 2_000).figures(fee=0.0, horizons_per_year=1.0)["ece"] is None  # too few for two bins
    assert filled(2_000, 2_000).figures(fee=0.0, horizons_per_year=1.0, calibrated=False)["ece"] is None


def test_nothing_earned_has_no_sharpe() -> None:
    """No trade, and trades that all earn the same: no ratio, rather than one of rounding errors."""
    assert filled(100, p=0.4).figures(fee=0.001, horizons_per_year=100.0)["sharpe"] is None
    assert filled(100, p=0.6, earn=0.1).figures(fee=0.001, horizons_per_year=100.0)["sharpe"] is None
    assert filled(100, p=0.4).figures(fee=0.0, horizons_per_year=100.0)["win_rate"] is None


def test_a_certain_forecast_that_is_wrong_has_a_finite_loss() -> None:
    assert log_loss_of(0.0, went_up=True) == pytest.approx(-math.log(1e-6))
    assert log_loss_of(1.0, went_up=True) == 0.0
    p = np.linspace(0.01, 0.99, 30)
    up = np.arange(30) % 2 == 0
    assert np.mean([log_loss_of(float(a), went_up=bool(b)) for a, b in zip(p, up, strict=True)]) == pytest.approx(
        log_loss(up, p)
    )


def test_a_margin_counts_only_where_it_had_a_part() -> None:
    tally = Tally(200, horizon_bars=1)
    for k in range(120):
        margin = 0.5 if k % 2 else math.nan
        tally.take(k, 0.6, went_up=True, log_return=0.0, base_loss=0.7, margin=margin)
    assert tally.marginal() == 0.5
    assert filled(150).marginal() is None
