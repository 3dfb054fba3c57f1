"""The engine: one compiled `step` that backtest, live paper trading and the threshold sweep all run.

At the close of a bar the policy decides; what it orders fills at the open of the next bar, with slippage and fee. The
whole account is one small array, so that the live form stores it in a snapshot as it is. Long or flat, never short.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kalibre.core.bars import Bars
from kalibre.core.errors import PolicyError
from kalibre.core.protocols import FloatArray
from kalibre.core.settings import CostSettings, RiskSettings
from kalibre.core.timeframe import DAY_MS
from kalibre.trading import costs as costs_module
from kalibre.trading import risk as risk_module
from kalibre.trading._compile import compiled, inlined
from kalibre.trading.policy import (
    DAY_LOST,
    DAY_OVER,
    ENTERS,
    ENTRY,
    EXIT,
    EXITS,
    HELD,
    HOLD,
    KEEPS,
    NO_FORECAST,
    NO_VOLATILITY,
    WAITS,
    Policy,
)

# The ledger, an array of float64. Times fit: milliseconds stay below 2**53.
CASH, QUANTITY, EQUITY, DAY, DAY_BASE, HALT_DAY, PENDING, PENDING_FRACTION, PENDING_TIME = range(9)
LEDGER_SIZE = 9
NOTHING, BUY, SELL = 0, 1, 2
"""What is pending, and the side of a fill."""


class Terms(NamedTuple):
    """Everything that stays the same from bar to bar: thresholds, costs, limits, and the length of a bar."""

    entry_threshold: float
    exit_threshold: float
    fee: float
    slippage: float
    max_exposure: float
    risk_per_trade: float
    root_horizon: float
    day_floor: float
    step_ms: int
    stale_ms: int


class Outcome(NamedTuple):
    """What one bar did to a ledger: the fill at its open, then the decision at its close."""

    action: int
    reason: int
    fill_side: int
    fill_quantity: float
    fill_price: float
    fill_fee: float
    order_time: int
    """Close time of the bar that had ordered what was filled or cancelled here."""
    cancelled: bool


def terms(policy: Policy, costs: CostSettings, risk: RiskSettings, *, horizon_bars: int, step_ms: int) -> Terms:
    """Gather what the engine needs to know once."""
    rates = costs_module.rates(costs)
    limits = risk_module.limits(risk, horizon_bars)
    return Terms(
        policy.entry_threshold, policy.exit_threshold, *rates, *limits, int(step_ms), int(step_ms) * risk.stale_bars
    )


def new_ledger(risk: RiskSettings) -> FloatArray:
    """Return the ledger of an account that holds its initial cash and nothing else."""
    ledger = np.zeros(LEDGER_SIZE)
    ledger[CASH] = ledger[EQUITY] = ledger[DAY_BASE] = risk.initial_cash
    ledger[DAY] = ledger[HALT_DAY] = -1
    return ledger


@inlined
def position_fraction(max_exposure: float, risk_per_trade: float, root_horizon: float, volatility: float) -> float:
    """Return the share of equity to buy; 0 where volatility is unknown or not positive.

    A move of one standard deviation over the horizon then moves equity by `risk_per_trade`, at most.
    """
    if not volatility > 0.0 or math.isinf(volatility):
        return 0.0
    return min(max_exposure, risk_per_trade / (volatility * root_horizon))


@inlined
def buy_price(open_price: float, slippage: float) -> float:
    """Return what a purchase at this open pays a unit, before the fee."""
    return open_price * (1.0 + slippage)


@inlined
def sell_price(open_price: float, slippage: float) -> float:
    """Return what a sale at this open brings a unit, before the fee."""
    return open_price * (1.0 - slippage)


@inlined
def buy(cash: float, fraction: float, unit_cost: float) -> tuple[float, float]:
    """Spend a fraction of the cash, fee included; return the cash left (never below 0) and the quantity."""
    spend = cash * fraction
    return cash - spend, spend / unit_cost


@inlined
def sell(cash: float, quantity: float, unit_proceeds: float) -> float:
    """Sell everything; return the cash after it, fee paid."""
    return cash + quantity * unit_proceeds


@inlined
def day_of(close_time: int) -> int:
    """Return the UTC day a bar belongs to: one that closes at midnight belongs to the day that ends."""
    return (close_time - 1) // DAY_MS


@inlined
def _settle(ledger: FloatArray, terms: Terms, open_time: int, open_price: float) -> tuple[int, float, float, bool]:
    """Fill what is pending at this open; return side, quantity, price, and whether it was cancelled instead."""
    pending, quantity = ledger[PENDING], ledger[QUANTITY]
    ledger[PENDING] = NOTHING
    if pending == BUY:
        # A purchase does not wait across a hole: what it was decided on is history by then.
        if open_time - ledger[PENDING_TIME] > terms.stale_ms:
            return NOTHING, 0.0, 0.0, True
        price = buy_price(open_price, terms.slippage)
        ledger[CASH], ledger[QUANTITY] = buy(ledger[CASH], ledger[PENDING_FRACTION], price * (1.0 + terms.fee))
        return BUY, ledger[QUANTITY], price, False
    if pending == SELL:
        price = sell_price(open_price, terms.slippage)
        ledger[CASH], ledger[QUANTITY] = sell(ledger[CASH], quantity, price * (1.0 - terms.fee)), 0.0
        return SELL, quantity, price, False
    return NOTHING, 0.0, 0.0, False


@inlined
def _mark(ledger: FloatArray, terms: Terms, close_time: int, close_price: float, funding: float) -> bool:
    """Pay funding, value the account at this close, and say whether the day has lost too much."""
    ledger[CASH] -= ledger[QUANTITY] * close_price * funding
    day = day_of(close_time)
    if day != ledger[DAY]:
        ledger[DAY], ledger[DAY_BASE] = day, ledger[EQUITY]
    ledger[EQUITY] = ledger[CASH] + ledger[QUANTITY] * close_price
    day_lost = ledger[EQUITY] < terms.day_floor * ledger[DAY_BASE]
    if day_lost:
        ledger[HALT_DAY] = day
    return bool(day_lost)


@inlined
def _decide_long(terms: Terms, p_up: float, day_lost: bool) -> tuple[int, int]:
    """Return action and reason for an account that holds a position; a limit comes before any forecast."""
    if day_lost:
        return EXIT, DAY_LOST
    if math.isnan(p_up):
        return HOLD, NO_FORECAST
    if p_up <= terms.exit_threshold:
        return EXIT, EXITS
    return HOLD, KEEPS


@inlined
def _decide_flat(terms: Terms, p_up: float, fraction: float, day_over: bool) -> tuple[int, int]:
    """Return action and reason for an account that holds cash only."""
    if math.isnan(p_up):
        return HOLD, NO_FORECAST
    if not p_up >= terms.entry_threshold:
        return HOLD, WAITS
    if day_over:
        return HOLD, DAY_OVER
    if not fraction > 0.0:
        return HOLD, NO_VOLATILITY
    return ENTRY, ENTERS


@compiled
def step(
    ledger: FloatArray,
    terms: Terms,
    open_time: int,
    open_price: float,
    close_price: float,
    p_up: float,
    volatility: float,
    funding: float,
    may_order: bool,
) -> Outcome:
    """Carry a ledger over one bar: fill at the open, pay funding, mark and decide at the close.

    Parameters
    ----------
    ledger
        Shape (LEDGER_SIZE,), changed in place.
    p_up, volatility
        Known at the close of this bar; `volatility` is the deviation of log returns per bar. NaN: unknown.
    funding
        Rate that a long pays for this bar on its value at the close; 0 without.
    may_order
        False while a kill switch, a stop or stale features hold the policy: no order, whatever the bar says.
    """
    order_time = int(ledger[PENDING_TIME])
    side, quantity, price, cancelled = _settle(ledger, terms, open_time, open_price)
    close_time = open_time + terms.step_ms
    day_lost = _mark(ledger, terms, close_time, close_price, funding)
    action, reason = HOLD, HELD
    if may_order and ledger[QUANTITY] > 0.0:
        action, reason = _decide_long(terms, p_up, day_lost)
        if action == EXIT:
            ledger[PENDING], ledger[PENDING_FRACTION], ledger[PENDING_TIME] = SELL, 1.0, close_time
    elif may_order:
        fraction = position_fraction(terms.max_exposure, terms.risk_per_trade, terms.root_horizon, volatility)
        action, reason = _decide_flat(terms, p_up, fraction, ledger[HALT_DAY] == ledger[DAY])
        if action == ENTRY:
            ledger[PENDING], ledger[PENDING_FRACTION], ledger[PENDING_TIME] = BUY, fraction, close_time
    return Outcome(action, reason, side, quantity, price, quantity * price * terms.fee, order_time, cancelled)


@dataclass(frozen=True)
class Fills:
    """The fills of a run, oldest first; all arrays of shape (n_fills,)."""

    row: NDArray[np.int64]
    """Bar at whose open it filled."""
    side: NDArray[np.int8]
    """1 bought, 2 sold."""
    quantity: FloatArray
    price: FloatArray
    fee: FloatArray
    order_time: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of fills."""
        return len(self.row)


