"""Pooling: consecutive parts as one record, trades weighed by their number, a loss from the first bar on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.fakes.models import random_bars

from kalibre.core.settings import CostSettings, RiskSettings
from kalibre.evaluation.backtest import annualised_sharpe, backtest, bar_returns, drawdown
from kalibre.evaluation.walk_forward import pooled_trading
from kalibre.trading.policy import Policy


def test_a_loss_on_the_first_bar_is_a_drawdown_from_the_initial_cash():
    np.testing.assert_allclose(drawdown(np.array([90.0, 95.0]), 100.0), [0.1, 0.05])


def test_equal_returns_have_no_sharpe_ratio_whatever_rounding_leaves():
    assert annualised_sharpe(np.full(1_000, 0.001), 35_040.0) == 0.0
    assert annualised_sharpe(np.array([0.1]), 35_040.0) == 0.0


def test_pooled_trades_weigh_by_their_number_and_returns_by_their_bars():
    bars = random_bars(300, seed=2)
    part = backtest(
        bars,
        np.full(300, 0.6),
        np.full(300, 0.01),
        Policy(0.55, 0.5),
        CostSettings(),
        RiskSettings(),
        bars_per_year=35_040.0,
        horizon_bars=4,
    )
    few, many = replace(part, win_rate=1.0, n_trades=1), replace(part, win_rate=0.25, n_trades=8)
    pooled = pooled_trading([few, many])
    assert pooled.n_trades == 9
    assert pooled.win_rate == pytest.approx(3 / 9)
    assert pooled_trading([replace(part, n_trades=0, win_rate=0.0)]).win_rate == 0.0
    chained = np.concatenate([part.equity, part.equity * part.equity[-1] / 10_000.0])
    assert part.simulation.equity[0] == pytest.approx(10_000.0, rel=0.01)
    assert pooled.total_return == pytest.approx(chained[-1] / 10_000.0 - 1)
    np.testing.assert_allclose(bar_returns(chained, 10_000.0)[300:], part.returns, rtol=1e-9, atol=1e-15)
