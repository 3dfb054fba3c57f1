"""Hoeffding trees, compiled: they grow while samples come, and split a leaf when they are sure enough which way.

A tree is two tables. Each row of the first is a node, a leaf or a split; of the second, a block for each leaf says what
it has seen: which columns it looks at, and of each class and column the mean, the squared deviations, the smallest and
the largest value. A tree that has all the leaves it may have grows no more, and its leaves go on learning.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kalibre.learners.kernels import compiled

COLUMN, THRESHOLD, LEFT, PLACE, DEPTH, TRIED = 0, 1, 2, 3, 4, 5
"""Of a node: the column it asks (-1: a leaf), up to where it goes left, the node there (the other follows it), the
leaf's block, its depth, and its weight when a split was tried last."""
WEIGHTS, SEEN, BY_COUNT, BY_BAYES = 6, 8, 10, 11
"""Of a leaf: weight of both classes, with what its parent gave it; without that; and the weight that counting, and that
naive Bayes, would have told right."""
NODE_COLUMNS = 12
LOOKS, MEAN, SPREAD, LEAST, MOST, CLASS_ROWS = 0, 1, 2, 3, 4, 4
"""Rows of a block: which columns; then of each class its four rows."""
BLOCK_ROWS = 1 + 2 * CLASS_ROWS

_PARTS = 10
"""Thresholds that are tried for a column: between its smallest and its largest value, evenly."""
_THINNEST = 0.01
"""Share of the weight that either side of a split must have."""
_PURE = 0.99
"""Share of one class from which on a leaf is not split."""
_DEEPEST = 30
_MIX, _STEP, _LAST = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x9E3779B97F4A7C15), np.uint64(0x94D049BB133111EB)


def _chance(seed: int, kind: int, which: int, draw: int) -> float:
    """Return the number in [0, 1) that belongs to these four: no state, so nothing depends on what was drawn before.

    A counter-based generator: SplitMix64's finaliser (Steele, Lea and Flood 2014) over each in turn.
    """
    x = np.uint64(seed)
    for part in (kind, which, draw):
        x = (x ^ np.uint64(part)) + _STEP
        x = (x ^ (x >> np.uint64(30))) * _MIX
        x = (x ^ (x >> np.uint64(27))) * _LAST
        x = x ^ (x >> np.uint64(31))
    return float(x >> np.uint64(11)) * 2.0**-53


chance = compiled(_chance)


def _begin_leaf(
    nodes: NDArray[np.float64],
    leaves: NDArray[np.float64],
    node: int,
    place: int,
    depth: int,
    n_columns: int,
    seed: int,
    born: int,
) -> None:
    """Make a node an empty leaf with a block of its own, which looks at columns drawn for it."""
    for k in range(NODE_COLUMNS):
        nodes[node, k] = 0.0
    nodes[node, COLUMN], nodes[node, PLACE], nodes[node, DEPTH] = -1.0, place, depth
    block = leaves[place]
    n_looks = block.shape[1]
    found = 0
    for column in range(n_columns):
        if chance(seed, 1 + born, node, column) * (n_columns - column) < n_looks - found:
            block[LOOKS, found] = column
            found += 1
    for row in range(1, BLOCK_ROWS):
        for k in range(n_looks):
            block[row, k] = 0.0


begin_leaf = compiled(_begin_leaf)


def _find_leaf(nodes: NDArray[np.float64], row: NDArray[np.float64]) -> int:
    """Return the leaf that a row belongs to."""
    node = 0
    while nodes[node, COLUMN] >= 0.0:
        node = int(nodes[node, LEFT]) + int(row[int(nodes[node, COLUMN])] > nodes[node, THRESHOLD])
    return node


find_leaf = compiled(_find_leaf)


