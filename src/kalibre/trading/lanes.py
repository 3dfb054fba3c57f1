"""Lanes: many threshold pairs carried through their trades side by side, without looking at their quiet bars.

Pairs of one exit threshold are taken together, in the order of their entry thresholds: a pair is a *lane*. The bars at
or below the exit threshold cut time into segments, at whose end every long lane is sold. Within a segment a lane is
bought at the first bar that reaches its entry threshold, so the lanes bought at one bar are neighbours (a *run*) and
differ in cash only. What the run's trade does to one unit of cash is worked out once; each lane's cash then goes
through the engine's own `buy` and `sell`, so that every fill is the engine's to the last bit. A lane that meets the
daily loss limit is handed to the engine's `step` until its segment ends.

Funding changes cash between fills and has no place here: with it, `follow` runs bar by bar.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kalibre.core.protocols import FloatArray
from kalibre.trading._compile import compiled, inlined
from kalibre.trading.engine import (
    BUY,
    CASH,
    DAY,
    DAY_BASE,
    EQUITY,
    HALT_DAY,
    LEDGER_SIZE,
    QUANTITY,
    SELL,
    Terms,
    buy,
    buy_price,
    day_of,
    position_fraction,
    sell,
    sell_price,
    step,
)

IntArray = NDArray[np.int64]

# What is added up for a pair, and what is tracked.
RETURNS, SQUARES, HELD_BARS, TURNOVER, TRADES, WINS, PEAK, DRAWDOWN, ENTRY_CASH, WORTH = range(10)
TALLY_SIZE = 10
N_SUMS = 5
"""RETURNS to TRADES are the same for every lane of a run."""

# Rows of the lanes' own state.
_CASH, _PEAK, _FALL, _WINS, _DAY, _BASE, _HALT = range(7)
_MARGIN = 1.0 + 1e-9
"""Room for rounding where a per-unit figure stands in for each lane's own: nearer than that, the step decides."""


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
    unit_cost: FloatArray
    """What a unit costs at this bar's open, slippage and fee included; `unit_proceeds`: what one brings."""
    unit_proceeds: FloatArray
    first_change: FloatArray
    """Return of a bar at whose open everything was bought; `last_change`: at whose open everything was sold."""
    last_change: FloatArray
    returns: FloatArray
    """Sum of the close-to-close returns up to each bar; `squares`: of their squares."""
    squares: FloatArray


@compiled
def prepare(
    open_time: IntArray,
    open_price: FloatArray,
    close_price: FloatArray,
    volatility: FloatArray,
    terms: Terms,
    day: IntArray,
    prepared: FloatArray,
) -> None:
    """Fill in what does not depend on thresholds; rows of `prepared` are the columns from `fraction` on."""
    n = len(open_time)
    returns, squares = 0.0, 0.0
    for t in range(n):
        close_time = open_time[t] + terms.step_ms
        day[t] = day_of(close_time)
        if t + 1 < n and open_time[t + 1] - close_time <= terms.stale_ms:
            prepared[0, t] = position_fraction(
                terms.max_exposure, terms.risk_per_trade, terms.root_horizon, volatility[t]
            )
        prepared[1, t] = buy_price(open_price[t], terms.slippage) * (1.0 + terms.fee)
        prepared[2, t] = sell_price(open_price[t], terms.slippage) * (1.0 - terms.fee)
        prepared[3, t] = close_price[t] / prepared[1, t] - 1.0
        if t > 0:
            prepared[4, t] = prepared[2, t] / close_price[t - 1] - 1.0
            change = close_price[t] / close_price[t - 1] - 1.0
            returns += change
            squares += change * change
        prepared[5, t], prepared[6, t] = returns, squares


@compiled
def with_thresholds(terms: Terms, entry: float, exit_: float) -> Terms:
    """Return the same terms with other thresholds."""
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
def follow(ledger: FloatArray, terms: Terms, columns: Columns, first: int, last: int, tally: FloatArray) -> None:
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
            tally[TRADES] += 1.0
            tally[WINS] += 1.0 if after > tally[ENTRY_CASH] else 0.0
            tally[TURNOVER] += value / (after + done.fill_fee)
        equity = ledger[EQUITY]
        change = equity / before - 1.0
        tally[RETURNS] += change
        tally[SQUARES] += change * change
        tally[HELD_BARS] += 1.0 if ledger[QUANTITY] > 0.0 else 0.0
        tally[PEAK] = max(tally[PEAK], equity)
        tally[DRAWDOWN] = max(tally[DRAWDOWN], 1.0 - equity / tally[PEAK])
    tally[WORTH] = ledger[EQUITY]


