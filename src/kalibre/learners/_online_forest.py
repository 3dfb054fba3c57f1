"""The forest of `online`: what is told and stored of the trees that `_forest` lets grow."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

import kalibre.learners._forest as forest
import kalibre.learners._hoeffding as hoeffding
from kalibre.core.errors import LearnerError
from kalibre.core.protocols import FloatArray
from kalibre.learners._adwin import COLUMNS, SIZES
from kalibre.learners._online_state import fitting


class Forest:
    """An adaptive random forest: Hoeffding trees on drawn columns, replaced one by one when they become worse.

    Every tree sees a sample as often as a Poisson number says, and each of its leaves looks at its own drawn columns.
    A leaf says what it has counted, or naive Bayes with normal densities, whichever was right more often. A tree votes
    with its probability, by how often it was right. When its error rises, ADWIN warns, and a new tree grows in the
    background; when the surer of two windows agrees, that one takes its place.

    Memory is bounded: a tree that has `most_leaves` grows no more, its leaves go on learning, and it is replaced like
    any other when it becomes worse. What is drawn depends on the seed and the number of the sample, tree and leaf only.

    Parameters
    ----------
    n_columns
        Numbers of a row.
    seed
        Of everything that is drawn, in [0, 2**53).
    n_trees, most_leaves
        Trees, and the leaves each may have.
    n_looks
        Columns that a leaf looks at; None for the root of their number.
    horizon_bars
        Bars that a label looks ahead: detectors see every so-many-th sample, for neighbours overlap.
    rate
        How often a tree sees a sample, in the mean.
    patience, doubt, tie
        Weight between two attempts to split a leaf, the Hoeffding bound's delta, and the bound at which columns tie.
    warn, drift, every
        Of the detectors: how likely a warning and a replacement may be by chance, and values between two looks.

    Raises
    ------
    LearnerError
        If a number is out of its range.

    References
    ----------
    Gomes et al. (2017), Adaptive random forests for evolving data stream classification, Machine Learning 106,
    1469-1495. Domingos and Hulten (2000), Mining high-speed data streams, KDD 6, 71-80. Bifet and Gavalda (2009),
    Adaptive learning from evolving data streams, IDA 8, 249-260.

    Examples
    --------
    >>> trees = Forest(2, seed=1)
    >>> rng = np.random.default_rng(1)
    >>> for row in rng.random((2_000, 2)):
    ...     _ = trees.learn_one(row, bool(row[0] > 0.5) != bool(row[1] > 0.5))
    >>> trees.predict_proba_one(np.array([0.9, 0.1])) > 0.9
    True
    """

    def __init__(
        self,
        n_columns: int,
        *,
        seed: int,
        n_trees: int = 10,
        most_leaves: int = 64,
        n_looks: int | None = None,
        horizon_bars: int = 1,
        rate: float = 6.0,
        patience: float = 50.0,
        doubt: float = 0.01,
        tie: float = 0.05,
        warn: float = 0.01,
        drift: float = 0.001,
        every: int = 32,
    ) -> None:
        looks = max(round(math.sqrt(n_columns)), 1) if n_looks is None else n_looks
        if not 1 <= looks <= n_columns or min(n_trees, most_leaves) < 1 or not 0 <= seed < 2**53:
            raise LearnerError(
                f"{n_trees} trees of at most {most_leaves} leaves that look at {looks} of {n_columns} columns, with "
                f"seed {seed}: all have to be 1 or more, and the seed in [0, 2**53)"
            )
        settings = np.array([seed, rate, patience, doubt, tie, warn, drift, float(every), float(horizon_bars)])
        self._n_trees, self._most = n_trees, most_leaves
        self._trees = np.zeros((2 * n_trees + 1, forest.TREE_COLUMNS))
        self._nodes = np.zeros((2 * n_trees, 2 * most_leaves - 1, hoeffding.NODE_COLUMNS))
        self._leaves = np.zeros((2 * n_trees, most_leaves, hoeffding.BLOCK_ROWS, looks))
        self._windows = np.zeros((2 * n_trees, 1 + SIZES, COLUMNS))
        self._row = np.zeros(n_columns)
        trees = (self._trees, self._nodes, self._leaves)
        self._vote: Callable[..., float] = forest.vote.bind_alone(*trees, self._row)  # type: ignore[attr-defined]
        self._learn: Callable[..., int] = forest.learn.bind_alone(  # type: ignore[attr-defined]
            *trees, self._windows, self._row, settings
        )

    def predict_proba_one(self, row: FloatArray) -> float | None:
        """Return the probability of up; None if a number is unknown."""
        self._row[:] = row
        p = self._vote()
        return p if p == p else None  # noqa: PLR0124  (NaN, in less time than math.isnan takes)

    def learn_one(self, row: FloatArray, up: bool) -> int:
        """Learn a sample and return how many trees were replaced; one with an unknown number teaches nothing."""
        self._row[:] = row
        return self._learn(up)

    # --- what it has learnt -------------------------------------------------------------------------------------------

    @property
    def n_trees(self) -> int:
        """Trees that vote or grow in the background."""
        return int((self._trees[:-1, forest.LEAVES] > 0.0).sum())

    @property
    def n_nodes(self) -> int:
        """Nodes of all of them, leaves included."""
        leaves = self._trees[:-1, forest.LEAVES]
        return int((2.0 * leaves[leaves > 0.0] - 1.0).sum())

    @property
    def warnings(self) -> int:
        """How often a tree was warned."""
        return int(self._trees[:-1, forest.WARNED].sum())

    @property
    def drifts(self) -> int:
        """How often a tree was replaced."""
        return int(self._trees[:-1, forest.REPLACED].sum())

    def splits(self, tree: int) -> list[tuple[int, float, int]]:
        """Return the splits of a tree in the order they came: column, threshold (left where not above) and depth."""
        nodes = self._nodes[tree, : max(2 * int(self._trees[tree, forest.LEAVES]) - 1, 0)]
        chosen = nodes[nodes[:, hoeffding.COLUMN] >= 0.0]
        chosen = chosen[np.argsort(chosen[:, hoeffding.LEFT])]
        columns = (hoeffding.COLUMN, hoeffding.THRESHOLD, hoeffding.DEPTH)
        return [(int(column), threshold, int(depth)) for column, threshold, depth in chosen[:, columns].tolist()]

    def summary(self, columns: tuple[str, ...]) -> list[dict[str, Any]]:
        """Return of each tree what a person can read: its size, how often it was right, and what it asks first."""
        told = []
        for tree in range(self._n_trees):
            leaves, _, right, judged, warned, replaced = self._trees[tree].tolist()
            splits = self.splits(tree)
            told.append(
                {
                    "leaves": int(leaves),
                    "depth": max((depth + 1 for _, _, depth in splits), default=0),
                    "accuracy": right / judged if judged else None,
                    "samples": int(judged),
                    "warnings": int(warned),
                    "replaced": int(replaced),
                    "background": bool(self._trees[self._n_trees + tree, forest.LEAVES] > 0.0),
                    "asks": [f"{columns[column]} > {threshold:.6g}" for column, threshold, _ in splits[:3]],
                }
            )
        return told

    # --- state --------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, NDArray[np.float64]]:
        """Return everything that later answers depend on; the arrays are live, and of one size from the start."""
        return {"trees": self._trees, "nodes": self._nodes, "leaves": self._leaves, "windows": self._windows}

    def judged(self, state: Mapping[str, Any]) -> Callable[[], None]:
        """Return what takes on a state returned by `state`.

        Raises
        ------
        LearnerError
            If it does not fit, or its trees lead nowhere; nothing changes before what is returned is called.
        """
        kept = self.state()
        given = fitting(state, kept)
        if not self._leads_somewhere(given["trees"], given["nodes"], given["leaves"]):
            raise LearnerError("the state's trees lead nowhere: it is damaged, replay the log")

        def take() -> None:
            for name, array in kept.items():
                np.copyto(array, given[name])

        return take

    def _leads_somewhere(
        self, trees: NDArray[np.float64], nodes: NDArray[np.float64], leaves: NDArray[np.float64]
    ) -> bool:
        """Say whether every node leads to a later one of its tree or to a block, so that machine code may follow it."""
        n_leaves = trees[:-1, forest.LEAVES]
        if not ((n_leaves >= 0) & (n_leaves <= self._most) & (n_leaves == np.floor(n_leaves))).all():
            return False
        tree, node = np.nonzero(np.arange(2 * self._most - 1) < 2.0 * n_leaves[:, None] - 1.0)
        used = nodes[tree, node]
        column, left, place = used[:, hoeffding.COLUMN], used[:, hoeffding.LEFT], used[:, hoeffding.PLACE]
        ends, n_columns = (2.0 * n_leaves - 1.0)[tree], len(self._row)
        to_nodes, to_block = (left > node) & (left + 1.0 < ends), (place >= 0.0) & (place < n_leaves[tree])
        looks = leaves[np.arange(self._most) < n_leaves[:, None]][:, hoeffding.LOOKS]
        return bool(
            np.where(column >= 0.0, to_nodes, to_block).all()
            and (column < n_columns).all()
            and ((looks >= 0) & (looks < n_columns)).all()
        )