def _by_bayes(leaf: NDArray[np.float64], block: NDArray[np.float64], row: NDArray[np.float64]) -> float:
    """Return the probability of up by naive Bayes with normal densities; NaN for a leaf that knows nothing."""
    total = leaf[WEIGHTS] + leaf[WEIGHTS + 1]
    if total <= 0.0:
        return np.nan
    if leaf[WEIGHTS] <= 0.0 or leaf[WEIGHTS + 1] <= 0.0:
        return 1.0 if leaf[WEIGHTS] <= 0.0 else 0.0
    odds = math.log(leaf[WEIGHTS + 1] / leaf[WEIGHTS])
    for y in range(2):
        freedom = leaf[SEEN + y] - 1.0
        if freedom <= 0.0:
            continue
        mean, spread = block[MEAN + CLASS_ROWS * y], block[SPREAD + CLASS_ROWS * y]
        side = -1.0 if y == 0 else 1.0
        # One logarithm for each few variances: their product cannot leave the range of a double.
        product, known = 1.0, 0
        for k in range(block.shape[1]):
            variance = spread[k] / freedom
            if variance > 0.0:
                apart = row[int(block[LOOKS, k])] - mean[k]
                odds -= side * 0.5 * apart * apart / variance
                product *= variance
                known += 1
            if product < 1e-100 or product > 1e100:
                odds -= side * 0.5 * math.log(product)
                product = 1.0
        odds -= side * (0.5 * math.log(product) + 0.9189385332046727 * known)
    return 1.0 / (1.0 + math.exp(-min(max(odds, -500.0), 500.0)))


by_bayes = compiled(_by_bayes)


def _probability(leaf: NDArray[np.float64], block: NDArray[np.float64], row: NDArray[np.float64]) -> float:
    """Return the probability of up by counting or naive Bayes, whichever was right more often; NaN if empty."""
    if leaf[BY_BAYES] >= leaf[BY_COUNT]:
        return by_bayes(leaf, block, row)
    counted: float = leaf[WEIGHTS + 1] / (leaf[WEIGHTS] + leaf[WEIGHTS + 1])
    return counted


probability = compiled(_probability)


def _entropy(one: float, two: float) -> float:
    """Return the entropy of two weights in bits, times their sum."""
    total = one + two
    bits = total * math.log2(total) if total > 0.0 else 0.0
    bits -= one * math.log2(one) if one > 0.0 else 0.0
    return bits - (two * math.log2(two) if two > 0.0 else 0.0)


entropy = compiled(_entropy)


def _below(block: NDArray[np.float64], k: int, y: int, weight: float, threshold: float) -> float:
    """Return the weight of a class that lies at or below a threshold, by its normal distribution."""
    at = CLASS_ROWS * y
    if weight <= 0.0 or threshold < block[LEAST + at, k]:
        return 0.0
    if threshold >= block[MOST + at, k]:
        return weight
    variance = block[SPREAD + at, k] / (weight - 1.0) if weight > 1.0 else 0.0
    if variance <= 0.0:
        return 0.0
    apart = (threshold - block[MEAN + at, k]) / math.sqrt(variance)
    return weight * 0.5 * math.erfc(-apart / math.sqrt(2.0))


below = compiled(_below)


def _best_split(leaf: NDArray[np.float64], block: NDArray[np.float64]) -> tuple[int, float, float, float]:
    """Return the best place of a column to split at, its threshold, gain, and the gain of the second-best column.

    The place is -1 if no split is possible.
    """
    seen_down, seen_up = leaf[SEEN], leaf[SEEN + 1]
    total = seen_down + seen_up
    before = entropy(leaf[WEIGHTS], leaf[WEIGHTS + 1]) / (leaf[WEIGHTS] + leaf[WEIGHTS + 1])
    best, where, gain, second = -1, 0.0, -np.inf, -np.inf
    for k in range(block.shape[1]):
        least, most = np.inf, -np.inf
        if seen_down > 0.0:
            least, most = block[LEAST, k], block[MOST, k]
        if seen_up > 0.0:
            least = min(least, block[LEAST + CLASS_ROWS, k])
            most = max(most, block[MOST + CLASS_ROWS, k])
        own, own_where = -np.inf, 0.0
        for part in range(_PARTS):
            threshold = least + (most - least) / (_PARTS + 1.0) * (part + 1)
            if not least < threshold < most:
                continue
            down = below(block, k, 0, seen_down, threshold)
            up = below(block, k, 1, seen_up, threshold)
            left = down + up
            if left <= _THINNEST * total or total - left <= _THINNEST * total:
                continue
            gained = before - (entropy(down, up) + entropy(seen_down - down, seen_up - up)) / total
            if gained > own:
                own, own_where = gained, threshold
        if own > -np.inf and own >= gain:
            best, where, second, gain = k, own_where, gain, own
        elif own > second:
            second = own
    return best, where, gain, second


