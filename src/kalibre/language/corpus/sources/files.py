"""Texts from files: .txt, .jsonl, .csv, .tsv, .html, each also compressed as .xz or .gz."""

from __future__ import annotations

import csv
import glob
import gzip
import io
import lzma
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from kalibre.core.errors import SourceError, SourceFormatError, UsageError
from kalibre.language.corpus.decoding import decode
from kalibre.language.corpus.sources.base import DATE, LICENCE, TEXT, TITLE, URL, Found, Left, iso_date, pick

_OPENERS: dict[str, Any] = {".xz": lzma.open, ".gz": gzip.open}
SPLITS = ("file", "block", "line")


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
        self._paths, self._split, self._largest = tuple(paths), split, int(largest_mb * 2**20)
        self._columns = (text, title, date, url)

    def read(self, memory: dict[str, Any]) -> Iterator[Found | Left]:
        """Yield the documents of files that are new or changed."""
        found = sorted({path for pattern in self._paths for path in glob.glob(pattern, recursive=True)})
        if not found:
            raise SourceError(f"no file matches {', '.join(map(repr, self._paths))}: correct paths of source 'files'")
        for name in found:
            path = Path(name)
            if not path.is_file():
                continue
            stat = path.stat()
            mark = [stat.st_size, stat.st_mtime_ns]
            if memory.get(name) == mark:
                continue
            try:
                yield from self._documents(path)
            except (SourceFormatError, OSError, EOFError, lzma.LZMAError, csv.Error) as error:
                yield Left(where=name, reason="unreadable", detail=str(error))
            memory[name] = mark

    def _documents(self, path: Path) -> Iterator[Found | Left]:
        opener = _OPENERS.get(path.suffix)
        with opener(path, "rb") if opener else path.open("rb") as stream:
            content = stream.read(self._largest + 1)
        if len(content) > self._largest:
            yield Left(where=str(path), reason="too large", detail=f"over {self._largest >> 20} MB")
            return
        text = decode(content)
        kind = (path.with_suffix("") if opener else path).suffix.lower()
        if kind in {".jsonl", ".ndjson"}:
            yield from self._json_lines(text, path)
        elif kind in {".csv", ".tsv"}:
            yield from self._table(text, path)
        elif kind in {".html", ".htm"}:
            from kalibre.language.corpus.sources._pages import article

            yield article(text) or Left(where=str(path), reason="no article")
        else:
            yield from self._plain(text)

    def _plain(self, text: str) -> Iterator[Found]:
        lines = text.replace("\r\n", "\n").split("\n")
        if self._split == "file":
            yield Found(text=text)
            return
        block: list[str] = []
        for line in [*lines, ""]:
            if line.strip() and self._split == "block":
                block.append(line)
            elif line.strip():
                yield Found(text=line)
            elif block:
                yield Found(text="\n".join(block))
                block = []

    def _json_lines(self, text: str, path: Path) -> Iterator[Found | Left]:
        for number, line in enumerate(text.split("\n"), start=1):
            if not line.strip():
                continue
            try:
                row = msgspec.json.decode(line.encode("utf-8", "surrogatepass"))
            except msgspec.DecodeError as error:
                yield Left(where=f"{path}:{number}", reason="unreadable", detail=str(error))
                continue
            if isinstance(row, dict):
                yield self._row(row, f"{path}:{number}")
            else:
                yield Left(where=f"{path}:{number}", reason="unreadable", detail="a line is no JSON object")

    def _table(self, text: str, path: Path) -> Iterator[Found | Left]:
        csv.field_size_limit(max(csv.field_size_limit(), self._largest))
        first = text.partition("\n")[0]
        delimiter = max("\t;,", key=first.count)
        for number, row in enumerate(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter), start=2):
            yield self._row(row, f"{path}:{number}")

    def _row(self, row: dict[str, Any], where: str) -> Found | Left:
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
        )
