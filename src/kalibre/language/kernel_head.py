"""Kernel ridge classification: a Gaussian kernel over a text's features, solved in closed form.

A kernel method has to keep what it was fitted on. It keeps a *sketch*: the features of a text, some hundred thousand,
are added up with random signs into some hundred numbers. Products of sketches are those of the texts but for a little
noise, and nothing can be read back from a sum. Where that noise costs too much it keeps the hashed features themselves
(a sketch of no numbers): such a head is exact, some thousand bytes a text large, and n-grams that somebody guesses can
be looked for in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from kalibre.core.errors import ModelError

FloatArray = NDArray[np.float64]
Rows: TypeAlias = Any
"""Dense, or a sparse matrix, which has no types."""
_AT_ONCE, _FINE = 512, 32_767.0
SHARPNESS = 4.0
"""Scores are shares of classes; this times them is a logit."""


@dataclass(frozen=True)
class KernelHead:
    """Scores by likeness to the texts that it was fitted on.

    Attributes
    ----------
    rows
        Shape (n_train, size + n_kept), the training texts' sketches of length 1; their features where `size` is 0.
    alpha
        Shape (n_train, n_classes).
    base
        Shape (n_classes,), share of each class.
    gamma
        How fast likeness falls with distance.
    kept
        Features from here on stand in the rows as they are.
    size
        Numbers of a sketch; 0 for none.
    sharpness
        Scores are shares of classes; this times them is a logit.
    """

    rows: Rows
    alpha: FloatArray
    base: FloatArray
    gamma: float
    kept: int
    size: int = 1_024
    sharpness: float = SHARPNESS

    def scores(self, design: sparse.csr_matrix) -> FloatArray:
        """Return logits, shape (n_texts, n_classes)."""
        rows = sketch(design, self.kept, self.size)
        found = np.empty((rows.shape[0], self.alpha.shape[1]))
        for first in range(0, rows.shape[0], _AT_ONCE):
            near = likeness(rows[first : first + _AT_ONCE], self.rows if self.size else self._columns, self.gamma)
            found[first : first + _AT_ONCE] = near @ self.alpha + self.base
        return self.sharpness * found

    def slopes(self, design: sparse.csr_matrix, direction: FloatArray) -> Any:
        """Return how fast `scores @ direction` rises with each number of a row's sketch, its length held fixed.

        Parameters
        ----------
        design
            Rows of features; many at once cost little more than one.
        direction
            Shape (n_classes,).

        Returns
        -------
        Shape (n_texts, n_numbers); 0 for a row without features. Of an exact head, for each row its features,
        ascending, and their slopes. `spread` reads either.
        """
        if not self.size:
            return [self._exact_slope(design[at], direction) for at in range(design.shape[0])]
        added = _added(design, self.kept, self.size)
        length = np.linalg.norm(added, axis=1, keepdims=True)
        found = np.zeros(added.shape)
        for first in range(0, len(added), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            rows = np.divide(added[part], length[part], out=np.zeros_like(added[part]), where=length[part] > 0)
            near = likeness(rows, self.rows, self.gamma)
            found[part] = (near * (self.alpha @ direction)).astype(np.float32) @ self.rows
        steep: FloatArray = np.divide(
            found * (2.0 * self.gamma * self.sharpness), length, out=np.zeros_like(found), where=length > 0
        )
        return steep

    def _exact_slope(self, row: sparse.csr_matrix, direction: FloatArray) -> tuple[NDArray[np.int64], FloatArray]:
        features = np.sort(row.indices).astype(np.int64)
        length = float(np.linalg.norm(row.data))
        if not length:
            return features, np.zeros(len(features))
        near = likeness(sketch(row, self.kept, 0), self._columns, self.gamma)[0]
        found = self._columns[:, features].T @ (near * (self.alpha @ direction))
        return features, np.asarray(found, np.float64) * (2.0 * self.gamma * self.sharpness / length)

    @cached_property
    def _columns(self) -> Any:
        """The rows as a product with few texts wants them: it then touches those texts' features alone."""
        return self.rows.tocsc()

    def spread(self, slope: Any, features: NDArray[np.int64]) -> FloatArray:
        """Return the slope of each of some features, from one row of `slopes`."""
        if not self.size:
            known, values = slope
            if not len(known):
                return np.zeros(len(features))
            place = np.minimum(np.searchsorted(known, features), len(known) - 1)
            return np.where(known[place] == features, values[place], 0.0)
        at, sign = _places(self.kept, self.size)
        before = features < self.kept
        inner = np.where(before, features, 0)
        found: FloatArray = np.where(
            before, slope[at[inner]] * sign[inner], slope[np.where(before, 0, self.size + features - self.kept)]
        )
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what is stored: rows as bytes."""
        told: dict[str, NDArray[Any]] = {
            "kernel_alpha": self.alpha.astype(np.float32),
            "kernel_base": self.base,
            "kernel_shape": np.array([self.gamma, self.kept, self.size, self.sharpness]),
        }
        if not self.size:
            top = max(float(np.abs(self.rows.data).max(initial=0.0)), 1e-12)
            return told | {
                "kernel_rows": np.rint(self.rows.data / top * _FINE).astype(np.int16),
                "kernel_top": np.array([top, self.rows.shape[1]]),
                "kernel_features": self.rows.indices.astype(np.uint32),
                "kernel_ends": self.rows.indptr.astype(np.int64),
            }
        tops = np.maximum(np.abs(self.rows).max(axis=1, keepdims=True), 1e-12)
        rows = np.rint(self.rows / tops * 127.0).astype(np.int8)
        return told | {"kernel_rows": rows, "kernel_top": tops.astype(np.float32)}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> KernelHead:
        """Read what `arrays` gave."""
        gamma, kept, size, sharpness = arrays["kernel_shape"].tolist()
        alpha, base = arrays["kernel_alpha"].astype(np.float64), arrays["kernel_base"]
        if size:
            rows = arrays["kernel_rows"].astype(np.float32) / np.float32(127.0) * arrays["kernel_top"]
        else:
            top, width = arrays["kernel_top"].tolist()
            values = arrays["kernel_rows"].astype(np.float32) * np.float32(top / _FINE)
            shape = (len(alpha), int(width))
            rows = sparse.csr_matrix((values, arrays["kernel_features"], arrays["kernel_ends"]), shape=shape)
        return cls(rows, alpha, base, gamma, int(kept), int(size), sharpness)


@cache
def _places(kept: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the sketch's number that each feature is added to, and its sign: by hash, so nothing is stored."""
    feature = np.arange(kept, dtype=np.uint32)
    mixed = (feature ^ (feature >> np.uint32(16))) * np.uint32(0x7FEB352D)
    mixed = (mixed ^ (mixed >> np.uint32(15))) * np.uint32(0x846CA68B)
    mixed ^= mixed >> np.uint32(16)
    sign = np.where(mixed & np.uint32(1), 1.0, -1.0).astype(np.float32)
    return ((mixed >> np.uint32(1)) % np.uint32(size)).astype(np.int64), sign


