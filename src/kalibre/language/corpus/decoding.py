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
_CONTROL = bytes(byte for byte in range(32) if byte not in b"\t\n\x0b\x0c\r\x1b") + b"\x7f"
_MAGIC = (
    b"PK\x03\x04", b"%PDF-", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"PAR1", b"\x1f\x8b", b"\xfd7zXZ", b"BZh",
    b"7z\xbc\xaf",     b"\xd0\xcf\x11\xe0", b"SQLite format 3", b"\x7fELF", b"Rar!", b"{\\rtf",
)  # fmt: skip
"""How archives, pictures, and what office programs write begin."""
_HIGH = re.compile(rb"[\x80-\xff]")


def decode(content: bytes, declared: str = "") -> str:
    r"""Return the text of bytes.

    A byte order mark decides; else UTF-16 without one is known by its zeros; else valid UTF-8 is UTF-8, whatever is
    declared (by chance, other encodings are hardly ever). Where only some lines are, each is read for itself. Else the
    declared encoding, that of the page's own head, at last Windows-1254. Where Latin-1 or ASCII is declared,
    Windows-1254 is read: on Turkish pages it is what was meant, and all else is the same.

    Raises
    ------
    SourceFormatError
        If the bytes are no text.

    Examples
    --------
    >>> decode("Şirket kârı".encode("cp1254"), "iso-8859-1")
    'Şirket kârı'
    >>> decode("Şirket\n".encode() + "kârı".encode("cp1254"))
    'Şirket\nkârı'
    """
    for mark, name in _MARKS:
        if content.startswith(mark):
            return _strict(content, name)
    if wide := _without_mark(content):
        return _strict(content, wide)
    head = content[:65_536]
    controls = len(head) - len(head.translate(None, _CONTROL))
    if content.startswith(_MAGIC) or controls > _BINARY * len(head) or content.count(0) > _BINARY * len(content):
        raise SourceFormatError(f"{content[:16]!r}... is no text but binary data: name text files or pages")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        pass
    lines = content.split(b"\n")
    if any(_HIGH.search(line) and _is_utf8(line) for line in lines) or _torn(content):
        return "\n".join(map(_line, lines))
    told = _TOLD.search(content[:2048])
    for name in (declared, told[1].decode() if told else ""):
        known = _known(name)
        if known and known != "utf-8":
            try:
                return content.decode(_FALLBACK if known in _LATIN else known)
            except (UnicodeError, LookupError, ValueError):
                continue  # `base64` and `idna` are codecs too, and no encodings of text
    return content.decode(_FALLBACK, "replace")


def _without_mark(content: bytes) -> str:
    """Name UTF-16 without a mark: every other byte of Latin letters is zero."""
    head = content[:4_096]
    low, high = head[0::2].count(0), head[1::2].count(0)
    if len(head) >= 8 and max(low, high) > 0.6 * (len(head) // 2) and min(low, high) == 0 and len(content) % 2 == 0:
        return "utf-16-le" if high > low else "utf-16-be"
    return ""


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _torn(line: bytes) -> bool:
    """Say whether it is UTF-8 but for a few bytes: cut off at its end, or damaged."""
    text = line.decode("utf-8", "replace")
    other = sum(one > "\x7f" for one in text)
    return other > 10 * text.count("\ufffd") or (text.endswith("\ufffd") and text.count("\ufffd") == 1 < other)


def _line(line: bytes) -> str:
    return line.decode("utf-8", "replace") if _is_utf8(line) or _torn(line) else line.decode(_FALLBACK, "replace")


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
