"""Exact Shapley values of boosted trees: how much each column moves the log-odds of one row.

What is not known of a row is taken along both branches of a split, in the shares of the samples that the model was
fitted on ("path-dependent"). The value of a leaf, as a function of which columns are known, is a product over the
columns on its path, so the weights of Shapley's sum become an integral,

    |S|! (d - 1 - |S|)! / d!  =  integral over t from 0 to 1 of  t^|S| (1 - t)^(d - 1 - |S|),

of a polynomial of degree below d, which Gauss and Legendre's ceil(d / 2) points give exactly. All of its factors are
positive, so nothing cancels. Every node is visited once on the way down, to multiply, and once on the way up, to add;
what does not depend on the row is tabulated when a model is loaded. A tree that splits on one column only, such as a
stump, needs none of this: its column bears all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import ModelError
from kalibre.core.protocols import FloatArray
from kalibre.learners._explain_walk import Tree, explain
from kalibre.models.gradient_boosting import GradientBoosting
from kalibre.models.trees import Trees


class Contributions(NamedTuple):
    """What moves a row's score; `values.sum() + bias == score` but for rounding.

    Attributes
    ----------
    columns, values
        The model's columns and what each adds, shape (n_columns,), log-odds; NaN for a row with a value that is not
        finite, of which a model says nothing.
    bias
        Mean score over the samples that the model was fitted on.
    score
        The model's log-odds before calibration, the very sum that it makes its probability from.
    """

    columns: tuple[str, ...]
    values: FloatArray
    bias: float
    score: float


class TreeShap:
    """Explains one model.

    Parameters
    ----------
    classifier
        The model; its text tells how many samples came to each node.

    Raises
    ------
    ModelError
        If the text does not tell that, or tells what cannot be.

    References
    ----------
    Lundberg, Erion, Chen et al. (2020), Nature Machine Intelligence 2, 56-67: TreeSHAP. Yu, Xu, Zhang, Wang (2022),
    Linear TreeSHAP, NeurIPS 35: the same as polynomials, which are kept here by their values.
    """

    def __init__(self, classifier: GradientBoosting) -> None:
        trees = classifier.trees
        share = _shares(classifier.text, trees)
        self.columns = trees.columns
        nodes, before = _nodes(trees, share)
        mean = _means(trees, share)
        ends = mean[np.maximum(trees.roots, 0)] if len(mean) else np.zeros(len(trees.roots))
        means = np.where(trees.roots >= 0, ends, trees.leaf[~np.minimum(trees.roots, -1)])
        self.bias = float(means.sum())
        numbers = [trees.threshold, share.ravel(), trees.leaf, means]
        described, self._scratch = _tables(trees, share, before, numbers)
        kept = (np.array(described, dtype=np.int64), nodes, np.concatenate(numbers))
        self._run: Callable[..., None] = explain.bind(*kept)  # type: ignore[attr-defined]

    def explain(self, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Explain many rows.

        Parameters
        ----------
        rows
            Shape (n_rows, n_columns).

        Returns
        -------
        What each column adds, shape (n_rows, n_columns), and the scores, shape (n_rows,), both log-odds; NaN in rows
        with a value that is not finite.

        Raises
        ------
        ModelError
            If the number of columns is not the model's; the message quotes both.
        """
        given = np.ascontiguousarray(rows, dtype=np.float64)
        if given.ndim != 2 or given.shape[1] != len(self.columns):
            raise ModelError(
                f"features of shape {given.shape} do not fit a model of {len(self.columns)} columns: pass shape "
                f"(n_rows, {len(self.columns)})"
            )
        out = np.empty((len(given), len(self.columns) + 1))
        self._run(np.empty(self._scratch), given, out)
        return out[:, :-1], out[:, -1]

    def explain_one(self, row: FloatArray) -> Contributions:
        """Explain one row, shape (n_columns,)."""
        values, score = self.explain(np.asarray(row, dtype=np.float64)[None, :])
        return Contributions(self.columns, values[0], self.bias, float(score[0]))


# --- what does not depend on the row ----------------------------------------------------------------------------------


