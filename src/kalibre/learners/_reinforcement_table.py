"""Q-learning on an interpolated table, one bar at a time, and the account of the virtual position that it trades.

The environment (`_reinforcement_market`) computes its rewards by the `reward` of this file, so the two cannot differ.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kalibre.core.protocols import FloatArray
from kalibre.learners._reinforcement_states import (
    CORNERS,
    N_CELLS,
    N_TREND,
    Place,
    Reading,
    locate,
    nearest,
    trend_of,
)
from kalibre.learners.kernels import compiled

HOLD, BUY, SELL = 0, 1, 2
"""The actions, by number; they are wishes: to buy what is held already is to hold."""
ACTIONS: Final = ("HOLD", "BUY", "SELL")

# The ledger, an array of float64. HELD is what is held since the open of the bar, WANTS what the next open is to bring.
HELD, WANTS, KNOWN, CLOSE, VOLATILITY, REWARD, GROWTH, ERROR = range(8)
EPSILON, LEARNT, TRADES, SAMPLES, UPS, BARS, LAST_REWARD = range(8, 15)
LEDGER_SIZE = 15

AVERSION: Final = 0.02
"""What a squared downside move weighs in the reward: to hold through noise alone costs 0.01 of a deviation a bar."""
MOVE_CAP: Final = 5.0
"""A bar's move counts as no more standard deviations than this, lest one bar outweigh a thousand."""
RECENT: Final = 500.0
"""Bars that the recent means of the figures look back on, about."""
SAMPLES_KEPT: Final = 4_000.0
"""A cell that has seen so many outcomes forgets half of them."""
BASE_KEPT: Final = 20_000.0
"""The base rate does so after so many."""


class Terms(NamedTuple):
    """What stays the same from bar to bar.

    `fee` is a side's cost. `aversion` weighs the downside's square. `pooling` is how many visits of its own a cell
    needs to count as much as all cells of its trend. `proof` is by how many standard errors a trade has to be better
    than none. `curiosity` is after how many visits exploration has halved. `tilt` turns Q into log-odds, `strength` is
    the weight of the prior in samples. `hindsight` says whether a bar also teaches what was not done.
    """

    fee: float
    discount: float
    aversion: float
    rate_power: float
    rate_floor: float
    pooling: float
    proof: float
    curiosity: float
    tilt: float
    strength: float
    hindsight: bool


class Knowledge(NamedTuple):
    """What has been learnt; arrays by what was held at the close (0 flat, 1 long) and what is held after the open.

    `q` and `visits` have shape (N_CELLS, 2, 2), `pooled` and `pooled_visits`, the same of all cells of a trend,
    (N_TREND, 2, 2). `tries`, shape (N_CELLS, 2), counts decisions by what was held; `ups`, shape (N_CELLS, 2), the
    samples that matured and those of them that rose.
    """

    q: FloatArray
    visits: FloatArray
    pooled: FloatArray
    pooled_visits: FloatArray
    tries: FloatArray
    ups: FloatArray


_CELL_SIZE: Final = N_CELLS * 4
_TREND_SIZE: Final = N_TREND * 4
_PAIR_SIZE: Final = N_CELLS * 2
MEMORY_SIZE: Final = 2 * (_CELL_SIZE + _TREND_SIZE + _PAIR_SIZE)
"""Length of the one array that all knowledge lies in: a kernel is told of one array in less time than of six."""


def knowledge(memory: FloatArray) -> Knowledge:
    """Return the parts of a memory, as views."""
    c, t, p = _CELL_SIZE, _TREND_SIZE, _PAIR_SIZE
    return Knowledge(
        memory[:c].reshape((N_CELLS, 2, 2)),
        memory[c : 2 * c].reshape((N_CELLS, 2, 2)),
        memory[2 * c : 2 * c + t].reshape((N_TREND, 2, 2)),
        memory[2 * c + t : 2 * c + 2 * t].reshape((N_TREND, 2, 2)),
        memory[2 * c + 2 * t : 2 * c + 2 * t + p].reshape((N_CELLS, 2)),
        memory[2 * c + 2 * t + p :].reshape((N_CELLS, 2)),
    )


_knowledge = compiled(knowledge)


class Prices(NamedTuple):
    """The prices that a decision lives through: the close it was made at, then the next bar's open and close."""

    decided: float
    opened: float
    closed: float


def wished(action: int, held: int) -> int:
    """Return what is held after an action has been filled: 1 long, 0 flat.

    Examples
    --------
    >>> wished(BUY, 0), wished(SELL, 1), wished(HOLD, 1)
    (1, 0, 1)
    """
    return 1 if action == BUY else 0 if action == SELL else held


