"""Laws of calibration: never 0 or 1, never against the score, order kept inside what was seen, noise never paid for."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kalibre.evaluation.calibration import calibration_error, centred_isotonic, debiased_error, fit_calibrator
from kalibre.models.calibrator import Calibrator


@st.composite
def samples(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Scores of any shape, ties and extremes included, with outcomes of any relation to them."""
    n = draw(st.integers(2, 2_500))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    score = rng.beta(draw(st.floats(0.2, 5.0)), draw(st.floats(0.2, 5.0)), n).round(draw(st.integers(1, 12)))
    skill = draw(st.floats(-1.0, 1.0))
    y = (rng.random(n) < np.clip(0.5 + skill * (score - 0.5) * 2, 0, 1)).astype(float)
    y[0], y[-1] = 0.0, 1.0
    return score, y


@settings(max_examples=150, deadline=None)
@given(samples(), st.integers(1, 5))
def test_a_calibrator_is_monotone_strictly_inside_and_stored_exactly(sample, horizon):
    score, y = sample
    calibrator = fit_calibrator(score, y, horizon_bars=horizon)
    grid = np.unique(np.concatenate([score, np.linspace(0, 1, 501)]))
    p = calibrator.apply(grid)
    assert (np.diff(p) >= 0).all()
    assert p.min() > 0
    assert p.max() < 1
    assert Calibrator.from_dict(calibrator.as_dict()) == calibrator


@settings(max_examples=100, deadline=None)
@given(samples())
def test_isotonic_keeps_the_order_of_every_score_it_saw(sample):
    score, y = sample
    calibrator = fit_calibrator(score, y)
    if calibrator.kind != "isotonic":
        return
    seen = np.unique(score)
    p = calibrator.apply(seen)
    # Scores closer than rounding resolves may share a value; none may change places.
    far = np.diff(seen) > 1e-9
    assert (np.diff(p)[far] > 0).all()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0.1, 9.0)), min_size=1, max_size=60),
)
def test_centred_isotonic_keeps_the_mean_and_rises(points):
    y, weight = (np.array(side) for side in zip(*points, strict=True))
    x = np.arange(len(y), dtype=float)
    knots_x, knots_y = centred_isotonic(x, y, weight)
    assert (np.diff(knots_x) > 0).all()
    assert (np.diff(knots_y) > 0).all()
    assert y.min() - 1e-12 <= knots_y[0]
    assert knots_y[-1] <= y.max() + 1e-12
    if len(knots_y) == 1:
        np.testing.assert_allclose(knots_y[0], np.average(y, weights=weight), atol=1e-9)
        np.testing.assert_allclose(knots_x[0], np.average(x, weights=weight), atol=1e-9)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=20),
    st.floats(1e-6, 0.2),
)
def test_debiasing_never_adds_and_never_goes_below_nothing(gaps, noise):
    gap = np.array([gaps])
    share = np.full(len(gaps), 1 / len(gaps))
    error = debiased_error(gap, np.full(len(gaps), noise), share)[0]
    assert 0.0 <= error <= np.abs(gap).mean() + 1e-12


@settings(max_examples=40, deadline=None)
@given(samples(), st.integers(1, 4))
def test_the_error_is_a_share_and_the_bins_hold_every_sample(sample, horizon):
    p, y = sample
    result = calibration_error(p, y, horizon_bars=horizon, seed=1, resamples=20)
    if result.note:
        assert len(p) // horizon < 400
        return
    assert 0.0 <= result.ece <= result.ece_plain + 1e-12 <= 1.0 + 1e-9
    assert 0.0 <= result.band[0] <= result.band[1]
    assert sum(row["n"] for row in result.bins) == len(p)
    mean = sum(row["n"] * row["observed"] for row in result.bins) / len(p)
    np.testing.assert_allclose(mean, y.mean())
