"""Laws of the reinforcement learner: interruption at any bar, any splitting, and what its numbers can be."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.reinforcement import copied, moments, run, seat

from kalibre.learners import _reinforcement_table as table
from kalibre.learners._reinforcement_states import N_CELLS, Reading, locate, nowhere
from kalibre.learners.reinforcement import Reinforcement

_N = 160
_finite = st.floats(-1e200, 1e200)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 50),
    cuts=st.lists(st.integers(0, _N), max_size=4),
    hindsight=st.booleans(),
    own=st.integers(0, 2**48 - 1),
)
def test_interrupted_anywhere_it_goes_on_bit_for_bit(seed, cuts, hindsight, own):
    told = moments(_N, seed=seed, unknown=0.05, holes=0.05)
    whole = Reinforcement(seat(seed=own), hindsight=hindsight)
    said = run(whole, told)
    again: list[float | None] = []
    learner = Reinforcement(seat(seed=own), hindsight=hindsight)
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), _N], strict=True):
        again += run(learner, told[:end], first=start)
        state = copied(learner)
        learner = Reinforcement(seat(seed=own), hindsight=hindsight)
        learner.restore(state)
    assert again == said
    for name, value in copied(whole).items():
        np.testing.assert_array_equal(copied(learner)[name], value, err_msg=name)


def test_a_learner_that_forgets_its_place_is_caught():
    """The law above would see a state from which the last bar's place is missing."""
    told = moments(_N, seed=1)
    whole, learner = Reinforcement(seat()), Reinforcement(seat())
    run(whole, told)
    run(learner, told[:80])
    state = copied(learner)
    learner = Reinforcement(seat())
    learner.restore({**state, "shares": np.zeros(4)})
    run(learner, told, first=80)
    assert not np.array_equal(copied(learner)["q"], copied(whole)["q"])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1_000), hindsight=st.booleans())
def test_the_same_bars_give_the_same_learner(seed, hindsight):
    told = moments(120, seed=seed, unknown=0.1, holes=0.1)
    found = []
    for _ in range(2):
        learner = Reinforcement(seat(), hindsight=hindsight)
        found.append((run(learner, told), {name: value.tobytes() for name, value in copied(learner).items()}))
    assert found[0] == found[1]


@settings(max_examples=300, deadline=None)
@given(st.tuples(*[_finite] * 5), st.floats(1e-12, 1e6))
def test_shares_are_a_partition_whatever_the_row(numbers, volatility):
    place = nowhere()
    assert locate(place, Reading(*numbers, volatility))
    assert place.shares.min() >= 0.0
    assert abs(place.shares.sum() - 1.0) < 1e-12
    assert place.cells.min() >= 0
    assert place.cells.max() < N_CELLS
    assert len(set(place.cells.tolist())) == 4


@settings(max_examples=200, deadline=None)
@given(
    held=st.integers(0, 1),
    holds=st.integers(0, 1),
    prices=st.tuples(*[st.floats(1e-3, 1e6)] * 3),
    volatility=st.floats(1e-5, 1.0),
    fee=st.floats(0.0, 0.05),
    aversion=st.floats(0.0, 1.0),
)
def test_no_cost_and_no_aversion_ever_helps(held, holds, prices, volatility, fee, aversion):
    told = table.Prices(*prices)
    shaped, growth = table.reward(held, holds, told, volatility, fee, aversion)
    free, moved = table.reward(held, holds, told, volatility, 0.0, 0.0)
    assert shaped <= free
    assert growth <= moved
    if held == holds:
        assert growth == moved
    if not (held or holds):
        assert shaped == growth == 0.0
    # And it is the worse the more it costs.
    assert table.reward(held, holds, told, volatility, fee + 0.01, aversion)[0] <= shaped
