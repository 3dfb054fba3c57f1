"""How votes are weighed, compiled: what agents say of a bar, their mixture, and what weights learn of its outcome.

Members of the panel, in order: the directional agents, the coin (1/2), the base rate, and the tracker, which is itself
a mixture of all before it. A lane is a whole set of weights; it is asked again only when it has learnt what became of
what it said last, so within a lane every label comes in time.

All that the panel knows is one table, a column for each member and one more: compiling is quick with one array, and so
is calling. Its rows are named below; a lane has `LANE_ROWS` of its own, from `LANES` on.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kalibre.learners.kernels import compiled

TRUST, SURENESS = 0, 1
"""What an agent's log-odds are multiplied by, and the precision of that."""
LOSS, AWAKE = 2, 3
"""Log-loss of each member, and samples it was awake for."""
VOTES = 4
"""Log-odds of each agent on this bar, NaN for who sleeps."""
LAST = 5
"""What each member said last, and the mixture."""
COURSE = 6
"""Ups and samples, decayed; log-loss of the mixture and samples, decayed; both since the start."""
LANES, LANE_ROWS = 7, 4
WEIGHT, SHARE, SAID, ODDS = 0, 1, 2, 3
"""Of a lane: logarithm of each member's weight (last place: the close whose outcome it waits for, 0 if none), the
tracker's weights, what was said (last place: the mixture), and the votes behind it (last place: base log-odds)."""

_CLOSEST = 0.01
"""Nobody on the panel says a probability closer to 0 or 1: what one bar can cost is bounded."""


def _forecast(table: NDArray[np.float64], close_ms: float) -> float:
    """Let everybody who is awake speak on the next free lane, keep what was said there, and return the mixture."""
    last = table.shape[1] - 1
    tracker, n_agents = last - 1, last - 3
    # The lane that has waited longest is taken if none is free: its outcome was lost, or it would have come.
    first = LANES
    for at in range(LANES, table.shape[0], LANE_ROWS):
        if table[at + WEIGHT, last] < table[first + WEIGHT, last]:
            first = at
    weight, share, said, odds = first + WEIGHT, first + SHARE, first + SAID, first + ODDS
    table[weight, last] = close_ms
    rate = table[COURSE, 0] / table[COURSE, 1]
    level = math.log(rate / (1.0 - rate))
    table[odds, last] = level
    mass, voted = 0.0, 0.0
    for i in range(tracker):
        p = 0.5 if i == n_agents else rate
        if i < n_agents:
            vote = table[VOTES, i]
            table[odds, i] = vote
            p = 1.0 / (1.0 + math.exp(-(level + table[TRUST, i] * vote)))  # NaN where the vote is
        if not math.isnan(p):
            p = min(max(p, _CLOSEST), 1.0 - _CLOSEST)
            mass += table[share, i]
            voted += table[share, i] * p
        table[said, i] = p
    table[said, tracker] = voted / mass
    mass, voted = 0.0, 0.0
    for i in range(last):
        p = table[said, i]
        table[LAST, i] = p
        if not math.isnan(p):
            w = math.exp(table[weight, i])
            mass += w
            voted += w * p
    mixture: float = voted / mass
    table[said, last] = table[LAST, last] = mixture
    return mixture


forecast = compiled(_forecast)


def _learn(
    table: NDArray[np.float64], close_ms: float, up: float, switching: float, memory: float, trust_memory: float
) -> bool:
    """Learn what became of the bar that closed then; say whether it was forecast on a lane.

    Bayes' rule with rate 1 among those who were awake: a weight is multiplied by the probability that its member gave
    to what happened, over that of the mixture, so that the weights of the sleeping do not move and the sum stays. The
    tracker then passes the share `switching` of the weight of the awake on to all of them alike. Trust is learnt by
    online Newton steps.

    Parameters
    ----------
    table
        All that the panel knows.
    close_ms, up
        The bar, and 1.0 if its outcome is up, else 0.0.
    switching, memory, trust_memory
        The tracker's rate, and the samples that base rate and decayed loss, and trust, remember.
    """
    last = table.shape[1] - 1
    tracker, n_agents = last - 1, last - 3
    part = LANE_ROWS / (table.shape[0] - LANES)  # horizons overlap: neighbours repeat each other
    keep = 1.0 - part / memory
    table[COURSE, 0] = keep * table[COURSE, 0] + part * up
    table[COURSE, 1] = keep * table[COURSE, 1] + part
    first = 0
    for at in range(LANES, table.shape[0], LANE_ROWS):
        if table[at + WEIGHT, last] == close_ms:
            first = at
        if table[at + WEIGHT, last] <= close_ms:
            table[at + WEIGHT, last] = 0.0  # outcomes come in order: what is older will never come
    if first == 0:
        return False
    weight, share, said, odds = first + WEIGHT, first + SHARE, first + SAID, first + ODDS
    seen = math.log(1.0 - up + (2.0 * up - 1.0) * table[said, last])
    shared = 1.0 - up + (2.0 * up - 1.0) * table[said, tracker]
    table[COURSE, 2] = keep * table[COURSE, 2] - seen
    table[COURSE, 3] = keep * table[COURSE, 3] + 1.0
    table[COURSE, 4] -= seen
    table[COURSE, 5] += 1.0
    awake, mass = 0, 0.0
    for i in range(last):
        p = table[said, i]
        if math.isnan(p):
            continue
        gave = 1.0 - up + (2.0 * up - 1.0) * p
        table[weight, i] += math.log(gave) - seen
        table[LOSS, i] -= math.log(gave)
        table[AWAKE, i] += 1.0
        if i < tracker:
            awake += 1
            mass += table[share, i]
            table[share, i] *= gave / shared
        if i < n_agents:
            x = table[odds, i]
            p = 1.0 / (1.0 + math.exp(-(table[odds, last] + table[TRUST, i] * x)))
            table[SURENESS, i] += part * (p * (1.0 - p) * x * x - table[SURENESS, i] / trust_memory)
            table[TRUST, i] = max(table[TRUST, i] - part * (p - up) * x / table[SURENESS, i], 0.0)
    for i in range(tracker):
        if not math.isnan(table[said, i]):
            table[share, i] = (1.0 - switching) * table[share, i] + switching * mass / awake
    return True


learn = compiled(_learn)