@compiled
def sweep_steps(
    columns: Columns, terms: Terms, start: FloatArray, entries: FloatArray, exits: FloatArray, tallies: FloatArray
) -> None:
    """Carry every pair over every bar with the engine's step; `tallies` has shape (TALLY_SIZE, n_pairs)."""
    for k in range(len(entries)):
        ledger, tally = start.copy(), np.zeros(TALLY_SIZE)
        tally[PEAK] = start[EQUITY]
        follow(ledger, with_thresholds(terms, entries[k], exits[k]), columns, 0, len(columns.open_time) - 1, tally)
        tallies[:, k] = tally


@compiled
def _part_invested(
    close: FloatArray, rest: float, units: float, first: int, last: int, unit_proceeds: float, sold: bool
) -> tuple[float, float, float]:
    """Walk through a trade that leaves cash aside; return sums of returns and of squares, and the deepest fall."""
    returns, squares, before, peak, keep = 0.0, 0.0, 1.0, 1.0, 1.0
    for t in range(first, last + 1 + sold):
        worth = rest + units * (close[t] if t <= last else unit_proceeds)
        change = worth / before - 1.0
        returns += change
        squares += change * change
        peak = worth if worth > peak else peak
        if worth < peak * keep:
            keep = worth / peak
        before = worth
    return returns, squares, 1.0 - keep


@inlined
def _carry(
    lanes: FloatArray,
    low: int,
    high: int,
    fraction: float,
    unit_cost: float,
    unit_proceeds: float,
    lowest: float,
    highest: float,
    deepest: float,
    sold: bool,
) -> None:
    """Carry lanes `low` to `high` through their trade with the engine's arithmetic on each lane's own cash."""
    # Whole vectors of four with a mask: no scalar rest whose length nobody can predict. Unsigned: numba then leaves out
    # the test for negative indices.
    start, stop, one = np.uint64(low), np.uint64(high), 1.0 if sold else 0.0
    for i in range((stop - start + np.uint64(3)) & np.uint64(0xFFFFFFFFFFFFFFFC)):
        k = start + np.uint64(i)
        before, peak = lanes[_CASH, k], lanes[_PEAK, k]
        rest, quantity = buy(before, fraction, unit_cost)
        after = sell(rest, quantity, unit_proceeds)
        bottom, top = rest + quantity * lowest, rest + quantity * highest
        bottom, top = bottom if bottom < after else after, top if top > after else after
        down = 1.0 - bottom / peak
        down = down if down > deepest else deepest
        fall = lanes[_FALL, k]
        mine = k < stop
        lanes[_FALL, k] = down if mine and down > fall else fall
        lanes[_PEAK, k] = top if mine and top > peak else peak
        lanes[_WINS, k] += one if mine and after > before else 0.0
        lanes[_CASH, k] = after if mine else before


@inlined
def _limit_binds(
    lanes: FloatArray,
    low: int,
    high: int,
    fraction: float,
    unit_cost: float,
    entry_day: int,
    first_day: int,
    lowest: float,
    floor: float,
) -> bool:
    """Say whether the day's loss limit stops any lane at its entry or on the first day of its trade."""
    binds = False
    for k in range(np.uint64(low), np.uint64(high)):
        before = lanes[_CASH, k]
        base = lanes[_BASE, k] if lanes[_DAY, k] == first_day else before
        rest, quantity = buy(before, fraction, unit_cost)
        binds |= (lanes[_HALT, k] == entry_day) | (rest + quantity * lowest < floor * base)
    return binds


