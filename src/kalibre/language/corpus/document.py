"""A document of the corpus: nothing is kept without saying where it comes from and under which licence."""

from __future__ import annotations

import hashlib
import re
import unicodedata

import msgspec

from kalibre.core.errors import LanguageError, UsageError

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2})?(Z|[+-]\d{2}:\d{2})?)?", re.ASCII)


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A text of the corpus.

    `id` is the hash of the text, `date` ISO (a day, or a moment with its zone), empty where unknown.
    """

    id: str
    text: str
    source: str
    licence: str
    title: str = ""
    date: str = ""
    url: str = ""
    language: str = ""


def text_id(text: str) -> str:
    """Return the name of a text: 32 hex digits of the sha256 of its NFC form with single blanks."""
    plain = " ".join(unicodedata.normalize("NFC", text).split())
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def is_iso(date: str) -> bool:
    """Say whether a date is written as documents have it: `2024-01-31`, or with a time behind `T`."""
    return _DATE.fullmatch(date) is not None


def document(
    text: str, *, source: str, licence: str, title: str = "", date: str = "", url: str = "", language: str = ""
) -> Document:
    """Make a document.

    Raises
    ------
    UsageError
        If source or licence is missing.
    LanguageError
        If there is no text, or the date is not ISO.

    Examples
    --------
    >>> document("Kur sabit.", source="own", licence="CC0-1.0").id
    '6a2ee899ad88db3b2b9a82027d8b19a1'
    """
    for name, value in (("source", source), ("licence", licence)):
        if not value.strip():
            raise UsageError(
                f"a document has no {name} ({text[:40]!r}): nothing is kept without one, name it in the corpus settings"
            )
    if not text.strip():
        raise LanguageError(f"a document of {source!r} is empty: leave it out")
    if date and not is_iso(date):
        raise LanguageError(f"date {date!r} of a document of {source!r} is not ISO: write it as 2024-01-31")
    return Document(
        id=text_id(text), text=text, source=source, licence=licence, title=title, date=date, url=url, language=language
    )
