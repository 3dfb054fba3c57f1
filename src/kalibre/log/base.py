# ruff: noqa: S608  (only names and `?` are put together here; every value travels as a parameter)
"""What both storages share: the schema, the questions that become SQL, and how a batch of events is stored.

Events of one (kind, key) form a *stream*; an event row names its stream by a small number, which keeps rows and the
identity index short. A stream also counts its events and knows its last position, so that "is there a newer kill?" and
"what came last?" cost the same in a log of ten events and of ten million.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal

from kalibre.core.clock import Clock
from kalibre.core.errors import DeterminismError, LogCorruptError, LogError
from kalibre.core.events import Event, decode_payload, encode_payload, payload_types
from kalibre.log.protocol import DURABLE_KINDS, Conflict, Progress

SCHEMA_VERSION = 1
Name = tuple[str, str]
Row = tuple[int, int, int, int, int, str, str, bytes]
"""seq, stream, event_time, revision, recorded_at, writer, provenance, content"""

_COLUMNS = "e.seq, e.stream, e.event_time, e.revision, e.recorded_at, e.writer, e.provenance, e.content"
_LIMIT_MS = 2**62


class Streams:
    """Numbers of the streams that are committed; numbers never change, so every connection may share them."""

    def __init__(self) -> None:
        self.number: dict[Name, int] = {}
        self.name: dict[int, Name] = {}

    def learn(self, streams: Iterable[tuple[int, str, str]]) -> None:
        """Remember streams that are committed."""
        for number, kind, key in streams:
            self.number[kind, key] = number
            self.name[number] = (kind, key)


class _Group:
    """The events of one stream in a batch that is being stored."""

    __slots__ = ("count", "known", "last_seq", "number", "times")

    def __init__(self) -> None:
        self.times: list[int] = []
        self.number = -1
        self.known: dict[int, list[tuple[bytes, Event]]] | None = None
        self.count = 0
        self.last_seq = 0


class Session(ABC):
    """A connection in use: reading, and inside a transaction also storing. SQL is written with `?`."""

    scan_hint = ""
    """Keeps a planner from leaving the order of positions."""
    stream_hint = ""
    """Makes a planner use the identity index."""

    def __init__(self, streams: Streams, clock: Clock) -> None:
        self._streams = streams
        self._clock = clock
        self.created: list[tuple[int, str, str]] = []
        self.durable = False
        """Whether the commit has to wait for the disk."""

    @abstractmethod
    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Run one statement and return its rows."""

    @abstractmethod
    def run(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run one statement that returns nothing."""

    @abstractmethod
    def insert(self, rows: list[Row]) -> None:
        """Store event rows."""

    @abstractmethod
    def stored(self, stream: int, times: list[int]) -> list[Row]:
        """Return the rows of a stream at these event times."""

    # --- reading ------------------------------------------------------------------------------------------------------

    def head(self) -> int:
        """Return the last position."""
        return int(self.rows("SELECT coalesce(max(seq), 0) FROM events")[0][0])

    def last_position(self, kinds: Collection[str], *, key: str | None = None) -> int:
        """Return the position of the last event of these kinds."""
        if not kinds:
            return 0
        where, parameters = _streams_where(kinds, key)
        return int(self.rows(f"SELECT coalesce(max(last_seq), 0) FROM streams WHERE {where}", parameters)[0][0])

    def counts(self, kinds: Collection[str]) -> dict[tuple[str, str], int]:
        """Return how many events there are of each kind and key."""
        if not kinds:
            return {}
        where, parameters = _streams_where(kinds, None)
        found = self.rows(f"SELECT kind, key, events FROM streams WHERE {where} ORDER BY kind, key", parameters)
        return {(kind, key): int(events) for kind, key, events in found}

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
        """Return events in the order of their positions."""
        if kinds is not None and not kinds:
            return []
        where, parameters = ["e.seq > ?"], [after]
        for condition, value in (
            ("e.seq <= ?", upto),
            ("e.event_time >= ?", start_ms),
            ("e.event_time < ?", end_ms),
            ("e.recorded_at <= ?", as_of),
            ("e.writer = ?", writer),
        ):
            if value is not None:
                where.append(condition)
                parameters.append(value)  # type: ignore[arg-type]
        hint = self.scan_hint
        if kinds is not None or key is not None:
            named, values = _streams_where(kinds, key)
            if self._streams_are_rare(named, values, after, limit, bounded=start_ms is not None or end_ms is not None):
                hint = self.stream_hint
            # One statement: a stream that is created between two would be missed although later positions are seen.
            where.append(f"e.stream IN (SELECT id FROM streams WHERE {named})")
            parameters += values
        if newest_revision:
            newer = "n.stream = e.stream AND n.event_time = e.event_time AND n.revision > e.revision"
            for condition, value in (("n.seq <= ?", upto), ("n.recorded_at <= ?", as_of)):
                if value is not None:
                    newer += f" AND {condition}"
                    parameters.append(value)
            where.append(f"NOT EXISTS (SELECT 1 FROM events n WHERE {newer})")
        sql = f"SELECT {_COLUMNS} FROM events e {hint} WHERE {' AND '.join(where)} ORDER BY e.seq"
        sql += " DESC" if descending else ""
        if limit is not None:
            sql += " LIMIT ?"
            parameters.append(limit)
        return self._events(self.rows(sql, parameters))

    def latest(
        self, kind: str, *, key: str | None = None, as_of: int | None = None, by: Literal["seq", "event_time"] = "seq"
    ) -> Event | None:
        """Return the event of a kind recorded last, or of the latest event time."""
        if by == "seq" and as_of is None:
            last = self.last_position((kind,), key=key)
            found = self.read(after=last - 1, upto=last) if last else []
        elif by == "seq":
            found = self.read(kinds=(kind,), key=key, as_of=as_of, descending=True, limit=1)
        else:
            named, parameters = _streams_where((kind,), key)
            sql = f"SELECT {_COLUMNS} FROM events e WHERE e.stream IN (SELECT id FROM streams WHERE {named})"
            if as_of is not None:
                sql += " AND e.recorded_at <= ?"
                parameters.append(as_of)
            sql += " ORDER BY e.event_time DESC, e.revision DESC, e.seq DESC LIMIT 1"
            found = self._events(self.rows(sql, parameters))
        return found[0] if found else None

    def progress(self, projection: str) -> Progress | None:
        """Return how far a projection has read."""
        sql = "SELECT seq, version, libraries, since, rebuilt FROM offsets WHERE projection = ?"
        found = self.rows(sql, (projection,))
        if not found:
            return None
        seq, version, libraries, since, rebuilt = found[0]
        return Progress(seq=seq, version=version, libraries=libraries, since=since, rebuilt=rebuilt)

    def check(self) -> list[str]:
        """Compare positions, counts and contents with what they have to be."""
        found = []
        count, first, last = self.rows("SELECT count(*), coalesce(min(seq), 1), coalesce(max(seq), 0) FROM events")[0]
        if first != 1 or last != count:
            found.append(f"{count} events lie at positions {first} to {last}: positions must be 1 to {count}")
        sql = (
            "SELECT s.kind, s.key, s.events, s.last_seq, count(e.seq), coalesce(max(e.seq), 0) FROM streams s "
            "LEFT JOIN events e ON e.stream = s.id GROUP BY s.id, s.kind, s.key, s.events, s.last_seq"
        )
        named = 0
        for kind, key, events, last_seq, counted, last_found in self.rows(sql):
            named += counted
            if (events, last_seq) != (counted, last_found):
                found.append(
                    f"{kind} {key}: {counted} events up to {last_found}, recorded as {events} up to {last_seq}"
                )
        if named != count:
            found.append(f"{count - named} of {count} events name a stream that is not there")
        position = 0
        while position < last:
            try:
                position = max(self.read(after=position, limit=10_000)[-1].seq, position)
            except LogError as error:
                return [*found, str(error)]
        return found

    def _streams_are_rare(
        self, named: str, parameters: list[Any], after: int, limit: int | None, *, bounded: bool
    ) -> bool:
        """Say whether fetching whole streams and sorting beats walking along the positions."""
        if not self.stream_hint:
            return False
        matching = self.rows(f"SELECT coalesce(sum(events), 0) FROM streams WHERE {named}", parameters)[0][0]
        span = max(self.head() - after, 1)
        if limit is not None:  # walking stops early if what is asked for is common
            span = min(span, limit * span // max(matching, 1) + limit)
        return bool(bounded or 4 * matching < span)

    def _events(self, rows: list[Row]) -> list[Event]:
        names, events = self._streams.name, []
        for seq, stream, event_time, revision, recorded_at, writer, provenance, content in rows:
            name = names.get(stream)
            if name is None:
                # Rows of a transaction still open may name a stream that nobody else knows: never learn it from there.
                found = self.rows("SELECT id, kind, key FROM streams WHERE id = ?", (stream,))
                if not found:
                    raise LogCorruptError(f"event at position {seq} names stream {stream}, which is not there: restore")
                name = (found[0][1], found[0][2])
                if all(stream != created for created, _, _ in self.created):
                    self._streams.learn(found)
            try:
                payload = decode_payload(name[0], content)
            except LogError as error:
                if name[0] not in payload_types():
                    raise
                raise LogCorruptError(f"event at position {seq} ({name[0]} {name[1]}) is damaged: {error}") from error
            events.append(
                Event(
                    kind=name[0],
                    key=name[1],
                    event_time=event_time,
                    payload=payload,
                    revision=revision,
                    seq=seq,
                    writer=writer,
                    provenance=provenance,
                    recorded_at=recorded_at,
                )
            )
        return events

    # --- storing ------------------------------------------------------------------------------------------------------

    def offset(self, projection: str) -> int:
        """Return the position up to which a projection has read."""
        progress = self.progress(projection)
        return progress.seq if progress else 0

    def set_offset(self, projection: str, seq: int) -> None:
        """Move a projection's position."""
        sql = "INSERT INTO offsets (projection, seq) VALUES (?, ?) ON CONFLICT (projection) DO UPDATE SET seq = ?"
        self.run(sql, (projection, seq, seq))

    def set_progress(self, projection: str, progress: Progress) -> None:
        """Replace all that is known of how far a projection has read."""
        self.run("DELETE FROM offsets WHERE projection = ?", (projection,))
        self.run(
            "INSERT INTO offsets (projection, seq, version, libraries, since, rebuilt) VALUES (?, ?, ?, ?, ?, ?)",
            (projection, progress.seq, progress.version, progress.libraries, progress.since, progress.rebuilt),
        )

    def append(
        self, events: Iterable[Event], *, writer: str, conflict: Conflict = "revise", recorded_at_ms: int | None = None
    ) -> list[Event]:
        """Store events; content that is stored already is returned as it is stored."""
        if conflict not in ("revise", "current", "refuse"):
            raise LogError(f"conflict {conflict!r} is unknown: choose revise, current or refuse")
        now = self._clock.now_ms() if recorded_at_ms is None else recorded_at_ms
        incoming = list(events)
        contents, places = [], []
        groups: dict[Name, _Group] = {}
        for event in incoming:
            if event.kind != event.payload.kind or not -_LIMIT_MS < event.event_time < _LIMIT_MS:
                raise LogError(
                    f"{event!r} cannot be stored: kind must be {event.payload.kind!r}, event_time UTC milliseconds"
                )
            contents.append(encode_payload(event.payload))
            group = groups.get((event.kind, event.key))
            if group is None:
                group = groups[event.kind, event.key] = _Group()
            group.times.append(event.event_time)
            places.append(group)
        self._look_up(groups)

        seq = self.head()
        fresh: list[Row] = []
        stored: list[Event] = []
        for event, content, group in zip(incoming, contents, places, strict=True):
            revision = event.revision if conflict == "refuse" else 0
            if group.known is not None and (slot := group.known.get(event.event_time)):
                beside = [max(slot, key=lambda one: one[1].revision)] if conflict == "current" else slot
                same = next((old for old_content, old in beside if old_content == content), None)
                if same is not None:
                    stored.append(same)
                    continue
                revision = _next_revision(event, slot, conflict)
            seq += 1
            kept = Event(
                kind=event.kind,
                key=event.key,
                event_time=event.event_time,
                payload=event.payload,
                revision=revision,
                seq=seq,
                writer=writer,
                provenance=event.provenance,
                recorded_at=now,
            )
            stored.append(kept)
            fresh.append((seq, group.number, event.event_time, revision, now, writer, event.provenance, content))
            group.count += 1
            group.last_seq = seq
            if group.known is not None:
                group.known.setdefault(event.event_time, []).append((content, kept))
        if fresh:
            self.durable |= any(event.kind in DURABLE_KINDS for event in incoming)
            self.insert(fresh)
            for group in groups.values():
                if group.count:
                    sql = "UPDATE streams SET events = events + ?, last_seq = ? WHERE id = ?"
                    self.run(sql, (group.count, group.last_seq, group.number))
        return stored

    def _look_up(self, groups: dict[Name, _Group]) -> None:
        """Find what is stored at the event times of each group, and give new streams a number."""
        missing = []
        for name, group in groups.items():
            number = self._number(name)
            rows = [] if number is None else self.stored(number, group.times)
            group.number = -1 if number is None else number
            if number is None:
                missing.append(name)
            # Nothing stored and no time twice, as with most batches: then nothing has to be looked up for any event.
            if rows or len(set(group.times)) < len(group.times):
                group.known = {}
            for row, event in zip(rows, self._events(rows), strict=True):
                assert group.known is not None
                group.known.setdefault(event.event_time, []).append((row[-1], event))
        if missing:
            self._create(missing, groups)

    def _number(self, name: Name) -> int | None:
        number = self._streams.number.get(name)
        if number is None:
            if not name[1].isprintable() or not name[1]:
                raise LogError(f"key {name[1]!r} of a {name[0]} cannot be stored: use printable characters")
            found = self.rows("SELECT id FROM streams WHERE kind = ? AND key = ?", name)
            number = found[0][0] if found else None
        return number

    def _create(self, missing: list[Name], groups: dict[Name, _Group]) -> None:
        """Give new streams a number; others learn of it when the transaction has committed."""
        last = int(self.rows("SELECT coalesce(max(id), 0) FROM streams")[0][0])
        for number, name in enumerate(missing, start=last + 1):
            sql = "INSERT INTO streams (id, kind, key, events, last_seq) VALUES (?, ?, ?, 0, 0)"
            self.run(sql, (number, *name))
            groups[name].number = number
            self.created.append((number, *name))


def _streams_where(kinds: Collection[str] | None, key: str | None) -> tuple[str, list[Any]]:
    conditions, parameters = [], []
    if kinds is not None:
        chosen = sorted(kinds)
        conditions.append(f"kind IN ({', '.join('?' * len(chosen))})")
        parameters += chosen
    if key is not None:
        conditions.append("key = ?")
        parameters.append(key)
    return " AND ".join(conditions), parameters


def _next_revision(event: Event, slot: list[tuple[bytes, Event]], conflict: Conflict) -> int:
    """Number the revision that an event becomes beside what is stored, or refuse it."""
    if conflict != "refuse":
        return max(old.revision for _, old in slot) + 1
    for _, old in slot:
        if old.revision == event.revision:
            raise DeterminismError(
                f"{event.identity} is stored at position {old.seq} by {old.writer!r} as {old.payload!r}, and now came "
                f"as {event.payload!r}: a projection must say the same again; if its code changed, change its version"
            )
    return event.revision
