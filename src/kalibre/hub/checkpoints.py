"""Checkpoints: what a learner knew at a moment, kept so that people can go back to it.

A checkpoint is a snapshot in a folder of its own, under another rule of keeping: the newest ones and one a day. One
that a `restore` names is pinned: copied aside, where neither that rule nor a rebuild that comes by its position again
takes it away. It never alters a result: nothing reads it but a restore, which is a recorded command.
"""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from kalibre.core.errors import HubError, KalibreError, SnapshotError
from kalibre.core.events import new_event
from kalibre.core.hub_events import Checkpoint, Command
from kalibre.core.settings import Settings
from kalibre.hub._copies import Copies, adopting, newest_and_daily
from kalibre.learners.base import LearnerProjection
from kalibre.log.failpoints import failpoint
from kalibre.log.protocol import EventLog
from kalibre.log.runner import Runner
from kalibre.log.snapshots import About, Snapshots

WRITER = "checkpoints"
Reason = Literal["hourly", "events", "demand"]
_logger = logging.getLogger(__name__)


class Kept(NamedTuple):
    """A checkpoint on the disk."""

    digest: str
    about: About
    folder: Path
    size_bytes: int
    pinned: bool
    made_ms: int


class Checkpoints:
    """The checkpoints of one learner.

    Parameters
    ----------
    folder
        Folder of all learners' checkpoints.
    learner
        Whose these are.
    newest
        How many of the newest are kept, beside one for each day (UTC) and the pinned ones.
    copies
        Any address that fsspec knows (`s3://...`, `file:///...`), where each is copied to as well, and kept by the same
        rule; empty for none.
    """

    def __init__(self, folder: Path, learner: str, *, newest: int, copies: str = "") -> None:
        self.learner = learner
        self.snapshots = Snapshots(folder, learner, keep=self._kept)
        self._newest = newest
        self._copies = Copies(copies, self.snapshots, newest=newest, pinned=self._pinned) if copies else None

    # --- what there is ------------------------------------------------------------------------------------------------

    def all(self) -> list[Kept]:
        """List the checkpoints that can be read, newest first; damaged ones are reported and left out."""
        pinned = {folder.parent.name: folder for folder in self._pinned.glob("[!.]*/*")}
        found: dict[str, Kept] = {}
        for folder in (*self.snapshots.folders(), *pinned.values()):
            try:
                digest = self.snapshots.digest(folder)
                if digest not in found:
                    _, about = self.snapshots.load(folder)
                    found[digest] = Kept(digest, about, folder, _size(folder), digest in pinned, _made_ms(folder))
            except FileNotFoundError:  # its learner has taken it away while we looked
                continue
            except SnapshotError as error:
                _logger.warning("%s", error)
        return sorted(found.values(), key=lambda one: (one.made_ms, one.about.position), reverse=True)

    def latest(self) -> Kept | None:
        """Return the newest checkpoint that can be read."""
        return next(iter(self.all()), None)

    def load(self, digest: str) -> Mapping[str, Any]:
        """Return the state that a checkpoint holds, from its folder or else from its copy.

        Raises
        ------
        HubError
            If there is none of that digest that can be read; the message lists what there is.
        """
        return self._intact(digest)[1]

    def _intact(self, digest: str) -> tuple[Path, Mapping[str, Any]]:
        for folder in self._folders_of(digest):
            try:
                return folder, self.snapshots.load(folder)[0]
            except SnapshotError as error:
                _logger.warning("%s", error)
        if self._copies is not None and self._copies.fetch(digest, self._pinned / digest):
            (folder,) = (self._pinned / digest).iterdir()
            return folder, self.snapshots.load(folder)[0]
        known = ", ".join(one.digest[:12] for one in self.all()) or "none"
        raise HubError(
            f"checkpoint {digest!r} of {self.learner} is not in {str(self.snapshots.folder)!r}: there are {known}; "
            "bring that folder back from a copy, or set hub.checkpoint_copies to where the copies are"
        )

    def _folders_of(self, digest: str) -> list[Path]:
        found = [*(self._pinned / digest).glob("*")]
        for folder in self.snapshots.folders():
            try:
                if self.snapshots.digest(folder) == digest:
                    found.append(folder)
            except SnapshotError:
                continue
        return found

    def resolve(self, name: str) -> Kept:
        """Return a checkpoint by digest, the first signs of one, or `latest`.

        Raises
        ------
        HubError
            If none or several fit; the message lists what there is.
        """
        kept = self.all()
        fitting = kept[:1] if name == "latest" else [one for one in kept if one.digest.startswith(name) and name]
        if len(fitting) != 1:
            known = ", ".join(one.digest[:12] for one in kept) or "none yet"
            raise HubError(f"checkpoint {name!r} of {self.learner} fits {len(fitting)} of these: {known}; name one")
        return fitting[0]

    # --- keeping ------------------------------------------------------------------------------------------------------

    def pin(self, digest: str) -> None:
        """Keep a checkpoint for good: a restore that is recorded needs it at every refold.

        Raises
        ------
        HubError
            If there is none of that digest that can be read.
        """
        folder, target = self._intact(digest)[0], self._pinned / digest
        if folder.parent == target:
            return
        try:
            with adopting(target) as temporary:
                shutil.copytree(folder, temporary / folder.name)
                failpoint("checkpoints.pin")
                self.snapshots.load(temporary / folder.name)
        except (OSError, SnapshotError) as error:  # its learner may have taken it away just now
            raise HubError(f"checkpoint {digest!r} of {self.learner} cannot be pinned: {error}; ask again") from error

    @property
    def _pinned(self) -> Path:
        return self.snapshots.folder / "pinned"

    def _kept(self, folders: Sequence[Path], position: int) -> Collection[Path]:
        """Choose what was just saved, the newest, and the newest of each day.

        Positions begin anew where changed code reads the log again, so they do not say what is new.
        """
        made = sorted(folders, key=lambda folder: (int(folder.name) == position, _made_ms(folder)), reverse=True)
        return newest_and_daily([(folder, _made_ms(folder)) for folder in made], newest=self._newest)

    def lay_down(self, log: EventLog, runner: Runner, projection: LearnerProjection, reason: Reason) -> str | None:
        """Save what a learner knows and record that it was done; return the digest, None if nothing is known yet.

        Raises
        ------
        SnapshotError, LogError
            If disk or log refuse: nothing is recorded that is not there.
        """
        folder = runner.lay_down(self.snapshots)
        if folder is None:
            return None
        failpoint("checkpoints.saved")
        digest = self.snapshots.digest(folder)
        closes = [one.line.last.open_time + one.step_ms for one in projection.series.values() if one.line.last]
        payload = Checkpoint(
            digest=digest,
            position=runner.position,
            size_bytes=_size(folder),
            reason=reason,
            metrics=figures_of(projection),
        )
        # Where the folder of the pinned ones was lost, the log still knows whom a restore named.
        commands = (event.payload for event in log.read(kinds={"command"}, key=self.learner))
        named = {one.checkpoint for one in commands if isinstance(one, Command) and one.checkpoint}
        log.append([new_event(self.learner, max(closes, default=0), payload)], writer=WRITER)
        failpoint("checkpoints.recorded")
        if self._copies is not None:
            self._copies.copy(folder, named=named)
        return digest

    def wait_for_copy(self, timeout_s: float) -> None:
        """Wait until the copies that are under way are done."""
        if self._copies is not None:
            self._copies.wait(timeout_s)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def _made_ms(folder: Path) -> int:
    return folder.stat().st_mtime_ns // 1_000_000


def figures_of(projection: LearnerProjection) -> dict[str, float | None]:
    """Return what a learner's training looks like now: by name, with the series where it follows several."""
    series = projection.series
    return {
        name if len(series) == 1 else f"{key.partition('|')[0]} {name}": _known(value)
        for key, one in series.items()
        for name, value in one.learner.figures().items()
    }


def _known(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def checkpoints_of(settings: Settings, learner: str) -> Checkpoints:
    """Return a learner's checkpoints as the settings keep them."""
    hub = settings.hub
    return Checkpoints(
        settings.home / "checkpoints", learner, newest=hub.checkpoints_kept, copies=hub.checkpoint_copies
    )


def load_checkpoint(settings: Settings, learner: str, digest: str) -> Mapping[str, Any]:
    """Load a checkpoint's state by digest.

    Raises
    ------
    KalibreError
        If there is none, or it is damaged.
    """
    try:
        return checkpoints_of(settings, learner).load(digest)
    except OSError as error:
        raise KalibreError(f"checkpoint {digest!r} of {learner} cannot be read: {error}") from error