@inlined
def _new_day(
    lanes: FloatArray,
    low: int,
    high: int,
    fraction: float,
    unit_cost: float,
    unit_proceeds: float,
    first_day: int,
    sale_day: int,
    last_close: float,
    floor: float,
) -> None:
    """Note what the day of the sale starts from, and whether the sale itself ends that day."""
    for k in range(np.uint64(low), np.uint64(high)):
        before = lanes[_CASH, k]
        rest, quantity = buy(before, fraction, unit_cost)
        base = lanes[_BASE, k] if lanes[_DAY, k] == first_day else before
        base = base if sale_day == first_day else rest + quantity * last_close
        lanes[_BASE, k], lanes[_DAY, k] = base, sale_day
        if sell(rest, quantity, unit_proceeds) < floor * base:
            lanes[_HALT, k] = sale_day


@compiled
def _follow_lanes(
    columns: Columns,
    terms: Terms,
    lanes: FloatArray,
    low: int,
    high: int,
    entries: FloatArray,
    first: int,
    last: int,
    sums: FloatArray,
) -> None:
    """Carry lanes `low` to `high` over bars `first` to `last` with the engine's step, each on its own."""
    ledger, tally = np.zeros(LEDGER_SIZE), np.zeros(TALLY_SIZE)
    for k in range(low, high):
        ledger[:] = 0.0
        ledger[CASH], ledger[EQUITY] = lanes[_CASH, k], lanes[_CASH, k]
        ledger[DAY], ledger[DAY_BASE], ledger[HALT_DAY] = lanes[_DAY, k], lanes[_BASE, k], lanes[_HALT, k]
        tally[:] = 0.0
        tally[PEAK], tally[DRAWDOWN] = lanes[_PEAK, k], lanes[_FALL, k]
        follow(ledger, with_thresholds(terms, entries[k], terms.exit_threshold), columns, first, last, tally)
        lanes[_CASH, k], lanes[_PEAK, k], lanes[_FALL, k] = ledger[EQUITY], tally[PEAK], tally[DRAWDOWN]
        lanes[_WINS, k] += tally[WINS]
        lanes[_DAY, k], lanes[_BASE, k], lanes[_HALT, k] = ledger[DAY], ledger[DAY_BASE], ledger[HALT_DAY]
        for i in range(N_SUMS):
            sums[k, i] += tally[i]
            sums[k + 1, i] -= tally[i]


