# ruff: noqa: S608  (only constants are put together here; every value travels as a parameter)
"""The log in PostgreSQL: for several machines, or beside an existing database.

Positions are assigned under an advisory lock that is held to the commit. A sequence would not do: of two transactions
the one with the later number may commit first, a reader that follows sees it and moves on, and the earlier number,
appearing behind it, is never read.

A server that was killed is met by one fresh connection where nothing can be lost by asking again (a question, the start
of a transaction). Inside a transaction, and at its commit, `LogUnavailableError` says that the outcome is open: the
runner then recovers, and a source delivers again.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg import errors as pg

from kalibre.core.clock import Clock
from kalibre.core.errors import LogCorruptError, LogError, LogLockedError, LogUnavailableError
from kalibre.log.base import SCHEMA_VERSION, Row, Session, Streams
from kalibre.log.pool import PooledLog

_LOCK = 0x4B414C42  # "KALB": one log in a database, one lock
_CHANNEL = "kalibre_log"
_COPY_FROM = 32  # from so many rows on, COPY beats single INSERTs
_TYPES = ("int8", "int4", "int8", "int4", "int8", "text", "text", "bytea")

_SCHEMA = (
    """CREATE TABLE streams (
        id int4 PRIMARY KEY, kind text NOT NULL, key text NOT NULL, events int8 NOT NULL, last_seq int8 NOT NULL,
        UNIQUE (kind, key))""",
    """CREATE TABLE events (
        seq int8 PRIMARY KEY, stream int4 NOT NULL, event_time int8 NOT NULL, revision int4 NOT NULL,
        recorded_at int8 NOT NULL, writer text NOT NULL, provenance text NOT NULL, content bytea NOT NULL)""",
    "CREATE UNIQUE INDEX events_identity ON events (stream, event_time, revision)",
    """CREATE TABLE offsets (
        projection text PRIMARY KEY, seq int8 NOT NULL, version text NOT NULL DEFAULT '',
        libraries text NOT NULL DEFAULT '', since int8 NOT NULL DEFAULT 0, rebuilt int8 NOT NULL DEFAULT 0)""",
    """CREATE FUNCTION kalibre_append_only() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'the log is append-only'; END $$""",
    """CREATE TRIGGER events_are_not_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON events
        FOR EACH STATEMENT EXECUTE FUNCTION kalibre_append_only()""",
    """CREATE VIEW readable AS SELECT e.seq, s.kind, s.key, e.event_time, e.revision, e.recorded_at, e.writer,
        e.provenance, convert_from(e.content, 'UTF8') AS content FROM events e JOIN streams s ON s.id = e.stream""",
    "CREATE TABLE kalibre_schema (version int4 NOT NULL)",
    f"INSERT INTO kalibre_schema VALUES ({SCHEMA_VERSION})",
)

# Asked of the catalogue's rows: `to_regclass` answers from a cache that waiting for an advisory lock does not refresh.
_IS_THERE = "SELECT 1 FROM pg_class WHERE relname = 'kalibre_schema' AND relnamespace = current_schema()::regnamespace"


class PostgresSession(Session):
    """A PostgreSQL connection in use."""

    def __init__(self, connection: psycopg.Connection[Any], streams: Streams, clock: Clock) -> None:
        super().__init__(streams, clock)
        self._cursor = connection.cursor(binary=True)
        self.inserted = False

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Run one statement and return its rows."""
        self._cursor.execute(sql.replace("?", "%s"), parameters)
        return self._cursor.fetchall()

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run one statement that returns nothing."""
        self._cursor.execute(sql.replace("?", "%s"), parameters)

    def insert(self, rows: list[Row]) -> None:
        """Store event rows."""
        self.inserted = True
        if len(rows) < _COPY_FROM:
            self._cursor.executemany("INSERT INTO events VALUES (%s, %s, %s, %s, %s, %s, %s, %s)", rows)
            return
        with self._cursor.copy("COPY events FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(_TYPES)
            for row in rows:
                copy.write_row(row)

    def stored(self, stream: int, times: list[int]) -> list[Row]:
        """Return the rows of a stream at these event times."""
        sql = (
            "SELECT seq, stream, event_time, revision, recorded_at, writer, provenance, content "
            "FROM events WHERE stream = ? AND event_time "
        )
        if len(times) == 1:
            return self.rows(sql + "= ?", (stream, times[0]))
        if not self.rows(sql + "BETWEEN ? AND ? LIMIT 1", (stream, min(times), max(times))):
            return []
        return self.rows(sql + "= ANY (?)", (stream, times))


class PostgresLog(PooledLog):
    """An event log in a PostgreSQL database, see `EventLog`."""

    def __init__(self, url: str, *, clock: Clock, patience_s: float) -> None:
        super().__init__(url, clock, patience_s)
        self._listener: psycopg.Connection[Any] | None = None
        self._listening = threading.Lock()
        self._ask(lambda session: session.head())

    @property
    def _storage_errors(self) -> tuple[type[Exception], ...]:
        return (psycopg.Error, UnicodeEncodeError)

    # --- connections --------------------------------------------------------------------------------------------------

    def _connect(self) -> psycopg.Connection[Any]:
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                return self._prepare(psycopg.connect(self.url, autocommit=True, connect_timeout=10))
            except psycopg.OperationalError as error:
                # A server that restarts is waited for; a wrong password or database name will not mend itself.
                mends = error.sqlstate is None or isinstance(error, pg.CannotConnectNow)
                if not mends or "does not exist" in str(error) or time.monotonic() > deadline:
                    raise self._translate(error) from error
                time.sleep(0.05)
            except psycopg.Error as error:
                raise self._translate(error) from error

    def _prepare(self, connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
        """Set up a connection, and the schema if the database has none."""
        try:
            milliseconds = max(1, int(self._patience_s * 1000))
            connection.execute(f"SET lock_timeout = {milliseconds}")
            if connection.execute("SHOW synchronous_commit").fetchone() == ("off",):
                # A commit that the server could take back would let a projection be ahead of its log.
                connection.execute("SET synchronous_commit = on")
            connection.execute("SET client_min_messages = warning")
            connection.execute("SET client_encoding = 'UTF8'")
            # The planner must not trust statistics of a table that has just grown from nothing.
            connection.execute("SET plan_cache_mode = force_custom_plan")
            if connection.execute(_IS_THERE).fetchone() is None:
                with connection.transaction():
                    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
                    if connection.execute(_IS_THERE).fetchone() is None:  # another may have made it meanwhile
                        for statement in _SCHEMA:
                            connection.execute(statement)
            version = connection.execute("SELECT version FROM kalibre_schema").fetchone()
            if version != (SCHEMA_VERSION,):
                raise LogError(
                    f"{self._where} has schema {version and version[0]}, this Kalibre reads {SCHEMA_VERSION}: use the "
                    "Kalibre that wrote it, or start a new database"
                )
        except BaseException:
            connection.close()
            raise
        return connection

    def _disconnect(self, connection: psycopg.Connection[Any]) -> None:
        with contextlib.suppress(psycopg.Error):
            connection.close()

    def _make_session(self, connection: psycopg.Connection[Any]) -> PostgresSession:
        return PostgresSession(connection, self._streams, self._clock)

    def close(self) -> None:
        """Give back connections; the log cannot be used afterwards."""
        if os.getpid() != self._pid:  # the parent's connections, this one too, are not a child's to end
            return
        listener, self._listener = self._listener, None
        super().close()
        if listener is not None:
            self._disconnect(listener)

    # --- transactions -------------------------------------------------------------------------------------------------

    def _begin(self, connection: psycopg.Connection[Any], *, durable: bool) -> None:
        # Every commit is durable here. Whatever the database's default is: a writer that waited for the lock must see
        # the head as the one before left it.
        connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
        self._lock(connection)

    def _lock(self, connection: psycopg.Connection[Any]) -> None:
        """Take the lock under which positions are assigned; PostgreSQL frees it when the commit is visible."""
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))

    def _commit(self, connection: psycopg.Connection[Any], session: Session) -> None:
        if isinstance(session, PostgresSession) and session.inserted:
            connection.execute(f"NOTIFY {_CHANNEL}")
        if connection.info.transaction_status == psycopg.pq.TransactionStatus.INERROR:
            # COMMIT would roll back and not say so.
            raise LogError(
                f"{self._where}: a statement of this transaction failed and was passed over: nothing is kept"
            )
        connection.execute("COMMIT")

    def _rollback(self, connection: psycopg.Connection[Any]) -> bool:
        try:
            connection.execute("ROLLBACK")
        except psycopg.Error:
            return False
        return True

    def sync(self) -> int:
        """Return the head: a commit of PostgreSQL has waited for the disk."""
        return self.head()

    def check(self) -> list[str]:
        """Look for damage: positions without holes, counts, contents that can be read."""
        return self._ask(lambda session: session.check())

    def wait(self, after: int, timeout_s: float, should_stop: Callable[[], bool] | None = None) -> int:
        """Return the head as soon as it is beyond `after`, or as it is when the time is up."""
        deadline = time.monotonic() + timeout_s
        while True:
            # One thread listens for all; the others look themselves, ten times a second.
            listening = self._listening.acquire(blocking=False)
            try:
                listener = self._listen() if listening else None
                head = self.head()  # asked after LISTEN took effect: what commits from now on is announced
                left = min(deadline - time.monotonic(), 0.1)
                if head > after or left <= 0 or (should_stop is not None and should_stop()):
                    return head
                if listener is None:
                    time.sleep(left)
                else:
                    self._hear(listener, left)
            finally:
                if listening:
                    self._listening.release()

    def _hear(self, listener: psycopg.Connection[Any], timeout_s: float) -> None:
        """Wait until somebody commits, or until the time is up."""
        try:
            for _ in listener.notifies(timeout=timeout_s, stop_after=1):
                pass
        except psycopg.Error as error:
            self._listener = None
            self._disconnect(listener)
            raise self._translate(error) from error

    def _listen(self) -> psycopg.Connection[Any]:
        self._checked()
        if self._listener is None or self._listener.closed:
            listener = None
            try:
                listener = self._connect()
                listener.execute(f"LISTEN {_CHANNEL}")
            except psycopg.Error as error:
                if listener is not None:
                    self._disconnect(listener)
                raise self._translate(error) from error
            self._listener = listener
        return self._listener

    # --- errors -------------------------------------------------------------------------------------------------------

    @property
    def _where(self) -> str:
        """The address without its password."""
        try:
            told = psycopg.conninfo.conninfo_to_dict(self.url)
        except psycopg.Error:
            return "log at an address that cannot be read"
        return f"log in database {told.get('dbname')!r} at {told.get('host', 'the local socket')}"

    def _translate(self, error: Exception) -> LogError:
        kind, words = LogError, f"refused: {error}"
        match error:
            case UnicodeEncodeError() | pg.UntranslatableCharacter() | pg.CharacterNotInRepertoire():
                words = f"cannot store text that is not valid Unicode: {error}"
            case pg.LockNotAvailable():
                kind = LogLockedError
                words = f"is held by another writer for more than {self._patience_s} s: stop it or wait for it"
            case pg.DataCorrupted() | pg.IndexCorrupted():
                kind, words = LogCorruptError, f"is damaged ({error}): restore a copy"
            case pg.DiskFull():
                words = "cannot grow: the server's disk is full. Nothing was half-written; free some space and go on"
            case pg.InsufficientPrivilege() | pg.ReadOnlySqlTransaction():
                words = f"cannot be written ({error}): grant the rights, or write to the primary server"
            case pg.InvalidCatalogName() | pg.InvalidPassword() | pg.InvalidAuthorizationSpecification():
                words = f"cannot be opened ({error}): create the database or mend the address"
            case psycopg.OperationalError() | psycopg.InterfaceError() if "does not exist" in str(error):
                words = f"cannot be opened ({error}): create the database or mend the address"
            case psycopg.OperationalError() | psycopg.InterfaceError():
                kind, words = LogUnavailableError, f"cannot be reached ({error}): see whether its server runs"
        return kind(f"{self._where} {words}")
