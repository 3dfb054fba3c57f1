"""What a worker is to its supervisor: a name, a command, and limits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Literal

from kalibre.core.errors import HubError
from kalibre.hub.watch import ALIVE, Backoff, Limits, Watched

THREADS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS"),
    "VECLIB_MAXIMUM_THREADS",
)
"""Environment variables by which numeric libraries are held to a number of threads."""

_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,62}")


@dataclass(frozen=True, kw_only=True)
class WorkerSpec:
    """One worker.

    Parameters
    ----------
    name
        Lower-case letters, digits, `_`, `.` and `-`: its files in the run folder are named after it.
    command
        Program and arguments.
    nice
        Niceness, 0 to 19; learners yield to the API.
    memory_limit_bytes
        Resident memory of the worker and its children above which it is started again.
    heartbeat_limit_s, starting_limit_s
        Silence after which it counts as hung: while it works, and while it starts (imports, compiles, recovers).
    cron_restart
        When it is started again without any trouble, as a cron expression in UTC.
    cpu_threads
        Threads that numeric libraries may use in it.
    start_after
        Workers that must have been online (or have failed) first; they are stopped after it.
    grace_s
        Time between SIGTERM and SIGKILL.
    restart
        Whether it is started again when it ends by itself with exit code 0.
    environment
        Further variables.

    Raises
    ------
    HubError
        If something is out of range; the message quotes it.
    """

    name: str
    command: Sequence[str]
    nice: int = 0
    memory_limit_bytes: int | None = None
    heartbeat_limit_s: float = 30.0
    starting_limit_s: float = 180.0
    cron_restart: str | None = None
    cpu_threads: int = 1
    start_after: tuple[str, ...] = ()
    grace_s: float = 10.0
    restart: Literal["always", "on_failure"] = "always"
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise HubError(f"worker {self.name!r} needs another name: lower-case letters, digits, '_', '.' and '-'")
        if not self.command:
            raise HubError(f"worker {self.name!r} has no command: give a program and its arguments")
        if not 0 <= self.nice <= 19:
            raise HubError(f"worker {self.name!r}: nice {self.nice} is not within 0 to 19")
        positive = {
            "memory_limit_bytes": 1 if self.memory_limit_bytes is None else self.memory_limit_bytes,
            "heartbeat_limit_s": self.heartbeat_limit_s,
            "starting_limit_s": self.starting_limit_s,
            "cpu_threads": self.cpu_threads,
            "grace_s": self.grace_s,
        }
        for word, value in positive.items():
            if not value > 0:
                raise HubError(f"worker {self.name!r}: {word} is {value!r} and has to be above 0")
        if self.cron_restart is not None:
            next_cron_s(self.cron_restart, 0.0)

    def limits(self, backoff: Backoff, *, longest_look_s: float = 1.0) -> Limits:
        """Return what it may do, as `kalibre.hub.watch` wants to know it."""
        return Limits(
            heartbeat_s=self.heartbeat_limit_s,
            starting_s=self.starting_limit_s,
            memory_bytes=self.memory_limit_bytes,
            grace_s=self.grace_s,
            longest_look_s=longest_look_s,
            restart=self.restart,
            backoff=backoff,
        )


def next_cron_s(expression: str, after_s: float) -> float:
    """Return the next time, in seconds of Unix time, that a cron expression names in UTC.

    Raises
    ------
    HubError
        If it is no cron expression; the message quotes it.

    Examples
    --------
    >>> next_cron_s("0 3 * * *", 0.0) / 3600
    3.0
    """
    from datetime import UTC, datetime

    from cronsim import CronSim, CronSimError

    try:
        return float(next(CronSim(expression, datetime.fromtimestamp(after_s, tz=UTC))).timestamp())
    except (CronSimError, StopIteration) as error:
        raise HubError(
            f"{expression!r} is no time table: write minute, hour, day, month and weekday, as in '0 3 * * *' ({error})"
        ) from error


def in_order(specs: Iterable[WorkerSpec]) -> list[WorkerSpec]:
    """Return the workers in an order in which each comes after those that it starts after, else as given.

    Raises
    ------
    HubError
        If two have one name, or one starts after a worker that is not there or, round about, after itself.
    """
    by_name: dict[str, WorkerSpec] = {}
    for spec in specs:
        if spec.name in by_name:
            raise HubError(f"two workers are called {spec.name!r}: rename one")
        by_name[spec.name] = spec
    for spec in by_name.values():
        for before in spec.start_after:
            if before not in by_name:
                raise HubError(f"worker {spec.name!r} starts after {before!r}: there is only {', '.join(by_name)}")
    sorter = TopologicalSorter({spec.name: spec.start_after for spec in by_name.values()})
    try:
        sorter.prepare()
    except CycleError as error:
        raise HubError(f"workers start after one another in a circle: {' after '.join(error.args[1])}") from error
    place = {name: at for at, name in enumerate(by_name)}
    ordered: list[WorkerSpec] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=place.__getitem__)
        ordered += [by_name[name] for name in ready]
        sorter.done(*ready)
    return ordered


def may_start(spec: WorkerSpec, workers: Mapping[str, Watched]) -> bool:
    """Say whether those that a worker starts after have been online, or cannot be waited for (failed, stopped)."""
    before = [workers[name] for name in spec.start_after]
    return all(one.state not in ("starting", "waiting") or one.spawns > 1 or bool(one.failures) for one in before)


def may_stop(spec: WorkerSpec, specs: Iterable[WorkerSpec], workers: Mapping[str, Watched]) -> bool:
    """Say whether no worker that starts after this one is still alive."""
    return not any(spec.name in other.start_after and workers[other.name].state in ALIVE for other in specs)
