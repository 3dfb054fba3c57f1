"""Laws of the panel of agents: the bound on its regret, and a restart that nobody could notice."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kalibre.core.bars import Bar
from kalibre.core.learning import Moment, Sample, Seat
from kalibre.learners.agents import MEMBERS, Agents

COLUMNS = Agents.columns or ()
BAR = Bar(open_time=0, open=1.0, high=1.0, low=1.0, close=1.0, volume=1.0)


def panel_of(horizon: int) -> Agents:
    return Agents(Seat(symbol="X", timeframe="1m", horizon_bars=horizon, columns=COLUMNS, fee=0.0, seed=1))


def moments_of(seed: int, n: int) -> list[Moment]:
    """Return closes with indicators of any size, some unknown, some rows unknown as a whole."""
    rng = np.random.default_rng(seed)
    made = rng.normal(size=(n, len(COLUMNS))) * 10.0 ** rng.integers(-4, 3, size=len(COLUMNS))
    made[rng.random(made.shape) < 0.3] = np.nan
    made[rng.random(n) < 0.1] = np.nan
    made.flags.writeable = False
    return [Moment((t + 1) * 60_000, BAR, row, True) for t, row in enumerate(made)]


class Course:
    """A panel with what it said: it learns where an outcome is known."""

    def __init__(self, horizon: int, moments: list[Moment], ups: list[bool | None]) -> None:
        self.panel, self.horizon, self.moments, self.ups = panel_of(horizon), horizon, moments, ups
        self.scores: list[float | None] = []

    def step(self) -> None:
        t = len(self.scores)
        if t >= self.horizon:
            past = t - self.horizon
            up = self.ups[past]
            if up is not None:
                self.panel.learn_one(Sample(self.moments[past], self.scores[past], None, up, 0.0))
        self.scores.append(self.panel.predict_proba_one(self.moments[t]))


def stored(state: Any) -> dict[str, Any]:
    """Return a state as it comes back from a file: copies."""
    return {key: np.array(value) if isinstance(value, np.ndarray) else value for key, value in state.items()}


ups_or_lost = st.lists(st.sampled_from([True, True, False, None]), min_size=60, max_size=60)


@given(st.integers(0, 10_000), st.integers(1, 6), ups_or_lost, st.integers(0, 59))
@settings(max_examples=40, deadline=None)
def test_a_restart_at_any_bar_changes_no_bit(seed: int, horizon: int, ups: list[bool | None], at: int) -> None:
    moments = moments_of(seed, 60)
    whole, broken = Course(horizon, moments, ups), Course(horizon, moments, ups)
    for t in range(60):
        if t == at:
            kept = stored(broken.panel.state())
            broken.panel = panel_of(horizon)
            broken.panel.restore(kept)
        whole.step()
        broken.step()
    assert broken.scores == whole.scores
    assert broken.panel.show() == whole.panel.show()
    assert broken.panel.figures() == whole.panel.figures()
    for key, value in whole.panel.state().items():
        assert np.asarray(value).tobytes() == np.asarray(broken.panel.state()[key]).tobytes()


@given(st.integers(0, 10_000), st.integers(1, 6), ups_or_lost)
@settings(max_examples=60, deadline=None)
def test_nobody_was_better_by_more_than_the_bound(seed: int, horizon: int, ups: list[bool | None]) -> None:
    """From what was said alone: for each member over the samples it was awake for, whatever happens and is lost."""
    course = Course(horizon, moments_of(seed, 60), ups)
    spoken: list[list[float | None]] = []
    for _ in range(60):
        course.step()
        spoken.append([row["last"] for row in course.panel.show()["agents"]])
    regret = np.zeros(len(MEMBERS))
    for mixed, members, up in list(zip(course.scores, spoken, ups, strict=True))[: 60 - horizon]:
        if mixed is None or up is None:
            continue
        for i, own in enumerate(members):
            if own is not None:
                regret[i] += math.log(own / mixed) if up else math.log((1 - own) / (1 - mixed))
    assert regret.max() / horizon <= math.log(len(MEMBERS)) + 1e-9


@given(st.integers(0, 10_000), st.integers(1, 6), ups_or_lost)
@settings(max_examples=30, deadline=None)
def test_what_it_says_is_a_probability_and_its_weights_one(seed: int, horizon: int, ups: list[bool | None]) -> None:
    course = Course(horizon, moments_of(seed, 60), ups)
    for t in range(60):
        course.step()
        score = course.scores[t]
        assert score is None or 0.01 <= score <= 0.99
        assert (score is None) == all(row["last"] is None for row in course.panel.show()["agents"])
    agents = course.panel.show()["agents"]
    assert math.isclose(sum(row["weight"] for row in agents), 1.0, abs_tol=1e-9)
    assert math.isclose(sum(row["lately"] for row in agents[:-1]), 1.0, abs_tol=1e-9)
    assert all(row["trust"] is None or row["trust"] >= 0.0 for row in agents)
