"""Read a CSV or Parquet file as a table of cells that can quote its own lines."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kalibre.core.bars import REQUIRED
from kalibre.core.errors import SourceError, SourceFormatError, UsageError
from kalibre.sources.base import HEADINGS, RATE_HEADINGS, plain

if TYPE_CHECKING:
    import polars as pl

CSV_SUFFIXES = (".csv", ".txt", ".tsv")
SUFFIXES = (*CSV_SUFFIXES, ".parquet", ".feather", ".arrow")
_DELIMITERS = (";", "\t", "|", ",")
_HEADER_WITHIN = 10  # lines: some publishers put their address or a title above the headings
_BINANCE = (
    *("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "trades"),
    *("taker_buy_volume", "taker_buy_quote_volume", "ignore"),
)
"""Binance Vision's spot files have no headings; these are their columns."""


@dataclass(frozen=True)
class Form:
    """What a text file is a table of, and how many cells of a line have to be known for it to be the headings."""

    row: str
    known: frozenset[str] = field(repr=False)
    least_cells: int
    least_known: int
    example: str
    or_else: str


@dataclass(frozen=True)
class Table:
    """Cells of a file; `line_numbers[i]` (from 1) and `lines[i]` are where row i stands in a text file."""

    where: str
    frame: pl.DataFrame
    lines: list[str] = field(default_factory=list)
    line_numbers: list[int] = field(default_factory=list)
    comma_proves_point: bool = False
    """Whether an unquoted comma parts the cells: then no number in them can be written with a decimal comma."""

    def quote(self, row: int) -> str:
        """Return the place and text of a row for a message."""
        if not self.lines:
            return f"{self.where}, row {row}: {self.frame.row(row, named=True)}"
        return f"{self.where}, line {self.line_numbers[row]}: {_short(self.lines[row])}"

    def where_true(self, keep: pl.Series) -> Table:
        """Return the rows that `keep` says, with their places in the file."""
        rows = keep.arg_true().to_list()
        return replace(
            self,
            frame=self.frame.filter(keep),
            lines=[self.lines[row] for row in rows] if self.lines else [],
            line_numbers=[self.line_numbers[row] for row in rows] if self.lines else [],
        )


def read_table(
    path: Path, *, encoding: str = "", columns: Mapping[str, str] | None = None, form: Form | None = None
) -> Table:
    """Read a file of bars, or of another form.

    Parameters
    ----------
    path
        A `.csv`, `.txt`, `.tsv`, `.parquet`, `.feather` or `.arrow` file.
    encoding
        Of a text file; empty: told by its byte order mark, else UTF-8, else Windows-1254 (Turkish).
    columns
        Headings that the caller named himself; they help to find the line of headings.
    form
        By what that line is known; None: bars.

    Raises
    ------
    SourceError
        If the file cannot be read.
    SourceFormatError
        If it is empty, is no table, or a line has more or fewer cells than the headings; the message quotes the line.
    """
    where = repr(path.name)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SourceError(f"file {str(path)!r} cannot be read: {error.strerror or error}; check the path") from error
    if not raw:
        raise SourceFormatError(f"{where} is empty (0 bytes): was the download cut off?")
    if path.suffix.lower() not in CSV_SUFFIXES:
        return Table(where=where, frame=_read_binary(path, raw))
    return _read_text(where, _decode(where, raw, encoding), frozenset((columns or {}).values()), form or BARS)


def _read_binary(path: Path, raw: bytes) -> pl.DataFrame:
    import polars as pl

    read = pl.read_parquet if path.suffix.lower() == ".parquet" else pl.read_ipc
    try:
        return read(io.BytesIO(raw))
    except (pl.exceptions.PolarsError, OSError) as error:
        kind = "Parquet" if path.suffix.lower() == ".parquet" else "Arrow"
        raise SourceFormatError(
            f"{path.name!r} is no {kind} file (it begins with {raw[:16]!r}): {error}; download it again"
        ) from error


def _decode(where: str, raw: bytes, encoding: str) -> str:
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if not encoding and raw.startswith(mark):
            encoding = name
    if not encoding and b"\x00" in raw:
        raise SourceFormatError(f"{where} is no text: it begins with {raw[:16]!r}; is the suffix right?")
    tried = [encoding] if encoding else ["utf-8", "cp1254"]
    for name in tried:
        try:
            return raw.decode(name)
        except LookupError as error:
            raise UsageError(f"encoding {name!r} is unknown: write for example utf-8 or cp1254") from error
        except UnicodeDecodeError as error:
            failed = error
    raise SourceFormatError(
        f"{where} is not written in {' or '.join(tried)}: byte {failed.object[failed.start]:#04x} at {failed.start}; "
        "say which it is with the option encoding"
    )


