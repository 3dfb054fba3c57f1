"""The learner: what it says, when it is silent, what it keeps, what it shows, and that it cannot know the future."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time

import numpy as np
import pytest
from tests.fakes.reinforcement import NAMES, STEP_MS, copied, matured, moment, moments, run, seat

from kalibre.core.errors import LearnerError
from kalibre.core.learning import Forecaster
from kalibre.learners import _reinforcement_table as table
from kalibre.learners.reinforcement import LEARNER, Reinforcement

_KNOWN_ROW = [50.0, 1.0, 1.0, 0.01, 0.01, 0.01]


def test_it_is_a_forecaster():
    assert LEARNER is Reinforcement
    assert isinstance(Reinforcement(seat()), Forecaster)
    assert set(Reinforcement.columns) == set(NAMES)


def test_it_finds_its_columns_wherever_they_stand():
    told = moments(400, seed=4)
    mixed = ("hour_sin", *reversed(NAMES))
    shuffled = [now._replace(row=np.array([math.nan, *reversed(now.row.tolist())])) for now in told]
    assert run(Reinforcement(seat(columns=mixed)), shuffled) == run(Reinforcement(seat()), told)


def test_a_seat_without_its_columns_is_refused():
    with pytest.raises(LearnerError, match=r"rsi_14.*which X's rows lack"):
        Reinforcement(seat(columns=NAMES[1:]))


@pytest.mark.parametrize("place", range(6))
@pytest.mark.parametrize("unknown", [math.nan, math.inf])
def test_an_unknown_number_makes_it_abstain_and_hold(place, unknown):
    for position in (0, 1):
        learner = Reinforcement(seat())
        run(learner, moments(200, seed=2))
        learner._ledger[[table.HELD, table.WANTS]] = position
        row = list(_KNOWN_ROW)
        row[place] = unknown
        before = copied(learner)
        for t in range(5):
            assert learner.predict_proba_one(moment(500 + t, row)) is None
            assert learner._ledger[[table.HELD, table.WANTS]].tolist() == [position, position]
        after = copied(learner)
        for name in table.Knowledge._fields:
            np.testing.assert_array_equal(after[name], before[name])
        learner.learn_one(matured([moment(0, row), *moments(3)], 0))
        np.testing.assert_array_equal(copied(learner)["ups"], before["ups"])


def test_volatility_of_zero_is_unknown():
    assert Reinforcement(seat()).predict_proba_one(moment(0, [50.0, 1.0, 1.0, 0.0, 0.0, 0.0])) is None


def test_what_it_says_is_a_probability_and_inputs_stay_as_they_are():
    told = moments(800, seed=6, unknown=0.02, holes=0.01)
    rows = [now.row.copy() for now in told]
    said = [score for score in run(Reinforcement(seat()), told) if score is not None]
    assert len(said) > 700
    assert all(0.0 < score < 1.0 for score in said)
    assert len(set(said)) > 100
    for now, row in zip(told, rows, strict=True):
        np.testing.assert_array_equal(now.row, row)


def test_it_learns_what_rises():
    """Rows far below their mean are followed by a rise, rows far above by a fall: it says so, and trades so."""
    rng, price, learner, told = np.random.default_rng(1), 100.0, Reinforcement(seat()), []
    move, said = 0.0, {-1: [], 1: []}
    for t in range(3_000):
        opened, price = price, price * math.exp(move + 1e-3 * rng.standard_normal())
        side = -1 if t % 20 < 10 else 1
        row = [50 + 20 * side, side, -side, 0.6 * side * 1e-3 * math.sqrt(96), 1e-3, 1e-3]
        told.append(moment(t, row, opened=opened, close=price, follows=t > 0))
        move = -side * 1e-3
    for t, score in enumerate(run(learner, told)):
        if t > 1_500 and 2 < t % 10 < 6:
            said[-1 if t % 20 < 10 else 1].append(score)
    assert np.mean(said[-1]) > 0.8
    assert np.mean(said[1]) < 0.2
    assert learner.action(told[1].row, long=False) == table.BUY
    assert learner.action(told[11].row, long=True) == table.SELL
    assert learner.figures()["growth_bps"] > 2.0


def test_seeds_change_what_it_tries_and_not_what_it_says():
    told = moments(1_000, seed=8)
    one, other = Reinforcement(seat(seed=1)), Reinforcement(seat(seed=2))
    assert run(one, told) == run(other, told)
    assert one.figures()["trades"] != other.figures()["trades"]
    np.testing.assert_array_equal(one.state()["q"], other.state()["q"])


def test_without_hindsight_they_change_both():
    told = moments(1_000, seed=8)
    assert run(Reinforcement(seat(seed=1), hindsight=False), told) != run(
        Reinforcement(seat(seed=2), hindsight=False), told
    )


def test_exploration_fades_by_visits_and_not_by_time():
    learner = Reinforcement(seat())
    found = []
    for t in range(400):
        # Gaps of months between bars change nothing: what counts is how often it stood here.
        learner._ledger[table.WANTS] = learner._ledger[table.HELD] = 0.0
        learner.predict_proba_one(moment(t * (1 if t < 200 else 10_000), _KNOWN_ROW))
        found.append(learner.figures()["epsilon"])
    assert found == pytest.approx([4 / (4 + n) for n in range(400)])


def test_it_explores_as_often_as_it_says():
    """Over many bars, half of the explorations of a flat account that would hold are purchases."""
    learner, tried, expected = Reinforcement(seat(fee=0.5)), 0, 0.0
    for t in range(3_000):
        learner._ledger[table.HELD] = learner._ledger[table.WANTS] = 0.0
        learner._known.tries[:] = 36.0
        learner.predict_proba_one(moment(t, _KNOWN_ROW))
        tried += learner._ledger[table.WANTS] == 1.0
        expected += 0.5 * 0.1
    assert abs(tried - expected) < 4 * math.sqrt(expected)


def test_a_purchase_does_not_wait_across_a_hole_and_a_sale_does():
    learner = Reinforcement(seat())
    learner.predict_proba_one(moment(0, _KNOWN_ROW))
    learner._ledger[table.WANTS] = 1.0
    learner.predict_proba_one(moment(5, _KNOWN_ROW, follows=False))
    assert learner._ledger[table.HELD] == 0.0
    learner._ledger[[table.HELD, table.WANTS]] = 1.0, 0.0
    learner.predict_proba_one(moment(9, _KNOWN_ROW, follows=False))
    assert learner._ledger[table.HELD] == 0.0
    assert not learner._known.visits.any()


def test_bars_it_was_not_shown_are_a_hole():
    """While paused it is not asked; the host's next bar follows the one before, but not the one it knows."""
    learner = Reinforcement(seat())
    told = moments(60, seed=1)
    run(learner, told[:50])
    before = copied(learner)
    learner.predict_proba_one(told[53])
    np.testing.assert_array_equal(learner.state()["visits"], before["visits"])
    learner.predict_proba_one(told[54])
    assert learner.state()["visits"].sum() == pytest.approx(before["visits"].sum() + 4.0)


