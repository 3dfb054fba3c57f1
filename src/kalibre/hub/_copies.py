"""Copies of checkpoints elsewhere: sent in a thread, fetched when they are missed, believed only when whole."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from kalibre.core.errors import SnapshotError
from kalibre.log.failpoints import failpoint
from kalibre.log.snapshots import Snapshots, fsync_folder

_MANIFEST = "manifest.json"
_FILES = ("arrays.npz", "scalars.json")
_SIGNS = 16
"""Signs of its digest in the name of a copy: one position may be come by again, by other code."""
_logger = logging.getLogger(__name__)


class Copies:
    """Copies of one learner's checkpoints at an address that fsspec knows.

    Copies are never removed there: how long they are kept is decided where they lie.
    """

    def __init__(self, address: str, snapshots: Snapshots) -> None:
        self._address = f"{address.rstrip('/')}/{snapshots.folder.name}"
        self._snapshots = snapshots
        self._lock = threading.Lock()
        self._next: Path | None = None
        self._thread: threading.Thread | None = None

    # --- there --------------------------------------------------------------------------------------------------------

    def copy(self, folder: Path) -> None:
        """Copy a checkpoint in a thread: a far address must not keep a learner waiting.

        While one is on its way only the newest of those that come meanwhile waits.
        """
        with self._lock:
            self._next = folder
            if self._thread is None:
                self._thread = threading.Thread(target=self._go_on, name="checkpoint-copy", daemon=True)
                self._thread.start()

    def _go_on(self) -> None:
        while True:
            with self._lock:
                folder, self._next = self._next, None
                if folder is None:
                    self._thread = None
                    return
            try:
                self._send(folder)
            except Exception as error:  # noqa: BLE001  (each kind of store raises its own)
                _logger.warning("checkpoint %s was not copied to %s: %s", folder, self._address, error)

    def _send(self, folder: Path) -> None:
        digest = self._snapshots.digest(folder)
        fs, path = _filesystem(f"{self._address}/{folder.name}-{digest[:_SIGNS]}")
        fs.makedirs(path, exist_ok=True)
        for name in (*_FILES, _MANIFEST):  # the manifest last: without it, a half-copied one is none
            fs.put_file(str(folder / name), f"{path}/{name}")
            failpoint("copies.file")

    def wait(self, timeout_s: float) -> None:
        """Wait until everything is copied."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)

    # --- and back -----------------------------------------------------------------------------------------------------

    def fetch(self, digest: str, target: Path) -> bool:
        """Bring a checkpoint back into a folder, under the name of its position; say whether there was a whole copy."""
        try:
            fs, path = _filesystem(self._address)
            names = [str(name).rstrip("/").rpartition("/")[2] for name in fs.ls(path, detail=False)]
            for name in names:
                position, _, signs = name.partition("-")
                if signs == digest[:_SIGNS] and position.isdigit() and self._take(fs, f"{path}/{name}", digest, target):
                    return True
        except Exception as error:  # noqa: BLE001  (each kind of store raises its own)
            _logger.warning("checkpoint %s was not fetched from %s: %s", digest[:12], self._address, error)
        return False

    def _take(self, fs: Any, path: str, digest: str, target: Path) -> bool:
        manifest = fs.cat_file(f"{path}/{_MANIFEST}")
        if sha256(manifest).hexdigest() != digest:
            return False
        try:
            with adopting(target) as temporary:
                folder = temporary / path.rpartition("/")[2].partition("-")[0]
                folder.mkdir()
                for name in _FILES:
                    fs.get_file(f"{path}/{name}", str(folder / name))
                    failpoint("copies.fetch")
                (folder / _MANIFEST).write_bytes(manifest)
                self._snapshots.load(folder)
        except SnapshotError as error:
            _logger.warning("the copy %s is not whole: %s", path, error)
            return False
        return True


@contextmanager
def adopting(target: Path) -> Iterator[Path]:
    """Give a folder to write into, and put it in its place at the end, at once; nothing is left of one that failed."""
    temporary = target.with_name(f".adopting-{target.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for path in (*temporary.rglob("*"), temporary):
            fsync_folder(path)
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)
        fsync_folder(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _filesystem(address: str) -> tuple[Any, str]:
    import fsspec

    fs, path = fsspec.url_to_fs(address)
    return fs, str(path)
