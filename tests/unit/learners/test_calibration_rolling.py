"""Calibration on the way: the maximum it claims, honest where nothing is known, the same after a restart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from kalibre.core.errors import LearnerError
from kalibre.learners._calibration import RollingCalibration
from kalibre.log.replay import copy_state, state_digest


def rolling(**changes: Any) -> RollingCalibration:
    return RollingCalibration(**{"window": 400, "needed": 100, "refit_every": 50, "horizon_bars": 1, **changes})


def odds(score: Any) -> Any:
    kept = np.clip(score, 1e-4, 1 - 1e-4)
    return np.log(kept / (1 - kept))


def fed(calibration: RollingCalibration, scores: Any, ups: Any) -> RollingCalibration:
    for score, up in zip(scores, ups, strict=True):
        calibration.take(float(score), went_up=bool(up))
    return calibration


samples = st.lists(st.tuples(st.floats(0.0, 1.0), st.booleans()), min_size=100, max_size=260)


@settings(max_examples=40, deadline=None)
@given(samples, st.integers(1, 12))
def test_the_curve_is_the_maximum_that_scipy_finds(taken: list[tuple[float, bool]], horizon: int) -> None:
    """Weighted likelihood times the priors, over any scores, certain ones and separable ones too."""
    used = taken[: len(taken) // 50 * 50]
    x, up = odds(np.array([score for score, _ in used])), np.array([up for _, up in used], dtype=float)

    def objective(theta: Any) -> float:
        z = theta[0] * x + theta[1]
        likelihood = np.sum(np.logaddexp(0, z) - up * z) / horizon
        return float(likelihood + theta[0] ** 2 + 0.5e-3 * theta[1] ** 2)

    best = minimize(objective, [0.0, 0.0], method="BFGS", options={"gtol": 1e-9}).x
    calibration = fed(rolling(horizon_bars=horizon), [score for score, _ in used], up)
    if best[0] < -1e-6:
        rate = (up.sum() + 1) / (len(up) + 2)
        assert calibration.apply(0.9) == calibration.apply(0.1) == pytest.approx(rate, abs=1e-4)
        return
    for score in (0.0, 0.2, 0.5, 0.9, 1.0):
        expected = 1 / (1 + math.exp(-(max(best[0], 0.0) * float(odds(score)) + best[1])))
        assert calibration.apply(score) == pytest.approx(expected, abs=2e-4)


@settings(max_examples=60, deadline=None)
@given(samples, st.lists(st.floats(0.0, 1.0), min_size=2, max_size=6))
def test_it_is_a_probability_that_rises_with_the_score(taken: list[tuple[float, bool]], asked: list[float]) -> None:
    calibration = fed(rolling(), *zip(*taken, strict=True))
    answers = [calibration.apply(score) for score in sorted(asked)]
    assert all(answer is not None and 0.0 < answer < 1.0 for answer in answers)
    assert answers == sorted(answers, key=lambda answer: answer or 0.0)


def test_it_says_nothing_before_enough_has_matured() -> None:
    calibration = rolling()
    for k in range(100):
        assert calibration.apply(0.7) is None
        assert calibration.missing == 100 - k
        calibration.take(0.7, went_up=k % 3 == 0)
    assert calibration.apply(0.7) is not None
    assert calibration.missing == 0
    calibration.forget()
    assert calibration.apply(0.7) is None
    assert calibration.missing == 100


def test_a_planted_curve_is_found_and_honest_scores_stay() -> None:
    rng = np.random.default_rng(1)
    for slope, intercept in ((1.0, 0.0), (0.4, 0.3), (2.5, -0.5)):
        scores = 1 / (1 + np.exp(-rng.normal(0, 1.2, 6_000)))
        truth = 1 / (1 + np.exp(-(slope * odds(scores) + intercept)))
        calibration = fed(rolling(window=6_000), scores, rng.random(6_000) < truth)
        for score in (0.2, 0.5, 0.8):
            expected = 1 / (1 + math.exp(-(slope * float(odds(score)) + intercept)))
            assert calibration.apply(score) == pytest.approx(expected, abs=0.03)


def test_who_knows_nothing_or_the_contrary_says_the_base_rate() -> None:
    rng = np.random.default_rng(2)
    scores = rng.uniform(0.2, 0.8, 2_000)
    nothing = fed(rolling(window=2_000), scores, rng.random(2_000) < 0.6)
    contrary = fed(rolling(window=2_000), scores, rng.random(2_000) < 1 - scores)
    for score in (0.2, 0.8):
        assert nothing.apply(score) == pytest.approx(0.6, abs=0.05)
        assert contrary.apply(score) == contrary.apply(0.5)


def test_neighbours_that_repeat_each_other_count_less() -> None:
    """Sixteen copies of each sample, each counted as a sixteenth, make the curve of one."""
    rng = np.random.default_rng(3)
    scores = rng.uniform(0.3, 0.7, 120)
    ups = rng.random(120) < scores
    once = fed(rolling(window=4_000, needed=120, refit_every=120), scores, ups)
    often = fed(
        rolling(window=4_000, needed=1_920, refit_every=1_920, horizon_bars=16),
        np.repeat(scores, 16),
        np.repeat(ups, 16),
    )
    careless = fed(rolling(window=4_000, needed=1_920, refit_every=1_920), np.repeat(scores, 16), np.repeat(ups, 16))
    assert often.apply(0.7) == pytest.approx(once.apply(0.7), abs=1e-6)
    spread = [abs((one.apply(0.7) or 0) - (one.apply(0.3) or 0)) for one in (once, careless)]
    assert spread[1] > 1.2 * spread[0]


def test_only_the_newest_count() -> None:
    rng = np.random.default_rng(4)
    old = fed(rolling(), rng.uniform(0, 1, 1_000), np.ones(1_000))
    fed(old, np.full(400, 0.5), np.arange(400) % 2 == 0)
    assert old.apply(0.5) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("score", [0.0, 1.0, 5e-324, 1.0 - 1e-16])
def test_certain_scores_stay_finite(score: float) -> None:
    calibration = fed(rolling(), np.full(300, score), np.full(300, score > 0.5))
    answer = calibration.apply(score)
    assert answer is not None
    assert 0.0 < answer < 1.0
    assert abs(answer - score) < 0.05


@pytest.mark.parametrize("cut", [0, 99, 100, 137, 150, 460])
def test_it_goes_on_from_its_state(cut: int) -> None:
    rng = np.random.default_rng(5)
    scores, ups = rng.uniform(0, 1, 900), rng.random(900) < 0.5
    straight, stopped = rolling(), fed(rolling(), scores[:cut], ups[:cut])
    fed(straight, scores, ups)
    again = rolling()
    again.restore(copy_state(stopped.state()))
    assert state_digest(again.state()) == state_digest(stopped.state())
    fed(again, scores[cut:], ups[cut:])
    assert state_digest(again.state()) == state_digest(straight.state())
    assert again.apply(0.6) == straight.apply(0.6)


def test_a_state_of_another_window_is_refused_without_a_change() -> None:
    calibration = fed(rolling(), np.full(120, 0.6), np.arange(120) % 2 == 0)
    before = state_digest(calibration.state())
    with pytest.raises(LearnerError, match=r"keeps \(300,\) scores, not 400"):
        calibration.restore(rolling(window=300).state())
    assert state_digest(calibration.state()) == before
