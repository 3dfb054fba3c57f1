"""Words, numbers and marks of a text with their place, and where a Turkish suffix begins behind an apostrophe."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from kalibre.language.text.casing import lower

APOSTROPHES = "'’‘ʼ´`′\x92"
"""What stands for an apostrophe in the wild; the last is Windows' own, kept by careless readers."""

Kind = Literal["word", "number", "mark", "address"]

_LETTER = r"[^\W\d_]"
_TOKEN = re.compile(
    rf"""
    (?:
        (?P<address>(?:https?://|www\.)[^\s<>"”’']*[^\s<>"”’'.,;:!?)\]]
            |[\w.+-]{{1,64}}@[\w-]{{1,63}}(?:\.[\w-]{{1,63}}){{1,4}}
            |[@\#]\w+)
        |(?P<number>\d+(?:[.,:]\d+)+|\d+(?!\w))
        |(?P<word>(?:{_LETTER}\.){{2,}}(?!\w)|[^\W_]+(?:&[^\W_]+)*)
    )(?:[{APOSTROPHES}]{_LETTER}+)*
    |(?P<mark>[^\w\s]|_)
    """,
    re.VERBOSE,
)
_KINDS: dict[str, Kind] = {"address": "address", "number": "number", "word": "word", "mark": "mark"}
_APOSTROPHE = re.compile(f"[{APOSTROPHES}]")

SUFFIX = (
    r"(?:l[ae]r|n?[ıiuü]n|[yns]?[aeıiuü]|[yn]?[ae]n|n?[dt][ae]n?|y?l[ae]|y?[dt][ıiuü]r?|y?m[ıiuü]ş|y?s[ae]|ki"
    r"|l[ıiuü][kğ]?|s[ıiuü]z|[cç][aeıiuü]|[ıiuü]m(?:[ıiuü]z)?|[ıiuü]n[ıiuü]z|[ıiuü]?nc[ıiuü]|ş?[ae]r|yk[ae]n"
    r"|l[ae][mnşt]|n|m[ıiuü]z){1,6}"
)
"""A chain of suffixes, in small letters, as a regular expression."""
_SUFFIX = re.compile(SUFFIX)
_LONGEST_SUFFIX = 16
_NO_SUFFIX = frozenset({"kur'an", "san'at", "mes'ul", "mes'ele", "mer'i", "kat'i", "kat'a", "cum'a", "tel'in"})


class Token(NamedTuple):
    """A word, number or mark: `text == whole[start:end]`, suffix included.

    `suffix_start` is where the apostrophe of its suffix stands in the whole text; it is `end` where there is none.
    """

    start: int
    end: int
    text: str
    suffix_start: int
    kind: Kind

    @property
    def body(self) -> str:
        """The token without its suffix."""
        return self.text[: self.suffix_start - self.start]

    @property
    def suffix(self) -> str:
        """The suffix with its apostrophe, or nothing."""
        return self.text[self.suffix_start - self.start :]


def is_suffix(letters: str) -> bool:
    """Say whether letters behind an apostrophe read as Turkish suffixes.

    Examples
    --------
    >>> is_suffix("nun"), is_suffix("DEKİ"), is_suffix("s"), is_suffix("Neill")
    (True, True, False, False)
    """
    return len(letters) <= _LONGEST_SUFFIX and _SUFFIX.fullmatch(lower(letters)) is not None


def suffix_at(word: str) -> int:
    """Return where in a word the apostrophe of its suffix stands, its length where there is none.

    A suffix is small, or large where the whole word is. The last apostrophe counts: `Moody's'in` is `Moody's`.

    Examples
    --------
    >>> suffix_at("THYAO'nun"), suffix_at("O'Neill"), suffix_at("Moody’s’in"), suffix_at("TCMB'DEN")
    (5, 7, 7, 4)
    """
    if word.isalnum():
        return len(word)
    at = max(map(word.rfind, APOSTROPHES))
    if at <= 0 or at == len(word) - 1:
        return len(word)
    body, letters = word[:at], word[at + 1 :]
    if not (letters.islower() or (letters.isupper() and not body.islower())) or not is_suffix(letters):
        return len(word)
    if lower(_APOSTROPHE.sub("'", word)).startswith(tuple(_NO_SUFFIX)):
        return len(word)
    return at


def iterate(text: str) -> Iterator[Token]:
    """Yield the tokens of a text in order."""
    for found in _TOKEN.finditer(text):
        start, end = found.span()
        kind, whole = _KINDS[found.lastgroup or ""], found[0]
        yield Token(start, end, whole, start + suffix_at(whole) if kind != "mark" else end, kind)


def tokenize(text: str) -> list[Token]:
    """Cut a text into words, numbers, addresses (links, e-mail, handles) and marks.

    Decimals, dates and times are one token (`1.250,50`, `14.05.2023`, `14:30`), shorthand too (`3Ç22`, `A.Ş.`); a
    suffix stays with its word and is pointed at. What is no token is white space.

    Examples
    --------
    >>> [(token.body, token.suffix) for token in tokenize("THYAO'nun kârı %4,5 arttı.")]
    [('THYAO', "'nun"), ('kârı', ''), ('%', ''), ('4,5', ''), ('arttı', ''), ('.', '')]
    """
    return list(iterate(text))
