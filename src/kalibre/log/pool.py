"""A log that speaks SQL: connections shared by threads, refused after a fork, transactions that hold the write lock."""

from __future__ import annotations

import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from kalibre.core.clock import Clock
from kalibre.core.errors import LogError, LogLockedError, LogUnavailableError
from kalibre.core.events import Event
from kalibre.log.base import Session, Streams
from kalibre.log.protocol import DURABLE_KINDS, Conflict, Progress

T = TypeVar("T")


class PooledLog(ABC):
    """What SQLite and PostgreSQL logs share; see `EventLog` for what it promises."""

    def __init__(self, url: str, clock: Clock, patience_s: float) -> None:
        self.url = url
        self._clock = clock
        self._patience_s = patience_s
        self._streams = Streams()
        self._free: list[Any] = []
        self._guard = threading.Lock()
        self._writing = threading.Lock()
        self._writer_thread: int | None = None
        self._pid = os.getpid()
        self._closed = False

    # --- what a storage has to say ------------------------------------------------------------------------------------

    @abstractmethod
    def _connect(self) -> Any:
        """Open a connection."""

    @abstractmethod
    def _disconnect(self, connection: Any) -> None:
        """Close a connection; never raises."""

    @abstractmethod
    def _make_session(self, connection: Any) -> Session:
        """Wrap a connection."""

    @abstractmethod
    def _begin(self, connection: Any, *, durable: bool) -> None:
        """Start a transaction and take the write lock."""

    @abstractmethod
    def _commit(self, connection: Any, session: Session) -> None:
        """Commit."""

    @abstractmethod
    def _rollback(self, connection: Any) -> bool:
        """Roll back; False if the connection is of no further use. Never raises."""

    @abstractmethod
    def _translate(self, error: Exception) -> LogError:
        """Say a storage's error in the words of the house."""

    @property
    @abstractmethod
    def _storage_errors(self) -> tuple[type[Exception], ...]:
        """The exceptions that the storage raises."""

    # --- connections --------------------------------------------------------------------------------------------------

    def _checked(self) -> None:
        if os.getpid() != self._pid:
            raise LogError(
                f"log {self.url!r} was opened in process {self._pid} and is used in {os.getpid()}: "
                "connections do not survive a fork, call open_log after it"
            )
        if self._closed:
            raise LogError(f"log {self.url!r} is closed: open it again")

    def _borrow(self) -> Any:
        self._checked()
        with self._guard:
            if self._free:
                return self._free.pop()
        return self._connect()

    def _give_back(self, connection: Any) -> None:
        with self._guard:
            if not self._closed and os.getpid() == self._pid:
                self._free.append(connection)
                return
        self._disconnect(connection)

    def _drop_free(self) -> None:
        with self._guard:
            free, self._free = self._free, []
        for connection in free:
            self._disconnect(connection)

    def _ask(self, question: Callable[[Session], T]) -> T:
        """Put a question to a connection; once more to a fresh one if the server had gone in the meantime."""
        for attempt in (1, 2):
            connection = self._borrow()
            try:
                answer = question(self._make_session(connection))
            except self._storage_errors as error:
                self._disconnect(connection)
                translated = self._translate(error)
                if attempt == 1 and isinstance(translated, LogUnavailableError):
                    self._drop_free()
                    continue
                raise translated from error
            except BaseException:
                self._disconnect(connection)
                raise
            self._give_back(connection)
            return answer
        raise AssertionError  # the second attempt returns or raises

    def close(self) -> None:
        """Give back connections; the log cannot be used afterwards."""
        if os.getpid() == self._pid:
            self._closed = True
            self._drop_free()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    # --- transactions -------------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[Session]:
        """Hold the write lock from the start of the block; commit at its end, roll back if it raises."""
        self._checked()
        if self._writer_thread == threading.get_ident():
            raise LogError(f"log {self.url!r}: a transaction inside a transaction would wait for itself; use the outer")
        if not self._writing.acquire(timeout=self._patience_s):
            raise LogLockedError(f"log {self.url!r} is held by another thread for more than {self._patience_s} s")
        self._writer_thread = threading.get_ident()
        try:
            connection = self._begin_somewhere(durable=durable)
            session = self._make_session(connection)
            usable = False
            try:
                yield session
                self._commit(connection, session)
                self._streams.learn(session.created)
                usable = True
            except self._storage_errors as error:
                usable = self._rollback(connection)
                raise self._translate(error) from error
            except OverflowError as error:
                usable = self._rollback(connection)
                raise LogError(f"a number does not fit into 64 bits: {error}") from error
            except BaseException:
                usable = self._rollback(connection)
                raise
            finally:
                if usable:
                    self._give_back(connection)
                else:
                    self._disconnect(connection)
        finally:
            self._writer_thread = None
            self._writing.release()

    def _begin_somewhere(self, *, durable: bool) -> Any:
        """Begin on a pooled connection, or on a fresh one if the server had gone in the meantime."""
        for attempt in (1, 2):
            connection = self._borrow()
            try:
                self._begin(connection, durable=durable)
            except self._storage_errors as error:
                self._disconnect(connection)
                translated = self._translate(error)
                if attempt == 1 and isinstance(translated, LogUnavailableError):
                    self._drop_free()
                    continue
                raise translated from error
            except BaseException:
                self._disconnect(connection)
                raise
            return connection
        raise AssertionError  # the second attempt returns or raises

    # --- what can be asked --------------------------------------------------------------------------------------------

    def append(
        self, events: Iterable[Event], *, writer: str, conflict: Conflict = "revise", recorded_at_ms: int | None = None
    ) -> list[Event]:
        """Store events in one transaction and return them as stored."""
        incoming = list(events)
        if not incoming:
            return []
        with self.transaction(durable=any(event.kind in DURABLE_KINDS for event in incoming)) as transaction:
            return transaction.append(incoming, writer=writer, conflict=conflict, recorded_at_ms=recorded_at_ms)

    def read(
        self,
        *,
        after: int = 0,
        upto: int | None = None,
        kinds: Collection[str] | None = None,
        key: str | None = None,
        start_ms: int | None = None,
        end_ms: int | None = None,
        as_of: int | None = None,
        newest_revision: bool = False,
        writer: str | None = None,
        limit: int | None = None,
        descending: bool = False,
    ) -> list[Event]:
        """Return events in the order of their positions, see `Reader.read`."""
        return self._ask(
            lambda session: session.read(
                after=after,
                upto=upto,
                kinds=kinds,
                key=key,
                start_ms=start_ms,
                end_ms=end_ms,
                as_of=as_of,
                newest_revision=newest_revision,
                writer=writer,
                limit=limit,
                descending=descending,
            )
        )

    def latest(
        self, kind: str, *, key: str | None = None, as_of: int | None = None, by: Literal["seq", "event_time"] = "seq"
    ) -> Event | None:
        """Return the event of a kind recorded last, or of the latest event time."""
        return self._ask(lambda session: session.latest(kind, key=key, as_of=as_of, by=by))

    def head(self) -> int:
        """Return the last position."""
        return self._ask(lambda session: session.head())

    def last_position(self, kinds: Collection[str], *, key: str | None = None) -> int:
        """Return the position of the last event of these kinds."""
        return self._ask(lambda session: session.last_position(kinds, key=key))

    def counts(self, kinds: Collection[str]) -> dict[tuple[str, str], int]:
        """Return how many events there are of each kind and key."""
        return self._ask(lambda session: session.counts(kinds))

    def progress(self, projection: str) -> Progress | None:
        """Return how far a projection has read."""
        return self._ask(lambda session: session.progress(projection))

    def wait(self, after: int, timeout_s: float, should_stop: Callable[[], bool] | None = None) -> int:
        """Return the head as soon as it is beyond `after`, or as it is when the time is up."""
        deadline = time.monotonic() + timeout_s
        while True:
            head = self.head()
            left = deadline - time.monotonic()
            if head > after or left <= 0 or (should_stop is not None and should_stop()):
                return head
            self._pause(min(left, 0.02))

    def _pause(self, seconds: float) -> None:
        """Wait a moment for somebody to commit."""
        time.sleep(seconds)
