"""Near-duplicates: which texts say the same in almost the same words, and which test text stands in training text.

Texts are compared by their *shingles*: all stretches of five characters of the folded text (letters and digits in
lower case without their marks, everything else a blank). MinHash in bands finds who might be alike, and the true
Jaccard similarity of every such pair decides; with the bands of `threshold` a pair at the threshold is missed with a
probability under 1e-4. Nothing depends on the order of the texts or on chance: the permutations are fixed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import UsageError
from kalibre.language import _near_kernels as kernels

SHINGLE = 5
"""Characters of a shingle."""
GRAM = 16
"""Characters of what `contained` looks for; a shorter text is not looked for inside others."""
PERMUTATIONS = 128
_MISSED = 1e-4
_DOUBT = 0.2  # six standard errors of a similarity that MinHash of 128 permutations estimates
_CHUNK = 4_000_000  # characters folded at once
_ROOM = 1 << 20  # pairs that a band may bring before it is asked again with more room


@dataclass(frozen=True)
class Overlap:
    """A test text that stands, in these or almost these words, among the training texts."""

    train_index: int
    test_index: int
    similarity: float


@dataclass(frozen=True)
class Contained:
    """A test text that stands inside a document: `share` of its stretches of `GRAM` characters are there."""

    test_index: int
    document_index: int
    share: float


def groups(texts: Sequence[str], threshold: float = 0.8) -> NDArray[np.int64]:
    """Number the groups of near-duplicates: texts joined by a chain of pairs that are alike share a number.

    Parameters
    ----------
    texts
        Any texts. Those without a letter or digit are alike if they are equal but for blanks; so are empty ones.
    threshold
        Jaccard similarity of the shingles from which on two texts are alike, above 0 and at most 1.

    Returns
    -------
    Shape (n_texts,), from 0 on in order of first appearance.

    Raises
    ------
    UsageError
        If the threshold is out of range.

    Examples
    --------
    >>> groups(["Borsa güne yükselişle başladı.", "Dolar geriledi", "BORSA GÜNE YÜKSELİŞLE BAŞLADI"]).tolist()
    [0, 1, 0]
    """
    _check(threshold)
    if not len(texts):
        return np.empty(0, dtype=np.int64)
    signed = _sign(texts, threshold)
    parents = np.arange(len(signed.chosen), dtype=np.int64)
    bands = [(keys, np.argsort(keys, kind="stable")) for keys in signed.bands()]
    wanted = np.zeros(len(parents), dtype=np.bool_)
    for keys, order in bands:
        wanted[order[_in_runs(keys[order])]] = True
    sets, ends = signed.sets(wanted)
    for keys, order in bands:
        runs = np.ascontiguousarray(order[_in_runs(keys[order])])
        kernels.join_runs(runs, keys, signed.rows, sets, ends, parents, signed.at_least, threshold)
    kernels.settle(parents)
    _, first, numbers = np.unique(parents[signed.unique], return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[numbers].astype(np.int64)


def overlap(train: Sequence[str], test: Sequence[str], threshold: float = 0.8) -> list[Overlap]:
    """Find every pair of a training and a test text that are equal or nearly so.

    For short texts inside long ones see `contained`.

    Returns
    -------
    By test text, then training text; similarity 1.0 is equality of the shingles.

    Raises
    ------
    UsageError
        If the threshold is out of range.

    Examples
    --------
    >>> overlap(["Altın rekor kırdı", "Faiz sabit kaldı"], ["faiz sabit kaldı!"])
    [Overlap(train_index=1, test_index=0, similarity=1.0)]
    """
    _check(threshold)
    if not len(train) or not len(test):
        return []
    signed = _sign([*train, *test], threshold)
    return _overlaps(signed, signed.unique[: len(train)], signed.unique[len(train) :], threshold)


class NearIndex:
    """Texts that are kept, for new ones to be asked against; what is kept is read once.

    Examples
    --------
    >>> index = NearIndex()
    >>> index.add(["Altın rekor kırdı", "Faiz sabit kaldı"])
    >>> index.find(["faiz sabit kaldı!"])
    [Overlap(train_index=1, test_index=0, similarity=1.0)]
    """

    def __init__(self, threshold: float = 0.8) -> None:
        _check(threshold)
        self._threshold = threshold
        self._known: _Signed | None = None

    def add(self, texts: Sequence[str]) -> None:
        """Keep texts; `train_index` of what is found counts them in this order."""
        if len(texts):
            new = _sign(texts, self._threshold)
            self._known = new if self._known is None else _joined(self._known, new)

    def find(self, texts: Sequence[str]) -> list[Overlap]:
        """Find every pair of a kept text and one of these, as `overlap` does."""
        if self._known is None or not len(texts):
            return []
        known = len(self._known.unique)
        signed = _joined(self._known, _sign(texts, self._threshold))
        return _overlaps(signed, signed.unique[:known], signed.unique[known:], self._threshold)


def contained(test: Sequence[str], documents: Iterable[str], threshold: float = 0.7) -> list[Contained]:
    """Find test texts that stand inside longer documents, word for word or with a few words changed.

    A change in the middle of a text takes about `GRAM` of its stretches away. Documents are read once, in order, and
    only one is held at a time.

    Parameters
    ----------
    test
        Texts looked for; those under `GRAM` folded characters are not (`overlap` finds them as whole texts).
    documents
        Where they must not stand.
    threshold
        Share of the stretches from which on a text counts as contained, above 0 and at most 1.

    Returns
    -------
    By document, then test text.

    Raises
    ------
    UsageError
        If the threshold is out of range.

    Examples
    --------
    >>> contained(["Şirket bedelsiz sermaye artırdı"], ["Dün: şirket BEDELSİZ sermaye artırdı. Hisse yükseldi."])
    [Contained(test_index=0, document_index=0, share=1.0)]
    """
    _check(threshold)
    codes, offsets = _folded(test)
    long_enough = np.flatnonzero(np.diff(offsets) >= GRAM).astype(np.int64)
    if not len(long_enough):
        return []
    wanted = np.ones(len(long_enough), dtype=np.bool_)
    sets, ends = _sets(codes, offsets, long_enough, wanted, GRAM)
    sizes = np.diff(ends)
    order = np.argsort(sets, kind="stable")
    texts = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)[order]
    keys, starts = np.unique(sets[order], return_index=True)
    starts = np.append(starts, len(sets)).astype(np.int64)
    slots = np.full(1 << int(2 * len(keys)).bit_length(), -1, dtype=np.int64)
    kernels.place_grams(keys, slots)
    stamps = np.full(len(keys), -1, dtype=np.int64)
    counts, touched = np.zeros(len(sizes), dtype=np.int64), np.empty(len(sizes), dtype=np.int64)
    found: list[Contained] = []
    for index, (document, bounds) in enumerate(_each_folded(documents)):
        room = np.empty(len(document), dtype=np.int64)
        given = (document, bounds[0], bounds[1], GRAM, keys, slots, starts, texts, index, stamps, counts, touched, room)
        hits = np.sort(touched[: kernels.count_grams(*given)])
        share = counts[hits] / sizes[hits]
        counts[hits] = 0
        found += [
            Contained(int(long_enough[hit]), index, float(value))
            for hit, value in zip(hits, share, strict=True)
            if value >= threshold
        ]
    return found


def key(text: str) -> str:
    """Return the folded text that is compared: letters and digits without marks in lower case, single blanks.

    Examples
    --------
    >>> key("THYAO'nun  Kârı: %4,5 ARTIŞLA açıklandı!")
    'thyao nun kari 4 5 artisla aciklandi'
    """
    codes, _ = _folded([text])
    return "".join(map(chr, np.where(codes >= kernels.RAW, codes - kernels.RAW, codes).tolist()))


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


def _folded(texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
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


def _each_folded(documents: Iterable[str]) -> Iterator[tuple[NDArray[np.int32], tuple[int, int]]]:
    for portion in _portions(documents):
        codes, offsets = _folded(portion)
        for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
            yield codes[begin:end], (0, end - begin)


# --- pairs ------------------------------------------------------------------------------------------------------------


def _overlaps(
    signed: _Signed, of_train: NDArray[np.int64], of_test: NDArray[np.int64], threshold: float
) -> list[Overlap]:
    n = len(signed.chosen)
    in_train, in_test = np.zeros(n, dtype=np.bool_), np.zeros(n, dtype=np.bool_)
    in_train[of_train] = True
    in_test[of_test] = True
    both = np.flatnonzero(in_train & in_test).astype(np.int64)
    pairs = np.unique(np.concatenate([*_cross_pairs(signed, in_train, in_test), both * n + both]))
    wanted = np.zeros(n, dtype=np.bool_)
    wanted[pairs // n] = True
    wanted[pairs % n] = True
    sets, ends = signed.sets(wanted)
    similarity = np.empty(len(pairs))
    kernels.verify_pairs(pairs, n, sets, ends, similarity)
    trains, tests = _members(of_train, n), _members(of_test, n)
    found: list[Overlap] = []
    for pair, value in zip(pairs.tolist(), similarity.tolist(), strict=True):
        if value >= threshold:
            ways = {(pair // n, pair % n), (pair % n, pair // n)}
            found += [Overlap(i, j, value) for a, b in ways for i in trains(a) for j in tests(b)]
    return sorted(found, key=lambda one: (one.test_index, one.train_index))


# --- signatures -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Signed:
    """Texts with their signatures, each distinct folded text once (`chosen`); `unique` says which one a text is."""

    codes: NDArray[np.int32]
    offsets: NDArray[np.int64]
    chosen: NDArray[np.int64]
    unique: NDArray[np.int64]
    rows: NDArray[np.int32]
    band: int
    at_least: int

    def bands(self) -> Iterator[NDArray[np.int64]]:
        for first in range(0, PERMUTATIONS - self.band + 1, self.band):
            keys = np.empty(len(self.chosen), dtype=np.int64)
            kernels.band_hashes(self.rows, first, self.band, keys)
            yield keys

    def sets(self, wanted: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return _sets(self.codes, self.offsets, self.chosen, wanted, SHINGLE)


def _sign(texts: Sequence[str], threshold: float) -> _Signed:
    codes, offsets = _folded(texts)
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
    return _Signed(codes, offsets, chosen, unique, rows, _band_width(threshold), at_least)


def _joined(one: _Signed, other: _Signed) -> _Signed:
    """Put two sets of texts behind each other; a text that is in both stays in both."""
    return _Signed(
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


def _sets(
    codes: NDArray[np.int32],
    offsets: NDArray[np.int64],
    chosen: NDArray[np.int64],
    wanted: NDArray[np.bool_],
    width: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    sets = np.empty(int(np.diff(offsets)[chosen[wanted]].sum()), dtype=np.int64)
    ends = np.zeros(len(chosen) + 1, dtype=np.int64)
    used = kernels.shingle_sets(codes, offsets, chosen, wanted, width, sets, ends)
    return sets[:used], ends


def _in_runs(ordered: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which of the sorted keys have an equal neighbour."""
    same = np.zeros(len(ordered) + 1, dtype=np.bool_)
    same[1:-1] = ordered[1:] == ordered[:-1]
    return same[1:] | same[:-1]


