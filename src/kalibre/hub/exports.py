"""Exports: the predictions log, performance and training history as JSON Lines or Parquet, for any time range.

Rows come in the order of event times, whatever the order in which the log recorded them, and are written as they are
read: a year takes no more memory than a day. A file is there whole, or not at all.
"""

from __future__ import annotations

import os
import tempfile
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from kalibre.core.errors import HubError, UsageError
from kalibre.core.events import Event, Forecast, ModelTrained, Outcome
from kalibre.core.hub_events import Checkpoint, EnsembleForecast, League, Score, Standing
from kalibre.log.failpoints import failpoint
from kalibre.log.protocol import EventLog
from kalibre.log.snapshots import fsync_folder

FORMATS = ("jsonl", "parquet")
_MOST_EVENTS = 8_000
"""Events held at once; of more than these in a slice of time, the slice is made smaller."""
_FIRST_SLICE_MS = 6 * 3_600_000
_ROW_GROUP = 50_000

Row = dict[str, Any]
Types = dict[str, type]

_PLACE: Types = {"position": int, "event_time": int, "recorded_at": int, "symbol": str, "timeframe": str, "name": str}
_SAID: Types = {
    **{"kind": str, "revision": int, "provenance": str, "model": str, "label": str, "horizon_bars": int},
    **{"score": float, "p_up": float, "abstained": str, "late": bool, "weights": str, "silent": str},
    **{"outcome_position": int, "went_up": bool, "log_return": float},
}


def _types_of(struct: type) -> Types:
    """Return the plain type of each number, truth or word of a struct; what is made of several has none."""
    found = {}
    for name, hint in typing.get_type_hints(struct).items():
        options = [one for one in (typing.get_args(hint) or (hint,)) if one is not type(None)]
        if name in struct.__struct_fields__ and len(options) == 1 and options[0] in (int, float, str, bool):  # type: ignore[attr-defined]
            found[name] = options[0]
    return found


_FIGURES = {**_types_of(Score), **{name: kind for name, kind in _types_of(Standing).items() if name != "name"}}


class _Table(NamedTuple):
    kinds: frozenset[str]
    columns: Types
    rows: Callable[[list[Event]], Iterator[Row]]


