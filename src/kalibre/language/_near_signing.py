"""What `kalibre.language.near` compares: folded texts, their shingles, their MinHash signatures in bands."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from kalibre.language import _near_kernels as kernels

SHINGLE = 5
"""Characters of a shingle."""
PERMUTATIONS = 128
_MISSED = 1e-4
_DOUBT = 0.2  # six standard errors of a similarity that MinHash of 128 permutations estimates
_CHUNK = 4_000_000  # characters folded at once


# --- folding ----------------------------------------------------------------------------------------------------------


@cache
def _table() -> NDArray[np.int32]:
    """What each code point folds to: 0 is a blank, -1 nothing."""
    table = np.arange(0x110000, dtype=np.int32)
    table[0x2600:0x2800] = table[0x1F000:0x1FC00] = table[0xE000:0xF900] = table[0xD800:0xE000] = 0
    table[0xFE00:0xFE10] = table[0xE0000:0xE1000] = -1
    for code in range(0x2600):
        letter = "i" if code == 0x131 else unicodedata.normalize("NFKD", chr(code)).lower()
        kept = [part for part in letter if part.isalnum()]
        mark = unicodedata.category(chr(code))
        table[code] = ord(kept[0]) if kept else -1 if mark in {"Mn", "Cf"} else 0
    return table


def _raw(texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    parts = [np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.int32) for text in texts]
    offsets = np.zeros(len(parts) + 1, dtype=np.int64)
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    return np.concatenate([np.empty(0, dtype=np.int32), *parts]), offsets


def folded(texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Fold texts, a portion at a time: the codes of all of them, and where each begins."""
    table, pieces, lengths = _table(), [np.empty(0, dtype=np.int32)], [np.zeros(1, dtype=np.int64)]
    for portion in _portions(texts):
        codes, offsets = _raw(portion)
        out, ends = np.empty(len(codes), dtype=np.int32), np.zeros_like(offsets)
        used = kernels.fold_codes(codes, offsets, table, out, ends)
        pieces.append(out[:used].copy())
        lengths.append(np.diff(ends))
    return np.concatenate(pieces), np.cumsum(np.concatenate(lengths))


def _portions(texts: Iterable[str]) -> Iterator[list[str]]:
    portion: list[str] = []
    size = 0
    for text in texts:
        portion.append(text)
        size += len(text)
        if size >= _CHUNK:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def each_folded(documents: Iterable[str]) -> Iterator[tuple[NDArray[np.int32], tuple[int, int]]]:
    """Yield documents folded, one by one, each with its bounds; a portion of them is held at a time."""
    for portion in _portions(documents):
        codes, offsets = folded(portion)
        for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
            yield codes[begin:end], (0, end - begin)


# --- signatures -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Signed:
    """Texts with their signatures, each distinct folded text once (`chosen`); `unique` says which one a text is."""

    codes: NDArray[np.int32]
    offsets: NDArray[np.int64]
    chosen: NDArray[np.int64]
    unique: NDArray[np.int64]
    rows: NDArray[np.int32]
    band: int
    at_least: int

    def bands(self) -> Iterator[NDArray[np.int64]]:
        """Yield the hash of every distinct text's signature, band by band."""
        for first in range(0, PERMUTATIONS - self.band + 1, self.band):
            keys = np.empty(len(self.chosen), dtype=np.int64)
            kernels.band_hashes(self.rows, first, self.band, keys)
            yield keys

    def sets(self, wanted: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the shingles of the wanted texts, and where each text's begin and end."""
        return shingle_sets(self.codes, self.offsets, self.chosen, wanted, SHINGLE)


def sign(texts: Sequence[str], threshold: float) -> Signed:
    """Fold texts and compute their signatures, with bands that find what is as alike as the threshold says."""
    codes, offsets = folded(texts)
    hashes = np.empty(len(texts), dtype=np.int64)
    kernels.whole_hashes(codes, offsets, hashes)
    _, chosen, unique = np.unique(hashes, return_index=True, return_inverse=True)
    chosen, unique = chosen.astype(np.int64), unique.astype(np.int64)
    rows = np.empty((len(chosen), PERMUTATIONS), dtype=np.int32)
    random = np.random.default_rng(20_240_101)
    factors = random.integers(-(2**63), 2**63 - 1, PERMUTATIONS, dtype=np.int64) | 1
    terms = random.integers(-(2**63), 2**63 - 1, PERMUTATIONS, dtype=np.int64)
    room = np.empty(max(1, int(np.diff(offsets).max())), dtype=np.int64)
    kernels.signatures(codes, offsets, chosen, SHINGLE, factors, terms, rows, room)
    at_least = max(1, int((threshold - _DOUBT) * PERMUTATIONS))
    return Signed(codes, offsets, chosen, unique, rows, _band_width(threshold), at_least)


def joined(one: Signed, other: Signed) -> Signed:
    """Put two sets of texts behind each other; a text that is in both stays in both."""
    return Signed(
        np.concatenate([one.codes, other.codes]),
        np.concatenate([one.offsets, other.offsets[1:] + one.offsets[-1]]),
        np.concatenate([one.chosen, other.chosen + len(one.offsets) - 1]),
        np.concatenate([one.unique, other.unique + len(one.chosen)]),
        np.concatenate([one.rows, other.rows]),
        one.band,
        one.at_least,
    )


def _band_width(threshold: float) -> int:
    """Rows a band: as many as miss a pair at the threshold in no more than one of 1/`_MISSED` cases."""
    widths = (w for w in range(16, 0, -1) if (1 - threshold**w) ** (PERMUTATIONS // w) <= _MISSED)
    return next(widths, 1)


def shingle_sets(
    codes: NDArray[np.int32],
    offsets: NDArray[np.int64],
    chosen: NDArray[np.int64],
    wanted: NDArray[np.bool_],
    width: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the sorted distinct shingles of the wanted among the chosen texts, and where each text's begin and end."""
    sets = np.empty(int(np.diff(offsets)[chosen[wanted]].sum()), dtype=np.int64)
    ends = np.zeros(len(chosen) + 1, dtype=np.int64)
    used = kernels.shingle_sets(codes, offsets, chosen, wanted, width, sets, ends)
    return sets[:used], ends


def in_runs(ordered: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which of the sorted keys have an equal neighbour."""
    same = np.zeros(len(ordered) + 1, dtype=np.bool_)
    same[1:-1] = ordered[1:] == ordered[:-1]
    return same[1:] | same[:-1]
