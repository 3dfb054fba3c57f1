"""The table: against an oracle in plain Python, against a Q* that is known, and the costs of its account."""

from __future__ import annotations

import itertools
import math
from functools import partial

import numpy as np
import pytest
from tests.fakes.reinforcement import HORIZON, STEP_MS, Oracle, matured, moment, moments, run, seat

from kalibre.core.bars import Bars
from kalibre.core.settings import CostSettings, RiskSettings
from kalibre.learners import _reinforcement_table as table
from kalibre.learners._reinforcement_states import CELL_NAMES, N_CELLS, Reading, cell_of, locate, nowhere
from kalibre.learners.reinforcement import Reinforcement, _mixed, random_number
from kalibre.trading.engine import simulate
from kalibre.trading.policy import Policy

_MARKS = {"rsi": (30.0, 50.0, 70.0), "trend": (-0.6, -0.3, 0.0, 0.3, 0.6)}


def _state_of(cell: int) -> tuple[float, bool, bool, float, bool]:
    """Return the oracle's name of a cell, from the cell's words."""
    words = CELL_NAMES[cell]
    return (
        float(words["rsi"].partition("(")[2].rstrip(")")),
        words["macd"] == "above 0",
        words["slope"] == "rising",
        dict(zip(("far below", "below", "at its mean", "above", "far above"), _MARKS["trend"], strict=True))[
            words["trend"]
        ],
        words["volatility"] == "wild",
    )


@pytest.mark.parametrize("hindsight", [True, False])
@pytest.mark.parametrize("seed", [1, 2])
def test_every_step_is_the_oracles(hindsight, seed):
    learner = Reinforcement(seat(), hindsight=hindsight)
    # Quick rates and little pooling, so that every part of the formula weighs something within some hundred bars.
    learner._terms = learner._terms._replace(pooling=3.0, rate_floor=0.05, proof=0.3)
    oracle = Oracle(learner._terms, partial(random_number, learner._seed))
    told = moments(1_500, seed=seed, unknown=0.03, holes=0.03)
    for t, now in enumerate(told):
        if t >= HORIZON:
            learner.learn_one(matured(told, t - HORIZON))
            oracle.learn_one(matured(told, t - HORIZON))
        ours, theirs = learner.predict_proba_one(now), oracle.predict_proba_one(now)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert ours == pytest.approx(theirs, abs=1e-10)
        ledger = learner._ledger
        assert (int(ledger[table.HELD]), int(ledger[table.WANTS])) == (oracle.held, oracle.wants)
        if t % 50 == 49:
            _assert_same_tables(learner, oracle)
            assert ledger[table.LAST_REWARD] == pytest.approx(oracle.earned, abs=1e-10)
    assert len({key for key, n in oracle.n.items() if n > 0}) > 200
    assert ledger[table.TRADES] > 50


def _assert_same_tables(learner: Reinforcement, oracle: Oracle) -> None:
    known = learner._known
    for cell in range(N_CELLS):
        state = _state_of(cell)
        for held, goes in itertools.product((0, 1), repeat=2):
            assert known.visits[cell, held, goes] == pytest.approx(oracle.n[state, held, goes], abs=1e-9)
            assert known.q[cell, held, goes] == pytest.approx(oracle.q[state, held, goes], abs=1e-9)
        assert known.tries[cell].tolist() == [oracle.decided[state, held] for held in (0, 1)]
        assert known.ups[cell] == pytest.approx(oracle.outcomes[state], abs=1e-9)
    for k, trend in enumerate(_MARKS["trend"]):
        for held, goes in itertools.product((0, 1), repeat=2):
            assert known.pooled[k, held, goes] == pytest.approx(oracle.trend_q[trend, held, goes], abs=1e-9)


def test_an_oracle_with_a_slightly_other_reward_is_told_apart(monkeypatch):
    """The comparison above would see a reward that is wrong by a hundredth."""
    honest = Oracle.reward
    monkeypatch.setattr(Oracle, "reward", lambda *given: 1.01 * honest(*given))
    learner = Reinforcement(seat())
    oracle = Oracle(learner._terms, partial(random_number, learner._seed))
    told = moments(300, seed=1)
    assert run(learner, told)[-1] != pytest.approx(run(oracle, told)[-1], abs=1e-10)


