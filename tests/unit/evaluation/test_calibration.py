"""Calibration: the planted over-confident model fails, the perfect one passes, and fits agree with scikit-learn's."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from tests.fakes.overlapping import over_confident, perfect_forecasts

from kalibre.core.errors import CalibrationError, EvaluationError
from kalibre.evaluation.calibration import (
    LEAST_PER_BIN,
    MOST_BINS,
    calibration_error,
    centred_isotonic,
    debiased_error,
    fit_calibrator,
)
from kalibre.models.calibrator import log_odds

SEEDS = range(25)


def errors_of(n: int, horizon: int, factor: float) -> list:
    results = []
    for seed in SEEDS:
        p, y = perfect_forecasts(n, horizon_bars=horizon, edge=0.15, seed=seed)
        p = over_confident(p, factor)
        results.append(calibration_error(p, y, horizon_bars=horizon, seed=seed, resamples=300))
    return results


@pytest.mark.parametrize(("n", "horizon"), [(3_500, 1), (3_500, 4), (17_000, 4)])
def test_a_perfect_model_passes(n, horizon):
    results = errors_of(n, horizon, 1.0)
    eces = np.array([result.ece for result in results])
    assert eces.max() <= 0.05
    assert eces.mean() < 0.012
    # The band is the 95 % one: one in twenty perfect models lies above it.
    assert sum(result.above_band for result in results) <= 4


@pytest.mark.parametrize(("n", "horizon"), [(3_500, 1), (3_500, 4), (17_000, 4)])
def test_the_planted_over_confident_model_fails(n, horizon):
    for result in errors_of(n, horizon, 3.0):
        assert result.ece > 0.05
        assert result.above_band


def test_the_plain_error_calls_a_perfect_model_poor_and_the_debiased_one_does_not():
    results = errors_of(3_500, 1, 1.0)
    assert np.mean([result.ece_plain for result in results]) > 0.025
    assert np.mean([result.ece for result in results]) < 0.01


def test_it_measures_a_known_distance():
    p, _ = perfect_forecasts(35_000, horizon_bars=4, edge=0.15, seed=1)
    distance = np.abs(over_confident(p, 2.0) - p).mean()
    assert np.mean([result.ece for result in errors_of(17_000, 4, 2.0)]) == pytest.approx(distance, abs=0.006)


def test_forgetting_the_overlap_would_call_a_perfect_model_poor():
    honest, forgetful = [], []
    for seed in range(12):
        p, y = perfect_forecasts(17_000, horizon_bars=12, edge=0.05, persistence=0.99, seed=seed)
        honest.append(calibration_error(p, y, horizon_bars=12, seed=1, resamples=50).ece)
        forgetful.append(calibration_error(p, y, horizon_bars=1, seed=1, resamples=50).ece)
    assert np.mean(honest) < 0.01
    assert np.mean(forgetful) > 0.015


@pytest.mark.parametrize(
    ("n", "horizon", "bins"),
    [(400, 1, 2), (1_000, 1, 5), (3_500, 4, 4), (7_999, 4, 9), (60_000, 4, MOST_BINS)],
)
def test_bins_hold_200_independent_samples(n, horizon, bins):
    p, y = perfect_forecasts(n, horizon_bars=horizon, edge=0.1, seed=1)
    result = calibration_error(p, y, horizon_bars=horizon, seed=1, resamples=50)
    assert result.n_bins == len(result.bins) == bins
    assert min(row["n"] for row in result.bins) / horizon >= LEAST_PER_BIN * 0.99
    assert sum(row["n"] for row in result.bins) == n
    assert all(row["band_low"] < row["forecast"] < row["band_high"] for row in result.bins)


@pytest.mark.parametrize(("n", "horizon"), [(1, 1), (399, 1), (1_599, 4)])
def test_too_few_samples_give_no_figure_and_say_how_many_would(n, horizon):
    p, y = perfect_forecasts(n, horizon_bars=horizon, edge=0.1, seed=1)
    result = calibration_error(p, y, horizon_bars=horizon, seed=1)
    assert math.isnan(result.ece)
    assert not result.above_band
    assert f"({400 * horizon} samples) are needed" in result.note
    assert result.as_dict()["ece_calibrated"] is None
    json.dumps(result.as_dict(), allow_nan=False)


def test_a_constant_forecast_is_one_bin():
    rng = np.random.default_rng(1)
    y = (rng.random(5_000) < 0.6).astype(float)
    right = calibration_error(np.full(5_000, 0.6), y, horizon_bars=1, seed=1)
    wrong = calibration_error(np.full(5_000, 0.5), y, horizon_bars=1, seed=1)
    assert right.n_bins == 1
    assert right.ece < 0.02
    assert wrong.ece == pytest.approx(0.1, abs=0.02)
    assert wrong.above_band


def test_certain_forecasts_that_came_true_have_no_error():
    y = (np.arange(2_000) % 2).astype(float)
    result = calibration_error(y, y, horizon_bars=1, seed=1)
    assert (result.ece, result.band) == (0.0, (0.0, 0.0))
    assert calibration_error(1.0 - y, y, horizon_bars=1, seed=1).ece == 1.0


def test_the_same_seed_gives_the_same_band():
    p, y = perfect_forecasts(4_000, horizon_bars=4, edge=0.1, seed=1)
    first, again, other = (calibration_error(p, y, horizon_bars=4, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.band != other.band
    assert first.ece == other.ece


def test_debiasing_takes_all_of_noise_and_nothing_of_certainty():
    share = np.full(20, 0.05)
    rng = np.random.default_rng(1)
    noise = np.full(20, 0.03)
    pure = debiased_error(rng.normal(0, 0.03, (4_000, 20)), noise, share)
    assert pure.mean() < 0.006
    gap = np.linspace(-0.2, 0.2, 20)
    np.testing.assert_allclose(debiased_error(gap[None], np.full(20, 1e-9), share), np.abs(gap).mean(), atol=1e-6)
    distance = rng.normal(0, 0.05, (4_000, 20))
    seen = debiased_error(distance + rng.normal(0, 0.03, distance.shape), noise, share)
    assert seen.mean() == pytest.approx(np.abs(distance).mean(), abs=0.001)


def test_centred_isotonic_has_scikit_learns_levels_at_their_centres():
    from sklearn.isotonic import IsotonicRegression

    rng = np.random.default_rng(2)
    x = np.sort(rng.random(300))
    y = np.clip(x + rng.normal(0, 0.3, 300), 0, 1)
    weight = rng.uniform(0.5, 3.0, 300)
    level = IsotonicRegression().fit_transform(x, y, sample_weight=weight)
    knots_x, knots_y = centred_isotonic(x, y, weight)
    expected = np.unique(level.round(12))
    np.testing.assert_allclose(knots_y, expected, atol=1e-11)
    centres = [np.average(x[m], weights=weight[m]) for m in (np.isclose(level, value) for value in expected)]
    np.testing.assert_allclose(knots_x, centres, atol=1e-9)


def test_platt_agrees_with_scikit_learns():
    from sklearn.calibration import _SigmoidCalibration

    p, y = perfect_forecasts(800, horizon_bars=1, edge=0.3, seed=4)
    score = over_confident(p, 2.5)
    calibrator = fit_calibrator(score, y)
    theirs = _SigmoidCalibration().fit(log_odds(score), y)
    assert calibrator.kind == "platt"
    assert calibrator.slope == pytest.approx(-theirs.a_, rel=1e-3)
    assert calibrator.intercept == pytest.approx(-theirs.b_, abs=1e-3)
    assert 0.2 < calibrator.slope < 0.7


@pytest.mark.parametrize(
    ("n", "horizon", "kind"), [(999, 1, "platt"), (1_000, 1, "isotonic"), (3_999, 4, "platt"), (4_000, 4, "isotonic")]
)
def test_platt_below_a_thousand_independent_samples(n, horizon, kind):
    p, y = perfect_forecasts(n, horizon_bars=horizon, edge=0.2, seed=5)
    assert fit_calibrator(p, y, horizon_bars=horizon).kind == kind


@pytest.mark.parametrize("n", [600, 6_000])
def test_an_over_confident_score_is_calibrated(n):
    p, y = perfect_forecasts(n + 20_000, horizon_bars=1, edge=0.3, seed=6)
    score = over_confident(p, 3.0)
    calibrator = fit_calibrator(score[:n], y[:n])
    assert np.abs(score[n:] - p[n:]).mean() > 0.1
    assert np.abs(calibrator.apply(score[n:]) - p[n:]).mean() < 0.025


@pytest.mark.parametrize("n", [600, 6_000])
def test_a_score_that_says_the_opposite_teaches_the_base_rate(n):
    p, y = perfect_forecasts(n, horizon_bars=1, edge=0.3, seed=7)
    calibrated = fit_calibrator(1.0 - p, y).apply(1.0 - p)
    assert np.ptp(calibrated) < 0.01
    assert calibrated.mean() == pytest.approx(y.mean(), abs=0.01)


def test_certainty_is_clipped_off_0_and_1():
    score = np.linspace(0.01, 0.99, 3_000)
    p = fit_calibrator(score, (score > 0.5).astype(float)).apply(np.array([0.0, 1.0]))
    assert 0 < p[0] < 0.01
    assert 0.99 < p[1] < 1


def test_a_constant_score_gives_the_base_rate():
    y = (np.arange(2_000) % 4 == 0).astype(float)
    for n in (800, 2_000):
        p = fit_calibrator(np.full(n, 0.7), y[:n]).apply(np.array([0.1, 0.7, 0.9]))
        np.testing.assert_allclose(p, 0.25, atol=0.002)


@pytest.mark.parametrize(
    ("score", "y", "message"),
    [
        (np.array([]), np.array([]), r"shape \(0,\)"),
        (np.array([0.5, 0.6]), np.array([1.0, 1.0]), "2 samples up, 0 down"),
        (np.array([0.5, np.nan]), np.array([1.0, 0.0]), "forecast nan"),
        (np.array([0.5, 1.2]), np.array([1.0, 0.0]), "forecast 1.2"),
        (np.array([0.5]), np.array([1.0, 0.0]), r"\(1,\)"),
    ],
)
def test_what_a_calibrator_cannot_learn_from(score, y, message):
    with pytest.raises(CalibrationError, match=message):
        fit_calibrator(score, y)


def test_outcomes_that_are_none_are_quoted():
    with pytest.raises(EvaluationError, match="outcome nan at sample 1"):
        calibration_error(np.array([0.5, 0.5]), np.array([1.0, np.nan]), horizon_bars=1, seed=1)
