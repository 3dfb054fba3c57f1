"""Text made clean: composed, double encoding repaired, control and direction marks taken out; with the way back.

`Cleaned.offsets` says for each character where it stood, so what is found in the clean text can be marked in the text
as it was given.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import LanguageError
from kalibre.language.text.encoding import repairs

LIMIT = 20_000_000
"""Characters that a text may have."""
_BINARY_SHARE = 0.1
_LONGEST_CLUSTER = 30
"""Marks on one letter: more is noise (Unicode's stream-safe format), and costs quadratic time to put in order."""

_DROPPED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ufffe\uffff]+"
)
_BLANK = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_BREAK = re.compile("\r\n|\r|\x85|\u2028|\u2029")
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_LONE = re.compile("[\ud800-\udfff]")
_WINDOWS = re.compile("[\x80\x82-\x8c\x8e\x91-\x9c\x9e\x9f]")
_MAY_COMPOSE = re.compile(
    "[^\x00-\u02ff\u2010-\u2027\u2030-\u205e\u20a0-\u20bf\u2190-\u2328\u2500-\u2775\U0001f300-\U0001faff]"
)
_RUN = re.compile(f"[^\n]?(?:{_MAY_COMPOSE.pattern})+")
_LOST_DOT = re.compile("i\u0307")
_ENTITY = re.compile(r"&(?:(?!lt;|gt;|amp;)[a-zA-Z]{2,8}|#\d{2,6}|#x[0-9a-fA-F]{2,5}|amp(?=;\s));")
_JUNK = re.compile("[\x00-\x08\x0e-\x1f\ufffd\ud800-\udfff]")


@dataclass(frozen=True)
class Cleaned:
    """A clean text and where its characters stood.

    Attributes
    ----------
    text
        The clean text.
    offsets
        Shape (len(text) + 1,), never falling: character `i` stood at `offsets[i]`; the last is the old length.
    """

    text: str
    offsets: NDArray[np.int64]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return where `text[start:end]` stood in the text as it was given."""
        if start >= end:
            return int(self.offsets[start]), int(self.offsets[start])
        return int(self.offsets[start]), int(self.offsets[end])


def check_text(text: Any, *, limit: int = LIMIT, empty: bool = True) -> str:
    """Return the text if it can be used.

    Raises
    ------
    LanguageError
        If it is not text, longer than `limit` characters, binary (a tenth of it control or broken characters), or,
        with `empty=False`, blank.
    """
    if not isinstance(text, str):
        raise LanguageError(f"{type(text).__name__} {text!r:.40} is not text: decode it first, or give a string")
    if len(text) > limit:
        raise LanguageError(
            f"text {text[:40]!r}... has {len(text):,} characters: cut it, at most {limit:,} can be read"
        )
    if not empty and not text.strip():
        raise LanguageError(f"text {text[:40]!r} is blank: give one with words in it")
    junk = len(_JUNK.findall(text[:200_000]))
    if junk > 4 and junk > _BINARY_SHARE * min(len(text), 200_000):
        raise LanguageError(
            f"text {text[:40]!r}... looks binary ({junk} control or broken characters): decode it first"
        )
    return text


def clean(text: str) -> Cleaned:
    r"""Return the text composed (NFC), repaired and free of invisible marks, with the way back.

    Line breaks become `\n`, kinds of blanks a blank; a tab stays. Double encoding is undone (`Ã¶ÄŸren`), and so are
    Windows' own characters read as controls, Turkish read as Western European (`Ýþ`), and a dot lost by careless
    lower-casing (`i̇`); HTML's names for letters are read. A lone surrogate becomes U+FFFD.

    Examples
    --------
    >>> cleaned = clean("Ã¶ÄŸren")
    >>> cleaned.text, cleaned.span(1, 2)
    ('öğren', (2, 4))
    """
    check_text(text, limit=LIMIT)
    now = Cleaned(text, np.arange(len(text) + 1, dtype=np.int64))
    if text.isascii() and not _DROPPED.search(text) and "\r" not in text and "&" not in text:
        return now
    now = _replaced(now, _PAIR, lambda found: found[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le"))
    now = _replaced(now, _LONE, lambda _: "\ufffd")
    now = _replaced(now, _WINDOWS, lambda found: found[0].encode("latin-1").decode("cp1252"))
    for repair in repairs(now.text):
        now = _edited(now, repair(now.text))
    repaired = len(now.text)
    now = _replaced(now, _ENTITY, lambda found: html.unescape(found[0]))
    now = _replaced(now, _BREAK, lambda _: "\n")
    now = _replaced(now, _BLANK, lambda _: " ")
    now = _replaced(now, _DROPPED, lambda _: "")
    now = _replaced(now, _LOST_DOT, lambda _: "i")
    if len(now.text) < repaired and any(repair(now.text) for repair in repairs(now.text)):
        # What was taken out stood between the halves of a character.
        again = clean(now.text)
        return Cleaned(again.text, now.offsets[again.offsets])
    return _composed(now)


Edit = tuple[int, int, str]
"""Characters `start` to `end` become another text."""


def _replaced(now: Cleaned, pattern: re.Pattern[str], say: Callable[[re.Match[str]], str]) -> Cleaned:
    if not pattern.search(now.text):
        return now
    return _edited(now, [(found.start(), found.end(), say(found)) for found in pattern.finditer(now.text)])


def _edited(now: Cleaned, edits: list[Edit]) -> Cleaned:
    if not edits:
        return now
    pieces: list[str] = []
    places: list[NDArray[np.int64]] = []
    at = 0
    for start, end, text in edits:
        pieces += (now.text[at:start], text)
        places.append(now.offsets[at:start])
        if text:
            inside = start + np.arange(len(text)) * (end - start) // len(text)
            places.append(now.offsets[inside])
        at = end
    pieces.append(now.text[at:])
    places.append(now.offsets[at:])
    return Cleaned("".join(pieces), np.concatenate(places))


def _composed(now: Cleaned) -> Cleaned:
    if not _MAY_COMPOSE.search(now.text):
        return now
    edits: list[Edit] = []
    for run in _RUN.finditer(now.text):
        for start, end in _clusters(run[0]):
            cluster = run[0][start:end]
            composed = unicodedata.normalize("NFC", cluster[: _LONGEST_CLUSTER + 1])
            if composed != cluster:
                edits.append((run.start() + start, run.start() + end, composed))
    return _edited(now, edits)


def _clusters(run: str) -> list[tuple[int, int]]:
    """Cut a run where nothing composes across: before letters that are no mark and no Hangul vowel or final."""
    found: list[tuple[int, int]] = []
    start = 0
    for k in range(1, len(run)):
        one = run[k]
        if not (unicodedata.category(one)[0] == "M" or "\u1160" <= one <= "\u11ff"):
            found.append((start, k))
            start = k
    found.append((start, len(run)))
    return found
