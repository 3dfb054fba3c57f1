"""The loops of `kalibre.language.near`, compiled: folding, shingles, MinHash, and the verification of pairs.

Hashes are 64-bit integers that wrap around. A text is the stretch `codes[offsets[i]:offsets[i + 1]]`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from kalibre.features._kernel import Kernel

F = TypeVar("F", bound=Callable[..., Any])
Ints = NDArray[np.int64]
Codes = NDArray[np.int32]

_BASE = 6364136223846793005
_MIX_A, _MIX_B = -49064778989728563, -4265267296055464877
_LOW_31 = 0x7FFFFFFF
RAW = 0x200000
"""Added to the code points of a text without letters and digits, so that no folded text ever equals it."""


def compiled(function: F) -> F:
    """Compile a kernel of the Turkish wing, kept in a folder of its own."""
    return cast(F, Kernel(function, folder="language"))


@compiled
def mixed(value: int) -> int:
    """Spread a hash over all its bits (the finaliser of MurmurHash3)."""
    value ^= (value >> 33) & _LOW_31
    value *= _MIX_A
    value ^= (value >> 33) & _LOW_31
    value *= _MIX_B
    return value ^ ((value >> 33) & _LOW_31)


@compiled
def fold_codes(codes: Codes, offsets: Ints, table: Codes, out: Codes, out_offsets: Ints) -> int:
    """Fold texts by a table (0 is a blank, -1 nothing), blanks collapsed; returns how much of `out` is used."""
    used = 0
    for i in range(len(offsets) - 1):
        begin = used
        blank = False
        for k in range(offsets[i], offsets[i + 1]):
            code = table[codes[k]]
            if code > 0:
                if blank and used > begin:
                    out[used] = 32
                    used += 1
                out[used] = code
                used += 1
                blank = False
            elif code == 0:
                blank = True
        if used == begin:
            for k in range(offsets[i], offsets[i + 1]):
                code = codes[k]
                if code > 32:
                    out[used] = code + RAW
                    used += 1
        out_offsets[i + 1] = used
    return used


@compiled
def whole_hashes(codes: Codes, offsets: Ints, out: Ints) -> None:
    """Hash each text as a whole."""
    for i in range(len(offsets) - 1):
        value = offsets[i + 1] - offsets[i]
        for k in range(offsets[i], offsets[i + 1]):
            value = mixed(value * _BASE + codes[k])
        out[i] = value


@compiled
def grams(codes: Codes, begin: int, end: int, width: int, out: Ints, at: int) -> int:
    """Hash every stretch of `width` characters; a shorter text is one stretch. Returns how many were written."""
    length = end - begin
    if length == 0:
        return 0
    width = min(width, length)
    leaving = 1
    for _ in range(width):
        leaving *= _BASE
    value = 0
    written = 0
    for k in range(begin, end):
        value = value * _BASE + codes[k] + 1
        if k - begin >= width:
            value -= leaving * (codes[k - width] + 1)
        if k - begin >= width - 1:
            out[at + written] = mixed(value)
            written += 1
    return written


@compiled
def signatures(
    codes: Codes, offsets: Ints, chosen: Ints, width: int, factors: Ints, terms: Ints, out: Codes, room: Ints
) -> None:
    """MinHash of the chosen texts' shingles, one row each; an empty text keeps the largest value everywhere."""
    n = len(factors)
    for row in range(len(chosen)):
        i = chosen[row]
        count = grams(codes, offsets[i], offsets[i + 1], width, room, 0)
        for k in range(n):
            out[row, k] = _LOW_31
        for s in range(count):
            shingle = room[s]
            for k in range(n):
                value = (shingle * factors[k] + terms[k]) >> 32
                out[row, k] = min(out[row, k], value)


@compiled
def band_hashes(rows: Codes, first: int, width: int, out: Ints) -> None:
    """Hash one band of every signature."""
    for i in range(len(out)):
        value = first
        for k in range(first, first + width):
            value = mixed(value * _BASE + rows[i, k])
        out[i] = value


@compiled
def shingle_sets(
    codes: Codes, offsets: Ints, chosen: Ints, wanted: NDArray[np.bool_], width: int, sets: Ints, ends: Ints
) -> int:
    """Write the sorted distinct shingles of each wanted text; row i is `sets[ends[i]:ends[i + 1]]`."""
    used = 0
    for row in range(len(chosen)):
        if wanted[row]:
            i = chosen[row]
            count = grams(codes, offsets[i], offsets[i + 1], width, sets, used)
            part = sets[used : used + count]
            part.sort()
            kept = 0
            for k in range(count):
                if k == 0 or part[k] != part[kept - 1]:
                    part[kept] = part[k]
                    kept += 1
            used += kept
        ends[row + 1] = used
    return used


