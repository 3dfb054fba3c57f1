"""Every worker leads a session of its own: all that it starts can be found, weighed and killed by that."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

_PATIENCE_S = 0.5


def members(sessions: Iterable[int]) -> dict[int, list[int]]:
    """Return the processes of each session, by one look at all processes of the machine."""
    import psutil

    found: dict[int, list[int]] = {session: [] for session in sessions}
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            session = os.getsid(pid)
            if session in found:
                found[session].append(pid)
    return found


def memory_bytes(sessions: Iterable[int]) -> dict[int, int]:
    """Return the resident memory of each session: the worker's and that of everything it has started."""
    import psutil

    weighed = {}
    for session, pids in members(sessions).items():
        weighed[session] = 0
        for pid in pids:
            with contextlib.suppress(psutil.Error):
                weighed[session] += psutil.Process(pid).memory_info().rss
    return weighed


def _alive(session: int) -> list[int]:
    import psutil

    alive = []
    for pid in members([session])[session]:
        with contextlib.suppress(psutil.Error):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                alive.append(pid)
    return alive


def kill(session: int) -> int:
    """Kill every process of a session, again and again until none is left that could start another.

    Returns
    -------
    How many were found alive.
    """
    killed: set[int] = set()
    deadline = time.monotonic() + _PATIENCE_S
    while alive := _alive(session):
        for pid in alive:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        killed.update(alive)
        # The kernel takes its time over a death; one that waits for a disk is not waited for.
        if time.monotonic() > deadline:
            break
        time.sleep(0.001)
    return len(killed)


class Keeper:
    """A small process beside the supervisor that kills every session it was told of once the supervisor is gone."""

    def __init__(self) -> None:
        self._sessions: set[int] = set()
        self._process = self._begun()

    def add(self, session: int) -> None:
        """Tell it of a worker's session."""
        self._sessions.add(session)
        self._tell(b"+%d\n" % session)

    def discard(self, session: int) -> None:
        """Tell it that a session has ended."""
        self._sessions.discard(session)
        self._tell(b"-%d\n" % session)

    def look(self) -> None:
        """Start it again where it has been killed."""
        if self._process.poll() is not None:
            self._tell(b"")

    def close(self) -> None:
        """End it; what it still knows of is killed."""
        with contextlib.suppress(OSError):
            self._input.close()
        self._process.wait()

    def _begun(self) -> subprocess.Popen[bytes]:
        script = Path(__file__).with_name("keeper.py")
        process = subprocess.Popen(  # noqa: S603  (a script of our own)
            [sys.executable, "-I", "-S", str(script), *map(str, self._sessions)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            bufsize=0,
        )
        assert process.stdin is not None
        self._input = process.stdin
        return process

    def _tell(self, line: bytes) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(BrokenPipeError):
                self._input.write(line)
                return
        with contextlib.suppress(OSError):
            self._input.close()
        self._process.wait()
        # It is told of the sessions as it begins: there is no moment at which it knows of none.
        self._process = self._begun()
