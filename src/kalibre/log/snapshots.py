"""Snapshots: a projection's state on the disk, so that start-up need not read the whole log again.

A snapshot is a folder of `arrays.npz` (no pickle), `scalars.json` and `manifest.json`. The manifest carries size and
sha256 of the other two and a sha256 of itself, and is only accepted in the very bytes in which it is written, so that
every flipped bit and every truncation is detected. It becomes visible by one rename, after everything in it is on the
disk. The newest three are kept: if the newest is damaged, the one before is used.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import platform
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from kalibre.core.errors import SnapshotError
from kalibre.core.protocols import State
from kalibre.log.failpoints import failpoint

KEPT = 3
_MANIFEST = "manifest.json"
_FORMAT = 1
_NUMERIC = ("numpy", "numba", "llvmlite", "scipy", "lightgbm")
_logger = logging.getLogger(__name__)


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot says of itself.

    `position` is how far the projection had read, `emitted` the position of the last event that it had recorded, and
    `anchor` digests the events at both: another log, or one that lost its tail, does not have them.
    """

    projection: str
    version: str
    libraries: str
    position: int
    anchor: str
    emitted: int


@cache
def library_versions() -> str:
    """Name everything beside the projection's own code that may change the last bit of a number."""
    named = [f"python {platform.python_version()}", platform.machine()]
    for name in _NUMERIC:
        try:
            named.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(named)


def newest_three(folders: Sequence[Path], position: int) -> Collection[Path]:
    """Choose what recovery needs: one to start from, and two in case it is damaged.

    None that lies ahead of what was just saved: that future did not happen.
    """
    return [folder for folder in folders if int(folder.name) <= position][:KEPT]