@dataclass(frozen=True)
class Simulation:
    """A policy carried over a series of bars; arrays of shape (n_bars,), row t as of the close of bar t."""

    action: NDArray[np.int8]
    """0 HOLD, 1 ENTRY, 2 EXIT."""
    reason: NDArray[np.int8]
    """Reason numbers of `kalibre.trading.policy`; `explain` puts them into words."""
    cash: FloatArray
    quantity: FloatArray
    equity: FloatArray
    fills: Fills
    n_cancelled: int

    @property
    def position(self) -> NDArray[np.bool_]:
        """Whether something is held at each close."""
        held: NDArray[np.bool_] = self.quantity > 0
        return held


@compiled
def _run(
    ledger: FloatArray,
    terms: Terms,
    open_time: NDArray[np.int64],
    open_price: FloatArray,
    close_price: FloatArray,
    p_up: FloatArray,
    volatility: FloatArray,
    funding: FloatArray,
    codes: NDArray[np.int8],
    account: FloatArray,
    fill_rows: NDArray[np.int64],
    fill_figures: FloatArray,
) -> tuple[int, int]:
    n_fills, n_cancelled = 0, 0
    for t in range(len(open_time)):
        done = step(
            ledger, terms, open_time[t], open_price[t], close_price[t], p_up[t], volatility[t], funding[t], True
        )
        codes[0, t], codes[1, t] = done.action, done.reason
        account[0, t], account[1, t], account[2, t] = ledger[CASH], ledger[QUANTITY], ledger[EQUITY]
        n_cancelled += done.cancelled
        if done.fill_side != NOTHING:
            fill_rows[0, n_fills], fill_rows[1, n_fills], fill_rows[2, n_fills] = t, done.fill_side, done.order_time
            fill_figures[0, n_fills] = done.fill_quantity
            fill_figures[1, n_fills] = done.fill_price
            fill_figures[2, n_fills] = done.fill_fee
            n_fills += 1
    return n_fills, n_cancelled


