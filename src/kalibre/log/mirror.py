"""A Parquet mirror of the log's bars: a million of them load in a fraction of a second instead of several.

The mirror is a convenience that can always be made again: it holds every revision of every bar with its position and
wall time, in parts that are written once, and an index that names each part with its size and sha256. Every load checks
them, and that the log still has the event up to which the mirror goes; what is torn, foreign or ahead of the log is
thrown away and built again. New bars are read from the log directly until there are enough of them for another part.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import logging
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from kalibre.core.bars import NEWS, OPTIONAL, REQUIRED, Bars
from kalibre.core.events import Event, series_key
from kalibre.log.protocol import EventLog
from kalibre.log.replay import anchor
from kalibre.log.snapshots import fsync_folder

if TYPE_CHECKING:
    import polars as pl

_logger = logging.getLogger(__name__)

_CHUNK = 50_000
_PART_FROM = 2_000  # fewer new bars than these are read from the log each time, in about a millisecond per hundred
_MOST_PARTS = 8
_FORMAT = 1
_INDEX = "index.json"


class _TornError(Exception):
    """The mirror on the disk is not what its index says."""


class Mirror:
    """The Parquet mirror of a log, in a folder that may be deleted at any time.

    Parameters
    ----------
    log
        The truth.
    folder
        One folder a series is made in it. Several processes may share it.
    """

    def __init__(self, log: EventLog, folder: Path) -> None:
        self._log = log
        self._folder = folder

    def bars(
        self,
        symbol: str,
        timeframe: str,
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
        as_of: int | None = None,
    ) -> Bars:
        """Return the newest revision of each bar, oldest first; the mirror is brought up to date on the way.

        Parameters
        ----------
        start_ms, end_ms
            `start_ms <= open_time < end_ms`, UTC ms.
        as_of
            Only what had been recorded by this wall time (UTC ms): the bars as they were known then.
        """
        import polars as pl

        frame = self.frame(symbol, timeframe, start_ms=start_ms, end_ms=end_ms, as_of=as_of)
        kept = [name for name in OPTIONAL if len(frame) and not frame[name].has_nulls()]
        news = [pl.col(name).fill_null(0.0) for name in NEWS if frame[name].null_count() < len(frame)]
        return Bars.from_frame(frame.select(*REQUIRED, *kept, *news), symbol=symbol, timeframe=timeframe)

    def frame(
        self,
        symbol: str,
        timeframe: str,
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
        as_of: int | None = None,
    ) -> pl.DataFrame:
        """Return the same as a polars frame, with `seq`, `revision`, `recorded_at` beside the columns of a bar."""
        import polars as pl

        parts, tail = self._current(series_key(symbol, timeframe))
        everything = pl.concat([*parts, tail]) if len(tail) or not parts else pl.concat(parts)
        time = pl.col("open_time")
        for condition in (
            time >= start_ms if start_ms is not None else None,
            time < end_ms if end_ms is not None else None,
            pl.col("recorded_at") <= as_of if as_of is not None else None,
        ):
            if condition is not None:
                everything = everything.filter(condition)
        steps = np.diff(everything["open_time"].to_numpy())
        if len(steps) and steps.min() <= 0:  # only where something was late or revised
            everything = everything.sort("open_time", "revision").unique(
                subset="open_time", keep="last", maintain_order=True
            )
        return everything

    def rebuild(self, symbol: str, timeframe: str) -> None:
        """Throw the mirror of a series away and build it again from the log."""
        folder = self._series_folder(series_key(symbol, timeframe))
        with self._locked(folder):
            (folder / _INDEX).unlink(missing_ok=True)
        self.frame(symbol, timeframe)

    # --- parts --------------------------------------------------------------------------------------------------------

    def _series_folder(self, key: str) -> Path:
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", key)
        return self._folder / f"{safe}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"

    def _current(self, key: str) -> tuple[list[pl.DataFrame], pl.DataFrame]:
        """Return the parts as they are on the disk, and the rest from the log."""
        folder = self._series_folder(key)
        try:
            index, parts = self._stored(folder)
        except _TornError:
            try:  # another process may have merged the parts while we read: under its lock that cannot be
                with self._locked(folder):
                    index, parts = self._stored(folder)
            except (_TornError, OSError) as torn:
                _logger.warning("mirror of %s is built again: %s", key, torn)
                index, parts = {"position": 0, "parts": []}, []
        fresh, position = self._since(key, int(index["position"]))
        if len(fresh) < _PART_FROM:
            return parts, fresh
        parts.append(fresh)
        try:
            self._extend(folder, key, index["parts"], parts, position)
        except OSError as error:  # a full disk costs speed, not bars
            _logger.warning("mirror of %s cannot be written: %s", key, error)
        return parts, fresh.clear()

    def _stored(self, folder: Path) -> tuple[dict[str, Any], list[pl.DataFrame]]:
        if not (folder / _INDEX).exists():
            return {"position": 0, "parts": []}, []
        index = self._index(folder)
        return index, [_load(folder, part) for part in index["parts"]]

    def _extend(self, folder: Path, key: str, named: list[Any], parts: list[pl.DataFrame], position: int) -> None:
        """Store the last of the parts, or all as one where there are too many, and name them in the index."""
        import polars as pl

        with self._locked(folder):
            if len(parts) > _MOST_PARTS:
                named, parts = [], [pl.concat(parts)]
            stored = [*named, _store(folder, parts[-1])]
            index = {
                "format": _FORMAT,
                "key": key,
                "position": position,
                "anchor": anchor(self._log, position),
                "parts": stored,
            }
            _replace(folder / _INDEX, json.dumps(index, indent=1).encode())
            _forget(folder, {part["name"] for part in stored})

    def _index(self, folder: Path) -> dict[str, Any]:
        try:
            index = json.loads((folder / _INDEX).read_bytes())
        except (OSError, ValueError) as error:
            raise _TornError(f"its index cannot be read: {error}") from error
        if not isinstance(index, dict) or index.get("format") != _FORMAT or not isinstance(index.get("parts"), list):
            raise _TornError(f"its index is of another format: {str(index)[:80]}")
        position = index.get("position")
        if not isinstance(position, int) or index.get("anchor") != anchor(self._log, position):
            raise _TornError(f"the log has another event at position {position}")
        return dict(index)

    def _since(self, key: str, after: int) -> tuple[pl.DataFrame, int]:
        """Read the bars behind a position from the log."""
        import polars as pl

        chunks = []
        while events := self._log.read(after=after, kinds=("bar",), key=key, limit=_CHUNK):
            chunks.append(_to_frame(events))
            after = events[-1].seq
            if len(events) < _CHUNK:
                break
        return (pl.concat(chunks) if chunks else _to_frame([])), after

    @contextlib.contextmanager
    def _locked(self, folder: Path) -> Iterator[None]:
        """Let one process at a time write a series; readers need no lock, what they read is never changed."""
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _schema() -> dict[str, Any]:
    import polars as pl

    whole = dict.fromkeys(("seq", "revision", "recorded_at", "open_time"), pl.Int64)
    return {**whole, **dict.fromkeys((*REQUIRED[1:], *OPTIONAL, *NEWS), pl.Float64)}


def _to_frame(events: list[Event]) -> pl.DataFrame:
    import polars as pl

    columns: dict[str, list[Any]] = {
        name: [getattr(event, name) for event in events] for name in ("seq", "revision", "recorded_at")
    }
    for name in (*REQUIRED, *OPTIONAL):
        columns[name] = [getattr(event.payload, name) for event in events]
    for name in NEWS:
        said = [getattr(event.payload, name) for event in events]
        columns[name] = [None if value is msgspec.UNSET else value for value in said]
    return pl.DataFrame(columns, schema=_schema())


def _store(folder: Path, frame: pl.DataFrame) -> dict[str, Any]:
    """Write one part under a name made of its content."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="lz4", statistics=False)
    raw = buffer.getvalue()
    digest = hashlib.sha256(raw).hexdigest()
    name = f"part-{digest[:16]}.parquet"
    _replace(folder / name, raw)
    return {"name": name, "size": len(raw), "sha256": digest, "rows": len(frame)}


def _load(folder: Path, part: Any) -> pl.DataFrame:
    import polars as pl

    try:
        raw = (folder / part["name"]).read_bytes()
        if len(raw) != part["size"] or hashlib.sha256(raw).hexdigest() != part["sha256"]:
            raise _TornError(f"{part['name']} has {len(raw)} bytes with another sha256 than its index says")
        frame = pl.read_parquet(io.BytesIO(raw))
    except (OSError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
        raise _TornError(f"a part cannot be read: {error!r}") from error
    if frame.schema != pl.Schema(_schema()):
        raise _TornError(f"{part['name']} has other columns: {frame.schema}")
    return frame


def _replace(path: Path, raw: bytes) -> None:
    """Replace a file by one rename, after its content is on the disk."""
    descriptor, temporary = tempfile.mkstemp(prefix=".writing-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(raw)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def _forget(folder: Path, named: set[str]) -> None:
    """Remove parts and leftovers that the index does not name; a reader that still wanted one builds its own view."""
    for path in (*folder.glob("part-*.parquet"), *folder.glob(".writing-*")):
        if path.name not in named:
            path.unlink(missing_ok=True)
