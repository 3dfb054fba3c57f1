"""Backtest: what a policy would have earned after costs, with buy and hold under the same costs beside it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kalibre.core.bars import Bars
from kalibre.core.errors import EvaluationError
from kalibre.core.protocols import FloatArray
from kalibre.core.settings import CostSettings, RiskSettings
from kalibre.evaluation.significance import sharpe_ratio
from kalibre.trading.engine import BUY, Simulation, simulate
from kalibre.trading.policy import Policy


@dataclass(frozen=True)
class Trades:
    """The closed trades of a run, oldest first; all arrays of shape (n_trades,)."""

    entry_row: NDArray[np.int64]
    """Bar at whose open it was bought."""
    exit_row: NDArray[np.int64]
    entry_price: FloatArray
    exit_price: FloatArray
    quantity: FloatArray
    profit: FloatArray
    """Quote currency, costs and funding paid."""

    def __len__(self) -> int:
        """Return the number of closed trades."""
        return len(self.entry_row)


@dataclass(frozen=True)
class FundingPaid:
    """What holding a perpetual future cost over a run, on top of fees and slippage."""

    bars_due: int
    """Bars at whose close a rate fell due."""
    bars_charged: int
    """Those of them at whose close something was held."""
    paid: float
    """Quote currency; below 0 where more was received than paid."""

    @classmethod
    def of(cls, simulation: Simulation, bars: Bars, funding: FloatArray) -> FundingPaid:
        """Add up what the engine charged: rate times the value held at each close."""
        due = funding != 0
        return cls(
            bars_due=int(due.sum()),
            bars_charged=int((due & simulation.position).sum()),
            paid=float((simulation.quantity * bars.close * funding).sum()),
        )

    def __add__(self, other: FundingPaid) -> FundingPaid:
        """Pool two runs."""
        return FundingPaid(
            self.bars_due + other.bars_due, self.bars_charged + other.bars_charged, self.paid + other.paid
        )


@dataclass(frozen=True)
class BacktestResult:
    """A policy's record over a series of bars. Fractions, not percent; per-bar arrays have shape (n_bars,)."""

    simulation: Simulation
    trades: Trades
    equity: FloatArray
    returns: FloatArray
    """Per-bar return of equity; row t is known at the close of bar t, row 0 is against the initial cash."""
    sharpe: float
    """Mean over standard deviation (n - 1) of `returns`, times the root of bars per year; 0 if nothing moved."""
    max_drawdown: float
    win_rate: float
    """Share of closed trades that gained after costs; 0 without trades."""
    turnover: float
    """Value traded over equity at the fill, summed, per year."""
    exposure: float
    """Share of bars at whose close something was held."""
    n_trades: int
    """Closed trades; a position still open at the end is not one."""
    total_return: float
    bars_per_year: float
    buy_and_hold: BacktestResult | None = None
    funding: FundingPaid | None = None
    """None where no rates were given."""

    def as_dict(self) -> dict[str, Any]:
        """Return the figures, without the per-bar arrays, ready for JSON."""
        names = ("sharpe", "max_drawdown", "win_rate", "turnover", "exposure", "n_trades", "total_return")
        figures: dict[str, Any] = {name: getattr(self, name) for name in names}
        if self.funding is not None:
            figures["funding"] = asdict(self.funding)
        if self.buy_and_hold is not None:
            figures["buy_and_hold"] = self.buy_and_hold.as_dict()
        return figures


def bar_returns(equity: FloatArray, initial: float) -> FloatArray:
    """Return equity's change per bar; the first is against the initial cash.

    Examples
    --------
    >>> bar_returns(np.array([100.0, 110.0]), 100.0).round(3)
    array([0. , 0.1])
    """
    before = np.concatenate(([initial], equity[:-1]))
    changes: FloatArray = equity / before - 1.0
    return changes


def annualised_sharpe(returns: FloatArray, bars_per_year: float) -> float:
    """Return the annualised Sharpe ratio of per-bar returns; 0 where nothing moved or there are fewer than 2.

    References
    ----------
    Sharpe (1994), Journal of Portfolio Management 21(1), 49-58.

    Examples
    --------
    >>> round(annualised_sharpe(np.array([0.01, 0.0]), 2.0), 4)
    1.0
    """
    return sharpe_ratio(returns, periods_per_year=bars_per_year) if len(returns) > 1 else 0.0


def drawdown(equity: FloatArray, initial: float) -> FloatArray:
    """Return how far equity stands below its highest close so far, as a fraction, shape (n_bars,).

    Examples
    --------
    >>> drawdown(np.array([100.0, 120.0, 90.0]), 100.0)
    array([0.  , 0.  , 0.25])
    """
    peak = np.maximum(np.maximum.accumulate(equity), initial)
    below: FloatArray = 1.0 - equity / peak
    return below


