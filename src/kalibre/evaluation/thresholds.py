"""Thresholds: which (entry, exit) pair a fold takes from its sweep, and how far such choices can be trusted (PBO).

Pairs are laid at quantiles of the uncalibrated score, so that the same pair means the same share of bars whatever the
model; the strictly increasing calibrator then maps the chosen pair to probabilities. The best single pair of a sweep is
the luckiest one. What is taken is the pair in the middle of the best neighbourhood: the median Sharpe ratio of the
pairs around it has to be high, and pairs with too few trades to say anything do not count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kalibre.core.bars import Bars
from kalibre.core.errors import EvaluationError
from kalibre.core.protocols import FloatArray
from kalibre.core.settings import CostSettings, RiskSettings
from kalibre.evaluation.sweep import sweep

MIN_TRADES = 20
REACH = 4
"""A neighbourhood is the pairs at most so many steps away on each axis."""


@dataclass(frozen=True)
class Grid:
    """Quantile levels of the score: `entries` above `exits`, so that every pair of them is one."""

    entries: FloatArray
    exits: FloatArray

    @classmethod
    def of(cls, n_pairs: int) -> Grid:
        """Lay at least `n_pairs` pairs, five entry levels for four exit levels.

        Examples
        --------
        >>> grid = Grid.of(2000)
        >>> len(grid.entries), len(grid.exits)
        (50, 40)
        """
        n_exits = max(1, round(math.sqrt(0.8 * n_pairs)))
        return cls(
            entries=np.linspace(0.60, 0.995, math.ceil(n_pairs / n_exits)), exits=np.linspace(0.02, 0.58, n_exits)
        )


@dataclass(frozen=True)
class Surface:
    """A sweep on a grid; matrices of shape (n_entries, n_exits), NaN where the score has no such pair."""

    grid: Grid
    entries: FloatArray
    exits: FloatArray
    sharpe: FloatArray
    n_trades: FloatArray


def sweep_surface(
    bars: Bars,
    score: FloatArray,
    volatility: FloatArray,
    grid: Grid,
    costs: CostSettings,
    risk: RiskSettings,
    *,
    bars_per_year: float,
    horizon_bars: int,
    funding: FloatArray | None = None,
) -> Surface:
    """Backtest every pair of a grid over some bars, thresholds at quantiles of the score on those bars.

    A score that takes too few values has fewer pairs, a constant one none: those are NaN, and `choose` says so.

    Raises
    ------
    EvaluationError
        If the score is known nowhere; the message quotes the number of bars.
    """
    known = score[np.isfinite(score)]
    if not known.size:
        raise EvaluationError(f"the score is unknown at all {len(score)} bars: nothing can be swept, check the warm-up")
    entries = np.quantile(known, grid.entries, method="higher")
    exits = np.quantile(known, grid.exits, method="lower")
    shape = (len(entries), len(exits))
    entry_of, exit_of = (side.ravel() for side in np.meshgrid(entries, exits, indexing="ij"))
    valid = np.flatnonzero(exit_of < entry_of)
    sharpe, n_trades = np.full(shape, np.nan), np.full(shape, np.nan)
    if not valid.size:
        return Surface(grid=grid, entries=entries, exits=exits, sharpe=sharpe, n_trades=n_trades)
    swept = sweep(
        bars,
        score,
        volatility,
        entry_of[valid],
        exit_of[valid],
        costs,
        risk,
        bars_per_year=bars_per_year,
        horizon_bars=horizon_bars,
        funding=funding,
    )
    sharpe.flat[valid] = swept.sharpe
    n_trades.flat[valid] = swept.n_trades
    return Surface(grid=grid, entries=entries, exits=exits, sharpe=sharpe, n_trades=n_trades)


def neighbourhood(values: FloatArray, reach: int = REACH) -> tuple[FloatArray, FloatArray]:
    """Return the median and the mean around each cell of a matrix, over known cells; NaN where fewer than half are.

    Examples
    --------
    >>> peak = np.zeros((5, 5)); peak[2, 2] = 9.0
    >>> float(neighbourhood(peak, 1)[0].max())
    0.0
    """
    width = 2 * reach + 1
    known = np.isfinite(values)
    windows = _windows(np.where(known, values, np.nan), width, np.nan)
    n_known = _windows(known.astype(np.float64), width, 0.0).sum(axis=-1)
    inside = _windows(np.ones(values.shape), width, 0.0).sum(axis=-1)
    enough = (2 * n_known >= inside) & (n_known > 0)
    median, mean = np.full(values.shape, np.nan), np.full(values.shape, np.nan)
    median[enough] = np.nanmedian(windows[enough], axis=-1)
    mean[enough] = np.nanmean(windows[enough], axis=-1)
    return median, mean


def _windows(values: FloatArray, width: int, outside: float) -> FloatArray:
    padded = np.pad(values, width // 2, constant_values=outside)
    return np.lib.stride_tricks.sliding_window_view(padded, (width, width)).reshape(*values.shape, -1)


def choose(surface: Surface, *, min_trades: int = MIN_TRADES) -> tuple[int, int] | None:
    """Return the pair (row, column) in the middle of the best neighbourhood; None if the surface holds no pair.

    Pairs with fewer than `min_trades` trades are left out; where that leaves nothing, all pairs count.
    """
    for fewest in (min_trades, min_trades // 2, 1, 0):
        traded = surface.n_trades >= fewest
        median, mean = neighbourhood(np.where(traded, surface.sharpe, np.nan))
        median[~traded] = np.nan
        if np.isfinite(median).any():
            # On a level plateau many medians are equal: the mean finds its middle.
            best = np.where(median == np.nanmax(median), mean, np.nan)
            return _cell(int(np.nanargmax(best)), best.shape)
    if not np.isfinite(surface.sharpe).any():
        return None
    return _cell(int(np.nanargmax(surface.sharpe)), surface.sharpe.shape)


def _cell(index: int, shape: tuple[int, ...]) -> tuple[int, int]:
    row, column = np.unravel_index(index, shape)
    return int(row), int(column)


def pair_returns(
    bars: Bars,
    score: FloatArray,
    volatility: FloatArray,
    surface: Surface,
    costs: CostSettings,
    risk: RiskSettings,
    *,
    blocks: int,
    bars_per_year: float,
    horizon_bars: int,
    funding: FloatArray | None = None,
) -> FloatArray:
    """Return what every pair of a surface earned on each of some consecutive blocks of later bars.

    Returns
    -------
    Shape (blocks, n_entries * n_exits), fraction; NaN for what is no pair. Each block begins flat.
    """
    entry_of, exit_of = (side.ravel() for side in np.meshgrid(surface.entries, surface.exits, indexing="ij"))
    valid = np.flatnonzero(exit_of < entry_of)
    earned = np.full((blocks, len(entry_of)), np.nan)
    for number, rows in enumerate(np.array_split(np.arange(len(bars)), blocks)):
        if valid.size and rows.size:
            cut = slice(int(rows[0]), int(rows[-1]) + 1)
            earned[number, valid] = sweep(
                bars[cut],
                score[cut],
                volatility[cut],
                entry_of[valid],
                exit_of[valid],
                costs,
                risk,
                bars_per_year=bars_per_year,
                horizon_bars=horizon_bars,
                funding=None if funding is None else funding[cut],
            ).total_return
    return earned
