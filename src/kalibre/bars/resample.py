"""Higher timeframes from a base one: only bars that are complete, never a bar made of what happened to be there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kalibre.bars.calendars import Calendar, get_calendar, grid
from kalibre.core.bars import Bars
from kalibre.core.errors import BarError
from kalibre.core.timeframe import DAY_MS, is_multiple, timeframe_ms


def resample(bars: Bars, timeframe: str, calendar: Calendar | None = None) -> Bars:
    """Make bars of a higher timeframe out of complete sets of base bars.

    A higher bar is made only where every base bar that the calendar expects in it is there; its close (and so the row)
    is known at the close of its last base bar. On an exchange, intraday bars count from the session's open and daily
    bars are the session, so a half day's daily bar is complete with fewer base bars. Bars around a session (call
    auctions) join the session's first or last bar.

    Parameters
    ----------
    bars
        Base bars, times rising.
    timeframe
        A whole multiple of the base timeframe.
    calendar
        What bars there must be; crypto's (24/7) by default.

    Returns
    -------
    The complete higher bars, oldest first. `incomplete_opens` lists the others.

    Raises
    ------
    BarError
        If the timeframe is no multiple of the base, or times do not rise.

    Examples
    --------
    >>> flat = dict(open=[1, 2, 3], high=[2, 3, 4], low=[1, 2, 3], close=[2, 3, 4], volume=[1, 1, 1])
    >>> hours = resample(Bars(symbol="X", timeframe="30m", open_time=[0, 1_800_000, 3_600_000], **flat), "1h")
    >>> hours.open_time.tolist(), hours.close.tolist(), hours.volume.tolist()
    ([0], [3.0], [2.0])
    """
    market = calendar or get_calendar("24/7")
    if timeframe == bars.timeframe or not len(bars):
        return replace(bars, timeframe=timeframe)
    owner, higher, complete = _assign(bars, timeframe, market)
    wanted = np.flatnonzero(complete)
    inside = np.isin(owner, wanted)
    kept, group = bars[inside], owner[inside]
    if not len(kept):
        return replace(bars[:0], timeframe=timeframe)
    first = np.flatnonzero(np.diff(group, prepend=-1))
    last = np.append(first[1:], len(group)) - 1
    sums = {
        name: None if (column := getattr(kept, name)) is None else np.add.reduceat(column, first)
        for name in ("volume", "quote_volume", "trades", "taker_buy_volume")
    }
    return Bars(
        symbol=bars.symbol,
        timeframe=timeframe,
        open_time=higher[group[first]],
        open=kept.open[first],
        high=np.maximum.reduceat(kept.high, first),
        low=np.minimum.reduceat(kept.low, first),
        close=kept.close[last],
        news_impact=None if kept.news_impact is None else kept.news_impact[last],
        news_conf=None if kept.news_conf is None else kept.news_conf[last],
        **sums,  # type: ignore[arg-type]
    )


def incomplete_opens(bars: Bars, timeframe: str, calendar: Calendar | None = None) -> NDArray[np.int64]:
    """Return the open times of the higher bars that have some base bars but not all: what `resample` leaves out."""
    if timeframe == bars.timeframe or not len(bars):
        return np.empty(0, dtype=np.int64)
    owner, higher, complete = _assign(bars, timeframe, calendar or get_calendar("24/7"))
    there = np.unique(owner[owner >= 0])
    return higher[there[~complete[there]]]


def _assign(
    bars: Bars, timeframe: str, calendar: Calendar
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return the higher bar of each base bar, the open times of the higher bars, and which of them are complete."""
    if not is_multiple(timeframe, bars.timeframe):
        raise BarError(f"{timeframe} is not a whole multiple of {bars.timeframe}: resample to one that is")
    if (np.diff(bars.open_time) <= 0).any():
        raise BarError(f"times of {bars.symbol} {bars.timeframe} do not rise: sort the bars and drop duplicates")
    step = timeframe_ms(timeframe)
    # A day more on either side, so that the first and the last higher bar are judged by all that belongs to them.
    start = int(bars.open_time[0]) - max(step, DAY_MS)
    end = int(bars.open_time[-1]) + max(step, DAY_MS) + 1
    higher = calendar.expected_opens(timeframe, start, end)
    base = calendar.expected_opens(bars.timeframe, start, end)
    owner = _owners(bars.open_time, higher, timeframe, bars.timeframe, calendar)
    expected = _owners(base, higher, timeframe, bars.timeframe, calendar)
    present = np.isin(base, bars.open_time)
    needed = np.bincount(expected[expected >= 0], minlength=len(higher))
    found = np.bincount(expected[(expected >= 0) & present], minlength=len(higher))
    return owner, higher, (needed > 0) & (found == needed)


def _owners(
    open_time: NDArray[np.int64], higher: NDArray[np.int64], timeframe: str, base: str, calendar: Calendar
) -> NDArray[np.int64]:
    """Return the index of the higher bar that each base bar belongs to, -1 where there is none."""
    step = timeframe_ms(timeframe)
    if step >= DAY_MS and timeframe_ms(base) < DAY_MS:
        day = calendar.session_date(open_time) * DAY_MS
        key = day if step == DAY_MS else higher_start(day, step)
    elif step >= DAY_MS:
        key = higher_start(open_time, step)
    else:
        # An auction before the open counts as the first bar, one after the close as the last.
        at = np.searchsorted(higher, open_time, side="right") - 1
        early = np.searchsorted(higher, open_time, side="left")
        sessions = calendar.session_date(open_time)
        owned = np.full(len(open_time), -1, dtype=np.int64)
        if len(higher):
            dates = calendar.session_date(higher)
            near = np.maximum(at, 0)
            before = (at >= 0) & ((open_time < higher[near] + step) | (dates[near] == sessions))
            owned[before] = at[before]
            after = ~before & (early < len(higher)) & (dates[np.minimum(early, len(higher) - 1)] == sessions)
            owned[after] = early[after]
        return owned
    place = np.searchsorted(higher, key)
    known = (place < len(higher)) & (higher[np.minimum(place, max(len(higher) - 1, 0))] == key)
    return np.where(known, place, -1)


def higher_start(open_time: NDArray[np.int64], step_ms: int) -> NDArray[np.int64]:
    """Return where the step of whole days or weeks that holds each time begins, on the house's grid."""
    anchor = int(grid(step_ms, 0, step_ms)[0])
    return (open_time - anchor) // step_ms * step_ms + anchor
