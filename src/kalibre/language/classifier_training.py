"""Training of the fast classifier: every choice is made by cross-validation inside the texts it is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from kalibre.core.errors import ModelError
from kalibre.language import calibration, collapse, kernel_head, ngrams
from kalibre.language.calibration import Kind
from kalibre.language.classifier import (
    Dense,
    Features,
    FloatArray,
    Recipe,
    TextClassifier,
    fit_features,
    linear_scores,
)
from kalibre.language.vectors import WordVectors

_AT_ONCE = 512


@dataclass(frozen=True)
class Counted:
    """Texts counted once, so that folds need not do it again."""

    counts: tuple[sparse.csr_matrix, ...]
    vectors: NDArray[np.float32] | None
    signals: NDArray[np.float32] | None

    def take(self, rows: NDArray[np.int64]) -> Counted:
        """Return some of the texts."""
        return Counted(
            tuple(one[rows] for one in self.counts),
            None if self.vectors is None else self.vectors[rows],
            None if self.signals is None else self.signals[rows],
        )


@dataclass(frozen=True)
class Trained:
    """A classifier with what its inner cross-validation saw: out-of-fold probabilities, choices and figures."""

    model: TextClassifier
    inner: FloatArray
    truth: NDArray[np.int64]
    strength: float
    kind: str
    abstention: calibration.Abstention
    figures: collapse.CollapseFigures

    def told(self) -> dict[str, Any]:
        """Return what a bundle's card says of the inner cross-validation, as JSON-able values."""
        return {
            "texts": len(self.truth),
            "guard": str(self.figures),
            "strength": self.strength,
            "mix": list(self.model.mix),
            "calibrator": self.kind,
            "threshold": self.abstention.threshold,
            "precision": self.abstention.precision,
            "coverage": self.abstention.coverage,
            "accuracy": float((self.inner.argmax(axis=1) == self.truth).mean()),
            "log_loss": calibration.log_loss(self.inner, self.truth),
            "ece": calibration.error(self.inner, self.truth).as_dict(),
        }


def count(
    texts: Sequence[str],
    recipe: Recipe,
    vectors: WordVectors | None,
    dense: Dense | None,
    rename: ngrams.Rename | None = None,
) -> Counted:
    """Count n-grams, find vectors and signals: nothing here looks at labels or at other texts."""
    features = Features(recipe, (), vectors, dense, rename)
    counted = tuple(ngrams.counts(texts, block, features.naming) for block in recipe.blocks)
    return Counted(counted, *features.plain(texts))


