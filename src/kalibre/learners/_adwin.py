"""ADWIN, compiled: it tells whether the mean of a stream of numbers in [0, 1] has changed.

A window is one array: row 0 holds its totals, every further row the buckets of one size, newest first. Many windows are
one array of three dimensions, so that all of a forest's are stored together.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import LearnerError
from kalibre.learners.kernels import compiled

_EACH = 5
"""Buckets of a size before the two oldest are merged."""
_LEAST, _GRACE = 5, 10
"""Values that each part of a cut must have, and that have to come before the first cut."""
COLUMNS = 2 * (_EACH + 1) + 1
"""Of a row of buckets: how many there are, the sum of each, and the squared deviations within each."""
SIZES = 20
"""Sizes of buckets: the window ends at some five million values, where the oldest fall out."""
WIDTH, TOTAL, SPREAD, TICK, ALARMS = 0, 1, 2, 3, 4
"""Of row 0: values, their sum, their squared deviations; values since the start, and alarms."""


def _drop(window: NDArray[np.float64]) -> float:
    """Drop the oldest bucket and return how many values it held."""
    row = SIZES
    while window[row, 0] == 0.0:
        row -= 1
    size = 2.0 ** (row - 1)
    total, spread = window[row, 1], window[row, 2 + _EACH]
    window[0, WIDTH] -= size
    window[0, TOTAL] -= total
    left = window[0, WIDTH]
    if left > 0.0:
        apart = total / size - window[0, TOTAL] / left
        window[0, SPREAD] -= spread + size * left * apart * apart / (size + left)
    else:
        window[0, SPREAD] = 0.0
    held = int(window[row, 0])
    for k in range(1, held):
        window[row, k] = window[row, k + 1]
        window[row, 1 + _EACH + k] = window[row, 2 + _EACH + k]
    window[row, 0] = held - 1
    return size


drop = compiled(_drop)


def _insert(window: NDArray[np.float64], value: float) -> None:
    """Take a value in, and merge the two oldest buckets of each size that has one too many."""
    width = window[0, WIDTH]
    if width > 0.0:
        apart = value - window[0, TOTAL] / width
        window[0, SPREAD] += width * apart * apart / (width + 1.0)
    window[0, WIDTH] = width + 1.0
    window[0, TOTAL] += value
    total, spread = value, 0.0
    for row in range(1, SIZES + 1):
        held = int(window[row, 0]) + 1
        window[row, held] = total
        window[row, 1 + _EACH + held] = spread
        window[row, 0] = held
        if held <= _EACH:
            return
        if row == SIZES:
            drop(window)
            return
        size = 2.0 ** (row - 1)
        one, two = window[row, 1], window[row, 2]
        apart = (one - two) / size
        total = one + two
        spread = window[row, 2 + _EACH] + window[row, 3 + _EACH] + size * apart * apart / 2.0
        for k in range(1, held - 1):
            window[row, k] = window[row, k + 2]
            window[row, 1 + _EACH + k] = window[row, 3 + _EACH + k]
        window[row, 0] = held - 2


insert = compiled(_insert)


def _has_cut(window: NDArray[np.float64], doubt: float) -> bool:
    """Say whether the window can be cut into an older and a newer part whose means differ by more than chance."""
    width, total = window[0, WIDTH], window[0, TOTAL]
    chance = math.log(2.0 * math.log(width) / doubt)
    variance = window[0, SPREAD] / width
    older, older_total = 0.0, 0.0
    for row in range(SIZES, 0, -1):
        held = int(window[row, 0])
        size = 2.0 ** (row - 1)
        for k in range(1, held + 1):
            older += size
            older_total += window[row, k]
            newer = width - older
            if newer < _LEAST:
                return False
            if older >= _LEAST:
                apart = older_total / older - (total - older_total) / newer
                rare = 1.0 / (older - _LEAST + 1.0) + 1.0 / (newer - _LEAST + 1.0)
                if abs(apart) > math.sqrt(2.0 * rare * variance * chance) + 2.0 / 3.0 * chance * rare:
                    return True
    return False


has_cut = compiled(_has_cut)


def _watch(window: NDArray[np.float64], value: float, doubt: float, every: int) -> int:
    """Take a value in and return 1 if the mean has risen, -1 if it has fallen, else 0.

    Parameters
    ----------
    window
        Shape (1 + SIZES, COLUMNS); all zeros to begin with.
    value
        In [0, 1].
    doubt
        How likely a cut may be by chance.
    every
        Values between two looks.
    """
    insert(window, value)
    window[0, TICK] += 1.0
    if window[0, WIDTH] <= _GRACE or window[0, TICK] % every != 0.0:
        return 0
    width, total = window[0, WIDTH], window[0, TOTAL]
    while has_cut(window, doubt):
        drop(window)
    gone = width - window[0, WIDTH]
    if gone == 0.0:
        return 0
    window[0, ALARMS] += 1.0
    return 1 if window[0, TOTAL] / window[0, WIDTH] > (total - window[0, TOTAL]) / gone else -1


watch = compiled(_watch)


class Adwin:
    """A window over the newest numbers, as long as their mean seems to stay the same.

    Parameters
    ----------
    doubt
        How likely it is that a cut is seen where there is none: the detector's delta.
    every
        Values between two looks at the window.

    References
    ----------
    Bifet and Gavalda (2007), Learning from time-changing data with adaptive windowing, SIAM International Conference
    on Data Mining, 443-448.

    Examples
    --------
    >>> window = Adwin()
    >>> [k for k in range(600) if window.update(float(k >= 300)) > 0]
    [319, 351]
    """

    def __init__(self, *, doubt: float = 0.002, every: int = 32) -> None:
        if not 0.0 < doubt < 1.0 or every < 1:
            raise LearnerError(f"doubt {doubt} must lie between 0 and 1, and every {every} must be at least 1")
        self._doubt, self._every = doubt, every
        self._window = np.zeros((1 + SIZES, COLUMNS))

    def update(self, value: float) -> int:
        """Take a value in; return 1 if the mean has risen, -1 if it has fallen, else 0.

        Raises
        ------
        LearnerError
            If the value is not in [0, 1].
        """
        if not 0.0 <= value <= 1.0:
            raise LearnerError(f"ADWIN watches numbers in [0, 1], not {value!r}: scale them")
        return int(watch(self._window, value, self._doubt, self._every))

    @property
    def width(self) -> int:
        """How many values the window spans."""
        return int(self._window[0, WIDTH])

    @property
    def mean(self) -> float:
        """Their mean, 0 where there is none."""
        return float(self._window[0, TOTAL] / max(self._window[0, WIDTH], 1.0))

    @property
    def variance(self) -> float:
        """Their variance (population), 0 where there is none."""
        return float(self._window[0, SPREAD] / max(self._window[0, WIDTH], 1.0))
