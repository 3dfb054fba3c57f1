"""Sweep: every (entry, exit) threshold pair backtested in one compiled kernel, fill for fill as the engine does.

Two paths give the same fills. The *step* path runs `kalibre.trading.engine.step` bar by bar for each pair. The *event*
path does not look at a pair's quiet bars at all. It takes the pairs of one exit threshold together: the bars at or
below that threshold cut time into segments, at whose end every long pair is sold. Within a segment a pair is bought at
the first bar that reaches its entry threshold, so the pairs bought at one bar are neighbours in the order of their
entry thresholds, and differ in cash only: what the trade does per unit of cash is worked out once for all of them, and
the cash itself is carried through the engine's own `buy` and `sell`, lane by lane. A pair that meets the daily loss
limit is handed to `step` until the end of the segment. Funding changes cash between fills, so with it the step path
runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kalibre.core.bars import Bars
from kalibre.core.errors import EvaluationError, PolicyError
from kalibre.core.protocols import FloatArray
from kalibre.core.settings import CostSettings, RiskSettings
from kalibre.core.timeframe import DAY_MS
from kalibre.trading.engine import (
    BUY,
    CASH,
    EQUITY,
    QUANTITY,
    SELL,
    Terms,
    aligned,
    funding_column,
    new_ledger,
    step,
    terms,
)
from kalibre.trading.policy import Policy

F = TypeVar("F", bound=Callable[..., Any])
IntArray = NDArray[np.int64]


def compiled(function: F) -> F:
    """Compile a kernel without fastmath; it lets other Python threads run meanwhile."""
    return cast(F, njit(cache=True, error_model="numpy", nogil=True)(function))


# What is summed for a pair, and the figures made of it.
RETURNS, SQUARES, HELD_BARS, TURNOVER, TRADES, WINS, PEAK, DRAWDOWN, ENTRY_CASH, LAST_EQUITY = range(10)
TALLY_SIZE = 10


class Columns(NamedTuple):
    """What the kernels read of each bar, arrays of shape (n_bars,)."""

    open_time: IntArray
    open_price: FloatArray
    close_price: FloatArray
    p_up: FloatArray
    volatility: FloatArray
    funding: FloatArray
    day: IntArray
    fraction: FloatArray
    """Share of cash that an entry decided at this bar's close spends; 0 where none can be filled."""


@dataclass(frozen=True)
class SweepResult:
    """Figures of every threshold pair, arrays of shape (n_pairs,) in the order given; see `BacktestResult` for each."""

    entries: FloatArray
    exits: FloatArray
    sharpe: FloatArray
    max_drawdown: FloatArray
    win_rate: FloatArray
    turnover: FloatArray
    exposure: FloatArray
    n_trades: IntArray
    total_return: FloatArray
    final_equity: FloatArray
    path: Literal["event", "step"]
    """Which kernel made it; both make the same fills."""

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.entries)