def folds(
    y: NDArray[np.int64], groups: NDArray[np.int64], k: int, seed: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return stratified folds that keep each group together, as (training rows, test rows)."""
    from sklearn.model_selection import StratifiedGroupKFold

    split = StratifiedGroupKFold(k, shuffle=True, random_state=seed).split(y, y, groups)
    return [(train, test) for train, test in split]


def class_weights(y: NDArray[np.int64], n_classes: int, recipe: Recipe) -> FloatArray:
    """Return bounded weights: rarer classes count more, but never more than `most_weight` times their share.

    Raises
    ------
    ModelError
        If a class has no text.
    """
    number = np.bincount(y, minlength=n_classes)
    if (number == 0).any():
        raise ModelError(f"class {int(number.argmin())} of {n_classes} has no text to learn from: give it some")
    weight = np.clip((len(y) / n_classes / number) ** recipe.balance, 1.0 / recipe.most_weight, recipe.most_weight)
    found: FloatArray = weight[y] / weight[y].mean()
    return found


def train(
    texts: Sequence[str] | Counted,
    y: NDArray[np.int64],
    classes: Sequence[str],
    groups: NDArray[np.int64],
    recipe: Recipe,
    *,
    vectors: WordVectors | None = None,
    dense: Dense | None = None,
    rename: ngrams.Rename | None = None,
    seed: int = 0,
    guarded: bool = True,
) -> Trained:
    """Train: choose strength, mix, calibrator and threshold out of fold, then fit on all.

    Parameters
    ----------
    texts
        The texts, or what `count` made of them.
    y, classes
        Class number of each text, and the names.
    groups
        Near-duplicates share a number; they stay in one fold.
    vectors, dense, rename
        Word vectors, the function that gives signals, and the one that calls words otherwise in n-grams.
    seed
        Of the folds.
    guarded
        Whether a collapsed classifier is refused.

    Raises
    ------
    ModelError
        If a class has no text, or the classifier collapses.
    """
    counted = texts if isinstance(texts, Counted) else count(texts, recipe, vectors, dense, rename)
    n, k = len(y), len(classes)
    if not recipe.strength and not recipe.gamma:
        raise ModelError("the recipe has neither a linear head nor a kernel head: give it a strength or a gamma")
    parts = folds(y, groups, recipe.folds, seed)
    features = fit_features(counted.counts, counted.signals, recipe, vectors, dense, rename)
    rows = features.join(counted.counts, counted.vectors, counted.signals)
    shared = _likeness(features, rows) if recipe.gamma and not recipe.sketch else None
    linear = {strength: np.zeros((n, k)) for strength in recipe.strength}
    kernel = np.zeros((n, k)) if recipe.gamma else None
    for inside, outside in parts:
        weight = class_weights(y[inside], k, recipe)
        if kernel is not None and shared is not None:
            kernel[outside] = _exact_scores(shared, inside, outside, y[inside], k, weight, recipe)
            if not recipe.strength:
                continue
        head, tail = counted.take(inside), counted.take(outside)
        fitted = fit_features(head.counts, head.signals, recipe, vectors, dense, rename)
        learnt, held = (fitted.join(one.counts, one.vectors, one.signals) for one in (head, tail))
        for strength in recipe.strength:
            coefficients, offset = _linear(learnt, y[inside], k, weight, strength, recipe.solver)
            linear[strength][outside] = linear_scores(held, coefficients, offset, recipe)
        if kernel is not None and shared is None:
            kernel[outside] = _kernel(fitted, learnt, y[inside], k, weight).scores(held)
    strength = min(recipe.strength, key=lambda one: _calibrated_loss(linear[one], y), default=0.0)
    mix = _mix(linear[strength], kernel, y) if recipe.strength else (0.0, 1.0)
    scores: FloatArray = mix[0] * linear[strength] if recipe.strength else np.zeros((n, k))
    scores = scores + (mix[1] * kernel if kernel is not None else 0.0)
    kind, inner = _choose(scores, y, parts, recipe)
    seen = collapse.figures(y, inner, classes)
    if guarded:
        collapse.guard(y, inner, classes)
    weight = class_weights(y, k, recipe)
    coefficients, offset = np.zeros((rows.shape[1], k)), np.zeros(k)
    if recipe.strength:
        coefficients, offset = _linear(rows, y, k, weight, strength, recipe.solver)
    last = None if kernel is None else _kernel(features, rows, y, k, weight, shared)
    abstention = calibration.tune_abstention(inner, y, precision=recipe.precision)
    model = TextClassifier(
        tuple(classes),
        features,
        coefficients.astype(np.float32),
        offset,
        calibration.fit(scores, y, kind),
        abstention.threshold,
        last,
        mix,
    )
    return Trained(model, inner, y, strength, kind, abstention, seen)


def _linear(
    rows: sparse.csr_matrix, y: NDArray[np.int64], k: int, weight: FloatArray, strength: float, solver: str
) -> tuple[FloatArray, FloatArray]:
    """Fit a linear head; coefficients of shape (n_features, n_classes)."""
    if solver == "ridge":
        return kernel_head.fit_linear(rows, y, k, weight=weight, ridge=1.0 / strength)
    from sklearn.linear_model import LogisticRegression

    # Most hashes stand in no text of a small set: they would only make each step of the solver longer.
    used = np.flatnonzero(np.bincount(rows.indices, minlength=rows.shape[1]))
    fitted: Any = LogisticRegression(C=strength, max_iter=200, tol=1e-3)
    fitted.fit(rows[:, used].astype(np.float64), y, sample_weight=weight)
    coefficients = np.zeros((rows.shape[1], k))
    if k == 2:
        coefficients[used] = np.hstack([-fitted.coef_.T, fitted.coef_.T]) / 2
        return coefficients, np.array([-1.0, 1.0]) * fitted.intercept_[0] / 2
    coefficients[used] = fitted.coef_.T
    return coefficients, fitted.intercept_


def _kernel(
    features: Features,
    rows: sparse.csr_matrix,
    y: NDArray[np.int64],
    k: int,
    weight: FloatArray,
    near: FloatArray | None = None,
) -> kernel_head.KernelHead:
    """Fit the kernel head; `near` says how like the texts are where that is known, and is overwritten."""
    recipe = features.recipe
    kept = features.bounds[len(recipe.blocks)]
    if near is not None:
        alpha, base = kernel_head.solve(near, y, k, weight=weight, ridge=recipe.ridge)
        return kernel_head.KernelHead(kernel_head.sketch(rows, kept, 0), alpha, base, recipe.gamma, kept, 0)
    return kernel_head.fit(
        rows, y, k, kept=kept, weight=weight, gamma=recipe.gamma, ridge=recipe.ridge, size=recipe.sketch
    )


def _likeness(features: Features, rows: sparse.csr_matrix) -> FloatArray:
    """Return how like all texts are: once, since exact products of many features are dear.

    The inner folds then share the rarities of the whole training part, which know no label.
    """
    whole = kernel_head.sketch(rows, 0, 0)
    steps = range(0, whole.shape[0], _AT_ONCE)
    return np.vstack([kernel_head.likeness(whole[at : at + _AT_ONCE], whole, features.recipe.gamma) for at in steps])


def _exact_scores(
    near: FloatArray,
    inside: NDArray[np.int64],
    outside: NDArray[np.int64],
    y: NDArray[np.int64],
    k: int,
    weight: FloatArray,
    recipe: Recipe,
) -> FloatArray:
    alpha, base = kernel_head.solve(near[np.ix_(inside, inside)], y, k, weight=weight, ridge=recipe.ridge)
    found: FloatArray = kernel_head.SHARPNESS * (near[np.ix_(outside, inside)] @ alpha + base)
    return found


def _calibrated_loss(scores: FloatArray, y: NDArray[np.int64]) -> float:
    return calibration.log_loss(calibration.fit(scores, y, "temperature").apply(scores), y)


def _mix(linear: FloatArray, kernel: FloatArray | None, y: NDArray[np.int64]) -> tuple[float, ...]:
    """Choose how much the kernel head counts, by log-loss out of fold."""
    if kernel is None:
        return (1.0,)
    tried = [(1.0 - share, share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    return min(tried, key=lambda one: _calibrated_loss(one[0] * linear + one[1] * kernel, y))


def _choose(
    scores: FloatArray, y: NDArray[np.int64], parts: list[tuple[NDArray[np.int64], NDArray[np.int64]]], recipe: Recipe
) -> tuple[Kind, FloatArray]:
    """Choose the calibrator by cross-fitted log-loss, and return its cross-fitted probabilities."""
    best: tuple[float, Kind, FloatArray] | None = None
    for kind in recipe.kinds:
        probability = np.zeros_like(scores)
        for inside, outside in parts:
            fitted = calibration.fit(scores[inside], y[inside], cast(Kind, kind))
            probability[outside] = fitted.apply(scores[outside])
        loss = calibration.log_loss(probability, y)
        if best is None or loss < best[0]:
            best = (loss, cast(Kind, kind), probability)
    if best is None:
        raise ModelError("the recipe names no calibrator: name one of temperature, vector, isotonic in `kinds`")
    return best[1], best[2]