def _row(rsi_mark: float, trend_mark: float, *, volatility: float = 0.01) -> list[float]:
    return [rsi_mark, 1.0, 1.0, trend_mark * volatility * math.sqrt(96), volatility, volatility]


_SMALL = ((30.0, -0.6), (50.0, 0.0), (70.0, 0.6))
_MOVES = (0.02, 0.0, -0.015)
"""What the bar after each of three states moves; each state leads to the next, or (a third of the time) stays."""
_GO_ON = 2 / 3


def _known_q(fee: float, discount: float, aversion: float, volatility: float) -> dict[tuple[int, int, int], float]:
    """Return Q* of the small market by iterating Bellman's equation until it stands still."""
    q = dict.fromkeys(itertools.product(range(3), (0, 1), (0, 1)), 0.0)
    for _ in range(2_000):
        value = {(s, held): max(q[s, held, 0], q[s, held, 1]) for s in range(3) for held in (0, 1)}
        for s, held, goes in q:
            units = goes * math.log1p(_MOVES[s]) / volatility
            cost = (math.log1p(fee) if goes > held else -math.log1p(-fee) if held > goes else 0.0) / volatility
            ahead = _GO_ON * value[(s + 1) % 3, goes] + (1 - _GO_ON) * value[s, goes]
            q[s, held, goes] = units - cost - aversion * min(units, 0.0) ** 2 + discount * ahead
    return q


@pytest.mark.parametrize("hindsight", [True, False])
def test_it_converges_to_the_q_of_a_small_market(hindsight):
    learner = Reinforcement(seat(fee=4e-3), hindsight=hindsight)
    # Every state speaks for itself, the rate falls to nothing, and all decisions are tried for ever.
    terms = learner._terms._replace(pooling=1e-9, rate_floor=0.0, curiosity=1e12, discount=0.8)
    learner._terms = terms
    rng, price, s, move = np.random.default_rng(5), 100.0, 0, 0.0
    for t in range(60_000 if hindsight else 200_000):
        opened, price = price, price * (1.0 + move)
        learner.predict_proba_one(moment(t, _row(*_SMALL[s]), opened=opened, close=price, follows=t > 0))
        move = _MOVES[s]
        s = (s + 1) % 3 if rng.uniform() < _GO_ON else s
    expected = _known_q(4e-3, 0.8, terms.aversion, 0.01)
    for (k, held, goes), q in expected.items():
        cell = cell_of(Reading(*_row(*_SMALL[k])))
        assert learner._known.q[cell, held, goes] == pytest.approx(q, abs=0.05), (k, held, goes)
    for k, held in itertools.product(range(3), (0, 1)):
        best = max((0, 1), key=lambda goes: expected[k, held, goes])
        wanted = table.HOLD if best == held else table.BUY if best else table.SELL
        assert learner.action(np.array(_row(*_SMALL[k])), long=held == 1) == wanted


def test_costs_are_paid_once_a_side():
    fee = 3e-3
    still = table.Prices(100.0, 100.0, 100.0)
    assert table.reward(0, 0, still, 0.01, fee, 0.02) == (0.0, 0.0)
    assert table.reward(1, 1, still, 0.01, fee, 0.02) == (0.0, 0.0)
    assert table.reward(0, 1, still, 0.01, fee, 0.02)[1] == -math.log1p(fee)
    assert table.reward(1, 0, still, 0.01, fee, 0.02)[1] == math.log1p(-fee)
    # In units of volatility, untouched by the cap on moves and by the aversion to downside.
    assert table.reward(0, 1, still, 1e-6, fee, 0.02)[0] == -math.log1p(fee) / 1e-6


