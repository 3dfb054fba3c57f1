"""A Gaussian hidden Markov model, compiled: its filter, one step a bar, and its maximum likelihood by Baum-Welch.

Of a bar, two numbers are seen, independent of each other in a state: the first is normal, and the second is normal
around a multiple, the state's own, of a *weight* that the bar brings along. With a weight of 1 it is the usual model of
two normal numbers. A model is one table with a row for each state: how likely a stretch begins in it, where it moves
to, the mean of the first number and the multiple of the second, the variances of both, and how many bars it was held
for when it was learnt. Where nothing is known of a bar (NaN in its first number) time passes, and nothing is learnt.

The equations are Rabiner's (1989), scaled: 27 and 92a for the filter, 36-38 and 40a for learning, 52-54 for densities.
Filter and backward pass are normalised bar by bar, so nothing underflows.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kalibre.core.protocols import FloatArray
from kalibre.learners.kernels import compiled

N_STATES = 3
START = 0
MOVES = 1
MEAN = MOVES + N_STATES
VARIANCE = MEAN + 2
HELD = VARIANCE + 2
MODEL_COLUMNS = HELD + 1

WORK_COLUMNS = 2 * N_STATES
"""Of each bar: the filtered probabilities, and how likely each state makes what was seen."""
_LATER, _INWARD = 0, 1
"""Of each state, on the way back: how likely all later bars are from it, and moving into it."""
_KNOWN, _SHIFT, _SPREAD, _TURN, _SPREAD_2, _WEIGHT, _MOVED = 2, 3, 4, 5, 6, 7, 8
"""And gathered: bars; what they are off by, for both numbers; and where the state moved."""
SUM_COLUMNS = _MOVED + N_STATES

LEAST_MOVE = 1e-4
"""No state follows another more rarely than that: what was not seen yet may happen."""
_LEAST_HELD = 1e-3
"""A state that was held for fewer bars than that keeps its mean and variance."""


def _step(model: NDArray[np.float64], belief: NDArray[np.float64], first: float, second: float, weight: float) -> float:
    """Move the belief on by a bar and return the log-likelihood of what was seen; 0 where nothing was (NaN).

    Parameters
    ----------
    model
        Shape (n_states, MODEL_COLUMNS).
    belief
        Shape (2, n_states). The first row holds the filtered probabilities; the second is for the kernel's use.
    first, second, weight
        What was seen.
    """
    whole = 0.0
    for k in range(N_STATES):
        prior = 0.0
        for j in range(N_STATES):
            prior += belief[0, j] * model[j, MOVES + k]
        belief[1, k] = prior
        whole += prior
    if math.isnan(first):
        for k in range(N_STATES):
            belief[0, k] = belief[1, k] / whole
        return 0.0
    top = -math.inf
    for k in range(N_STATES):
        off, off_2 = first - model[k, MEAN], second - model[k, MEAN + 1] * weight
        said = off * off / model[k, VARIANCE] + off_2 * off_2 / model[k, VARIANCE + 1]
        said += math.log(4.0 * math.pi * math.pi * model[k, VARIANCE] * model[k, VARIANCE + 1])
        belief[0, k] = math.log(belief[1, k]) - 0.5 * said
        top = max(top, belief[0, k])
    whole = 0.0
    for k in range(N_STATES):
        belief[0, k] = math.exp(belief[0, k] - top)
        whole += belief[0, k]
    for k in range(N_STATES):
        belief[0, k] /= whole
    return top + math.log(whole)


step = compiled(_step)


def _forward(
    seen: NDArray[np.float64], model: NDArray[np.float64], work: NDArray[np.float64], sums: NDArray[np.float64]
) -> float:
    """Filter bars, put down how likely each state makes each (over the likeliest), and return the log-likelihood."""
    for k in range(N_STATES):
        variance, variance_2 = model[k, VARIANCE], model[k, VARIANCE + 1]
        sums[k, 0] = -0.5 * math.log(4.0 * math.pi * math.pi * variance * variance_2)
        sums[k, 1], sums[k, 2] = -0.5 / variance, -0.5 / variance_2
    likelihood, product = 0.0, 1.0
    for t in range(seen.shape[0]):
        top = 0.0
        if math.isnan(seen[t, 0]):
            for k in range(N_STATES):
                work[t, N_STATES + k] = 1.0
        else:
            top = -math.inf
            for k in range(N_STATES):
                off, off_2 = seen[t, 0] - model[k, MEAN], seen[t, 1] - model[k, MEAN + 1] * seen[t, 2]
                said = sums[k, 0] + sums[k, 1] * off * off + sums[k, 2] * off_2 * off_2
                work[t, N_STATES + k] = said
                top = max(top, said)
            for k in range(N_STATES):
                work[t, N_STATES + k] = math.exp(work[t, N_STATES + k] - top)
        whole = 0.0
        for k in range(N_STATES):
            prior = model[k, START]
            if t > 0:
                prior = 0.0
                for j in range(N_STATES):
                    prior += work[t - 1, j] * model[j, MOVES + k]
            work[t, k] = prior * work[t, N_STATES + k]
            whole += work[t, k]
        scale = 1.0 / whole
        for k in range(N_STATES):
            work[t, k] *= scale
        likelihood += top
        product *= whole
        if product < 1e-200:  # a bar hardly ever makes it smaller than LEAST_MOVE of itself
            likelihood += math.log(product)
            product = 1.0
    return likelihood + math.log(product)


forward = compiled(_forward)


def _backward(
    seen: NDArray[np.float64], model: NDArray[np.float64], work: NDArray[np.float64], sums: NDArray[np.float64]
) -> None:
    """Go back over the filtered bars and gather what a better model is made of."""
    for k in range(N_STATES):
        for c in range(SUM_COLUMNS):
            sums[k, c] = 0.0
        sums[k, _LATER] = 1.0
        model[k, HELD] = 0.0
    for t in range(seen.shape[0] - 1, -1, -1):
        known = not math.isnan(seen[t, 0])
        for k in range(N_STATES):
            p = work[t, k] * sums[k, _LATER]  # they sum to 1, for what is later was scaled so
            model[k, HELD] += p
            model[k, START] = p  # the last bar on the way is the first
            if known:
                weight = seen[t, 2]
                off, off_2 = seen[t, 0] - model[k, MEAN], seen[t, 1] - model[k, MEAN + 1] * weight
                sums[k, _KNOWN] += p
                sums[k, _SHIFT] += p * off
                sums[k, _SPREAD] += p * off * off
                sums[k, _TURN] += p * off_2 * weight
                sums[k, _SPREAD_2] += p * off_2 * off_2
                sums[k, _WEIGHT] += p * weight * weight
        if t == 0:
            break
        for k in range(N_STATES):
            sums[k, _INWARD] = work[t, N_STATES + k] * sums[k, _LATER]
        whole = 0.0
        for j in range(N_STATES):
            later = 0.0
            for k in range(N_STATES):
                later += model[j, MOVES + k] * sums[k, _INWARD]
            sums[j, _LATER] = later
            whole += work[t - 1, j] * later
        scale = 1.0 / whole
        for j in range(N_STATES):
            here = work[t - 1, j] * scale
            for k in range(N_STATES):
                sums[j, _MOVED + k] += here * sums[k, _INWARD]
            sums[j, _LATER] *= scale


backward = compiled(_backward)


def _maximise(model: NDArray[np.float64], sums: NDArray[np.float64], floors: NDArray[np.float64]) -> None:
    """Make the likeliest model of what was gathered whose variances and moves are not below their least."""
    for k in range(N_STATES):
        known = sums[k, _KNOWN]
        if known > _LEAST_HELD:
            off = sums[k, _SHIFT] / known
            turn = sums[k, _TURN] / sums[k, _WEIGHT]
            model[k, MEAN] += off
            model[k, MEAN + 1] += turn
            model[k, VARIANCE] = max(sums[k, _SPREAD] / known - off * off, floors[0])
            model[k, VARIANCE + 1] = max((sums[k, _SPREAD_2] - turn * sums[k, _TURN]) / known, floors[1])
        whole = 0.0
        for j in range(N_STATES):
            sums[k, _MOVED + j] *= model[k, MOVES + j]
            whole += sums[k, _MOVED + j]
        if not whole > 0.0:
            continue
        lifted = 1
        while lifted > 0:  # who is below the least is put there, and the others share the rest
            lifted = 0
            room, above = 1.0, 0.0
            for j in range(N_STATES):
                if sums[k, _MOVED + j] < 0.0:
                    room -= LEAST_MOVE
                else:
                    above += sums[k, _MOVED + j]
            for j in range(N_STATES):
                if sums[k, _MOVED + j] >= 0.0:
                    model[k, MOVES + j] = sums[k, _MOVED + j] * room / above
                    if model[k, MOVES + j] < LEAST_MOVE:
                        model[k, MOVES + j] = LEAST_MOVE
                        sums[k, _MOVED + j] = -1.0
                        lifted += 1


maximise = compiled(_maximise)


def _learn(
    seen: NDArray[np.float64],
    model: NDArray[np.float64],
    work: NDArray[np.float64],
    sums: NDArray[np.float64],
    floors: NDArray[np.float64],
    rounds: int,
) -> float:
    """Better a model by so many rounds of Baum-Welch; return the log-likelihood of what it has become.

    It never falls, from one round to the next, for the same bars: each round finds the maximum within the floors.
    Afterwards `work` begins with the filtered probabilities of each bar.

    Parameters
    ----------
    seen
        Shape (n_bars, 3): both numbers and the weight, above 0; oldest first, at least one bar.
    model
        Shape (n_states, MODEL_COLUMNS): where to begin; changed. Every state has to be likely enough at the start for
        the first bar, moves at least `LEAST_MOVE`, and variances at least their floors.
    work, sums
        Shapes (n_bars, WORK_COLUMNS) and (n_states, SUM_COLUMNS), for the kernel's use.
    floors
        Shape (2,): the least variance of each number.
    rounds
        How often; with 0 the model stays as it is.
    """
    for _ in range(rounds):
        forward(seen, model, work, sums)
        backward(seen, model, work, sums)
        maximise(model, sums, floors)
    return forward(seen, model, work, sums)


learn = compiled(_learn)


def log_likelihood(seen: FloatArray, model: FloatArray) -> tuple[float, FloatArray]:
    """Return the log-likelihood of bars and the filtered probabilities of each, shape (n_bars, n_states)."""
    work, sums = np.empty((len(seen), WORK_COLUMNS)), np.empty((N_STATES, SUM_COLUMNS))
    found: float = learn(seen, model.copy(), work, sums, np.zeros(2), 0)
    return found, work[:, :N_STATES].copy()


def fitted(
    seen: FloatArray, model: FloatArray, floors: FloatArray, rounds: int
) -> tuple[float, FloatArray, FloatArray]:
    """Return what `learn` makes of a model: log-likelihood, model, filtered probabilities; nothing given is changed."""
    better = model.copy()
    work, sums = np.empty((len(seen), WORK_COLUMNS)), np.empty((N_STATES, SUM_COLUMNS))
    found: float = learn(seen, better, work, sums, floors, rounds)
    return found, better, work[:, :N_STATES]
