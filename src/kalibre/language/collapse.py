"""The collapse guard: a classifier that has stopped telling classes apart fails its run loudly, with the figures.

A model may have a good accuracy and have learnt nothing but the most frequent class. Two signs tell: the classes it
names are far less varied than those that are right, or a class is hardly ever found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import EvaluationError, ModelError

LEAST_ENTROPY = 0.6
"""Entropy of the classes named over that of the right ones."""
LEAST_RECALL = 0.1
"""Share of the rarest-found class's samples that are found; a class below 10 samples is not judged."""
_LEAST_SAMPLES = 10


@dataclass(frozen=True)
class CollapseFigures:
    """What the guard saw: entropies in bits, recall by class (only classes that have samples)."""

    entropy: float
    entropy_true: float
    recall: dict[str, float]
    named: dict[str, float]

    @property
    def ratio(self) -> float:
        """Entropy of what was named over that of what was right; 1 where only one class is right."""
        return self.entropy / self.entropy_true if self.entropy_true > 0 else 1.0

    def __str__(self) -> str:
        recalls = ", ".join(f"{name} {value:.2f}" for name, value in self.recall.items())
        shares = ", ".join(f"{name} {value:.2f}" for name, value in self.named.items())
        return (
            f"entropy {self.entropy:.2f} bits of {self.entropy_true:.2f} ({self.ratio:.0%}), recall {recalls}; "
            f"named {shares}"
        )


def figures(
    y_true: NDArray[np.int64], predicted: NDArray[np.int64] | NDArray[np.float64], classes: Sequence[str]
) -> CollapseFigures:
    """Return the guard's figures.

    Parameters
    ----------
    y_true
        Shape (n_samples,), class numbers.
    predicted
        Class numbers, or probabilities of shape (n_samples, n_classes).
    classes
        Names by number.

    Raises
    ------
    EvaluationError
        If there is nothing to judge, shapes differ, or a probability is not finite.
    """
    named = np.asarray(predicted)
    if named.ndim == 2:
        if not np.isfinite(named).all():
            raise EvaluationError(f"{int((~np.isfinite(named)).sum())} probabilities are not finite: it has diverged")
        named = named.argmax(axis=1)
    if not len(y_true) or len(named) != len(y_true):
        raise EvaluationError(f"{len(named)} predictions do not fit {len(y_true)} labels: pass one for each, and some")
    n = len(classes)
    true_count, named_count = np.bincount(y_true, minlength=n), np.bincount(named, minlength=n)
    if len(true_count) > n or len(named_count) > n:
        raise EvaluationError(f"a class number is beyond the {n} classes {', '.join(classes)}: name them all")
    hit = np.bincount(y_true[named == y_true], minlength=n)
    return CollapseFigures(
        entropy=_entropy(named_count),
        entropy_true=_entropy(true_count),
        recall={classes[k]: float(hit[k] / true_count[k]) for k in range(n) if true_count[k]},
        named={classes[k]: float(named_count[k] / len(named)) for k in range(n)},
    )


def _entropy(count: NDArray[np.int64]) -> float:
    share = count[count > 0] / count.sum()
    return abs(float(-(share * np.log2(share)).sum()))


def guard(
    y_true: NDArray[np.int64],
    predicted: NDArray[np.int64] | NDArray[np.float64],
    classes: Sequence[str],
    *,
    least_entropy: float = LEAST_ENTROPY,
    least_recall: float = LEAST_RECALL,
) -> CollapseFigures:
    """Pass a healthy classifier through; stop a collapsed one.

    Parameters
    ----------
    y_true, predicted, classes
        As in `figures`; predictions of a part that was not fitted on.
    least_entropy
        Share of the right classes' entropy that the named ones have to have.
    least_recall
        Recall that each class with 10 samples or more has to have.

    Returns
    -------
    The figures, where all is well.

    Raises
    ------
    ModelError
        If it has collapsed; the message tells entropy, recalls and shares.

    Examples
    --------
    >>> y = np.array([0] * 50 + [1] * 50)
    >>> guard(y, y, ("no", "yes")).ratio
    1.0
    >>> guard(y, np.zeros(100, np.int64), ("no", "yes"))
    Traceback (most recent call last):
    ...
    kalibre.core.errors.ModelError: the classifier has collapsed: entropy 0.00 bits of 1.00 (0%), recall no 1.00, ...
    """
    found = figures(y_true, predicted, classes)
    count = np.bincount(y_true, minlength=len(classes))
    lost = [
        name
        for k, name in enumerate(classes)
        if count[k] >= _LEAST_SAMPLES and found.recall.get(name, 1.0) < least_recall
    ]
    if found.ratio < least_entropy or lost:
        missing = f"; hardly ever found: {', '.join(lost)}" if lost else ""
        raise ModelError(
            f"the classifier has collapsed: {found}{missing} (least: entropy {least_entropy:.0%}, recall "
            f"{least_recall:.2f}). Weigh rare classes more, or train longer at a lower rate"
        )
    return found
