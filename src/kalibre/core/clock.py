"""Time: UTC milliseconds inside, Europe/Istanbul for people, and a clock that tests can hold still."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Protocol
from zoneinfo import ZoneInfo

from kalibre.core.errors import UsageError

ISTANBUL = ZoneInfo("Europe/Istanbul")


class Clock(Protocol):
    """What tells the time; only the edges of the house (ingest, API) own one, projections never do."""

    def now_ms(self) -> int:
        """Return the time now in UTC milliseconds."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        """Return the machine's time in UTC milliseconds."""
        return time.time_ns() // 1_000_000


class ManualClock:
    """A clock that moves only when it is told to, for tests and replays."""

    def __init__(self, now_ms: int = 0) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """Return the time it was last set to."""
        return self._now_ms

    def set(self, now_ms: int) -> None:
        """Move to a time, UTC milliseconds."""
        self._now_ms = now_ms


def to_text(time_ms: int, zone: ZoneInfo = ISTANBUL) -> str:
    """Write a time for a person, in Istanbul's time unless told otherwise.

    Examples
    --------
    >>> to_text(1_704_067_200_000)
    '2024-01-01 03:00'
    """
    return datetime.fromtimestamp(time_ms / 1000, tz=zone).strftime("%Y-%m-%d %H:%M")


def parse_timerange(text: str) -> tuple[int | None, int | None]:
    """Read `20240101-20240601` as UTC milliseconds; either side may be empty, the end is exclusive.

    Raises
    ------
    UsageError
        If the text is not of that form or ends before it starts; the message quotes it.

    Examples
    --------
    >>> parse_timerange("20240101-")
    (1704067200000, None)
    """
    match = re.fullmatch(r"(\d{8})?-(\d{8})?", text)
    if match is None:
        raise UsageError(f"timerange {text!r} is not of the form 20240101-20240601; either side may be left empty")
    sides: list[int | None] = []
    for side in match.groups():
        try:
            sides.append(
                None if side is None else int(datetime.strptime(side, "%Y%m%d").replace(tzinfo=UTC).timestamp() * 1000)
            )
        except ValueError as error:
            raise UsageError(f"timerange {text!r}: {side} is no date; write it as YYYYMMDD") from error
    start, end = sides
    if start is not None and end is not None and end <= start:
        raise UsageError(f"timerange {text!r} ends before it starts: put the earlier date first")
    return start, end
