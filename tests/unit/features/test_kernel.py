"""Kernels called from Python: the same numbers as plain Python, a cache that follows every source, and none needed."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kalibre.core.errors import FeatureError
from kalibre.features._kernel import Kernel

OFFSET = 0.5
MUTABLE = [0.5]
Floats = NDArray[np.float64]


class Weights(NamedTuple):
    """Constants and an array."""

    scale: float
    shift: int
    column: Floats


class Found(NamedTuple):
    """What comes out."""

    total: float
    length: int
    positive: bool


def kernel(function: object, *, inline: bool = False) -> Kernel:
    return Kernel(function, folder="tests", inline=inline)  # type: ignore[arg-type]


def _shifted(x: float, shift: int) -> float:
    return x + shift + OFFSET


shifted = kernel(_shifted, inline=True)


def _weigh(weights: Weights, rows: NDArray[np.int64], out: Floats, upward: bool) -> Found:
    total = 0.0
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            out[i, j] = shifted(weights.scale * rows[i, j] * weights.column[j], weights.shift)
            total += out[i, j] if upward else -out[i, j]
    return Found(total, rows.size, total > 0.0)


weigh = kernel(_weigh)


def _sum_of_copies(values: Floats, n: int) -> float:
    copies = np.zeros((n, len(values)))
    for i in range(n):
        copies[i] = values
    return copies.sum()


def _nothing(values: Floats) -> None:
    values[0] = 7.0


@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), max_size=5),
    scale=st.floats(-2, 2),
    shift=st.integers(-(2**40), 2**40),
    upward=st.booleans(),
)
def test_it_computes_what_plain_python_does(
    rows: list[tuple[int, int]], scale: float, shift: int, upward: bool
) -> None:
    weights = Weights(scale, shift, np.array([1.5, -0.25]))
    table = np.array(rows, dtype=np.int64).reshape(len(rows), 2)
    out, expected = np.zeros(table.shape), np.zeros(table.shape)
    found, wanted = weigh(weights, table, out, upward), _weigh_plainly(weights, table, expected, upward)
    assert found == wanted
    assert (type(found), type(found.length), type(found.positive)) == (Found, int, bool)
    np.testing.assert_array_equal(out, expected)


def _weigh_plainly(weights: Weights, rows: NDArray[np.int64], out: Floats, upward: bool) -> Found:
    total = 0.0
    for place, row in np.ndenumerate(rows):
        out[place] = _shifted(weights.scale * int(row) * float(weights.column[place[1]]), weights.shift)
        total += float(out[place]) if upward else -float(out[place])
    return Found(total, rows.size, total > 0.0)


def test_other_types_are_other_machine_code_and_whole_numbers_are_taken_as_floats() -> None:
    def _half(values: Floats, by: float) -> float:
        return values[0] / by

    half = kernel(_half)
    assert half(np.array([3.0]), 2) == 1.5
    assert half(np.array([3], dtype=np.int8), 2) == 1.5
    assert half(np.array([3.0], dtype=np.float32), 0) == float("inf")


def test_arrays_may_be_read_only_or_empty_but_not_with_holes() -> None:
    total = kernel(_sum_of_copies)
    values = np.arange(4.0)
    values.flags.writeable = False
    assert total(values, 3) == 18.0
    assert total(np.empty(0), 3) == 0.0
    with pytest.raises(FeatureError, match="not contiguous"):
        total(np.arange(8.0)[::2], 3)


def test_bound_arrays_are_kept_and_changes_in_them_are_seen() -> None:
    values = np.arange(4.0)
    bound = kernel(_sum_of_copies).bind(values)
    assert bound(2) == 12.0
    values[0] = 10.0
    del values
    assert bound(2) == 32.0
    seen = np.zeros(1)
    assert kernel(_nothing)(seen) is None
    assert seen[0] == 7.0


def test_too_little_memory_is_an_error_not_a_number() -> None:
    with pytest.raises(FeatureError, match="memory"):
        kernel(_sum_of_copies)(np.arange(4.0), 2**60)


def test_many_threads_may_call_it() -> None:
    total = kernel(_sum_of_copies)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: total(np.full(50, float(n)), 20), range(40)))
    assert found == [1000.0 * n for n in range(40)]


def test_what_its_cache_could_not_follow_is_refused() -> None:
    offset = 1.0

    def closed(x: float) -> float:
        return x + offset

    def untyped(x) -> float:  # type: ignore[no-untyped-def]
        return x  # type: ignore[no-any-return]

    def looks_up(x: float) -> float:
        return MUTABLE[0] + x

    for function, said in [(closed, "offset"), (untyped, "annotate"), (looks_up, "MUTABLE")]:
        with pytest.raises(FeatureError, match=said):
            kernel(function)(1.0)


def test_a_constant_that_it_refers_to_is_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = kernel(_weigh).digest
    assert kernel(_weigh).digest == before
    monkeypatch.setitem(globals(), "OFFSET", 0.25)
    assert kernel(_weigh).digest != before


SCRIPT = """
import sys
import numpy as np
from outer import total
print(total(np.arange(4.0)), "numba" in sys.modules)
"""
INNER = "FACTOR = 2.0\ndef _twice(x: float) -> float:\n    return FACTOR * x\n"
OUTER = """
import numpy as np
from numpy.typing import NDArray
from kalibre.features._kernel import Kernel
from inner import _twice
twice = Kernel(_twice, folder="tests", inline=True)
def _total(values: NDArray[np.float64]) -> float:
    found = 0.0
    for i in range(len(values)):
        found += twice(values[i])
    return found
total = Kernel(_total, folder="tests")
"""


def run(folder: Path, cache: Path) -> list[str]:
    environment = {**os.environ, "KALIBRE_CACHE_DIR": str(cache), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_an_edit_in_an_imported_file_is_seen_and_a_warm_start_needs_no_numba(tmp_path: Path) -> None:
    folder, cache = tmp_path / "code", tmp_path / "cache"
    folder.mkdir()
    (folder / "inner.py").write_text(INNER)
    (folder / "outer.py").write_text(OUTER)
    assert run(folder, cache) == ["12.0", "True"]
    assert run(folder, cache) == ["12.0", "False"]
    for old, new, value in [("FACTOR * x", "FACTOR * x + 1.0", "16.0"), ("2.0", "3.0", "18.0")]:
        (folder / "inner.py").write_text(INNER.replace(old, new))
        assert run(folder, cache) == [value, "True"]
    (folder / "inner.py").write_text(INNER)
    for path in (cache, cache / "tests"):
        path.chmod(0o555)
    try:
        assert run(folder, cache) == ["12.0", "False"]
        assert not list(cache.rglob("*.nbi")) + list(cache.rglob("*.pkl"))
    finally:
        for path in (cache, cache / "tests"):
            path.chmod(0o755)
