"""Rows of a text file that a user brings: CSV, TSV, JSON lines or plain lines, in UTF-8 or a Turkish code page."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from kalibre.core.errors import LanguageError, UsageError
from kalibre.language.text.casing import fold

LARGEST_BYTES: Final = 512 * 1024 * 1024
_LONE = re.compile("[\ud800-\udfff]")
"""Halves of characters, which JSON can spell and no file or terminal can take: they become U+FFFD."""


def read_rows(
    path: Path,
    required: Sequence[str],
    optional: Sequence[str] = (),
    *,
    also: Mapping[str, Sequence[str]] | None = None,
) -> list[dict[str, str]]:
    """Read rows with named columns; capitals and blanks in a column's name do not matter.

    Parameters
    ----------
    path
        `.csv`, `.tsv`, `.jsonl` (or `.json` with a list of objects); of `.txt` each line is the first required column.
    required
        Columns that every row must have, not empty.
    optional
        Columns that are kept where they are there; empty text otherwise.
    also
        Other names of a column: `{"text": ("title", "headline")}`.

    Raises
    ------
    UsageError
        If the file is not there, a column is missing (the message lists what is there) or a required field is empty.
    LanguageError
        If the file is binary, torn or too large, a row has more fields than columns, or a field is no text; the message
        quotes the row.
    """
    text = read_text(path)
    match path.suffix.lower():
        case ".jsonl" | ".ndjson":
            rows = _json_lines(path, text)
        case ".json":
            rows = _objects(path, _parsed(path, text, "the file"), "the file")
        case ".csv" | ".tsv":
            rows = _separated(path, text)
        case ".txt" | "":
            rows = [{required[0]: line} for line in text.splitlines() if line.strip()]
        case other:
            raise UsageError(f"{str(path)!r} ends in {other!r}: bring a .csv, .tsv, .jsonl, .json or .txt file")
    if not rows:
        raise LanguageError(f"{str(path)!r} holds no row: it needs at least one with {', '.join(required)}")
    names = {name: (name, *(also or {}).get(name, ())) for name in (*required, *optional)}
    return [_picked(path, place, row, names, required) for place, row in enumerate(rows, start=1)]


def read_text(path: Path) -> str:
    """Read a text file: UTF-8 with or without mark, UTF-16 with one, else the Turkish code page of Windows.

    Raises
    ------
    UsageError
        If the file is not there.
    LanguageError
        If it is too large, or no text.
    """
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise LanguageError(f"{str(path)!r} is larger than {LARGEST_BYTES // 2**20} MiB: split it")
        raw = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{str(path)!r} cannot be read ({error}): name a file that is there") from error
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encodings = ["utf-16"]
    elif b"\x00" in raw:
        raise LanguageError(f"{str(path)!r} is binary (it holds NUL bytes): bring text")
    else:
        encodings = ["utf-8-sig", "cp1254"]
    for encoding in encodings:
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise LanguageError(f"{str(path)!r} is neither UTF-8 nor Windows-1254: save it as UTF-8")


def _json_lines(path: Path, text: str) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = []
    # Only line feeds end a line: JSON allows U+2028 and its kin inside a text.
    for place, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            rows += _objects(path, [_parsed(path, line, f"line {place}")], f"line {place}")
    return rows


def _parsed(path: Path, text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LanguageError(f"{str(path)!r}, {where}: {text[:60]!r} is no JSON ({error}): mend it") from error


def _objects(path: Path, found: Any, where: str) -> list[Mapping[str, Any]]:
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise LanguageError(f"{str(path)!r}, {where}: {str(found)[:60]!r} is no object with named fields: mend it")
    return found


def _separated(path: Path, text: str) -> list[Mapping[str, Any]]:
    head = text.split("\n", 1)[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t|", key=head.count)
    if delimiter not in head:
        delimiter = "\x1f"  # one column: nothing separates, and a comma is one of the text
    # A field of a document may be long; the limit is the file's.
    csv.field_size_limit(LARGEST_BYTES)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        rows: list[Mapping[Any, Any]] = [row for row in reader if any(row.values())]
    except csv.Error as error:
        raise LanguageError(f"{str(path)!r} is no CSV ({error}): mend the quotes") from error
    for place, row in enumerate(rows, start=1):
        # What is beyond the columns stands under None: a text with an unquoted separator has moved all behind it.
        if over := row.get(None):
            columns = len(reader.fieldnames or ())
            raise LanguageError(
                f"{str(path)!r}, row {place}: {len(over) + columns} fields for {columns} columns, the last "
                f"{over[-1][:40]!r}: put fields that hold {delimiter!r} in quotes"
            )
    return rows


def _picked(
    path: Path, place: int, row: Mapping[str, Any], names: Mapping[str, Sequence[str]], required: Sequence[str]
) -> dict[str, str]:
    there = {_key(key): row[key] for key in reversed(list(row))}
    found: dict[str, str] = {}
    for name, spellings in names.items():
        keys = [_key(one) for one in spellings]
        value = next((there[key] for key in keys if there.get(key) not in (None, "")), None)
        if value is None and name in required:
            if any(key in there for key in keys):
                raise UsageError(f"{str(path)!r}, row {place}: {name!r} is empty: fill it, or leave the row out")
            raise UsageError(
                f"{str(path)!r}, row {place}: there is no {name!r} among {[str(key) for key in row][:12]}: name the "
                f"columns {', '.join(required)}"
            )
        if isinstance(value, (list, dict)):
            raise LanguageError(f"{str(path)!r}, row {place}: {name!r} is {str(value)[:40]!r}, no text: give a string")
        found[name] = "" if value is None else _LONE.sub("\ufffd", str(value))
    return found


def _key(name: Any) -> str:
    """Return a column's name as it is compared."""
    return fold(str(name).strip())
