"""Texts as hashed n-grams: letters within words or across them, words or their beginnings in a row, and cues.

Nothing is looked up, so nothing readable is stored: an n-gram's feature is its hash. Letters are folded
(`casing.fold`), which makes `İhracat`, `ihracat` and `IHRACAT` one. The work is done in numpy over all texts at once.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from kalibre.language.cues import cues, squeezed
from kalibre.language.text.casing import fold

_WORD = re.compile(r"\w+|[^\w\s]+")
_SPACE = np.uint32(32)
_PRIME = np.uint32(0x01000193)
_AT_ONCE = 1_000_000
"""Characters hashed at once; more would only cost memory."""


Rename = Callable[[str], Mapping[int, str]]
"""What words of a text are called instead, by where they begin: for words whose sense rules have settled."""


@dataclass(frozen=True)
class Block:
    """One kind of n-grams.

    Attributes
    ----------
    kind
        `char`: letters within a word and its two edges; `line`: letters across words, drawn-out ones shortened; `word`:
        words in a row; `cue`: what `cues` finds.
    low, high
        Shortest and longest n-gram; of cues neither matters.
    cut
        Letters kept of a word (`word` only): five tell most Turkish stems. 0 keeps all.
    bits
        There are `2 ** bits` features.
    scale
        Length of a text's vector in this block.
    """

    kind: Literal["char", "line", "word", "cue"]
    low: int
    high: int
    cut: int = 0
    bits: int = 16
    scale: float = 1.0


@dataclass(frozen=True)
class Cut:
    """Texts cut into words: folded, with the text each belongs to and its place there."""

    words: list[str]
    owner: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    n_texts: int


def cut(texts: Sequence[str], *, letters: bool, rename: Rename | None = None) -> Cut:
    """Cut texts into words; with `letters`, at blanks only, so that marks stay with their word.

    Examples
    --------
    >>> cut(["Faiz, %45!"], letters=False).words
    ['faiz', ',', '%', '45', '!']
    """
    pattern = re.compile(r"\S+") if letters else _WORD
    words: list[str] = []
    owner: list[int] = []
    starts: list[int] = []
    ends: list[int] = []
    for number, text in enumerate(texts):
        names = rename(text) if rename is not None else {}
        for found in pattern.finditer(fold(text)):
            words.append(_renamed(found, names) if names else found[0])
            owner.append(number)
            starts.append(found.start())
            ends.append(found.end())
    return Cut(words, np.array(owner, np.int64), np.array(starts, np.int64), np.array(ends, np.int64), len(texts))


def parts_of(texts: Sequence[str], block: Block, rename: Rename | None = None) -> Cut:
    """Cut texts as a block wants them."""
    return cut(texts, letters=block.kind in ("char", "line"), rename=rename)


def _renamed(found: re.Match[str], names: Mapping[int, str]) -> str:
    for place in range(found.start(), min(found.end(), found.start() + 3)):
        if place in names:
            return names[place]
    return found[0]


def units(parts: Cut, block: Block) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return every n-gram as (number of its first word, feature)."""
    if not parts.words:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    if block.kind == "cue":
        return _cue_units(parts, block)
    if block.kind == "line":
        return _line_units(parts, block)
    return _char_units(parts, block) if block.kind == "char" else _word_units(parts, block)


def _char_units(parts: Cut, block: Block) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    line = f" {' '.join(parts.words)} "
    codes = np.frombuffer(line.encode("utf-32-le", "surrogatepass"), np.uint32)
    blank = codes == _SPACE
    # A blank belongs to the word behind it; the window decides which word it speaks of by its second letter.
    word = np.cumsum(blank) - 1
    found: list[NDArray[np.int64]] = []
    owners: list[NDArray[np.int64]] = []
    inner = np.concatenate(([0], np.cumsum(blank)))
    value = np.zeros(len(codes), np.uint32)
    for n in range(1, block.high + 1):
        width = len(codes) - n + 1
        if width < 1:
            break
        value = (value[:width] * _PRIME) ^ codes[n - 1 :]
        if n < block.low:
            continue
        last = inner[n - 1 : n - 1 + width]
        within = last - inner[1 : 1 + width] if n > 2 else np.zeros(width, np.int64)
        good = (within == 0) & ~(blank[:width] & blank[n - 1 : n - 1 + width] & (n < 3))
        if n == 1:
            good = ~blank
        at = np.flatnonzero(good)
        found.append(_spread(value[at], n, block.bits))
        owners.append(word[at])
    return np.concatenate(owners), np.concatenate(found)