def _added(design: sparse.csr_matrix, kept: int, size: int) -> NDArray[np.float32]:
    at, sign = _places(kept, size)
    # By hand: a product with a matrix of `kept` rows would cost more than the texts' few features.
    row = np.repeat(np.arange(design.shape[0]), np.diff(design.indptr))
    first = design.indices < kept
    feature = design.indices[first]
    width = size + design.shape[1] - kept
    place = row[first] * width + at[feature]
    rest = row[~first] * width + size + design.indices[~first] - kept
    total = np.bincount(
        np.concatenate([place, rest]),
        np.concatenate([design.data[first] * sign[feature], design.data[~first]]),
        design.shape[0] * width,
    )
    return total.reshape(design.shape[0], width).astype(np.float32)


def sketch(design: sparse.csr_matrix, kept: int, size: int) -> Rows:
    """Return rows of length 1: features before `kept` added up by hash into `size` numbers, the rest as they are.

    Where `size` is 0, all are as they are.
    """
    if not size:
        norm = np.sqrt(np.asarray(design.multiply(design).sum(axis=1)).ravel())
        exact = design.astype(np.float32).tocsr()
        exact.data *= np.repeat(np.divide(1.0, norm, out=np.zeros_like(norm), where=norm > 0), np.diff(exact.indptr))
        return exact
    rows = _added(design, kept, size)
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    found: NDArray[np.float32] = np.divide(rows, norm, out=np.zeros_like(rows), where=norm > 0)
    return found


