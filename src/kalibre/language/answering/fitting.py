"""The small models of each stage of the reader and how they are fitted; everything is seeded and of one thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kalibre.language.answering import reading
from kalibre.language.answering.places import BUCKETS

Floats = NDArray[np.float32]
KEPT = 0.3
"""Share of the units outside the answer that the models of places learn from."""

_COMMON: dict[str, Any] = {
    "num_threads": 1, "verbose": -1, "max_bin": 63, "seed": 1, "deterministic": True, "force_col_wise": True,
    "feature_pre_filter": False,
}  # fmt: skip
_SENTENCES = {
    "objective": "lambdarank", "num_leaves": 15, "learning_rate": 0.08, "min_data_in_leaf": 40,
    "lambdarank_truncation_level": 5, **_COMMON,
}  # fmt: skip
_TREES = {
    "num_leaves": 31, "min_data_in_leaf": 60, "feature_fraction": 0.4, "bagging_fraction": 0.7, "bagging_freq": 1,
    "lambda_l2": 5.0, **_COMMON,
}  # fmt: skip
_DOUBT = {
    "objective": "binary", "num_leaves": 7, "learning_rate": 0.05, "min_data_in_leaf": 80, "feature_fraction": 0.5,
    "bagging_fraction": 0.7, "bagging_freq": 1, "lambda_l2": 10.0, **_COMMON,
}  # fmt: skip


def kept(targets: Sequence[Floats]) -> list[NDArray[np.bool_]]:
    """Choose the units that the models of places are trained on: all of the answer, a share of the others."""
    draw = np.random.default_rng(1)
    return [target.any(axis=1) | (draw.random(len(target)) < KEPT) for target in targets]


def said(model: Any, tables: Sequence[Floats], **options: Any) -> list[Floats]:
    """Return what a model says of each row of each table: asked once for all, which is much faster."""
    found = np.asarray(model.predict(np.concatenate(tables), num_threads=1, **options), np.float32)
    return np.split(found, np.cumsum([len(one) for one in tables])[:-1])


def fit_sentences(sightings: Sequence[reading.Sighting], gold: Sequence[tuple[int, int]], among: list[int]) -> Any:
    """Fit the ranking of sentences: the one that holds the answer comes first."""
    import lightgbm as lgb

    targets = []
    for at in among:
        target = np.zeros(len(sightings[at].sentences), np.float32)
        target[sightings[at].found.laid.passage.sentence[gold[at][0]]] = 1
        targets.append(target)
    given = lgb.Dataset(
        np.concatenate([sightings[at].sentences for at in among]),
        np.concatenate(targets),
        group=[len(target) for target in targets],
    )
    return lgb.train(_SENTENCES, given, 180)


def fit_words(close: Sequence[reading.Close], targets: Sequence[Floats], among: list[int]) -> Floats:
    """Fit what words alone say of start, end and inside: three linear models over hashed columns."""
    from scipy import sparse
    from sklearn.linear_model import SGDClassifier

    columns = np.concatenate([close[at].buckets for at in among])
    matrix = sparse.csr_matrix(
        (
            np.ones(columns.size, np.float32),
            columns.ravel().astype(np.int32),
            np.arange(0, columns.size + 1, columns.shape[1]),
        ),
        shape=(len(columns), BUCKETS),
    )
    target = np.concatenate([targets[at] for at in among])
    weights = np.zeros((3, BUCKETS + 1), np.float32)
    for head in range(3):
        model = SGDClassifier(loss="log_loss", alpha=3e-6, max_iter=4, tol=None, random_state=1, average=True)
        model.fit(matrix, target[:, head])
        weights[head, :-1], weights[head, -1] = model.coef_[0], model.intercept_[0]
    weights[:, :-1][np.abs(weights[:, :-1]) < 0.02] = 0
    return weights.astype(np.float16).astype(np.float32)


def fit_places(
    tables: Sequence[Floats],
    targets: Sequence[Floats],
    kept: Sequence[NDArray[np.bool_]],
    head: int,
    rounds: int,
    among: list[int],
) -> Any:
    """Fit one model of places."""
    import lightgbm as lgb

    target = np.concatenate([targets[at][kept[at]] for at in among])
    weight = np.where(target.any(axis=1), 1.0, 1.0 / KEPT)
    given = lgb.Dataset(np.concatenate([tables[at][kept[at]] for at in among]), target[:, head].copy(), weight=weight)
    return lgb.train({**_TREES, "objective": "binary", "learning_rate": 0.08}, given, rounds)


def fit_spans(
    objective: str, offers: Sequence[reading.Offer], rewards: Sequence[Floats], among: list[int], rounds: int
) -> Any:
    """Fit what a candidate is worth: its F1 (`regression`) or whether it is exact (`binary`)."""
    import lightgbm as lgb

    given = lgb.Dataset(
        np.concatenate([offers[at].rows for at in among]), np.concatenate([rewards[at] for at in among])
    )
    return lgb.train({**_TREES, "objective": objective, "learning_rate": 0.05}, given, rounds)


def fit_doubt(
    features: Floats, right: NDArray[np.bool_], fold: NDArray[np.int64], folds: int
) -> tuple[Any, NDArray[np.float64], tuple[float, float]]:
    """Return the model of doubt, its cross-fitted calibrated probabilities, and the calibration (slope, offset)."""
    import lightgbm as lgb
    from sklearn.linear_model import LogisticRegression

    def fit(rows: NDArray[np.bool_]) -> Any:
        return lgb.train(_DOUBT, lgb.Dataset(features[rows], right[rows].astype(np.float32)), 250)

    logit = np.zeros(len(right))
    for part in range(folds):
        logit[fold == part] = fit(fold != part).predict(features[fold == part], raw_score=True, num_threads=1)
    scale = LogisticRegression(C=1e6).fit(logit[:, None], right)
    slope = (float(scale.coef_[0, 0]), float(scale.intercept_[0]))
    return fit(np.ones(len(right), bool)), 1 / (1 + np.exp(-(slope[0] * logit + slope[1]))), slope
