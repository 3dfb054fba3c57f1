"""Funding rates from CSV, Parquet and Arrow files: one column says when it was settled, one the rate."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from kalibre.core.errors import SourceError, SourceFormatError
from kalibre.sources.base import map_rate_columns
from kalibre.sources.files.numbers import find_decimal, parse_numbers
from kalibre.sources.files.table import RATES, SUFFIXES, Table, read_table
from kalibre.sources.files.times import parse_times


def is_funding_file(path: Path) -> bool:
    """Say whether a file's name tells that it holds funding rates: one of its words begins with `funding`.

    Examples
    --------
    >>> is_funding_file(Path("BTCUSDT_perp_funding8h_2025.parquet")), is_funding_file(Path("BTCUSDT-15m.csv"))
    (True, False)
    """
    return any(word.startswith("funding") for word in re.split(r"[^0-9a-z]+", path.stem.lower()))


def funding_files(path: Path) -> list[Path]:
    """Return the file itself, or a folder's files of funding rates by name.

    Raises
    ------
    SourceError
        If the folder cannot be read.
    """
    if not path.is_dir():
        return [path]
    try:
        return sorted(one for one in path.iterdir() if one.suffix.lower() in SUFFIXES and is_funding_file(one))
    except OSError as error:
        raise SourceError(f"folder {str(path)!r} cannot be read: {error.strerror or error}") from error


def read_rates(
    path: Path,
    symbol: str,
    *,
    decimal: str,
    date_order: str,
    timezone: str,
    encoding: str,
    columns: Mapping[str, str] | None,
) -> list[tuple[int, float]]:
    """Read the rates of a symbol, oldest first where the file is newest first; other disorder is left to be seen.

    Parameters
    ----------
    decimal, date_order, timezone, encoding
        As for bars; empty: proved from the file.
    columns
        Heading by `time`, `funding_rate` and `symbol`, for those that are not known by themselves.

    Raises
    ------
    SourceError
        If the file cannot be read.
    SourceFormatError
        If it is no table of rates; the message quotes the line.
    """
    table = read_table(path, encoding=encoding, columns=columns, form=RATES)
    found = map_rate_columns(table.frame.columns, columns, where=table.where)
    if "symbol" in found:
        table = _of_symbol(table, found["symbol"], symbol)
    time = parse_times(table, found["time"], timezone=timezone, date_order=date_order)
    column = table.frame[found["funding_rate"]]
    written = [found["funding_rate"]] if not column.dtype.is_numeric() else []
    mark = decimal or (find_decimal(table, written) if written else ".")
    rates = list(zip(time.tolist(), parse_numbers(table, found["funding_rate"], mark).to_list(), strict=True))
    return rates[::-1] if len(rates) > 1 and bool((np.diff(time) <= 0).all()) else rates


def joined(parts: list[list[tuple[int, float]]]) -> Iterator[tuple[int, float]]:
    """Yield the rates of several files, the file that begins first first."""
    for part in sorted((part for part in parts if part), key=lambda rates: rates[0][0]):
        yield from part


def _of_symbol(table: Table, heading: str, symbol: str) -> Table:
    import polars as pl

    keep = table.frame[heading].cast(pl.String) == symbol
    if keep.null_count():
        raise SourceFormatError(f"{table.quote(int(keep.is_null().arg_true()[0]))} names no symbol: mend that line")
    return table.where_true(keep)
