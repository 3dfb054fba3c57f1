"""A text as units with offsets: words, numbers, apostrophe suffixes and points, each with what the reader asks of it.

An answer may end before an apostrophe suffix (`Caltech|'te`), so the suffix is a unit of its own. Matching works on the
folded prefix of a word: Turkish adds to the end.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

PREFIX = 5
"""Letters that stand for a word's stem."""

WIDTH = 14
"""Letters of a word that are compared."""

_UNIT = re.compile(
    r"\d+(?:[.,:]\d+)*"
    r"|(?<=[^\W_])['’‘`´ʼ][^\W\d_]{1,9}(?![^\W_])"
    r"|[^\W_]+(?:-[^\W\d_]+)*"
    r"|[^\s]"
)
_FOLD = str.maketrans("ıİIçÇğĞöÖşŞüÜâÂîÎûÛêÊôÔéÉáÁíÍāĀīĪūŪ", "iiiccggoossuuaaiiuueeooeeaaiiaaiiuu")

WORD, NUMBER, SUFFIX, POINT = 0, 1, 2, 3

MONTHS = frozenset("ocak subat mart nisan mayis haziran temmuz agustos eylul ekim kasim aralik".split())
NUMERALS = frozenset(
    "bir iki uc dort bes alti yedi sekiz dokuz on yirmi otuz kirk elli altmis yetmis seksen doksan yuz bin milyon "
    "milyar trilyon yarim bucuk ilk birinci ikinci ucuncu dorduncu besinci altinci yedinci sekizinci dokuzuncu "
    "onuncu".split()
)
_ROMAN = re.compile(r"[IVXLCDM]+")
_ABBREVIATED = frozenset(
    "dr prof doc av sn bkz vb vs mad md no nr s sy st hz as ms mo d o b ibn yy op alb gen yrd ord ing fr ar lat mah "
    "cad sok apt tel fax ltd sti tc".split()
)

_ENDINGS: tuple[tuple[int, str], ...] = (
    (1, r"(?:tan|ten|dan|den|ndan|nden)"),
    (2, r"(?:ta|te|da|de|nda|nde)(?:ki)?"),
    (3, r"(?:yla|yle|[^aeiou]la|[^aeiou]le)"),
    (4, r"(?:nin|nun)"),
    (5, r"(?:arak|erek|ip|up|ken|inca|ince|unca|unce|madan|meden)"),
    (6, r"(?:mak|mek|maktir|mektir)"),
    (7, r"(?:masi|mesi|mayi|meyi|masini|mesini|masina|mesine|masinda|masindan|mesinde|mesinden)"),
    (8, r"(?:dir|dur|tir|tur|dirlar|tirler|mistir|mustur)"),
    (9, r"(?:di|du|ti|tu|dilar|diler|tilar|tiler|mis|mus|maktadir|mektedir|iyor|uyor|ir|ur|ar|er|acak|ecek)"),
    (10, r"(?:digi|dugu|tigi|tugu|digini|dugunu|diginda|acagi|ecegi|diginden|dugunden)"),
    (11, r"(?:an|en|dik|duk|tik|tuk)"),
    (12, r"(?:lari|leri|larin|lerin|larini|lerini)"),
    (13, r"(?:lar|ler)"),
    (14, r"(?:si|su|sini|sunu|sina|suna)"),
    (15, r"(?:in|un)"),
    (16, r"(?:yi|yu|ni|nu)"),
    (17, r"(?:ya|ye|na|ne)"),
    (18, r"(?:ca|ce|li|lu|siz|suz|lik|luk)"),
    (19, r"[iu]"),
    (20, r"[ae]"),
)
_ENDING = re.compile("|".join(f"(?P<e{number}>.+{form}$)" for number, form in _ENDINGS))
N_ENDINGS = 22


@lru_cache(maxsize=200_000)
def folded(word: str) -> str:
    """Return a word without case and diacritics: what two spellings of it share."""
    plain = word.translate(_FOLD)
    if not plain.isascii():
        plain = "".join(one for one in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(one))
    return plain.lower()


def hashed(word: str, buckets: int) -> int:
    """Return the bucket of a word, the same on every machine."""
    return zlib.crc32(word.encode("utf-8", "surrogatepass")) % buckets


@lru_cache(maxsize=200_000)
def ending(word: str) -> int:
    """Return the class of a folded word's ending (case, converb, tense, ...), 0 where it has none that is known."""
    found = _ENDING.match(word[-12:])
    return int(str(found.lastgroup)[1:]) if found else 0


