"""The environment: gymnasium's own checks, the learner's rewards bit for bit, and what it refuses."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from tests.fakes.reinforcement import moments, seat

from kalibre.core.errors import LearnerError
from kalibre.features.engine import FeatureEngine, FeatureSpec
from kalibre.learners import _reinforcement_table as table
from kalibre.learners.reinforcement import MarketEnv, Reinforcement
from kalibre.sources.simulated import Simulated


def _told(n=400, seed=1):
    return moments(n, seed=seed)


def _env(told, **options):
    options = {"fee": 5e-4, **options}
    return MarketEnv(
        np.array([now.bar.open for now in told]),
        np.array([now.bar.close for now in told]),
        np.array([now.row for now in told]),
        **options,
    )


@pytest.mark.parametrize("observation", ["index", "box"])
@pytest.mark.parametrize("random_start", [False, True])
def test_gymnasium_finds_nothing_wrong(observation, random_start):
    env = _env(_told(), observation=observation, random_start=random_start, episode_bars=50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # It has no pictures and is not registered, which the checker only remarks on.
        warnings.filterwarnings("ignore", message=".*(render|spec).*")
        check_env(env)


@pytest.mark.parametrize("hindsight", [True, False])
def test_its_rewards_are_the_learners_bit_for_bit(hindsight):
    """The learner trades; the environment is given what it decided, and must reward and hold the same."""
    told = _told(2_000, seed=3)
    env, learner = _env(told, fee=2e-3), Reinforcement(seat(fee=2e-3), hindsight=hindsight)
    env.reset(seed=1)
    learner.predict_proba_one(told[0])
    traded = 0
    for now in told[1:]:
        held, wants = learner._ledger[[table.HELD, table.WANTS]].astype(int).tolist()
        action = table.HOLD if held == wants else table.BUY if wants else table.SELL
        traded += action != table.HOLD
        seen, gained, terminated, _, info = env.step(action)
        learner.predict_proba_one(now)
        assert gained == learner._ledger[table.LAST_REWARD]
        assert info["held"] == int(learner._ledger[table.HELD])
        assert seen % 2 == info["held"]
        assert not terminated
    assert traded > 100


def test_another_fee_or_aversion_is_seen():
    """The comparison above can fail: an environment of other terms rewards otherwise."""
    told = _told(100)
    given = []
    for options in ({}, {"fee": 6e-4}, {"aversion": 0.03}):
        env = _env(told, **options)
        env.reset()
        given.append([env.step(action)[1] for action in (1, 0, 2, 1, 0, 0, 0, 0)])
    assert given[0] != given[1]
    assert given[0] != given[2]


def test_an_episode_is_truncated_at_its_end_and_needs_a_reset():
    env = _env(_told(10))
    env.reset()
    ended = [env.step(1)[3] for _ in range(9)]
    assert ended == [False] * 8 + [True]
    with pytest.raises(LearnerError, match="ended at row 9: call reset"):
        env.step(0)
    _, info = env.reset()
    assert info == {"held": 0, "row": 0}
    assert env.step(2)[4]["growth"] == 0.0


def test_seeds_choose_where_an_episode_begins():
    env = _env(_told(), episode_bars=20, random_start=True)
    starts = [env.reset(seed=seed)[1]["row"] for seed in (1, 2, 3, 1, 2, 3)]
    assert starts[:3] == starts[3:]
    assert len(set(starts)) == 3
    assert env.reset(options={"start": 379})[1]["row"] == 379
    with pytest.raises(LearnerError, match="starts at row 380: give 0 to 379"):
        env.reset(options={"start": 380})


def test_its_cell_is_the_one_that_the_learner_counts_a_decision_in():
    told = _told(50)
    env = _env(told)
    learner = Reinforcement(seat())
    for row, now in enumerate(told):
        before = learner.state()["tries"].copy()
        learner.predict_proba_one(now)
        cell, held = np.argwhere(learner.state()["tries"] != before)[0].tolist()
        assert env.observations(held)[row] == 2 * cell + held


def test_a_box_says_the_numbers_behind_the_cell():
    told = _told(50)
    env = _env(told, observation="box")
    seen, _ = env.reset()
    rsi, macd, histogram, distance, now, usual = told[0].row
    expected = [rsi / 50 - 1, macd / usual / 5, histogram / usual / 2, distance / usual / math.sqrt(96)]
    expected += [math.log(now / usual), 0.0]
    assert seen == pytest.approx(np.array(expected), rel=1e-6)
    seen = env.step(1)[0]
    assert seen[-1] == 1.0
    np.testing.assert_array_equal(env.observations(1)[1], seen)
    assert env.observation_space.contains(env.observations(1)[0])


def test_bars_can_be_given():
    bars, _ = Simulated("driftless", n_bars=900).simulate("X", "15m")
    env = MarketEnv.of_bars(bars, fee=5e-4, observation="box")
    rows = FeatureEngine(FeatureSpec("15m", columns=Reinforcement.columns)).batch(bars)
    first = int(np.argmax(np.isfinite(rows).all(axis=1)))
    assert 0 < first < 700
    seen, _ = env.reset()
    assert seen[0] == pytest.approx(rows[first, 0] / 50 - 1, rel=1e-6)
    env.step(1)
    _, _, _, _, info = env.step(0)
    assert info["growth"] == pytest.approx(math.log(bars.close[first + 2] / bars.close[first + 1]))


def test_bars_with_a_hole_or_too_few_are_refused():
    bars, _ = Simulated("driftless", n_bars=900).simulate("X", "15m")
    with pytest.raises(LearnerError, match="missing after row 99"):
        MarketEnv.of_bars(bars[np.r_[0:100, 101:900]], fee=0.0)
    with pytest.raises(LearnerError, match="too few"):
        MarketEnv.of_bars(bars[:100], fee=0.0)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda o, c, r: (o[:-1], c, r), "do not fit"),
        (lambda o, c, r: (o, c, r[:, :5]), "do not fit"),
        (lambda o, c, r: (o[:1], c[:1], r[:1]), "do not fit"),
        (lambda o, c, r: (np.r_[o[:3], 0.0, o[4:]], c, r), "open 0.0 at row 3"),
        (lambda o, c, r: (o, np.r_[c[:3], np.nan, c[4:]], r), "close nan at row 3"),
        (lambda o, c, r: (o, c, np.vstack([r[:3], r[3:4] * np.nan, r[4:]])), "row 3 is not known"),
        (lambda o, c, r: (o, c, np.vstack([r[:3], r[3:4] * [1, 1, 1, 1, 1, 0], r[4:]])), "row 3 is not known"),
    ],
)
def test_what_is_no_stretch_of_a_market_is_refused(spoil, told):
    now = _told(10)
    columns = [
        np.array([one.bar.open for one in now]),
        np.array([one.bar.close for one in now]),
        np.array([one.row for one in now]),
    ]
    with pytest.raises(LearnerError, match=told):
        MarketEnv(*spoil(*columns), fee=0.0)


@pytest.mark.parametrize(
    ("options", "told"), [({"episode_bars": 10}, "episode of 10 bars"), ({"observation": "picture"}, "'picture'")]
)
def test_options_that_make_no_sense_are_refused(options, told):
    with pytest.raises(LearnerError, match=told):
        _env(_told(10), **options)
