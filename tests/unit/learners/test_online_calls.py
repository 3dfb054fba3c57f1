"""Kernels bound for one caller: the same results as any other call, in less time, and refusals."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from kalibre.core.errors import FeatureError
from kalibre.features._kernel import Kernel


class Pair(NamedTuple):
    low: float
    count: int


def _counted(table: NDArray[np.float64], row: NDArray[np.float64], limit: float, whole: int, twice: bool) -> Pair:
    count = 0
    low = np.inf
    for i in range(row.shape[0]):
        table[0, i] += row[i] * (2.0 if twice else 1.0)
        low = min(low, row[i])
        if row[i] > limit:
            count += whole
    return Pair(low, count)


def _broken(row: NDArray[np.float64], size: int) -> float:
    return float(np.zeros(size)[0] + row[0])


counted = Kernel(_counted, folder="tests")
broken = Kernel(_broken, folder="tests")


def test_a_call_of_one_caller_gives_what_any_other_gives() -> None:
    rng = np.random.default_rng(1)
    one, other, row = np.zeros((2, 7)), np.zeros((2, 7)), np.zeros(7)
    alone, shared = counted.bind_alone(one, row), counted.bind(other, row)
    for k in range(50):
        row[:] = rng.normal(size=7)
        call: Any = (float(rng.normal()), k, bool(k % 3))
        found = alone(*call)
        assert found == shared(*call)
        assert isinstance(found, Pair)
    assert (one == other).all()
    assert one.any()


def test_every_array_has_to_be_bound() -> None:
    with pytest.raises(FeatureError, match="other arrays than the 1 bound"):
        counted.bind_alone(np.zeros((2, 7)))


def test_an_array_that_is_not_contiguous_is_refused_when_it_is_called() -> None:
    call = counted.bind_alone(np.zeros((7, 2)).T, np.zeros(7))
    with pytest.raises(FeatureError, match="not contiguous"):
        call(0.0, 1, True)


def test_what_fails_within_is_an_error() -> None:
    call = broken.bind_alone(np.ones(1))
    assert call(3) == 1.0
    with pytest.raises(FeatureError, match="failed"):
        call(-1)
    assert call(3) == 1.0
