"""Figures of a classifier of texts on a labelled set, with 95 % intervals that draw near-duplicates together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import EvaluationError
from kalibre.language import calibration, collapse, near

_RESAMPLES = 1_000


def accuracy(y: NDArray[np.int64], told: NDArray[np.int64], n_classes: int) -> float:
    """Return the share that is right."""
    return float(np.mean(y == told))


def macro_f1(y: NDArray[np.int64], told: NDArray[np.int64], n_classes: int) -> float:
    """Return the mean F1 over the classes that stand in the labels or were named.

    Examples
    --------
    >>> macro_f1(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1]), 3).__round__(3)
    0.733
    """
    hit = np.bincount(y[y == told], minlength=n_classes).astype(np.float64)
    seen = np.bincount(y, minlength=n_classes) + np.bincount(told, minlength=n_classes)
    return float(np.mean(2.0 * hit[seen > 0] / seen[seen > 0]))


def scores(
    texts: Sequence[str], y: NDArray[np.int64], p: NDArray[np.float64], classes: Sequence[str], *, seed: int
) -> dict[str, Any]:
    """Return accuracy, macro-F1 with intervals, each class's figures, calibration and the collapse guard's sight.

    Parameters
    ----------
    texts
        Near-duplicates among them are drawn together.
    y, p, classes
        Class numbers, probabilities of shape (n_texts, n_classes), names.
    seed
        Of the bootstrap.

    Raises
    ------
    EvaluationError
        If there is nothing to judge.
    """
    if not len(y):
        raise EvaluationError("no text is left to judge: give some with labels that the model knows")
    told, n = p.argmax(axis=1).astype(np.int64), len(classes)
    _, group = np.unique(near.groups(texts), return_inverse=True)
    hit = np.bincount(y[y == told], minlength=n)
    true, named = np.bincount(y, minlength=n), np.bincount(told, minlength=n)
    prior = np.tile(true / len(y), (len(y), 1))
    return {
        "n": len(y),
        "accuracy": _with_interval(accuracy, y, told, group, n, seed),
        "macro_f1": _with_interval(macro_f1, y, told, group, n, seed),
        "classes": {
            name: {
                "n": int(true[k]),
                "precision": float(hit[k] / named[k]) if named[k] else None,
                "recall": float(hit[k] / true[k]) if true[k] else None,
            }
            for k, name in enumerate(classes)
        },
        "most_frequent": float(true.max() / len(y)),
        "log_loss": calibration.log_loss(p, y),
        "log_loss_prior": calibration.log_loss(prior, y),
        "calibration": calibration.error(p, y, seed=seed).as_dict(),
        "guard": str(collapse.figures(y, told, classes)),
    }


def _with_interval(
    metric: Callable[[NDArray[np.int64], NDArray[np.int64], int], float],
    y: NDArray[np.int64],
    told: NDArray[np.int64],
    group: NDArray[np.int64],
    n_classes: int,
    seed: int,
) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    order = np.argsort(group, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    found = []
    for _ in range(_RESAMPLES):
        rows = np.concatenate([members[k] for k in rng.integers(0, len(members), len(members))])
        found.append(metric(y[rows], told[rows], n_classes))
    low, high = np.quantile(found, [0.025, 0.975])
    return {"value": metric(y, told, n_classes), "low": float(low), "high": float(high)}
