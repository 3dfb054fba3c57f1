"""The join: row t meets row t, what is unknown stays out, and labels that break their word are refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from tests.fakes.models import random_bars

from kalibre.core.errors import DatasetError
from kalibre.dataset.join import build_dataset
from kalibre.labels.direction import Direction
from kalibre.labels.triple_barrier import TripleBarrier

H = 4


def values_of(bars, columns: int = 2) -> np.ndarray:
    return np.column_stack([bars.close * (k + 1) for k in range(columns)])


def test_row_t_meets_row_t():
    bars = random_bars(200)
    dataset = build_dataset(bars, values_of(bars), ("a", "b"), Direction(horizon_bars=H), warmup=30)
    np.testing.assert_array_equal(dataset.row, np.arange(30, 200 - H))
    np.testing.assert_array_equal(dataset.features[:, 0], bars.close[dataset.row])
    np.testing.assert_array_equal(dataset.y, bars.close[dataset.row + H] > bars.close[dataset.row])
    np.testing.assert_array_equal(dataset.known_row, dataset.row + H)
    np.testing.assert_array_equal(dataset.close_time, bars.close_time[dataset.row])
    assert dataset.columns == ("a", "b")
    assert dataset.horizon_bars == H
    assert dataset.dropped == {"warm_up": 30, "not_finite": 0, "label_unknown": H}


def test_the_longest_warm_up_of_any_column_counts():
    bars = random_bars(100)
    warmup = np.array([3, 17])
    assert build_dataset(bars, values_of(bars), ("a", "b"), Direction(horizon_bars=H), warmup=warmup).row[0] == 17


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_row_that_is_not_finite_stays_out_and_is_counted(value):
    bars = random_bars(200)
    values = values_of(bars)
    values[50, 1] = value
    dataset = build_dataset(bars, values, ("a", "b"), Direction(horizon_bars=H), warmup=10)
    assert 50 not in dataset.row
    assert len(dataset) == 200 - 10 - H - 1
    assert dataset.dropped["not_finite"] == 1


def test_a_column_that_stays_unknown_is_named():
    bars = random_bars(200)
    values = values_of(bars)
    values[:60, 1] = np.nan
    with pytest.raises(DatasetError, match=r"column 'b' is not finite in 26.3%"):
        build_dataset(bars, values, ("a", "b"), Direction(horizon_bars=H), warmup=10)


def test_shapes_that_do_not_fit_are_quoted():
    bars = random_bars(100)
    with pytest.raises(DatasetError, match=r"\(99, 2\).*pass shape \(100, 2\)"):
        build_dataset(bars, values_of(bars)[1:], ("a", "b"), Direction(horizon_bars=H), warmup=10)
    with pytest.raises(DatasetError, match=r"\(100, 2\).*1 columns"):
        build_dataset(bars, values_of(bars), ("a",), Direction(horizon_bars=H), warmup=10)


def test_too_few_bars_say_how_many_would_do():
    bars = random_bars(34)
    with pytest.raises(DatasetError, match=r"34 bars of BTCUSDT 15m are too few: 30 of warm-up .* at least 35"):
        build_dataset(bars, values_of(bars), ("a", "b"), Direction(horizon_bars=H), warmup=30)


def test_one_class_only_is_refused_with_the_counts():
    bars = random_bars(100)
    rising = np.linspace(1.0, 2.0, 100)
    bars = type(bars)("UP", "15m", bars.open_time, rising, rising, rising, rising, np.ones(100))
    with pytest.raises(DatasetError, match="one class only: 86 samples up and 0 down of 86"):
        build_dataset(bars, values_of(bars), ("a", "b"), Direction(horizon_bars=H), warmup=10)


@dataclass(frozen=True)
class ShiftedByOne:
    """The planted leak: the label of the next row under this row's name."""

    name: ClassVar[str] = "shifted"
    horizon_bars: int = H

    def compute(self, bars):
        y, _ = Direction(horizon_bars=self.horizon_bars).compute(bars)
        y = np.append(y[1:], np.nan)
        known = np.where(np.isnan(y), -1, np.arange(len(bars)) + self.horizon_bars)
        return y, known


@dataclass(frozen=True)
class KnownTooEarly:
    """A label that claims to be known at its own row."""

    name: ClassVar[str] = "early"
    horizon_bars: int = H

    def compute(self, bars):
        y, known = Direction(horizon_bars=self.horizon_bars).compute(bars)
        return y, np.where(known >= 0, np.arange(len(bars)), -1)


@dataclass(frozen=True)
class WholeSeries:
    """A label that reads the mean of the whole series."""

    name: ClassVar[str] = "whole"
    horizon_bars: int = H

    def compute(self, bars):
        _, known = Direction(horizon_bars=self.horizon_bars).compute(bars)
        above = (bars.close > bars.close.mean()).astype(float)
        return np.where(known >= 0, above, np.nan), known


@dataclass(frozen=True)
class NeitherUpNorDown:
    """A label of other values than 0 and 1."""

    name: ClassVar[str] = "half"
    horizon_bars: int = H

    def compute(self, bars):
        y, known = Direction(horizon_bars=self.horizon_bars).compute(bars)
        return y / 2, known


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (ShiftedByOne(), "'shifted' looks ahead"),
        (WholeSeries(), "'whole' looks ahead"),
        (KnownTooEarly(), "'early' says .* known at row 0"),
        (NeitherUpNorDown(), "'half' says y=0.5"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_planted_dishonest_labels_are_caught(label, message):
    bars = random_bars(200)
    with pytest.raises(DatasetError, match=message):
        build_dataset(bars, values_of(bars), ("a", "b"), label, warmup=10)


def test_an_early_touch_is_known_before_the_horizon():
    bars = random_bars(600)
    label = TripleBarrier(horizon_bars=20, upper_width=0.3, lower_width=0.3)
    dataset = build_dataset(bars, values_of(bars), ("a", "b"), label, warmup=10)
    wait = dataset.known_row - dataset.row
    assert wait.min() == 1
    assert wait.max() <= 20
    assert dataset.dropped["label_unknown"] >= 90


def test_take_adds_up_what_was_dropped():
    bars = random_bars(100)
    dataset = build_dataset(bars, values_of(bars), ("a", "b"), Direction(horizon_bars=H), warmup=10)
    half = dataset.take(dataset.row < 50, purged=3).take(slice(0, 10), purged=2)
    assert half.dropped["purged"] == 5
    assert len(half) == 10
    assert half.base_rate == half.ups / 10