@compiled
def jaccard(sets: Ints, ends: Ints, a: int, b: int) -> float:
    """Share of distinct shingles that two texts have in common; two texts without any are the same."""
    i, i_end = ends[a], ends[a + 1]
    j, j_end = ends[b], ends[b + 1]
    n = (i_end - i) + (j_end - j)
    both = 0
    while i < i_end and j < j_end:
        if sets[i] == sets[j]:
            both += 1
            i += 1
            j += 1
        elif sets[i] < sets[j]:
            i += 1
        else:
            j += 1
    return both / (n - both) if n > both else 1.0


@compiled
def alike(rows: Codes, a: int, b: int, at_least: int) -> bool:
    """Say whether two signatures agree in at least so many places."""
    n = rows.shape[1]
    same = 0
    for k in range(n):
        if rows[a, k] == rows[b, k]:
            same += 1
        elif same + (n - k - 1) < at_least:
            return False
    return same >= at_least


@compiled
def root(parents: Ints, i: int) -> int:
    """Find the representative of a group, shortening the way."""
    while parents[i] != i:
        parents[i] = parents[parents[i]]
        i = parents[i]
    return i


@compiled
def settle(parents: Ints) -> None:
    """Let everything point at its representative."""
    for i in range(len(parents)):
        parents[i] = root(parents, i)


@compiled
def join_runs(
    order: Ints, keys: Ints, rows: Codes, sets: Ints, ends: Ints, parents: Ints, at_least: int, threshold: float
) -> None:
    """Join what shares a bucket (a run of equal keys in `order`) and is truly as alike as the threshold says."""
    n = len(order)
    begin = 0
    while begin < n:
        end = begin + 1
        while end < n and keys[order[end]] == keys[order[begin]]:
            end += 1
        for x in range(begin, end):
            for y in range(x + 1, end):
                a, b = root(parents, order[x]), root(parents, order[y])
                if (
                    a != b
                    and alike(rows, order[x], order[y], at_least)
                    and jaccard(sets, ends, order[x], order[y]) >= threshold
                ):
                    parents[max(a, b)] = min(a, b)
        begin = end


@compiled
def cross_runs(
    order: Ints,
    keys: Ints,
    rows: Codes,
    in_left: NDArray[np.bool_],
    in_right: NDArray[np.bool_],
    n: int,
    at_least: int,
    out: Ints,
) -> int:
    """Write pairs (smaller * n + larger) of one bucket, one of either side; returns how many, also beyond `out`."""
    found = 0
    begin = 0
    while begin < len(order):
        end = begin + 1
        while end < len(order) and keys[order[end]] == keys[order[begin]]:
            end += 1
        for x in range(begin, end):
            for y in range(x + 1, end):
                a, b = min(order[x], order[y]), max(order[x], order[y])
                across = (in_left[a] and in_right[b]) or (in_right[a] and in_left[b])
                if across and alike(rows, a, b, at_least):
                    if found < len(out):
                        out[found] = a * n + b
                    found += 1
        begin = end
    return found


@compiled
def verify_pairs(pairs: Ints, n: int, sets: Ints, ends: Ints, out: NDArray[np.float64]) -> None:
    """Compute the true similarity of pairs."""
    for k in range(len(pairs)):
        out[k] = jaccard(sets, ends, pairs[k] // n, pairs[k] % n)


@compiled
def place_grams(keys: Ints, slots: Ints) -> None:
    """Fill an open hash table (a power of two of slots, -1 is free) with the place of each distinct key."""
    last = len(slots) - 1
    for i in range(len(keys)):
        at = keys[i] & last
        while slots[at] >= 0:
            at = (at + 1) & last
        slots[at] = i


@compiled
def count_grams(
    codes: Codes,
    begin: int,
    end: int,
    width: int,
    keys: Ints,
    slots: Ints,
    starts: Ints,
    texts: Ints,
    stamp: int,
    stamps: Ints,
    counts: Ints,
    touched: Ints,
    room: Ints,
) -> int:
    """Count, for each indexed text, how many of its distinct grams one document holds.

    `stamps` remembers the last document that held a gram, so that none counts twice. Returns how many texts were
    touched; their counts have to be set back to 0 by the caller.
    """
    last = len(slots) - 1
    n_touched = 0
    for g in range(grams(codes, begin, end, width, room, 0)):
        key = room[g]
        at = key & last
        while slots[at] >= 0 and keys[slots[at]] != key:
            at = (at + 1) & last
        place = slots[at]
        if place >= 0 and stamps[place] != stamp:
            stamps[place] = stamp
            for k in range(starts[place], starts[place + 1]):
                text = texts[k]
                if counts[text] == 0:
                    touched[n_touched] = text
                    n_touched += 1
                counts[text] += 1
    return n_touched
