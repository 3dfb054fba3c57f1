"""ADWIN against River's, and what neither may do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from river import drift

from kalibre.core.errors import LearnerError
from kalibre.learners._adwin import COLUMNS, SIZES, TICK, TOTAL, WIDTH, Adwin, insert, watch


def changing(seed: int) -> Any:
    """Return 2,000 numbers in [0, 1] whose mean changes three times; coins or anything between."""
    rng = np.random.default_rng(seed)
    means = np.repeat(rng.uniform(0.1, 0.9, 4), 500)
    return (rng.random(2_000) < means).astype(float) if seed % 2 else rng.beta(2, 2, 2_000) * means


@pytest.mark.parametrize(("doubt", "every"), [(0.002, 32), (0.01, 1), (0.001, 8)])
def test_it_sees_what_river_sees_and_keeps_the_same_window(doubt: float, every: int) -> None:
    """River begins anew after each change, so this does here; windows are compared at each."""
    changes = 0
    for seed in range(30):
        ours, theirs = Adwin(doubt=doubt, every=every), drift.ADWIN(delta=doubt, clock=every)
        for value in changing(seed).tolist():
            theirs.update(value)
            found = ours.update(value)
            assert (found != 0) == theirs.drift_detected
            if found:
                changes += 1
                assert ours.width == theirs.width
                assert ours.mean == pytest.approx(theirs.estimation, abs=1e-12)
                assert ours.variance == pytest.approx(theirs.variance / theirs.width, abs=1e-9)
                ours = Adwin(doubt=doubt, every=every)
    assert changes > 40


def test_it_tells_rising_from_falling() -> None:
    rng = np.random.default_rng(1)
    for before, after, sign in ((0.1, 0.6, 1), (0.6, 0.1, -1)):
        window = Adwin()
        found = [window.update(float(rng.random() < p)) for p in [before] * 500 + [after] * 200]
        assert {one for one in found if one} == {sign}
        assert not any(found[:500])
        assert window.mean == pytest.approx(after, abs=0.15)


def test_false_alarms_are_rare() -> None:
    alarms = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        window = Adwin(doubt=0.002)
        alarms += sum(window.update(float(value)) != 0 for value in rng.random(5_000) < 0.3)
    assert alarms <= 3


def test_a_full_window_lets_the_oldest_fall_out() -> None:
    """With five buckets of every size the next value is the one that runs over, all the way up."""
    window = np.zeros((1 + SIZES, COLUMNS))
    sizes = 2.0 ** np.arange(SIZES)
    window[1:, 0] = 5.0
    window[1:, 1:6] = 0.25 * sizes[:, None]
    window[0, WIDTH], window[0, TOTAL] = 5.0 * sizes.sum(), 1.25 * sizes.sum()
    before = window[0, WIDTH]
    insert(window, 0.25)
    assert window[0, WIDTH] == before + 1.0 - sizes[-1]
    assert window[0, WIDTH] == (window[1:, 0] * sizes).sum()
    assert window[0, TOTAL] == pytest.approx(0.25 * window[0, WIDTH])
    for _ in range(100):
        assert watch(window, 0.25, 0.002, 1) == 0
    assert window[0, TICK] == 100.0


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_what_is_not_between_0_and_1_is_refused(value: float) -> None:
    with pytest.raises(LearnerError, match="scale them"):
        Adwin().update(value)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(LearnerError, match="doubt 0"):
        Adwin(doubt=0.0)
    with pytest.raises(LearnerError, match="every 0"):
        Adwin(every=0)
