"""What the benchmarks of Turkish classifiers share: nested cross-validation, group bootstrap, a table with bars."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kalibre.language import calibration, near
from kalibre.language.classifier import Recipe
from kalibre.language.classifier_training import Trained, count, folds, train

RESAMPLES = 2_000


@dataclass(frozen=True)
class Row:
    """A figure with its interval and, where there is one, its bar."""

    name: str
    value: float
    low: float
    high: float
    bar: float | None = None

    @property
    def holds(self) -> bool:
        return self.bar is None or self.value >= self.bar


def macro_f1(y: Any, told: Any, classes: int) -> float:
    hit = np.bincount(y[y == told], minlength=classes).astype(float)
    return float(
        np.mean(2 * hit / np.maximum(np.bincount(y, minlength=classes) + np.bincount(told, minlength=classes), 1))
    )


def accuracy(y: Any, told: Any, classes: int) -> float:
    return float(np.mean(y == told))


def interval(y: Any, told: Any, groups: Any, metric: Callable[..., float], classes: int, seed: int = 0) -> Any:
    """Return a 95 % interval: groups of near-duplicates are drawn whole."""
    rng = np.random.default_rng(seed)
    _, number = np.unique(groups, return_inverse=True)
    order = np.argsort(number, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(number[order])) + 1)
    found = []
    for _ in range(RESAMPLES):
        rows = np.concatenate([members[k] for k in rng.integers(0, len(members), len(members))])
        found.append(metric(y[rows], told[rows], classes))
    return np.quantile(found, [0.025, 0.975])


def rows_of(
    name: str, y: Any, told: Any, groups: Any, classes: int, bars: tuple[float, float] | None = None
) -> list[Row]:
    """Return accuracy and macro-F1 with intervals."""
    found = []
    for k, (label, metric) in enumerate((("accuracy", accuracy), ("macro-F1", macro_f1))):
        low, high = interval(y, told, groups, metric, classes)
        found.append(Row(f"{name}: {label}", metric(y, told, classes), low, high, bars[k] if bars else None))
    return found


def table(title: str, rows: Sequence[Row]) -> bool:
    """Print rows, and return whether every bar holds."""
    print(f"\n{title}")
    print(f"  {'':44} {'figure':>7}  {'95 % interval':>15} {'bar':>7}")
    for row in rows:
        bar = "" if row.bar is None else f"{row.bar:.3f}  {'PASS' if row.holds else 'MISS'}"
        print(f"  {row.name:44} {row.value:7.3f}  [{row.low:.3f}, {row.high:.3f}]  {bar}")
    return all(row.holds for row in rows)


def nested(
    texts: Sequence[str],
    y: Any,
    classes: Sequence[str],
    groups: Any,
    recipe: Recipe,
    *,
    k: int,
    seed: int,
    vectors: Any = None,
    dense: Any = None,
    rename: Any = None,
    each: Callable[[Trained, Any], None] = lambda _trained, _rows: None,
) -> Any:
    """Return out-of-fold probabilities: every choice is made inside the outer training part."""
    counted = count(texts, recipe, vectors, dense, rename)
    p = np.zeros((len(y), len(classes)))
    for learn, test in folds(y, groups, k, seed):
        alike = near.overlap([texts[i] for i in learn], [texts[i] for i in test], 0.8)
        if alike:
            raise SystemExit(f"{len(alike)} test texts stand in the training part of their fold: grouping has failed")
        done = train(
            counted.take(learn), y[learn], classes, groups[learn], recipe,
            vectors=vectors, dense=dense, rename=rename, seed=seed,
        )  # fmt: skip
        held = counted.take(test)
        features = done.model.features.join(held.counts, held.vectors, held.signals)
        p[test] = done.model.calibrator.apply(done.model.row_logits(features))
        each(done, test)
    return p


def tfidf(
    texts: Sequence[str], y: Any, groups: Any, *, k: int, seed: int, strength: float = 4.0, longest: int = 2
) -> Any:
    """Return out-of-fold labels of the usual baseline: TF-IDF of words and pairs, logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    told = np.zeros(len(y), np.int64)
    rows = np.array(texts, dtype=object)
    for learn, test in folds(y, groups, k, seed):
        model: Any = make_pipeline(
            TfidfVectorizer(ngram_range=(1, longest), sublinear_tf=True),
            LogisticRegression(C=strength, class_weight="balanced", max_iter=500),
        )
        told[test] = model.fit(rows[learn], y[learn]).predict(rows[test])
    return told


def calibration_lines(p: Any, y: Any, *, most: float | None = None) -> tuple[list[str], bool]:
    """Describe calibration out of fold: error against the band of a calibrated model, log-loss against the prior's."""
    seen = calibration.error(p, y)
    prior = np.bincount(y, minlength=p.shape[1]) / len(y)
    loss, base = calibration.log_loss(p, y), calibration.log_loss(np.tile(prior, (len(y), 1)), y)
    inside, better = seen.inside, loss < base
    small = most is None or seen.ece <= most
    lines = [
        f"  ECE {seen.ece_plain:.3f} plain, {seen.ece:.3f} without noise; 95 % band of a calibrated model: plain "
        f"[{seen.band_plain[0]:.3f}, {seen.band_plain[1]:.3f}], without noise up to {seen.band[1]:.3f}"
        f"  {'PASS' if inside else 'MISS'}",
        f"  log-loss {loss:.3f} (class prior {base:.3f})  {'PASS' if better else 'MISS'}",
    ]
    if most is not None:
        lines.append(f"  ECE without noise at most {most}: {seen.ece:.3f}  {'PASS' if small else 'MISS'}")
    return lines, inside and better and small
