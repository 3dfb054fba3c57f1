"""The scheduler: from recorded ticks into the table of jobs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from kalibre.core.clock import to_text
from kalibre.core.errors import LogError, SettingsError
from kalibre.core.events import Tick
from kalibre.core.settings import Settings
from kalibre.core.timeframe import DAY_MS
from kalibre.hub.schedule import Run, Schedule, due, next_due
from kalibre.log.failpoints import failpoint
from kalibre.log.jobs import Jobs
from kalibre.log.protocol import EventLog, Progress

OFFSET = "schedule"
_NONE_YET = -1
"""Recorded of a schedule that began before there was any tick."""
_logger = logging.getLogger(__name__)


def schedules_of(settings: Settings) -> tuple[Schedule, ...]:
    """Return the schedules that the settings ask for."""
    if not settings.hub.retrain_cron:
        return ()
    return tuple(
        Schedule(
            name=f"retrain {symbol}",
            cron=settings.hub.retrain_cron,
            job="retrain",
            payload={"symbol": symbol, "by": "schedule", "reason": settings.hub.retrain_cron},
        )
        for symbol in settings.market.symbols
    )


class Scheduler:
    """Follows the recorded ticks, and enqueues what they make due together with how far it has read.

    It begins at the head of a log that it meets first: what was due before is nobody's business. A new schedule, or one
    that is back again, begins with the newest tick.

    Parameters
    ----------
    log
        What is followed, and where the jobs are.
    schedules
        Names are unique. With none, ticks are not even looked at.
    batch_size
        Events that are committed together; any size enqueues the same jobs.
    """

    def __init__(self, log: EventLog, schedules: Sequence[Schedule], *, batch_size: int = 500) -> None:
        names = [schedule.name for schedule in schedules]
        if len(set(names)) < len(names):
            raise SettingsError(f"schedules {sorted(names)} share a name: name each once")
        self._log, self._jobs = log, Jobs(log)
        self._schedules = tuple(schedules)
        self._batch_size = batch_size
        self._position: int | None = None
        self._seen: dict[str, int] = {}
        self._next: dict[str, int | None] = {}

    @property
    def position(self) -> int:
        """How far it has read."""
        return self._position or 0

    def step(self) -> int:
        """Read one batch and enqueue what it makes due; return the events read.

        Raises
        ------
        LogError
            If the log fails, or another scheduler moved on meanwhile. The next step then begins from what is recorded.
        """
        if self._position is None:
            self._begin()
        if not self._schedules:
            return 0
        assert self._position is not None
        events = self._log.read(after=self._position, kinds={"tick"}, limit=self._batch_size)
        if not events:
            return 0
        before, self._position = self._position, None  # until the commit succeeds, what is in memory is not recorded
        ticks = [event.payload.now_ms for event in events if isinstance(event.payload, Tick)]
        runs = [run for now_ms in ticks for run in self._tick(now_ms)]
        with self._log.transaction() as transaction:
            if transaction.offset(OFFSET) != before:
                raise LogError(f"the schedule is at {transaction.offset(OFFSET)}, not at {before}: stop the other one")
            for schedule, run in runs:
                if run.skipped:
                    self._jobs.skip(schedule.job, run.key, run.skipped, due_ms=run.due_ms, transaction=transaction)
                    continue
                self._jobs.enqueue(
                    schedule.job,
                    run.key,
                    schedule.payload,
                    due_ms=run.due_ms,
                    schedule="" if schedule.missed == "all" else schedule.name,
                    transaction=transaction,
                )
            for name, seen_ms in self._seen.items():
                self._jobs.set_seen_ms(name, seen_ms, transaction)
            transaction.set_offset(OFFSET, events[-1].seq)
            failpoint("schedule.commit")
        self._position = events[-1].seq
        return len(events)

    def _begin(self) -> None:
        """Go on from what is recorded; the first time from the head, and a new schedule from the newest tick."""
        self._seen, self._next = {}, {}
        names = [schedule.name for schedule in self._schedules]
        with self._log.transaction() as transaction:
            progress = transaction.progress(OFFSET)
            if progress is None:
                progress = Progress(seq=transaction.head())
                transaction.set_progress(OFFSET, progress)
            self._jobs.keep_schedules(names, transaction)
            tick = transaction.latest("tick")
            for name in names:
                seen_ms = self._jobs.seen_ms(name, transaction)
                if seen_ms is None:
                    # Recorded at once, also where there is no tick yet: who is killed before the first one begins with
                    # that one all the same, and not with the newest.
                    seen_ms = tick.payload.now_ms if tick is not None and isinstance(tick.payload, Tick) else _NONE_YET
                    self._jobs.set_seen_ms(name, seen_ms, transaction)
                if seen_ms != _NONE_YET:
                    self._seen[name] = seen_ms
        self._position = progress.seq

    def _tick(self, now_ms: int) -> Iterator[tuple[Schedule, Run]]:
        for schedule in self._schedules:
            name = schedule.name
            seen_ms = self._seen.setdefault(name, now_ms)
            if seen_ms - now_ms > DAY_MS:
                # A clock that had jumped far ahead is right again; what it made due early has its keys already.
                _logger.warning("schedule %s goes back from %s to %s", name, to_text(seen_ms), to_text(now_ms))
                self._seen[name] = now_ms
                self._next.pop(name, None)
            if now_ms <= seen_ms:
                continue
            if name not in self._next:
                self._next[name] = next_due(schedule, seen_ms)
            coming_ms = self._next[name]
            if coming_ms is not None and coming_ms <= now_ms:
                yield from ((schedule, run) for run in due(schedule, seen_ms, now_ms))
                self._next[name] = next_due(schedule, now_ms)
            self._seen[name] = now_ms
