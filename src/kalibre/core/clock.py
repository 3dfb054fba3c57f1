"""Time: UTC milliseconds inside, Europe/Istanbul for people, and clocks that tests and replays move."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
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


class PlayedClock:
    """The clock of a replay: it stands at the time that was played to, or runs on towards a later one.

    Parameters
    ----------
    now_s
        What measures the time between two readings, in seconds of any origin.

    Examples
    --------
    >>> seconds = iter([0.0, 30.0, 90.0])
    >>> clock = PlayedClock(lambda: next(seconds))
    >>> clock.stand(1_000)
    >>> clock.run(61_000, due_s=60.0)  # here the seconds are at 0
    >>> clock.now_ms(), clock.now_ms()
    (31000, 61000)
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._from_ms, self._to_ms = 0, 0
        self._began_s, self._due_s = 0.0, 0.0

    def now_ms(self) -> int:
        """Return the time it stands at or has run to, never later than the one it runs towards."""
        if self._from_ms == self._to_ms:
            return self._to_ms
        passed = (self._now_s() - self._began_s) / max(self._due_s - self._began_s, 1e-9)
        return self._from_ms + int((self._to_ms - self._from_ms) * min(max(passed, 0.0), 1.0))

    def stand(self, at_ms: int) -> None:
        """Stop at a time, UTC milliseconds."""
        self._from_ms = self._to_ms = at_ms

    def run(self, to_ms: int, *, due_s: float) -> None:
        """Run from where it stands to a time, to be there when `now_s` shows `due_s`."""
        self._began_s, self._due_s = self._now_s(), due_s
        self._to_ms = to_ms


def to_text(time_ms: int, zone: ZoneInfo = ISTANBUL) -> str:
    """Write a time for a person, in Istanbul's time unless told otherwise.

    Examples
    --------
    >>> to_text(1_704_067_200_000)
    '2024-01-01 03:00'
    """
    return datetime.fromtimestamp(time_ms / 1000, tz=zone).strftime("%Y-%m-%d %H:%M")


def parse_time(text: str) -> int:
    """Read a time, UTC unless it says otherwise: `20240601`, `2024-06-01`, `2024-06-01T09:30+03:00`.

    Raises
    ------
    UsageError
        If it is none; the message quotes it.

    Examples
    --------
    >>> parse_time("20240101") == parse_time("2024-01-01T03:00+03:00") == 1_704_067_200_000
    True
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise UsageError(f"{text!r} is no date: write it as 20240601 or 2024-06-01T09:30 (UTC)") from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def span_text(seconds: float) -> str:
    """Write how long something lasted for a person: in the largest unit of which there are two.

    Examples
    --------
    >>> span_text(45.2), span_text(5_400), span_text(59_734_003)
    ('45 seconds', '90 minutes', '691 days')
    """
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


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
