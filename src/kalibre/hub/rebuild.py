"""What a projection knows, rebuilt from the log and held against what it left on the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from kalibre.core.errors import LogError
from kalibre.core.events import Event
from kalibre.core.protocols import Projection
from kalibre.core.settings import Settings
from kalibre.hub.checkpoints import checkpoints_of
from kalibre.hub.worker import projections
from kalibre.learners.base import enabled_learners
from kalibre.log.protocol import EventLog, Progress
from kalibre.log.replay import Feeder, anchor, replay, state_digest
from kalibre.log.snapshots import About, Snapshots

_MOST_DIFFERENCES = 10


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a projection that reads the log again says and knows the same.

    `digest` is the sha256 of what it knows at `position`; `states` counts the snapshots and checkpoints that were held
    against the rebuilt state, bit for bit.
    """

    projection: str
    position: int
    events_read: int
    emissions: int
    states: int
    digest: str
    differences: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


def rebuild(
    log: EventLog, settings: Settings, name: str, *, progress: Callable[[str, int, int], None] | None = None
) -> Rebuilt:
    """Read the log again with a fresh projection, and compare its emissions and, wherever a state was laid down, that.

    Raises
    ------
    LogError
        If there is no such projection, or it has not read this log.
    """
    makers = projections(settings)
    if name not in makers:
        raise LogError(f"{name!r} is no projection of this hub: choose one of {', '.join(makers)}")
    return rebuild_with(makers[name](), log, settings, progress=progress)


def rebuild_with(
    projection: Projection,
    log: EventLog,
    settings: Settings,
    *,
    progress: Callable[[str, int, int], None] | None = None,
) -> Rebuilt:
    """Do the same with a projection that was freshly made, whoever made it.

    Raises
    ------
    LogError
        If it never ran on this log, or ran with another version.
    """
    name = projection.name
    read = log.progress(name)
    if read is None or read.version != projection.version:
        known = "has never read this log" if read is None else f"read this log as version {read.version}"
        raise LogError(
            f"{name} {known}, and this is version {projection.version}: let the hub read it (`kalibre hub up`) first"
        )
    differences: list[str] = []

    def note(words: str) -> None:
        if len(differences) < _MOST_DIFFERENCES:
            differences.append(words)

    feeder = _Comparing(projection, log, _laid_down(log, settings, projection, read), note, progress, read.seq)
    n_read, n_emitted = replay(
        log,
        projection,
        feeder,
        after=0,
        upto=read.seq,
        recorded_after=read.since,
        tolerant_upto=read.rebuilt,
        differs=note,
    )
    feeder.compare(read.seq)
    return Rebuilt(
        projection=name,
        position=read.seq,
        events_read=n_read,
        emissions=n_emitted,
        states=feeder.compared,
        digest=state_digest(projection.state()),
        differences=tuple(differences),
    )


class _Comparing(Feeder):
    """Feeds a projection and, at each position at which a state was laid down, holds its own against that."""

    def __init__(
        self,
        projection: Projection,
        log: EventLog,
        laid: Sequence[tuple[About, str]],
        note: Callable[[str], None],
        progress: Callable[[str, int, int], None] | None,
        head: int,
    ) -> None:
        super().__init__(projection, log)
        self._known, self._laid, self._note = projection, list(laid), note
        self._progress, self._head = progress, head
        self.compared = 0

    def feed(self, event: Event) -> Iterator[Event]:
        """Compare what is due before this event, then take it in."""
        if self._laid and self._laid[0][0].position < event.seq:
            self.compare(event.seq - 1)
        yield from super().feed(event)

    def compare(self, position: int) -> None:
        """Compare the state with what was laid down up to a position."""
        if self._progress is not None:
            self._progress(f"rebuild {self._known.name}", position, self._head)
        while self._laid and self._laid[0][0].position <= position:
            about, digest = self._laid.pop(0)
            self.compared += 1
            found = state_digest(self._known.state())
            if found != digest:
                self._note(
                    f"{self._known.name} at {about.position}: on the disk is state {digest[:16]}, the log gives "
                    f"{found[:16]}"
                )


def _laid_down(log: EventLog, settings: Settings, projection: Projection, read: Progress) -> list[tuple[About, str]]:
    """Return the states of this version that lie on the disk, oldest first, each with its digest."""
    name, found = projection.name, dict[int, tuple[About, str]]()
    folders = [Snapshots(settings.snapshots_dir, name)]
    if name in enabled_learners(settings):
        folders.append(checkpoints_of(settings, name).snapshots)
    for snapshots in folders:
        for state, about in snapshots.newest():
            fits = (about.version, about.libraries) == (read.version, read.libraries)
            # As at start-up: one of another log, or of a tail that this one has lost, is no state of this log.
            known = about.anchor == f"{anchor(log, about.position)} {anchor(log, about.emitted)}"
            if fits and known and about.position <= read.seq and about.emitted >= read.since:
                found[about.position] = (about, state_digest(state))
    return [found[position] for position in sorted(found)]
