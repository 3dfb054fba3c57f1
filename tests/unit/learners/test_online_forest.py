"""The forest: its trees against River's Hoeffding tree, its draws, its bounds, and how it replaces a tree."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from river import tree
from scipy import stats

from kalibre.core.errors import LearnerError
from kalibre.learners import _forest, _hoeffding
from kalibre.learners._online_forest import Forest


def corners(n: int, seed: int, *, columns: int = 5, noise: float = 0.1) -> tuple[Any, Any]:
    """Return rows and outcomes of a truth that no line separates, with labels that are wrong now and then."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, columns)) * 10.0 ** np.arange(-2, columns - 2)
    ups = (rows[:, 0] > 0.0) & (rows[:, 1] > -0.03) | (rows[:, 2] > 1.2)
    return rows, ups ^ (rng.random(n) < noise)


def lone(columns: int, **settings: Any) -> Forest:
    """Return a forest of one tree that looks at every column and is never replaced."""
    return Forest(columns, seed=5, n_trees=1, n_looks=columns, warn=0.0, drift=0.0, **settings)


def river_splits(node: Any, depth: int = 0) -> list[tuple[int, float, int]]:
    if not hasattr(node, "children"):
        return []
    below = [split for child in node.children for split in river_splits(child, depth + 1)]
    return [(node.feature, node.threshold, depth), *below]


# --- trees ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 4])
@pytest.mark.parametrize(("patience", "doubt", "tie"), [(49.5, 0.01, 0.05), (199.5, 1e-7, 0.05), (29.5, 0.2, 0.03)])
def test_a_tree_is_rivers_hoeffding_tree(seed: int, patience: float, doubt: float, tie: float) -> None:
    """River is given the weights that this tree draws; then splits are the same, and what is said is, all the way.

    Counting and naive Bayes are compared each with its own tree of River's. Which of both a leaf believes may differ
    for a while, for where two classes weigh the same River counts the one that came first as foretold. Labels are wrong
    so often that no leaf is nearly of one class: River forgets what such a leaf has seen when it tries to split it. And
    no patience is a whole number, as weights are: rounding would decide whether a leaf has seen enough.
    """
    rows, ups = corners(3_000, seed, noise=0.3)
    ours = lone(5, most_leaves=512, patience=patience, doubt=doubt, tie=tie)
    settings = {"grace_period": patience, "delta": doubt, "tau": tie}
    by_count, by_bayes, theirs = (
        tree.HoeffdingTreeClassifier(leaf_prediction=how, **settings) for how in ("mc", "nb", "nba")
    )
    same = compared = 0
    for t, (row, up) in enumerate(zip(rows, ups.tolist(), strict=True)):
        x = dict(enumerate(row.tolist()))
        if len(theirs.classes) == 2:
            counted, bayes, p = (one.predict_proba_one(x)[True] for one in (by_count, by_bayes, theirs))
            said = ours.predict_proba_one(row)
            assert said == pytest.approx(counted, abs=1e-9) or said == pytest.approx(bayes, abs=1e-9)
            same += said == pytest.approx(p, abs=1e-9)
            compared += 1
        ours.learn_one(row, up)
        weight = _forest.times(5, t, 0, 6.0)
        if weight:
            for one in (by_count, by_bayes, theirs):
                one.learn_one(x, up, w=weight)
    assert same > 0.95 * compared > 2_500
    expected = sorted(river_splits(theirs._root))
    found = sorted(ours.splits(0))
    assert [(column, depth) for column, _, depth in found] == [(column, depth) for column, _, depth in expected]
    assert [one[1] for one in found] == pytest.approx([one[1] for one in expected], rel=1e-9)
    assert len(found) > 3
    assert ours.n_nodes == 2 * len(found) + 1 == theirs.n_nodes


def test_a_leaf_of_one_class_is_not_split() -> None:
    rows, _ = corners(3_000, 6)
    model = lone(5)
    for row in rows:
        model.learn_one(row, True)
    assert model.splits(0) == []
    assert model.predict_proba_one(rows[0]) == 1.0


def test_a_full_tree_grows_no_more_and_goes_on_learning() -> None:
    """Its leaves still count: after the truth has turned they say the contrary."""
    rows, ups = corners(8_000, 7, noise=0.05)
    model = lone(5, most_leaves=4)
    for row, up in zip(rows[:3_000], ups[:3_000], strict=True):
        model.learn_one(row, bool(up))
    full = model.splits(0)
    assert len(full) == 3
    before = [model.predict_proba_one(row) for row in rows[:200]]
    for _ in range(4):
        for row, up in zip(rows[3_000:], ups[3_000:], strict=True):
            model.learn_one(row, not up)
    assert model.splits(0) == full
    after = [model.predict_proba_one(row) for row in rows[:200]]
    assert np.corrcoef(np.array(before, float), np.array(after, float))[0, 1] < -0.5


