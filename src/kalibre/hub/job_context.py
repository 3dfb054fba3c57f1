"""What a job's handler is given, and what it must offer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

from kalibre.core.errors import JobStoppedError, LeaseLostError
from kalibre.core.events import Event
from kalibre.core.settings import Settings
from kalibre.log.jobs import JobRow
from kalibre.log.protocol import EventLog


class JobContext:
    """A job in hand.

    Parameters
    ----------
    log, settings
        Where the handler reads, and what it goes by.
    job
        Its row. A handler takes its times from here (`due_ms`, `began_ms`) and from no clock, so that an attempt that
        follows one that was killed does the same again.
    should_stop, is_lost
        Say that the worker is asked to stop, and that the job was taken over.
    """

    def __init__(
        self,
        log: EventLog,
        settings: Settings,
        job: JobRow,
        *,
        should_stop: Callable[[], bool] = lambda: False,
        is_lost: Callable[[], bool] = lambda: False,
    ) -> None:
        self.log, self.settings, self.job = log, settings, job
        self.result: dict[str, str] = {}
        """A few words about what came of it, for whoever looks at the job."""
        self._should_stop, self._is_lost = should_stop, is_lost

    @property
    def mark(self) -> str:
        """Return what all attempts of this job have in common and no other job has."""
        return f"job {self.job.name}|{self.job.key}"

    def check(self) -> None:
        """End the work if it has become useless; to be called every second or so.

        Raises
        ------
        JobStoppedError
            If the worker is asked to stop: the job is handed back.
        LeaseLostError
            If the job was taken over.
        """
        if self._is_lost():
            raise LeaseLostError(f"{self.mark}, attempt {self.job.attempt}, was taken over by another worker")
        if self._should_stop():
            raise JobStoppedError(f"{self.mark}, attempt {self.job.attempt}, is left for a worker to come")

    def progress(self, stage: str, done: int, total: int) -> None:
        """Take a report of progress, and end the work if it has become useless."""
        self.check()


@runtime_checkable
class JobHandler(Protocol):
    """What does the jobs of one name.

    A job may be begun several times: whatever a handler writes itself has to be the same the second time. What it
    returns is stored once, together with the job's being done.
    """

    name: ClassVar[str]

    def run(self, payload: Mapping[str, Any], context: JobContext) -> list[Event]:
        """Do a job, and return the events that are its result.

        Raises
        ------
        KalibreError
            If it cannot be done; a usage, settings or data-set error will not be tried again.
        """
        ...
