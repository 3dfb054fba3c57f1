"""Backtest, sweep (both paths) and the paper engine are one engine: the same fills and equity, bit for bit.

The oracle in tests/fakes/engine_oracle.py shares no line with them. Every planted mistake in it must be seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from tests.fakes import engine_oracle

from kalibre.core.bars import Bars
from kalibre.core.settings import CostSettings, RiskSettings
from kalibre.evaluation.backtest import backtest, bar_returns, drawdown
from kalibre.evaluation.sweep import SweepResult, sweep
from kalibre.trading.engine import CASH, EQUITY, QUANTITY, Simulation, new_ledger, simulate, step, terms
from kalibre.trading.policy import ACTIONS, Policy

PER_YEAR, HORIZON = 35_040.0, 4
BUGS = (
    "fills at the deciding close",
    "fee once",
    "strict entry",
    "strict exit",
    "buys across holes",
    "no funding",
    "no daily loss",
    "midnight belongs to tomorrow",
    "linear horizon",
)


@dataclass(frozen=True)
class Case:
    bars: Bars
    p_up: np.ndarray[Any, Any]
    volatility: np.ndarray[Any, Any]
    funding: np.ndarray[Any, Any] | None
    entries: np.ndarray[Any, Any]
    exits: np.ndarray[Any, Any]
    costs: CostSettings
    risk: RiskSettings


def case(seed: int) -> Case:
    """Make a random market with holes, unknown forecasts, ties between scores and thresholds, and random settings."""
    rng = np.random.default_rng(seed)
    n, name = int(rng.integers(2, 400)), str(rng.choice(["15m", "1h", "4h", "1d"]))
    step_ms = {"15m": 900_000, "1h": 3_600_000, "4h": 14_400_000, "1d": 86_400_000}[name]
    deviation = float(rng.choice([0.001, 0.01, 0.03]))
    close = 100 * np.exp(np.cumsum(rng.normal(0, deviation, n)))
    opens = close * np.exp(rng.normal(0, deviation / 3, n))
    holes = (rng.random(n) < 0.03) * rng.integers(1, 6, n)
    time = 1_704_067_200_000 + step_ms * np.cumsum(1 + holes)
    bars = Bars("X", name, time, opens, np.maximum(opens, close), np.minimum(opens, close), close, np.ones(n))
    score, memory = np.zeros(n), float(rng.choice([0, 0.9, 0.99]))
    for t in range(1, n):
        score[t] = memory * score[t - 1] + rng.normal()
    p_up = np.round(1 / (1 + np.exp(-score)), int(rng.choice([2, 6])))
    p_up[rng.random(n) < 0.05] = np.nan
    volatility = np.where(
        rng.random(n) < 0.05, rng.choice([np.nan, 0.0, -1.0, np.inf]), rng.uniform(0.2, 2, n) * deviation
    )
    k = int(rng.integers(1, 30))
    entries, exits = np.round(rng.uniform(0, 1, k), 2), np.round(rng.choice(rng.uniform(0, 1, 4), k), 2)
    keep = exits < entries
    funding = np.where(rng.random(n) < 0.05, rng.normal(0, 1e-3, n), 0.0) if rng.random() < 0.3 else None
    return Case(
        bars,
        p_up,
        volatility,
        funding,
        np.append(entries[keep], 0.6),
        np.append(exits[keep], 0.4),
        CostSettings(fee_bps=float(rng.choice([0, 4, 50])), slippage_bps=float(rng.choice([0, 1, 20]))),
        RiskSettings(
            daily_loss=float(rng.choice([0.005, 0.02, 0.05, 1])),
            risk_per_trade=float(rng.choice([0.0005, 0.02, 1])),
            max_exposure=float(rng.choice([0.5, 1])),
            stale_bars=int(rng.integers(1, 4)),
        ),
    )


def simulated(each: Case, pair: int) -> Simulation:
    policy = Policy(each.entries[pair], each.exits[pair])
    settings = (policy, each.costs, each.risk)
    return simulate(each.bars, each.p_up, each.volatility, *settings, horizon_bars=HORIZON, funding=each.funding)


def swept(each: Case, **options: Any) -> SweepResult:
    return sweep(
        *(each.bars, each.p_up, each.volatility, each.entries, each.exits, each.costs, each.risk),
        bars_per_year=PER_YEAR,
        horizon_bars=HORIZON,
        funding=each.funding,
        **options,
    )


def oracle(each: Case, pair: int, *bugs: str) -> engine_oracle.Run:
    n = len(each.bars)
    return engine_oracle.trade(
        each.bars.open_time.tolist(),
        each.bars.open.tolist(),
        each.bars.close.tolist(),
        each.p_up.tolist(),
        each.volatility.tolist(),
        [0.0] * n if each.funding is None else each.funding.tolist(),
        step_ms=each.bars.step_ms,
        entry=float(each.entries[pair]),
        exit_=float(each.exits[pair]),
        fee_bps=each.costs.fee_bps,
        slippage_bps=each.costs.slippage_bps,
        initial_cash=each.risk.initial_cash,
        max_exposure=each.risk.max_exposure,
        risk_per_trade=each.risk.risk_per_trade,
        daily_loss=each.risk.daily_loss,
        stale_bars=each.risk.stale_bars,
        horizon_bars=HORIZON,
        bugs=frozenset(bugs),
    )


def same(run: Simulation, told: engine_oracle.Run) -> bool:
    fills = run.fills
    rows = zip(fills.row, fills.side, fills.quantity, fills.price, fills.fee, strict=True)
    return (
        [ACTIONS[code] for code in run.action] == told.action
        and run.cash.tolist() == told.cash
        and run.quantity.tolist() == told.quantity
        and run.equity.tolist() == told.equity
        and [(int(t), "buy" if side == 1 else "sell", q, p, f) for t, side, q, p, f in rows] == told.fills
        and run.n_cancelled == told.n_cancelled
    )


@pytest.mark.parametrize("seed", range(60))
def test_backtest_is_the_oracle(seed: int) -> None:
    each = case(seed)
    for pair in range(len(each.entries)):
        assert same(simulated(each, pair), oracle(each, pair))


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_mistake_is_seen(bug: str) -> None:
    cases = [case(seed) for seed in range(60)]
    seen = sum(not same(simulated(each, 0), oracle(each, 0, bug)) for each in cases)
    assert seen > 0


@pytest.mark.parametrize("seed", range(60))
def test_sweep_is_the_backtest(seed: int) -> None:
    each = case(seed)
    by_event, by_step = swept(each), swept(each, path="step")
    assert by_event.path == ("event" if each.funding is None else "step")
    for pair in range(len(each.entries)):
        run = simulated(each, pair)
        one = backtest(
            *(each.bars, each.p_up, each.volatility, Policy(each.entries[pair], each.exits[pair])),
            *(each.costs, each.risk),
            bars_per_year=PER_YEAR,
            horizon_bars=HORIZON,
            funding=each.funding,
        )
        assert np.array_equal(one.equity, run.equity)
        for result in (by_event, by_step):
            assert result.final_equity[pair] == run.equity[-1]
            assert result.n_trades[pair] == one.n_trades
            assert result.exposure[pair] == pytest.approx(one.exposure, abs=1e-15)
            for name in ("sharpe", "max_drawdown", "turnover", "total_return"):
                assert getattr(result, name)[pair] == pytest.approx(getattr(one, name), rel=1e-9, abs=1e-10), name
            assert result.win_rate[pair] == one.win_rate


def test_sweep_does_not_depend_on_threads_or_order() -> None:
    each = case(7)
    one, two = swept(each), swept(each, threads=2)
    back = np.arange(len(each.entries))[::-1]
    turned = swept(Case(**{**vars(each), "entries": each.entries[back], "exits": each.exits[back]}))
    for name in ("sharpe", "max_drawdown", "final_equity", "turnover", "n_trades", "win_rate"):
        assert np.array_equal(getattr(one, name), getattr(two, name))
        assert np.array_equal(getattr(one, name), getattr(turned, name)[back])


def stepwise(each: Case, pair: int) -> Iterator[tuple[float, float, float]]:
    """Run the step bar by bar, as the paper engine does, from Python."""
    conditions = terms(
        Policy(each.entries[pair], each.exits[pair]),
        each.costs,
        each.risk,
        horizon_bars=HORIZON,
        step_ms=each.bars.step_ms,
    )
    ledger = new_ledger(each.risk)
    for t, bar in enumerate(each.bars):
        rate = 0.0 if each.funding is None else float(each.funding[t])
        known = (float(each.p_up[t]), float(each.volatility[t]), rate)
        step(ledger, conditions, bar.open_time, bar.open, bar.close, *known, True)
        yield float(ledger[CASH]), float(ledger[QUANTITY]), float(ledger[EQUITY])


@pytest.mark.parametrize("seed", range(0, 60, 6))
def test_one_step_at_a_time_is_the_backtest(seed: int) -> None:
    each = case(seed)
    run = simulated(each, 0)
    assert list(stepwise(each, 0)) == list(
        zip(run.cash.tolist(), run.quantity.tolist(), run.equity.tolist(), strict=True)
    )


@pytest.mark.parametrize("seed", range(0, 60, 10))
def test_figures_are_what_numpy_says(seed: int) -> None:
    each = case(seed)
    result = swept(each)
    for pair in range(len(each.entries)):
        equity = simulated(each, pair).equity
        returns = bar_returns(equity, each.risk.initial_cash)
        deviation = returns.std(ddof=1)
        sharpe = returns.mean() / deviation * np.sqrt(PER_YEAR) if deviation > 0 else 0.0
        assert result.sharpe[pair] == pytest.approx(sharpe, rel=1e-9, abs=1e-10)
        assert result.max_drawdown[pair] == pytest.approx(drawdown(equity, each.risk.initial_cash).max(), abs=1e-12)
