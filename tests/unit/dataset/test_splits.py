"""Splits by hand: where the cuts lie, what is purged, and what is said when there is too little."""

from __future__ import annotations

import numpy as np
import pytest

from kalibre.core.errors import DatasetError
from kalibre.dataset.join import Dataset
from kalibre.dataset.splits import PARTS, SHARES, ordered_parts, purged_kfold, walk_forward


def dataset(n: int, horizon: int = 4) -> Dataset:
    row = np.arange(n, dtype=np.int64) + 100
    return Dataset(
        features=row[:, None].astype(float),
        y=(np.arange(n) % 2).astype(float),
        row=row,
        known_row=row + horizon,
        close_time=row * 60_000,
        columns=("x",),
        horizon_bars=horizon,
    )


def test_parts_lie_behind_each_other_with_a_horizon_purged():
    parts = ordered_parts(dataset(1000), {**SHARES, "test": 1.0})
    assert tuple(parts) == PARTS
    ends = [(int(part.row[0]), int(part.row[-1])) for part in parts.values()]
    assert ends == [(100, 375), (380, 445), (450, 520), (525, 595), (600, 1099)]
    assert [part.dropped.get("purged", 0) for part in parts.values()] == [4, 4, 4, 4, 0]


def test_walk_forward_tests_follow_each_other_up_to_the_final_window():
    folds, final = walk_forward(dataset(2000), 5, 0.2)
    assert [tuple(fold) for fold in folds] == [PARTS] * 5
    tests = [(int(fold["test"].row[0]), int(fold["test"].row[-1])) for fold in folds]
    assert tests == [(740, 931), (932, 1123), (1124, 1315), (1316, 1507), (1508, 1695)]
    assert (final["test"].row[0], final["test"].row[-1]) == (1700, 2099)
    assert all(fold["fit"].row[0] == 100 for fold in folds)
    assert all(fold["threshold"].known_row.max() < fold["test"].row[0] for fold in folds)
    assert final["threshold"].known_row.max() < 1700
    assert max(fold["test"].known_row.max() for fold in folds) < 1700


def test_each_fold_learns_from_more_than_the_one_before():
    folds, _ = walk_forward(dataset(2000), 5, 0.2)
    sizes = [len(fold["fit"]) for fold in folds]
    assert sizes == sorted(set(sizes))


def test_purged_kfold_drops_overlaps_and_an_embargo():
    pairs = list(purged_kfold(dataset(300), 3, embargo_bars=10))
    train, test = pairs[1]
    assert (test.row[0], test.row[-1]) == (200, 299)
    before, after = train.row[train.row < 200], train.row[train.row > 299]
    assert before[-1] == 195
    assert after[0] == 303 + 10 + 1
    assert train.dropped["purged"] == 4 + 14


def test_the_embargo_is_the_horizon_unless_told():
    _, (train, _), _ = purged_kfold(dataset(300), 3)
    assert train.row[train.row > 299][0] == 303 + 4 + 1


def test_a_part_too_small_says_what_would_be_enough():
    with pytest.raises(DatasetError, match=r"part 'stop' keeps 5 of 60 samples .* 20 are needed: about 160 samples"):
        ordered_parts(dataset(60), {"fit": 0.7, "stop": 0.15, "test": 0.15})
    ordered_parts(dataset(160), {"fit": 0.7, "stop": 0.15, "test": 0.15})


def test_what_walk_forward_calls_enough_is_enough():
    with pytest.raises(DatasetError, match=r"fold 1: part 'stop' .* about ([0-9]+) samples") as caught:
        walk_forward(dataset(200), 5, 0.2)
    enough = int(str(caught.value).split("about ")[1].split()[0])
    walk_forward(dataset(enough), 5, 0.2)
    with pytest.raises(DatasetError):
        walk_forward(dataset(enough // 2), 5, 0.2)


def test_one_class_in_a_part_is_refused_by_name():
    one = dataset(1000)
    one.y[500:] = 1.0
    with pytest.raises(DatasetError, match="part 'test' holds one class only: 500 samples up and 0 down"):
        ordered_parts(one, {"fit": 0.5, "test": 0.5})


@pytest.mark.parametrize("shares", [{}, {"fit": 0.5, "test": 0.0}, {"fit": -1.0, "test": 1.0}])
def test_shares_that_cannot_be_cut(shares):
    with pytest.raises(DatasetError, match="shares"):
        ordered_parts(dataset(100), shares)


@pytest.mark.parametrize(("folds", "final"), [(0, 0.2), (5, 0.0), (5, 1.0), (5, float("nan"))])
def test_walk_forward_arguments_out_of_range(folds, final):
    with pytest.raises(DatasetError):
        walk_forward(dataset(1000), folds, final)


@pytest.mark.parametrize(("folds", "embargo"), [(1, 0), (3, -1)])
def test_kfold_arguments_out_of_range(folds, embargo):
    with pytest.raises(DatasetError, match="at least 2 folds"):
        next(purged_kfold(dataset(1000), folds, embargo_bars=embargo))