def test_naive_bayes_survives_any_scale() -> None:
    """Forty columns with variances of 1e-24 and 1e24: no product leaves the range of a double."""
    rng = np.random.default_rng(8)
    rows = rng.normal(size=(400, 40)) * np.where(np.arange(40) % 2, 1e-12, 1e12)
    ups = rows[:, 3] > 0.0
    model = lone(40, patience=1e9)
    for row, up in zip(rows, ups, strict=True):
        model.learn_one(row, bool(up))
    said = np.array([model.predict_proba_one(row) for row in rows])
    assert np.isfinite(said).all()
    assert ((said > 0.5) == ups).mean() > 0.9


# --- draws ------------------------------------------------------------------------------------------------------------


def test_how_often_a_tree_sees_a_sample_is_poisson() -> None:
    drawn = np.array([_forest.times(1, sample, tree, 6.0) for sample in range(2_000) for tree in range(10)])
    seen = np.bincount(np.minimum(drawn, 14), minlength=15)
    expected = stats.poisson.pmf(np.arange(15), 6.0) * len(drawn)
    expected[14] = stats.poisson.sf(13, 6.0) * len(drawn)
    assert stats.chisquare(seen, expected).pvalue > 0.001


def test_draws_are_even_and_do_not_know_each_other() -> None:
    drawn = np.array(
        [[_hoeffding.chance(3, kind, which, k) for k in range(500)] for kind in range(4) for which in range(5)]
    )
    assert stats.kstest(drawn.ravel(), "uniform").pvalue > 0.001
    off_diagonal = np.corrcoef(drawn)[~np.eye(20, dtype=bool)]
    assert np.abs(off_diagonal).max() < 4.5 / math.sqrt(500)
    lagged = np.corrcoef(drawn[:, 1:].ravel(), drawn[:, :-1].ravel())[0, 1]
    assert abs(lagged) < 4.0 / math.sqrt(drawn.size)
    assert _hoeffding.chance(4, 0, 0, 0) != _hoeffding.chance(3, 0, 0, 0)


def test_a_tree_does_not_depend_on_how_many_stand_beside_it() -> None:
    """No generator moves on with each draw: the first three trees of ten are the three of three."""
    rows, ups = corners(1_500, 9, columns=9)
    three, ten = (Forest(9, seed=1, n_trees=n, warn=0.0, drift=0.0) for n in (3, 10))
    for row, up in zip(rows, ups, strict=True):
        three.learn_one(row, bool(up))
        ten.learn_one(row, bool(up))
    for k in range(3):
        assert three.splits(k) == ten.splits(k) != []
    assert len({tuple(ten.splits(k)) for k in range(10)}) == 10


def test_leaves_look_at_columns_of_their_own() -> None:
    rows, ups = corners(3_000, 10, columns=16)
    model = Forest(16, seed=2)
    for row, up in zip(rows, ups, strict=True):
        model.learn_one(row, bool(up))
    state = model.state()
    used = np.arange(64) < state["trees"][:10, _forest.LEAVES, None]
    looks = state["leaves"][:10][used][:, _hoeffding.LOOKS].astype(int)
    assert looks.shape[1] == 4
    assert (np.diff(looks, axis=1) > 0).all()
    counted = np.bincount(looks.ravel(), minlength=16)
    assert stats.chisquare(counted).pvalue > 0.001


def test_the_seed_is_all_that_is_random() -> None:
    rows, ups = corners(800, 11)
    said = []
    for seed in (1, 1, 2):
        np.random.seed(seed + 17)  # noqa: NPY002  (the global state that nothing may depend on)
        model = Forest(5, seed=seed)
        said.append([model.predict_proba_one(row) for row in rows if model.learn_one(row, bool(row[0] > 0)) >= 0])
    assert said[0] == said[1] != said[2]
    assert ups.any()


# --- drift ------------------------------------------------------------------------------------------------------------


def turned(n: int, seed: int) -> tuple[Any, Any]:
    rows, ups = corners(2 * n, seed, noise=0.05)
    ups[n:] = ~ups[n:]
    return rows, ups


def test_after_a_drift_trees_are_replaced_and_the_forest_is_soon_right_again() -> None:
    rows, ups = turned(2_000, 12)
    model, fixed = Forest(5, seed=1), Forest(5, seed=1, warn=0.0, drift=0.0)
    right = np.zeros((2, 4_000))
    backgrounds = 0
    for t, (row, up) in enumerate(zip(rows, ups.tolist(), strict=True)):
        for k, one in enumerate((model, fixed)):
            p = one.predict_proba_one(row)
            assert p is not None
            right[k, t] = (p > 0.5) == up
            one.learn_one(row, up)
        backgrounds = max(backgrounds, model.n_trees - 10)
    assert model.drifts >= 8
    assert model.warnings >= model.drifts
    assert backgrounds > 0
    assert fixed.drifts == fixed.warnings == 0
    assert right[0, 2_500:].mean() > right[0, 1_000:2_000].mean() - 0.03
    assert right[0, 2_100:2_600].mean() > right[1, 2_100:2_600].mean() + 0.1


