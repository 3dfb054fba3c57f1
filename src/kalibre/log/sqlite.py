# ruff: noqa: S608  (only constants are put together here; every value travels as a parameter)
"""The log in one SQLite file: the default, with no server to run.

Write-ahead logging lets readers go on while one writer commits. `synchronous=NORMAL` is chosen on purpose: a commit
reaches the operating system, so `kill -9` loses nothing; a power cut may cost the last moments, but leaves no hole,
because SQLite recovers to a prefix of the commits. What was lost is delivered or computed again. Where that is not so
(`DURABLE_KINDS`: a kill, a promotion), and before a snapshot is published, the commit waits for the disk.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kalibre.core.clock import Clock
from kalibre.core.errors import LogCorruptError, LogError, LogLockedError
from kalibre.log.base import SCHEMA_VERSION, Row, Session, Streams
from kalibre.log.pool import PooledLog

_APPLICATION_ID = 0x4B414C42  # "KALB" in the file's header: tells a log from any other SQLite file
_FRESH_CHECK = 2  # from so many events on, one look at the whole span of times beats a look at each

_SCHEMA = f"""
CREATE TABLE streams (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL, events INTEGER NOT NULL, last_seq INTEGER NOT NULL,
    UNIQUE (kind, key)
);
CREATE TABLE events (
    seq INTEGER PRIMARY KEY, stream INTEGER NOT NULL, event_time INTEGER NOT NULL, revision INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL, writer TEXT NOT NULL, provenance TEXT NOT NULL, content BLOB NOT NULL
);
CREATE UNIQUE INDEX events_identity ON events (stream, event_time, revision);
CREATE TABLE offsets (
    projection TEXT PRIMARY KEY, seq INTEGER NOT NULL, version TEXT NOT NULL DEFAULT '',
    libraries TEXT NOT NULL DEFAULT '', since INTEGER NOT NULL DEFAULT 0, rebuilt INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TRIGGER events_are_not_changed BEFORE UPDATE ON events BEGIN SELECT raise(ABORT, 'the log is append-only'); END;
CREATE TRIGGER events_are_not_deleted BEFORE DELETE ON events BEGIN SELECT raise(ABORT, 'the log is append-only'); END;
CREATE VIEW readable AS SELECT e.seq, s.kind, s.key, e.event_time, e.revision, e.recorded_at, e.writer, e.provenance,
    CAST(e.content AS TEXT) AS content FROM events e JOIN streams s ON s.id = e.stream;
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""


class SqliteSession(Session):
    """A SQLite connection in use."""

    scan_hint = "NOT INDEXED"
    stream_hint = "INDEXED BY events_identity"

    def __init__(self, connection: sqlite3.Connection, streams: Streams, clock: Clock) -> None:
        super().__init__(streams, clock)
        self._connection = connection

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Run one statement and return its rows."""
        return self._connection.execute(sql, parameters).fetchall()

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run one statement that returns nothing."""
        self._connection.execute(sql, parameters)

    def insert(self, rows: list[Row]) -> None:
        """Store event rows."""
        sql = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        if len(rows) == 1:
            self._connection.execute(sql, rows[0])
        else:
            self._connection.executemany(sql, rows)

    def stored(self, stream: int, times: list[int]) -> list[Row]:
        """Return the rows of a stream at these event times."""
        sql = (
            "SELECT seq, stream, event_time, revision, recorded_at, writer, provenance, content "
            "FROM events INDEXED BY events_identity WHERE stream = ? AND event_time "
        )
        if len(times) < _FRESH_CHECK:
            return self.rows(sql + "= ?", (stream, times[0]))
        if not self.rows(sql + "BETWEEN ? AND ? LIMIT 1", (stream, min(times), max(times))):
            return []
        return self.rows(sql + "IN (SELECT value FROM json_each(?))", (stream, json.dumps(times)))


class SqliteLog(PooledLog):
    """An event log in a SQLite file, see `EventLog`."""

    def __init__(self, path: Path, *, url: str, clock: Clock, patience_s: float, synchronous: str = "NORMAL") -> None:
        super().__init__(url, clock, patience_s)
        self.path = path
        self._synchronous = synchronous
        self._durable = False
        self._ask(lambda session: session.head())  # a wrong path or file is better known now than later

    @property
    def _storage_errors(self) -> tuple[type[Exception], ...]:
        return (sqlite3.Error, UnicodeEncodeError)

    def _connect(self) -> sqlite3.Connection:
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                return self._open()
            except sqlite3.Error as error:
                translated = self._translate(error)
                # Turning to write-ahead logging does not wait for another process that does the same: ask again.
                if not isinstance(translated, LogLockedError) or time.monotonic() > deadline:
                    raise translated from error
                time.sleep(0.005)

    def _open(self) -> sqlite3.Connection:
        # Threads share connections through the pool, one at a time; SQLite itself is built to allow that.
        connection = sqlite3.connect(self.path, timeout=self._patience_s, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute("PRAGMA cache_size = -16384")
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Make the schema in a new file; refuse a file that is something else."""
        if self._is_new(connection):
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")  # two processes may find the file new at the same time
            if self._is_new(connection):
                for statement in _split(_SCHEMA):
                    connection.execute(statement)
            connection.execute("COMMIT")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version != SCHEMA_VERSION:
            raise LogError(
                f"log {str(self.path)!r} has schema {version}, this Kalibre reads {SCHEMA_VERSION}: use the Kalibre "
                "that wrote it, or start a new log"
            )

    def _is_new(self, connection: sqlite3.Connection) -> bool:
        """Say whether the file is empty; refuse another program's before anything in it has changed."""
        # In this order: who sees tables that another process has just made sees its mark too.
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master LIMIT 3")]
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        if application == _APPLICATION_ID:
            return False
        if tables or application:
            raise LogError(f"{str(self.path)!r} is a SQLite file of another program (tables {tables}): name another")
        return True

    def _disconnect(self, connection: sqlite3.Connection) -> None:
        with contextlib.suppress(sqlite3.Error):
            connection.close()

    def _make_session(self, connection: sqlite3.Connection) -> SqliteSession:
        return SqliteSession(connection, self._streams, self._clock)

    def _begin(self, connection: sqlite3.Connection, *, durable: bool) -> None:
        if durable:
            connection.execute("PRAGMA synchronous = FULL")
        self._durable = durable
        connection.execute("BEGIN IMMEDIATE")

    def _commit(self, connection: sqlite3.Connection, session: Session) -> None:
        connection.execute("COMMIT")
        if self._durable:
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        elif session.durable:
            self._sync_file()

    def _sync_file(self) -> None:
        """Bring what is committed onto the disk: the write-ahead log, and its name in the folder.

        Not by a commit with `synchronous=FULL`: SQLite finds that an update to the same value writes no page, and then
        syncs nothing. Whatever a checkpoint has moved out of the write-ahead log by now was synced by the checkpoint.
        """
        try:
            for path in (f"{self.path}-wal", self.path.parent):
                with contextlib.suppress(FileNotFoundError):  # no such log: all is in the file itself
                    descriptor = os.open(path, os.O_RDONLY)
                    try:
                        os.fsync(descriptor)
                    finally:
                        os.close(descriptor)
        except OSError as error:
            raise LogError(
                f"log {str(self.path)!r} cannot be brought onto the disk ({error}): what was decided is stored, but a "
                "power cut may lose it; see to the disk"
            ) from error

    def _rollback(self, connection: sqlite3.Connection) -> bool:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        except sqlite3.Error:
            return False
        return True

    def sync(self) -> int:
        """Bring everything committed so far onto the disk and return the head that is safe."""
        head = self.head()
        self._sync_file()
        return head

    def check(self) -> list[str]:
        """Look for damage: pages, positions without holes, counts, contents that can be read."""
        try:
            pages = self._ask(lambda session: session.rows("PRAGMA quick_check(20)"))
            found = [f"SQLite: {line}" for (line,) in pages if line != "ok"]
            return found or self._ask(lambda session: session.check())
        except LogCorruptError as error:  # so damaged that even the check cannot go on
            return [str(error)]

    def _translate(self, error: Exception) -> LogError:
        where, kind, words = f"log {str(self.path)!r}", LogError, f"{error}"
        match getattr(error, "sqlite_errorcode", 0) & 0xFF:
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED | sqlite3.SQLITE_PROTOCOL:
                kind = LogLockedError
                words = (
                    f"is held by another process for more than {self._patience_s} s: stop the other writer or wait "
                    "for it to finish"
                )
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                kind = LogCorruptError
                words = f"is damaged ({error}): put it aside together with its -wal and -shm, and restore a copy"
            case sqlite3.SQLITE_FULL:
                words = "cannot grow: the disk is full. Nothing was half-written; free some space and go on"
            case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
                words = f"cannot be written ({error}): give a file in a folder that exists and is writable"
            case sqlite3.SQLITE_IOERR:
                words = f"met a failing disk ({error}); nothing was half-written"
        return kind(f"{where} {words}")


def _split(script: str) -> list[str]:
    """Split a script into statements; `executescript` would commit the transaction around it."""
    statements, current = [], ""
    for line in script.strip().splitlines():
        current += line + "\n"
        if sqlite3.complete_statement(current):
            statements.append(current)
            current = ""
    return statements
