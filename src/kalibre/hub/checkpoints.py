"""Checkpoints: what a learner knew at a moment, kept so that people can go back to it.

A checkpoint is a snapshot in a folder of its own, under another rule of keeping: the newest ones, one a day, and every
one that a `restore` names. It never alters a result: nothing reads it but a restore, which is a recorded command.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from kalibre.core.errors import HubError, KalibreError, SnapshotError
from kalibre.core.events import new_event
from kalibre.core.hub_events import Checkpoint
from kalibre.core.settings import Settings
from kalibre.learners.base import LearnerProjection
from kalibre.log.protocol import EventLog
from kalibre.log.runner import Runner
from kalibre.log.snapshots import About, Snapshots, fsync_folder

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
        Any address that fsspec knows (`s3://...`, `file:///...`), where each is copied to as well; empty for none.
    """

    def __init__(self, folder: Path, learner: str, *, newest: int, copies: str = "") -> None:
        self.learner = learner
        self.snapshots = Snapshots(folder, learner, keep=self._kept)
        self._newest, self._copies = newest, copies
        self._copying: threading.Thread | None = None

    # --- what there is ------------------------------------------------------------------------------------------------

    def all(self) -> list[Kept]:
        """List the checkpoints that can be read, newest first; damaged ones are reported and left out."""
        pinned, found = self._pinned(), []
        for folder in self.snapshots.folders():
            try:
                digest = self.snapshots.digest(folder)
                _, about = self.snapshots.load(folder)
            except SnapshotError as error:
                _logger.warning("%s", error)
                continue
            size = sum(file.stat().st_size for file in folder.iterdir())
            made_ms = folder.stat().st_mtime_ns // 1_000_000
            found.append(Kept(digest, about, folder, size, digest in pinned, made_ms))
        return found

    def latest(self) -> Kept | None:
        """Return the newest checkpoint that can be read."""
        return next(iter(self.all()), None)

    def load(self, digest: str) -> Mapping[str, Any]:
        """Return the state that a checkpoint holds, from its folder or else from its copy.

        Raises
        ------
        HubError
            If there is none of that digest, or it is damaged; the message lists what there is.
        """
        folder = self._folder_of(digest)
        if folder is None and self._copies:
            folder = self._fetch(digest)
        if folder is None:
            known = ", ".join(one.digest[:12] for one in self.all()) or "none"
            raise HubError(
                f"checkpoint {digest!r} of {self.learner} is not in {str(self.snapshots.folder)!r}: there are {known}; "
                "restore the folder from a copy, or record a reset"
            )
        return self.snapshots.load(folder)[0]

    def _folder_of(self, digest: str) -> Path | None:
        for folder in self.snapshots.folders():
            try:
                if self.snapshots.digest(folder) == digest:
                    return folder
            except SnapshotError:
                continue
        return None

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
        """Keep a checkpoint for good: a restore that is recorded needs it at every refold."""
        pinned = self._pinned() | {digest}
        self.snapshots.folder.mkdir(parents=True, exist_ok=True)
        temporary = self._pins.with_suffix(".part")
        temporary.write_text(json.dumps(sorted(pinned)), encoding="utf-8")
        temporary.replace(self._pins)
        fsync_folder(self.snapshots.folder)

    @property
    def _pins(self) -> Path:
        return self.snapshots.folder / "pinned.json"

    def _pinned(self) -> set[str]:
        if not self._pins.is_file():
            return set()
        try:
            return set(msgspec.json.decode(self._pins.read_bytes(), type=list[str]))
        except msgspec.DecodeError as error:
            raise HubError(f"{str(self._pins)!r} is damaged: {error}; it names what is kept") from error

    def _kept(self, folders: Sequence[Path]) -> Collection[Path]:
        """Choose the newest, the newest of each day, and the pinned."""
        chosen, days, pinned = set(folders[: self._newest]), set[str](), self._pinned()
        for folder in folders:
            day = datetime.fromtimestamp(folder.stat().st_mtime, tz=UTC).strftime("%Y-%m-%d")
            if day not in days:
                days.add(day)
                chosen.add(folder)
            elif folder not in chosen:
                try:
                    if self.snapshots.digest(folder) in pinned:
                        chosen.add(folder)
                except SnapshotError:
                    continue
        return chosen

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
        digest = self.snapshots.digest(folder)
        size = sum(file.stat().st_size for file in folder.iterdir())
        closes = [one.line.last.open_time + one.step_ms for one in projection.series.values() if one.line.last]
        payload = Checkpoint(
            digest=digest, position=runner.position, size_bytes=size, reason=reason, metrics=figures_of(projection)
        )
        log.append([new_event(self.learner, max(closes, default=0), payload)], writer=WRITER)
        self._copy(folder)
        return digest

    # --- copies -------------------------------------------------------------------------------------------------------

    def _copy(self, folder: Path) -> None:
        """Copy a checkpoint in a thread: a far address must not keep a learner waiting."""
        if not self._copies or (self._copying is not None and self._copying.is_alive()):
            return
        self._copying = threading.Thread(target=self._copy_now, args=(folder,), name="checkpoint-copy", daemon=True)
        self._copying.start()

    def _copy_now(self, folder: Path) -> None:
        import fsspec

        target = f"{self._copies.rstrip('/')}/{self.snapshots.folder.name}/{folder.name}"
        try:
            fs, path = fsspec.url_to_fs(target)
            fs.makedirs(path, exist_ok=True)
            # The manifest last: without it a half-copied one is none.
            for file in sorted(folder.iterdir(), key=lambda file: file.name == "manifest.json"):
                fs.put_file(str(file), f"{path}/{file.name}")
        except Exception as error:  # noqa: BLE001  (each kind of store raises its own)
            _logger.warning("checkpoint %s of %s was not copied to %s: %s", folder.name, self.learner, target, error)

    def wait_for_copy(self, timeout_s: float) -> None:
        """Wait until the copy that is under way is done."""
        if self._copying is not None:
            self._copying.join(timeout_s)

    def _fetch(self, digest: str) -> Path | None:
        """Bring a checkpoint back from where it was copied to."""
        import fsspec

        fs, path = fsspec.url_to_fs(f"{self._copies.rstrip('/')}/{self.snapshots.folder.name}")
        try:
            names = [Path(name).name for name in fs.ls(path, detail=False)]
        except (OSError, FileNotFoundError):
            return None
        for name in sorted(names, reverse=True):
            target = self.snapshots.folder / name
            if not name.isdigit() or target.exists():
                continue
            temporary = self.snapshots.folder / f".fetching-{name}"
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            for file in ("arrays.npz", "scalars.json", "manifest.json"):
                fs.get_file(f"{path}/{name}/{file}", str(temporary / file))
            if self.snapshots.digest(temporary) == digest:
                temporary.rename(target)
                return target
            shutil.rmtree(temporary)
        return None


def figures_of(projection: LearnerProjection) -> dict[str, float | None]:
    """Return what a learner's training looks like now: by name, with the series where it follows several."""
    series = projection.series
    return {
        name if len(series) == 1 else f"{key.partition('|')[0]} {name}": value
        for key, one in series.items()
        for name, value in one.learner.figures().items()
    }


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
