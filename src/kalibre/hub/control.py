"""A supervisor's ear: one per run folder, a socket on which the API and the command line say start, stop, restart."""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from kalibre.core.errors import HubError

SOCKET, LOCK = "control.sock", "supervisor.lock"
_LONGEST = 65_536


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a supervisor: a verb about a worker, or `status` of all."""

    verb: Literal["start", "stop", "restart", "status"]
    worker: str = ""
    by: str = "somebody"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What it answers: whether it was done, in words; and for `status` how each worker stands."""

    ok: bool
    detail: str
    workers: list[dict[str, Any]] = msgspec.field(default_factory=list)


class Lock:
    """Keeps a second supervisor off a run folder, for as long as the process lives.

    Raises
    ------
    HubError
        If another supervisor has it; the message names its process id.
    """

    def __init__(self, run_dir: Path) -> None:
        try:
            run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._descriptor = os.open(run_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise HubError(
                f"run folder {str(run_dir)!r} cannot be used: {error}; set KALIBRE_HOME elsewhere"
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            raise HubError(
                f"a supervisor already runs on {str(run_dir)!r} as process {pid}: stop it with `kill {pid}`, or set "
                "KALIBRE_HOME to another folder"
            ) from None
        # Always as long, so that a full disk can still write over it; and the lock holds without a name in it.
        with contextlib.suppress(OSError):
            os.pwrite(self._descriptor, f"{os.getpid():<31}\n".encode(), 0)

    def close(self) -> None:
        """Let the next supervisor have the folder."""
        os.close(self._descriptor)


class Ear:
    """Listens in a supervisor's loop.

    Parameters
    ----------
    run_dir
        Where the socket lies; only this user can speak to it.
    selector
        The loop's; what it gives as a key's `data` is a function to call.
    answer
        Does what is asked.
    """

    def __init__(self, run_dir: Path, selector: selectors.BaseSelector, answer: Callable[[Request], Answer]) -> None:
        self._run_dir, self._selector, self._answer = run_dir, selector, answer
        self._heard: dict[socket.socket, bytes] = {}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with _near(run_dir) as path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            before = os.umask(0o177)
            try:
                self._listener.bind(path)
            except OSError as error:
                self._listener.close()
                raise HubError(f"{str(run_dir / SOCKET)!r} cannot be made: {error}") from error
            finally:
                os.umask(before)
        self._listener.listen(16)
        self._listener.setblocking(False)
        selector.register(self._listener, selectors.EVENT_READ, self._met)

    def close(self) -> None:
        """Stop listening."""
        for speaker in (*self._heard, self._listener):
            with contextlib.suppress(KeyError):
                self._selector.unregister(speaker)
            speaker.close()
        with contextlib.suppress(OSError):
            os.unlink(self._run_dir / SOCKET)

    def _met(self) -> None:
        with contextlib.suppress(OSError):
            speaker, _ = self._listener.accept()
            speaker.setblocking(False)
            self._heard[speaker] = b""
            self._selector.register(speaker, selectors.EVENT_READ, lambda: self._hear(speaker))

    def _hear(self, speaker: socket.socket) -> None:
        try:
            part = speaker.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        heard = self._heard[speaker] = self._heard[speaker] + part
        if part and b"\n" not in heard and len(heard) < _LONGEST:
            return
        if heard:
            try:
                answer = self._answer(msgspec.json.decode(heard, type=Request))
            except (msgspec.ValidationError, msgspec.DecodeError) as error:
                answer = Answer(ok=False, detail=f"{heard[:200]!r} is no request: {error}")
            # A speaker that does not listen misses the rest; the loop never waits for one.
            with contextlib.suppress(OSError):
                speaker.sendall(msgspec.json.encode(answer) + b"\n")
        self._selector.unregister(speaker)
        del self._heard[speaker]
        speaker.close()


def ask(run_dir: Path, request: Request, *, timeout_s: float = 5.0) -> Answer:
    """Ask the supervisor of a run folder.

    Raises
    ------
    HubError
        If none listens there, or it does not answer in time.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as speaker:
        speaker.settimeout(timeout_s)
        try:
            with _near(run_dir) as path:
                speaker.connect(path)
            speaker.sendall(msgspec.json.encode(request) + b"\n")
            heard = b""
            while part := speaker.recv(_LONGEST):
                heard += part
            return msgspec.json.decode(heard, type=Answer)
        except (FileNotFoundError, ConnectionError) as error:
            raise HubError(
                f"no supervisor listens in {str(run_dir)!r}: start one with `kalibre hub up` (workers under PM2 or "
                "systemd are asked there)"
            ) from error
        except (OSError, msgspec.DecodeError) as error:
            raise HubError(
                f"the supervisor of {str(run_dir)!r} did not answer within {timeout_s:g} s: {error}"
            ) from error


@contextlib.contextmanager
def _near(run_dir: Path) -> Iterator[str]:
    """Yield a short path to the socket: the system allows about a hundred bytes, and folders may lie deeper."""
    path = str(run_dir / SOCKET)
    if len(os.fsencode(path)) < 100 or not os.path.isdir("/proc/self/fd"):
        yield path
        return
    descriptor = os.open(run_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET}"
    finally:
        os.close(descriptor)
