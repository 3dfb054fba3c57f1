"""What labels share: the horizon they look over, and which horizons are whole."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kalibre.core.bars import Bars
from kalibre.core.errors import LabelError


class ExpectedOpens(Protocol):
    """The part of a calendar that labels need: when bars should have opened."""

    def expected_opens(self, timeframe: str, start_ms: int, end_ms: int) -> NDArray[np.int64]:
        """Return the expected open times with `start_ms <= open_time < end_ms`, UTC milliseconds."""
        ...


def check_horizon(horizon_bars: int) -> None:
    """Refuse a horizon that is not a positive whole number of bars.

    Raises
    ------
    LabelError
        With the value.
    """
    if isinstance(horizon_bars, bool) or not isinstance(horizon_bars, int) or horizon_bars < 1:
        raise LabelError(f"horizon_bars {horizon_bars!r} is not a positive whole number: pass at least 1")


def market_position(bars: Bars, calendar: ExpectedOpens | None) -> NDArray[np.int64]:
    """Return each bar's place among the bars that the market should have had.

    Two bars that are k rows apart are k market bars apart if and only if their places differ by k; where they differ by
    more, bars are missing between them. Without a calendar nothing can be missing: nights, weekends and holes look
    alike, and the rows themselves are counted.

    Parameters
    ----------
    bars
        The series, oldest first.
    calendar
        Knows the expected opens, or None.

    Returns
    -------
    Shape (n_bars,), rising.
    """
    n_bars = len(bars)
    if calendar is None or n_bars == 0:
        return np.arange(n_bars, dtype=np.int64)
    expected = calendar.expected_opens(bars.timeframe, int(bars.open_time[0]), int(bars.open_time[-1]) + bars.step_ms)
    # A bar outside the calendar (a special session it does not know) takes a place of its own and breaks no horizon:
    # what it adds to the rows it also adds to the places.
    merged = np.union1d(np.asarray(expected, dtype=np.int64), bars.open_time)
    return np.searchsorted(merged, bars.open_time).astype(np.int64)