def export(
    log: EventLog,
    what: str,
    form: str,
    path: Path,
    *,
    start_ms: int | None = None,
    end_ms: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write a part of what the log holds to a file; return the rows written.

    Parameters
    ----------
    what
        `predictions`: a row for each revision of a forecast, and of the ensemble's, joined by key and time with its
        outcome; `metrics`: a row for each `score`, and for each standing of a `league`; `training`: a row for each
        figure of a model that was trained, of a learner's checkpoint, and of a `score`.
    form
        `jsonl` or `parquet`.
    path
        The file; one that is there is replaced.
    start_ms, end_ms
        Event times: `start_ms <= event_time < end_ms`, UTC ms; None leaves a side open.
    progress
        Is told the rows written so far; what it raises ends the export, and leaves nothing behind.

    Raises
    ------
    UsageError
        If there is no such table or format, the range is empty, or the path cannot be a file; the message quotes it.
    HubError
        If the file cannot be written.
    """
    if what not in TABLES:
        raise UsageError(f"there is no export of {what!r}: choose one of {', '.join(TABLES)}")
    if form not in FORMATS:
        raise UsageError(f"an export cannot be written as {form!r}: choose one of {', '.join(FORMATS)}")
    if start_ms is not None and end_ms is not None and end_ms <= start_ms:
        raise UsageError(f"the range from {start_ms!r} to {end_ms!r} holds nothing: the end is later than the start")
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"{str(path)!r} cannot be written: name a file in a folder that is there")
    table = TABLES[what]
    written = 0

    def chunks() -> Iterator[list[Row]]:
        nonlocal written
        for events in _slices(log, table.kinds, start_ms, end_ms):
            rows = list(table.rows(events))
            if rows:
                written += len(rows)
                yield rows
            if progress is not None:
                progress(written)

    write = _write_jsonl if form == "jsonl" else _write_parquet
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=".exporting-", dir=path.parent)
        os.close(descriptor)
        write(Path(temporary), table.columns, chunks())
        with open(temporary, "rb") as stream:
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        failpoint("exports.written")
        Path(temporary).replace(path)
        fsync_folder(path.parent)
    except BaseException as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise HubError(f"{str(path)!r} cannot be written: {error}; free some space or name another") from error
        raise
    return written


# --- reading ----------------------------------------------------------------------------------------------------------


def _slices(log: EventLog, kinds: frozenset[str], start_ms: int | None, end_ms: int | None) -> Iterator[list[Event]]:
    """Yield the events of slice after slice of time, each sorted, as of the moment at which it begins."""
    upto = log.head()
    start = _first_ms(log, kinds, upto) if start_ms is None else start_ms
    if end_ms is None:
        newest = [event.event_time for kind in kinds if (event := log.latest(kind, by="event_time")) is not None]
        end_ms = max(newest) + 1 if newest else None
    if start is None or end_ms is None:
        return
    span = _FIRST_SLICE_MS
    while start < end_ms:
        stop = min(start + span, end_ms)
        limit = _MOST_EVENTS if span > 1 else None  # a single moment is not divided further
        events = log.read(kinds=kinds, start_ms=start, end_ms=stop, upto=upto, limit=limit)
        if len(events) == limit:
            span = max(span // 4, 1)
            continue
        if 2 * len(events) < _MOST_EVENTS:
            span *= 2
        if events:
            yield sorted(events, key=lambda event: (event.event_time, event.key, event.kind, event.revision))
        start = stop


def _first_ms(log: EventLog, kinds: frozenset[str], upto: int) -> int | None:
    """Return the earliest event time: that of the first recorded event, or of one that was filled in before it."""
    earliest = None
    while found := log.read(kinds=kinds, end_ms=earliest, upto=upto, limit=1):
        earliest = found[0].event_time
    return earliest


# --- rows -------------------------------------------------------------------------------------------------------------


def _place(event: Event) -> Row:
    symbol, _, rest = event.key.partition("|")
    timeframe, _, name = rest.partition("|")
    row = {"position": event.seq, "event_time": event.event_time, "recorded_at": event.recorded_at}
    return {**row, "symbol": symbol, "timeframe": timeframe, "name": name}


def _predictions(events: list[Event]) -> Iterator[Row]:
    outcomes: dict[tuple[str, int], list[Event]] = {}
    for event in events:
        if isinstance(event.payload, Outcome):
            outcomes.setdefault((event.key, event.event_time), []).append(event)
    for event in events:
        said = event.payload
        if not isinstance(said, Forecast | EnsembleForecast):
            continue
        fields = msgspec.structs.asdict(said)
        row = {name: fields.get(name) for name in _SAID}
        row |= {"kind": event.kind, "revision": event.revision, "provenance": event.provenance}
        for name in ("weights", "silent"):
            row[name] = msgspec.json.encode(fields[name], order="deterministic").decode() if name in fields else None
        matured = _outcome(said.p_up, outcomes.get((event.key, event.event_time), []))
        if matured is not None and isinstance(matured.payload, Outcome):
            row |= {"outcome_position": matured.seq, "went_up": matured.payload.went_up}
            row["log_return"] = matured.payload.log_return
        yield {**_place(event), **row}


def _outcome(p_up: float | None, found: list[Event]) -> Event | None:
    """Return what became of a forecast: of several revisions the newest, first of all of those that mean its `p_up`."""
    if p_up is None:
        return None
    meant = [event for event in found if isinstance(event.payload, Outcome) and event.payload.p_up == p_up]
    return max(meant or found, key=lambda event: event.revision, default=None)


def _metrics(events: list[Event]) -> Iterator[Row]:
    nothing = dict.fromkeys(_FIGURES)
    for event in events:
        place = {**_place(event), "kind": event.kind, "window": None}
        if isinstance(event.payload, Score):
            yield {**place, **nothing, **msgspec.structs.asdict(event.payload)}
        elif isinstance(event.payload, League):
            for standing in event.payload.rows:
                yield {**place, "window": event.payload.window, **nothing, **msgspec.structs.asdict(standing)}


def _training(events: list[Event]) -> Iterator[Row]:
    for event in events:
        place, said = {**_place(event), "kind": event.kind}, event.payload
        figures: dict[str, float | None]
        if isinstance(said, Checkpoint):
            figures = {"size_bytes": float(said.size_bytes), **said.metrics}
            place |= {"symbol": None, "timeframe": None, "name": event.key, "about": said.digest}
        elif isinstance(said, ModelTrained):
            figures = said.metrics
            place["about"] = said.model
        elif isinstance(said, Score):
            figures = {name: None if value is None else float(value) for name, value in _numbers(said)}
            place["about"] = ""
        else:
            continue
        for metric in sorted(figures):
            yield {**place, "metric": metric, "value": figures[metric]}


def _numbers(score: Score) -> Iterator[tuple[str, Any]]:
    return ((name, getattr(score, name)) for name in _types_of(Score))


TABLES: dict[str, _Table] = {
    "predictions": _Table(frozenset({"forecast", "ensemble", "outcome"}), {**_PLACE, **_SAID}, _predictions),
    "metrics": _Table(frozenset({"score", "league"}), {**_PLACE, "kind": str, "window": int, **_FIGURES}, _metrics),
    "training": _Table(
        frozenset({"model", "checkpoint", "score"}),
        {**_PLACE, "kind": str, "about": str, "metric": str, "value": float},
        _training,
    ),
}


# --- writing ----------------------------------------------------------------------------------------------------------


def _write_jsonl(path: Path, columns: Types, chunks: Iterator[list[Row]]) -> None:
    encoder = msgspec.json.Encoder()
    with path.open("wb") as stream:
        for rows in chunks:
            ordered = [{name: row[name] for name in columns} for row in rows]
            stream.write(encoder.encode_lines(ordered))


def _write_parquet(path: Path, columns: Types, chunks: Iterator[list[Row]]) -> None:
    import polars as pl
    from polars.io.plugins import register_io_source

    kinds = {int: pl.Int64, float: pl.Float64, str: pl.String, bool: pl.Boolean}
    schema = pl.Schema({name: kinds[column]() for name, column in columns.items()})

    def frames(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        for rows in chunks:
            yield pl.DataFrame({name: [row[name] for row in rows] for name in columns}, schema=schema)

    # The streaming engine takes one frame at a time and writes it away before it asks for many more.
    try:
        register_io_source(frames, schema=schema).sink_parquet(path, compression="zstd", row_group_size=_ROW_GROUP)
    except pl.exceptions.ComputeError as error:  # how it tells of a disk that is full
        raise OSError(str(error)) from error
