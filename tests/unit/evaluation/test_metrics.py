"""Metrics against scikit-learn, and intervals against the share of simulated worlds that they cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as oracle
from tests.fakes.overlapping import over_confident, perfect_forecasts

from kalibre.core.errors import EvaluationError
from kalibre.evaluation.metrics import (
    auc,
    auc_interval,
    brier,
    brier_parts,
    equal_mass_bins,
    log_loss,
    log_loss_gain,
)
from kalibre.evaluation.resampling import block_bootstrap_deviation


def forecasts(n: int, *, seed: int, decimals: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.01, 0.99, n).round(decimals)
    return p, (rng.random(n) < p).astype(float)


@pytest.mark.parametrize("decimals", [1, 2, 8])
def test_figures_are_scikit_learns(decimals):
    p, y = forecasts(997, seed=1, decimals=decimals)
    p = np.clip(p, 0.01, 0.99)
    assert auc(p, y) == pytest.approx(oracle.roc_auc_score(y, p), abs=1e-12)
    assert log_loss(p, y) == pytest.approx(oracle.log_loss(y, p), abs=1e-12)
    assert brier(p, y) == pytest.approx(oracle.brier_score_loss(y, p), abs=1e-12)


def test_a_wrong_certainty_costs_everything():
    assert log_loss(np.array([0.0, 0.5]), np.array([1.0, 0.0])) == math.inf
    gain = log_loss_gain(np.array([0.0, 0.5, 0.5]), np.array([1.0, 0.0, 1.0]), 0.5, horizon_bars=1, seed=1)
    assert (gain.gain, gain.low) == (-math.inf, -math.inf)


def test_brier_parts_add_up_and_say_what_they_mean():
    p, y = forecasts(20_000, seed=2, decimals=8)
    parts = brier_parts(p, y, bins=10)
    assert parts.brier == pytest.approx(
        parts.reliability - parts.resolution + parts.uncertainty + parts.within_bin, abs=1e-15
    )
    assert parts.reliability < 0.001
    assert parts.resolution == pytest.approx(np.var(p), abs=0.005)
    worse = brier_parts(over_confident(p, 3.0), y, bins=10)
    assert worse.reliability > 10 * parts.reliability
    assert worse.resolution == pytest.approx(parts.resolution, abs=1e-12)


def test_bins_never_tear_equal_forecasts_apart():
    p = np.repeat([0.2, 0.4, 0.6], [10, 500, 30])
    number = equal_mass_bins(p, 7)
    assert all(len(set(number[p == value])) == 1 for value in (0.2, 0.4, 0.6))
    assert sorted(set(number)) == list(range(number.max() + 1))
    np.testing.assert_array_equal(np.bincount(equal_mass_bins(np.arange(100.0) / 100, 4)), [25, 25, 25, 25])


def test_without_overlap_the_deviation_is_delongs():
    p, y = forecasts(4_000, seed=3)
    ups, downs = p[y == 1], p[y == 0]
    wins = (ups[:, None] > downs).astype(float) + 0.5 * (ups[:, None] == downs)
    delong = math.sqrt(wins.mean(axis=1).var(ddof=1) / len(ups) + wins.mean(axis=0).var(ddof=1) / len(downs))
    influence = np.empty(len(y))
    influence[y == 1] = (wins.mean(axis=1) - wins.mean()) * len(y) / len(ups)
    influence[y == 0] = (wins.mean(axis=0) - wins.mean()) * len(y) / len(downs)
    assert block_bootstrap_deviation(influence, length=1) == pytest.approx(delong, rel=1e-3)
    interval = auc_interval(p, y, horizon_bars=1, seed=1)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * delong, rel=0.15)


@pytest.mark.parametrize(("horizon", "edge"), [(1, 0.15), (4, 0.0), (4, 0.15)])
def test_the_auc_interval_covers_what_it_says(horizon, edge):
    truth = 0.5
    if edge:
        truth = auc(*perfect_forecasts(400_000, horizon_bars=horizon, edge=edge, seed=999))
    covered = below = 0
    draws = 300
    for seed in range(draws):
        p, y = perfect_forecasts(3_000, horizon_bars=horizon, edge=edge, seed=seed)
        if not edge:
            # As persistent as a real score, and worth nothing.
            p, _ = perfect_forecasts(3_000, horizon_bars=1, edge=0.1, seed=seed + 10_000)
        interval = auc_interval(p, y, horizon_bars=horizon, seed=seed)
        covered += interval.low <= truth <= interval.high
        below += interval.low > truth
    assert 0.90 <= covered / draws <= 0.98
    assert below / draws <= 0.05


def test_an_interval_that_forgets_the_overlap_would_not_cover():
    covered = 0
    for seed in range(150):
        p, _ = perfect_forecasts(3_000, horizon_bars=1, edge=0.1, persistence=0.97, seed=seed + 10_000)
        _, y = perfect_forecasts(3_000, horizon_bars=12, edge=0.0, seed=seed)
        placed = np.where(y == 1, 1.0, -1.0) * (np.argsort(np.argsort(p)) / len(p) - 0.5)
        width = 1.96 * placed.std() / math.sqrt(len(p)) * 2
        covered += abs(auc(p, y) - 0.5) <= width
    assert covered / 150 < 0.8


def test_the_log_loss_bound_holds_as_often_as_it_says():
    gains, lows = [], []
    for seed in range(300):
        p, y = perfect_forecasts(3_000, horizon_bars=4, edge=0.15, seed=seed)
        gain = log_loss_gain(p, y, 0.5, horizon_bars=4, seed=seed)
        gains.append(gain.gain)
        lows.append(gain.low)
    above = np.mean(np.array(lows) > np.mean(gains))
    assert 0.01 <= above <= 0.10
    assert np.mean(np.array(lows) > 0) > 0.4


def test_a_model_without_skill_does_not_beat_the_constant():
    beaten = 0
    for seed in range(200):
        _, y = perfect_forecasts(3_000, horizon_bars=4, edge=0.0, seed=seed)
        p, _ = perfect_forecasts(3_000, horizon_bars=1, edge=0.1, seed=seed + 10_000)
        beaten += log_loss_gain(p, y, float(y.mean()), horizon_bars=4, seed=seed).low > 0
    assert beaten / 200 <= 0.05


def test_gain_is_the_difference_of_two_losses():
    p, y = forecasts(2_000, seed=5)
    gain = log_loss_gain(p, y, 0.4, horizon_bars=1, seed=1)
    assert gain.model == log_loss(p, y)
    assert gain.constant == log_loss(np.full(2_000, 0.4), y)
    assert gain.gain == pytest.approx(gain.constant - gain.model)
    assert 0 < gain.low < gain.gain


def test_a_perfect_ranking_is_1():
    p = np.linspace(0.1, 0.9, 100)
    interval = auc_interval(p, (p > 0.5).astype(float), horizon_bars=1, seed=1)
    assert (interval.auc, interval.high) == (1.0, 1.0)
    assert interval.low == pytest.approx(0.025 ** (1 / 50))


@pytest.mark.parametrize("figure", [auc, lambda p, y: auc_interval(p, y, horizon_bars=1, seed=1)])
def test_one_class_has_no_auc(figure):
    with pytest.raises(EvaluationError, match="3 samples up and 0 down"):
        figure(np.array([0.1, 0.2, 0.3]), np.ones(3))


@pytest.mark.parametrize(
    ("p", "y", "message"),
    [
        ([0.5], [1.0, 0.0], r"\(1,\).*\(2,\)"),
        ([], [], r"\(0,\)"),
        ([0.5, 1.5], [1.0, 0.0], "forecast 1.5 with outcome 0.0 at sample 1"),
        ([0.5, 0.5], [1.0, 2.0], "outcome 2.0 at sample 1"),
        ([math.nan, 0.5], [1.0, 0.0], "forecast nan"),
    ],
)
@pytest.mark.parametrize("figure", [auc, brier, log_loss])
def test_what_is_no_forecast_is_quoted(figure, p, y, message):
    with pytest.raises(EvaluationError, match=message):
        figure(np.array(p), np.array(y))


@pytest.mark.parametrize("base_rate", [0.0, 1.0, math.nan])
def test_a_base_rate_that_is_a_certainty_is_refused(base_rate):
    with pytest.raises(EvaluationError, match=f"base_rate {base_rate}"):
        log_loss_gain(np.array([0.5, 0.5]), np.array([1.0, 0.0]), base_rate, horizon_bars=1, seed=1)


@pytest.mark.parametrize(("n", "horizon", "sure"), [(2, 1, False), (10, 1, False), (12, 1, True), (40, 4, False)])
def test_a_perfect_ranking_of_a_few_is_no_certainty(n, horizon, sure):
    p = np.linspace(0.1, 0.9, n)
    up = auc_interval(p, (p > 0.5).astype(float), horizon_bars=horizon, seed=1)
    down = auc_interval(1 - p, (p > 0.5).astype(float), horizon_bars=horizon, seed=1)
    assert (up.auc, up.high, down.auc, down.low) == (1.0, 1.0, 0.0, 0.0)
    assert down.high == pytest.approx(1 - up.low)
    assert (up.low > 0.5) == sure
    # With each sample of the rarer class right as often as the bound says, all are right in 2.5 % of the worlds.
    assert up.low ** (n / 2 / horizon) == pytest.approx(0.025)


def test_two_lucky_forecasts_prove_no_gain():
    few = log_loss_gain(np.array([0.4, 0.6]), np.array([0.0, 1.0]), 0.5, horizon_bars=1, seed=1)
    assert few.gain == pytest.approx(math.log(0.6 / 0.5))
    assert few.low == -math.inf


def test_the_gains_bound_is_the_basic_bootstraps():
    """Gains of a model that is now and then very wrong: mirrored, the bound is nearer than the percentile's."""
    from scipy.stats import bootstrap

    y = np.arange(60) % 2.0
    p = np.where(np.arange(60) == 17, 0.5 - 0.499 * (2 * y - 1), 0.5 + 0.2 * (2 * y - 1))
    found = log_loss_gain(p, y, 0.5, horizon_bars=1, seed=3)
    gains = -np.log(0.5) + np.log(np.where(y > 0.5, p, 1 - p))
    low = {
        method: bootstrap((gains,), np.mean, confidence_level=0.9, method=method, rng=5).confidence_interval.low
        for method in ("basic", "percentile")
    }
    assert abs(found.low - low["basic"]) < 0.3 * (low["basic"] - low["percentile"])


def test_a_bin_that_ties_leave_too_small_joins_its_neighbour():
    p = np.repeat([0.3, 0.5, 0.7], [150, 3_600, 250])
    assert np.bincount(equal_mass_bins(p, 20)).tolist() == [150, 3_600, 250]
    assert np.bincount(equal_mass_bins(p, 20, least=200)).tolist() == [3_750, 250]
    assert np.bincount(equal_mass_bins(p, 20, least=4_000)).tolist() == [4_000]
    assert np.bincount(equal_mass_bins(np.repeat([0.3, 0.4, 0.5], [300, 300, 9]), 3, least=10)).tolist() == [300, 309]
