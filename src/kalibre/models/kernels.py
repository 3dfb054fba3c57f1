"""The walk through boosted trees, compiled: a vector in, the sum of its leaves out."""

from __future__ import annotations

import contextlib

import numba
import numpy as np
from numpy.typing import NDArray


def _probability(
    features: NDArray[np.float64],
    roots: NDArray[np.int32],
    feature: NDArray[np.int32],
    threshold: NDArray[np.float64],
    left: NDArray[np.int32],
    right: NDArray[np.int32],
    leaf: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Write the probability of every row into `out`; a row with a value that is not finite gets NaN.

    Nodes of all trees lie behind each other. A child or root >= 0 is a node, a negative one the leaf `~child`. Leaves
    are added in the order of the trees, in double precision, as LightGBM adds them.
    """
    n_rows, n_columns = features.shape
    for i in range(n_rows):
        finite = True
        for j in range(n_columns):
            if not np.isfinite(features[i, j]):
                finite = False
                break
        if not finite:
            out[i] = np.nan
            continue
        total = 0.0
        for tree in range(roots.shape[0]):
            node = roots[tree]
            while node >= 0:
                node = left[node] if features[i, feature[node]] <= threshold[node] else right[node]
            total += leaf[~node]
        out[i] = 1.0 / (1.0 + np.exp(-total))


probability = numba.njit(nogil=True)(_probability)
# Numba's own cache looks at this file only, and this kernel calls nothing outside it. Where nothing can be written, the
# kernel is compiled for this process alone.
with contextlib.suppress(RuntimeError):
    probability.enable_caching()
