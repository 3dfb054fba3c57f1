"""Bytes to text, whatever was said about their encoding: what is said is often wrong on Turkish pages."""

from __future__ import annotations

import codecs
import re

from kalibre.core.errors import SourceFormatError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_TOLD = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z0-9_.:-]{2,40})""", re.IGNORECASE)
_LATIN = frozenset({"ascii", "latin-1", "iso8859-1", "iso8859-9", "cp1252", "cp1254"})
_FALLBACK = "cp1254"
_BINARY = 0.02


def decode(content: bytes, declared: str = "") -> str:
    """Return the text of bytes.

    A byte order mark decides; else valid UTF-8 is UTF-8, whatever is declared (by chance, other encodings are hardly
    ever); else the declared encoding, that of the page's own head, at last Windows-1254. Where Latin-1 or ASCII is
    declared, Windows-1254 is read: on Turkish pages it is what was meant, and all else is the same.

    Raises
    ------
    SourceFormatError
        If the bytes are no text.

    Examples
    --------
    >>> decode("Şirket kârı".encode("cp1254"), "iso-8859-1")
    'Şirket kârı'
    """
    for mark, name in _MARKS:
        if content.startswith(mark):
            return _strict(content, name)
    if content.count(b"\x00") > _BINARY * len(content):
        raise SourceFormatError(f"{content[:16]!r}... is no text but binary data: name text files or pages")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        pass
    told = _TOLD.search(content[:2048])
    for name in (declared, told[1].decode() if told else ""):
        known = _known(name)
        if known and known != "utf-8":
            try:
                return content.decode(_FALLBACK if known in _LATIN else known)
            except UnicodeDecodeError:
                continue
    return content.decode(_FALLBACK, "replace")


def _known(name: str) -> str:
    try:
        return codecs.lookup(name).name if name else ""
    except LookupError:
        return ""


def _strict(content: bytes, name: str) -> str:
    try:
        return content.decode(name)
    except UnicodeDecodeError as error:
        raise SourceFormatError(f"bytes begin like {name} and are not ({error}): the file is torn") from error
