"""Kernel ridge classification: a Gaussian kernel over a text's features, solved in closed form.

What each text would have been told had it not been trained on (leave one out) comes with the solution, so calibration
needs no refits. Texts that are near-duplicates of each other have to be handled by the caller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from kalibre.core.errors import ModelError

FloatArray = NDArray[np.float64]
_AT_ONCE = 512


@dataclass(frozen=True)
class KernelHead:
    """Scores by likeness to the texts that it was fitted on.

    Attributes
    ----------
    rows
        Shape (n_train, n_features), the training texts' features, of length 1 each.
    alpha
        Shape (n_train, n_classes).
    base
        Shape (n_classes,), share of each class.
    gamma
        How fast likeness falls with distance.
    sharpness
        Scores are shares of classes; this times them is a logit.
    """

    rows: sparse.csr_matrix
    alpha: FloatArray
    base: FloatArray
    gamma: float
    sharpness: float = 4.0

    def scores(self, design: sparse.csr_matrix) -> FloatArray:
        """Return logits, shape (n_texts, n_classes)."""
        rows = unit(design)
        found = np.empty((rows.shape[0], self.alpha.shape[1]))
        for first in range(0, rows.shape[0], _AT_ONCE):
            near = likeness(rows[first : first + _AT_ONCE], self.rows, self.gamma)
            found[first : first + _AT_ONCE] = near @ self.alpha + self.base
        return self.sharpness * found


def unit(design: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return rows of length 1."""
    norm = np.sqrt(np.asarray(design.multiply(design).sum(axis=1)).ravel())
    factor = np.divide(1.0, norm, out=np.zeros_like(norm), where=norm > 0)
    return sparse.diags(factor).dot(design).tocsr().astype(np.float32)


def likeness(one: sparse.csr_matrix, two: sparse.csr_matrix, gamma: float) -> FloatArray:
    """Return `exp(-gamma |a - b|^2)` of rows of length 1."""
    product = (one @ two.T).toarray().astype(np.float64)
    near: FloatArray = np.exp(-2.0 * gamma * (1.0 - product))
    return near


def fit(
    design: sparse.csr_matrix,
    y: NDArray[np.int64],
    n_classes: int,
    *,
    weight: FloatArray,
    gamma: float,
    ridge: float,
) -> tuple[KernelHead, FloatArray]:
    """Fit, and return the head with each training text's leave-one-out logits.

    Parameters
    ----------
    design, y
        Features and class numbers.
    weight
        Shape (n_samples,), of each text.
    gamma, ridge
        Of the kernel; of the penalty.

    Raises
    ------
    ModelError
        If the system cannot be solved.

    References
    ----------
    Saunders, Gammerman & Vovk (1998), Ridge Regression Learning Algorithm in Dual Variables, ICML 15.
    """
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    rows = unit(design)
    base = np.bincount(y, weight, n_classes) / weight.sum()
    target = np.eye(n_classes)[y] - base
    system = likeness(rows, rows, gamma)
    system[np.diag_indices_from(system)] += ridge / weight
    try:
        factor: Any = cho_factor(system, lower=True)
    except LinAlgError as error:
        raise ModelError(f"the kernel's system cannot be solved ({error}): raise ridge, now {ridge}") from error
    alpha = cho_solve(factor, target)
    inverse = np.einsum("ij->j", cho_solve(factor, np.eye(len(y))) * np.eye(len(y)))
    head = KernelHead(rows, alpha, base, gamma)
    left_out = head.sharpness * (target - alpha / inverse[:, None] + base)
    return head, left_out