def aligned(name: str, values: FloatArray | None, n_bars: int) -> FloatArray:
    """Return a column as contiguous float64 of the bars' length; None becomes zeros.

    Raises
    ------
    PolicyError
        If the shape is another; the message quotes both.
    """
    if values is None:
        return np.zeros(n_bars)
    column: FloatArray = np.ascontiguousarray(values, dtype=np.float64)
    if column.shape != (n_bars,):
        raise PolicyError(f"{name} has shape {column.shape}, there are {n_bars} bars: pass one value a bar")
    return column


def funding_column(funding: FloatArray | None, n_bars: int) -> FloatArray:
    """Return the funding rates, one a bar, refused unless finite.

    Raises
    ------
    PolicyError
        If the shape differs or a rate is NaN or infinite; the message quotes row and value.
    """
    column = aligned("funding", funding, n_bars)
    if (bad := np.flatnonzero(~np.isfinite(column))).size:
        raise PolicyError(f"funding {column[bad[0]]} at row {bad[0]} is no rate: write 0 where none is due")
    return column


def simulate(
    bars: Bars,
    p_up: FloatArray,
    volatility: FloatArray,
    policy: Policy,
    costs: CostSettings,
    risk: RiskSettings,
    *,
    horizon_bars: int,
    funding: FloatArray | None = None,
) -> Simulation:
    """Carry a policy over a series of bars.

    Row ``t`` of the result depends on rows up to ``t`` only: the decision at the close of bar ``t`` fills at the open
    of bar ``t + 1``. A purchase is cancelled if that bar opens more than `risk.stale_bars` bars after the deciding
    close; a sale always fills. An order of the last bar stays unfilled.

    Parameters
    ----------
    p_up, volatility
        Shape (n_bars,), known at the close of each bar: probability of up, and deviation of log returns per bar. Where
        `p_up` is NaN nothing is decided; where `volatility` is NaN or not positive nothing is bought.
    horizon_bars
        The horizon that a position is sized for.
    funding
        Shape (n_bars,), rate a long pays on its value at each close (0 where none is due), or None.

    Raises
    ------
    BarError
        If times do not rise or a price is none; the message quotes it.
    PolicyError
        If a shape differs from the bars', or a setting is out of range; the message quotes it.

    Examples
    --------
    >>> from kalibre.core.bars import Bar
    >>> rows = [Bar(open_time=i * 3_600_000, open=p, high=p, low=p, close=p, volume=1) for i, p in enumerate((1, 2, 4))]
    >>> free, all_in = CostSettings(fee_bps=0, slippage_bps=0), RiskSettings(initial_cash=100, risk_per_trade=1)
    >>> p_up, volatility = np.array([0.9, 0.5, 0.5]), np.full(3, 0.01)
    >>> policy = Policy(entry_threshold=0.6, exit_threshold=0.4)
    >>> simulate(Bars.from_rows("X", "1h", rows), p_up, volatility, policy, free, all_in, horizon_bars=1).equity
    array([100., 100., 200.])
    """
    bars.check()
    n = len(bars)
    codes, account = np.zeros((2, n), dtype=np.int8), np.zeros((3, n))
    fill_rows, fill_figures = np.zeros((3, n), dtype=np.int64), np.zeros((3, n))
    n_fills, n_cancelled = _run(
        new_ledger(risk),
        terms(policy, costs, risk, horizon_bars=horizon_bars, step_ms=bars.step_ms),
        bars.open_time,
        bars.open,
        bars.close,
        aligned("p_up", p_up, n),
        aligned("volatility", volatility, n),
        funding_column(funding, n),
        codes,
        account,
        fill_rows,
        fill_figures,
    )
    rows, figures = fill_rows[:, :n_fills].copy(), fill_figures[:, :n_fills].copy()
    fills = Fills(rows[0], rows[1].astype(np.int8), figures[0], figures[1], figures[2], rows[2])
    return Simulation(codes[0], codes[1], account[0], account[1], account[2], fills, n_cancelled)
