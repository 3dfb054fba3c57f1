"""What a word shows of itself: forms, shape, beginnings, ends, suffix, clusters; each as a number, computed once.

A feature is never kept as text: it is the hash of its slot and value. So a model holds no readable word of the texts
that it was learnt from.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from kalibre.language.entities.lexicon import Lexicon
from kalibre.language.text.casing import lower
from kalibre.language.text.tokens import APOSTROPHES

Hashes = NDArray[np.uint32]

SLOTS = (
    *("low", "stem", "cased", "suffix", "shape", "pattern", "case", "length"),
    *(f"begin{n}" for n in (2, 3, 4, 5)),
    *(f"end{n}" for n in (1, 2, 3, 4)),
    *(f"cluster{n}" for n in range(4)),
    "capital",
)
"""What each word has one value of."""
GRAMS = 20
"""Character n-grams kept of a word, so many at most."""
_LONGEST = 40  # characters of a word that are looked at: what is longer is no word
_KEPT = 200_000  # words remembered at once
_BEFORE, _AFTER = "\0before", "\0after"
_RUNS = re.compile(r"(.)\1+")
_SPLIT = re.compile(rf"(.*\w)[{re.escape(APOSTROPHES)}](\w*)", re.DOTALL)


def key(text: str) -> int:
    """Return the number of a text.

    Examples
    --------
    >>> key("stem=banka")
    128508542
    """
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def parts(word: str) -> tuple[str, str | None]:
    """Cut a word at its last apostrophe into stem and suffix (None where there is none).

    Examples
    --------
    >>> parts("Ankara'daki"), parts("Moody's'in"), parts("banka")
    (('Ankara', 'daki'), ("Moody's", 'in'), ('banka', None))
    """
    found = _SPLIT.fullmatch(word)
    return (found[1], found[2]) if found else (word, None)


def shape(word: str) -> str:
    """Spell a word by kinds of character: `X` capital, `x` small, `d` digit, anything else itself.

    Examples
    --------
    >>> shape("XU100"), shape("İş'in")
    ('XXddd', "Xx'xx")
    """
    return "".join("X" if one.isupper() else "x" if one.islower() else "d" if one.isdigit() else one for one in word)


def case_of(stem: str) -> str:
    """Say in one letter how a word is written.

    `d` begins with a digit, `p` with a mark; `A` is all capitals, `U` one capital alone, `I` a capital and small
    letters, `M` a capital and whatever follows, `l` all small, `m` anything else.
    """
    first, rest = stem[:1], stem[1:]
    if first.isdigit():
        return "d"
    if not first.isalpha():
        return "p"
    if first.isupper():
        return "U" if not rest else "A" if stem.isupper() else "I" if rest.islower() else "M"
    return "l" if stem.islower() else "m"


class Words:
    """The hashes of words, remembered.

    Parameters
    ----------
    lexicon
        What unlabelled text says of words; None where there is none.
    """

    def __init__(self, lexicon: Lexicon | None = None) -> None:
        self._lexicon = lexicon
        self._lock = Lock()  # requests are served by several threads
        self._forget()

    def _forget(self) -> None:
        self._known: dict[str, int] = {}
        self._rows: list[Hashes] = []
        self._grams: list[Hashes] = []
        for edge in (_BEFORE, _AFTER):
            self._known[edge] = len(self._rows)
            self._rows.append(np.full(len(SLOTS), key(edge), dtype=np.uint32))
            self._grams.append(np.zeros(GRAMS, dtype=np.uint32))

    def look_up(self, sentences: Sequence[Sequence[str]], margin: int) -> tuple[NDArray[np.int64], Hashes, Hashes]:
        """Return the words of sentences as places in tables of their hashes.

        Each sentence is framed by `margin` times the place 0 in front and the place 1 behind.

        Returns
        -------
        Places, shape (n_tokens + 2 * margin * n_sentences,); slots, shape (n_words, len(SLOTS)); character n-grams,
        shape (n_words, GRAMS), 0 where a word has fewer.
        """
        with self._lock:
            if len(self._known) > _KEPT:
                self._forget()
            places: list[int] = []
            for sentence in sentences:
                places += [0] * margin
                places += [self._place(word) for word in sentence]
                places += [1] * margin
            used, short = np.unique(np.array([0, 1, *places], dtype=np.int64), return_inverse=True)
            rows = np.array([self._rows[place] for place in used.tolist()], dtype=np.uint32)
            grams = np.array([self._grams[place] for place in used.tolist()], dtype=np.uint32)
        return short[2:].astype(np.int64), rows, grams

    def _place(self, word: str) -> int:
        place = self._known.get(word)
        if place is None:
            place = self._known[word] = len(self._rows)
            values = self._values(word[:_LONGEST])
            self._rows.append(np.array([key(f"{slot}={values[slot]}") for slot in SLOTS], dtype=np.uint32))
            self._grams.append(_grams(lower(parts(word[:_LONGEST])[0])))
        return place

    def _values(self, word: str) -> dict[str, str]:
        stem, suffix = parts(word)
        small = lower(stem)
        clusters = self._lexicon.clusters(stem) if self._lexicon else ()
        case = case_of(stem)
        return {
            "low": lower(word),
            "stem": small,
            "cased": stem,
            "suffix": "-" if suffix is None else "+" + lower(suffix),
            "shape": _RUNS.sub(r"\1+", shape(word)),
            "pattern": shape(stem)[:8],
            "case": case + ("" if suffix is None else "+"),
            "length": str(min(len(stem), 8)),
            **{f"begin{n}": small[:n] if len(small) > n else small + "$" for n in (2, 3, 4, 5)},
            **{f"end{n}": small[-n:] if len(small) > n else "^" + small for n in (1, 2, 3, 4)},
            **{f"cluster{n}": str(clusters[n]) if n < len(clusters) else "none" for n in range(4)},
            "capital": self._lexicon.capital(stem) if self._lexicon else "",
        }


def _grams(small: str) -> Hashes:
    framed = f"^{small}$"
    found = {key("g=" + framed[at : at + n]) for n in (3, 4, 5) for at in range(len(framed) - n + 1)}
    grams = np.zeros(GRAMS, dtype=np.uint32)
    chosen = sorted(found)[:GRAMS]
    grams[: len(chosen)] = chosen
    return grams
