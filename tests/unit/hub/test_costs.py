"""What projections cost: counted by projection, told now and then, and never in anybody's way."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from kalibre.hub.costs import Cost, Costs, read_costs, size_of


def burn(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_each_is_charged_with_its_own_time(tmp_path: Path) -> None:
    states = {"busy": lambda: {"weights": np.zeros(1_000)}, "idle": lambda: {"name": "x"}}
    costs = Costs(tmp_path / "learners.costs", states)  # type: ignore[arg-type]
    for _ in range(3):
        with costs.of("busy"):
            burn(0.02)
        with costs.of("idle"):
            time.sleep(0.02)
    costs.tell()
    found = read_costs(tmp_path)
    assert found["busy"].cpu_s >= 0.06
    assert found["idle"].cpu_s < 0.02, "waiting is no work"
    assert (found["busy"].state_bytes, found["idle"].state_bytes) == (8_000, 1)


def test_time_is_charged_where_a_step_fails_too(tmp_path: Path) -> None:
    costs = Costs(tmp_path / "a.costs", {"a": dict})
    try:
        with costs.of("a"):
            burn(0.01)
            raise OSError("planted")
    except OSError:
        pass
    costs.tell()
    assert read_costs(tmp_path)["a"].cpu_s >= 0.01


def test_it_is_told_every_two_seconds_and_weighed_every_minute(tmp_path: Path) -> None:
    now, weighed = [100.0], [0]

    def state() -> dict[str, int]:
        weighed[0] += 1
        return {"n": weighed[0]}

    costs = Costs(tmp_path / "a.costs", {"a": state}, now_s=lambda: now[0])
    written = []
    for _ in range(700):
        costs.tell()
        path = tmp_path / "a.costs"
        written.append(path.stat().st_mtime_ns)
        now[0] += 0.1
    assert 30 <= len(set(written)) <= 36
    assert weighed[0] == 2


def test_a_disk_that_refuses_it_and_a_file_that_is_torn_cost_only_that(tmp_path: Path) -> None:
    costs = Costs(tmp_path / "no such folder" / "a.costs", {"a": dict})
    costs.tell()
    assert read_costs(tmp_path / "no such folder") == {}
    (tmp_path / "b.costs").write_bytes(b'{"b": {"cpu_s"')
    (tmp_path / "c.costs").write_bytes(b'{"c": {"cpu_s": 1.5, "state_bytes": 7}}')
    assert read_costs(tmp_path) == {"c": Cost(1.5, 7)}


def test_all_that_a_state_may_hold_has_a_size() -> None:
    assert size_of({"a": np.zeros((2, 3), dtype=np.float32), "b": 1.5, "c": True, "d": None, "e": "four"}) == 44
