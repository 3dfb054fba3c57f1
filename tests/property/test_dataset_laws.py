"""Laws of data sets: no label window reaches a later part, nothing is lost but the purged, and no row is shifted."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.models import random_bars

from kalibre.core.errors import DatasetError
from kalibre.dataset.join import Dataset, build_dataset
from kalibre.dataset.splits import ordered_parts, purged_kfold, walk_forward
from kalibre.labels.direction import Direction
from kalibre.labels.triple_barrier import TripleBarrier


@st.composite
def datasets(draw: st.DrawFn) -> Dataset:
    """Samples with gaps between their rows and label windows of any length up to the horizon."""
    n = draw(st.integers(150, 800))
    horizon = draw(st.integers(1, 25))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    row = np.cumsum(rng.integers(1, draw(st.integers(2, 6)), n)).astype(np.int64)
    known = row + (rng.integers(1, horizon + 1, n) if draw(st.booleans()) else horizon)
    y = (rng.random(n) < 0.5).astype(float)
    return Dataset(row[:, None] * 1.0, y, row, known, row * 60_000, ("x",), horizon)


SHARES = st.lists(st.floats(0.1, 1.0), min_size=2, max_size=5)


def assert_no_window_reaches_later(parts: list[Dataset]) -> None:
    for earlier, later in pairwise(parts):
        assert earlier.known_row.max() < later.row.min()


@settings(max_examples=150, deadline=None)
@given(datasets(), SHARES)
def test_no_label_window_reaches_a_later_part_and_only_such_are_lost(dataset, shares):
    names = {f"part{k}": share for k, share in enumerate(shares)}
    try:
        parts = list(ordered_parts(dataset, names, min_samples=1).values())
    except DatasetError:
        return
    assert_no_window_reaches_later(parts)
    kept = np.concatenate([part.row for part in parts])
    assert (np.diff(kept) > 0).all()
    assert sum(part.dropped["purged"] for part in parts) + len(kept) == len(dataset)
    starts = np.array([part.row[0] for part in parts])
    for row in np.setdiff1d(dataset.row, kept):
        at = int(np.searchsorted(dataset.row, row))
        later = starts[starts > row]
        # A lost sample's window reaches the next part, or a cut right behind it whose first samples were purged too.
        assert later.size
        assert dataset.known_row[at] >= row + 1
        assert dataset.known_row[at] >= dataset.row[at + 1] or later[0] == dataset.row[at + 1]


@settings(max_examples=100, deadline=None)
@given(datasets(), st.integers(1, 6), st.floats(0.1, 0.4))
def test_walk_forward_never_learns_from_its_future(dataset, folds, final_share):
    try:
        walked, final = walk_forward(dataset, folds, final_share, min_samples=1)
    except DatasetError:
        return
    assert len(walked) == folds
    for fold in [*walked, final]:
        assert_no_window_reaches_later(list(fold.values()))
    tests = [fold["test"] for fold in walked]
    for earlier, later in pairwise(tests):
        assert earlier.row.max() < later.row.min()
    assert all(part.known_row.max() < final["test"].row[0] for fold in walked for part in fold.values())
    assert final["test"].row[-1] == dataset.row[-1]


@settings(max_examples=100, deadline=None)
@given(datasets(), st.integers(2, 6), st.integers(0, 30))
def test_kfold_windows_never_overlap_and_the_embargo_holds(dataset, folds, embargo):
    tested = []
    try:
        for train, test in purged_kfold(dataset, folds, embargo_bars=embargo, min_samples=1):
            first, last = test.row[0], test.known_row.max()
            before = train.row < first
            assert (train.known_row[before] < first).all()
            assert (train.row[~before] > last + embargo).all()
            lost = np.setdiff1d(np.setdiff1d(dataset.row, train.row), test.row)
            at = np.searchsorted(dataset.row, lost)
            assert ((dataset.known_row[at] >= first) & (dataset.row[at] <= last + embargo)).all()
            tested.append(test.row)
    except DatasetError:
        return
    np.testing.assert_array_equal(np.concatenate(tested), dataset.row)


def oracle(bars, values, label, warmup) -> dict[int, tuple[float, float]]:
    """Join by a plain loop: row -> (first feature, y)."""
    y, _ = label.compute(bars)
    return {t: (values[t, 0], y[t]) for t in range(warmup, len(bars)) if np.isfinite(values[t]).all() and y[t] == y[t]}


def joined(dataset: Dataset) -> dict[int, tuple[float, float]]:
    """Return a data set in the oracle's form."""
    return {int(t): (x, y) for t, x, y in zip(dataset.row, dataset.features[:, 0], dataset.y, strict=True)}


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 12),
    st.integers(0, 40),
    st.sampled_from([Direction, TripleBarrier]),
)
def test_the_join_is_the_loop_and_a_shift_by_one_is_not(seed, horizon, warmup, kind):
    bars = random_bars(260, seed=seed)
    values = np.column_stack([bars.close, bars.volume])
    values[np.random.default_rng(seed).integers(0, 260, 5), 1] = np.nan
    label = kind(horizon_bars=horizon)
    expected = oracle(bars, values, label, warmup)
    assert joined(build_dataset(bars, values, ("close", "volume"), label, warmup=warmup)) == expected
    # The planted leak: features that are one row early. The same comparison must catch it.
    early = np.vstack([values[1:], values[-1:]])
    assert joined(build_dataset(bars, early, ("close", "volume"), label, warmup=warmup)) != expected