def _line_units(parts: Cut, block: Block) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    line = "".join(f" {squeezed(word)}" for word in parts.words)
    codes = np.frombuffer(line.encode("utf-32-le", "surrogatepass"), np.uint32)
    word = np.cumsum(codes == _SPACE) - 1
    text = parts.owner[word]
    found: list[NDArray[np.int64]] = []
    owners: list[NDArray[np.int64]] = []
    value = np.zeros(len(codes), np.uint32)
    for n in range(1, min(block.high, len(codes)) + 1):
        width = len(codes) - n + 1
        value = (value[:width] * _PRIME) ^ codes[n - 1 :]
        if n >= block.low:
            at = np.flatnonzero(text[:width] == text[n - 1 :])
            found.append(_spread(value[at], n, block.bits))
            owners.append(word[at])
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return np.concatenate(owners), np.concatenate(found)


def _cue_units(parts: Cut, block: Block) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    owners: list[int] = []
    codes: list[int] = []
    bounds = np.searchsorted(parts.owner, np.arange(parts.n_texts + 1)).tolist()
    starts, ends = parts.starts.tolist(), parts.ends.tolist()
    for first, last in pairwise(bounds):
        for place, name in cues(parts.words[first:last], starts[first:last], ends[first:last]):
            owners.append(first + place)
            codes.append(zlib.crc32(name.encode("utf-8", "surrogatepass")))
    return np.array(owners, np.int64), _spread(np.array(codes, np.uint32), 0, block.bits)


def _word_units(parts: Cut, block: Block) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    seen: dict[str, int] = {}
    codes = np.array([_code(word, block.cut, seen) for word in parts.words], np.uint32)
    found: list[NDArray[np.int64]] = []
    owners: list[NDArray[np.int64]] = []
    value = np.zeros(len(codes), np.uint32)
    for n in range(1, block.high + 1):
        width = len(codes) - n + 1
        if width < 1:
            break
        value = (value[:width] * _PRIME) ^ codes[n - 1 :]
        if n < block.low:
            continue
        at = np.flatnonzero(parts.owner[:width] == parts.owner[n - 1 :])
        found.append(_spread(value[at], n, block.bits))
        owners.append(at)
    return np.concatenate(owners), np.concatenate(found)


def _code(word: str, letters: int, seen: dict[str, int]) -> int:
    short = word[:letters] if letters else word
    code = seen.get(short)
    if code is None:
        code = seen[short] = zlib.crc32(short.encode("utf-8", "surrogatepass"))
    return code


def _spread(value: NDArray[np.uint32], n: int, bits: int) -> NDArray[np.int64]:
    """Mix a hash well (MurmurHash3's last steps) and keep its highest bits."""
    mixed = value ^ np.uint32((n * 0x9E3779B9) & 0xFFFFFFFF)
    mixed = (mixed ^ (mixed >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    mixed = (mixed ^ (mixed >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    mixed ^= mixed >> np.uint32(16)
    return (mixed >> np.uint32(32 - bits)).astype(np.int64)


def counts(texts: Sequence[str], block: Block, rename: Rename | None = None) -> sparse.csr_matrix:
    """Return how often each feature stands in each text, damped: `1 + log(count)`."""
    pieces = []
    for first, last in _portions(texts):
        parts = parts_of(texts[first:last], block, rename)
        word, feature = units(parts, block)
        shape = (last - first, 1 << block.bits)
        owner = parts.owner[word] if len(word) else word
        pieces.append(sparse.csr_matrix((np.ones(len(word), np.float32), (owner, feature)), shape=shape))
    found = sparse.vstack(pieces, format="csr") if pieces else sparse.csr_matrix((0, 1 << block.bits), dtype=np.float32)
    found.data = (1.0 + np.log(found.data)).astype(np.float32)
    return found


def _portions(texts: Sequence[str]) -> list[tuple[int, int]]:
    bounds, first, size = [], 0, 0
    for i, text in enumerate(texts):
        size += len(text)
        if size > _AT_ONCE:
            bounds.append((first, i + 1))
            first, size = i + 1, 0
    if first < len(texts):
        bounds.append((first, len(texts)))
    return bounds


def rarity(found: sparse.csr_matrix, *, least: int = 2, power: float = 1.0) -> NDArray[np.float32]:
    """Return each feature's inverse document frequency to a power; 0 where fewer than `least` texts have it."""
    n = found.shape[0]
    seen = np.bincount(found.indices, minlength=found.shape[1])
    weight = (np.log((1.0 + n) / (1.0 + seen)) + 1.0) ** power
    return np.where(seen >= least, weight, 0.0).astype(np.float32)


def weighed(
    found: sparse.csr_matrix, idf: NDArray[np.float32], scale: float
) -> tuple[sparse.csr_matrix, NDArray[np.float32]]:
    """Weigh damped counts and give each text the length `scale`; also return what each row was multiplied by."""
    rows = found.copy()
    rows.data = rows.data * idf[rows.indices]
    norm = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    factor = np.divide(scale, norm, out=np.zeros_like(norm), where=norm > 0).astype(np.float32)
    rows.data *= np.repeat(factor, np.diff(rows.indptr))
    rows.eliminate_zeros()
    return rows, factor
