"""Ways in that lie in the home folder: whoever may write there makes one while the server runs, and it works once.

`kalibre hub login` writes the hash of a fresh token into a folder that is its owner's alone, and the server takes it
from there when somebody comes with the token. The token itself is on no disk. Nobody gets in by this who could not do
as they like with the home anyway: a login that another user wrote, or one in a folder that others may write to, counts
for nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
import stat
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import msgspec

from kalibre.core.clock import Clock
from kalibre.core.errors import HubError
from kalibre.core.settings import SCOPES

LOGIN_LASTS_MS = 60 * 60 * 1000
"""A one-time address that nobody used goes out after an hour."""
ADDRESS = "page.address"
"""Where the server says how to reach it; it holds the lock of this file for as long as it lives."""
_TRIES, _PAUSE_S = 20, 0.05
_logger = logging.getLogger(__name__)


class _Login(msgspec.Struct, frozen=True):
    """A login as it is kept: its file is named after the hash of its token."""

    scopes: tuple[str, ...]
    ends_ms: int


class Logins:
    """The one-time logins of a home folder.

    Parameters
    ----------
    folder
        Where they are kept; made where it is not there, for this user alone.
    clock
        The machine's clock: maker and server are two processes.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from kalibre.core.clock import ManualClock
    >>> with TemporaryDirectory() as home:
    ...     logins = Logins(Path(home) / "logins", ManualClock())
    ...     token = logins.new(frozenset({"read"}))
    ...     logins.redeem(token), logins.redeem(token)
    (frozenset({'read'}), None)
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder, self._clock = folder, clock

    def new(self, scopes: frozenset[str] = frozenset(SCOPES)) -> str:
        """Keep a fresh login and return its token, which is nowhere else.

        Raises
        ------
        HubError
            If it cannot be written, or the folder is not ours alone.
        """
        token = secrets.token_urlsafe(32)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not _ours(os.lstat(self._folder)):
                raise HubError(
                    f"{str(self._folder)!r} can be written to by others, so no login in it counts: remove it, and ask "
                    "again as the user whose hub it is"
                )
            self._forget_ended()
            fresh = self._folder / f".{secrets.token_hex(8)}"
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                login = _Login(tuple(sorted(scopes)), self._clock.now_ms() + LOGIN_LASTS_MS)
                stream.write(msgspec.json.encode(login))
            fresh.replace(self._file(token))
        except OSError as error:
            raise HubError(
                f"no login can be written into {str(self._folder)!r}: {error}; run this as the user whose hub it is"
            ) from error
        return token

    def redeem(self, token: str) -> frozenset[str] | None:
        """Use a login up and return what its session may do; None if there is none, or it has ended."""
        file = self._file(token)
        try:
            if not _ours(os.lstat(self._folder)):
                return None
            with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as stream:
                if not _ours(os.fstat(stream.fileno())):
                    return None
                login = msgspec.json.decode(stream.read(4_096), type=_Login)
            # Of two that come at once only one takes it away; where it cannot be taken away it counts for nothing.
            file.unlink()
        except (OSError, msgspec.MsgspecError):
            return None
        now_ms = self._clock.now_ms()
        if not now_ms < login.ends_ms <= now_ms + LOGIN_LASTS_MS:
            return None
        return frozenset(login.scopes) & frozenset(SCOPES) or None

    def _file(self, token: str) -> Path:
        # Found by its hash: how long that takes says nothing about the token, and no token leads out of the folder.
        return self._folder / f"{sha256(token.encode('utf-8', 'surrogatepass')).hexdigest()}.json"

    def _forget_ended(self) -> None:
        now_ms = self._clock.now_ms()
        for file in self._folder.glob("*.json"):
            with contextlib.suppress(OSError, msgspec.MsgspecError):
                if msgspec.json.decode(file.read_bytes(), type=_Login).ends_ms <= now_ms:
                    file.unlink()


def logins_dir(home: Path) -> Path:
    """Return where the logins of a home are kept."""
    return home / "run" / "logins"


def _ours(found: os.stat_result) -> bool:
    """Say whether something is ours (or root's) and nobody else can write to it."""
    return found.st_uid in (os.getuid(), 0) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


@contextlib.contextmanager
def reachable_at(run_dir: Path, address: str) -> Iterator[None]:
    """Say in the run folder where a server listens, for as long as it does; a second one of the same home says nothing.

    A disk that refuses keeps no server from running.
    """
    descriptor = _locked(run_dir / ADDRESS)
    if descriptor is None:
        yield
        return
    try:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, address.encode(), 0)
        yield
    finally:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
        os.close(descriptor)


def _locked(path: Path) -> int | None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        _logger.warning("%s cannot be written, so `kalibre hub login` does not find this server: %s", path, error)
        return None
    for _ in range(_TRIES):
        # Who only asks for the address holds the lock for a moment too.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        time.sleep(_PAUSE_S)
    os.close(descriptor)
    return None


def address_of(run_dir: Path) -> str:
    """Return where the server of a run folder listens.

    Raises
    ------
    HubError
        If none runs: its lock goes with it however it ends.
    """
    path = run_dir / ADDRESS
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            address = os.pread(descriptor, 4_096, 0).decode("utf-8", "replace")
            if address:
                return address
        finally:
            os.close(descriptor)
    raise HubError(
        f"no server runs on {str(run_dir.parent)!r}: start the hub with `kalibre hub up`, or name its settings by "
        "--config or its home by KALIBRE_HOME (a replay has its own, in `replay` of that home)"
    )
