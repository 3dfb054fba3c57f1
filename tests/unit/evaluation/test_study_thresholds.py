"""Thresholds: the grid keeps its promise, a lucky spike is passed by, a plateau is taken."""

from __future__ import annotations

import numpy as np
import pytest

from kalibre.core.errors import EvaluationError
from kalibre.core.settings import CostSettings, RiskSettings
from kalibre.evaluation.backtest import backtest
from kalibre.evaluation.thresholds import Grid, Surface, choose, neighbourhood, pair_returns, sweep_surface
from kalibre.sources.simulated import Simulated
from kalibre.trading.policy import Policy


def _surface(sharpe, n_trades=None):
    grid = Grid(np.linspace(0.6, 0.99, sharpe.shape[0]), np.linspace(0.02, 0.5, sharpe.shape[1]))
    trades = np.full(sharpe.shape, 50.0) if n_trades is None else n_trades
    return Surface(grid, grid.entries, grid.exits, sharpe, trades)


@pytest.mark.parametrize("n_pairs", [1, 7, 100, 2000, 3001])
def test_grid_has_the_pairs_asked_for_and_every_exit_lies_below_every_entry(n_pairs):
    grid = Grid.of(n_pairs)
    assert n_pairs <= len(grid.entries) * len(grid.exits) <= 1.2 * n_pairs + 2
    assert grid.exits.max() < grid.entries.min()


def test_a_plateau_is_taken_and_a_lucky_spike_is_not():
    sharpe = np.zeros((20, 20))
    sharpe[3, 3] = 40.0
    sharpe[9:19, 8:18] = 2.0
    row, column = choose(_surface(sharpe))
    assert sharpe[row, column] == 2.0
    assert neighbourhood(sharpe)[0][row, column] == 2.0


def test_pairs_with_too_few_trades_do_not_count():
    sharpe = np.zeros((20, 20))
    sharpe[12:, 12:] = 9.0
    sharpe[1:10, 1:10] = 1.0
    n_trades = np.where(sharpe == 9.0, 2.0, 50.0)
    row, column = choose(_surface(sharpe, n_trades))
    assert sharpe[row, column] == 1.0


def test_where_no_pair_trades_enough_all_count():
    sharpe = np.zeros((10, 10))
    sharpe[4:, 4:] = 1.0
    row, column = choose(_surface(sharpe, np.full((10, 10), 2.0)))
    assert sharpe[row, column] == 1.0


def test_a_pair_that_is_none_is_never_taken():
    sharpe = np.full((10, 10), np.nan)
    sharpe[0, 0] = -3.0
    assert choose(_surface(sharpe, np.where(np.isnan(sharpe), np.nan, 50.0))) == (0, 0)
    assert choose(_surface(np.full((3, 3), np.nan), np.full((3, 3), np.nan))) is None


def test_the_surface_is_the_backtest_of_each_pair():
    bars, flow = Simulated("edge", n_bars=3000, seed=1).simulate("SIM", "15m")
    costs, risk = CostSettings(), RiskSettings()
    volatility = np.full(3000, 0.003)
    score = 1.0 / (1.0 + np.exp(-flow))
    surface = sweep_surface(bars, score, volatility, Grid.of(30), costs, risk, bars_per_year=35_040, horizon_bars=4)
    for row, column in ((0, 0), (3, 2), (5, 4)):
        policy = Policy(surface.entries[row], surface.exits[column])
        result = backtest(bars, score, volatility, policy, costs, risk, bars_per_year=35_040, horizon_bars=4)
        assert surface.sharpe[row, column] == pytest.approx(result.sharpe, rel=1e-9)
        assert surface.n_trades[row, column] == result.n_trades


def test_a_constant_score_has_no_pair_and_an_unknown_one_is_refused():
    bars = next(Simulated(n_bars=200).history("SIM", "15m"))
    volatility, costs, risk = np.full(200, 0.003), CostSettings(), RiskSettings()
    constant = sweep_surface(
        bars, np.full(200, 0.5), volatility, Grid.of(10), costs, risk, bars_per_year=35_040, horizon_bars=4
    )
    assert choose(constant) is None
    with pytest.raises(EvaluationError, match="200 bars"):
        sweep_surface(
            bars, np.full(200, np.nan), volatility, Grid.of(10), costs, risk, bars_per_year=35_040, horizon_bars=4
        )


def test_pair_returns_on_one_block_are_those_of_the_backtest():
    bars, flow = Simulated("edge", n_bars=2000, seed=1).simulate("SIM", "15m")
    costs, risk, volatility = CostSettings(), RiskSettings(), np.full(2000, 0.003)
    terms = {"bars_per_year": 35_040.0, "horizon_bars": 4}
    score = 1.0 / (1.0 + np.exp(-flow))
    surface = sweep_surface(bars, score, volatility, Grid.of(12), costs, risk, **terms)
    earned = pair_returns(bars, score, volatility, surface, costs, risk, blocks=1, **terms)
    assert earned.shape == (1, surface.sharpe.size)
    policy = Policy(surface.entries[1], surface.exits[2])
    result = backtest(bars, score, volatility, policy, costs, risk, **terms)
    assert earned[0, 1 * len(surface.exits) + 2] == pytest.approx(result.total_return, rel=1e-9)
    blocks = pair_returns(bars, score, volatility, surface, costs, risk, blocks=7, **terms)
    assert blocks.shape == (7, surface.sharpe.size)
