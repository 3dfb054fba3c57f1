"""What a text is found by: stems (prefixes), pairs of neighbouring stems, and letters in fours. Terms are numbers."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kalibre.language.answering.words import PREFIX, folded

Ids = NDArray[np.int64]
Terms = Callable[[Sequence[str]], Ids]

_WORD = re.compile(r"\d+(?:[.,:]\d+)*|(?<=[^\W_])['’‘`´ʼ][^\W\d_]{1,9}(?![^\W_])|[^\W_]+")
_LONGEST = 24


def plain(text: str) -> list[str]:
    """Return the folded words of a text, without apostrophe suffixes."""
    return [folded(one)[:_LONGEST] for one in _WORD.findall(text) if one[0] not in "'’‘`´ʼ"]


def initials(title: str) -> list[str]:
    """Return what a title is called for short: `Katma Değer Vergisi Kanunu` gives `kdv` and `kdvk`.

    Examples
    --------
    >>> initials("Katma Değer Vergisi Kanunu, Madde 5")
    ['kdv', 'kdvk']
    """
    words = [folded(one) for one in re.findall(r"[^\W\d_]+", title.partition(",")[0]) if one[0].isupper()]
    short = "".join(word[0] for word in words if word != "ve")[:6]
    return [short[:size] for size in range(3, len(short) + 1)]


def stems(words: Sequence[str]) -> Ids:
    """Return the prefix of every word and number: a stem that needs no dictionary."""
    return np.array([_number(word[:PREFIX]) for word in words], np.int64)


def pairs(words: Sequence[str]) -> Ids:
    """Return neighbouring stems: what a passage says in the question's own order."""
    found = stems(words)
    return (found[:-1] * 1_000_003 + found[1:]) % (1 << 32)


def fours(words: Sequence[str]) -> Ids:
    """Return the letters of each word in fours, with its bounds: finds compounds, misspellings, other suffixes."""
    return np.array([one for word in words for one in _fours(word)], np.int64)


CHANNELS: dict[str, Terms] = {"stems": stems, "pairs": pairs, "fours": fours}
"""By name; the index has postings for each."""


@lru_cache(maxsize=300_000)
def _number(term: str) -> int:
    return zlib.crc32(term.encode("utf-8", "surrogatepass"))


@lru_cache(maxsize=300_000)
def _fours(word: str) -> tuple[int, ...]:
    bounded = f"_{word}_"
    return tuple(_number(bounded[at : at + 4]) for at in range(max(1, len(bounded) - 3)))