def _cross_pairs(
    signed: _Signed, in_left: NDArray[np.bool_], in_right: NDArray[np.bool_]
) -> Iterator[NDArray[np.int64]]:
    n = len(signed.chosen)
    for keys in signed.bands():
        order = np.argsort(keys, kind="stable")
        runs = np.ascontiguousarray(order[_in_runs(keys[order])])
        room = np.empty(_ROOM, dtype=np.int64)
        found = kernels.cross_runs(runs, keys, signed.rows, in_left, in_right, n, signed.at_least, room)
        if found > len(room):
            room = np.empty(found, dtype=np.int64)
            kernels.cross_runs(runs, keys, signed.rows, in_left, in_right, n, signed.at_least, room)
        yield np.unique(room[:found])


def _members(unique: NDArray[np.int64], n: int) -> Callable[[int], list[int]]:
    """Return a function that lists the texts which a distinct text stands for."""
    order = np.argsort(unique, kind="stable")
    bounds = np.searchsorted(unique[order], np.arange(n + 1))

    def of(one: int) -> list[int]:
        return [int(i) for i in order[bounds[one] : bounds[one + 1]]]

    return of


def _check(threshold: float) -> None:
    if not 0 < threshold <= 1:
        raise UsageError(f"threshold {threshold!r} is no similarity: choose one above 0 and at most 1, for example 0.8")