def likeness(one: Rows, two: Rows, gamma: float) -> FloatArray:
    """Return `exp(-gamma |a - b|^2)` of rows of length 1."""
    product: Any = one @ two.T
    dots = np.asarray(product.toarray() if sparse.issparse(product) else product, np.float64)
    near: FloatArray = np.exp(-2.0 * gamma * (1.0 - dots))
    return near


def fit(
    design: sparse.csr_matrix,
    y: NDArray[np.int64],
    n_classes: int,
    *,
    kept: int,
    weight: FloatArray,
    gamma: float,
    ridge: float,
    size: int = 1_024,
) -> KernelHead:
    """Fit.

    Parameters
    ----------
    design, y
        Features and class numbers.
    kept
        Features from here on are not sketched.
    weight
        Shape (n_samples,), of each text.
    gamma, ridge
        Of the kernel; of the penalty.
    size
        Numbers of a sketch; 0 for none.

    Raises
    ------
    ModelError
        If the system cannot be solved.

    References
    ----------
    Saunders, Gammerman & Vovk (1998), Ridge Regression Learning Algorithm in Dual Variables, ICML 15; Weinberger et
    al. (2009), Feature Hashing for Large Scale Multitask Learning, ICML 26.
    """
    rows = sketch(design, kept, size)
    alpha, base = solve(likeness(rows, rows, gamma), y, n_classes, weight=weight, ridge=ridge)
    return KernelHead(rows, alpha, base, gamma, kept, size)


def solve(
    near: FloatArray, y: NDArray[np.int64], n_classes: int, *, weight: FloatArray, ridge: float
) -> tuple[FloatArray, FloatArray]:
    """Solve kernel ridge regression on classes, given how like the texts are.

    Parameters
    ----------
    near
        Shape (n_samples, n_samples); it is overwritten.
    y, n_classes, weight, ridge
        As in `fit`.

    Returns
    -------
    Shape (n_samples, n_classes), each text's part in the scores, and (n_classes,), the shares of the classes.

    Raises
    ------
    ModelError
        If the system cannot be solved.
    """
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    base = np.bincount(y, weight, n_classes) / weight.sum()
    near[np.diag_indices_from(near)] += ridge / weight
    try:
        factor: Any = cho_factor(near, lower=True, overwrite_a=True)
    except LinAlgError as error:
        raise ModelError(f"the kernel's system cannot be solved ({error}): raise ridge, now {ridge}") from error
    return cho_solve(factor, np.eye(n_classes)[y] - base), base


def fit_linear(
    design: sparse.csr_matrix, y: NDArray[np.int64], n_classes: int, *, weight: FloatArray, ridge: float
) -> tuple[FloatArray, FloatArray]:
    """Fit a linear head by ridge regression in the dual: coefficients of shape (n_features, n_classes) and offset.

    Scores are shares of classes. As good as logistic regression where texts are long, and solved at once, however many
    features there are.

    Raises
    ------
    ModelError
        If the system cannot be solved.
    """
    alpha, base = solve((design @ design.T).toarray().astype(np.float64), y, n_classes, weight=weight, ridge=ridge)
    coefficients: FloatArray = np.asarray(design.T @ alpha, np.float64)
    return coefficients, base
