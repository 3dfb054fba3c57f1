"""When a headline could be known: at its time of publication, and a date alone from the next session on."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Final

import numpy as np

from kalibre.bars.calendars import Calendar, from_istanbul, session_start
from kalibre.core.errors import CalendarError, LanguageError
from kalibre.core.timeframe import DAY_MS

_LONGEST_CLOSURE_DAYS: Final = 20
"""No exchange of ours has been shut for longer than the nine days of a long Bayram; twice that is a wrong date."""

_EPOCH = date(1970, 1, 1)


def known_ms(published: str, calendar: Calendar) -> int:
    """Return from when on a headline may be used, UTC milliseconds.

    Parameters
    ----------
    published
        As its source says it: ISO with or without zone, `dd.mm.yyyy`, either with `HH:MM[:SS]` behind it, or
        milliseconds since 1970. A time without zone is Istanbul's. A date alone says nothing about the hour, so the
        headline is known from the next session on: using it on its own day would be looking ahead.
    calendar
        Whose sessions count for a date alone.

    Raises
    ------
    LanguageError
        If it is no such time; the message quotes it.

    Examples
    --------
    >>> from kalibre.bars.calendars import get_calendar
    >>> xist = get_calendar("XIST")
    >>> known_ms("12.04.2023 18:30", xist) == known_ms("2023-04-12T15:30:00Z", xist)
    True
    >>> datetime.fromtimestamp(known_ms("14.04.2023", xist) / 1000, tz=UTC).date().isoformat()
    '2023-04-17'
    """
    text = published.strip()
    if re.fullmatch(r"\d{12,14}", text):
        return int(text)
    day = _day_alone(text)
    if day is not None:
        return _next_session(day, calendar, published)
    iso = re.sub(r"^(\d{1,2})[./](\d{1,2})[./](\d{4})", lambda m: f"{m[3]}-{int(m[2]):02}-{int(m[1]):02}", text)
    try:
        when = datetime.fromisoformat(iso)
    except ValueError:
        raise LanguageError(
            f"published {published!r} is no time: write 2024-05-31T14:30:00+03:00, 31.05.2024 14:30 or a date"
        ) from None
    return from_istanbul(when) if when.tzinfo is None else round(when.astimezone(UTC).timestamp() * 1000)


def _day_alone(text: str) -> date | None:
    turkish = re.fullmatch(r"(\d{1,2})[./](\d{1,2})[./](\d{4})", text)
    iso = re.fullmatch(r"(\d{4})-(\d{2})-(\d{2})", text)
    parts = (turkish[3], turkish[2], turkish[1]) if turkish else iso.groups() if iso else None
    if parts is None:
        return None
    try:
        return date(int(parts[0]), int(parts[1]), int(parts[2]))
    except ValueError:
        raise LanguageError(
            f"published {text!r} is no day of the calendar: mend it, or leave the headline out"
        ) from None


def _next_session(day: date, calendar: Calendar, published: str) -> int:
    number = (day - _EPOCH).days
    try:
        opens = calendar.expected_opens("1d", (number + 1) * DAY_MS, (number + 1 + _LONGEST_CLOSURE_DAYS) * DAY_MS)
    except CalendarError as error:
        raise LanguageError(f"published {published!r} lies outside the calendar {calendar.name}: {error}") from error
    later = calendar.session_date(np.asarray(opens, dtype=np.int64))
    following = later[later > number]
    if not following.size:
        raise LanguageError(
            f"published {published!r}: {calendar.name} has no session in the {_LONGEST_CLOSURE_DAYS} days after it: "
            "mend the date"
        )
    return session_start(calendar, int(following[0]))