def test_who_holds_earns_the_gap_and_who_buys_does_not():
    gap = table.Prices(100.0, 110.0, 121.0)
    assert table.reward(1, 1, gap, 1.0, 0.0, 0.0)[1] == pytest.approx(2 * math.log(1.1))
    assert table.reward(0, 1, gap, 1.0, 0.0, 0.0)[1] == pytest.approx(math.log(1.1))
    assert table.reward(1, 0, gap, 1.0, 0.0, 0.0)[1] == pytest.approx(math.log(1.1))


def test_downside_weighs_more_and_no_bar_more_than_five_deviations():
    fall, rise = table.Prices(1.0, 1.0, math.exp(-0.03)), table.Prices(1.0, 1.0, math.exp(0.03))
    assert table.reward(1, 1, rise, 0.01, 0.0, 0.1)[0] == pytest.approx(3.0)
    assert table.reward(1, 1, fall, 0.01, 0.0, 0.1)[0] == pytest.approx(-3.0 - 0.1 * 9.0)
    assert table.reward(1, 1, rise, 0.001, 0.0, 0.1)[0] == 5.0
    assert table.reward(1, 1, fall, 0.001, 0.0, 0.1)[0] == pytest.approx(-5.0 - 0.1 * 25.0)


def test_its_account_is_the_paper_engines():
    """What it holds, carried by the engine that all else is judged by, grows by what it says, fill by fill."""
    told = moments(3_000, seed=3)
    learner = Reinforcement(seat(fee=2e-3))
    wants, grown, total = [], [], 0.0
    for now in told:
        learner.predict_proba_one(now)
        wants.append(learner._ledger[table.WANTS])
        bars = learner._ledger[table.BARS]
        mean, weight = learner._ledger[table.GROWTH], 1 / min(max(bars, 1), table.RECENT)
        grown.append((mean - (1 - weight) * total) / weight)
        total = mean
    bars = Bars.from_rows("X", "15m", [now.bar for now in told])
    account = simulate(
        bars,
        np.array(wants),
        np.full(len(bars), 1e-9),
        Policy(entry_threshold=0.5, exit_threshold=0.5 - 1e-9),
        CostSettings(fee_bps=20, slippage_bps=0),
        RiskSettings(initial_cash=1.0, max_exposure=1, risk_per_trade=1, daily_loss=1),
        horizon_bars=1,
    )
    assert len(account.fills) == learner._ledger[table.TRADES] > 300
    assert np.cumsum(grown)[1:] == pytest.approx(np.log(account.equity)[1:], abs=1e-9)


def test_a_place_is_shared_by_its_neighbours():
    place = nowhere()
    half_way = Reading(40.0, -1.0, 1.0, 0.15 * 0.01 * math.sqrt(96), 0.02, 0.01)
    assert locate(place, half_way)
    assert place.shares == pytest.approx([0.25] * 4)
    named = [_state_of(cell) for cell in place.cells]
    assert named == [(rsi, False, True, trend, True) for rsi in (30.0, 50.0) for trend in (0.0, 0.3)]


@pytest.mark.parametrize("rsi", [-5.0, 30.0, 50.0, 70.0, 100.0])
@pytest.mark.parametrize("trend", [-9.0, -0.6, 0.0, 0.6, 9.0])
def test_marks_and_what_lies_beyond_belong_to_one_cell(rsi, trend):
    place = nowhere()
    assert locate(place, Reading(*_row(rsi, trend)))
    assert place.shares.max() == pytest.approx(1.0, abs=1e-12)
    expected = min(max(rsi, 30.0), 70.0), True, True, min(max(trend, -0.6), 0.6), False
    assert _state_of(int(place.cells[place.shares.argmax()])) == expected


def test_random_numbers_are_splitmixs_and_go_by_the_bar():
    assert _mixed(0) == 0xE220A8397B1DCDAF  # the first number of SplitMix64 seeded with 0, as published
    drawn = np.array([random_number(5, STEP_MS * t) for t in range(20_000)])
    assert random_number(5, STEP_MS) == drawn[1] != random_number(6, STEP_MS)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert abs(drawn.mean() - 0.5) < 4 / math.sqrt(12 * len(drawn))
    assert abs(np.corrcoef(drawn[1:], drawn[:-1])[0, 1]) < 4 / math.sqrt(len(drawn))
