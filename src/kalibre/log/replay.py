"""Feeding a projection: what it is shown of an event, where commands are pulled forward, and telling it all again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec
import numpy as np

from kalibre.core.errors import LogError
from kalibre.core.events import CommandApplied, Event, ModelUnable, encode_payload
from kalibre.core.protocols import Projection, State
from kalibre.log.protocol import Reader

Identity = tuple[str, str, int, int]

RESTORE_MODEL = "No snapshot spares it that: restore the folder of that very model from a copy"
"""How a difference ends that a missing model explains."""

_CHUNK = 1_000
_ELSEWHERE = 1e-12  # what another machine or library may differ by (design.md, rule 3)


def copy_state(state: State) -> dict[str, Any]:
    """Copy a state whose arrays may be live."""
    return {name: np.array(value) if isinstance(value, np.ndarray) else value for name, value in state.items()}


def anchor(log: Reader, position: int) -> str:
    """Digest the event at a position, wall time included: another history does not have the same."""
    found = log.read(after=position - 1, upto=position)
    if not found:
        return ""
    event = found[0]
    about = f"{event.identity}{event.seq}{event.writer}{event.provenance}{event.recorded_at}".encode()
    return hashlib.sha256(about + encode_payload(event.payload)).hexdigest()


def state_digest(state: State) -> str:
    """Return the sha256 of a state: equal only if every name, type, shape and bit is.

    Examples
    --------
    >>> state_digest({"a": 1.0}) == state_digest({"a": 1})
    False
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name]
        if isinstance(value, np.ndarray | np.generic):
            value = np.asarray(value)
            head, body = f"{value.dtype.str}{value.shape}", np.ascontiguousarray(value).tobytes()
        else:
            head, body = type(value).__name__, (value.hex() if isinstance(value, float) else repr(value)).encode()
        digest.update(f"{len(name)}:{name}:{head}:{len(body)}:".encode() + body)
    return digest.hexdigest()


class Feeder:
    """Shows events to a projection without what is only about the record, commands first where the log says so.

    Position, wall time, writer and provenance differ between runs over the same inputs, so a projection never sees
    them. A command that was applied ahead of its position (`command_applied`) is applied there again, and skipped
    where it stands.
    """

    def __init__(self, projection: Projection, log: Reader) -> None:
        self._projection = projection
        self._before: dict[Identity, list[Event]] = {}
        self.applied: set[Identity] = set()
        self.commands = 0
        for record in log.read(kinds=("command_applied",), key=projection.name):
            applied = record.payload
            assert isinstance(applied, CommandApplied)
            self.commands += 1
            # A version that no longer reads `before` meets the command where it stands.
            if applied.before[0] in projection.reads:
                self.inject([_find(log, applied.command)], applied.before)

    def inject(self, commands: list[Event], before: Identity) -> None:
        """Apply commands just before an event, from now on."""
        self._before.setdefault(before, []).extend(commands)
        self.applied.update(command.identity for command in commands)

    def feed(self, event: Event) -> Iterator[Event]:
        """Take one event in and yield what follows, checked to be what a projection may say."""
        for command in self._before.get(event.identity, ()):
            yield from self._apply(command)
        if event.identity not in self.applied:
            yield from self._apply(event)

    def _apply(self, event: Event) -> Iterator[Event]:
        shown = Event(
            kind=event.kind, key=event.key, event_time=event.event_time, payload=event.payload, revision=event.revision
        )
        for emitted in self._projection.apply(shown):
            if emitted.kind in self._projection.reads or emitted.kind == "command_applied":
                raise LogError(
                    f"projection {self._projection.name!r} emits {emitted.kind!r}, which it reads or which is the "
                    "runner's: its result would depend on the size of batches; emit another kind"
                )
            yield emitted


def _find(log: Reader, identity: Identity) -> Event:
    kind, key, time, revision = identity
    for event in log.read(kinds=(kind,), key=key, start_ms=time, end_ms=time + 1):
        if event.revision == revision:
            return event
    raise LogError(f"command {identity} was applied but is not in the log: the log was cut; restore a copy")


