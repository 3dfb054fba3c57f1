"""How far one importance of columns is from another."""

from __future__ import annotations

import numpy as np

from kalibre.core.protocols import FloatArray


def divergence(left: FloatArray, right: FloatArray) -> float | None:
    """Return the Jensen-Shannon divergence of two importances, as shares: 0 the same, 1 nothing in common.

    Parameters
    ----------
    left, right
        Shape (n_columns,), at least 0, of any sum.

    Returns
    -------
    In bits; None where one of them is 0 throughout.

    References
    ----------
    Lin (1991), IEEE Transactions on Information Theory 37(1), 145-151.

    Examples
    --------
    >>> divergence(np.array([1.0, 1.0]), np.array([3.0, 3.0])), divergence(np.array([1.0, 0.0]), np.array([0.0, 2.0]))
    (0.0, 1.0)
    """
    if not (left.sum() > 0.0 and right.sum() > 0.0):
        return None
    p, q = left / left.sum(), right / right.sum()
    middle = (p + q) / 2.0
    parts = [x[x > 0.0] * np.log2(x[x > 0.0] / middle[x > 0.0]) for x in (p, q)]
    return min(max(float(sum(part.sum() for part in parts)) / 2.0, 0.0), 1.0)


def rank_correlation(left: FloatArray, right: FloatArray) -> float | None:
    """Return Spearman's rank correlation of two importances over the columns that either one uses.

    Returns
    -------
    Between -1 and 1; None for fewer than three columns, or where all of one are alike.

    Examples
    --------
    >>> rank_correlation(np.array([3.0, 2.0, 1.0, 0.0]), np.array([30.0, 20.0, 10.0, 0.0]))
    1.0
    """
    used = (left > 0.0) | (right > 0.0)
    if used.sum() < 3:
        return None
    a, b = _ranks(left[used]), _ranks(right[used])
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return min(max(float(a @ b) / scale, -1.0), 1.0) if scale > 0.0 else None


def _ranks(values: FloatArray) -> FloatArray:
    """Return ranks from 1 up, the mean one for equals."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: FloatArray = (last - (counts - 1) / 2.0)[place]
    return ranks
