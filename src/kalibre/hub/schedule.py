"""The schedule: cron expressions on recorded ticks, so that a log read again asks for the same jobs, once.

What is due follows from two recorded times and the expression alone (`due`). A run that nobody saw when it was due was
*missed*, as when the hub was off; what becomes of it is the schedule's policy. Expressions are read in the schedule's
zone, in the manner of Debian's cron: a fixed time that the clock leaves out runs when the clock has jumped over it, and
one that the clock shows twice runs the first time.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from kalibre.core.clock import to_text
from kalibre.core.errors import SettingsError
from kalibre.core.timeframe import DAY_MS

Missed = Literal["skip", "once", "all"]
_FIELDS = 5


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """When a job is due.

    Attributes
    ----------
    name, job, payload
        Who asks, for which job, and what its handler is told.
    cron
        Minute, hour, day, month and weekday, as `30 3 * * 1-5`.
    missed
        `skip`: runs that were missed do not happen; `once`: the newest of them does, unless one is due anyway; `all`:
        each does, at most the newest `most_missed`. Those that do not are told in the log.
    zone
        Where the clock hangs.
    grace_ms
        A run is missed if the first tick after it comes later than this; at most a day.

    Raises
    ------
    SettingsError
        If the expression or the zone cannot be read, or a number is too small; the message quotes it.
    """

    name: str
    cron: str
    job: str
    payload: dict[str, Any] = msgspec.field(default_factory=dict)
    missed: Missed = "once"
    zone: str = "Europe/Istanbul"
    grace_ms: int = 15 * 60_000
    most_missed: int = 100

    def __post_init__(self) -> None:
        from cronsim import CronSim, CronSimError

        words = f"schedule {self.name!r}"
        if len(self.cron.split()) != _FIELDS:
            raise SettingsError(f"{words}: {self.cron!r} is not minute hour day month weekday, such as 0 4 * * 0")
        try:
            CronSim(self.cron, datetime(2024, 1, 1, tzinfo=ZoneInfo(self.zone)))
        except CronSimError as error:
            raise SettingsError(f"{words}: {self.cron!r} cannot be read ({error}): write it as 0 4 * * 0") from error
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise SettingsError(f"{words}: zone {self.zone!r} is unknown: write it as Europe/Istanbul") from error
        if self.missed not in ("skip", "once", "all") or not 0 <= self.grace_ms <= DAY_MS or self.most_missed < 1:
            raise SettingsError(
                f"{words}: missed {self.missed!r}, grace_ms {self.grace_ms}, most_missed {self.most_missed} cannot be "
                "used: choose skip, once or all, a grace of 0 to a day and at least one run"
            )


class Run(NamedTuple):
    """A run of a schedule: when it is due (UTC ms), its idempotency key, and why it does not happen, if it does not."""

    due_ms: int
    key: str
    skipped: str = ""


def due(schedule: Schedule, last_ms: int, now_ms: int) -> tuple[Run, ...]:
    """Return what a schedule asks for between two recorded times, `last_ms < due <= now_ms`, oldest first.

    It depends on nothing else. Of runs that were missed and do not happen the newest stands for all.

    Examples
    --------
    >>> nightly = Schedule(name="nightly", cron="0 3 * * *", job="retrain", missed="once")
    >>> three = 1_704_067_200_000  # 2024-01-01 03:00 in Istanbul
    >>> due(nightly, three - 1, three)
    (Run(due_ms=1704067200000, key='nightly@2024-01-01T00:00Z', skipped=''),)
    >>> [run.skipped for run in due(nightly, three - 1, three + 10 * 86_400_000 - 1)]
    ['9 runs from 2024-01-01 03:00 to 2024-01-09 03:00 were missed', '']
    """
    found, more = _newest(schedule, last_ms, now_ms)
    on_time = [time for time in found if now_ms - time <= schedule.grace_ms]
    missed = found[: len(found) - len(on_time)]
    if schedule.missed == "all":
        run, left = found[-schedule.most_missed :], found[: -schedule.most_missed]
    elif schedule.missed == "once" and not on_time:
        run, left = missed[-1:], missed[:-1]
    else:
        run, left = on_time, missed
    runs = [Run(time, _key(schedule, time)) for time in run]
    if left:
        zone = ZoneInfo(schedule.zone)
        count = f"{len(left)} runs" if len(left) > 1 else "1 run"
        span = f"from {to_text(left[0], zone)} to {to_text(left[-1], zone)}"
        told = f"{'more than ' if more else ''}{count} {span} {'were' if len(left) > 1 else 'was'} missed"
        runs.insert(0, Run(left[-1], _key(schedule, left[-1]), told))
    return tuple(runs)


def next_due(schedule: Schedule, after_ms: int) -> int | None:
    """Return when a schedule is due next, UTC ms; None if never."""
    return next(_occurrences(schedule, after_ms), None)


def _key(schedule: Schedule, due_ms: int) -> str:
    return f"{schedule.name}@{datetime.fromtimestamp(due_ms / 1000, tz=UTC):%Y-%m-%dT%H:%MZ}"


def _occurrences(schedule: Schedule, after_ms: int) -> Iterator[int]:
    """Yield the times at which an expression is due, later than a time, rising."""
    from cronsim import CronSim

    last = after_ms
    # A start within a second counts as that second: one back, and what is not later is left out.
    start = datetime.fromtimestamp(after_ms // 1000 - 1, tz=ZoneInfo(schedule.zone))
    for moment in CronSim(schedule.cron, start):
        time = int(moment.timestamp()) * 1000
        if time > last:
            last = time
            yield time


def _newest(schedule: Schedule, last_ms: int, now_ms: int) -> tuple[list[int], bool]:
    """Return the newest times due in a window, a few more than may run, and whether there are more before them.

    The window grows backwards from its end until it holds enough: a year without a tick costs no more than a day.
    """
    wanted = schedule.most_missed + 1
    span = DAY_MS
    while True:
        start = max(last_ms, now_ms - span)
        found = []
        for time in _occurrences(schedule, start):
            if time > now_ms:
                break
            found.append(time)
        if start == last_ms or len(found) > wanted:
            return found, start > last_ms
        span *= 4
