"""What a log offers, whatever stores it: append, read, and transactions that hold the write lock from their start."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Literal, Protocol, Self

import msgspec

from kalibre.core.events import Event

Conflict = Literal["revise", "current", "refuse"]
"""Other content under a stored identity: `revise` stores the next revision, `refuse` is a DeterminismError. `revise`
takes content equal to *any* stored revision for a redelivery and stores nothing. `current` is for callers that know
what the source says now: only content equal to the newest revision is a redelivery, so a correction that is taken back
becomes a revision too."""

DURABLE_KINDS = frozenset({"kill", "automation", "promotion", "look", "trial"})
"""What was decided or seen: on the disk before its transaction ends, even against a power cut. All else can be
delivered or computed again, so a power cut (not a `kill -9`) may cost its last moments, never its order."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a projection has read.

    `version` is the code it was read with. `since` is the head when that code began: what it emitted lies behind it.
    `rebuilt` is the position up to which that code only retold what older code had already read (0: nothing).
    """

    seq: int
    version: str = ""
    libraries: str = ""
    since: int = 0
    rebuilt: int = 0


class Reader(Protocol):
    """What can be asked of a log, and inside a transaction."""

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
        """Return events in the order of their positions.

        Parameters
        ----------
        after, upto
            Positions: `after < seq <= upto`.
        kinds, key, writer
            Exact matches; None takes all.
        start_ms, end_ms
            Event times: `start_ms <= event_time < end_ms`.
        as_of
            Only what had been recorded by this wall time (UTC ms, inclusive): the log as it was known then. Wall times
            are read before the commit, and on several machines: for an answer that never changes again, ask for an
            `as_of` that lies some seconds back, or give `upto` too.
        newest_revision
            Only the newest revision of each (kind, key, event time), among those that `upto` and `as_of` admit.
        limit, descending
            At most so many, the last ones first if descending.
        """
        ...

    def latest(
        self, kind: str, *, key: str | None = None, as_of: int | None = None, by: Literal["seq", "event_time"] = "seq"
    ) -> Event | None:
        """Return the event of a kind recorded last (`by="event_time"`: the newest revision of the latest time)."""
        ...

    def head(self) -> int:
        """Return the last position, 0 in an empty log."""
        ...

    def last_position(self, kinds: Collection[str], *, key: str | None = None) -> int:
        """Return the position of the last event of these kinds, 0 if there is none; cheap at any size."""
        ...

    def counts(self, kinds: Collection[str]) -> dict[tuple[str, str], int]:
        """Return how many events there are of each kind and key, every revision counted; cheap at any size."""
        ...

    def progress(self, projection: str) -> Progress | None:
        """Return how far a projection has read, None if it never ran."""
        ...


class Transaction(Reader, Protocol):
    """A unit of work that holds the write lock: what it reads cannot change before it commits."""

    def append(
        self, events: Iterable[Event], *, writer: str, conflict: Conflict = "revise", recorded_at_ms: int | None = None
    ) -> list[Event]:
        """Store events, see `EventLog.append`."""
        ...

    def offset(self, projection: str) -> int:
        """Return the position up to which a projection has read, 0 at first."""
        ...

    def set_offset(self, projection: str, seq: int) -> None:
        """Move a projection's position; its version and the rest of its progress stay."""
        ...

    def set_progress(self, projection: str, progress: Progress) -> None:
        """Replace all that is known of how far a projection has read."""
        ...


class EventLog(Reader, Protocol):
    """An append-only log of typed events.

    Positions are 1, 2, 3, ... without a hole and without reuse, and become visible in that order: a reader that has
    seen position n will never be shown a smaller one later. A log is safe to share between threads. It is not safe to
    carry across a fork: use in another process is refused, open it there.
    """

    url: str

    def append(
        self, events: Iterable[Event], *, writer: str, conflict: Conflict = "revise", recorded_at_ms: int | None = None
    ) -> list[Event]:
        """Store events in one transaction and return them as stored, in the given order.

        Content that is already stored under (kind, key, event time), in whatever revision (with `current`: in the
        newest), is not stored again: the stored event is returned, with its own position, writer and times.

        Parameters
        ----------
        events
            Their `seq` and `recorded_at` are ignored; `provenance` is kept.
        writer
            Who says it: a source, a command, a projection.
        conflict
            `revise`, `current`: other content becomes the next revision, whatever `revision` says. `refuse`: the event
            is known by its own `revision`, and other content there is an error.
        recorded_at_ms
            Wall time to record, UTC ms; None asks the log's clock.

        Raises
        ------
        DeterminismError
            With `refuse`, quoting what is stored and what came.
        LogLockedError, LogUnavailableError, LogCorruptError, LogError
            If the storage is held by another, gone, damaged, full or read-only. Nothing is half-written.
        """
        ...

    def transaction(self, *, durable: bool = False) -> AbstractContextManager[Transaction]:
        """Hold the write lock from the start of the block; commit at its end, roll back if it raises.

        `durable` makes the commit survive a power cut, whatever its events are.
        """
        ...

    def wait(self, after: int, timeout_s: float, should_stop: Callable[[], bool] | None = None) -> int:
        """Return the head as soon as it is beyond `after`, or the head as it is when the time is up."""
        ...

    def sync(self) -> int:
        """Bring everything committed so far onto the disk and return the head that is safe."""
        ...

    def check(self) -> list[str]:
        """Look for damage: storage, positions without holes, contents that can be read. Empty if all is well."""
        ...

    def close(self) -> None:
        """Give back connections; the log cannot be used afterwards."""
        ...

    def __enter__(self) -> Self:
        """Return itself."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        ...
