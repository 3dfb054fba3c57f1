"""Bayesian online change-point detection, compiled: how long ago the distribution of what is seen last changed.

After Adams and MacKay (2007): a run ends after any bar with the same probability, the hazard, and the numbers of a run
are normal with mean and variance unknown (normal-inverse-gamma, so what is expected next is Student's t). Several
numbers are seen of a bar; they are independent, and change together. A run of length 0 begins with the next bar.

All of it is one table: a row for each run that is still possible, longest first, and in the last row what is known of
a run before its first bar. Where all rows are taken, the least likely run is given up.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kalibre.core.protocols import FloatArray
from kalibre.learners.kernels import compiled

N_SEEN = 2
LIKELY, LENGTH, RATIO = 0, 1, 2
"""Probability of a run, its bars, and gamma(a + 1/2) / gamma(a) of its shape a. In the last row, `LENGTH`: runs."""
FIRST, NUMBER_COLUMNS = 3, 3
CENTRE, SPREAD, TRUST = 0, 1, 2
"""Of each number, from `FIRST` on: mean, scale (beta), and how many bars the mean is worth (kappa)."""
RUN_COLUMNS = FIRST + NUMBER_COLUMNS * N_SEEN

SHAPE = 2.0
"""Shape (alpha) of the variance before a run's first bar; half of a bar more after each."""


def new_runs(most: int) -> FloatArray:
    """Return the table for so many runs, nothing seen yet; `expect` has to tell what to expect of a new run."""
    runs = np.zeros((most + 1, RUN_COLUMNS))
    runs[-1, RATIO] = math.gamma(SHAPE + 0.5) / math.gamma(SHAPE)
    return runs


def expect(runs: FloatArray, centre: FloatArray, within: FloatArray, between: FloatArray) -> None:
    """Tell what new runs look like from now on.

    Parameters
    ----------
    runs
        The table; changed. Runs that have begun go on as they are.
    centre, within, between
        Shape (n_seen,): mean of all bars, variance within a run, and variance of the runs' means.
    """
    prior = runs[-1, FIRST:].reshape(N_SEEN, NUMBER_COLUMNS)
    prior[:, CENTRE] = centre
    prior[:, SPREAD] = within * (SHAPE - 1.0)
    prior[:, TRUST] = within / between
    if runs[-1, LENGTH] == 0.0:
        runs[0] = runs[-1]
        runs[0, LIKELY], runs[0, LENGTH] = 1.0, 0.0
        runs[-1, LENGTH] = 1.0


def _grow(runs: NDArray[np.float64], first: float, second: float) -> float:
    """Let every run take in a bar, if it had no end; return how likely the bar was."""
    n = int(runs[runs.shape[0] - 1, LENGTH])
    whole = 0.0
    for i in range(n):
        shape = SHAPE + 0.5 * runs[i, LENGTH]
        # Student's t of each number; their powers are one, for they share the shape.
        size, tail = 1.0, 1.0
        for d in range(N_SEEN):
            at = FIRST + NUMBER_COLUMNS * d
            value = first if d == 0 else second
            trust, off = runs[i, at + TRUST], value - runs[i, at + CENTRE]
            scale = 2.0 * runs[i, at + SPREAD] * (trust + 1.0) / trust
            size *= runs[i, RATIO] / math.sqrt(math.pi * scale)
            tail *= 1.0 + off * off / scale
            runs[i, at + SPREAD] += 0.5 * trust * off * off / (trust + 1.0)
            runs[i, at + CENTRE] += off / (trust + 1.0)
            runs[i, at + TRUST] = trust + 1.0
        runs[i, LENGTH] += 1.0
        runs[i, RATIO] = shape / runs[i, RATIO]  # gamma(a + 1) / gamma(a + 1/2): half a step of the shape
        runs[i, LIKELY] *= size * math.exp(-(shape + 0.5) * math.log(tail))
        whole += runs[i, LIKELY]
    return whole


grow = compiled(_grow)


def _end(runs: NDArray[np.float64], whole: float, hazard: float, least: float) -> None:
    """Let runs end, give up the unlikely ones, and begin a new one; `whole` is the sum of what they are likely."""
    last = runs.shape[0] - 1
    n = int(runs[last, LENGTH])
    kept, lowest = 0, 0
    left = hazard
    for i in range(n):
        likely = (1.0 - hazard) * runs[i, LIKELY] / whole
        if likely >= least:
            runs[kept] = runs[i]
            runs[kept, LIKELY] = likely
            left += likely
            if likely < runs[lowest, LIKELY]:
                lowest = kept
            kept += 1
    if kept == last:
        left -= runs[lowest, LIKELY]
        kept -= 1
        for i in range(lowest, kept):
            runs[i] = runs[i + 1]
    runs[kept] = runs[last]
    runs[kept, LENGTH], runs[kept, LIKELY] = 0.0, hazard
    for i in range(kept + 1):
        runs[i, LIKELY] /= left
    runs[last, LENGTH] = float(kept + 1)


end = compiled(_end)


def _update(
    runs: NDArray[np.float64], first: float, second: float, hazard: float, least: float, recent: float
) -> tuple[float, float, float, float]:
    """Take a bar in; return log-likelihood, length of the likeliest run, expected length, and how likely it is recent.

    Parameters
    ----------
    runs
        The table.
    first, second
        What was seen.
    hazard
        Probability that a run ends after a bar.
    least
        Runs less likely than that are given up.
    recent
        A run of at most that many bars counts as recent.
    """
    last = runs.shape[0] - 1
    whole = grow(runs, first, second)
    if not 0.0 < whole < math.inf:  # nothing known fits: begin anew
        runs[last, LENGTH] = 0.0
    end(runs, whole, hazard, least)
    likeliest, expected, is_recent = 0, 0.0, 0.0
    for i in range(int(runs[last, LENGTH])):
        expected += runs[i, LIKELY] * runs[i, LENGTH]
        if runs[i, LENGTH] <= recent:
            is_recent += runs[i, LIKELY]
        if runs[i, LIKELY] > runs[likeliest, LIKELY]:
            likeliest = i
    return math.log(whole), runs[likeliest, LENGTH], expected, is_recent


update = compiled(_update)