def threshold_grid(score: FloatArray, n_pairs: int) -> tuple[FloatArray, FloatArray]:
    """Lay at least `n_pairs` (entry, exit) pairs over a score: entries at its upper quantiles, exits at its lower ones.

    Parameters
    ----------
    score
        Shape (n,), NaN where unknown; only later bars may be traded with what is learnt here.
    n_pairs
        How many pairs to lay. Fewer come back where the score takes too few values.

    Returns
    -------
    Entries and exits, each of shape (n_laid,), pair by pair, `exit < entry` throughout.

    Raises
    ------
    EvaluationError
        If no pair can be laid; the message says why.

    Examples
    --------
    >>> entries, exits = threshold_grid(np.linspace(0, 1, 101), 4)
    >>> entries.tolist(), exits.tolist()
    ([0.5, 0.5, 0.99, 0.99], [0.01, 0.49, 0.01, 0.49])
    """
    known = score[np.isfinite(score)]
    if n_pairs < 1 or not known.size:
        raise EvaluationError(f"{n_pairs} pairs over {known.size} known scores cannot be laid: need at least one each")
    rows = next((d for d in range(math.isqrt(n_pairs), math.isqrt(n_pairs) // 2, -1) if n_pairs % d == 0), 0)
    rows = rows or math.isqrt(n_pairs - 1) + 1
    highs = np.unique(np.quantile(known, np.linspace(0.50, 0.99, -(-n_pairs // rows)), method="higher"))
    lows = np.unique(np.quantile(known, np.linspace(0.01, 0.49, rows), method="lower"))
    entries, exits = (side.ravel() for side in np.meshgrid(highs, lows, indexing="ij"))
    keep = exits < entries
    if not keep.any():
        raise EvaluationError(f"the score takes {len(np.unique(known))} value(s): no exit lies below an entry")
    return entries[keep], exits[keep]


@compiled
def _with_thresholds(terms: Terms, entry: float, exit_: float) -> Terms:
    return Terms(
        entry,
        exit_,
        terms.fee,
        terms.slippage,
        terms.max_exposure,
        terms.risk_per_trade,
        terms.root_horizon,
        terms.day_floor,
        terms.step_ms,
        terms.stale_ms,
    )


@compiled
def _follow(ledger: FloatArray, terms: Terms, columns: Columns, first: int, last: int, tally: FloatArray) -> None:
    """Carry one pair over bars `first` to `last` with the engine's step, and add up what happens."""
    for t in range(first, last + 1):
        before = ledger[EQUITY]
        done = step(
            ledger,
            terms,
            columns.open_time[t],
            columns.open_price[t],
            columns.close_price[t],
            columns.p_up[t],
            columns.volatility[t],
            columns.funding[t],
            True,
        )
        value = done.fill_quantity * done.fill_price
        if done.fill_side == BUY:
            tally[ENTRY_CASH] = before
            tally[TURNOVER] += value / before
        elif done.fill_side == SELL:
            after = ledger[CASH]
            tally[TRADES] += 1
            tally[WINS] += after > tally[ENTRY_CASH]
            tally[TURNOVER] += value / (after + done.fill_fee)
        equity = ledger[EQUITY]
        change = equity / before - 1.0
        tally[RETURNS] += change
        tally[SQUARES] += change * change
        tally[HELD_BARS] += ledger[QUANTITY] > 0.0
        tally[PEAK] = max(tally[PEAK], equity)
        tally[DRAWDOWN] = max(tally[DRAWDOWN], 1.0 - equity / tally[PEAK])
    tally[LAST_EQUITY] = ledger[EQUITY]


@compiled
def _sweep_steps(
    columns: Columns, terms: Terms, start: FloatArray, entries: FloatArray, exits: FloatArray, tallies: FloatArray
) -> None:
    for k in range(len(entries)):
        ledger = start.copy()
        tallies[PEAK, k] = start[EQUITY]
        tally = tallies[:, k].copy()
        _follow(ledger, _with_thresholds(terms, entries[k], exits[k]), columns, 0, len(columns.open_time) - 1, tally)
        tallies[:, k] = tally


def sweep(
    bars: Bars,
    p_up: FloatArray,
    volatility: FloatArray,
    entries: FloatArray,
    exits: FloatArray,
    costs: CostSettings,
    risk: RiskSettings,
    *,
    bars_per_year: float,
    horizon_bars: int,
    funding: FloatArray | None = None,
    threads: int = 1,
    path: Literal["auto", "step"] = "auto",
) -> SweepResult:
    """Backtest every pair (entries[k], exits[k]) over the same bars, as `kalibre.evaluation.backtest.backtest` would.

    Parameters
    ----------
    p_up
        Shape (n_bars,), the probability or score that the thresholds are compared with; NaN: nothing is decided.
    entries, exits
        Shape (n_pairs,), every exit below its entry.
    threads
        Kernels that run at once; the result does not depend on it.
    path
        `auto` takes the event path unless there is funding; `step` runs the engine's step for every pair and bar.

    Raises
    ------
    EvaluationError
        If there is no bar or no pair, or `bars_per_year` is not positive; the message quotes it.
    PolicyError
        If a column does not fit the bars, or a pair's exit is not below its entry; the message quotes it.
    """
    n, n_pairs = len(bars), len(entries)
    entries, exits = np.ascontiguousarray(entries, dtype=np.float64), np.ascontiguousarray(exits, dtype=np.float64)
    if not n or not n_pairs or entries.shape != exits.shape or entries.ndim != 1:
        raise EvaluationError(
            f"{n} bars, entries {entries.shape}, exits {exits.shape}: pass bars and one exit per entry"
        )
    if not (math.isfinite(bars_per_year) and bars_per_year > 0):
        raise EvaluationError(f"bars_per_year = {bars_per_year!r} cannot annualise: take it from the calendar")
    if (bad := np.flatnonzero(~((exits < entries) & np.isfinite(exits) & np.isfinite(entries)))).size:
        k = int(bad[0])
        raise PolicyError(f"pair {k}: exit {exits[k]!r} is not below entry {entries[k]!r}; leave such pairs out")
    shared = terms(Policy(1.0, 0.0), costs, risk, horizon_bars=horizon_bars, step_ms=bars.step_ms)
    columns = _columns(bars, p_up, volatility, funding, shared)
    start = new_ledger(risk)
    tallies = np.zeros((TALLY_SIZE, n_pairs))
    taken: Literal["event", "step"] = "step"
    _sweep_steps(columns, shared, start, entries, exits, tallies)
    return _figures(tallies, entries, exits, n, bars_per_year, risk.initial_cash, taken)


def _columns(bars: Bars, p_up: FloatArray, volatility: FloatArray, funding: FloatArray | None, terms: Terms) -> Columns:
    n = len(bars)
    volatility = aligned("volatility", volatility, n)
    day: IntArray = (bars.close_time - 1) // DAY_MS
    fraction = np.zeros(n)
    return Columns(
        bars.open_time,
        bars.open,
        bars.close,
        aligned("p_up", p_up, n),
        volatility,
        funding_column(funding, n),
        day,
        fraction,
    )


def _figures(
    tallies: FloatArray,
    entries: FloatArray,
    exits: FloatArray,
    n: int,
    bars_per_year: float,
    initial_cash: float,
    path: Literal["event", "step"],
) -> SweepResult:
    mean = tallies[RETURNS] / n
    moved = tallies[HELD_BARS] > 0
    variance = np.where(moved, tallies[SQUARES] - n * mean * mean, 0.0) / max(n - 1, 1)
    deviation = np.sqrt(np.maximum(variance, 0.0))
    sharpe = np.divide(mean, deviation, out=np.zeros_like(mean), where=deviation > 0) * math.sqrt(bars_per_year)
    trades = tallies[TRADES]
    return SweepResult(
        entries=entries,
        exits=exits,
        sharpe=sharpe,
        max_drawdown=tallies[DRAWDOWN].copy(),
        win_rate=np.divide(tallies[WINS], trades, out=np.zeros_like(mean), where=trades > 0),
        turnover=tallies[TURNOVER] * bars_per_year / n,
        exposure=tallies[HELD_BARS] / n,
        n_trades=trades.astype(np.int64),
        total_return=tallies[LAST_EQUITY] / initial_cash - 1.0,
        final_equity=tallies[LAST_EQUITY].copy(),
        path=path,
    )
