"""Sessions of the page: a one-time address opens one, a cookie carries it, a second token proves a page's own calls.

What stays in memory or on the disk are hashes: who reads the file cannot log in with it. A cookie alone only reads;
whatever changes state takes the session's token in `X-CSRF-Token` as well, which a page of another site cannot know.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import threading
from pathlib import Path
from typing import NamedTuple

import msgspec

from kalibre.api.logins import LOGIN_LASTS_MS, Logins
from kalibre.core.clock import Clock
from kalibre.core.settings import SCOPES

LOGIN_PATH = "/login"
SESSION_LASTS_MS = 12 * 60 * 60 * 1000
"""A session ends after twelve hours, used or not."""
MOST_SESSIONS = 64


class _Record(msgspec.Struct, frozen=True):
    """A session as it is kept: under the hash of its secret."""

    name: str
    scopes: tuple[str, ...]
    ends_ms: int


class Session(NamedTuple):
    """Who is behind a cookie: a name for the record, what it may do, and the token that proves its own calls."""

    name: str
    scopes: frozenset[str]
    ends_ms: int
    csrf: str


class Sessions:
    """The one-time addresses and sessions of a server.

    Parameters
    ----------
    clock
        The machine's clock: sessions outlive a restart, so their end is a wall time.
    file
        Where sessions are kept over a restart, as hashes, for this user alone. None: in memory.
    place
        What tells this server's cookie from that of another one on this machine, for cookies do not know ports.
    logins
        One-time logins that another process of this home may make; None: only this one makes any.

    Examples
    --------
    >>> from kalibre.core.clock import ManualClock
    >>> sessions = Sessions(ManualClock())
    >>> path = sessions.new_login()
    >>> secret = sessions.redeem(path.partition("=")[2])
    >>> sorted(sessions.find(secret).scopes)
    ['admin', 'kill', 'operate', 'predict', 'read']
    >>> sessions.redeem(path.partition("=")[2]) is None
    True
    """

    def __init__(
        self, clock: Clock, *, file: Path | None = None, place: str = "", logins: Logins | None = None
    ) -> None:
        self._clock = clock
        self._kept_logins = logins
        self._file = file
        self._lock = threading.Lock()
        self._logins: dict[bytes, tuple[frozenset[str], int]] = {}
        self._sessions: dict[str, _Record] = _read(file)
        self.cookie = f"kalibre_{hashlib.sha256(place.encode()).hexdigest()[:8]}"
        """Name of the cookie."""
        self._prefix = f"{self.cookie}=".encode()

    def new_login(self, *, scopes: frozenset[str] = frozenset(SCOPES), token: str | None = None) -> str:
        """Return the path of a new one-time address.

        Parameters
        ----------
        scopes
            What the session that it opens may do; by default everything, for it is shown to who started the server.
        token
            A secret made elsewhere, such as by the process that starts this one; by default a new one.
        """
        token = token or secrets.token_urlsafe(32)
        with self._lock:
            now_ms = self._clock.now_ms()
            self._logins = {known: login for known, login in self._logins.items() if login[1] > now_ms}
            self._logins[_digest(token)] = (scopes, now_ms + LOGIN_LASTS_MS)
        return f"{LOGIN_PATH}?token={token}"

    def redeem(self, token: str) -> str | None:
        """Take a one-time token and return the secret of a new session, or None: it works once, and for an hour."""
        digest, found = _digest(token), None
        with self._lock:
            for known, (_, ends_ms) in self._logins.items():
                # Every one is compared, equally long whichever it is.
                if hmac.compare_digest(known, digest) and ends_ms > self._clock.now_ms():
                    found = known
            scopes = None if found is None else self._logins.pop(found)[0]
        if scopes is None and self._kept_logins is not None:
            scopes = self._kept_logins.redeem(token)
        return None if scopes is None else self.open(scopes)

    def open(self, scopes: frozenset[str]) -> str:
        """Open a session and return its secret, for a caller who has proved who it is by other means."""
        secret = secrets.token_urlsafe(32)
        with self._lock:
            now_ms = self._clock.now_ms()
            kept = sorted(
                ((key, one) for key, one in self._sessions.items() if one.ends_ms > now_ms),
                key=lambda item: item[1].ends_ms,
            )
            self._sessions = dict(kept[-(MOST_SESSIONS - 1) :])
            record = _Record(f"page:{secrets.token_hex(2)}", tuple(sorted(scopes)), now_ms + SESSION_LASTS_MS)
            self._sessions[_digest(secret).hex()] = record
            self._write()
        return secret

    def close(self, secret: str) -> None:
        """End a session."""
        with self._lock:
            if self._sessions.pop(_digest(secret).hex(), None) is not None:
                self._write()

    def find(self, secret: str) -> Session | None:
        """Return the session of a secret, or None if there is none or it has ended."""
        # Looked up by its hash: how long that takes says nothing about the secret.
        record = self._sessions.get(_digest(secret).hex())
        if record is None or record.ends_ms <= self._clock.now_ms():
            return None
        csrf = hashlib.sha256(f"csrf {secret}".encode()).hexdigest()
        return Session(record.name, frozenset(record.scopes), record.ends_ms, csrf)

    def secret_in(self, cookie: bytes) -> str | None:
        """Return the secret that a `Cookie` header carries for this server, or None."""
        for piece in cookie.split(b";"):
            if piece.strip().startswith(self._prefix):
                return piece.strip()[len(self._prefix) :].decode("latin-1")
        return None

    def of_cookie(self, cookie: bytes) -> Session | None:
        """Return the session of a `Cookie` header."""
        secret = self.secret_in(cookie)
        return None if secret is None else self.find(secret)

    def _write(self) -> None:
        if self._file is None:
            return
        # A disk that is full must not keep anybody from logging in: the session then ends with this process.
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._file.with_suffix(".new")
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(msgspec.json.encode(self._sessions))
            fresh.replace(self._file)


def _read(file: Path | None) -> dict[str, _Record]:
    """Return what was kept; a file that is gone or damaged only means that people log in again."""
    if file is None:
        return {}
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, _Record])
    except (OSError, msgspec.MsgspecError):
        return {}


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
