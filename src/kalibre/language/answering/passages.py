"""Documents cut into passages that can be found and cited: laws by article, everything else by paragraph.

A passage is a verbatim piece of its document, and its id says where it stands there: `document:start`. An answer's
offset in the document is the passage's start plus the span's.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator

import msgspec

from kalibre.core.errors import LanguageError
from kalibre.language.base import Passage

LONGEST = 1_600
"""Characters of a passage, at most; longer articles and paragraphs are cut at a line, else at a sentence's end."""

SHORTEST = 200
"""Paragraphs below it are read together with the next."""

LARGEST = 10_000_000
"""Characters of a document, at most."""

_ARTICLE = re.compile(
    r"^[ \t]*(?:(?:Geçici|Ek|Mükerrer|GEÇİCİ|EK|MÜKERRER)[ \t]+)*(?:Madde|MADDE)[ \t]+\d+[^\s]{0,3}", re.MULTILINE
)
_PASSED = re.compile(
    r"(?:Kabul Tarihi|Yayımlandığı Resm[îi] Gazete)\s*:\s*(?:Tarih\s*:\s*)?(\d{1,2})[/.](\d{1,2})[/.](\d{4})"
)
_SENTENCE = re.compile(r"(?<=[.;:!?])\s+")


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A text to be found. `id` is its hash where none is given, `date` ISO."""

    text: str
    title: str = ""
    source: str = ""
    date: str = ""
    id: str = ""


def document_key(text: str) -> str:
    """Return the name of a text: 16 hex digits of the sha256 of its NFC form with single blanks."""
    plain = " ".join(unicodedata.normalize("NFC", text).split())
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def passages(documents: Iterable[Document]) -> list[Passage]:
    """Cut documents into passages; a document that was there already is left out.

    Raises
    ------
    LanguageError
        If a document is larger than `LARGEST`.
    """
    seen: set[str] = set()
    found: list[Passage] = []
    for document in documents:
        key = document.id or document_key(document.text)
        if key not in seen:
            seen.add(key)
            found += cut(document)
    return found


def cut(document: Document) -> Iterator[Passage]:
    """Cut a document: by article where it has articles (`Madde 5`), by paragraph where it has none."""
    text = document.text
    if len(text) > LARGEST:
        raise LanguageError(f"document {document.title!r} has {len(text):,} characters: cut it below {LARGEST:,}")
    key = document.id or document_key(text)
    date = document.date or _date(text)
    articles = list(_ARTICLE.finditer(text))
    if len(articles) >= 2:
        starts = [_heading(text, article.start()) for article in articles]
        blocks = [(0, starts[0], "")] if starts[0] else []
        names = [" ".join(article.group().split()).rstrip("–-.:") for article in articles]
        blocks += list(zip(starts, [*starts[1:], len(text)], names, strict=True))
    else:
        blocks = [(start, end, "") for start, end in _paragraphs(text)]
    for begin, stop, name in blocks:
        for start, end in _pieces(text, begin, stop):
            yield Passage(
                id=f"{key}:{start}",
                document=key,
                title=f"{document.title}, {name}" if name and document.title else document.title or name,
                text=text[start:end],
                source=document.source,
                date=date,
            )


def start_of(passage: Passage) -> int:
    """Return where a passage begins in its document."""
    return int(passage.id.rpartition(":")[2])


def _date(text: str) -> str:
    found = _PASSED.search(text, 0, 3_000)
    if not found:
        return ""
    day, month, year = (int(part) for part in found.groups())
    return f"{year:04d}-{month:02d}-{day:02d}" if 1 <= month <= 12 and 1 <= day <= 31 else ""


def _heading(text: str, start: int) -> int:
    """Return where an article with its heading begins: a short line before it that ends no sentence."""
    before = text.rfind("\n", 0, max(0, start - 1)) + 1
    line = text[before:start].strip()
    return before if 0 < len(line) <= 90 and line[-1] not in ".;)" and not _ARTICLE.match(line) else start


def _paragraphs(text: str) -> Iterator[tuple[int, int]]:
    begin = 0
    for found in re.finditer(r"\n\s*", text):
        if found.start() - begin >= SHORTEST:
            yield begin, found.start()
            begin = found.end()
    if begin < len(text):
        yield begin, len(text)


def windows(text: str, longest: int) -> Iterator[tuple[int, int]]:
    """Cut a text into windows of at most `longest` characters, at a line's or sentence's end where one is near."""
    return _pieces(text, 0, len(text), longest)


def _pieces(text: str, start: int, end: int, longest: int = LONGEST) -> Iterator[tuple[int, int]]:
    """Cut a block into pieces of at most `longest` characters, none of them blank."""
    while end - start > longest:
        window = text[start : start + longest]
        at = window.rfind("\n", longest // 2)
        if at < 0:
            ends = [found.end() for found in _SENTENCE.finditer(window, longest // 2)]
            at = ends[-1] if ends else window.rfind(" ", longest // 2)
        at = start + (at if at > 0 else longest)
        yield from _trimmed(text, start, at)
        start = at
    yield from _trimmed(text, start, end)


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    piece = text[start:end]
    if piece.strip():
        yield start + len(piece) - len(piece.lstrip()), end - (len(piece) - len(piece.rstrip()))
