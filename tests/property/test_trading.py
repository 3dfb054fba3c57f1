"""Laws of the trading engine, on markets that Hypothesis makes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalibre.core.bars import Bars
from kalibre.core.errors import BarError, EvaluationError, PolicyError
from kalibre.core.settings import CostSettings, RiskSettings
from kalibre.evaluation.backtest import backtest
from kalibre.evaluation.sweep import sweep, threshold_grid
from kalibre.trading.engine import (
    BUY,
    CASH,
    PENDING,
    QUANTITY,
    SELL,
    Simulation,
    new_ledger,
    simulate,
    step,
    terms,
)
from kalibre.trading.policy import Policy

STEP_MS = 3_600_000
START_MS = 1_704_067_200_000


@st.composite
def markets(draw: st.DrawFn) -> tuple[Bars, np.ndarray, np.ndarray, Policy, CostSettings, RiskSettings]:
    n = draw(st.integers(1, 60))
    prices = draw(st.lists(st.floats(0.01, 1e6), min_size=2 * n, max_size=2 * n))
    opens, close = np.array(prices[:n]), np.array(prices[n:])
    holes = np.array(draw(st.lists(st.integers(1, 5), min_size=n, max_size=n)))
    time = START_MS + STEP_MS * np.cumsum(holes)
    unknown = st.just(float("nan"))
    p_up = np.array(draw(st.lists(st.floats(0, 1) | unknown, min_size=n, max_size=n)))
    volatility = np.array(draw(st.lists(st.floats(0, 1) | unknown, min_size=n, max_size=n)))
    low, high = sorted(draw(st.lists(st.floats(0, 1), min_size=2, max_size=2, unique=True)))
    costs = CostSettings(fee_bps=draw(st.floats(0, 1000)), slippage_bps=draw(st.floats(0, 1000)))
    risk = RiskSettings(
        max_exposure=draw(st.floats(0.01, 1)),
        risk_per_trade=draw(st.floats(0.001, 1)),
        daily_loss=draw(st.floats(0.001, 1)),
        stale_bars=draw(st.integers(1, 4)),
    )
    bars = Bars("X", "1h", time, opens, np.maximum(opens, close), np.minimum(opens, close), close, np.ones(n))
    return bars, p_up, volatility, Policy(high, low), costs, risk


def ran(market: tuple[Bars, np.ndarray, np.ndarray, Policy, CostSettings, RiskSettings]) -> Simulation:
    return simulate(*market, horizon_bars=4)


@given(markets())
@settings(max_examples=150, deadline=None)
def test_money_comes_from_nowhere_and_goes_nowhere(market) -> None:  # type: ignore[no-untyped-def]
    bars, _, _, _, _, risk = market
    run = ran(market)
    fills = run.fills
    cash, quantity, at = risk.initial_cash, 0.0, 0
    for t in range(len(bars)):
        while at < len(fills) and fills.row[at] == t:
            value = fills.quantity[at] * fills.price[at]
            sign = -1.0 if fills.side[at] == BUY else 1.0
            cash += sign * value - fills.fee[at]
            quantity -= sign * fills.quantity[at]
            at += 1
        scale = max(risk.initial_cash, abs(cash))
        assert run.cash[t] == pytest.approx(cash, rel=1e-9, abs=1e-9 * scale)
        assert run.quantity[t] == pytest.approx(quantity, rel=1e-12, abs=0)
        assert run.equity[t] == run.cash[t] + run.quantity[t] * bars.close[t]


@given(markets())
@settings(max_examples=150, deadline=None)
def test_long_or_flat_and_never_in_debt(market) -> None:  # type: ignore[no-untyped-def]
    run = ran(market)
    assert (run.quantity >= 0).all()
    assert (run.cash >= 0).all()
    sides = run.fills.side.tolist()
    assert sides == [BUY, SELL] * (len(sides) // 2) + [BUY] * (len(sides) % 2)


@given(markets())
@settings(max_examples=100, deadline=None)
def test_costs_never_help(market) -> None:  # type: ignore[no-untyped-def]
    bars, p_up, volatility, policy, costs, risk = market
    patient = risk.model_copy(update={"daily_loss": 1.0})  # the limit may turn a cost into luck
    cheap = simulate(bars, p_up, volatility, policy, costs, patient, horizon_bars=4)
    for dearer in (
        costs.model_copy(update={"fee_bps": costs.fee_bps + 10}),
        costs.model_copy(update={"slippage_bps": costs.slippage_bps + 10}),
    ):
        dear = simulate(bars, p_up, volatility, policy, dearer, patient, horizon_bars=4)
        assert (dear.equity <= cheap.equity * (1 + 1e-12)).all()


@given(markets(), st.integers(0, 59))
@settings(max_examples=100, deadline=None)
def test_the_future_changes_nothing(market, cut) -> None:  # type: ignore[no-untyped-def]
    bars, p_up, volatility, *rest = market
    k = min(cut, len(bars))
    whole, part = ran(market), simulate(bars[:k], p_up[:k], volatility[:k], *rest, horizon_bars=4)
    assert np.array_equal(whole.equity[:k], part.equity)
    assert np.array_equal(whole.action[:k], part.action)


@given(markets(), st.lists(st.booleans(), min_size=60, max_size=60))
@settings(max_examples=100, deadline=None)
def test_no_order_while_held(market, held) -> None:  # type: ignore[no-untyped-def]
    bars, p_up, volatility, policy, costs, risk = market
    conditions = terms(policy, costs, risk, horizon_bars=4, step_ms=STEP_MS)
    ledger = new_ledger(risk)
    for t, bar in enumerate(bars):
        known = (float(p_up[t]), float(volatility[t]), 0.0)
        done = step(ledger, conditions, bar.open_time, bar.open, bar.close, *known, not held[t])
        if held[t]:
            assert done.action == 0
            assert ledger[PENDING] == 0
        assert ledger[QUANTITY] >= 0
        assert ledger[CASH] >= 0


@given(markets())
@settings(max_examples=60, deadline=None)
def test_sweep_says_what_the_backtest_says(market) -> None:  # type: ignore[no-untyped-def]
    bars, p_up, volatility, policy, costs, risk = market
    one = backtest(*market, bars_per_year=8760.0, horizon_bars=4)
    entries, exits = np.array([policy.entry_threshold]), np.array([policy.exit_threshold])
    swept = sweep(bars, p_up, volatility, entries, exits, costs, risk, bars_per_year=8760.0, horizon_bars=4)
    assert swept.final_equity[0] == one.equity[-1]
    assert swept.n_trades[0] == one.n_trades
    assert swept.max_drawdown[0] == pytest.approx(one.max_drawdown, rel=1e-9, abs=1e-12)


@given(st.lists(st.floats(0, 1) | st.just(float("nan")), min_size=1, max_size=200), st.integers(1, 300))
@settings(max_examples=100, deadline=None)
def test_grid_pairs_can_all_be_followed(score, n_pairs) -> None:  # type: ignore[no-untyped-def]
    values = np.array(score)
    try:
        entries, exits = threshold_grid(values, n_pairs)
    except EvaluationError:
        known = values[np.isfinite(values)]
        assert not known.size or np.quantile(known, 0.5, method="higher") <= np.quantile(known, 0.01, method="lower")
        return
    assert (exits < entries).all()
    assert np.isin(entries, values).all()
    assert np.isin(exits, values).all()


@pytest.mark.parametrize("thresholds", [(0.5, 0.5), (0.4, 0.6), (1.1, 0.2), (0.5, -0.1), (float("nan"), 0.2)])
def test_thresholds_that_no_policy_can_follow(thresholds: tuple[float, float]) -> None:
    with pytest.raises(PolicyError, match="threshold"):
        Policy(*thresholds)


def test_columns_that_do_not_fit() -> None:
    bars = Bars("X", "1h", START_MS + STEP_MS * np.arange(3), *np.ones((5, 3)))
    one = np.ones(3)
    rest = (Policy(0.6, 0.4), CostSettings(), RiskSettings())
    with pytest.raises(PolicyError, match=r"p_up has shape \(2,\), there are 3 bars"):
        simulate(bars, one[:2], one, *rest, horizon_bars=4)
    with pytest.raises(PolicyError, match="funding nan at row 1"):
        simulate(bars, one, one, *rest, horizon_bars=4, funding=np.array([0, np.nan, 0]))
    with pytest.raises(PolicyError, match="horizon_bars = 0"):
        simulate(bars, one, one, *rest, horizon_bars=0)
    with pytest.raises(PolicyError, match=r"pair 1: exit .*0\.7.* is not below"):
        sweep(bars, one, one, one[:2] * 0.6, np.array([0.5, 0.7]), *rest[1:], bars_per_year=8760, horizon_bars=4)
    with pytest.raises(EvaluationError, match="bars_per_year = 0"):
        backtest(bars, one, one, *rest, bars_per_year=0, horizon_bars=4)
    with pytest.raises(BarError, match="is no bar"):
        simulate(Bars("X", "1h", bars.open_time, *(one * -1 for _ in range(5))), one, one, *rest, horizon_bars=4)