class Snapshots:
    """The snapshots of one projection in a folder of its own.

    Parameters
    ----------
    folder, projection
        Folder of all projections' snapshots, and whose these are.
    keep
        Chooses, from all of them, highest position first, those that stay when the one of a position has been saved.
    """

    def __init__(
        self, folder: Path, projection: str, *, keep: Callable[[Sequence[Path], int], Collection[Path]] = newest_three
    ) -> None:
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", projection)
        # Two names may become the same safe text; the digest keeps their folders apart.
        self.folder = folder / f"{safe}-{hashlib.sha256(projection.encode()).hexdigest()[:8]}"
        self._projection = projection
        self._keep = keep

    def save(self, state: State, about: About) -> Path:
        """Write a snapshot: temp folder, fsync, rename, fsync of the folder; those that are not kept go.

        Raises
        ------
        SnapshotError
            If the state holds what needs pickle, or the disk refuses; nothing half-written is left.
        """
        target = self.folder / f"{about.position:020d}"
        files = _encode(state)
        body: dict[str, Any] = {
            "format": _FORMAT,
            "about": msgspec.to_builtins(about),
            "files": {name: {"size": len(raw), "sha256": _sha256(raw)} for name, raw in files.items()},
        }
        files[_MANIFEST] = _manifest_bytes(body)
        temporary = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=self.folder))
            for name, raw in files.items():
                _write(temporary / name, raw)
                failpoint("snapshots.file")
            fsync_folder(temporary)
            if target.exists():  # the same position again, after a rebuild: the new one replaces it
                _remove(target)
            failpoint("snapshots.rename")
            temporary.rename(target)
            failpoint("snapshots.renamed")
            fsync_folder(self.folder)
            fsync_folder(self.folder.parent)
        except OSError as error:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)
            raise SnapshotError(f"snapshot {str(target)!r} cannot be written: {error}; free space or rights") from error
        self._prune(about.position)
        return target

    def load(self, folder: Path) -> tuple[dict[str, Any], About]:
        """Read a snapshot back.

        Raises
        ------
        SnapshotError
            If a bit of it is not what was written; the message says where.
        """
        try:
            body = _checked_manifest((folder / _MANIFEST).read_bytes(), folder)
            raw = {}
            for name, said in body["files"].items():
                raw[name] = (folder / name).read_bytes()
                if (len(raw[name]), _sha256(raw[name])) != (said["size"], said["sha256"]):
                    raise SnapshotError(
                        f"snapshot {str(folder)!r}: {name} has {len(raw[name])} bytes with another sha256 than "
                        f"{said['sha256'][:12]}...: it is damaged; the one before is used"
                    )
            about = msgspec.convert(body["about"], About)
            state = _decode(raw)
        except OSError as error:
            raise SnapshotError(f"snapshot {str(folder)!r} cannot be read: {error}; the one before is used") from error
        except (msgspec.ValidationError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise SnapshotError(f"snapshot {str(folder)!r} is of another format: {error!r}") from error
        if about.projection != self._projection or folder.name != f"{about.position:020d}":
            raise SnapshotError(
                f"snapshot {str(folder)!r} says it is {about.projection!r} at {about.position}: it was moved here; "
                "move it back"
            )
        return state, about

    def digest(self, folder: Path) -> str:
        """Return the sha256 of a snapshot's manifest, which names the sha256 of everything in it.

        Raises
        ------
        SnapshotError
            If the manifest cannot be read.
        """
        try:
            return _sha256((folder / _MANIFEST).read_bytes())
        except OSError as error:
            raise SnapshotError(f"snapshot {str(folder)!r} cannot be read: {error}") from error

    def newest(self) -> Iterator[tuple[dict[str, Any], About]]:
        """Yield the intact snapshots, newest first; damaged ones are reported and passed over."""
        for folder in self.folders():
            try:
                yield self.load(folder)
            except SnapshotError as error:
                _logger.warning("%s", error)

    def folders(self) -> list[Path]:
        """List the snapshots, newest first, damaged or not."""
        if not self.folder.is_dir():
            return []
        return sorted((path for path in self.folder.iterdir() if path.name.isdigit()), reverse=True)

    def _prune(self, position: int) -> None:
        """Keep the chosen ones."""
        folders = self.folders()
        kept = self._keep(folders, position)
        for folder in folders:
            if folder not in kept:
                _remove(folder)
        for left in self.folder.glob(".writing-*"):  # by a process that was killed; one runner owns this folder
            shutil.rmtree(left, ignore_errors=True)


def _remove(folder: Path) -> None:
    """Take a snapshot away, at once: one that a kill left half removed would pass for a damaged one, and a new one."""
    gone = folder.with_name(f".writing-no-more-{folder.name}")
    shutil.rmtree(gone, ignore_errors=True)
    folder.rename(gone)
    failpoint("snapshots.remove")
    shutil.rmtree(gone, ignore_errors=True)


def fsync_folder(folder: Path) -> None:
    """Bring a folder's names onto the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(path: Path, raw: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(raw)
        stream.flush()
        os.fsync(stream.fileno())


def _sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def _canonical(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, indent=1, sort_keys=True, ensure_ascii=True, allow_nan=False).encode("ascii") + b"\n"


def _manifest_bytes(body: Mapping[str, Any]) -> bytes:
    return _canonical({**body, "manifest_sha256": _sha256(_canonical(body))})


def _checked_manifest(raw: bytes, folder: Path) -> dict[str, Any]:
    try:
        body = json.loads(raw)
        said = body.pop("manifest_sha256")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise SnapshotError(
            f"snapshot {str(folder)!r}: its manifest is damaged ({error!r}); the one before is used"
        ) from error
    # Compared as bytes, not as values: white space and the case of a digit count too.
    if raw != _manifest_bytes(body):
        raise SnapshotError(
            f"snapshot {str(folder)!r}: its manifest does not have the sha256 {said!r} that it names: it is damaged; "
            "the one before is used"
        )
    return dict(body)


def _encode(state: State) -> dict[str, bytes]:
    """Write a state as files: arrays (and floats, bit for bit) as npz, the rest as JSON."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    scalars: dict[str, Any] = {}
    for name, value in state.items():
        if value is None or isinstance(value, bool | int | str):
            scalars[name] = ["plain", value]
            continue
        if not isinstance(value, np.ndarray | np.generic | float):
            raise SnapshotError(f"state {name!r} is a {type(value).__name__}: use arrays, numbers, str, bool or None")
        array = np.asarray(value)
        if array.dtype.hasobject:
            raise SnapshotError(f"state {name!r} is an array of Python objects: use numbers, or text as one str")
        kind = "array" if isinstance(value, np.ndarray) else "scalar" if isinstance(value, np.generic) else "float"
        label = f"a{len(arrays)}"
        arrays[label], scalars[name] = array, [kind, label]
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return {"arrays.npz": stream.getvalue(), "scalars.json": _canonical(scalars)}


def _decode(raw: Mapping[str, bytes]) -> dict[str, Any]:
    state: dict[str, Any] = {}
    with np.load(io.BytesIO(raw["arrays.npz"]), allow_pickle=False) as arrays:
        for name, (kind, value) in json.loads(raw["scalars.json"]).items():
            if kind == "plain":
                state[name] = value
            else:
                array = arrays[value]
                state[name] = array if kind == "array" else array.item() if kind == "float" else array[()]
    return state
