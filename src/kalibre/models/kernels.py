"""The walk through boosted trees, compiled: rows of features in, the sums of their leaves out, as probabilities."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from numpy.typing import NDArray

from kalibre.features._kernel import Kernel

_kernel = partial(Kernel, folder="models")


def _probability_of(
    roots: NDArray[np.int32],
    feature: NDArray[np.int32],
    threshold: NDArray[np.float64],
    left: NDArray[np.int32],
    right: NDArray[np.int32],
    leaf: NDArray[np.float64],
    features: NDArray[np.float64],
    i: int,
) -> float:
    """Return the probability of row `i`; NaN where a value is not finite.

    Nodes of all trees lie behind each other. A child or root >= 0 is a node, a negative one the leaf `~child`. Leaves
    are added in the order of the trees, in double precision, as LightGBM adds them.
    """
    for j in range(features.shape[1]):
        if not np.isfinite(features[i, j]):
            return np.nan
    total = 0.0
    for tree in range(roots.shape[0]):
        node = roots[tree]
        while node >= 0:
            node = left[node] if features[i, feature[node]] <= threshold[node] else right[node]
        total += leaf[~node]
    return 1.0 / (1.0 + math.exp(-total))


probability_of = _kernel(_probability_of)


def _probabilities(
    roots: NDArray[np.int32],
    feature: NDArray[np.int32],
    threshold: NDArray[np.float64],
    left: NDArray[np.int32],
    right: NDArray[np.int32],
    leaf: NDArray[np.float64],
    features: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Write the probability of every row into `out`."""
    for i in range(features.shape[0]):
        out[i] = probability_of(roots, feature, threshold, left, right, leaf, features, i)


probabilities = _kernel(_probabilities)