@dataclass(frozen=True, eq=False)
class Units:
    """A text cut into n units.

    Attributes
    ----------
    text
        As it was given.
    starts, ends
        Shape (n,), character offsets.
    words
        Folded form of each unit.
    kinds
        `WORD`, `NUMBER`, `SUFFIX` or `POINT`.
    letters
        Shape (n, WIDTH), code points of the folded form, 0 behind its end.
    lengths
        Letters of the folded form, at most `WIDTH`.
    sentence
        Index of the unit's sentence.
    endings
        Class of the ending; that of the suffix where one follows.
    shapes
        Shape (n, 8), what the unit looks like, 0 or 1: see `SHAPES`.
    """

    text: str
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    words: list[str]
    kinds: NDArray[np.int64]
    letters: NDArray[np.int32]
    lengths: NDArray[np.int64]
    sentence: NDArray[np.int64]
    endings: NDArray[np.int64]
    shapes: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.words)


SHAPES = ("capital", "upper", "year", "month", "numeral", "roman", "round", "quoted")


@lru_cache(maxsize=512)
def units(text: str) -> Units:
    """Cut a text into units and sentences."""
    starts, ends, words, raw = [], [], [], []
    for found in _UNIT.finditer(text):
        starts.append(found.start())
        ends.append(found.end())
        raw.append(found.group())
        words.append(folded(found.group()))
    n = len(words)
    kinds = np.empty(n, np.int64)
    letters = np.zeros((n, WIDTH), np.int32)
    lengths = np.zeros(n, np.int64)
    endings = np.zeros(n, np.int64)
    shapes = np.zeros((n, len(SHAPES)), np.float32)
    depth, quoted = 0, False
    for at, (word, one) in enumerate(zip(words, raw, strict=True)):
        kind = _kind(one)
        kinds[at] = kind
        if kind == POINT:
            depth = max(0, depth + (one in "([") - (one in ")]"))
            quoted = (not quoted) if one == '"' else one in "“«" or (quoted and one not in "”»")
        else:
            head = (word[1:] if kind == SUFFIX else word)[:WIDTH]
            letters[at, : len(head)] = [ord(letter) for letter in head]
            lengths[at] = len(head)
            endings[at] = ending(word)
            if kind == SUFFIX and at:
                endings[at - 1] = endings[at] = ending("x" + word[1:]) or 21
        shapes[at, :6] = _shape(one, word, kind)
        shapes[at, 6], shapes[at, 7] = depth > 0, quoted
    return Units(
        text=text,
        starts=np.array(starts, np.int64),
        ends=np.array(ends, np.int64),
        words=words,
        kinds=kinds,
        letters=letters,
        lengths=lengths,
        sentence=_sentences(raw, words, kinds),
        endings=endings,
        shapes=shapes,
    )


def _kind(one: str) -> int:
    if one[0] in "'’‘`´ʼ":
        return SUFFIX if len(one) > 1 else POINT
    if one[0].isdigit() and all(letter.isdigit() or letter in ".,:" for letter in one):
        return NUMBER
    return WORD if one[0].isalnum() else POINT


@lru_cache(maxsize=100_000)
def _shape(one: str, word: str, kind: int) -> tuple[float, ...]:
    if kind in (SUFFIX, POINT):
        return (0.0,) * 6
    year = kind == NUMBER and one.isdigit() and len(one) in (3, 4) and int(one) < 2100
    month = any(word.startswith(month) for month in MONTHS) and len(word) <= 10 and kind == WORD
    return (
        float(one[0].isupper()),
        float(len(one) > 1 and one.isupper()),
        float(year),
        float(month),
        float(kind == NUMBER or word in NUMERALS),
        float(bool(_ROMAN.fullmatch(one))),
    )


def _sentences(raw: list[str], words: list[str], kinds: NDArray[np.int64]) -> NDArray[np.int64]:
    sentence = np.zeros(len(raw), np.int64)
    now = 0
    for at, one in enumerate(raw):
        sentence[at] = now
        if one in ".!?…" and at + 1 < len(raw):
            before, after = raw[at - 1] if at else "", raw[at + 1]
            abbreviated = one == "." and (
                (len(before) == 1 and before.isalpha())
                or words[at - 1] in _ABBREVIATED
                or bool(_ROMAN.fullmatch(before))
                or (bool(at) and kinds[at - 1] == NUMBER and len(before) < 3)
            )
            if not abbreviated and (after[0].isupper() or after[0].isdigit() or after[0] in "\"“'‘(-–•"):
                now += 1
    return sentence
