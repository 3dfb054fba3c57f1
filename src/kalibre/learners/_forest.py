"""An adaptive random forest, compiled: Hoeffding trees that see each sample often or not at all, and are replaced.

Tree `t` of the forest is tree `t` of the tables; tree `n_trees + t` is the one that grows in its background, if one
does. A tree has two ADWIN windows over its errors: a quick one that starts a background tree, and a surer one.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kalibre.learners._adwin import watch
from kalibre.learners._hoeffding import PLACE, begin_leaf, chance, find_leaf, grow, probability
from kalibre.learners._scaler import is_known
from kalibre.learners.kernels import compiled

LEAVES, BORN, RIGHT, JUDGED, WARNED, REPLACED = 0, 1, 2, 3, 4, 5
"""Of a tree: its leaves (0: there is none), its number among all that ever were; how often it was right, of how many;
its warnings, and how often it was replaced."""
TREE_COLUMNS = 6
SAMPLES, BIRTHS = 0, 1
"""Of the course, the last row of the trees: samples and trees so far."""
SEED, RATE, PATIENCE, DOUBT, TIE, WARN, DRIFT, EVERY, HORIZON = 0, 1, 2, 3, 4, 5, 6, 7, 8
"""Of the settings: the seed; how often a tree sees a sample, in the mean; weight between two attempts to split a leaf,
the Hoeffding bound's delta, and the bound at which columns tie; the delta of warnings and of replacements, and values
between two looks of a detector; bars of the horizon."""


def _plant(
    trees: NDArray[np.float64],
    nodes: NDArray[np.float64],
    leaves: NDArray[np.float64],
    tree: int,
    n_columns: int,
    seed: int,
) -> None:
    """Let a tree begin as one empty leaf."""
    course = trees[trees.shape[0] - 1]
    trees[tree, LEAVES], trees[tree, BORN] = 1.0, course[BIRTHS]
    begin_leaf(nodes[tree], leaves[tree], 0, 0, 0, n_columns, seed, int(course[BIRTHS]))
    course[BIRTHS] += 1.0


plant = compiled(_plant)


def _vote(
    trees: NDArray[np.float64],
    nodes: NDArray[np.float64],
    leaves: NDArray[np.float64],
    row: NDArray[np.float64],
) -> float:
    """Return the mean probability of up of all trees, each counting as much as it was right.

    A half before any tree knows anything, and NaN where a number is unknown.
    """
    if not is_known(row, row.shape[0]):
        return np.nan
    total = weights = 0.0
    for tree in range(trees.shape[0] // 2):
        if trees[tree, LEAVES] == 0.0:
            continue
        leaf = nodes[tree, find_leaf(nodes[tree], row)]
        p = probability(leaf, leaves[tree, int(leaf[PLACE])], row)
        if math.isnan(p):
            continue
        weight = trees[tree, RIGHT] / trees[tree, JUDGED] if trees[tree, RIGHT] > 0.0 else 1.0
        total += weight * p
        weights += weight
    return total / weights if weights > 0.0 else 0.5


vote = compiled(_vote)


def _times(seed: int, sample: int, tree: int, rate: float) -> int:
    """Return how often a tree sees a sample: Poisson, by inversion."""
    left = chance(seed, 0, sample, tree)
    k, p = 0, math.exp(-rate)
    while left >= p and k < 50:
        left -= p
        k += 1
        p *= rate / k
    return k


times = compiled(_times)


def _move_up(
    trees: NDArray[np.float64], nodes: NDArray[np.float64], leaves: NDArray[np.float64], tree: int, other: int
) -> None:
    """Put the tree in the background in the place of the tree before it."""
    n_leaves = int(trees[other, LEAVES])
    trees[tree, LEAVES], trees[tree, BORN] = n_leaves, trees[other, BORN]
    for node in range(2 * n_leaves - 1):
        for k in range(nodes.shape[2]):
            nodes[tree, node, k] = nodes[other, node, k]
    for place in range(n_leaves):
        for k in range(leaves.shape[2]):
            for i in range(leaves.shape[3]):
                leaves[tree, place, k, i] = leaves[other, place, k, i]
    trees[other, LEAVES] = 0.0


move_up = compiled(_move_up)


def _clear(window: NDArray[np.float64]) -> None:
    """Let a window begin anew."""
    for row in range(window.shape[0]):
        for k in range(window.shape[1]):
            window[row, k] = 0.0


clear = compiled(_clear)


def _learn(
    trees: NDArray[np.float64],
    nodes: NDArray[np.float64],
    leaves: NDArray[np.float64],
    windows: NDArray[np.float64],
    row: NDArray[np.float64],
    settings: NDArray[np.float64],
    up: float,
) -> int:
    """Let every tree learn a sample as often as chance will have it; return how many trees were replaced.

    A row with unknown numbers teaches nothing. Only a rising error is an alarm: a tree that becomes better stays.
    """
    if not is_known(row, row.shape[0]):
        return 0
    n_trees = trees.shape[0] // 2
    course = trees[trees.shape[0] - 1]
    seed, n_columns, every = int(settings[SEED]), row.shape[0], int(settings[EVERY])
    sample = int(course[SAMPLES])
    course[SAMPLES] += 1.0
    replaced = 0
    for tree in range(n_trees):
        if trees[tree, LEAVES] == 0.0:
            plant(trees, nodes, leaves, tree, n_columns, seed)
        leaf = nodes[tree, find_leaf(nodes[tree], row)]
        p = probability(leaf, leaves[tree, int(leaf[PLACE])], row)
        wrong = 1.0 if math.isnan(p) or (p > 0.5) != (up > 0.5) else 0.0
        trees[tree, JUDGED] += 1.0
        trees[tree, RIGHT] += 1.0 - wrong
        weight = float(times(seed, sample, tree, settings[RATE]))
        if weight == 0.0:
            continue
        other = n_trees + tree
        for one in (other, tree):
            if trees[one, LEAVES] > 0.0:
                trees[one, LEAVES] = grow(
                    nodes[one],
                    leaves[one],
                    int(trees[one, LEAVES]),
                    row,
                    up,
                    weight,
                    settings[PATIENCE],
                    settings[DOUBT],
                    settings[TIE],
                    seed,
                    int(trees[one, BORN]),
                )
        if sample % settings[HORIZON] != 0.0:
            continue  # neighbouring labels overlap, and the detectors take their values for independent
        if watch(windows[2 * tree], wrong, settings[WARN], every) > 0:
            trees[tree, WARNED] += 1.0
            plant(trees, nodes, leaves, other, n_columns, seed)
            clear(windows[2 * tree])
        if watch(windows[2 * tree + 1], wrong, settings[DRIFT], every) > 0:
            replaced += 1
            trees[tree, REPLACED] += 1.0
            if trees[other, LEAVES] == 0.0:
                plant(trees, nodes, leaves, other, n_columns, seed)
            move_up(trees, nodes, leaves, tree, other)
            trees[tree, RIGHT] = trees[tree, JUDGED] = 0.0
            clear(windows[2 * tree])
            clear(windows[2 * tree + 1])
    return replaced


learn = compiled(_learn)
