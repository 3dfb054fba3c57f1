"""Near-duplicates: which texts say the same in almost the same words, and which test text stands in training text.

Texts are compared by their *shingles*: all stretches of five characters of the folded text (letters and digits in
lower case without their marks, everything else a blank). MinHash in bands finds who might be alike, and the true
Jaccard similarity of every such pair decides; with the bands of `threshold` a pair at the threshold is missed with a
probability under 1e-4. Nothing depends on the order of the texts or on chance: the permutations are fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import UsageError
from kalibre.language import _near_kernels as kernels
from kalibre.language._near_signing import Signed, each_folded, folded, in_runs, joined, shingle_sets, sign

GRAM = 16
"""Characters of what `contained` looks for; a shorter text is not looked for inside others."""
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
    signed = sign(texts, threshold)
    parents = np.arange(len(signed.chosen), dtype=np.int64)
    bands = [(keys, np.argsort(keys, kind="stable")) for keys in signed.bands()]
    wanted = np.zeros(len(parents), dtype=np.bool_)
    for keys, order in bands:
        wanted[order[in_runs(keys[order])]] = True
    sets, ends = signed.sets(wanted)
    for keys, order in bands:
        runs = np.ascontiguousarray(order[in_runs(keys[order])])
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
    signed = sign([*train, *test], threshold)
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
        self._known: Signed | None = None

    def add(self, texts: Sequence[str]) -> None:
        """Keep texts; `train_index` of what is found counts them in this order."""
        if len(texts):
            new = sign(texts, self._threshold)
            self._known = new if self._known is None else joined(self._known, new)

    def find(self, texts: Sequence[str]) -> list[Overlap]:
        """Find every pair of a kept text and one of these, as `overlap` does."""
        if self._known is None or not len(texts):
            return []
        known = len(self._known.unique)
        signed = joined(self._known, sign(texts, self._threshold))
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
    codes, offsets = folded(test)
    long_enough = np.flatnonzero(np.diff(offsets) >= GRAM).astype(np.int64)
    if not len(long_enough):
        return []
    wanted = np.ones(len(long_enough), dtype=np.bool_)
    sets, ends = shingle_sets(codes, offsets, long_enough, wanted, GRAM)
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
    for index, (document, bounds) in enumerate(each_folded(documents)):
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
    codes, _ = folded([text])
    return "".join(map(chr, np.where(codes >= kernels.RAW, codes - kernels.RAW, codes).tolist()))


# --- pairs ------------------------------------------------------------------------------------------------------------


def _overlaps(
    signed: Signed, of_train: NDArray[np.int64], of_test: NDArray[np.int64], threshold: float
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


def _cross_pairs(
    signed: Signed, in_left: NDArray[np.bool_], in_right: NDArray[np.bool_]
) -> Iterator[NDArray[np.int64]]:
    n = len(signed.chosen)
    for keys in signed.bands():
        order = np.argsort(keys, kind="stable")
        runs = np.ascontiguousarray(order[in_runs(keys[order])])
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