def _read_text(where: str, text: str, named: frozenset[str], form: Form) -> Table:
    numbered = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not numbered:
        raise SourceFormatError(f"{where} is empty: it holds no line with text")
    delimiter, at, headings = _find_headings(where, [line for _, line in numbered[:_HEADER_WITHIN]], named, form)
    numbered = numbered[at:]
    numbers, lines = [number for number, _ in numbered], [line for _, line in numbered]
    if not lines:
        raise SourceFormatError(
            f"{where} has headings ({_short(', '.join(headings))}) but not one {form.row} below them"
        )
    frame = _cells(where, numbers, lines, delimiter, headings)
    unquoted = delimiter == "," and not any('"' in line for line in lines)
    return Table(where=where, frame=frame, lines=lines, line_numbers=numbers, comma_proves_point=unquoted)


def _find_headings(where: str, head: list[str], named: frozenset[str], form: Form) -> tuple[str, int, list[str]]:
    """Return the delimiter, the index of the first line below the headings, and the headings."""
    best: tuple[int, str, int, list[str]] | None = None
    for delimiter in _DELIMITERS:
        for index, line in enumerate(head):
            cells = _split(line, delimiter)
            score = sum(1 for cell in cells if cell in named or plain(cell) in form.known)
            if len(cells) >= form.least_cells and score >= form.least_known and (best is None or score > best[0]):
                best = (score, delimiter, index + 1, cells)
    if best is not None:
        return best[1], best[2], best[3]
    for delimiter in _DELIMITERS if form is BARS else ():
        cells = _split(head[0], delimiter)
        if len(cells) in {6, 12} and all(cell[:1].isdigit() for cell in cells):
            return delimiter, 0, list(_BINANCE[: len(cells)])
    raise SourceFormatError(
        f"{where} has no line of headings{form.or_else}: its first line reads {_short(head[0])}; "
        f"put a line such as {form.example} on top"
    )


def _spellings(headings: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
    return frozenset(spelling for spellings in headings.values() for spelling in spellings if len(spelling) > 1)


BARS = Form(
    row="bar",
    known=_spellings(HEADINGS),
    least_cells=len(REQUIRED) - 1,
    least_known=4,
    example=",".join(REQUIRED),
    or_else=" and is not in Binance Vision's form",
)
RATES = Form(
    row="rate", known=_spellings(RATE_HEADINGS), least_cells=2, least_known=2, example="time,funding_rate", or_else=""
)


def _split(line: str, delimiter: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]


def _cells(where: str, numbers: list[int], lines: list[str], delimiter: str, headings: list[str]) -> pl.DataFrame:
    import polars as pl

    width = len(headings)
    unique = [
        name if name and name not in headings[:i] else f"{name or 'column'}#{i + 1}" for i, name in enumerate(headings)
    ]
    body = "\n".join(lines).encode()
    try:
        frame = pl.read_csv(
            io.BytesIO(body),
            has_header=False,
            new_columns=unique,
            separator=delimiter,
            infer_schema=False,
            schema_overrides=[pl.String] * width,
        )
    except pl.exceptions.PolarsError:
        frame = None
    # polars fills short lines with nulls: only those whose last cell is null can be short.
    suspects = list(range(len(lines)))
    if frame is not None and frame.width == width and frame.height == len(lines):
        suspects = frame[unique[-1]].is_null().arg_true().to_list()
    for row in suspects:
        if (count := len(_split(lines[row], delimiter))) != width:
            raise SourceFormatError(
                f"{where}, line {numbers[row]} has {count} cells, the headings have {width}: {_short(lines[row])}; "
                "mend or remove that line"
            )
    if frame is None or frame.width != width or frame.height != len(lines):
        rows = [_split(line, delimiter) for line in lines]
        frame = pl.DataFrame(
            {name: [row[i] for row in rows] for i, name in enumerate(unique)},
            schema_overrides=dict.fromkeys(unique, pl.String),
        )
    return frame.with_columns(pl.all().str.strip_chars())


def _short(text: str, limit: int = 160) -> str:
    return repr(text if len(text) <= limit else f"{text[:limit]}...")
