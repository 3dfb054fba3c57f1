"""Laws of the online learner: a restart that nobody could notice, and forecasts that are probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kalibre.core.bars import Bar
from kalibre.core.learning import Moment, Sample, Seat
from kalibre.learners._adwin import Adwin
from kalibre.learners._online_linear import Ftrl
from kalibre.learners.online import Online

BAR = Bar(open_time=0, open=1.0, high=1.0, low=1.0, close=1.0, volume=1.0)
COLUMNS = 6


def online(horizon: int, seed: int) -> Online:
    names = tuple(f"column_{k}" for k in range(COLUMNS))
    return Online(Seat(symbol="X", timeframe="1m", horizon_bars=horizon, columns=names, fee=0.0, seed=seed))


def market(seed: int, n: int) -> tuple[list[Moment], list[bool | None]]:
    """Return closes with columns of any size, some unknown, and outcomes: a truth that turns around, some lost."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, COLUMNS)) * 10.0 ** rng.integers(-4, 4, size=COLUMNS)
    ups = (rows[:, 0] > 0.0) ^ (np.arange(n) > rng.integers(n // 4, n)) ^ (rng.random(n) < 0.05)
    rows[rng.random(n) < 0.03, rng.integers(COLUMNS)] = np.nan
    rows.flags.writeable = False
    outcomes = [None if lost else bool(up) for up, lost in zip(ups, rng.random(n) < 0.02, strict=True)]
    return [Moment((t + 1) * 60_000, BAR, row, True) for t, row in enumerate(rows)], outcomes


class Course:
    """A learner with what it said: it learns where an outcome is known."""

    def __init__(self, horizon: int, seed: int, n: int) -> None:
        self.learner, self.horizon, self.seed = online(horizon, seed), horizon, seed
        self.moments, self.ups = market(seed, n)
        self.said: list[float | None] = []

    def step(self) -> None:
        past = len(self.said) - self.horizon
        if past >= 0:
            up = self.ups[past]
            if up is not None:
                self.learner.learn_one(Sample(self.moments[past], self.said[past], None, up, 0.0))
        self.said.append(self.learner.predict_proba_one(self.moments[len(self.said)]))

    def restart(self) -> None:
        """Go on in another learner from what a file would bring back."""
        state = {key: np.array(v) if isinstance(v, np.ndarray) else v for key, v in self.learner.state().items()}
        self.learner = online(self.horizon, self.seed)
        self.learner.restore(state)


def bits(learner: Online) -> dict[str, bytes]:
    return {key: np.asarray(value).tobytes() for key, value in learner.state().items()}


@given(st.integers(0, 10_000), st.integers(1, 5), st.lists(st.integers(0, 1_199), min_size=1, max_size=4))
@settings(max_examples=25, deadline=None)
def test_restarts_at_any_bars_change_no_bit(seed: int, horizon: int, at: list[int]) -> None:
    """Drifts, alarms, background trees and holes included: forecasts, state and all that is told stay the same."""
    whole, broken = Course(horizon, seed, 1_200), Course(horizon, seed, 1_200)
    for t in range(1_200):
        if t in at:
            broken.restart()
        whole.step()
        broken.step()
    assert broken.said == whole.said
    assert bits(broken.learner) == bits(whole.learner)
    assert broken.learner.figures() == whole.learner.figures()
    assert broken.learner.show() == whole.learner.show()


def test_the_law_would_notice_a_part_of_the_state_that_is_lost() -> None:
    """The planted failure: without any one of its arrays, what it says or knows later differs."""
    whole = Course(2, 5, 1_200)
    for _ in range(900):
        whole.step()
    state = {key: np.array(v) if isinstance(v, np.ndarray) else v for key, v in whole.learner.state().items()}
    fresh = online(2, 5).state()
    for _ in range(300):
        whole.step()
    for name in ("linear.table", "linear.book", "linear.window", "forest.windows", "stack.book"):
        broken = Course(2, 5, 1_200)
        broken.said = whole.said[:900]
        broken.learner.restore({**state, name: fresh[name]})
        for _ in range(300):
            broken.step()
        assert bits(broken.learner) != bits(whole.learner), name


@given(st.integers(0, 10_000), st.integers(1, 5))
@settings(max_examples=15, deadline=None)
def test_what_it_says_is_a_probability_or_nothing(seed: int, horizon: int) -> None:
    course = Course(horizon, seed, 600)
    for _ in range(600):
        course.step()
    for p, moment in zip(course.said, course.moments, strict=True):
        assert (p is None) == (not np.isfinite(moment.row).all())
        assert p is None or 0.0 < p < 1.0
    weights = [value for name, value in course.learner.figures().items() if name.startswith("weight_")]
    assert all(weight is not None and weight > 0.0 for weight in weights)
    assert abs(sum(weight or 0.0 for weight in weights) - 1.0) < 1e-9


@given(st.integers(0, 10_000), st.floats(-6, 6), st.floats(-1e3, 1e3))
@settings(max_examples=25, deadline=None)
def test_the_unit_of_a_column_does_not_matter(seed: int, scale: float, shift: float) -> None:
    """The linear member standardises: another unit and another zero give the same forecasts, but for rounding."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(150, 3))
    ups = rng.random(150) < 0.5
    one, other = Ftrl(3), Ftrl(3)
    for t, (row, up) in enumerate(zip(rows, ups.tolist(), strict=True), start=1):
        moved = row.copy()
        moved[1] = (row[1] + shift) * 10.0**scale
        p, q = one.predict_proba_one(row, t), other.predict_proba_one(moved, t)
        assert p is not None
        assert q is not None
        assert abs(p - q) < 1e-6
        one.learn_one(row, up, t)
        other.learn_one(moved, up, t)


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=400), st.sampled_from([1, 4, 32]))
@settings(max_examples=40, deadline=None)
def test_the_window_is_always_the_newest_values(values: list[float], every: int) -> None:
    window = Adwin(doubt=0.05, every=every)
    for n, value in enumerate(values, start=1):
        window.update(value)
        newest: Any = np.array(values[n - window.width : n])
        assert abs(window.mean - newest.mean()) < 1e-9
        assert abs(window.variance - newest.var()) < 1e-9