def replay(
    log: Reader,
    projection: Projection,
    feeder: Feeder,
    *,
    after: int,
    upto: int,
    recorded_after: int,
    tolerant_upto: int = 0,
    differs: Callable[[str], None],
) -> tuple[int, int]:
    """Let a projection read positions `after < seq <= upto` again, and compare what it emits with what is recorded.

    Parameters
    ----------
    recorded_after
        What it emitted from these events is recorded behind this position.
    tolerant_upto
        Emissions from events up to here may differ by 1e-12: they were first made elsewhere.
    differs
        Told of each difference in words; it may raise.

    Returns
    -------
    How many events were read, and how many were emitted.
    """
    recorded = _emissions(log, projection.name, recorded_after)
    expected = next(recorded, None)
    n_read = n_emitted = 0
    for event in read_on(log, projection.reads, after, upto):
        n_read += 1
        for emitted in feeder.feed(event):
            n_emitted += 1
            if expected is not None and _same(expected, emitted):
                expected = next(recorded, None)
                continue
            time = emitted.event_time
            stored = log.read(kinds=(emitted.kind,), key=emitted.key, start_ms=time, end_ms=time + 1)
            exact = event.seq > tolerant_upto
            if not any(_same_content(old, emitted) if exact else _close(old, emitted) for old in stored):
                if isinstance(emitted.payload, ModelUnable) and not stored:
                    # What was decided with it is recorded: this is no fault of the projection's, and names no event.
                    differs(
                        f"{projection.name!r} has to tell again what it recorded with model {emitted.payload.model!r} "
                        f"({emitted.key}) and cannot load it: {emitted.payload.reason}. {RESTORE_MODEL}"
                    )
                    continue
                differs(
                    f"{projection.name!r} emits {_words(emitted)} again from {event.identity}, but recorded is "
                    f"{', '.join(map(_words, stored)) or f'nothing there; next is {_words(expected)}'}"
                )
            elif expected is not None and any(old.seq == expected.seq for old in stored):
                expected = next(recorded, None)
    while expected is not None:
        differs(f"{projection.name!r} recorded {_words(expected)} at {expected.seq}, but does not emit it again")
        expected = next(recorded, None)
    return n_read, n_emitted


def read_on(log: Reader, kinds: Iterable[str], after: int, upto: int) -> Iterator[Event]:
    """Yield the events of these kinds at positions `after < seq <= upto`, chunk by chunk."""
    chosen = frozenset(kinds)
    while after < upto:
        chunk = log.read(after=after, upto=upto, kinds=chosen, limit=_CHUNK)
        yield from chunk
        if len(chunk) < _CHUNK:
            return
        after = chunk[-1].seq


def _emissions(log: Reader, writer: str, after: int) -> Iterator[Event]:
    while chunk := log.read(after=after, writer=writer, limit=_CHUNK):
        yield from (event for event in chunk if event.kind != "command_applied")
        after = chunk[-1].seq


def _same(one: Event, other: Event) -> bool:
    return one.identity == other.identity and _same_content(one, other)


def _same_content(one: Event, other: Event) -> bool:
    # Bytes, not ==: 0.0 and -0.0 are equal and yet not the same bits, a list and a tuple say the same.
    return encode_payload(one.payload) == encode_payload(other.payload)


def _close(one: Event, other: Event) -> bool:
    return close(msgspec.to_builtins(one.payload), msgspec.to_builtins(other.payload))


def close(one: Any, other: Any) -> bool:
    """Say whether two contents agree but for floats that differ by 1e-12 of their size.

    Examples
    --------
    >>> close({"p": 1.0}, {"p": 1.0 + 1e-15}), close({"p": 1.0}, {"p": 1.1})
    (True, False)
    """
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= _ELSEWHERE * max(1.0, abs(one), abs(other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(close(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(close, one, other))
    return bool(one == other)


def _words(event: Event | None) -> str:
    return "nothing" if event is None else f"{event.identity} {event.payload!r}"


def retold(log: Reader, emissions: Iterable[Event]) -> list[Event]:
    """Return what a rebuild has to record: emissions that are not stored yet, but for the last bits of a float."""
    fresh = []
    for emitted in emissions:
        time = emitted.event_time
        stored = log.read(kinds=(emitted.kind,), key=emitted.key, start_ms=time, end_ms=time + 1)
        if not any(_close(old, emitted) for old in stored):
            fresh.append(msgspec.structs.replace(emitted, provenance="rebuild"))
    return fresh


def succeeding(log: Reader, emissions: Iterable[Event], since: int) -> list[Event]:
    """Return emissions, those as the next revision that say otherwise what older code said up to a position."""
    found = []
    for emitted in emissions:
        time = emitted.event_time
        stored = log.read(kinds=(emitted.kind,), key=emitted.key, start_ms=time, end_ms=time + 1)
        if stored and all(old.seq <= since and not _same_content(old, emitted) for old in stored):
            revision = max(old.revision for old in stored) + 1
            emitted = msgspec.structs.replace(emitted, revision=revision, provenance="rebuild")  # noqa: PLW2901
        found.append(emitted)
    return found