best_split = compiled(_best_split)


def _split(
    nodes: NDArray[np.float64],
    leaves: NDArray[np.float64],
    node: int,
    n_nodes: int,
    n_leaves: int,
    k: int,
    threshold: float,
    n_columns: int,
    seed: int,
    born: int,
) -> None:
    """Make a leaf a split, its two sides the nodes `n_nodes` and the next, which know their share of its weight."""
    leaf = nodes[node]
    place, depth = int(leaf[PLACE]), int(leaf[DEPTH]) + 1
    column, seen_down, seen_up = leaves[place, LOOKS, k], leaf[SEEN], leaf[SEEN + 1]
    down = below(leaves[place], k, 0, seen_down, threshold)
    up = below(leaves[place], k, 1, seen_up, threshold)
    begin_leaf(nodes, leaves, n_nodes, place, depth, n_columns, seed, born)
    begin_leaf(nodes, leaves, n_nodes + 1, n_leaves, depth, n_columns, seed, born)
    for side in range(2):
        new = nodes[n_nodes + side]
        new[WEIGHTS] = down if side == 0 else seen_down - down
        new[WEIGHTS + 1] = up if side == 0 else seen_up - up
        new[TRIED] = new[WEIGHTS] + new[WEIGHTS + 1]
    leaf[COLUMN], leaf[THRESHOLD], leaf[LEFT], leaf[PLACE] = column, threshold, n_nodes, -1.0


split = compiled(_split)


def _grow(
    nodes: NDArray[np.float64],
    leaves: NDArray[np.float64],
    n_leaves: int,
    row: NDArray[np.float64],
    up: float,
    weight: float,
    patience: float,
    doubt: float,
    tie: float,
    seed: int,
    born: int,
) -> int:
    """Let a tree learn a sample; return how many leaves it has then.

    Parameters
    ----------
    nodes, leaves
        The tree, shapes (2 * most - 1, NODE_COLUMNS) and (most, BLOCK_ROWS, n_looks) with the most leaves it may have.
    n_leaves
        Leaves that it has.
    row, up, weight
        The sample: its numbers, 1.0 or 0.0, and how often it counts.
    patience
        Weight that a leaf sees between two attempts to split it.
    doubt, tie
        The Hoeffding bound's delta, and the bound from which on two columns count as equally good.
    seed, born
        What the columns of new leaves are drawn by.
    """
    node = find_leaf(nodes, row)
    leaf = nodes[node]
    block = leaves[int(leaf[PLACE])]
    y = 1 if up > 0.5 else 0
    total = leaf[WEIGHTS] + leaf[WEIGHTS + 1]
    if total <= 0.0 or (leaf[WEIGHTS + 1] > leaf[WEIGHTS]) == (y == 1):
        leaf[BY_COUNT] += weight
    if total > 0.0 and (by_bayes(leaf, block, row) > 0.5) == (y == 1):
        leaf[BY_BAYES] += weight
    leaf[WEIGHTS + y] += weight
    leaf[SEEN + y] += weight
    total += weight
    seen, first = leaf[SEEN + y], leaf[SEEN + y] == weight
    at = CLASS_ROWS * y
    for k in range(block.shape[1]):
        x = row[int(block[LOOKS, k])]
        apart = x - block[MEAN + at, k]
        block[MEAN + at, k] += weight / seen * apart
        block[SPREAD + at, k] += weight * apart * (x - block[MEAN + at, k])
        block[LEAST + at, k] = x if first else min(block[LEAST + at, k], x)
        block[MOST + at, k] = x if first else max(block[MOST + at, k], x)
    if total - leaf[TRIED] < patience or n_leaves == leaves.shape[0] or leaf[DEPTH] >= _DEEPEST:
        return n_leaves
    leaf[TRIED] = total
    if max(leaf[WEIGHTS], leaf[WEIGHTS + 1]) > _PURE * total:
        return n_leaves
    k, threshold, gain, second = best_split(leaf, block)
    bound = math.sqrt(math.log(1.0 / doubt) / (2.0 * total))
    if k < 0 or not (gain - second > bound or bound < tie):
        return n_leaves
    split(nodes, leaves, node, 2 * n_leaves - 1, n_leaves, k, threshold, row.shape[0], seed, born)
    return n_leaves + 1


grow = compiled(_grow)
