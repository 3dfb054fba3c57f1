"""The worker of jobs: takes what is due, keeps its lease while a handler works, and commits what came of it once.

The handler works in a thread of its own; the worker itself never waits for it, so leases are renewed, heartbeats told
and schedules looked at while a model trains. A worker that is told to stop asks the handler to leave, and hands the job
back; one that is killed lets its lease run out, and the job begins again elsewhere.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from kalibre.core.catalog import parts
from kalibre.core.clock import Clock, SystemClock
from kalibre.core.errors import (
    CatalogError,
    DatasetError,
    JobStoppedError,
    KalibreError,
    LeaseLostError,
    LogLockedError,
    LogUnavailableError,
    SettingsError,
    UsageError,
)
from kalibre.core.events import Event
from kalibre.core.settings import Settings
from kalibre.hub.job_context import JobContext, JobHandler
from kalibre.log.failpoints import failpoint
from kalibre.log.jobs import JobRow, Jobs
from kalibre.log.protocol import EventLog

if TYPE_CHECKING:
    from kalibre.hub.worker_process import WorkerProcess

HANDLERS = "kalibre.hub.handlers"
_HOPELESS = (CatalogError, DatasetError, SettingsError, UsageError)
"""Errors that trying again cannot mend."""
_POLL_S = 0.1
_IDLE_S = 0.5
_logger = logging.getLogger(__name__)


def handlers() -> dict[str, JobHandler]:
    """Return what can be done, by name: a handler for each file of `handlers/`.

    Raises
    ------
    CatalogError
        If a file names no handler, or one of another name.
    """
    found: dict[str, JobHandler] = {}
    for name, module in parts(HANDLERS).items():
        handler = getattr(module, "HANDLER", None)
        if not isinstance(handler, JobHandler) or handler.name != name:
            raise CatalogError(f"{HANDLERS}.{name} has {handler!r} for its HANDLER: give one whose name is {name!r}")
        found[name] = handler
    return found


def backoff_ms(attempt: int, *, first_ms: int = 30_000, longest_ms: int = 3_600_000) -> int:
    """Return the pause after an attempt that failed, doubled at each.

    Examples
    --------
    >>> [backoff_ms(attempt) // 1000 for attempt in (1, 2, 3, 99)]
    [30, 60, 120, 3600]
    """
    return int(min(first_ms * 2 ** min(attempt - 1, 40), longest_ms))


class _Work(threading.Thread):
    """One job in a handler's hands."""

    def __init__(self, handler: JobHandler, log: EventLog, settings: Settings, job: JobRow) -> None:
        super().__init__(name=f"job {job.name}|{job.key}", daemon=True)
        self.job = job
        self.lost = False
        self.leave = threading.Event()
        self.renewed_s = self.began_s = time.monotonic()
        self.events: list[Event] = []
        self.error: BaseException | None = None
        self.context = JobContext(log, settings, job, should_stop=self.leave.is_set, is_lost=lambda: self.lost)
        self._handler = handler

    def run(self) -> None:
        """Do it, and keep what came of it for the worker to find."""
        try:
            self.events = self._handler.run(self.job.payload, self.context)
            failpoint("jobs.worked")
        except BaseException as error:  # noqa: BLE001 - whatever a handler raises is the job's failure, not the worker's
            self.error = error


class JobWorker:
    """Takes jobs one at a time and sees them through.

    Parameters
    ----------
    log, settings
        Where the jobs are, and what handlers go by.
    known
        The handlers by name; only their jobs are taken.
    owner
        Names this process in rows and events.
    lease_ms
        How long a job stays with a worker that gives no sign of life. It is renewed after a third of that.
    longest_s
        Seconds after which a handler counts as hanging: its lease is let go, and `step` raises no sign of life for it.
    clock
        Tells what is due and dates leases.
    """

    def __init__(
        self,
        log: EventLog,
        settings: Settings,
        known: Mapping[str, JobHandler],
        *,
        owner: str | None = None,
        lease_ms: int = 30_000,
        longest_s: float = 6 * 3600.0,
        clock: Clock | None = None,
    ) -> None:
        self._log, self._settings, self._known = log, settings, dict(known)
        self._jobs = Jobs(log)
        self._owner = owner or f"{socket.gethostname()}:{os.getpid()}"
        self._lease_ms, self._longest_s, self._clock = lease_ms, longest_s, clock or SystemClock()
        self._work: _Work | None = None

    @property
    def job(self) -> JobRow | None:
        """The job in hand; None if there is none."""
        return self._work.job if self._work is not None else None

    @property
    def hangs(self) -> bool:
        """Whether the job in hand takes longer than any may."""
        return self._work is not None and time.monotonic() - self._work.began_s > self._longest_s

    def step(self) -> bool:
        """Take a job, keep its lease, or commit what came of it; never waits for a handler.

        Returns
        -------
        Whether a job is in hand.

        Raises
        ------
        LogError
            If the log fails; nothing is lost, and the next step goes on.
        """
        if self._work is None:
            job = self._jobs.claim(self._clock.now_ms(), self._owner, self._lease_ms, names=self._known)
            if job is not None:
                self._work = _Work(self._known[job.name], self._log, self._settings, job)
                self._work.start()
        elif self._work.is_alive():
            self._keep(self._work)
        else:
            self._settle(self._work)
            self._work = None
        return self._work is not None

    def stop(self, patience_s: float = 5.0) -> None:
        """Ask the handler to leave, and hand its job back; what is finished by then is committed."""
        if (work := self._work) is None:
            return
        self._work = None
        work.leave.set()
        work.join(patience_s)
        try:
            if work.is_alive():
                self._jobs.release(work.job)
            else:
                self._settle(work)
        except KalibreError as error:  # its lease runs out instead
            _logger.warning("%s", error)

    def run_until_idle(self, should_stop: Callable[[], bool] = lambda: False) -> int:
        """See every job through that is due now; return how many were taken."""
        taken = 0
        while not should_stop():
            before, busy = self._work, self.step()
            taken += busy and self._work is not before
            if not busy and before is None:
                break
            if self._work is not None:
                self._work.join(_POLL_S)
        return taken

    def _keep(self, work: _Work) -> None:
        """Renew a lease when a third of it has passed."""
        now_s = time.monotonic()
        if work.lost or self.hangs or (now_s - work.renewed_s) * 3000 < self._lease_ms:
            return
        try:
            self._jobs.renew(work.job, self._clock.now_ms() + self._lease_ms)
        except LeaseLostError as error:
            work.lost = True  # the handler learns of it at its next look
            _logger.warning("%s", error)
        work.renewed_s = now_s

    def _settle(self, work: _Work) -> None:
        """Commit what came of a job: its result, its failure, or that somebody else has to do it."""
        try:
            self._say(work)
        except LeaseLostError as error:
            _logger.warning("%s", error)
        except (LogUnavailableError, LogLockedError):
            raise  # the work is kept, and told at the next step
        except KalibreError as error:
            # What the handler gave cannot be stored, as a number that is none.
            self._jobs.fail(work.job, f"its result cannot be stored: {error}", self._retry_at_ms(work.job))

    def _say(self, work: _Work) -> None:
        job, error = work.job, work.error
        if error is None:
            self._jobs.complete(job, work.events, result=work.context.result)
        elif isinstance(error, LeaseLostError):
            _logger.warning("%s", error)
        elif isinstance(error, JobStoppedError):
            self._jobs.release(job)
        elif isinstance(error, _HOPELESS):
            self._jobs.fail(job, str(error), None)
        else:
            known = isinstance(error, KalibreError)
            _logger.warning("job %s %s failed", job.name, job.key, exc_info=None if known else error)
            words = str(error) if known else f"{type(error).__name__}: {error}"
            self._jobs.fail(job, words, self._retry_at_ms(job))

    def _retry_at_ms(self, job: JobRow) -> int:
        return self._clock.now_ms() + backoff_ms(job.attempt)


def work(log: EventLog, settings: Settings, process: WorkerProcess) -> None:
    """Enqueue what recorded ticks make due, and do what is enqueued, until told to stop."""
    from kalibre.hub.scheduler import Scheduler, schedules_of

    scheduler = Scheduler(log, schedules_of(settings))
    worker = JobWorker(log, settings, handlers())
    try:
        while not process.should_stop():
            busy = worker.job is not None
            try:
                head = log.head()
                moved = scheduler.step()
                busy = worker.step()
                if not worker.hangs:
                    process.beat(scheduler.position)
                if busy:
                    process.wait(_POLL_S)
                elif not moved:
                    log.wait(head, _IDLE_S, process.should_stop)
            except (LogUnavailableError, LogLockedError) as error:
                _logger.warning("%s waits: %s", process.name, error)
                process.beat(scheduler.position, "waiting")
                process.wait(_POLL_S)
    finally:
        worker.stop()
