"""Laws of significance: scale and order do not matter where they should not, trials only ever take away."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalibre.evaluation.significance import (
    cscv_logits,
    deflated_sharpe_ratio,
    sharpe_ratio,
    smallest_passing_sharpe,
)


@st.composite
def returns(draw: st.DrawFn) -> np.ndarray:
    """Per-bar returns, mostly flat or not, skewed or not."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(30, 2_000))
    active = rng.random(n) < draw(st.floats(0.05, 1.0))
    active[:2] = True
    return draw(st.floats(1e-5, 1e-1)) * active * (rng.standard_t(5, n) + draw(st.floats(-0.3, 0.3)))


@settings(max_examples=150, deadline=None)
@given(returns(), st.floats(1e-6, 1e6), st.floats(1.0, 500.0), st.floats(0.0, 0.1))
def test_scale_does_not_matter_and_probabilities_are_probabilities(series, scale, n_trials, std):
    dsr = deflated_sharpe_ratio(series, n_trials=n_trials, trial_sharpe_std=std)
    assert 0.0 <= dsr <= 1.0
    assert deflated_sharpe_ratio(series * scale, n_trials=n_trials, trial_sharpe_std=std) == pytest.approx(
        dsr, abs=1e-9
    )
    assert sharpe_ratio(-series) == pytest.approx(-sharpe_ratio(series))


@settings(max_examples=150, deadline=None)
@given(returns(), st.floats(1.0, 500.0), st.floats(1.0, 3.0), st.floats(0.0, 0.1))
def test_more_trials_never_help(series, n_trials, more, std):
    few = deflated_sharpe_ratio(series, n_trials=n_trials, trial_sharpe_std=std)
    many = deflated_sharpe_ratio(series, n_trials=n_trials * more, trial_sharpe_std=std)
    assert many <= few + 1e-12
    assert smallest_passing_sharpe(series, n_trials=n_trials * more, trial_sharpe_std=std) >= (
        smallest_passing_sharpe(series, n_trials=n_trials, trial_sharpe_std=std) - 1e-12
    )


@settings(max_examples=150, deadline=None)
@given(returns(), st.floats(1.0, 100.0), st.floats(0.0, 0.05))
def test_passing_is_having_more_than_the_smallest_passing_sharpe(series, n_trials, std):
    passing = smallest_passing_sharpe(series, n_trials=n_trials, trial_sharpe_std=std)
    sharpe = sharpe_ratio(series)
    if abs(sharpe - passing) > 1e-9:
        dsr = deflated_sharpe_ratio(series, n_trials=n_trials, trial_sharpe_std=std)
        assert (dsr > 0.95) == (sharpe > passing)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 20), st.sampled_from([2, 4, 6]))
def test_cscv_does_not_care_about_the_order_of_trials_or_time(seed, n, blocks):
    rng = np.random.default_rng(seed)
    trials = rng.standard_normal((blocks * 10, n))
    logits = np.sort(cscv_logits(trials, blocks=blocks))
    np.testing.assert_allclose(np.sort(cscv_logits(trials[:, rng.permutation(n)], blocks=blocks)), logits, atol=1e-9)
    np.testing.assert_allclose(np.sort(cscv_logits(trials[::-1], blocks=blocks)), logits, atol=1e-9)
