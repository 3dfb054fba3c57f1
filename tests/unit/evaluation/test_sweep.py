import numpy as np
import pytest

from kalibre.core.bars import Bars
from kalibre.core.settings import CostSettings, RiskSettings
from kalibre.evaluation.backtest import backtest
from kalibre.evaluation.sweep import sweep, threshold_grid
from kalibre.trading.policy import Policy


def market(n: int, seed: int, step_ms: int = 900_000) -> tuple[Bars, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.004, n)))
    open_ = close * np.exp(rng.normal(0, 0.001, n))
    high, low = np.maximum(open_, close), np.minimum(open_, close)
    time = 1_704_067_200_000 + step_ms * np.arange(n)
    score = np.clip(0.5 + np.convolve(rng.normal(0, 0.1, n + 7), np.ones(8) / 8, "valid"), 0, 1)
    return Bars("X", "15m", time, open_, high, low, close, np.ones(n)), score, np.full(n, 0.004)


def test_sweep_equals_backtest() -> None:
    bars, score, volatility = market(3000, 1)
    entries, exits = threshold_grid(score, 30)
    costs, risk = CostSettings(), RiskSettings()
    swept = sweep(bars, score, volatility, entries, exits, costs, risk, bars_per_year=35_040, horizon_bars=4)
    for k in range(len(swept)):
        one = backtest(
            bars, score, volatility, Policy(entries[k], exits[k]), costs, risk, bars_per_year=35_040, horizon_bars=4
        )
        assert swept.final_equity[k] == one.equity[-1]
        assert swept.n_trades[k] == one.n_trades
        for name in ("sharpe", "max_drawdown", "win_rate", "turnover", "exposure", "total_return"):
            assert getattr(swept, name)[k] == pytest.approx(getattr(one, name), rel=1e-10, abs=1e-13), name
