"""When a market is open, and so which bars must be there: crypto (24/7), forex, and stock exchanges such as XIST.

A calendar answers in open times of bars, UTC milliseconds:

- *Daily bars* carry a date only. They open at 00:00 UTC of the session's date and so are known at the next midnight
  UTC, which is after every session of that date has ended in Istanbul (and in New York).
- *Intraday bars* of an exchange start at the session's open and step until its close; a half day has fewer of them, and
  the last one may be cut short by the close.
- *Weekly bars* open on Monday, 00:00 UTC.

Exchanges' sessions and holidays come from `exchange_calendars`, which is imported when the first one is asked for.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Protocol
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from kalibre.core.clock import ISTANBUL
from kalibre.core.errors import CalendarError
from kalibre.core.timeframe import DAY_MS, timeframe_ms

TimeArray = NDArray[np.int64]
_WEEK_MS = 7 * DAY_MS
_MONDAY_MS = 4 * DAY_MS  # 1970-01-05: the epoch was a Thursday
_FIRST_SESSION = "1970-01-02"
_YEARS = (2015, 2025)

BIST_LIMIT = 0.10
"""Largest move of a share on Borsa Istanbul within a session, relative to the last close (base price)."""
LIMIT_TOLERANCE = 0.004
"""By how much (log return, each session) a move must exceed the limit to break it."""


class Calendar(Protocol):
    """When bars of a market open."""

    @property
    def name(self) -> str:
        """Name by which `get_calendar` knows it."""
        ...

    @property
    def timezone(self) -> ZoneInfo:
        """Where its walls hang."""
        ...

    def expected_opens(self, timeframe: str, start_ms: int, end_ms: int) -> TimeArray:
        """Return the open times of every bar there must be with `start_ms <= open_time < end_ms`, rising."""
        ...

    def allows(self, timeframe: str, open_time: int) -> bool:
        """Say whether a bar may open then: expected, or within what the market trades around its session."""
        ...

    def session_open(self, time_ms: int) -> bool:
        """Say whether the market trades at this instant."""
        ...

    def session_date(self, open_time: TimeArray) -> TimeArray:
        """Return the day number (days since 1970) of the session that each bar belongs to."""
        ...

    def bars_per_year(self, timeframe: str) -> float:
        """Return how many bars a calendar year has on average."""
        ...

    def bar_end(self, timeframe: str, open_time: int) -> int:
        """Return when the bar that opened then is over: a step later, or at the session's close if that comes first."""
        ...


def grid(step_ms: int, start_ms: int, end_ms: int) -> TimeArray:
    """Return every multiple of a step in `[start_ms, end_ms)`; steps of whole weeks count from a Monday.

    Examples
    --------
    >>> grid(900_000, 1, 1_900_000).tolist()
    [900000, 1800000]
    """
    anchor = _MONDAY_MS if step_ms % _WEEK_MS == 0 else 0
    first = anchor + -((anchor - start_ms) // step_ms) * step_ms
    return np.arange(first, max(end_ms, first), step_ms, dtype=np.int64)


@dataclass(frozen=True)
class AlwaysOpen:
    """A market that never closes: crypto.

    Examples
    --------
    >>> get_calendar("24/7").bars_per_year("15m")
    35040.0
    """

    name: str = "24/7"
    timezone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))

    def expected_opens(self, timeframe: str, start_ms: int, end_ms: int) -> TimeArray:
        """Return every point of the timeframe's grid in the range."""
        return grid(timeframe_ms(timeframe), start_ms, end_ms)

    def allows(self, timeframe: str, open_time: int) -> bool:
        """Say whether the time is on the grid."""
        step = timeframe_ms(timeframe)
        return (open_time - (_MONDAY_MS if step % _WEEK_MS == 0 else 0)) % step == 0

    def session_open(self, time_ms: int) -> bool:
        """Return True: it is always open."""
        return True

    def session_date(self, open_time: TimeArray) -> TimeArray:
        """Return the UTC day number."""
        return open_time // DAY_MS

    def bars_per_year(self, timeframe: str) -> float:
        """Return the bars of 365 days, the market's convention for annualising."""
        return 365 * DAY_MS / timeframe_ms(timeframe)

    def bar_end(self, timeframe: str, open_time: int) -> int:
        """Return a step after the open."""
        return open_time + timeframe_ms(timeframe)


