"""Laws of TreeSHAP on trees that chance has grown: Shapley's own sum, additivity, and rows that do not mind company."""

from __future__ import annotations

from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kalibre.learners._treeshap import TreeShap
from kalibre.models.gradient_boosting import GradientBoosting


class Grown:
    """A tree grown by chance: every split falls on any column, again and again, each node with samples of its own."""

    def __init__(self, rng: Any, n_columns: int, leaves: int) -> None:
        self.feature: list[int] = []
        self.threshold: list[float] = []
        self.children: list[list[int]] = []
        self.leaf = [float(rng.normal())]
        self.above: list[tuple[int, int] | None] = [None]
        for _ in range(leaves - 1):
            split = int(rng.integers(len(self.leaf)))
            node, new = len(self.feature), len(self.leaf)
            above = self.above[split]
            if above is not None:
                self.children[above[0]][above[1]] = node
            self.feature.append(int(rng.integers(n_columns)))
            self.threshold.append(float(rng.integers(-2, 3)))
            self.children.append([~split, ~new])
            self.leaf.append(float(rng.normal()))
            self.above[split] = (node, 0)
            self.above.append((node, 1))
        self.samples = rng.integers(1, 50, size=leaves).tolist()

    def count(self, node: int) -> int:
        return self.samples[~node] if node < 0 else sum(self.count(child) for child in self.children[node])

    def mean(self, node: int, row: Any, known: frozenset[int]) -> float:
        """Return what the tree says where only some columns are known, by its definition."""
        if node < 0:
            return self.leaf[~node]
        if self.feature[node] in known:
            return self.mean(self.children[node][int(row[self.feature[node]] > self.threshold[node])], row, known)
        total = self.count(node)
        return sum(self.count(child) / total * self.mean(child, row, known) for child in self.children[node])

    @property
    def root(self) -> int:
        return 0 if self.feature else -1

    def text(self, number: int) -> str:
        lines = {"num_leaves": [len(self.leaf)], "split_feature": self.feature, "threshold": self.threshold}
        lines |= {"split_gain": [1] * len(self.feature), "decision_type": [2] * len(self.feature)}
        lines |= {
            "left_child": [left for left, _ in self.children],
            "right_child": [right for _, right in self.children],
        }
        lines |= {"leaf_value": [repr(value) for value in self.leaf], "leaf_count": self.samples}
        lines |= {"internal_count": [self.count(node) for node in range(len(self.feature))]}
        told = "\n".join(f"{name}={' '.join(map(str, values))}" for name, values in lines.items())
        return f"\nTree={number}\n{told}\n"


def model(trees: list[Grown], n_columns: int) -> GradientBoosting:
    head = f"tree\nobjective=binary sigmoid:1\nfeature_names={' '.join(f'c{k}' for k in range(n_columns))}\n"
    body = "\n".join(tree.text(number) for number, tree in enumerate(trees))
    return GradientBoosting.from_text(
        f"{head}{body}\nend of trees\n\nparameters:\nend of parameters\n\npandas_categorical:null\n"
    )


def shapley(trees: list[Grown], row: Any, n_columns: int) -> Any:
    """Return Shapley's values by their definition: a sum over every set of the other columns."""
    found = np.zeros(n_columns)
    for column in range(n_columns):
        others = [k for k in range(n_columns) if k != column]
        for size in range(n_columns):
            weight = factorial(size) * factorial(n_columns - size - 1) / factorial(n_columns)
            for chosen in combinations(others, size):
                known = frozenset(chosen)
                for tree in trees:
                    with_it = tree.mean(tree.root, row, known | {column})
                    found[column] += weight * (with_it - tree.mean(tree.root, row, known))
    return found


forests = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 5), st.lists(st.integers(1, 12), min_size=1, max_size=4))


@given(forests)
@settings(max_examples=80, deadline=None)
def test_they_are_shapleys_values(forest: tuple[int, int, list[int]]) -> None:
    seed, n_columns, leaves = forest
    rng = np.random.default_rng(seed)
    trees = [Grown(rng, n_columns, n) for n in leaves]
    row = rng.integers(-3, 4, size=n_columns).astype(float)  # on a threshold as often as not
    explained = TreeShap(model(trees, n_columns)).explain_one(row)
    np.testing.assert_allclose(explained.values, shapley(trees, row, n_columns), rtol=0, atol=1e-12)
    expected = sum(tree.mean(tree.root, row, frozenset()) for tree in trees)
    assert abs(explained.bias - expected) < 1e-12


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.lists(st.integers(1, 150), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_they_add_up_however_deep_the_trees(seed: int, n_columns: int, leaves: list[int]) -> None:
    rng = np.random.default_rng(seed)
    classifier = model([Grown(rng, n_columns, n) for n in leaves], n_columns)
    rows = rng.integers(-3, 4, size=(5, n_columns)).astype(float)
    shap = TreeShap(classifier)
    values, scores = shap.explain(rows)
    np.testing.assert_allclose(values.sum(axis=1) + shap.bias, scores, rtol=0, atol=1e-10)
    np.testing.assert_allclose(1 / (1 + np.exp(-scores)), classifier.predict_proba(rows), rtol=1e-15)
    used = set(classifier.trees.feature.tolist())
    unused = [k for k in range(n_columns) if k not in used]
    assert (values[:, unused] == 0.0).all()
    for k in range(len(rows)):
        alone = shap.explain_one(rows[k])
        assert alone.values.tobytes() == values[k].tobytes()
        assert alone.score == scores[k]
