"""The event log: one truth, kept in SQLite or PostgreSQL, and the runner that lets projections read it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from kalibre.core.clock import Clock, SystemClock
from kalibre.core.errors import SettingsError

if TYPE_CHECKING:
    from kalibre.log.protocol import EventLog

__all__ = ["open_log"]

_SQLITE = "sqlite:///"
_POSTGRES = ("postgresql://", "postgres://")


def open_log(url: str, *, clock: Clock | None = None, patience_s: float = 10.0) -> EventLog:
    """Open the event log at an address; an empty SQLite file or PostgreSQL database becomes a log.

    Parameters
    ----------
    url
        `sqlite:///relative/path`, `sqlite:////absolute/path` (optionally `?synchronous=FULL`: every commit waits for
        the disk), or `postgresql://user@host:port/database`.
    clock
        Tells the wall time at which events are recorded; the machine's by default.
    patience_s
        Seconds to wait for a lock that another process holds, or for a server that is restarting.

    Raises
    ------
    SettingsError
        If the address is of no known kind; the message quotes it.
    LogError
        If the log cannot be opened: `LogLockedError`, `LogCorruptError`, `LogUnavailableError` say why.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder, open_log(f"sqlite:///{folder}/log.sqlite") as log:
    ...     log.head()
    0
    """
    chosen = clock or SystemClock()
    if url.startswith(_SQLITE):
        from kalibre.log.sqlite import SqliteLog

        path, _, query = url.removeprefix(_SQLITE).partition("?")
        options = dict(parse_qsl(query, keep_blank_values=True))
        synchronous = options.pop("synchronous", "NORMAL").upper()
        if not path or options or synchronous not in ("NORMAL", "FULL"):
            raise SettingsError(
                f"log address {url!r} cannot be used: write sqlite:///path, optionally with ?synchronous=FULL or NORMAL"
            )
        return SqliteLog(Path(path), url=url, clock=chosen, patience_s=patience_s, synchronous=synchronous)
    if url.startswith(_POSTGRES):
        from kalibre.log.postgres import PostgresLog

        return PostgresLog(url, clock=chosen, patience_s=patience_s)
    raise SettingsError(f"log address {url!r} is of no known kind: write sqlite:///path or postgresql://user@host/name")
