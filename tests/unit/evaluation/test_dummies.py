"""Dummies and pooling: counted on the past, chained over parts, and beaten only by what is better in every figure."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalibre.core.settings import CostSettings, RiskSettings
from kalibre.evaluation.backtest import backtest
from kalibre.evaluation.dummies import Persistence, horizon_moves, unbeaten
from kalibre.evaluation.figures import DummyFigures, ForecastFigures, TradingFigures, plain
from kalibre.evaluation.walk_forward import pooled_returns, pooled_trading
from kalibre.sources.simulated import Simulated
from kalibre.trading.policy import Policy

TRADING = TradingFigures(
    sharpe=2.0, total_return=0.1, max_drawdown=0.1, win_rate=0.5, turnover=9.0, n_trades=9, exposure=0.4
)
FORECAST = ForecastFigures(
    n_samples=100,
    base_rate=0.5,
    auc=0.6,
    auc_low=0.55,
    auc_high=0.65,
    brier=0.24,
    log_loss=0.68,
    log_loss_constant=0.693,
    log_loss_gain=0.013,
    log_loss_gain_low=0.01,
    ece=0.01,
    ece_band=(0.0, 0.02),
)


def _dummy(name: str = "persistence", auc=0.5, log_loss=0.693, sharpe=0.0) -> DummyFigures:
    return DummyFigures(name, auc=auc, log_loss=log_loss, brier=0.25, trading=replace(TRADING, sharpe=sharpe))


def test_a_model_that_is_better_in_everything_beats_its_dummies():
    assert unbeaten(FORECAST, TRADING, [_dummy(), _dummy("shuffled_labels")]) == ()


@pytest.mark.parametrize(
    "as_good", [{"auc": 0.6}, {"log_loss": 0.68}, {"sharpe": 2.0}, {"sharpe": 3.0}, {"auc": float("nan")}]
)
def test_a_dummy_that_is_as_good_in_one_figure_is_not_beaten(as_good):
    assert unbeaten(FORECAST, TRADING, [_dummy(**as_good)]) == ("persistence",)


def test_figures_that_a_dummy_does_not_have_are_not_compared():
    hold = DummyFigures("buy_and_hold", auc=None, log_loss=None, brier=None, trading=replace(TRADING, sharpe=1.9))
    assert unbeaten(FORECAST, TRADING, [hold]) == ()
    assert unbeaten(FORECAST, replace(TRADING, sharpe=1.8), [hold]) == ("buy_and_hold",)


def test_a_model_without_figures_beats_nothing():
    blind = replace(FORECAST, auc=float("nan"))
    assert unbeaten(blind, TRADING, [_dummy()]) == ("persistence",)


def test_persistence_counts_how_often_a_move_went_on():
    moves = np.array([1.0] * 98 + [-1.0] * 48)
    y = np.concatenate([np.ones(74), np.zeros(24), np.ones(12), np.zeros(36)])
    counted = Persistence.count(moves, y)
    assert counted.after_rise == pytest.approx(75 / 100)
    assert counted.after_fall == pytest.approx(13 / 50)


def test_horizon_moves_look_back_only():
    bars = next(Simulated(n_bars=300, seed=1).history("SIM", "15m"))
    moves = horizon_moves(bars, 4)
    assert np.isnan(moves[:4]).all()
    np.testing.assert_array_equal(moves[:200], horizon_moves(bars[:200], 4))
    assert moves[10] == pytest.approx(np.log(bars.close[10] / bars.close[6]))


def _parts(cuts):
    bars, flow = Simulated("edge", n_bars=3000, seed=1).simulate("SIM", "15m")
    score, volatility = 1.0 / (1.0 + np.exp(-flow)), np.full(3000, 0.003)
    edges = [0, *cuts, 3000]
    return [
        backtest(
            bars[a:b],
            score[a:b],
            volatility[a:b],
            Policy(0.7, 0.45),
            CostSettings(),
            RiskSettings(),
            bars_per_year=35_040,
            horizon_bars=4,
        )
        for a, b in pairwise(edges)
    ]


def test_pooling_one_part_changes_nothing():
    (alone,) = _parts([])
    pooled = pooled_trading([alone])
    for name in ("sharpe", "total_return", "max_drawdown", "win_rate", "turnover", "n_trades", "exposure"):
        assert getattr(pooled, name) == pytest.approx(getattr(alone, name), rel=1e-9)


def test_pooling_chains_returns_and_adds_trades():
    parts = _parts([900, 2100])
    pooled = pooled_trading(parts)
    assert pooled.n_trades == sum(part.n_trades for part in parts)
    assert 1 + pooled.total_return == pytest.approx(np.prod([1 + part.total_return for part in parts]))
    assert len(pooled_returns(parts)) == 3000
    assert pooled.max_drawdown >= max(part.max_drawdown for part in parts) - 1e-12


@given(st.recursive(st.floats() | st.integers() | st.text() | st.none(), lambda inner: st.lists(inner, max_size=4)))
def test_plain_values_hold_no_number_that_json_would_lose(value):
    json.dumps(plain({"value": value, "array": np.array([np.nan, 1.0])}), allow_nan=False)