@dataclass(frozen=True, eq=False)
class Sessions:
    """A market with sessions: opens and closes in UTC milliseconds, rising, one a session date.

    `auction_before_ms` and `auction_after_ms` are how long bars may lie around a session without being expected: the
    call auctions, which some vendors deliver as bars of their own and others fold into the first and last bar.
    """

    name: str
    timezone: ZoneInfo
    date: TimeArray
    open: TimeArray
    close: TimeArray
    auction_before_ms: int = 0
    auction_after_ms: int = 0
    weekly: bool = False
    """One session spans the working days of a week (forex): bars lie on the UTC grid, days end where sessions begin."""

    def _check_covered(self, start_ms: int, end_ms: int) -> None:
        first, last = int(self.date[0]) * DAY_MS, (int(self.date[-1]) + 1) * DAY_MS
        if end_ms > start_ms and (start_ms < first or end_ms > last + _WEEK_MS):
            known = f"{_day(first)} to {_day(last - DAY_MS)}"
            raise CalendarError(
                f"calendar {self.name} knows the sessions of {known}, asked was {_day(start_ms)} to {_day(end_ms)}: "
                "ask within that, or upgrade exchange_calendars"
            )

    def expected_opens(self, timeframe: str, start_ms: int, end_ms: int) -> TimeArray:
        """Return the bars of every session in the range: dates for daily bars, steps from the open for shorter ones.

        Raises
        ------
        CalendarError
            If the range leaves what the calendar knows; the message says what that is.
        """
        step = timeframe_ms(timeframe)
        if end_ms <= start_ms:
            return np.empty(0, dtype=np.int64)
        self._check_covered(start_ms, end_ms)
        if step >= DAY_MS:
            days = _daily_opens(self, step)
            return days[(days >= start_ms) & (days < end_ms)]
        inside = (self.close > start_ms) & (self.open < end_ms)
        opens, closes = self.open[inside], self.close[inside]
        if self.weekly:
            opens = opens // step * step
        counts = np.maximum(-(-(closes - opens) // step), 0)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        times: TimeArray = np.repeat(opens, counts) + within * step
        return times[(times >= start_ms) & (times < end_ms)]

    def allows(self, timeframe: str, open_time: int) -> bool:
        """Say whether a bar may open then: expected, or on the grid within the auctions around a session."""
        step = timeframe_ms(timeframe)
        if step >= DAY_MS:
            found = _daily_opens(self, step)
            i = int(np.searchsorted(found, open_time))
            return i < len(found) and int(found[i]) == open_time
        if self.weekly:
            return open_time % step == 0 and (self.session_open(open_time) or self.session_open(open_time + step - 1))
        i = int(np.searchsorted(self.open, open_time + self.auction_before_ms, side="right")) - 1
        if i < 0 or open_time >= int(self.close[i]) + self.auction_after_ms:
            return False
        if open_time < int(self.open[i]) or open_time >= int(self.close[i]):
            return open_time % min(step, 300_000) == 0
        return (open_time - int(self.open[i])) % step == 0

    def session_open(self, time_ms: int) -> bool:
        """Say whether a session is on at this instant."""
        i = int(np.searchsorted(self.open, time_ms, side="right")) - 1
        return i >= 0 and time_ms < int(self.close[i])

    def session_date(self, open_time: TimeArray) -> TimeArray:
        """Return the session's day number; a bar in an auction belongs to the session it surrounds."""
        if self.weekly:
            i = np.maximum(np.searchsorted(self.open, open_time, side="right") - 1, 0)
            return self.date[i] + 1 + (open_time - self.open[i]) // DAY_MS
        is_date = open_time % DAY_MS == 0
        i = np.searchsorted(self.open, open_time + self.auction_before_ms, side="right") - 1
        dates: TimeArray = np.where(is_date, open_time // DAY_MS, self.date[np.maximum(i, 0)])
        return dates

    def bars_per_year(self, timeframe: str) -> float:
        """Return the average number of bars of a year from 2015 to 2024, whatever today is."""
        start, end = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 1000 for year in _YEARS)
        return len(self.expected_opens(timeframe, start, end)) / (_YEARS[1] - _YEARS[0])

    def bar_end(self, timeframe: str, open_time: int) -> int:
        """Return a step after the open, or the session's close if that comes first."""
        end = open_time + timeframe_ms(timeframe)
        if timeframe_ms(timeframe) >= DAY_MS:
            return end
        i = int(np.searchsorted(self.open, open_time, side="right")) - 1
        close = int(self.close[i]) if i >= 0 else end
        return min(end, close) if open_time < close else end


@cache
def _daily_opens(sessions: Sessions, step: int) -> TimeArray:
    dates = sessions.date
    if sessions.weekly:  # a week that begins on Sunday evening has the dates Monday to Friday
        dates = (dates[:, None] + np.arange(1, 6)).ravel()
    days: TimeArray = dates * DAY_MS
    anchor = _MONDAY_MS if step % _WEEK_MS == 0 else 0
    return days if step == DAY_MS else np.unique((days - anchor) // step * step + anchor)


def _day(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, tz=UTC).strftime("%Y-%m-%d")


@cache
def get_calendar(name: str) -> Calendar:
    """Return a calendar by name.

    Parameters
    ----------
    name
        `24/7` (crypto), `forex` (Sunday 17:00 to Friday 17:00 in New York), or an exchange's code as
        `exchange_calendars` knows it: `XIST` is Borsa Istanbul, `XNYS` New York.

    Raises
    ------
    CalendarError
        If there is no such calendar; the message names some.

    Examples
    --------
    >>> get_calendar("XIST").expected_opens("1d", 1_712_534_400_000, 1_713_225_600_000).size  # the week of a feast
    3
    """
    if name == "24/7":
        return AlwaysOpen()
    if name == "forex":
        return _forex()
    return _exchange(name)


def _exchange(name: str) -> Sessions:
    import exchange_calendars

    if name not in exchange_calendars.get_calendar_names(include_aliases=True):
        raise CalendarError(
            f"calendar {name!r} is unknown: write 24/7 for crypto, forex, XIST for Borsa Istanbul, XNYS for New York, "
            "or another code of exchange_calendars"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # its own use of pandas
        warnings.simplefilter("ignore", FutureWarning)
        try:
            known = exchange_calendars.get_calendar(name, start=_FIRST_SESSION)
        except ValueError:  # it does not reach back that far: take what it offers
            known = exchange_calendars.get_calendar(name)
        date = known.sessions.to_numpy().astype("datetime64[D]").astype(np.int64)
        opens, closes = (
            column.dt.tz_convert(None).to_numpy().astype("datetime64[ms]").astype(np.int64)
            for column in (known.opens, known.closes)
        )
    # Borsa Istanbul: call auction from 09:40, closing auction and trades at the closing price until 18:10.
    before, after = (20 * 60_000, 15 * 60_000) if name == "XIST" else (0, 0)
    return Sessions(name, ZoneInfo(str(known.tz)), date, opens, closes, before, after)


def _forex() -> Sessions:
    """One session a week; New York's daylight saving moves it against UTC."""
    zone = ZoneInfo("America/New_York")
    sunday = datetime(2000, 1, 2, 17, tzinfo=zone)
    opens, closes, dates = [], [], []
    while sunday.year < 2040:
        friday = sunday + timedelta(days=5)
        opens.append(int(sunday.timestamp()) * 1000)
        closes.append(int(friday.timestamp()) * 1000)
        dates.append(int(sunday.replace(tzinfo=UTC).timestamp()) // 86_400)
        sunday += timedelta(days=7)
    date, open_ms, close_ms = (np.array(values, dtype=np.int64) for values in (dates, opens, closes))
    return Sessions("forex", zone, date, open_ms, close_ms, weekly=True)


def daily_limit(calendar: Calendar) -> float | None:
    """Return how far a session's price may go from the last close, as a fraction; None where nothing limits it.

    Examples
    --------
    >>> daily_limit(get_calendar("XIST")), daily_limit(get_calendar("24/7"))
    (0.1, None)
    """
    return BIST_LIMIT if calendar.name == "XIST" else None


def beyond_limit(overnight: float, move: float, sessions: int, limit: float) -> float:
    """Return how far a session's open and close both lie beyond what the limit allows, as a log return; <= 0 within.

    Parameters
    ----------
    overnight, move
        Log of the open, and of the close, over the last close. An open out of reach is no proof, a close is.
    sessions
        Sessions since the last close: each one that was missed allows the limit once more.
    limit
        As a fraction of the last close.

    Examples
    --------
    >>> beyond_limit(-0.1, -0.11, 1, 0.1) <= 0 < beyond_limit(-0.4, -0.41, 1, 0.1)
    True
    """
    up, down = math.log1p(limit) * sessions, math.log1p(-limit) * sessions
    return max(min(overnight, move) - up, down - max(overnight, move))


def breaks_limit(overnight: float, move: float, sessions: int, limit: float) -> bool:
    """Say whether a move lies clearly beyond the limit: not by what a source rounds or repairs."""
    clear = max(abs(overnight), abs(move)) > -math.log1p(-limit) * 1.04
    return clear and beyond_limit(overnight, move, sessions, limit) > LIMIT_TOLERANCE * sessions


def sessions_between(calendar: Calendar, earlier_ms: int, later_ms: int) -> int:
    """Return how many sessions later a bar's session is than another's: 0 in the same one."""
    before, after = calendar.session_date(np.array([earlier_ms, later_ms], dtype=np.int64)).tolist()
    return int(calendar.expected_opens("1d", (before + 1) * DAY_MS, after * DAY_MS + 1).size)


def session_start(calendar: Calendar, day: int) -> int:
    """Return a time that no bar of the session before reaches and every bar of this one does, daily or intraday.

    That is 00:00 UTC of the session's date, where its daily bar opens, or the session's first auction if an exchange
    east of it opens before; intraday bars of the session before have all opened by then.

    Parameters
    ----------
    day
        Days since 1970 of the session's date, see `Calendar.session_date`.
    """
    start = day * DAY_MS
    if isinstance(calendar, Sessions) and not calendar.weekly:
        i = int(np.searchsorted(calendar.date, day))
        if i < len(calendar.date) and int(calendar.date[i]) == day:
            start = min(start, int(calendar.open[i]) - calendar.auction_before_ms)
    return start


def to_istanbul(time_ms: int) -> datetime:
    """Return an instant in Istanbul's wall time.

    Examples
    --------
    >>> to_istanbul(1_712_559_600_000).isoformat()
    '2024-04-08T10:00:00+03:00'
    """
    return datetime.fromtimestamp(time_ms / 1000, tz=ISTANBUL)


def from_istanbul(wall: datetime) -> int:
    """Return UTC milliseconds of a wall time in Istanbul (daylight saving until 2016 included).

    Examples
    --------
    >>> from_istanbul(datetime(2015, 7, 1, 9, 30)), from_istanbul(datetime(2024, 7, 1, 9, 30))
    (1435732200000, 1719815400000)
    """
    if wall.tzinfo is not None:
        raise CalendarError(
            f"wall time {wall.isoformat()} already has a zone: pass it without one, as the wall shows it"
        )
    return round(wall.replace(tzinfo=ISTANBUL).timestamp() * 1000)
