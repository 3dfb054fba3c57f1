"""The child's side of supervision: a heartbeat that others can read, a stop flag, and no life after the parent's.

A worker calls `adopt` before it does anything else. Under Kalibre's own supervisor it then beats into the supervisor's
run folder and is killed with it; under PM2, systemd, compose or by hand it beats into `home/run`, tells systemd's
watchdog, and ends itself, with a trace of where it hung, if it stops beating.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import os
import signal
import struct
import sys
import threading
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Self

from kalibre.core.errors import HubError
from kalibre.hub import notify

SUPERVISOR, RUN, RESTARTS = "KALIBRE_HUB_SUPERVISOR", "KALIBRE_HUB_RUN", "KALIBRE_HUB_RESTARTS"
"""Environment variables by which the supervisor tells a child its process id, its run folder and its restarts."""

STARTING, ONLINE, STOPPED, ENDED = "starting", "online", "stopped", "ended"
SLOW_PHASES = frozenset({STARTING, "recovering", "compiling"})
"""Phases in which a worker may be silent for longer: imports, compilation, reading the log again."""

DUMP_SIGNAL = signal.SIGUSR2
"""Makes a worker write where each of its threads is, even while it hangs in compiled code."""

SUFFIX = ".beat"
_FORM = struct.Struct("<4sIQQQqIQd24s")
_SIZE = _FORM.size + 4
_MAGIC = b"KBT1"
_BETWEEN_NS = 50_000_000
_SECOND_NS = 1_000_000_000
_PR_SET_PDEATHSIG = 1
_OOM_SCORE_OF_NICED = 300


@dataclass(frozen=True, kw_only=True)
class Beat:
    """What a worker last said of itself.

    `beat_ns` and `started_ns` are of the machine's monotonic clock, which every process reads alike and nobody can set.
    """

    pid: int
    count: int
    beat_ns: int
    started_ns: int
    position: int
    restarts: int
    rss_bytes: int
    cpu_s: float
    phase: str

    @property
    def mark(self) -> tuple[int, int]:
        """Return what differs from beat to beat: process id and number."""
        return (self.pid, self.count)

    @property
    def slow(self) -> bool:
        """Whether it is in a phase in which it may be silent for longer."""
        return self.phase in SLOW_PHASES

    def age_s(self, now_ns: int | None = None) -> float:
        """Return the seconds since this beat; never below 0."""
        return max((time.monotonic_ns() if now_ns is None else now_ns) - self.beat_ns, 0) / _SECOND_NS


def read_beat(path: Path) -> Beat | None:
    """Read a heartbeat file; None if there is none, or it is not whole (it is being written this very moment).

    A beat that lies in the future is of a boot before this one, and is none either.
    """
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if len(content) != _SIZE or zlib.crc32(content[:-4]) != int.from_bytes(content[-4:], "little"):
        return None
    magic, pid, count, beat_ns, started_ns, position, restarts, rss, cpu_s, phase = _FORM.unpack(content[:-4])
    if magic != _MAGIC or beat_ns > time.monotonic_ns():
        return None
    return Beat(
        pid=pid,
        count=count,
        beat_ns=beat_ns,
        started_ns=started_ns,
        position=position,
        restarts=restarts,
        rss_bytes=rss,
        cpu_s=cpu_s,
        phase=phase.rstrip(b"\0").decode("utf-8", "replace"),
    )


def mark_ended(path: Path, pid: int) -> None:
    """Write into the heartbeat file of a process that is dead that it has ended, unless it said so itself.

    Done by its supervisor, in place: whoever reads heartbeats knows it at once, also where the log is full and cannot
    take the news.
    """
    beat = read_beat(path)
    if beat is None or beat.pid != pid or beat.phase == STOPPED:
        return
    # A disk that refuses even this leaves the reader with the beat's age.
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(descriptor, _packed(beat, phase=ENDED), 0)
        finally:
            os.close(descriptor)


def _packed(beat: Beat, *, phase: str) -> bytes:
    content = _FORM.pack(
        *(_MAGIC, beat.pid, beat.count, beat.beat_ns, beat.started_ns, beat.position, beat.restarts, beat.rss_bytes),
        *(beat.cpu_s, phase.encode()[:24]),
    )
    return content + zlib.crc32(content).to_bytes(4, "little")


class Heart:
    """Writes one worker's heartbeat to a file of fixed size, in place: no disk that fills up can stop it.

    The file is locked for as long as the worker lives, so that no second one can run under its name.

    Parameters
    ----------
    name
        The worker's.
    run_dir
        Folder of the file `NAME.beat`; made where it is not there.
    restarts
        How often it was started again, as its supervisor says.

    Raises
    ------
    HubError
        If a worker of that name already runs, with its process id; or if the file cannot be written.
    """

    def __init__(self, name: str, run_dir: Path, *, restarts: int = 0) -> None:
        self.path = run_dir / f"{name}{SUFFIX}"
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise HubError(
                f"worker {name!r} has nowhere to beat: {error}; set KALIBRE_HOME to another folder"
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            before = read_beat(self.path)
            who = "another process" if before is None else f"process {before.pid}"
            raise HubError(
                f"worker {name!r} already runs as {who} (its heartbeat is {str(self.path)!r}): stop that one first, or "
                "set KALIBRE_HOME to another folder"
            ) from None
        self._pid, self._restarts, self._started_ns = os.getpid(), restarts, time.monotonic_ns()
        self._count, self._next_ns, self._weighed_ns, self._rss, self._phase = 0, 0, 0, 0, ""
        try:
            self.beat(0, STARTING)
        except OSError as error:
            os.close(self._descriptor)
            raise HubError(f"worker {name!r} cannot beat into {str(self.path)!r}: {error}") from error

    def beat(self, position: int, phase: str = ONLINE) -> bool:
        """Say that the worker lives, up to where it has read and what it does.

        It may be called after every event: what comes within 50 ms of the last beat in the same phase is passed over.

        Returns
        -------
        Whether this one was written.
        """
        now_ns = time.monotonic_ns()
        if now_ns < self._next_ns and phase == self._phase:
            return False
        if now_ns - self._weighed_ns >= _SECOND_NS:
            self._weighed_ns, self._rss = now_ns, _rss_bytes()
        self._count += 1
        self._next_ns, self._phase = now_ns + _BETWEEN_NS, phase
        content = _FORM.pack(
            *(_MAGIC, self._pid, self._count, now_ns, self._started_ns, position, self._restarts, self._rss),
            *(time.process_time(), phase.encode()[:24]),
        )
        os.pwrite(self._descriptor, content + zlib.crc32(content).to_bytes(4, "little"), 0)
        return True

    def close(self, position: int = 0) -> None:
        """Say that the worker has stopped, and let another of its name begin."""
        with contextlib.suppress(OSError):
            self.beat(position, STOPPED)
        os.close(self._descriptor)


class WorkerProcess:
    """A worker that has been adopted: it beats, and knows when it is to stop. Made by `adopt`."""

    def __init__(
        self, name: str, heart: Heart, *, parent: int | None, heartbeat_limit_s: float | None, starting_limit_s: float
    ) -> None:
        self.name = name
        self._heart, self._parent, self._position = heart, parent, 0
        self._limit_s, self._starting_limit_s = heartbeat_limit_s, starting_limit_s
        self._armed_ns = 0
        self._ready = False
        self._stop = threading.Event()

    @property
    def supervised(self) -> bool:
        """Whether Kalibre's own supervisor watches over it."""
        return self._parent is not None

    def beat(self, position: int, phase: str = ONLINE) -> None:
        """Say that it lives; cheap enough for every event. A disk that refuses the beat does not end the worker."""
        self._position = position
        try:
            written = self._heart.beat(position, phase)
        except OSError as error:
            sys.stderr.write(f"kalibre: the heartbeat of {self.name} cannot be written: {error}\n")
            return
        if not written:
            return
        if self._parent is not None:
            if os.getppid() != self._parent:
                self._stop.set()
            return
        self._watch_itself(phase)

    def should_stop(self) -> bool:
        """Say whether SIGTERM or SIGINT has come, or the supervisor has gone."""
        return self._stop.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait for so long, or until it is to stop; return whether it is."""
        return self._stop.wait(seconds)

    def stop(self) -> None:
        """Set the stop flag, as SIGTERM does."""
        self._stop.set()

    def close(self) -> None:
        """Beat a last time and free the name."""
        faulthandler.cancel_dump_traceback_later()
        notify.tell("STOPPING=1")
        self._heart.close(self._position)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def asked(self, number: int, frame: FrameType | None) -> None:
        """Take a signal: the first one sets the flag, a second one ends the process at once."""
        self._stop.set()
        signal.signal(number, signal.SIG_DFL)

    def _watch_itself(self, phase: str) -> None:
        """Without a supervisor: tell systemd, and wind up the watchdog that ends a worker which has gone silent."""
        now_ns = time.monotonic_ns()
        slow = phase in SLOW_PHASES
        if not slow and not self._ready:
            self._ready = True
            notify.tell(f"READY=1\nSTATUS={phase}")
        elif now_ns - self._armed_ns < _SECOND_NS:
            return
        self._armed_ns = now_ns
        notify.tell("WATCHDOG=1")
        if self._limit_s is not None:
            # A thread of C's own, which needs no interpreter: it also ends what hangs in compiled code.
            faulthandler.dump_traceback_later(self._starting_limit_s if slow else self._limit_s, exit=True)


def adopt(
    name: str,
    run_dir: Path | None = None,
    *,
    nice: int = 0,
    heartbeat_limit_s: float | None = 60.0,
    starting_limit_s: float = 600.0,
) -> WorkerProcess:
    """Make this process a worker; called first, in its main thread.

    Parameters
    ----------
    name
        The worker's; only one process of that name can beat into a folder.
    run_dir
        Where to beat; by default the supervisor's folder, else `run` in the settings' home.
    nice
        Niceness it takes at least; a learner yields to whoever answers people, and goes first where memory ends.
    heartbeat_limit_s
        Without a supervisor, silence after which the process ends itself; None never.
    starting_limit_s
        The same while it imports, compiles or reads the log again.

    Raises
    ------
    HubError
        If the supervisor that started it has died meanwhile, or a worker of that name already runs.
    """
    parent = int(os.environ[SUPERVISOR]) if os.environ.get(SUPERVISOR, "").isdigit() else None
    if parent is not None:
        _die_with(parent, name)
    folder = run_dir or (Path(os.environ[RUN]) if os.environ.get(RUN) else _home_run())
    faulthandler.register(DUMP_SIGNAL, all_threads=True, chain=False)
    _yield_to_others(nice)
    restarts = int(os.environ[RESTARTS]) if os.environ.get(RESTARTS, "").isdigit() else 0
    worker = WorkerProcess(
        name,
        Heart(name, folder, restarts=restarts),
        parent=parent,
        heartbeat_limit_s=heartbeat_limit_s,
        starting_limit_s=starting_limit_s,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, worker.asked)
    worker.beat(0, STARTING)
    if parent is None:
        worker._watch_itself(STARTING)
    return worker


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies; a worker's own children call it. Linux only."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def _die_with(parent: int, name: str) -> None:
    die_with_parent()
    # The parent may have died before the kernel was asked; then nobody would ever tell.
    if os.getppid() != parent:
        raise HubError(
            f"worker {name!r} was started by supervisor {parent}, which is gone: start it again with `kalibre hub up`"
        )


def _home_run() -> Path:
    from kalibre.core.settings import load_settings

    return load_settings().home / "run"


def _yield_to_others(nice: int) -> None:
    now = os.getpriority(os.PRIO_PROCESS, 0)
    if nice > now:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    if nice > 0:
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE_OF_NICED), encoding="ascii")


def _rss_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb") as stream:
            return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