@compiled
def reward(
    held: int, holds: int, prices: Prices, volatility: float, fee: float, aversion: float
) -> tuple[float, float]:
    """Return the shaped reward of a decision, and by how much it made the account grow, as a logarithm.

    Who held `held` at the close before decided to hold `holds` from the open on. The gap to the open is earned by
    what was held, the way from open to close by what is held since; a purchase costs `log(1 + fee)` and a sale
    `-log(1 - fee)` once, as fills of `kalibre.trading.engine` do. The shaped reward is all of that in units of the
    volatility that was known at the decision, less `aversion` times the square of the move's downside: over many bars,
    a multiple of the downside variance (Sortino's). A move counts as at most `MOVE_CAP` units, a cost always in full.
    """
    move = held * math.log(prices.opened / prices.decided) + holds * math.log(prices.closed / prices.opened)
    cost = 0.0
    if holds > held:
        cost = math.log1p(fee)
    elif holds < held:
        cost = -math.log1p(-fee)
    units = min(max(move / volatility, -MOVE_CAP), MOVE_CAP)
    downside = min(units, 0.0)
    return units - cost / volatility - aversion * downside * downside, move - cost


@compiled
def _rate(visits: float, terms: Terms) -> float:
    """Return the learning rate of an entry after so many visits, this one included."""
    if visits <= 1.0:
        return 1.0
    return max(terms.rate_floor, float(visits**-terms.rate_power))


@compiled
def value(known: Knowledge, place: Place, held: int, holds: int, pooling: float) -> float:
    """Return Q of going from `held` to `holds`, interpolated; a cell is drawn to its trend by how little it saw."""
    total = 0.0
    for corner in range(CORNERS):
        cell = place.cells[corner]
        seen = known.visits[cell, held, holds]
        own = seen / (seen + pooling)
        pooled = known.pooled[trend_of(cell), held, holds]
        total += place.shares[corner] * (own * known.q[cell, held, holds] + (1.0 - own) * pooled)
    return total


@compiled
def _deviation(known: Knowledge, place: Place, held: int, holds: int, terms: Terms) -> float:
    """Return the standard error of such a Q, taking the deviation of what it averages for 1, the unit of rewards.

    An exponential mean of rate a has the variance a / (2 - a) of what it averages, about half its rate.
    """
    variance = 0.0
    for corner in range(CORNERS):
        cell = place.cells[corner]
        seen = known.visits[cell, held, holds]
        own = seen / (seen + terms.pooling)
        of_pool = _rate(known.pooled_visits[trend_of(cell), held, holds], terms)
        of_both = own * own * _rate(seen, terms) + (1.0 - own) * (1.0 - own) * of_pool
        variance += 0.5 * place.shares[corner] * of_both
    return math.sqrt(variance)


@compiled
def _preference(known: Knowledge, place: Place, held: int, terms: Terms) -> int:
    """Return what is best held next: a trade has to be better than none by `proof` standard errors."""
    other = 1 - held
    gain = value(known, place, held, other, terms.pooling) - value(known, place, held, held, terms.pooling)
    return other if gain > terms.proof * _deviation(known, place, held, other, terms) else held


@compiled
def _learn(
    known: Knowledge,
    before: Place,
    now: Place,
    held: int,
    holds: int,
    prices: Prices,
    volatility: float,
    terms: Terms,
) -> tuple[float, float]:
    """Learn from the step between two bars; return the temporal difference and the reward of what was done.

    Targets are made before anything changes. Every cell moves towards the target itself, by its share and at the rate
    of its own visits: with the shares of an interpolation this converges (Szepesvári and Smart 2004).
    """
    pooling = terms.pooling
    flat = max(value(known, now, 0, 0, pooling), value(known, now, 0, 1, pooling))
    long = max(value(known, now, 1, 0, pooling), value(known, now, 1, 1, pooling))
    error = -value(known, before, held, holds, pooling)
    earned = 0.0
    for was in range(2):
        for goes in range(2):
            done = was == held and goes == holds
            if not (done or terms.hindsight):
                continue
            gained = reward(was, goes, prices, volatility, terms.fee, terms.aversion)[0]
            target = gained + terms.discount * (long if goes == 1 else flat)
            if done:
                earned = gained
                error += target
            for corner in range(CORNERS):
                share = before.shares[corner]
                if share > 0.0:
                    cell = before.cells[corner]
                    trend = trend_of(cell)
                    known.visits[cell, was, goes] += share
                    rate = share * _rate(known.visits[cell, was, goes], terms)
                    known.q[cell, was, goes] += rate * (target - known.q[cell, was, goes])
                    known.pooled_visits[trend, was, goes] += share
                    rate = share * _rate(known.pooled_visits[trend, was, goes], terms)
                    known.pooled[trend, was, goes] += rate * (target - known.pooled[trend, was, goes])
    return error, earned


