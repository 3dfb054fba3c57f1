"""Missing bars: what the calendar expects and the series lacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from kalibre.bars.calendars import Calendar, get_calendar
from kalibre.core.bars import Bars
from kalibre.core.clock import to_text
from kalibre.core.errors import CalendarError
from kalibre.core.events import Gap, series_key
from kalibre.core.timeframe import DAY_MS, timeframe_ms
from kalibre.log.protocol import Reader

_SAMPLE = 2_000
"""Newest bars that are looked at to tell a closed market from holes."""
_CLOSED_WEEKS = 3
_MOSTLY = 0.95


def missing_opens(
    open_time: NDArray[np.int64], calendar: Calendar, timeframe: str, start_ms: int, end_ms: int
) -> NDArray[np.int64]:
    """Return the open times in `[start_ms, end_ms)` that the calendar expects and `open_time` lacks, rising."""
    return np.setdiff1d(calendar.expected_opens(timeframe, start_ms, end_ms), open_time)


def group_missing(
    missing: NDArray[np.int64],
    calendar: Calendar,
    timeframe: str,
    *,
    status: Literal["open", "healed", "hole"] = "open",
    reason: str = "",
) -> list[Gap]:
    """Join neighbouring missing bars into gaps; bars on both sides of a closed market are neighbours.

    Parameters
    ----------
    missing
        Open times of missing bars, shape (n_missing,), rising, each expected by the calendar.

    Returns
    -------
    One gap for each run of neighbours: `start_ms` is its first missing bar's open, `end_ms` its last one's end.
    """
    if not missing.size:
        return []
    step = timeframe_ms(timeframe)
    expected = calendar.expected_opens(timeframe, int(missing[0]), int(missing[-1]) + 1)
    place = np.searchsorted(expected, missing)
    cuts = np.flatnonzero(np.diff(place) > 1) + 1
    return [
        Gap(start_ms=int(run[0]), end_ms=int(run[-1]) + step, missing_bars=len(run), status=status, reason=reason)
        for run in np.split(missing, cuts)
    ]


def find_gaps(bars: Bars, calendar: Calendar, *, start_ms: int | None = None, end_ms: int | None = None) -> list[Gap]:
    """Find the bars that are missing between the first and the last one, or in a given range.

    Parameters
    ----------
    bars
        A series; its order does not matter.
    calendar
        What bars there must be.
    start_ms, end_ms
        Range `[start_ms, end_ms)`, UTC milliseconds; by default from the first bar to the last.

    Returns
    -------
    Gaps with status `open`, oldest first.

    Examples
    --------
    >>> from kalibre.bars.calendars import get_calendar
    >>> flat = dict(open=[1, 1], high=[1, 1], low=[1, 1], close=[1, 1], volume=[1, 1])
    >>> series = Bars(symbol="X", timeframe="1h", open_time=[0, 4 * 3_600_000], **flat)
    >>> [(gap.start_ms, gap.missing_bars) for gap in find_gaps(series, get_calendar("24/7"))]
    [(3600000, 3)]
    """
    if not len(bars) and (start_ms is None or end_ms is None):
        return []
    start = int(bars.open_time.min()) if start_ms is None else start_ms
    end = int(bars.open_time.max()) + 1 if end_ms is None else end_ms
    return group_missing(missing_opens(bars.open_time, calendar, bars.timeframe, start, end), calendar, bars.timeframe)


def count_missing(gaps: Sequence[Gap]) -> int:
    """Return how many bars a list of gaps lacks."""
    return sum(gap.missing_bars for gap in gaps)


def gap_rows(log: Reader, symbol: str, timeframe: str, *, calendar: Calendar | None = None) -> list[dict[str, Any]]:
    """Return the newest word on every gap of a series, oldest first: what `kalibre gaps` prints.

    Each row has `start_ms`, `end_ms`, `start`, `end` (Istanbul), `missing_bars`, `status` and `reason`.

    Parameters
    ----------
    calendar
        The one in force: gaps announced under another one, in which it expects no bar, are left out.
    """
    rows = []
    for event in log.read(kinds={"gap"}, key=series_key(symbol, timeframe), newest_revision=True):
        gap = event.payload
        if isinstance(gap, Gap) and (calendar is None or _expects(calendar, timeframe, gap)):
            told = {"start": to_text(gap.start_ms), "end": to_text(gap.end_ms)}
            rows.append({**msgspec.structs.asdict(gap), **told})
    return sorted(rows, key=lambda row: row["start_ms"])


def _expects(calendar: Calendar, timeframe: str, gap: Gap) -> bool:
    try:
        return len(calendar.expected_opens(timeframe, gap.start_ms, gap.end_ms)) > 0
    except CalendarError:  # it does not reach there: nothing speaks against the gap
        return True


def closed_market(log: Reader, symbol: str, timeframe: str) -> str:
    """Name the calendar that explains the holes of a series that is kept as if its market never closed.

    Returns
    -------
    `XIST` or `forex` if it is closed at nearly all missing bars and open at nearly all stored ones; else, if no bar of
    several weeks lies on a weekend, `an exchange`; empty if the holes are no closed market.
    """
    always = get_calendar("24/7")
    gaps = [row for row in gap_rows(log, symbol, timeframe) if row["status"] == "hole"]
    newest = log.read(kinds={"bar"}, key=series_key(symbol, timeframe), limit=_SAMPLE, descending=True)
    there = sorted({event.event_time for event in newest})
    gaps = [gap for gap in gaps if there and gap["start_ms"] >= there[0]]
    day = (np.array(there, dtype=np.int64) // DAY_MS + 3) % 7  # from Monday: 1970-01-01 was a Thursday
    if len(gaps) < _CLOSED_WEEKS or (day == 5).any():  # who trades on Saturdays never closes
        return ""
    missing = [time for gap in gaps for time in always.expected_opens(timeframe, gap["start_ms"], gap["end_ms"])]
    for name in ("XIST", "forex"):
        other = get_calendar(name)
        try:
            expected = other.expected_opens(timeframe, there[0], there[-1] + 1)
        except CalendarError:
            continue
        closed = 1.0 - np.isin(missing, expected).mean()
        if closed > _MOSTLY and np.mean([other.allows(timeframe, time) for time in there]) > _MOSTLY:
            return name
    return "an exchange" if (day < 5).all() and there[-1] - there[0] > _CLOSED_WEEKS * 7 * DAY_MS else ""
