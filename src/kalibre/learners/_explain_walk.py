"""The walk of exact TreeSHAP, compiled: rows in, what each column adds to their scores out.

`_treeshap` says how it works and makes the tables.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kalibre.learners.kernels import compiled


class Tree(NamedTuple):
    """Where a tree lies: its nodes follow its root, a parent before its children.

    `points` is 0 for a tree on one column; `mean` and `table` are places of `numbers`. For each branch the table has
    four rows of as many numbers as there are points: what the product is multiplied by, and what the sum below is
    weighed by for the column, each where the row takes the branch and where it takes the other one.
    """

    root: int
    size: int
    points: int
    mean: int
    table: int


def _go_down(
    nodes: NDArray[np.int64],
    numbers: NDArray[np.float64],
    scratch: NDArray[np.float64],
    tree: Tree,
    row: NDArray[np.float64],
) -> None:
    """Multiply the products down to every node of a tree, at every point.

    `scratch` holds them, then room for the sums, then for each node whether the row took every earlier branch of its
    column on the path, then which branch it takes here.
    """
    points, n_nodes = tree.points, nodes.shape[0]
    came = 2 * tree.size * points
    goes = came + tree.size
    for k in range(points):
        scratch[k] = 1.0
    for at in range(tree.size):
        node = tree.root + at
        hot = 0 if row[nodes[node, 0]] <= numbers[node] else 1
        previous = nodes[node, 3]
        known = True
        if previous >= 0:
            other = previous // 2 - tree.root
            known = scratch[came + other] != 0.0 and scratch[goes + other] == previous % 2
        scratch[goes + at], scratch[came + at] = hot, 1.0 if known else 0.0
        for branch in range(2):
            child = nodes[node, 1 + branch] - tree.root
            table = tree.table + ((2 * at + branch) * 4 + (0 if branch == hot else 1)) * points
            share = numbers[n_nodes + 2 * node + branch]
            if child > 0:
                for k in range(points):
                    scratch[child * points + k] = scratch[at * points + k] * (numbers[table + k] if known else share)


go_down = compiled(_go_down)


def _come_up(
    nodes: NDArray[np.int64],
    numbers: NDArray[np.float64],
    scratch: NDArray[np.float64],
    tree: Tree,
    moved: NDArray[np.float64],
) -> None:
    """Add up the products of the leaves below every node, and what each branch moves its column by."""
    points, n_nodes = tree.points, nodes.shape[0]
    sums, came = tree.size * points, 2 * tree.size * points
    for k in range(sums, came):
        scratch[k] = 0.0
    for at in range(tree.size - 1, -1, -1):
        node = tree.root + at
        known, hot = scratch[came + at] != 0.0, int(scratch[came + tree.size + at])
        by = 0.0
        for branch in range(2):
            child = nodes[node, 1 + branch]
            table = tree.table + ((2 * at + branch) * 4 + (0 if branch == hot else 1)) * points
            share = numbers[n_nodes + 2 * node + branch]
            for k in range(points):
                if child >= 0:
                    below = scratch[sums + (child - tree.root) * points + k]
                else:
                    below = scratch[at * points + k] * (numbers[table + k] if known else share)
                    below *= numbers[3 * n_nodes + ~child]
                scratch[sums + at * points + k] += below
                if known:
                    by += below * numbers[table + 2 * points + k]
        moved[nodes[node, 0]] += by


come_up = compiled(_come_up)


def _explain_rows(
    trees: NDArray[np.int64],
    nodes: NDArray[np.int64],
    numbers: NDArray[np.float64],
    scratch: NDArray[np.float64],
    rows: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Write what each column of each row adds, and last its score, into `out`.

    One tree after the other, so that its table is read from near; a row's sums are the same as if it came alone.

    Parameters
    ----------
    trees
        A row for each tree: the fields of `Tree`.
    nodes
        A row for each node: column, children (negative: leaf `~child`), branch before of the same column or -1.
    numbers
        Thresholds; shares of samples that went left and right; leaves; means of the trees; tables.
    scratch
        Room for the products and sums of the largest tree.
    """
    n_columns, n_nodes = rows.shape[1], nodes.shape[0]
    for i in range(rows.shape[0]):
        start = 0.0
        for j in range(n_columns):
            if not math.isfinite(rows[i, j]):
                start = np.nan
        for j in range(n_columns + 1):
            out[i, j] = start
    for number in range(trees.shape[0]):
        one = trees[number]
        tree = Tree(one[0], one[1], one[2], one[3], one[4])
        for i in range(rows.shape[0]):
            if math.isnan(out[i, n_columns]):
                continue
            node = tree.root
            while node >= 0:
                node = nodes[node, 1] if rows[i, nodes[node, 0]] <= numbers[node] else nodes[node, 2]
            value = numbers[3 * n_nodes + ~node]
            out[i, n_columns] += value
            if tree.points > 0:
                go_down(nodes, numbers, scratch, tree, rows[i])
                come_up(nodes, numbers, scratch, tree, out[i])
            elif tree.root >= 0:
                out[i, nodes[tree.root, 0]] += value - numbers[tree.mean]


explain = compiled(_explain_rows)
