"""Plain names of regimes: how volatile, and whether prices rise or fall in them beyond chance."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kalibre.core.protocols import FloatArray
from kalibre.learners import _hmm as hmm
from kalibre.learners._regime_fit import Scale, leans

VOLATILITY = ("calm", "lively", "storm")
DIRECTION = ("", "up", "down")
NAMES = tuple(f"{volatility} {direction}".strip() for volatility in VOLATILITY for direction in DIRECTION)
"""Every name there is."""

UNNAMED = -1
_ALIKE = math.log(1.25)
"""States whose volatilities differ by less than this factor have none to tell apart by: all of them are calm."""
_BOUNDS, _BEYOND = (1 / 3, 2 / 3), 0.05
"""Where between the calmest and the most volatile (in logarithms) a state becomes lively, and a storm."""
_SURE, _DOUBTFUL = 3.0, 1.5
"""A state has a direction from so many standard errors on, and loses it below so many."""


def unnamed() -> NDArray[np.int64]:
    """Return the marks of states that had no name yet: shape (n_states, 2), places in `VOLATILITY` and `DIRECTION`."""
    return np.full((hmm.N_STATES, 2), UNNAMED)


def marked(model: FloatArray, scale: Scale, before: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the marks of a model's states.

    They follow from the model. Only at a boundary does a state keep what it was called `before`, until it is clearly
    beyond: a name does not come and go with every bar that is learnt.
    """
    level = model[:, hmm.MEAN]
    low, high = float(level.min()), float(level.max())
    lean = leans(model, scale)
    # Of the squared weights, which are log-normal: what one bar tells of the multiple.
    spread = np.exp(2.0 * (level + model[:, hmm.VARIANCE])) / scale.typical**2
    error = np.sqrt(model[:, hmm.VARIANCE + 1] / np.maximum(model[:, hmm.HELD] * spread, 1e-300))
    errors = model[:, hmm.MEAN + 1] / error
    marks = np.zeros_like(before)
    for k in range(len(level)):
        was, leant = before[k].tolist()
        if high - low >= _ALIKE:
            place = (float(level[k]) - low) / (high - low)
            marks[k, 0] = sum(place > _bound(bound, was, mark) for mark, bound in enumerate(_BOUNDS, start=1))
        side = 1 if lean[k] > 0.0 else 2
        needed = _DOUBTFUL if leant == side else _SURE
        marks[k, 1] = side if abs(errors[k]) > needed else 0
    return marks


def _bound(bound: float, was: int, mark: int) -> float:
    """Return a boundary, moved a little away from the side that the state was on."""
    if was == UNNAMED:
        return bound
    return bound - _BEYOND if was >= mark else bound + _BEYOND


def name(marks: NDArray[np.int64], state: int) -> str:
    """Return the name of a state.

    Examples
    --------
    >>> name(np.array([[0, 1], [1, 0], [2, 2]]), 0), name(np.array([[0, 1], [1, 0], [2, 2]]), 2)
    ('calm up', 'storm down')
    """
    volatility, direction = marks[state].tolist()
    return f"{VOLATILITY[volatility]} {DIRECTION[direction]}".strip()
