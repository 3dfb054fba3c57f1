"""The kernel head: a sketch comes close to the exact head, which is what it says it is, and is not stored."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from tests.unit.language.sentiment.made import sentences

from kalibre.core.errors import ModelError
from kalibre.language import kernel_head
from kalibre.language.base import SENTIMENTS
from kalibre.language.classifier import Recipe
from kalibre.language.classifier_training import train
from kalibre.language.ngrams import Block

_RECIPE = Recipe(
    blocks=(Block("char", 3, 4, bits=14), Block("cue", 1, 1, bits=12), Block("line", 3, 5, bits=14)),
    vector_scale=0.0,
    dense_scale=0.0,
    strength=(),
    gamma=1.0,
    sketch=0,
    folds=3,
)


def planted(n, seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n)
    rows = rng.random((n, 60)) * (rng.random((n, 60)) < 0.2)
    rows[np.arange(n), y] += 1.0
    return sparse.csr_matrix(rows.astype(np.float32)), y


def test_the_exact_head_solves_its_equations():
    rows, y = planted(80, 1)
    weight = np.full(80, 1.0)
    head = kernel_head.fit(rows, y, 3, kept=60, weight=weight, gamma=0.7, ridge=0.5, size=0)
    dense = rows.toarray().astype(np.float64)
    dense /= np.linalg.norm(dense, axis=1, keepdims=True)
    near = np.exp(-0.7 * ((dense[:, None] - dense[None]) ** 2).sum(axis=2))
    base = np.bincount(y) / 80
    alpha = np.linalg.solve(near + 0.5 * np.eye(80), np.eye(3)[y] - base)
    assert np.allclose(head.scores(rows), 4.0 * (near @ alpha + base), atol=1e-4)


def test_a_large_sketch_says_nearly_the_same():
    rows, y = planted(200, 2)
    held, _ = planted(50, 3)
    told = {"kept": 60, "weight": np.full(200, 1.0), "gamma": 1.0, "ridge": 0.3}
    exact = kernel_head.fit(rows, y, 3, size=0, **told).scores(held)
    large, small = (kernel_head.fit(rows, y, 3, size=size, **told).scores(held) for size in (4_096, 16))
    assert np.abs(large - exact).max() < 0.3 * np.abs(small - exact).max()


def test_an_exact_head_is_stored_and_explains():
    rows, y = planted(40, 4)
    head = kernel_head.fit(rows, y, 3, kept=60, weight=np.full(40, 1.0), gamma=1.0, ridge=0.3, size=0)
    again = kernel_head.KernelHead.of(head.arrays())
    assert np.allclose(again.scores(rows), head.scores(rows), atol=1e-3)
    up = np.array([-1.0, 0.0, 1.0])
    for place, slope in enumerate(head.slopes(rows[:5], up)):
        dense = rows[place].toarray()[0].astype(np.float64)
        steep = head.spread(slope, np.arange(60))
        assert not steep[dense == 0].any()
        # With the length held fixed, a small step changes each product with a training text by what it adds.
        length, step = np.linalg.norm(dense), 1e-4
        for feature in np.flatnonzero(dense):
            products = head.rows @ (dense / length)
            moved = products + np.asarray(head.rows[:, [feature]].todense()).ravel() * step / length
            change = (np.exp(-2 * (1 - moved)) - np.exp(-2 * (1 - products))) @ (head.alpha @ up)
            assert 4.0 * change / step == pytest.approx(steep[feature], rel=1e-2, abs=1e-4)
    empty = sparse.csr_matrix((1, 60), dtype=np.float32)
    assert not head.spread(head.slopes(empty, up)[0], np.arange(60)).any()


def test_shared_likeness_gives_what_single_fits_give():
    texts, labels = sentences(120, 1)
    y = np.array([SENTIMENTS.index(label) for label in labels])
    done = train(texts, y, SENTIMENTS, np.arange(120), _RECIPE, seed=3)
    features = done.model.features
    alone = kernel_head.fit(
        features.rows(texts), y, 3, kept=features.bounds[3], weight=np.full(120, 1.0), gamma=1.0, ridge=0.2, size=0
    )
    held, told = sentences(40, 5)
    assert np.mean(alone.scores(features.rows(held)).argmax(axis=1) == done.model.logits(held).argmax(axis=1)) > 0.95
    assert (
        np.mean([SENTIMENTS[k] == label for k, label in zip(done.model.logits(held).argmax(axis=1), told, strict=True)])
        > 0.9
    )
    assert done.model.mix == (0.0, 1.0)


def test_a_recipe_without_heads_is_refused():
    texts, labels = sentences(60, 1)
    y = np.array([SENTIMENTS.index(label) for label in labels])
    with pytest.raises(ModelError, match="neither"):
        train(texts, y, SENTIMENTS, np.arange(60), replace(_RECIPE, gamma=0.0))
