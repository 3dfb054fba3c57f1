"""Block resampling: against explicit index draws, the closed form, and what theory says of an AR(1)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.signal import lfilter

from kalibre.core.errors import EvaluationError
from kalibre.evaluation import resampling
from kalibre.evaluation.resampling import block_bootstrap_deviation, block_bootstrap_means, block_length, thin


def autoregression(n: int, rho: float, seed: int) -> np.ndarray:
    return lfilter([1.0], [1.0, -rho], np.random.default_rng(seed).standard_normal(n + 200))[200:]


@pytest.mark.parametrize(("n", "length"), [(100, 1), (100, 7), (101, 10), (20, 20)])
def test_means_are_those_of_the_drawn_blocks(n, length):
    series = np.random.default_rng(1).standard_normal((n, 2))
    means = block_bootstrap_means(series, length=length, resamples=5, seed=3)
    rng = np.random.default_rng(3)
    start = rng.integers(0, n, size=(5, n // length))
    last = rng.integers(0, n, size=5) if n % length else None
    for k in range(5):
        index = [(s + j) % n for s in start[k] for j in range(length)]
        if last is not None:
            index += [(last[k] + j) % n for j in range(n % length)]
        assert len(index) == n
        np.testing.assert_allclose(means[k], series[index].mean(axis=0), atol=1e-12)


def test_chunks_draw_on_without_repeating(monkeypatch):
    series = autoregression(500, 0.5, 1)
    monkeypatch.setattr(resampling, "_CELLS", 200)
    means = block_bootstrap_means(series, length=10, resamples=50, seed=1)
    assert len(set(means)) == 50


def test_the_closed_form_is_the_drawn_deviation():
    series = autoregression(900, 0.7, 2)
    for length in (1, 9, 30):
        drawn = block_bootstrap_means(series, length=length, resamples=20_000, seed=1).std()
        assert block_bootstrap_deviation(series, length=length) == pytest.approx(drawn, rel=0.03)


@pytest.mark.parametrize("rho", [0.5, 0.8])
def test_the_automatic_length_is_the_best_one_for_an_autoregression(rho):
    n = 20_000
    best = (1.5 * (2 * rho / (1 - rho**2)) ** 2) ** (1 / 3) * n ** (1 / 3)
    lengths = [resampling._automatic_length(autoregression(n, rho, seed)) for seed in range(20)]
    assert np.median(lengths) == pytest.approx(best, rel=0.25)


def test_independent_samples_need_no_blocks():
    assert np.median([resampling._automatic_length(autoregression(5_000, 0.0, seed)) for seed in range(20)]) <= 3


def test_lengths_hold_overlapping_labels_together_and_stay_within_the_series():
    noise = autoregression(1_000, 0.0, 1)
    assert block_length(noise, horizon_bars=25) == 100
    assert block_length(noise, horizon_bars=500) == 333
    assert block_length(noise[:5], horizon_bars=4) == 1
    assert block_length(np.zeros(100)) == 5


def test_the_deviation_of_a_mean_under_overlap_is_found():
    truth = 4 / math.sqrt(3_000)
    found = [
        block_bootstrap_deviation(series, length=block_length(series, horizon_bars=4))
        for series in (lfilter(np.ones(4), 1.0, np.random.default_rng(s).standard_normal(3_004))[4:] for s in range(40))
    ]
    assert np.mean(found) == pytest.approx(truth, rel=0.1)


@pytest.mark.parametrize(("length", "resamples"), [(0, 5), (11, 5), (3, 0)])
def test_what_cannot_be_resampled_is_quoted(length, resamples):
    with pytest.raises(EvaluationError, match=f"10 samples .* {resamples} times in blocks of {length}"):
        block_bootstrap_means(np.ones(10), length=length, resamples=resamples, seed=1)


def test_thinning():
    assert [thin(10, horizon) for horizon in (0, 1, 3, 11)] == [10, 10, 3, 0]
