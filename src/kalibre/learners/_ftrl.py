"""FTRL-proximal logistic regression on standardised columns, compiled: a slow and a fast one, and two that begin anew.

All that it knows is two tables, so that a call is told once where they are. The rows of the first are a column for each
feature and one for the intercept; of the second, a column for each model.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kalibre.learners._adwin import watch
from kalibre.learners._scaler import SCALER_ROWS, is_known, standardise, take
from kalibre.learners.kernels import compiled, inlined

SCALER, NEW_SCALER = 0, SCALER_ROWS
"""Where the scaler's rows begin, and those of the models that began anew."""
ROW, UNIT = 2 * SCALER_ROWS, 2 * SCALER_ROWS + 1
"""The numbers of a call as they came, and standardised (last place: 1, for the intercept)."""
MODELS, MODEL_ROWS = UNIT + 1, 3
SUM, ROOT, WEIGHT = 0, 1, 2
"""Of a model: the paper's z, the square root of its n, and the weights that follow from both."""
RATES = 2
"""Learning rates, slow and fast: first the models that forecast, then those that began anew at an alarm."""
COUNT, SAMPLES, AGE, EVIDENCE, ALARMS, TAKEN, LOSS, LOSSES = 0, 1, 2, 3, 4, 5, 6, 7
"""Of the course, row 0: rows that the scaler counts; samples; samples since the new models began (0: there are none)
and how much more likely they made what happened (nats); alarms; how often the new took over; decayed log-loss."""
SHARE, SAID = 1, 2
"""Rows of the second table: how much each model counts; from `SAID` on what was said: close, forecast, models'."""
COURSE_COLUMNS = 8
ALPHA, KEPT, BETA, L1, L2, FURTHEST, MEMORY, SWITCHING, HORIZON, DOUBT, EVERY = 0, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12
"""Of the settings: the rates of both, the paper's other three, where standardised values end, rows that the scaler
remembers, the fixed share, bars of the horizon, the detector's delta, and samples between its looks."""

_CLOSEST = 1e-6
"""No model says a probability closer to 0 or 1."""
_PROVEN = 3.0
"""Nats in favour of the new models that make them take over: 20 to 1."""
_LOW = -1.0
"""What they lose while they know little does not count for more than this."""
_OLD = 2_000.0
"""Samples after which new models that have not proved themselves are given up."""
_LOSS_MEMORY = 2_000.0


def _dot(one: NDArray[np.float64], two: NDArray[np.float64]) -> float:
    """Return the inner product, in four sums, so that the processor need not wait for each."""
    n = one.shape[0]
    a = b = c = d = 0.0
    for i in range(0, n - 3, 4):
        a += one[i] * two[i]
        b += one[i + 1] * two[i + 1]
        c += one[i + 2] * two[i + 2]
        d += one[i + 3] * two[i + 3]
    for i in range(n - n % 4, n):
        a += one[i] * two[i]
    return (a + b) + (c + d)


dot = compiled(_dot)


def _sigmoid(x: float) -> float:
    """Return the probability that log-odds stand for, neither 0 nor 1."""
    p: float = 1.0 / (1.0 + math.exp(-min(max(x, -30.0), 30.0)))
    return min(max(p, _CLOSEST), 1.0 - _CLOSEST)


sigmoid = compiled(_sigmoid)


def _step(
    table: NDArray[np.float64],
    model: int,
    up: float,
    alpha: float,
    beta: float,
    l1: float,
    l2: float,
    kept: float,
) -> None:
    """Let one model learn a standardised sample: Algorithm 1 of the paper, for every coordinate.

    `kept` is the share of the past that it keeps, in gradients and in what holds the weights where they were: 1 in the
    paper.
    """
    at = MODELS + MODEL_ROWS * model
    unit, total, root, weight = table[UNIT], table[at + SUM], table[at + ROOT], table[at + WEIGHT]
    off = sigmoid(dot(unit, weight)) - up
    per = 1.0 / alpha
    for i in range(unit.shape[0]):
        gradient = off * unit[i]
        before = kept * root[i]
        after = math.sqrt(before * before + gradient * gradient)
        z = kept * total[i] + gradient - (after - before) * per * weight[i]
        root[i] = after
        total[i] = z
        weight[i] = (math.copysign(l1, z) - z) / ((beta + after) * per + l2) if abs(z) > l1 else 0.0


step = compiled(_step)


def _forecast(
    table: NDArray[np.float64], book: NDArray[np.float64], settings: NDArray[np.float64], close_ms: float
) -> float:
    """Return the probability of up for the numbers in `ROW` (NaN where one is unknown), and keep what was said."""
    row, unit = table[ROW], table[UNIT]
    n = row.shape[0] - 1
    if not is_known(row, n):
        return np.nan
    # Who waited longest gives way if no place is free: its outcome was lost, or it would have come.
    place = SAID
    for at in range(SAID, book.shape[0]):
        if book[at, 0] < book[place, 0]:
            place = at
    models = 2 * RATES if book[0, AGE] > 0.0 else RATES
    mixture = 0.0
    for model in range(models):
        if model % RATES == 0:
            standardise(table, SCALER if model < RATES else NEW_SCALER, row, n, settings[FURTHEST], unit)
        p = sigmoid(dot(unit, table[MODELS + MODEL_ROWS * model + WEIGHT]))
        book[place, 2 + model] = p
        mixture += book[SHARE, model] * p
    for model in range(models, 2 * RATES):
        book[place, 2 + model] = np.nan
    book[place, 0], book[place, 1] = close_ms, mixture
    return mixture


forecast = compiled(_forecast)


