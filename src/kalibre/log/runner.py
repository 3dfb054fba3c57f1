"""The projection runner: what a projection emits and how far it has read are committed in one transaction.

Start-up is recovery: restore the newest intact snapshot, read on to the recorded position, and check that what is
emitted again is what was recorded. A projection of another version (or on other numeric libraries) is rebuilt instead:
it reads everything again, and where it now says something else up to the position that its predecessor had reached,
that becomes the next revision, with provenance `rebuild`: a record of what the new code would have said, never an act.
What the predecessor said and the new code does not say at all stays as it is; `Progress.since` tells them apart. A
projection that joins others by key may speak of the predecessor's bars even later than that position, once somebody new
whom it waits for has caught up: that becomes a revision too.

Commands of a priority kind (`kill`) overtake. A batch that is about to commit looks, under the write lock, whether the
log holds a command that it has not taken into account. If so nothing of the batch is kept: the state before it is
restored, the command is applied first, `command_applied` records where, and the batch is done again. So no `order` is
ever committed after a `kill` that the projection does not know of. A command that has been revoked by the time it would
overtake is left where it stands.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from itertools import takewhile
from pathlib import Path

import msgspec

from kalibre.core.errors import DeterminismError, LogError, LogLockedError, LogUnavailableError
from kalibre.core.events import CommandApplied, Event, Kill, new_event
from kalibre.core.protocols import Projection
from kalibre.log.failpoints import failpoint
from kalibre.log.protocol import EventLog, Progress, Transaction
from kalibre.log.replay import RESTORE_MODEL, Feeder, anchor, copy_state, replay, retold, state_digest, succeeding
from kalibre.log.snapshots import About, Snapshots, library_versions

_logger = logging.getLogger(__name__)


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """What start-up did: where it went on from, what it read and checked again, and whether a rebuild is due."""

    position: int
    snapshot: int
    events_checked: int
    emissions_checked: int
    rebuild_upto: int = 0


class RefoldReport(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the log, read again from its start, gives the emissions that are recorded in it."""

    projection: str
    position: int
    events_read: int
    emissions: int
    state_digest: str
    differences: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