@compiled
def _sweep_group(  # noqa: PLR0912, PLR0915 - a call that is not inlined copies the descriptors of all its arrays
    columns: Columns, terms: Terms, start: FloatArray, entries: FloatArray, tallies: FloatArray
) -> None:
    """Sweep the pairs of one exit threshold, that of `terms`; `entries` rise, `tallies` is (TALLY_SIZE, n_lanes)."""
    n, m, exit_ = len(columns.open_time), len(entries), terms.exit_threshold
    p_up, fraction, close, day = columns.p_up, columns.fraction, columns.close_price, columns.day
    unit_cost, unit_proceeds = columns.unit_cost, columns.unit_proceeds
    first_change, last_change = columns.first_change, columns.last_change
    running, running_squares = columns.returns, columns.squares
    floor, limited, bought = terms.day_floor, terms.day_floor > 0.0, 1.0 / (1.0 + terms.fee)
    lanes = np.ones((7, m + 3))
    lanes[_FALL], lanes[_WINS], lanes[_DAY], lanes[_HALT] = 0.0, 0.0, -1.0, -1.0
    lanes[_CASH], lanes[_PEAK], lanes[_BASE] = start[CASH], start[CASH], start[CASH]
    # What a run adds to each of its lanes is added where the run begins and taken back where it ends.
    sums = np.zeros((m + 1, N_SUMS))
    run_row, run_low = np.zeros(m, np.int64), np.zeros(m, np.int64)
    n_long, n_runs, next_entry = 0, 0, entries[0]
    for t in range(n + 1):
        if t < n:
            p = p_up[t]
            if p >= next_entry and fraction[t] > 0.0:
                run_row[n_runs], run_low[n_runs] = t, n_long
                n_long += 1
                while n_long < m and p >= entries[n_long]:
                    n_long += 1
                n_runs, next_entry = n_runs + 1, entries[n_long] if n_long < m else np.inf
                continue
            if n_long == 0 or not p <= exit_:
                continue
        # The segment ends: back through its bars, so that runs share what they have in common.
        last, sold = min(t, n - 1), t + 1 < n
        row, lowest, highest, keep, high = last, close[last], close[last], 1.0, n_long
        proceeds, sale_change = close[last], 0.0
        sale_day, day_lowest, day_lost, close_before_sale_day = day[last], close[last], False, np.nan
        if sold:
            proceeds, sale_change, sale_day = unit_proceeds[last + 1], last_change[last + 1], day[last + 1]
            if sale_day != day[last]:
                close_before_sale_day = close[last]
        for r in range(n_runs - 1, -1, -1):
            first, low = run_row[r] + 1, run_low[r]
            while row > first:
                row -= 1
                price = close[row]
                if lowest < price * keep:
                    keep = lowest / price
                lowest = price if price < lowest else lowest
                highest = price if price > highest else highest
                if limited:
                    if day[row] != day[row + 1]:
                        # A day of the trade begins at this close; a lane that also holds cash falls by less.
                        day_lost |= day_lowest < floor * price * _MARGIN
                        if day[row + 1] == sale_day:
                            close_before_sale_day = price
                        day_lowest = np.inf
                    day_lowest = price if price < day_lowest else day_lowest
            spent, cost = fraction[first - 1], unit_cost[first]
            if limited:
                if day_lost or _limit_binds(
                    lanes, low, high, spent, cost, day[first - 1], day[first], day_lowest, floor
                ):
                    _follow_lanes(columns, terms, lanes, low, high, entries, first - 1, min(last + 1, n - 1), sums)
                    high = low
                    continue
                if sold:
                    _new_day(
                        lanes, low, high, spent, cost, proceeds, day[first], sale_day, close_before_sale_day, floor
                    )
            turnover = spent * bought
            if spent == 1.0:
                change = first_change[first]
                returns = change + (running[last] - running[first]) + sale_change
                squares = change * change + (running_squares[last] - running_squares[first]) + sale_change * sale_change
                fall = 1.0 - (proceeds / highest if proceeds < highest * keep else keep)
                turnover += 1.0 if sold else 0.0
            else:
                rest, units = buy(1.0, spent, cost)
                returns, squares, fall = _part_invested(close, rest, units, first, last, proceeds, sold)
                if sold:
                    sale = units * (proceeds / (1.0 - terms.fee))
                    turnover += sale / (rest + sale)
            _carry(lanes, low, high, spent, cost, proceeds, lowest, highest, fall, sold)
            held, trades = last + 1.0 - first, 1.0 if sold else 0.0
            sums[low, RETURNS] += returns
            sums[high, RETURNS] -= returns
            sums[low, SQUARES] += squares
            sums[high, SQUARES] -= squares
            sums[low, HELD_BARS] += held
            sums[high, HELD_BARS] -= held
            sums[low, TURNOVER] += turnover
            sums[high, TURNOVER] -= turnover
            sums[low, TRADES] += trades
            sums[high, TRADES] -= trades
            high = low
        n_long, n_runs, next_entry = 0, 0, entries[0]
    total = np.zeros(N_SUMS)
    for k in range(m):
        for i in range(N_SUMS):
            total[i] += sums[k, i]
            tallies[i, k] = total[i]
        tallies[WINS, k], tallies[DRAWDOWN, k], tallies[WORTH, k] = lanes[_WINS, k], lanes[_FALL, k], lanes[_CASH, k]


@compiled
def sweep_events(
    columns: Columns,
    terms: Terms,
    start: FloatArray,
    entries: FloatArray,
    exits: FloatArray,
    bounds: IntArray,
    part: int,
    n_parts: int,
    tallies: FloatArray,
) -> None:
    """Sweep every `n_parts`-th group of pairs, from `part` on.

    Pairs come sorted by exit, then by entry; group g is pairs `bounds[g]` to `bounds[g + 1]`, all of one exit.
    """
    for group in range(part, len(bounds) - 1, n_parts):
        low, high = bounds[group], bounds[group + 1]
        _sweep_group(
            columns, with_thresholds(terms, entries[low], exits[low]), start, entries[low:high], tallies[:, low:high]
        )
