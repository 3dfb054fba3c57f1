"""Snapshots: what goes in comes back bit for bit, what is damaged is never used, three are kept."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
from benchmarks._fault_snapshots import damage_snapshots
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kalibre.core.errors import SnapshotError
from kalibre.log.replay import state_digest
from kalibre.log.snapshots import About, Snapshots, library_versions


def about(position: int, projection: str = "p") -> About:
    return About(projection=projection, version="1", libraries="l", position=position, anchor="a", emitted=position)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
arrays = hnp.arrays(
    st.sampled_from(["f8", "f4", "i8", "u1", "?", "<U3"]),
    hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=4),
)


@settings(max_examples=60, deadline=None)
@given(state=st.dictionaries(st.text(max_size=8), scalars | arrays, max_size=5))
def test_every_state_comes_back_bit_for_bit(tmp_path_factory: pytest.TempPathFactory, state: dict[str, object]) -> None:
    snapshots = Snapshots(tmp_path_factory.mktemp("s"), "p")
    snapshots.save(state, about(1))  # type: ignore[arg-type]
    found, said = next(snapshots.newest())
    assert state_digest(found) == state_digest(state)  # type: ignore[arg-type]
    assert said == about(1)


def test_a_snapshot_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots = Snapshots(tmp_path, "p")
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def synced(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        done.append("writing" if path.name.startswith(".writing-") else path.name)
        fsync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        done.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    path = snapshots.save({"n": 1, "a": np.arange(3)}, about(1))
    written = {file.name for file in path.iterdir()}
    place = done.index("rename")
    assert set(done[: place - 1]) == written
    assert done[place - 1 :] == ["writing", "rename", snapshots.folder.name, tmp_path.name]


def test_types_of_numpy_and_python_are_kept_apart(tmp_path: Path) -> None:
    state = {"a": np.float64(2.5), "b": 2.5, "c": np.int32(3), "d": 3, "e": np.array(4.0), "nan": float("nan")}
    snapshots = Snapshots(tmp_path, "p")
    snapshots.save(state, about(1))
    found, _ = next(snapshots.newest())
    assert [type(found[name]) for name in state] == [type(value) for value in state.values()]


def test_the_newest_three_are_kept_and_leftovers_removed(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, "p")
    snapshots.folder.mkdir(parents=True)
    (snapshots.folder / ".writing-dead").mkdir()
    for position in (10, 20, 30, 40, 50):
        snapshots.save({"n": position}, about(position))
    assert [path.name for path in snapshots.folders()] == [f"{n:020d}" for n in (50, 40, 30)]
    assert sorted(path.name for path in snapshots.folder.iterdir()) == [f"{n:020d}" for n in (30, 40, 50)]
    snapshots.save({"n": 45}, about(45))  # the log lost its tail: what was ahead never happened
    assert [path.name for path in snapshots.folders()] == [f"{n:020d}" for n in (45, 40, 30)]
    snapshots.save({"n": 46}, about(45))
    assert next(snapshots.newest())[0] == {"n": 46}


def test_projections_do_not_share_a_folder(tmp_path: Path) -> None:
    assert Snapshots(tmp_path, "a|b").folder != Snapshots(tmp_path, "a:b").folder
    snapshots = Snapshots(tmp_path, "p")
    path = snapshots.save({"n": 1}, about(1))
    path.rename(path.with_name(f"{2:020d}"))
    with pytest.raises(SnapshotError, match="moved here"):
        snapshots.load(path.with_name(f"{2:020d}"))
    assert list(snapshots.newest()) == []


def test_what_would_need_pickle_is_refused(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, "p")
    with pytest.raises(SnapshotError, match="'bad' is a list"):
        snapshots.save({"bad": [1, 2]}, about(1))  # type: ignore[dict-item]
    with pytest.raises(SnapshotError, match="'bad' is an array of Python objects"):
        snapshots.save({"bad": np.array([{}], dtype=object)}, about(1))
    assert not snapshots.folder.exists()


def test_a_disk_that_refuses_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import kalibre.log.snapshots as module

    snapshots = Snapshots(tmp_path, "p")
    snapshots.save({"n": 1}, about(1))
    (tmp_path / "file").write_text("")
    with pytest.raises(SnapshotError, match="cannot be written"):
        Snapshots(tmp_path / "file", "p").save({"n": 1}, about(1))

    def full(path: Path, raw: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(SnapshotError, match="No space left"):
        snapshots.save({"n": 2}, about(2))
    assert [path.name for path in snapshots.folder.iterdir()] == [f"{1:020d}"]
    assert next(snapshots.newest())[0] == {"n": 1}


def test_versions_of_what_computes_are_named() -> None:
    words = library_versions()
    assert f"numpy {np.__version__}" in words
    assert "python 3." in words


@pytest.mark.fault
def test_damage_of_every_kind_is_detected_and_the_one_before_used(tmp_path: Path) -> None:
    """The short form of what `make fault` does to every bit of the manifest and 10,000 places elsewhere."""
    found = damage_snapshots(tmp_path, random.Random(7), flips=300, every=7)
    assert found["manifest, every bit"][0] > 500
    assert found["truncations"][0] > 300
    assert {name: wrong for name, (_, wrong) in found.items() if wrong} == {}


def test_without_the_digests_a_flipped_bit_would_go_unseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted failure of the net above."""
    import kalibre.log.snapshots as module

    snapshots = Snapshots(tmp_path, "p")
    scalars = snapshots.save({"n": 1234}, about(1)) / "scalars.json"
    scalars.write_bytes(scalars.read_bytes().replace(b"1234", b"1235"))
    assert list(snapshots.newest()) == []
    monkeypatch.setattr(module, "_sha256", lambda raw: "0" * 64)
    again = snapshots.save({"n": 1234}, about(1)) / "scalars.json"
    again.write_bytes(again.read_bytes().replace(b"1234", b"1235"))
    assert next(snapshots.newest())[0] == {"n": 1235}
