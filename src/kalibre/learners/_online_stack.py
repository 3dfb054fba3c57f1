"""How the members of `online` become one forecast, compiled: regressions on what they say, and weights by their losses.

Members, in order: the linear one as it is; the forest, calibrated; both, stacked; the base rate. Only what was really
said of a bar, before anything about it was known, is held against its outcome.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kalibre.learners._online_state import fitting
from kalibre.learners.kernels import compiled

MEMBERS = ("linear", "forest", "both", "base_rate")
UPS, RATED, LOSS, LOSSES, SAMPLES = 0, 1, 2, 3, 4
"""Of the course, row 0: ups and samples of the base rate, decayed; log-loss and samples, decayed; all."""
SHARE, FOREST, BOTH, SAID = 1, 2, 6, 10
"""Rows: how much each member counts; the two regressions, each a row of coefficients (of the linear member's log-odds,
the forest's, and 1) and three of their precision; from `SAID` on what was said of a bar."""
CLOSE, MIXED, FIRST, ODDS = 0, 1, 2, 6
"""Of what was said: the bar's close, the forecast, each member's, and the log-odds of the linear member and forest."""
BOOK_COLUMNS = 8
_DIMENSIONS = 3

_PRIOR_FOREST, _PRIOR_BOTH = 5.0, 50.0
"""Precision of the coefficients at the start, and of what they are drawn to as the past fades."""
_MEMORY = 5_000.0
"""Samples that regressions remember."""
_RATE_MEMORY, _RATE_SAMPLES = 2_000.0, 100.0
"""Samples that base rate and decayed loss remember, and how many even ones the base rate begins with."""
_SWITCHING = 1.0 / 4_000.0
"""The fixed share of its say that a member passes on after each sample."""
_CLOSEST = 1e-3
"""No member says a probability closer to 0 or 1: what one bar can cost is bounded."""


def _told(odds: float) -> float:
    """Return the probability that log-odds stand for."""
    p: float = 1.0 / (1.0 + math.exp(-min(max(odds, -30.0), 30.0)))
    return min(max(p, _CLOSEST), 1.0 - _CLOSEST)


told = compiled(_told)


def _odds(p: float) -> float:
    """Return the log-odds of a probability."""
    p = min(max(p, _CLOSEST), 1.0 - _CLOSEST)
    return math.log(p / (1.0 - p))


odds = compiled(_odds)


def _fit(
    book: NDArray[np.float64], at: int, x: float, y: float, z: float, up: float, part: float, prior: float
) -> None:
    """Let a regression learn a sample by a Newton step on the log-loss of all, in which the past fades."""
    fade = part / _MEMORY
    off = up - told(book[at, 0] * x + book[at, 1] * y + book[at, 2] * z)
    steep = part * abs(off) * (1.0 - abs(off))
    for i in range(_DIMENSIONS):
        own = x if i == 0 else y if i == 1 else z
        for k in range(_DIMENSIONS):
            other = x if k == 0 else y if k == 1 else z
            drawn = fade * prior if i == k else 0.0
            book[at + 1 + i, k] += steep * own * other + drawn - fade * book[at + 1 + i, k]
    # The inverse of a symmetric matrix of three, by its minors.
    a, b, c = book[at + 1, 0], book[at + 1, 1], book[at + 1, 2]
    d, e, f = book[at + 2, 1], book[at + 2, 2], book[at + 3, 2]
    aa, ab, ac = d * f - e * e, c * e - b * f, b * e - c * d
    step = part * off / (a * aa + b * ab + c * ac)
    book[at, 0] += step * (aa * x + ab * y + ac * z)
    book[at, 1] += step * (ab * x + (a * f - c * c) * y + (b * c - a * e) * z)
    book[at, 2] += step * (ac * x + (b * c - a * e) * y + (a * d - b * b) * z)


fit = compiled(_fit)


def _mix(book: NDArray[np.float64], close_ms: float, linear: float, forest: float) -> float:
    """Return the forecast for a bar of which the linear member and the forest say this, and keep what was said."""
    x, y = odds(linear), odds(forest)
    # Who waited longest gives way if no place is free: its outcome was lost, or it would have come.
    place = SAID
    for at in range(SAID, book.shape[0]):
        if book[at, CLOSE] < book[place, CLOSE]:
            place = at
    said, share = book[place], book[SHARE]
    said[FIRST] = told(x)
    said[FIRST + 1] = told(book[FOREST, 1] * y + book[FOREST, 2])
    said[FIRST + 2] = told(book[BOTH, 0] * x + book[BOTH, 1] * y + book[BOTH, 2])
    said[FIRST + 3] = book[0, UPS] / book[0, RATED]
    mixed = 0.0
    for member in range(4):
        mixed += share[member] * said[FIRST + member]
    said[CLOSE], said[MIXED], said[ODDS], said[ODDS + 1] = close_ms, mixed, x, y
    return mixed


mix = compiled(_mix)


def _weigh(book: NDArray[np.float64], close_ms: float, up: float, horizon: float) -> bool:
    """Learn what became of the bar that closed then; say whether a forecast of it waited."""
    place = 0
    for at in range(SAID, book.shape[0]):
        if book[at, CLOSE] == close_ms:
            place = at
        if book[at, CLOSE] <= close_ms:
            book[at, CLOSE] = 0.0  # outcomes come in order: what is older will never come
    if place == 0:
        return False
    course, share, said = book[0], book[SHARE], book[place]
    part = 1.0 / horizon  # horizons overlap: neighbours repeat each other
    keep = 1.0 - part / _RATE_MEMORY
    likely = 1.0 - up + (2.0 * up - 1.0) * said[MIXED]
    course[UPS] = keep * course[UPS] + part * up + 0.5 * (1.0 - keep) * _RATE_SAMPLES
    course[RATED] = keep * course[RATED] + part + (1.0 - keep) * _RATE_SAMPLES
    course[LOSS] = keep * course[LOSS] - math.log(likely)
    course[LOSSES] = keep * course[LOSSES] + 1.0
    course[SAMPLES] += 1.0
    total = 0.0
    for member in range(4):
        gave = 1.0 - up + (2.0 * up - 1.0) * said[FIRST + member]
        share[member] *= math.exp(part * math.log(gave / likely))
        total += share[member]
    for member in range(4):
        share[member] = (1.0 - _SWITCHING * part) * share[member] / total + _SWITCHING * part / 4.0
    x, y = said[ODDS], said[ODDS + 1]
    fit(book, FOREST, 0.0, y, 1.0, up, part, _PRIOR_FOREST)
    fit(book, BOTH, x, y, 1.0, up, part, _PRIOR_BOTH)
    return True


weigh = compiled(_weigh)


class Stack:
    """Makes one forecast of what a linear member and a forest say, by what each was worth.

    The forest's log-odds are calibrated, and both members' log-odds stacked, by logistic regressions that learn by
    Newton steps; these two, the linear member and the base rate are mixed by fixed share. At first the stack says what
    the linear member says.

    Parameters
    ----------
    horizon_bars
        Bars that a label looks ahead: each sample counts as that part of one.

    References
    ----------
    Herbster and Warmuth (1998), Tracking the best expert, Machine Learning 32, 151-178. Wolpert (1992), Stacked
    generalization, Neural Networks 5(2), 241-259.

    Examples
    --------
    >>> stack = Stack()
    >>> for t in range(1, 801):
    ...     _ = stack.mix(t, 0.5, 0.9 if t % 4 else 0.1)
    ...     _ = stack.weigh(t, t % 4 != 0)
    >>> stack.mix(801, 0.5, 0.1) < 0.05
    True
    """

    def __init__(self, horizon_bars: int = 1) -> None:
        self._horizon = float(horizon_bars)
        self._book = book = np.zeros((SAID + horizon_bars + 1, BOOK_COLUMNS))
        book[0, UPS], book[0, RATED] = _RATE_SAMPLES / 2.0, _RATE_SAMPLES
        book[SHARE, : len(MEMBERS)] = 1.0 / len(MEMBERS)
        book[FOREST, 1], book[BOTH, 0] = 0.5, 1.0
        for at, prior in ((FOREST, _PRIOR_FOREST), (BOTH, _PRIOR_BOTH)):
            book[at + 1 : at + 1 + _DIMENSIONS, :_DIMENSIONS] = prior * np.eye(_DIMENSIONS)
        self._mix: Callable[..., float] = mix.bind_alone(book)  # type: ignore[attr-defined]
        self._weigh: Callable[..., bool] = weigh.bind_alone(book)  # type: ignore[attr-defined]

    def mix(self, close_ms: float, linear: float, forest: float) -> float:
        """Return the forecast for a bar of which the members say this; remember it by its close (above 0)."""
        return self._mix(close_ms, linear, forest)

    def weigh(self, close_ms: float, up: bool) -> bool:
        """Learn what became of a bar, in order; say whether a forecast of it waited."""
        return self._weigh(close_ms, up, self._horizon)

    @property
    def loss(self) -> float | None:
        """The log-loss of the newest forecasts; None before any has matured."""
        course = self._book[0]
        return float(course[LOSS] / course[LOSSES]) if course[LOSSES] else None

    @property
    def samples(self) -> int:
        """Forecasts that have matured."""
        return int(self._book[0, SAMPLES])

    @property
    def weights(self) -> dict[str, float]:
        """How much each member counts, by name."""
        return dict(zip(MEMBERS, self._book[SHARE].tolist(), strict=False))

    @property
    def coefficients(self) -> dict[str, list[float]]:
        """Of both regressions: coefficients of the linear member's log-odds and the forest's, intercept."""
        return {name: self._book[at, :_DIMENSIONS].tolist() for name, at in (("forest", FOREST), ("both", BOTH))}

    def state(self) -> dict[str, NDArray[np.float64]]:
        """Return everything that later answers depend on; the array is live."""
        return {"book": self._book}

    def judged(self, state: Mapping[str, Any]) -> Callable[[], None]:
        """Return what takes on a state returned by `state`.

        Raises
        ------
        LearnerError
            If it does not fit; nothing changes before what is returned is called.
        """
        given = fitting(state, self.state())
        return lambda: np.copyto(self._book, given["book"])
