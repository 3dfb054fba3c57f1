"""Periods: how often the hub checks itself, counted in the market's own time.

A bar belongs to the period in which it closes; a period that no bar closed in does not exist. So weekends and nights
make no empty periods, and a replay has the same ones as the live market.
"""

from __future__ import annotations

from kalibre.core.timeframe import DAY_MS

HOUR_MS = DAY_MS // 24


def period_ms(step_ms: int) -> int:
    """Return the length of a period: an hour, or a bar where that is longer."""
    return max(HOUR_MS, step_ms)


def bench_ms(step_ms: int) -> int:
    """Return how often it is decided who is benched: once a day, or a bar where that is longer."""
    return max(DAY_MS, step_ms)


class Periods:
    """The newest periods that bars were in.

    Examples
    --------
    >>> periods = Periods(100)
    >>> for close_ms in (50, 100, 150, 420):
    ...     periods.enter(close_ms)
    >>> periods.end(150), periods.before_last(430), periods.before_last(510)
    (200, 100, 200)
    """

    def __init__(self, length_ms: int) -> None:
        self.length_ms = length_ms
        self._ends: list[int] = []

    def end(self, close_ms: int) -> int:
        """Return the end of the period in which a bar closes."""
        return -(-close_ms // self.length_ms) * self.length_ms

    @property
    def newest(self) -> int | None:
        """The end of the period that was entered last; None before the first."""
        return self._ends[-1] if self._ends else None

    def enter(self, close_ms: int) -> None:
        """Note that a bar closed then; bars come in the order of time."""
        end = self.end(close_ms)
        if not self._ends or end > self._ends[-1]:
            self._ends = [*self._ends[-2:], end]

    def before_last(self, close_ms: int) -> int | None:
        """Return the end of the period before the one before that of a bar; None while there is none."""
        ends = self._ends
        before = [end for end in ends if end < self.end(close_ms)]
        return before[-2] if len(before) >= 2 else None

    def state(self) -> list[int]:
        """Return the ends that are kept."""
        return self._ends

    def restore(self, state: list[int]) -> None:
        """Take on what `state` returned."""
        self._ends = [int(end) for end in state]
