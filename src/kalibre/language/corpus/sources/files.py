"""Texts from files: .txt, .json, .jsonl, .csv, .tsv, .html, each also compressed as .xz or .gz."""

from __future__ import annotations

import csv
import glob
import gzip
import io
import lzma
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from kalibre.core.errors import SourceError, SourceFormatError, UsageError
from kalibre.language.corpus.decoding import decode
from kalibre.language.corpus.sources.base import DATE, LICENCE, TEXT, TITLE, URL, Found, Left, iso_date, pick

_OPENERS: dict[str, Any] = {".xz": lzma.open, ".gz": gzip.open}
SPLITS = ("file", "block", "line")
_NO_TEXT = {".xml", ".rss", ".atom", ".yaml", ".yml", ".toml", ".js", ".css", ".svg", ".rtf"}
"""Text to programs: markup and code would be stored as if it were prose."""


class Source:
    """Texts from files; a file that has not changed since the last build is not read again.

    Parameters
    ----------
    paths
        Files or patterns (`texts/**/*.txt`).
    split
        What is a document in a text file: the `file`, a `block` between blank lines, or a `line`.
    text, title, date, url
        Columns of tables and JSON lines, where they have other names than usual.
    largest_mb
        A file that holds more, unpacked, is left out.
    """

    def __init__(
        self,
        paths: Sequence[str],
        split: str = "file",
        text: str = "",
        title: str = "",
        date: str = "",
        url: str = "",
        largest_mb: float = 500.0,
    ) -> None:
        if isinstance(paths, str) or not paths:
            raise UsageError(f"paths {paths!r} of source 'files' is no list of files: write paths = [\"texts/*.txt\"]")
        if split not in SPLITS:
            raise UsageError(f"split {split!r} of source 'files' is unknown: choose one of {', '.join(SPLITS)}")
        if not 0.1 <= largest_mb <= 10_000:
            raise UsageError(f"largest_mb {largest_mb!r} of source 'files' is out of range: choose 0.1 to 10000")
        self._paths, self._split, self._largest = tuple(paths), split, int(largest_mb * 2**20)
        self._columns = (text, title, date, url)

    def read(self, memory: dict[str, Any]) -> Iterator[Found | Left]:
        """Yield the documents of files that are new or changed, or were read with other options."""
        for path in self._found():
            name = _shown(str(path))
            try:
                stat = path.stat()
            except OSError as error:
                yield Left(where=name, reason="unreadable", detail=str(error))
                continue
            mark = [stat.st_size, stat.st_mtime_ns, " ".join((self._split, *self._columns)).rstrip()]
            if memory.get(name) == mark:
                continue
            try:
                yield from self._documents(path, name)
            except (SourceFormatError, EOFError, lzma.LZMAError, zlib.error, csv.Error) as error:
                yield Left(where=name, reason="unreadable", detail=str(error))
            except OSError as error:
                yield Left(where=name, reason="unreadable", detail=str(error))
                if not isinstance(error, gzip.BadGzipFile):
                    continue  # not the file's fault, and mended without changing it
            memory[name] = mark

    def _found(self) -> list[Path]:
        paths: set[str] = set()
        for pattern in self._paths:
            # A name that is there is meant as it stands, brackets and all.
            paths.update([pattern] if os.path.lexists(pattern) else glob.glob(pattern, recursive=True))
        listed = ", ".join(map(repr, self._paths))
        if not paths:
            raise SourceError(f"no file matches {listed}: correct paths of source 'files'")
        found = [Path(path) for path in sorted(paths) if Path(path).is_file()]
        if not found:
            first = min(paths)
            raise SourceError(f"{listed} names a folder and no file: write for example {_shown(first) + '/**/*.txt'!r}")
        return found

    def _documents(self, path: Path, name: str) -> Iterator[Found | Left]:
        opener = _OPENERS.get(path.suffix.lower())
        kind = (path.with_suffix("") if opener else path).suffix.lower()
        if kind in _NO_TEXT:
            yield Left(where=name, reason="unreadable", detail=f"{kind} files hold markup or code")
            return
        with opener(path, "rb") if opener else path.open("rb") as stream:
            content = stream.read(self._largest + 1)
        if len(content) > self._largest:
            yield Left(where=name, reason="too large", detail=f"over {self._largest >> 20} MB")
            return
        text = decode(content)
        if kind in {".jsonl", ".ndjson"}:
            yield from self._json_lines(text, name)
        elif kind == ".json":
            yield from self._json(text, name)
        elif kind in {".csv", ".tsv"}:
            yield from self._table(text, name)
        elif kind in {".html", ".htm"}:
            from kalibre.language.corpus.sources._pages import article

            found = article(text)
            yield msgspec.structs.replace(found, where=name) if found else Left(where=name, reason="no article")
        else:
            yield from self._plain(text, name)

    def _plain(self, text: str, name: str) -> Iterator[Found]:
        if self._split == "file":
            yield Found(text=text, where=name)
            return
        block: list[str] = []
        for number, line in enumerate([*text.replace("\r\n", "\n").split("\n"), ""], start=1):
            if line.strip() and self._split == "block":
                block.append(line)
            elif line.strip():
                yield Found(text=line, where=f"{name}:{number}")
            elif block:
                yield Found(text="\n".join(block), where=f"{name}:{number - len(block)}")
                block = []

    def _json_lines(self, text: str, name: str) -> Iterator[Found | Left]:
        for number, line in enumerate(text.split("\n"), start=1):
            if not line.strip():
                continue
            try:
                row = msgspec.json.decode(line.encode("utf-8", "surrogatepass"))
            except (msgspec.DecodeError, RecursionError) as error:
                yield Left(where=f"{name}:{number}", reason="unreadable", detail=str(error))
                continue
            yield self._row(row, f"{name}:{number}")

    def _json(self, text: str, name: str) -> Iterator[Found | Left]:
        """Yield the rows of a list, an object with a text, or what the first list of objects in one holds."""
        try:
            whole = msgspec.json.decode(text.encode("utf-8", "surrogatepass"))
        except (msgspec.DecodeError, RecursionError) as error:
            yield Left(where=name, reason="unreadable", detail=f"{error}; one object a line is .jsonl")
            return
        rows = whole if isinstance(whole, list) else [whole]
        if isinstance(whole, dict) and not pick(whole, TEXT, self._columns[0]):
            rows = next((part for part in whole.values() if _is_rows(part)), rows)
        for number, row in enumerate(rows, start=1):
            yield self._row(row, f"{name}:{number}")

    def _table(self, text: str, name: str) -> Iterator[Found | Left]:
        csv.field_size_limit(max(csv.field_size_limit(), self._largest))
        first = text.partition("\n")[0]
        delimiter = max("\t;,|", key=first.count)
        for number, row in enumerate(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter), start=2):
            yield self._row(row, f"{name}:{number}")

    def _row(self, row: Any, where: str) -> Found | Left:
        if not isinstance(row, dict):
            return Left(where=where, reason="unreadable", detail="it is no JSON object")
        text, title, date, url = self._columns
        whole = pick(row, TEXT, text) or ("" if text else pick(row, TITLE, title))
        if not whole.strip():
            wanted = text or ", ".join(TEXT)
            return Left(where=where, reason="no text", detail=f"no column of {wanted} among {', '.join(map(str, row))}")
        return Found(
            text=whole,
            title=pick(row, TITLE, title),
            date=iso_date(pick(row, DATE, date)),
            url=pick(row, URL, url),
            licence=pick(row, LICENCE),
            where=where,
        )


def _is_rows(part: Any) -> bool:
    return isinstance(part, list) and bool(part) and all(isinstance(row, dict) for row in part)


def _shown(path: str) -> str:
    """Return a path as it can be written down: a name in another encoding has bytes that are no text."""
    return path.encode("utf-8", "backslashreplace").decode()