def _closed_trades(simulation: Simulation, initial_cash: float) -> Trades:
    fills = simulation.fills
    # Long or flat: fills alternate, buy first. A purchase without a sale after it is still open.
    bought = np.flatnonzero(fills.side == BUY)
    bought = bought[bought + 1 < len(fills)]
    sold = bought + 1
    entry_row, exit_row = fills.row[bought], fills.row[sold]
    profit = simulation.cash[exit_row] - _cash_before(simulation, entry_row, initial_cash)
    return Trades(entry_row, exit_row, fills.price[bought], fills.price[sold], fills.quantity[bought], profit)


def _cash_before(simulation: Simulation, row: NDArray[np.int64], initial_cash: float) -> FloatArray:
    cash: FloatArray = np.where(row > 0, simulation.cash[row - 1], initial_cash)
    return cash


def summarise(simulation: Simulation, *, initial_cash: float, bars_per_year: float) -> BacktestResult:
    """Work out the figures of a run.

    Raises
    ------
    EvaluationError
        If there is no bar or `bars_per_year` is not positive; the message quotes it.
    """
    equity, fills = simulation.equity, simulation.fills
    if not len(equity):
        raise EvaluationError("there are 0 bars to backtest: pass at least one")
    if not (math.isfinite(bars_per_year) and bars_per_year > 0):
        raise EvaluationError(f"bars_per_year = {bars_per_year!r} cannot annualise: take it from the calendar")
    trades = _closed_trades(simulation, initial_cash)
    returns = bar_returns(equity, initial_cash)
    # Equity at a fill is what the account was worth at the fill's own price.
    value = fills.quantity * fills.price
    cash_before = _cash_before(simulation, fills.row, initial_cash)
    at_fill = np.where(fills.side == BUY, cash_before, cash_before + value)
    years = len(equity) / bars_per_year
    return BacktestResult(
        simulation=simulation,
        trades=trades,
        equity=equity,
        returns=returns,
        sharpe=annualised_sharpe(returns, bars_per_year),
        max_drawdown=float(drawdown(equity, initial_cash).max()),
        win_rate=float((trades.profit > 0).mean()) if len(trades) else 0.0,
        turnover=float((value / at_fill).sum()) / years,
        exposure=float(simulation.position.mean()),
        n_trades=len(trades),
        total_return=float(equity[-1]) / initial_cash - 1.0,
        bars_per_year=bars_per_year,
    )


def buy_and_hold(
    bars: Bars, costs: CostSettings, risk: RiskSettings, *, bars_per_year: float, funding: FloatArray | None = None
) -> BacktestResult:
    """Backtest the dummy that buys at the second bar's open with everything and never sells, under the same costs."""
    always, calm = np.ones(len(bars)), np.full(len(bars), 1e-12)
    patient = risk.model_copy(update={"max_exposure": 1.0, "risk_per_trade": 1.0, "daily_loss": 1.0})
    simulation = simulate(bars, always, calm, Policy(0.5, 0.0), costs, patient, horizon_bars=1, funding=funding)
    result = summarise(simulation, initial_cash=risk.initial_cash, bars_per_year=bars_per_year)
    return replace(result, funding=_paid(simulation, bars, funding))


def backtest(
    bars: Bars,
    p_up: FloatArray,
    volatility: FloatArray,
    policy: Policy,
    costs: CostSettings,
    risk: RiskSettings,
    *,
    bars_per_year: float,
    horizon_bars: int,
    funding: FloatArray | None = None,
) -> BacktestResult:
    """Run the trading engine over a series of bars and judge its equity, bar by bar, after costs.

    Row ``t`` of `equity` and `returns` is known at the close of bar ``t``. Parameters are those of
    `kalibre.trading.engine.simulate`.

    Parameters
    ----------
    bars_per_year
        From the calendar; 35,040 for 15-minute bars around the clock.

    Raises
    ------
    EvaluationError
        If there is no bar or `bars_per_year` is not positive; the message quotes it.
    PolicyError
        If a column does not fit the bars.
    """
    simulation = simulate(bars, p_up, volatility, policy, costs, risk, horizon_bars=horizon_bars, funding=funding)
    result = summarise(simulation, initial_cash=risk.initial_cash, bars_per_year=bars_per_year)
    hold = buy_and_hold(bars, costs, risk, bars_per_year=bars_per_year, funding=funding)
    return replace(result, buy_and_hold=hold, funding=_paid(simulation, bars, funding))


def _paid(simulation: Simulation, bars: Bars, funding: FloatArray | None) -> FundingPaid | None:
    return None if funding is None else FundingPaid.of(simulation, bars, funding)