# --- the future -------------------------------------------------------------------------------------------------------


class Leaky(Reinforcement):
    """A planted leak: it takes the next bar's close for this one's, so it is rewarded by what has not happened yet."""

    ahead: list[float]

    def predict_proba_one(self, now):
        t = (now.close_ms // STEP_MS) - 1
        seen = now.bar.close if t + 1 >= len(self.ahead) else self.ahead[t + 1]
        return super().predict_proba_one(moment(t, now.row, opened=now.bar.open, close=seen, follows=now.follows))


def _altered(told, t):
    """Return the same bars up to `t`, others after it."""
    other = moments(len(told), seed=999)
    return [*told[: t + 1], *other[t + 1 :]]


@pytest.mark.parametrize(("make", "honest"), [(Reinforcement, True), (Leaky, False)])
def test_nothing_depends_on_the_future_and_a_leak_is_caught(make, honest):
    told = moments(600, seed=5)
    same = []
    for t in (150, 300, 450):
        found = []
        for history in (told, told[: t + 1], _altered(told, t)):
            learner = make(seat())
            learner.ahead = [now.bar.close for now in history]
            said = run(learner, history[: t + 1])
            found.append((said, learner.state()["ledger"].tobytes()))
        same.append(found[0] == found[1] == found[2])
    assert all(same) if honest else not any(same)


# --- state ------------------------------------------------------------------------------------------------------------


def test_its_state_does_not_grow():
    learner = Reinforcement(seat())
    sizes = set()
    for seed in range(3):
        run(learner, moments(400, seed=seed))
        sizes.add(sum(np.asarray(value).nbytes for value in learner.state().values()))
    assert len(sizes) == 1
    assert sizes.pop() < 20_000


def test_a_cell_forgets_so_that_its_counts_stay_bounded():
    learner = Reinforcement(seat())
    row = [50.0, 1.0, 1.0, 0.0, 0.01, 0.01]
    for went_up in (False, True):
        sample = matured([moment(t, row, close=100.0 + t * (1 if went_up else -1)) for t in range(4)], 0)
        for _ in range(30_000):
            learner.learn_one(sample)
    assert learner._known.ups[:, 0].max() <= table.SAMPLES_KEPT
    assert learner._ledger[table.SAMPLES] <= table.BASE_KEPT
    # The 30,000 newest samples all rose.
    assert learner._known.ups[:, 1].max() / learner._known.ups[:, 0].max() > 0.99


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: state.pop("q"),
        lambda state: state.update(visits=state["visits"][:-1]),
        lambda state: state.update(ledger=state["ledger"].astype(np.float32)),
        lambda state: state.update(cells=np.full(4, 0.5)),
        lambda state: state.update(last_ms="never"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(spoil):
    learner, other = Reinforcement(seat()), Reinforcement(seat())
    run(learner, moments(200, seed=1))
    run(other, moments(300, seed=2))
    state, before = copied(other), copied(learner)
    spoil(state)
    with pytest.raises(LearnerError, match="rebuild from the log"):
        learner.restore(state)
    for name, value in copied(learner).items():
        np.testing.assert_array_equal(value, before[name])


def test_a_place_out_of_the_table_is_refused():
    """Machine code checks no bounds: a damaged cell number would write elsewhere."""
    learner = Reinforcement(seat())
    state = copied(learner)
    for wrong in (-1, 120, 2**40):
        state["cells"] = np.array([0, 0, 0, wrong])
        with pytest.raises(LearnerError, match="cells"):
            learner.restore(state)
    for wrong in (2.0, 0.5, np.nan):
        state = copied(learner)
        state["ledger"][table.WANTS] = wrong
        with pytest.raises(LearnerError, match="ledger"):
            learner.restore(state)


# --- what people see --------------------------------------------------------------------------------------------------


def test_before_any_bar_nothing_is_known():
    learner = Reinforcement(seat())
    assert learner.figures() == {
        "reward": None,
        "growth_bps": None,
        "td_error": None,
        "epsilon": None,
        "states": 0.0,
        "position": 0.0,
        "trades": 0.0,
    }
    assert learner.show()["states"] == []


def test_the_table_can_be_read():
    learner = Reinforcement(seat())
    run(learner, moments(3_000, seed=2))
    before = copied(learner)
    shown = json.loads(json.dumps(learner.show()))
    for name, value in copied(learner).items():
        np.testing.assert_array_equal(value, before[name])
    assert len(shown["states"]) == learner.figures()["states"] > 200
    rows = {
        (row["rsi"], row["macd"], row["slope"], row["trend"], row["volatility"], row["position"]): row
        for row in shown["states"]
    }
    assert len(rows) == len(shown["states"])
    key = ("oversold (30)", "below 0", "rising", "far below", "wild")
    told = np.array([20.0, -1.0, 1.0, -0.9, 0.02, 0.01])
    for position, same in (("flat", "SELL"), ("long", "BUY")):
        row = rows[*key, position]
        assert set(row["q"]) == {"BUY", "SELL", "HOLD"}
        assert row["q"]["HOLD"] == row["q"][same]
        assert row["greedy"] == table.ACTIONS[learner.action(told, long=position == "long")]
        assert row["visits"] > 0
        assert 0 <= row["up_rate"] <= 1
    assert {row["greedy"] for row in rows.values()} > {"HOLD"}


def test_a_row_is_called_greedy_by_more_than_its_q():
    """A trade has to be better by half a standard error: with a sea of doubt nothing but holding is left."""
    learner = Reinforcement(seat())
    run(learner, moments(2_000, seed=2))
    learner._terms = learner._terms._replace(proof=1e6)
    assert {row["greedy"] for row in learner.show()["states"]} == {"HOLD"}


def test_naming_the_learner_does_not_import_gymnasium():
    code = (
        "import sys; from kalibre.learners.reinforcement import Reinforcement; "
        "assert 'gymnasium' not in sys.modules; from kalibre.learners.reinforcement import MarketEnv; "
        "assert 'gymnasium' in sys.modules and MarketEnv.__name__ == 'MarketEnv'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_wrong_name_is_no_attribute():
    from kalibre.learners import reinforcement

    with pytest.raises(AttributeError, match="Nothing"):
        reinforcement.Nothing  # noqa: B018


def test_a_bar_costs_little():
    """The bar is 25 microseconds of CPU; here three times that, since other tests run beside it."""
    told = moments(3_000, seed=1)
    run(Reinforcement(seat()), told[:10])
    learner = Reinforcement(seat())
    began = time.process_time()
    run(learner, told)
    assert (time.process_time() - began) / len(told) < 75e-6
