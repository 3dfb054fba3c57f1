"""Copies of checkpoints elsewhere: sent in a thread, kept by the rule of those here, believed only when whole."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from kalibre.core.errors import SnapshotError
from kalibre.core.timeframe import DAY_MS
from kalibre.log.failpoints import failpoint
from kalibre.log.snapshots import Snapshots, fsync_folder

_MANIFEST = "manifest.json"
_FILES = ("arrays.npz", "scalars.json")
_SIGNS = 16
"""Signs of its digest in the name of a copy: one position may be come by again, by other code."""
T = TypeVar("T")
_logger = logging.getLogger(__name__)


class Copies:
    """Copies of one learner's checkpoints at an address that fsspec knows.

    After each copy those are taken away that the rule of keeping does not hold. What a restore named stays: it is
    pinned here, or the caller says so. An address that cannot tell when a copy was made keeps all of them.

    Parameters
    ----------
    address
        Where they lie, one folder a learner. Two homes want two addresses: each would take the other's away.
    snapshots
        Those that are copied.
    newest
        How many of the newest are kept, beside one for each day (UTC).
    pinned
        Folder whose entries are named after the digests that stay.
    """

    def __init__(self, address: str, snapshots: Snapshots, *, newest: int, pinned: Path) -> None:
        self._address = f"{address.rstrip('/')}/{snapshots.folder.name}"
        self._snapshots = snapshots
        self._newest, self._pinned = newest, pinned
        self._named: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        self._next: Path | None = None
        self._thread: threading.Thread | None = None

    # --- there --------------------------------------------------------------------------------------------------------

    def copy(self, folder: Path, *, named: Collection[str] = ()) -> None:
        """Copy a checkpoint in a thread: a far address must not keep a learner waiting.

        While one is on its way only the newest of those that come meanwhile waits.

        Parameters
        ----------
        named
            Digests of copies that stay, beside the pinned ones.
        """
        with self._lock:
            self._next, self._named = folder, self._named.union(named)
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
                continue
            try:
                self._take_away(self._snapshots.digest(folder))
            except Exception as error:  # noqa: BLE001
                _logger.warning("old copies at %s were not taken away: %r", self._address, error)

    def _send(self, folder: Path) -> None:
        digest = self._snapshots.digest(folder)
        fs, path = _filesystem(f"{self._address}/{folder.name}-{digest[:_SIGNS]}")
        fs.makedirs(path, exist_ok=True)
        for name in (*_FILES, _MANIFEST):  # the manifest last: without it, a half-copied one is none
            fs.put_file(str(folder / name), f"{path}/{name}")
            failpoint("copies.file")

    def _take_away(self, newest: str) -> None:
        """Take away the copies that are no longer kept, and what is left of half-made ones after a day."""
        fs, path = _filesystem(self._address)
        fs.invalidate_cache()
        made, torn = dict[str, int](), dict[str, int]()
        for name in fs.ls(path, detail=False):
            copy = str(name).rstrip("/")
            position, _, signs = copy.rpartition("/")[2].partition("-")
            files = fs.find(copy) if position.isdigit() and len(signs) == _SIGNS else []
            if files:
                whole = any(str(file).endswith(f"/{_MANIFEST}") for file in files)
                # By the clock there: ours may differ.
                (made if whole else torn)[copy] = max(_milliseconds(fs.modified(file)) for file in files)
        newest_ms = max(made.values(), default=0)
        ordered = sorted(made, key=lambda copy: (made[copy], copy), reverse=True)
        kept = newest_and_daily([(copy, made[copy]) for copy in ordered], newest=self._newest)
        pinned = (one.name for one in self._pinned.glob("[!.]*"))
        stay = {digest[:_SIGNS] for digest in (newest, *self._named, *pinned)}
        for copy in made:
            if copy not in kept and copy.rpartition("-")[2] not in stay:
                # The manifest first: without it, what is left after a kill is no copy.
                fs.rm_file(f"{copy}/{_MANIFEST}")
                failpoint("copies.taken")
                fs.rm(copy, recursive=True)
        for copy, made_ms in torn.items():
            if made_ms < newest_ms - DAY_MS:
                fs.rm(copy, recursive=True)

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


def newest_and_daily(made: Sequence[tuple[T, int]], *, newest: int) -> set[T]:
    """Choose the first so many, and the first of each day (UTC).

    Parameters
    ----------
    made
        Each with when it was made, UTC ms, newest first.

    Examples
    --------
    >>> day = 86_400_000
    >>> sorted(newest_and_daily([("e", 2 * day + 3), ("d", 2 * day), ("c", day + 9), ("b", day), ("a", 5)], newest=1))
    ['a', 'c', 'e']
    """
    chosen, days = {one for one, _ in made[:newest]}, set[int]()
    for one, made_ms in made:
        if made_ms // DAY_MS not in days:
            days.add(made_ms // DAY_MS)
            chosen.add(one)
    return chosen


def _milliseconds(moment: datetime) -> int:
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return int(aware.timestamp() * 1_000)


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
