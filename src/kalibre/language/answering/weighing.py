"""BM25 as sparse vectors, and dense vectors from the same counts: what any store of vectors can hold.

A passage's vector holds each term's whole BM25 share (rarity times saturated count), a question's vector how often it
asks, so that their product is the BM25 score. Terms are known by hash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

K1, B = 1.2, 0.75
DIMENSIONS = 128
"""Of the dense vectors."""

_SKETCH = 1 << 14
_SEED = 20_240


@dataclass(frozen=True, eq=False)
class Sparse:
    """One sparse vector: rising term ids with their values."""

    terms: NDArray[np.int64]
    values: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Postings:
    """Sparse vectors of n passages, by term.

    Attributes
    ----------
    terms
        Shape (t,), rising term ids.
    bounds
        Shape (t + 1,), where each term's entries lie.
    passages
        Shape (entries,), which passage.
    values
        Shape (entries,), its share of BM25.
    n
        Passages.
    """

    terms: NDArray[np.int64]
    bounds: NDArray[np.int64]
    passages: NDArray[np.int32]
    values: NDArray[np.float32]
    n: int

    def scores(self, question: Sparse) -> NDArray[np.float32]:
        """Return the product of the question's vector with every passage's, shape (n,)."""
        found = np.zeros(self.n, np.float32)
        at = np.searchsorted(self.terms, question.terms)
        for place, term, value in zip(at.tolist(), question.terms.tolist(), question.values.tolist(), strict=True):
            if place < len(self.terms) and self.terms[place] == term:
                here = slice(int(self.bounds[place]), int(self.bounds[place + 1]))
                found[self.passages[here]] += value * self.values[here]
        return found

    def held_by(self, terms: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many passages hold each term."""
        at = np.minimum(np.searchsorted(self.terms, terms), max(0, len(self.terms) - 1))
        if not len(self.terms):
            return np.zeros(len(terms), np.int64)
        return np.where(self.terms[at] == terms, np.diff(self.bounds)[at], 0)

    def vectors(self) -> list[Sparse]:
        """Return the passages' vectors one by one: what another store is filled with."""
        owner = np.repeat(self.terms, np.diff(self.bounds))
        order = np.lexsort((owner, self.passages))
        cuts = np.searchsorted(self.passages[order], np.arange(self.n + 1))
        return [Sparse(owner[order[a:b]], self.values[order[a:b]]) for a, b in pairwise(cuts)]


def question_vector(terms: NDArray[np.int64]) -> Sparse:
    """Return how often a question asks for each term, at most 3 times."""
    known, counts = np.unique(terms, return_counts=True)
    return Sparse(known.astype(np.int64), np.minimum(counts, 3).astype(np.float32))


def weigh(texts: Sequence[NDArray[np.int64]], *, k1: float = K1, b: float = B) -> Postings:
    """Return the BM25 vectors of texts given as term ids.

    References
    ----------
    Robertson, Zaragoza (2009), The Probabilistic Relevance Framework: BM25 and Beyond; the rarity is Lucene's, above 0.
    """
    n = len(texts)
    lengths = np.array([len(terms) for terms in texts], np.float64)
    every = np.concatenate([*texts, np.zeros(0, np.int64)]).astype(np.int64)
    # Term and passage in one number, so that one sort brings the entries of a term together, in the passages' order.
    keys, count = np.unique(every << 31 | np.repeat(np.arange(n), lengths.astype(np.int64)), return_counts=True)
    owner = (keys & ((1 << 31) - 1)).astype(np.int32)
    known, first = np.unique(keys >> 31, return_index=True)
    bounds = np.append(first, len(keys)).astype(np.int64)
    held = np.diff(bounds)
    rarity = np.log(1 + (n - held + 0.5) / (held + 0.5))
    size = 1 - b + b * lengths / max(float(lengths.mean()) if n else 1.0, 1e-9)
    shares = np.repeat(rarity, held) * count * (k1 + 1) / (count + k1 * size[owner])
    return Postings(known.astype(np.int64), bounds, owner, shares.astype(np.float32), n)


@dataclass(frozen=True, eq=False)
class Space:
    """Dense vectors by latent semantic analysis: a term's direction, shape (`_SKETCH`, dimensions)."""

    directions: NDArray[np.float32]

    def vector(self, question: Sparse) -> NDArray[np.float32]:
        """Return the unit vector of a text given as term weights."""
        found = self.directions[question.terms % _SKETCH].T @ question.values
        result: NDArray[np.float32] = (found / max(float(np.linalg.norm(found)), 1e-9)).astype(np.float32)
        return result


def learn_space(postings: Postings, dimensions: int = DIMENSIONS) -> tuple[Space, NDArray[np.float32]]:
    """Return the space of some passages and their unit vectors in it, shape (n, dimensions).

    References
    ----------
    Halko, Martinsson, Tropp (2011), Finding Structure with Randomness: the randomised SVD, seeded.
    """
    from scipy import sparse

    dimensions = min(dimensions, max(1, postings.n - 1))
    columns = np.repeat(postings.terms % _SKETCH, np.diff(postings.bounds))
    matrix = sparse.csr_matrix((postings.values, (postings.passages, columns)), shape=(postings.n, _SKETCH))
    norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    matrix = sparse.diags(1 / np.maximum(norms, 1e-9)).astype(np.float32) @ matrix
    probe = np.random.default_rng(_SEED).normal(size=(_SKETCH, dimensions + 16)).astype(np.float32)
    basis = matrix @ probe
    for _ in range(2):
        basis, _ = np.linalg.qr(basis)
        basis, _ = np.linalg.qr(matrix.T @ basis)
        basis = matrix @ basis
    basis, _ = np.linalg.qr(basis)
    _, size, right = np.linalg.svd((matrix.T @ basis).T, full_matrices=False)
    directions = right[:dimensions].T / np.sqrt(np.maximum(size[:dimensions], 1e-6))
    space = Space(np.ascontiguousarray(directions, np.float32))
    found = matrix @ space.directions
    found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)
    return space, found.astype(np.float32)
