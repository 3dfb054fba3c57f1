"""A worker as its supervisor holds it: the process, the pipe it writes to, the file its words are kept in."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from kalibre.hub import sessions
from kalibre.hub.notify import VARIABLES
from kalibre.hub.watch import Ending
from kalibre.hub.worker_process import DUMP_SIGNAL, RESTARTS, RUN, SUFFIX, SUPERVISOR, Beat, mark_ended, read_beat
from kalibre.hub.worker_spec import THREADS, WorkerSpec

_LINES, _LONGEST_LINE = 60, 1_000
_UNSPAWNED = 127


class Words:
    """Keeps what a worker writes: all of it in a file that is turned over, the last lines in memory.

    What is in memory is there even where the disk is full, which is when it is wanted most.

    Parameters
    ----------
    path
        `NAME.log`; the one before it is `NAME.log.1`.
    limit_bytes
        Size at which the file is turned over, so that both together never hold more than twice that.
    """

    def __init__(self, path: Path, *, limit_bytes: int = 1_000_000) -> None:
        self._path, self._limit = path, limit_bytes
        self._file: BinaryIO | None = None
        self._size = 0
        self._partial = b""
        self._lines: deque[str] = deque(maxlen=_LINES)

    def begin(self, title: str) -> None:
        """Forget the lines of the process before, and head those of a new one."""
        self._lines.clear()
        self._partial = b""
        self._keep(f"--- {datetime.now(tz=UTC):%Y-%m-%d %H:%M:%S} UTC {title}\n".encode())

    def write(self, content: bytes) -> list[str]:
        """Take what was written; return the lines that it ended."""
        self._keep(content)
        *ended, rest = (self._partial + content).split(b"\n")
        # A worker that writes without end and without a line's end is not kept in memory whole.
        self._partial = rest[-_LONGEST_LINE:]
        lines = [line.decode("utf-8", "replace")[:_LONGEST_LINE] for line in ended]
        self._lines.extend(lines)
        return lines

    def last(self) -> tuple[str, ...]:
        """Return the last lines since `begin`."""
        return (*self._lines, self._partial.decode("utf-8", "replace")) if self._partial else tuple(self._lines)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def _opened(self) -> BinaryIO:
        # A worker may say what is nobody else's business, such as the address to log in at.
        return open(
            os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "ab", buffering=0
        )

    def _keep(self, content: bytes) -> None:
        # A disk that refuses the file takes nothing from the watch: the last lines are in memory.
        try:
            if self._file is None:
                self._file = self._opened()
                self._size = self._file.tell()
            if self._size + len(content) > self._limit and self._size:
                self._file.close()
                self._file = None
                os.replace(self._path, self._path.with_name(self._path.name + ".1"))
                self._file, self._size = self._opened(), 0
            self._file.write(content[-self._limit :])
            self._size += min(len(content), self._limit)
        except OSError:
            self.close()


class Child:
    """Starts, hears, signals and buries the processes of one worker, one after the other."""

    def __init__(self, spec: WorkerSpec, run_dir: Path, on_line: Callable[[str, str], None] | None = None) -> None:
        self.spec = spec
        self._run_dir, self._on_line = run_dir, on_line
        self._beat_path = run_dir / f"{spec.name}{SUFFIX}"
        self._words = Words(run_dir / f"{spec.name}.log")
        self._process: subprocess.Popen[bytes] | None = None
        self._unspawned: str | None = None
        self.pipe = -1
        """End of the pipe that the worker writes to, -1 without a process."""

    @property
    def pid(self) -> int:
        """Return the process id, which is its session's too; 0 without a process."""
        return self._process.pid if self._process is not None else 0

    def spawn(self, restarts: int) -> int:
        """Start a process; return its id, or 0 where that fails: `ending` then says why."""
        spec = self.spec
        environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        environment |= dict.fromkeys(THREADS, str(spec.cpu_threads))
        environment |= {"PYTHONUNBUFFERED": "1", RUN: str(self._run_dir), RESTARTS: str(restarts)}
        environment |= {SUPERVISOR: str(os.getpid()), **spec.environment}
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        self._unspawned = None
        try:
            self._process = subprocess.Popen(  # noqa: S603  (a command of the hub, or of who starts it)
                # Nice before its first instruction: a thread keeps the niceness that it was begun with.
                [*(("nice", "-n", str(spec.nice)) if spec.nice else ()), *spec.command],
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            os.close(reading)
            self._unspawned = f"{spec.command[0]} cannot be started: {error}"
            self._words.begin(self._unspawned)
            return 0
        finally:
            os.close(writing)
        self.pipe = reading
        self._words.begin(f"{spec.name} is process {self._process.pid}, restart {restarts}")
        return self._process.pid

    def beat(self) -> Beat | None:
        """Return the newest heartbeat of the process that runs now, or of one that it has started."""
        beat = read_beat(self._beat_path)
        if beat is None or beat.pid == self.pid or not self.pid:
            return beat if self.pid else None
        # One that somebody else runs under this name is no sign of life of ours.
        with contextlib.suppress(OSError):
            return beat if os.getsid(beat.pid) == self.pid else None
        return None

    def hear(self) -> bool:
        """Take what the worker has written since; return whether it may write more."""
        for _ in range(64):
            try:
                content = os.read(self.pipe, 65_536)
            except BlockingIOError:
                return True
            if not content:
                return False
            for line in self._words.write(content):
                if self._on_line is not None:
                    # A terminal that was closed is no reason to end what runs.
                    with contextlib.suppress(OSError):
                        self._on_line(self.spec.name, line)
        return True

    def ending(self) -> Ending | None:
        """Return how the process ended, None while it lives."""
        if self._unspawned is not None:
            return Ending(code=_UNSPAWNED, words=(self._unspawned,))
        if self._process is None or self._process.poll() is None:
            return None
        if self.pipe >= 0:
            self.hear()
        return Ending(code=self._process.returncode, words=self._words.last())

    def signal(self, number: int) -> None:
        """Send the worker a signal; SIGKILL goes to everything it has started as well."""
        if self._process is None or self._process.poll() is not None:
            return
        if number == signal.SIGKILL:
            sessions.kill(self._process.pid)
        with contextlib.suppress(OSError):
            self._process.send_signal(number)

    def ask_where(self) -> None:
        """Make it write where it hangs."""
        self.signal(DUMP_SIGNAL)

    def bury(self) -> int:
        """After its end: kill what it left behind, close the pipe, mark its heartbeat; return how many were killed."""
        left = 0
        if self._process is not None:
            left = sessions.kill(self._process.pid)
            mark_ended(self._beat_path, self._process.pid)
            self._process = None
        self._unspawned = None
        if self.pipe >= 0:
            self.hear()
            os.close(self.pipe)
            self.pipe = -1
        return left

    def close(self) -> None:
        """Close its file of words."""
        self._words.close()

    def wait(self, timeout_s: float) -> None:
        """Wait for a process that has been killed."""
        if self._process is not None:
            deadline = time.monotonic() + timeout_s
            while self._process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