def test_a_tree_that_becomes_better_stays() -> None:
    """River's forest replaces a tree when its error changes, this one only when it rises."""
    rng = np.random.default_rng(13)
    rows = rng.normal(size=(4_000, 4))
    ups = (rows[:, 0] > 0.0) ^ (rng.random(4_000) < np.where(np.arange(4_000) < 2_000, 0.4, 0.02))
    model = Forest(4, seed=1)
    for row, up in zip(rows, ups, strict=True):
        model.learn_one(row, bool(up))
    assert model.drifts == 0


def test_on_pure_chance_hardly_a_tree_is_replaced() -> None:
    rng = np.random.default_rng(14)
    model = Forest(6, seed=1)
    for row in rng.normal(size=(6_000, 6)):
        model.learn_one(row, bool(rng.random() < 0.5))
    assert model.drifts <= 1


# --- bounds -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_memory_is_bounded_over_200_000_samples() -> None:
    """With drifts all the way, so that every tree and background tree has been full and replaced."""
    rng = np.random.default_rng(15)
    model = Forest(6, seed=1, most_leaves=16)
    most = (2 * 16 - 1) * 20
    size = sum(array.nbytes for array in model.state().values())
    for part in range(20):
        rows = rng.normal(size=(10_000, 6))
        ups = (rows[:, part % 6] > 0.0) ^ (rng.random(10_000) < 0.1)
        for row, up in zip(rows, ups.tolist(), strict=True):
            model.learn_one(row, up)
        assert model.n_nodes <= most
        assert all(one["leaves"] <= 16 for one in model.summary(tuple("abcdef")))
        assert sum(array.nbytes for array in model.state().values()) == size < 1_000_000
    assert model.drifts > 100


@pytest.mark.parametrize("unknown", [math.nan, math.inf])
def test_a_row_with_an_unknown_number_is_not_forecast_and_teaches_nothing(unknown: float) -> None:
    rows, ups = corners(300, 16)
    model = Forest(5, seed=1)
    for row, up in zip(rows, ups, strict=True):
        model.learn_one(row, bool(up))
    before = {key: array.tobytes() for key, array in model.state().items()}
    rows[0, 2] = unknown
    assert model.predict_proba_one(rows[0]) is None
    assert model.learn_one(rows[0], True) == 0
    assert {key: array.tobytes() for key, array in model.state().items()} == before


@pytest.mark.parametrize(
    "settings", [{"n_trees": 0}, {"most_leaves": 0}, {"n_looks": 6}, {"n_looks": 0}, {"seed": 2**53}, {"seed": -1}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(LearnerError, match="all have to be 1 or more"):
        Forest(5, **{"seed": 1, **settings})


# --- state ------------------------------------------------------------------------------------------------------------


def grown() -> tuple[Forest, dict[str, Any]]:
    rows, ups = turned(900, 17)
    model = Forest(5, seed=3)
    for row, up in zip(rows, ups, strict=True):
        model.learn_one(row, bool(up))
    return model, {key: array.copy() for key, array in model.state().items()}


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [
        ("nodes", _hoeffding.LEFT, 0.0),
        ("nodes", _hoeffding.LEFT, 1e6),
        ("nodes", _hoeffding.COLUMN, 5.0),
        ("nodes", _hoeffding.PLACE, 1e6),
        ("nodes", _hoeffding.PLACE, math.nan),
        ("leaves", _hoeffding.LOOKS, 7.0),
        ("leaves", _hoeffding.LOOKS, -1.0),
    ],
)
def test_a_state_whose_trees_lead_nowhere_is_refused_before_anything_changes(
    name: str, column: int, value: float
) -> None:
    """Machine code would follow such a number out of the tables, or in a circle."""
    model, state = grown()
    before = {key: array.tobytes() for key, array in model.state().items()}
    asks = state["nodes"][1, :, _hoeffding.COLUMN] >= 0.0
    if name == "leaves":
        state["leaves"][1, 0, column, 1] = value
    else:
        at = np.flatnonzero(asks if column != _hoeffding.PLACE else ~asks)[0]
        state["nodes"][1, at, column] = value
    with pytest.raises(LearnerError, match="lead nowhere"):
        model.judged(state)
    assert {key: array.tobytes() for key, array in model.state().items()} == before


@pytest.mark.parametrize("leaves", [-1.0, 65.0, 1.5])
def test_a_state_with_impossible_trees_is_refused(leaves: float) -> None:
    model, state = grown()
    state["trees"][0, _forest.LEAVES] = leaves
    with pytest.raises(LearnerError, match="lead nowhere"):
        model.judged(state)


def test_a_summary_says_what_the_trees_ask() -> None:
    model, _ = grown()
    told = model.summary(tuple("abcde"))
    assert len(told) == 10
    assert all(one["asks"] for one in told if one["leaves"] > 1)
    assert {one["asks"][0][0] for one in told if one["asks"]} <= set("abcde")
    assert all(0.0 <= one["accuracy"] <= 1.0 for one in told if one["accuracy"] is not None)