@compiled
def _score(known: Knowledge, place: Place, ledger: FloatArray, terms: Terms) -> float:
    """Return the chance of up: how often it rose from here, drawn to the base rate as moved by what Q makes of it."""
    base = (ledger[UPS] + 1.0) / (ledger[SAMPLES] + 2.0)
    worth = value(known, place, 1, 1, terms.pooling) - value(known, place, 0, 0, terms.pooling)
    prior = 1.0 / (1.0 + (1.0 - base) / base * math.exp(-terms.tilt * worth))
    total = 0.0
    for corner in range(CORNERS):
        cell = place.cells[corner]
        rate = (known.ups[cell, 1] + terms.strength * prior) / (known.ups[cell, 0] + terms.strength)
        total += place.shares[corner] * rate
    return total


@compiled
def step(
    memory: FloatArray,
    cells: NDArray[np.int64],
    shares: FloatArray,
    ledger: FloatArray,
    terms: Terms,
    reading: Reading,
    open_price: float,
    close_price: float,
    follows: bool,
    chance: float,
) -> float:
    """Take a bar in: fill what was wanted at its open, learn from what came of it, decide; return the score.

    Parameters
    ----------
    memory, ledger
        Shape (MEMORY_SIZE,) and (LEDGER_SIZE,), changed in place.
    cells, shares
        Shape (2, CORNERS): the place of the bar before, overwritten by that of this bar, and room to work in.
    follows
        False where a bar is missing before this one: a purchase does not wait across a hole, and nothing is learnt
        from what happened in it.
    chance
        A random number in [0, 1).

    Returns
    -------
    The chance of up; NaN where the row holds a number that is unknown. It then holds what it has.
    """
    known = _knowledge(memory)
    before, now = Place(cells[0], shares[0]), Place(cells[1], shares[1])
    held, holds = int(ledger[HELD]), int(ledger[WANTS])
    located = locate(now, reading)
    if ledger[CLOSE] > 0.0:
        if holds > held and not follows:
            holds = held
        prices = Prices(ledger[CLOSE], open_price, close_price)
        ledger[BARS] += 1.0
        ledger[TRADES] += abs(holds - held)
        grown = reward(held, holds, prices, 1.0, terms.fee, 0.0)[1]
        ledger[GROWTH] += (grown - ledger[GROWTH]) / min(ledger[BARS], RECENT)
        if located and follows and ledger[KNOWN] > 0.0:
            error, earned = _learn(known, before, now, held, holds, prices, ledger[VOLATILITY], terms)
            ledger[LEARNT] += 1.0
            span = min(ledger[LEARNT], RECENT)
            ledger[REWARD] += (earned - ledger[REWARD]) / span
            ledger[ERROR] += (abs(error) - ledger[ERROR]) / span
            ledger[LAST_REWARD] = earned
    ledger[HELD] = ledger[WANTS] = holds
    ledger[CLOSE] = close_price
    ledger[KNOWN] = 1.0 if located else 0.0
    if not located:
        return math.nan
    here = nearest(now)
    epsilon = terms.curiosity / (terms.curiosity + known.tries[here, holds])
    known.tries[here, holds] += 1.0
    ledger[EPSILON], ledger[VOLATILITY] = epsilon, reading.volatility
    if chance < epsilon:
        ledger[WANTS] = 1.0 if chance < 0.5 * epsilon else 0.0
    else:
        ledger[WANTS] = _preference(known, now, holds, terms)
    for corner in range(CORNERS):
        before.cells[corner], before.shares[corner] = now.cells[corner], now.shares[corner]
    return _score(known, now, ledger, terms)


@compiled
def mature(
    memory: FloatArray,
    cells: NDArray[np.int64],
    shares: FloatArray,
    ledger: FloatArray,
    reading: Reading,
    went_up: bool,
) -> None:
    """Count what became of a row."""
    known, place = _knowledge(memory), Place(cells[1], shares[1])
    if not locate(place, reading):
        return
    rose = 1.0 if went_up else 0.0
    for corner in range(CORNERS):
        cell = place.cells[corner]
        known.ups[cell, 0] += place.shares[corner]
        known.ups[cell, 1] += place.shares[corner] * rose
        if known.ups[cell, 0] > SAMPLES_KEPT:
            known.ups[cell, 0] *= 0.5
            known.ups[cell, 1] *= 0.5
    ledger[SAMPLES] += 1.0
    ledger[UPS] += rose
    if ledger[SAMPLES] > BASE_KEPT:
        ledger[SAMPLES] *= 0.5
        ledger[UPS] *= 0.5


@compiled
def prefer(memory: FloatArray, place: Place, terms: Terms, held: int) -> int:
    """Return the action that is taken for the best at a place, without exploring."""
    holds = _preference(_knowledge(memory), place, held, terms)
    return HOLD if holds == held else BUY if holds == 1 else SELL


@compiled
def worth(memory: FloatArray, place: Place, held: int, holds: int, pooling: float) -> float:
    """Return Q at a place."""
    return value(_knowledge(memory), place, held, holds, pooling)