def _shares(text: str, trees: Trees) -> FloatArray:
    """Return which share of a node's samples went left and right, shape (n_nodes, 2)."""
    kept: dict[str, list[float]] = {"leaf_count": [], "internal_count": []}
    blocks = text.partition("\nTree=")[2].partition("\nend of trees\n")[0].split("\nTree=")
    for number, block in enumerate(blocks):
        fields = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        leaves = int(fields["num_leaves"])
        for name, n in (("leaf_count", leaves), ("internal_count", leaves - 1)):
            counts = [float(word) for word in fields.get(name, "").split()] if leaves > 1 else [1.0] * n
            if len(counts) != n:
                raise ModelError(f"tree {number} of {leaves} leaves has {name} {counts}: it cannot be explained")
            kept[name] += counts
    leaf, node = np.array(kept["leaf_count"]), np.array(kept["internal_count"])
    children = [np.where(side >= 0, node[np.maximum(side, 0)], leaf[~np.minimum(side, -1)]) for side in _sides(trees)]
    below = np.array(children).T.reshape(len(node), 2)
    wrong = ~((below > 0).all(axis=1) & (below.sum(axis=1) == node))
    if wrong.any():
        at = int(np.argmax(wrong))
        raise ModelError(
            f"node {at} of the model has {node[at]:g} samples, its branches have {below[at].tolist()}: it cannot be "
            "explained; train it again"
        )
    share: FloatArray = below / node[:, None]
    return share


def _sides(trees: Trees) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    return trees.left, trees.right


def _nodes(trees: Trees, share: FloatArray) -> tuple[NDArray[np.int64], FloatArray]:
    """Return feature, children and the branch before of the same column; and the share that came along that.

    A branch is twice its node, plus 1 for the right one; -1 where no split above is on the column. The share is the
    product over all of these splits; 1 where there are none.
    """
    n = len(trees.feature)
    previous, reached = np.full(n, -1), np.ones(n)
    above: list[dict[int, tuple[int, float]]] = [{} for _ in range(n)]
    for node in range(n):  # a child is numbered after its parent
        column = int(trees.feature[node])
        previous[node], reached[node] = above[node].get(column, (-1, 1.0))
        for branch, side in enumerate(_sides(trees)):
            if side[node] >= 0:
                path = (2 * node + branch, float(reached[node] * share[node, branch]))
                above[side[node]] = {**above[node], column: path}
        above[node] = {}
    return np.column_stack([trees.feature, trees.left, trees.right, previous]).astype(np.int64), reached


def _means(trees: Trees, share: FloatArray) -> FloatArray:
    """Return the mean of the leaves below each node, by samples."""
    mean = np.zeros(len(trees.feature))
    for node in range(len(mean) - 1, -1, -1):
        for branch, side in enumerate(_sides(trees)):
            child = side[node]
            mean[node] += share[node, branch] * (mean[child] if child >= 0 else trees.leaf[~child])
    return mean


def _tables(trees: Trees, share: FloatArray, reached: FloatArray, numbers: list[FloatArray]) -> tuple[list[Tree], int]:
    """Add the tables of the trees to the numbers; return where each tree lies, and the room that a walk needs."""
    ends = iter([*trees.roots[trees.roots >= 0].tolist()[1:], len(trees.feature)])
    place = sum(len(part) for part in numbers)
    mean, scratch, described = place - len(trees.roots), 0, []
    for number, root in enumerate(trees.roots.tolist()):
        nodes = slice(root, next(ends)) if root >= 0 else slice(0, 0)
        count = nodes.stop - nodes.start
        several = count and np.ptp(trees.feature[nodes]) > 0
        points = -(-_most_columns(trees, root, nodes.stop) // 2) if several else 0
        described.append(Tree(root, count, points, mean + number, place))
        if points:
            t, weight = np.polynomial.legendre.leggauss(points)
            t, weight = (1.0 + t) / 2.0, weight / 2.0
            prior = reached[nodes, None, None]
            after = prior * share[nodes, :, None]
            known, unknown, earlier = t + after * (1 - t), after * (1 - t), t + prior * (1 - t)
            kept = (1 - prior) / earlier
            rows = [known / earlier, unknown / earlier]
            rows += [weight * ((1 - after) / known - kept), weight * (-1 / (1 - t) - kept)]
            numbers.append(np.stack(np.broadcast_arrays(*rows), axis=2).ravel())
            place += len(numbers[-1])
            scratch = max(scratch, 2 * count * (points + 1))
    return described, scratch


def _most_columns(trees: Trees, root: int, end: int) -> int:
    """Return the most columns that a path of a tree splits on."""
    paths = {root: frozenset[int]()}
    most = 0
    for node in range(root, end):
        path = paths.pop(node) | {int(trees.feature[node])}
        most = max(most, len(path))
        paths |= {int(side[node]): path for side in _sides(trees) if side[node] >= 0}
    return most