class Runner:
    """Lets one projection read the log, batch by batch.

    Parameters
    ----------
    log
        Where events are read and emissions and position are committed.
    projection
        Freshly made: the state it has now is the one that a rebuild starts from.
    snapshots_dir
        Folder of all projections' snapshots; None keeps none.
    batch_size
        Events that are committed together; any size gives the same events.
    snapshot_every_events
        Events read between two snapshots.
    priority_kinds
        Commands that overtake, as far as the projection reads them.
    kill_file
        Its existence engages the kill switch: the runner then records the `kill` event itself.
    """

    def __init__(
        self,
        log: EventLog,
        projection: Projection,
        *,
        snapshots_dir: Path | None,
        batch_size: int = 64,
        snapshot_every_events: int = 10_000,
        priority_kinds: Collection[str] = frozenset({"kill"}),
        kill_file: Path | None = None,
    ) -> None:
        if batch_size < 1 or snapshot_every_events < 1:
            raise LogError(
                f"batch_size {batch_size} and snapshot_every_events {snapshot_every_events} must be 1 or more"
            )
        self._log = log
        self._projection = projection
        self._name = projection.name
        self._snapshots = Snapshots(snapshots_dir, projection.name) if snapshots_dir is not None else None
        self._batch_size = batch_size
        self._snapshot_every = snapshot_every_events
        self._priority = frozenset(priority_kinds) & projection.reads
        self._kill_file = kill_file if "kill" in self._priority else None
        self._initial = copy_state(projection.state())
        self._feeder: Feeder | None = None
        self._progress = Progress(seq=0)
        self._emitted = 0
        self._scanned = 0
        self._since_snapshot = 0

    @property
    def position(self) -> int:
        """How far the projection has read."""
        return self._progress.seq

    def state_digest(self) -> str:
        """Return the sha256 of the projection's state as it is now."""
        return state_digest(self._projection.state())

    # --- start-up -----------------------------------------------------------------------------------------------------

    def recover(self) -> Recovery:
        """Bring the projection to the recorded position, and check on the way that it says what it said.

        Raises
        ------
        DeterminismError
            If it says something else, quoting both; nothing was written.
        """
        self._feeder = None
        libraries = library_versions()
        progress = self._log.progress(self._name)
        if progress is None or (progress.version, progress.libraries) != (self._projection.version, libraries):
            progress = self._start_over(progress, libraries)
        feeder = self._make_feeder()
        start, emitted = self._restore(progress)
        read, checked = replay(
            self._log,
            self._projection,
            feeder,
            after=start,
            upto=progress.seq,
            recorded_after=emitted,
            tolerant_upto=progress.rebuilt,
            differs=_refuse,
        )
        self._feeder, self._progress, self._scanned = feeder, progress, progress.seq
        self._emitted = max(emitted, self._log.head() if checked else 0)
        self._since_snapshot = read
        return Recovery(
            position=progress.seq,
            snapshot=start,
            events_checked=read,
            emissions_checked=checked,
            rebuild_upto=progress.rebuilt if progress.seq < progress.rebuilt else 0,
        )

    def _make_feeder(self) -> Feeder:
        return Feeder(self._projection, self._log)

    def _start_over(self, old: Progress | None, libraries: str) -> Progress:
        """Begin from zero with this version, and know from where to where it only retells."""
        with self._log.transaction() as transaction:
            old = transaction.progress(self._name)
            fresh = Progress(
                seq=0,
                version=self._projection.version,
                libraries=libraries,
                since=transaction.head(),
                rebuilt=max(old.seq, old.rebuilt) if old else 0,
            )
            transaction.set_progress(self._name, fresh)
            failpoint("runner.anew")
        if old is not None:
            _logger.warning(
                "projection %s was made by version %s (%s) and is now %s (%s): rebuilding it up to %d",
                *(self._name, old.version, old.libraries, fresh.version, libraries, fresh.rebuilt),
            )
        return fresh

    def _restore(self, progress: Progress) -> tuple[int, int]:
        """Restore the newest snapshot that belongs to this log and code; return its position and last emission."""
        for state, about in self._snapshots.newest() if self._snapshots else ():
            fits = (about.version, about.libraries) == (progress.version, progress.libraries)
            # One from an earlier life of this version (it was rolled back to) knows nothing of what was said between.
            if not fits or about.position > progress.seq or about.emitted < progress.since:
                continue
            # A disk that lied about fsync may bring back a log without its tail, while the snapshot survived; what was
            # emitted from the same inputs may then stand elsewhere than the snapshot says.
            if about.anchor != self._anchors(about.position, about.emitted):
                _logger.warning("snapshot of %s at %d is of another log: passed over", self._name, about.position)
                continue
            self._projection.restore(state)
            return about.position, about.emitted
        self._projection.restore(copy_state(self._initial))
        return 0, progress.since

    def _anchors(self, position: int, emitted: int) -> str:
        """Digest the last event that was read and the last that was recorded."""
        return f"{anchor(self._log, position)} {anchor(self._log, emitted)}"

    # --- reading on ---------------------------------------------------------------------------------------------------

    def step(self) -> int:
        """Read one batch, commit what follows from it together with the position; return the events read.

        Raises
        ------
        DeterminismError
            If what it emits is recorded with other content.
        LogError
            If another runner moved this projection, or the log fails. The next step then recovers first.
        """
        head = self._log.head()
        if self._feeder is None or head < self._scanned:  # the log may have lost its tail under us: a copy restored
            self.recover()
        assert self._feeder is not None
        feeder, self._feeder = self._feeder, None  # until the commit succeeds, the state in memory is not the recorded
        retelling = self._progress.seq < self._progress.rebuilt
        events = self._log.read(
            after=self._scanned,
            upto=self._progress.rebuilt if retelling else head,
            kinds=self._projection.reads,
            limit=self._batch_size,
        )
        if not events and not retelling:
            self._feeder, self._scanned = feeder, head
            self._heed_kill_file()
            return 0
        before = copy_state(self._projection.state()) if self._priority and not retelling else None
        emissions = [emitted for event in events for emitted in feeder.feed(event)]
        position = events[-1].seq if events else self._progress.rebuilt
        failpoint("runner.said")
        with self._log.transaction() as transaction:
            recorded = transaction.progress(self._name)
            if recorded != self._progress:
                raise LogError(
                    f"projection {self._name!r} is at {recorded}, not at {self._progress}: another process runs it; "
                    "stop one of the two"
                )
            stored = []
            if before is not None:
                first, commands = self._overtaking(transaction, feeder, events)
                if first is not None:
                    self._projection.restore(before)
                    stored += transaction.append(self._applied(feeder, commands, first), writer=self._name)
                    feeder.inject(commands, first.identity)
                    emissions = [emitted for event in events for emitted in feeder.feed(event)]
            if retelling:
                stored += transaction.append(retold(transaction, emissions), writer=self._name, conflict="revise")
            else:
                stored += self._record(transaction, emissions)
            transaction.set_offset(self._name, position)
            failpoint("runner.commit")
        failpoint("runner.committed")
        self._feeder, self._scanned = feeder, position
        self._progress = msgspec.structs.replace(self._progress, seq=position)
        self._emitted = max([self._emitted, *(event.seq for event in stored)])
        self._since_snapshot += len(events)
        if self._since_snapshot >= self._snapshot_every:
            self.snapshot()
        return len(events) if events else self.step()

    def _record(self, transaction: Transaction, emissions: list[Event]) -> list[Event]:
        """Store what was said; what older code said under the same identity stays, and this becomes its revision."""
        try:
            return transaction.append(emissions, writer=self._name, conflict="refuse")
        except DeterminismError:
            if not self._progress.rebuilt:
                raise
            emissions = succeeding(transaction, emissions, self._progress.since)
            return transaction.append(emissions, writer=self._name, conflict="refuse")

    def catch_up(self) -> int:
        """Read on until there is nothing left; return the events read."""
        total = 0
        while count := self.step():
            total += count
        return total

    def follow(self, should_stop: Callable[[], bool], poll_s: float = 0.25) -> None:
        """Read on as events come, until told to stop; then leave a snapshot.

        A log whose server restarts, or that another writer holds, is waited for; anything else ends the loop.
        """
        while not should_stop():
            try:
                if self.step() == 0:
                    self._log.wait(self._scanned, poll_s, should_stop)
            except (LogUnavailableError, LogLockedError) as error:
                _logger.warning("projection %s waits: %s", self._name, error)
        if self._feeder is not None and self._since_snapshot:
            self.snapshot()

    def snapshot(self) -> None:
        """Leave a snapshot of the state as committed; a disk that refuses costs a longer start-up, nothing else."""
        if self._snapshots is None:
            return
        self._since_snapshot = 0
        try:
            self.lay_down(self._snapshots)
        except LogError as error:
            _logger.warning("%s", error)

    def lay_down(self, snapshots: Snapshots) -> Path | None:
        """Save the state as committed among these snapshots; None while nothing is committed that could be saved.

        Raises
        ------
        SnapshotError
            If the disk refuses.
        LogError
            If the log fails.
        """
        if self._feeder is None or self._progress.seq == 0:
            return None
        # First the log: a snapshot must not know of events that a power cut could take back.
        self._log.sync()
        failpoint("runner.snapshot")
        emitted = max(self._emitted, self._progress.since)
        about = About(
            projection=self._name,
            version=self._progress.version,
            libraries=self._progress.libraries,
            position=self._progress.seq,
            anchor=self._anchors(self._progress.seq, emitted),
            emitted=emitted,
        )
        return snapshots.save(self._projection.state(), about)

    # --- commands that overtake ---------------------------------------------------------------------------------------

    def _overtaking(
        self, transaction: Transaction, feeder: Feeder, events: list[Event]
    ) -> tuple[Event | None, list[Event]]:
        """Return the commands that this batch must know of before it may commit, and the event they go before.

        Commands that stand at the front of the batch are in time where they are.
        """
        self._heed_kill_file(transaction)
        if transaction.last_position(self._priority) <= self._progress.seq:
            return None, []
        waiting = transaction.read(after=self._progress.seq, kinds=self._priority)
        commands = [event for event in waiting if event.identity not in feeder.applied]
        last = commands[-1].payload if commands else None
        if isinstance(last, Kill) and not last.engaged:
            return None, []
        named = {event.identity for event in commands}
        front = list(takewhile(lambda event: event.identity in named, events))
        behind = commands[len(front) :]
        return (events[len(front)], behind) if behind and len(front) < len(events) else (None, [])

    def _applied(self, feeder: Feeder, commands: list[Event], before: Event) -> list[Event]:
        """Record where commands were taken into account."""
        records = []
        for command in commands:
            payload = CommandApplied(projection=self._name, command=command.identity, before=before.identity)
            records.append(new_event(self._name, feeder.commands, payload))
            feeder.commands += 1
        return records

    def _heed_kill_file(self, transaction: Transaction | None = None) -> None:
        """Record a `kill` if the file is there and the switch is not engaged."""
        if self._kill_file is None or not self._kill_file.exists():
            return
        if transaction is None:
            with self._log.transaction(durable=True) as opened:
                self._heed_kill_file(opened)
            return
        last = transaction.latest("kill")
        if last is not None and isinstance(last.payload, Kill) and last.payload.engaged:
            return
        try:
            touched = self._kill_file.stat().st_mtime_ns // 1_000_000
            flatten = "flatten" in self._kill_file.read_text(encoding="utf-8", errors="replace").lower()
        except OSError:  # removed at this moment, or not readable: that it was there is enough
            touched, flatten = 0, False
        # The file may be older than a release that forgot to remove it; it still engages, as a new event.
        time = max(touched, last.event_time + 1 if last else 0)
        payload = Kill(engaged=True, by="kill file", reason=f"{self._kill_file.name} is there", flatten=flatten)
        transaction.append([new_event("kill", time, payload)], writer="kill-file")


def refold(log: EventLog, projection: Projection, *, most_differences: int = 10) -> RefoldReport:
    """Read the whole log again with a fresh projection and compare what it emits with what is recorded.

    Raises
    ------
    LogError
        If the projection never ran on this log, or ran with another version.
    """
    progress = log.progress(projection.name)
    if progress is None or progress.version != projection.version:
        raise LogError(
            f"projection {projection.name!r} of version {projection.version!r} is recorded as {progress}: let a Runner "
            "read the log with it first"
        )
    differences: list[str] = []

    def note(words: str) -> None:
        if len(differences) < most_differences:
            differences.append(words)

    read, emitted = replay(
        log,
        projection,
        Feeder(projection, log),
        after=0,
        upto=progress.seq,
        recorded_after=progress.since,
        tolerant_upto=progress.rebuilt,
        differs=note,
    )
    return RefoldReport(
        projection=projection.name,
        position=progress.seq,
        events_read=read,
        emissions=emitted,
        state_digest=state_digest(projection.state()),
        differences=tuple(differences),
    )


def _refuse(words: str) -> None:
    if words.endswith(RESTORE_MODEL):
        raise DeterminismError(words)
    raise DeterminismError(f"{words}: the projection is no function of what it reads, or its code changed unversioned")