def _begin_anew(table: NDArray[np.float64], book: NDArray[np.float64]) -> None:
    """Let new models and their scaler begin beside the old ones, with half of the say."""
    for k in range(NEW_SCALER, NEW_SCALER + SCALER_ROWS):
        for i in range(table.shape[1]):
            table[k, i] = 0.0
    for k in range(MODELS + MODEL_ROWS * RATES, table.shape[0]):
        for i in range(table.shape[1]):
            table[k, i] = 0.0
    share = book[SHARE]
    total = 0.0
    for model in range(2 * RATES):
        total += share[model]
    for model in range(RATES):
        share[model] = 0.5 * (share[model] + share[RATES + model]) / total
        share[RATES + model] = 0.5 / RATES
        for at in range(SAID, book.shape[0]):
            book[at, 2 + RATES + model] = np.nan
    book[0, AGE], book[0, EVIDENCE] = 1.0, 0.0


begin_anew = compiled(_begin_anew)


def _settle(table: NDArray[np.float64], book: NDArray[np.float64]) -> None:
    """Put the new models in the place of the old where that is proved; let them go where it is not, after a while."""
    course, share = book[0], book[SHARE]
    proven = course[EVIDENCE] >= _PROVEN
    if not proven and course[AGE] <= _OLD:
        return
    kept = RATES if proven else 0
    if proven:
        course[TAKEN] += 1.0
        course[COUNT] = course[AGE] - 1.0
        for k in range(SCALER, SCALER + SCALER_ROWS):
            for i in range(table.shape[1]):
                table[k, i] = table[k + SCALER_ROWS, i]
        for k in range(MODELS, MODELS + MODEL_ROWS * RATES):
            for i in range(table.shape[1]):
                table[k, i] = table[k + MODEL_ROWS * RATES, i]
    total = 0.0
    for model in range(RATES):
        total += share[kept + model]
    for model in range(RATES):
        share[model] = share[kept + model] / total
        share[RATES + model] = 0.0
    for at in range(SAID, book.shape[0]):  # what waits goes with the models that said it
        for model in range(RATES):
            book[at, 2 + model] = book[at, 2 + kept + model]
            book[at, 2 + RATES + model] = np.nan
    course[AGE] = course[EVIDENCE] = 0.0


settle = inlined(_settle)


def _judge(
    book: NDArray[np.float64], window: NDArray[np.float64], settings: NDArray[np.float64], place: int, up: float
) -> bool:
    """Weigh the models by what they said of a bar, and say whether the forecasts have become worse."""
    course, share, said = book[0], book[SHARE], book[place]
    part = 1.0 / settings[HORIZON]  # horizons overlap: neighbours repeat each other
    likely = 1.0 - up + (2.0 * up - 1.0) * said[1]
    keep = 1.0 - part / _LOSS_MEMORY
    course[LOSS] = keep * course[LOSS] - math.log(likely)
    course[LOSSES] = keep * course[LOSSES] + 1.0
    mass = total = 0.0
    alive = 0
    old = old_mass = new = new_mass = 0.0
    for model in range(2 * RATES):
        p = said[2 + model]
        mass += share[model]
        if share[model] == 0.0:
            continue
        alive += 1
        if math.isnan(p):  # it was not there yet
            p = said[1]
        gave = 1.0 - up + (2.0 * up - 1.0) * p
        if model < RATES:
            old += share[model] * gave
            old_mass += share[model]
        else:
            new += share[model] * gave
            new_mass += share[model]
        share[model] *= math.exp(part * math.log(gave / likely))
        total += share[model]
    if new_mass > 0.0 and not math.isnan(said[2 + RATES]):
        course[EVIDENCE] = max(course[EVIDENCE] + part * math.log(new / new_mass * old_mass / old), _LOW)
    moved = settings[SWITCHING] * part
    for model in range(2 * RATES):
        if share[model] > 0.0:
            share[model] = (1.0 - moved) * share[model] / total + moved / alive
    course[SAMPLES] += 1.0
    if course[SAMPLES] % settings[HORIZON] != 0.0:
        return False
    # Only samples that do not overlap: the detector takes its values for independent.
    return watch(window, (said[1] - up) ** 2, settings[DOUBT], int(settings[EVERY])) > 0


judge = inlined(_judge)


def _learn(
    table: NDArray[np.float64],
    book: NDArray[np.float64],
    window: NDArray[np.float64],
    settings: NDArray[np.float64],
    close_ms: float,
    up: float,
) -> bool:
    """Learn what became of the bar that closed then, whose numbers are in `ROW`; say whether that raised the alarm."""
    row, unit, course = table[ROW], table[UNIT], book[0]
    n = row.shape[0] - 1
    if not is_known(row, n):
        return False
    place = 0
    for at in range(SAID, book.shape[0]):
        if book[at, 0] == close_ms:
            place = at
        if book[at, 0] <= close_ms:
            book[at, 0] = 0.0  # outcomes come in order: what is older will never come
    alarm = place > 0 and judge(book, window, settings, place, up)
    course[COUNT] += 1.0
    for model in range(2 * RATES if course[AGE] > 0.0 else RATES):
        rate = model % RATES
        if rate == 0:
            at, count = (SCALER, course[COUNT]) if model < RATES else (NEW_SCALER, course[AGE])
            take(table, at, row, n, max(1.0 / count, 1.0 / settings[MEMORY]))
            standardise(table, at, row, n, settings[FURTHEST], unit)
        kept = settings[KEPT + rate]
        step(table, model, up, settings[ALPHA + rate], settings[BETA], settings[L1], settings[L2], kept)
    if course[AGE] > 0.0:
        course[AGE] += 1.0
        settle(table, book)
    if alarm:
        course[ALARMS] += 1.0
        if course[AGE] == 0.0 or course[AGE] > _OLD / 2.0:
            begin_anew(table, book)
    return alarm


learn = compiled(_learn)
