"""The library: documents that a user brings, cut into passages and indexed, to answer questions from."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from kalibre.core.errors import UsageError
from kalibre.core.settings import Settings
from kalibre.language.answering.passages import Document, passages
from kalibre.language.answering.retrieval import Index, open_index
from kalibre.language.rows import read_rows, read_text

_ENDINGS = {".txt", ".jsonl", ".csv", ".tsv", ".json"}


def index_folder(settings: Settings) -> Path:
    """Return the folder of the passages that answers come from."""
    return Path(settings.language.index) if settings.language.index else settings.home / "language" / "index"


def open_library(settings: Settings) -> Index:
    """Open the index that the settings name.

    Raises
    ------
    UsageError
        If there is none; the message says how one is made.
    """
    folder = index_folder(settings)
    old = _aside(folder, "old")
    if not folder.is_dir() and old.is_dir():
        # A build was killed between its two renames.
        old.rename(folder)
    if not folder.is_dir():
        raise UsageError(
            f"there are no passages to answer from ({str(folder)!r} is not there): run `kalibre nlp index FILE...`, or "
            "give a text with --passage"
        )
    return open_index(folder)


def build_library(files: Sequence[Path], folder: Path) -> dict[str, int]:
    """Index documents into a folder; what lay there is replaced once the new index is whole.

    Parameters
    ----------
    files
        Text files (one document each), CSV, TSV or JSON lines (a document a row: text, title, source, date), or folders
        of such.
    folder
        Where the index goes.

    Returns
    -------
    How many `documents` and `passages` it holds.

    Raises
    ------
    UsageError
        If a file is not there, or none holds text.
    LanguageError
        If a file cannot be read.
    """
    documents = [document for file in files for document in _documents(file)]
    found = passages(documents)
    if not found:
        raise UsageError(f"{', '.join(map(str, files))}: no text to index; name files that hold some")
    index = Index.build(found)
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh, old = _aside(folder, "new"), _aside(folder, "old")
    for left in (fresh, old):
        shutil.rmtree(left, ignore_errors=True)
    index.save(folder.parent, fresh.name)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    return {"documents": len({one.document for one in found}), "passages": len(found)}


def index_of_text(text: str, *, title: str = "") -> Index:
    """Index one text."""
    found = passages([Document(text=text, title=title)])
    if not found:
        raise UsageError(f"{title or 'the text'!r} holds no text to answer from")
    return Index.build(found)


def _aside(folder: Path, what: str) -> Path:
    return folder.with_name(f".{folder.name}.{what}")


def _documents(path: Path) -> Iterator[Document]:
    if path.is_dir():
        for inner in sorted(one for one in path.rglob("*") if one.suffix.lower() in _ENDINGS):
            yield from _documents(inner)
    elif path.suffix.lower() in (".txt", ""):
        yield Document(text=read_text(path), title=path.stem, source=path.name)
    else:
        names = {
            "text": ("body", "metin", "content"),
            "title": ("headline", "baslik", "law"),
            "source": ("url", "file"),
        }
        for row in read_rows(path, ("text",), ("title", "source", "date"), also=names):
            yield Document(text=row["text"], title=row["title"], source=row["source"] or path.name, date=row["date"])
