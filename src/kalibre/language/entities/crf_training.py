"""Training of the conditional random field: AdaGrad on single sentences, dropout of features, averaged at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import ModelError
from kalibre.language.entities import _crf_kernels as kernels
from kalibre.language.entities.crf import Crf
from kalibre.language.entities.tags import grammar


@dataclass(frozen=True)
class Recipe:
    """How a field is trained.

    Attributes
    ----------
    passes, averaged
        Over the sentences, and over how many of the last the weights are averaged.
    rate
        AdaGrad's step.
    shrink
        L1 penalty on a feature's weight for each time it is seen, in units of the gradient.
    dropped
        Share of a token's features that are left out at random.
    least
        A feature seen less often gets no weight.
    seed
        Of the order of sentences and of what is dropped.
    """

    passes: int = 8
    averaged: int = 3
    rate: float = 0.05
    shrink: float = 0.0
    dropped: float = 0.2
    least: int = 2
    seed: int = 0


PLAIN = Recipe()


def fit(
    features: NDArray[np.uint32],
    bounds: NDArray[np.int64],
    tags_true: Sequence[str],
    tags: tuple[str, ...],
    recipe: Recipe = PLAIN,
) -> Crf:
    """Train a field.

    Parameters
    ----------
    features
        Shape (n_tokens, n_features), hashes; 0 is none.
    bounds
        Where each sentence begins in the rows of `features`, and last where they end.
    tags_true
        One for each token, in BIOES.
    tags
        All there are, `O` first.

    Raises
    ------
    ModelError
        If there is nothing to learn from, or a tag is not among `tags`.
    """
    if not len(features) or len(features) != len(tags_true) or int(bounds[-1]) != len(features):
        raise ModelError(
            f"{len(features)} tokens, {len(tags_true)} tags, sentences up to {int(bounds[-1])}: a field is trained on "
            "as many tags as tokens, and on at least one"
        )
    number = {tag: place for place, tag in enumerate(tags)}
    if strange := sorted(set(tags_true) - set(tags)):
        raise ModelError(f"tag {strange[0]!r} is not among those to be learnt ({', '.join(tags)})")
    true = np.array([number[tag] for tag in tags_true], dtype=np.int64)
    keys, codes = _numbered(features, recipe.least)
    n, longest = len(tags), int(np.diff(bounds).max())
    allowed, opens, closes = grammar(tags)
    follows, n_follows = np.zeros((n, n), dtype=np.int64), allowed.sum(axis=1).astype(np.int64)
    for i in range(n):
        follows[i, : n_follows[i]] = np.flatnonzero(allowed[i])
    weights, squares = np.zeros((len(keys), n), dtype=np.float32), np.ones((len(keys), n), dtype=np.float32)
    moves, edges = np.zeros((n, n)), np.zeros((2, n))
    move_squares, edge_squares = np.ones((n, n)), np.ones((2, n))
    rooms, small, sizes = np.zeros((3, longest, n)), np.zeros((2 * n + 1, n)), np.zeros(longest)
    used = np.zeros((longest, features.shape[1]), dtype=np.bool_)
    weights_sum, moves_sum, edges_sum = np.zeros_like(weights), np.zeros_like(moves), np.zeros_like(edges)
    chance = np.random.default_rng(recipe.seed)
    averaged = min(recipe.averaged, recipe.passes)
    for done in range(recipe.passes):
        kernels.one_pass(
            codes, np.ascontiguousarray(bounds), true, chance.permutation(len(bounds) - 1), follows, n_follows,
            np.stack([opens, closes]).astype(np.int64), weights, squares, moves, move_squares, edges, edge_squares,
            recipe.rate, recipe.shrink, recipe.dropped, 1 + recipe.seed * 1_000 + done, rooms, small, sizes, used,
        )  # fmt: skip
        if done >= recipe.passes - averaged:
            weights_sum += weights
            moves_sum += moves
            edges_sum += edges
    return Crf(tags, keys, weights_sum / np.float32(averaged), moves_sum / averaged, edges_sum / averaged)


def _numbered(features: NDArray[np.uint32], least: int) -> tuple[NDArray[np.uint32], NDArray[np.int32]]:
    """Return the hashes seen often enough, ascending, and each feature as its place among them (-1: it has none)."""
    hashes = np.sort(features, axis=None)
    begins = np.flatnonzero(np.concatenate([[True], hashes[1:] != hashes[:-1]]))
    counts = np.diff(np.append(begins, len(hashes)))
    kept = (counts >= least) & (hashes[begins] != 0)
    keys = hashes[begins][kept]
    del hashes
    codes = np.full(features.shape, -1, dtype=np.int32)
    if len(keys):
        for column in range(features.shape[1]):
            at = np.minimum(np.searchsorted(keys, features[:, column]), len(keys) - 1)
            codes[:, column] = np.where(keys[at] == features[:, column], at, -1)
    return keys, codes
