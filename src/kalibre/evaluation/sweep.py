"""Sweep: every (entry, exit) threshold pair backtested in one compiled kernel, fill for fill as the engine does.

Two paths give the same fills. The *step* path runs `kalibre.trading.engine.step` for every pair and bar. The *event*
path, `kalibre.trading.lanes`, jumps from fill to fill and carries neighbouring pairs side by side.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kalibre.core.bars import Bars
from kalibre.core.errors import EvaluationError, PolicyError
from kalibre.core.protocols import FloatArray
from kalibre.core.settings import CostSettings, RiskSettings
from kalibre.trading.engine import Terms, aligned, funding_column, new_ledger, terms
from kalibre.trading.lanes import (
    DRAWDOWN,
    HELD_BARS,
    RETURNS,
    SQUARES,
    TALLY_SIZE,
    TRADES,
    TURNOVER,
    WINS,
    WORTH,
    Columns,
    prepare,
    sweep_events,
    sweep_steps,
)
from kalibre.trading.policy import Policy

IntArray = NDArray[np.int64]


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
    bars.check()
    shared = terms(Policy(1.0, 0.0), costs, risk, horizon_bars=horizon_bars, step_ms=bars.step_ms)
    columns = _columns(bars, p_up, volatility, funding, shared)
    start = new_ledger(risk)
    tallies = np.zeros((TALLY_SIZE, n_pairs))
    taken: Literal["event", "step"] = "event" if path == "auto" and funding is None else "step"
    if taken == "step":
        sweep_steps(columns, shared, start, entries, exits, tallies)
    else:
        order = np.lexsort((entries, exits))
        sorted_exits = exits[order]
        bounds = np.flatnonzero(np.diff(sorted_exits, prepend=-np.inf, append=np.inf))
        shared_arguments = (columns, shared, start, entries[order], sorted_exits, bounds)
        part_tallies = np.zeros((TALLY_SIZE, n_pairs))
        if threads == 1:
            sweep_events(*shared_arguments, 0, 1, part_tallies)
        else:
            with ThreadPoolExecutor(threads) as pool:
                runs = [pool.submit(sweep_events, *shared_arguments, i, threads, part_tallies) for i in range(threads)]
            for run in runs:
                run.result()
        tallies[:, order] = part_tallies
    return _figures(tallies, entries, exits, n, bars_per_year, risk.initial_cash, taken)


def _columns(bars: Bars, p_up: FloatArray, volatility: FloatArray, funding: FloatArray | None, terms: Terms) -> Columns:
    n = len(bars)
    volatility = aligned("volatility", volatility, n)
    day, prepared = np.zeros(n, dtype=np.int64), np.zeros((7, n))
    prepare(bars.open_time, bars.open, bars.close, volatility, terms, day, prepared)
    return Columns(
        bars.open_time,
        bars.open,
        bars.close,
        aligned("p_up", p_up, n),
        volatility,
        funding_column(funding, n),
        day,
        *prepared,
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
        total_return=tallies[WORTH] / initial_cash - 1.0,
        final_equity=tallies[WORTH].copy(),
        path=path,
    )
