"""Checkpoints: kept by their rule, believed only when whole, found again by a restore, and without any effect."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import numpy as np
import pytest
from tests.fakes.learners import SERIES, Honest, Unfigured, command, host, play, quiet_life

from kalibre.core.errors import HubError, KalibreError, SnapshotError
from kalibre.core.events import Event, encode_payload
from kalibre.core.hub_events import Checkpoint
from kalibre.core.learning import Learner
from kalibre.core.protocols import State
from kalibre.core.settings import Settings
from kalibre.hub import _copies
from kalibre.hub.checkpoints import Checkpoints, checkpoints_of, load_checkpoint
from kalibre.learners.base import LearnerProjection
from kalibre.log import open_log
from kalibre.log.protocol import EventLog
from kalibre.log.replay import state_digest
from kalibre.log.runner import Runner, refold
from kalibre.log.snapshots import About, Snapshots

EVENTS = quiet_life(600)
DAY_S = 86_400


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as opened:
        yield opened


def kept(folder: Path, **changes: Any) -> Checkpoints:
    return Checkpoints(folder / "checkpoints", "honest", **{"newest": 3, **changes})


def about(position: int) -> About:
    return About(projection="honest", version="1", libraries="l", position=position, anchor="a", emitted=position)


def laid(checkpoints: Checkpoints, position: int, *, day: int = 0, value: int = 0) -> str:
    """Save a state as of a day, as a learner would; return its digest."""
    path = checkpoints.snapshots.folder / f"{position:020d}"
    made = checkpoints.snapshots.save({"n": position, "value": value}, about(position))
    assert made == path
    at = 1_700_000_000 + day * DAY_S + position
    os.utime(path, (at, at))
    return checkpoints.snapshots.digest(path)


def running(log: EventLog, folder: Path, make: type[Learner] = Honest) -> tuple[Runner, LearnerProjection]:
    projection = host(make, load_checkpoint=lambda name, digest: kept(folder).load(digest))
    return Runner(log, projection, snapshots_dir=folder / "snapshots", batch_size=16), projection


# --- which are kept ---------------------------------------------------------------------------------------------------


def test_the_newest_and_one_a_day_are_kept(tmp_path: Path) -> None:
    checkpoints = kept(tmp_path)
    for day in range(5):
        for k in range(4):
            laid(checkpoints, 10 * day + k + 1, day=day)
    found = [one.about.position for one in checkpoints.all()]
    assert found == [44, 43, 42, 34, 24, 14, 4]
    latest = checkpoints.latest()
    assert latest is not None
    assert latest.about.position == 44
    assert latest.size_bytes == sum(file.stat().st_size for file in latest.folder.iterdir())
    assert [one.pinned for one in checkpoints.all()] == [False] * 7


def test_what_is_pinned_stays_whatever_comes(tmp_path: Path) -> None:
    """Neither age takes it away nor a rebuild, which comes by its position again and starts from the beginning."""
    checkpoints = kept(tmp_path, newest=1)
    digest = laid(checkpoints, 50)
    checkpoints.pin(digest)
    checkpoints.pin(digest)
    for position in range(51, 60):
        laid(checkpoints, position)
    assert not (checkpoints.snapshots.folder / f"{50:020d}").exists()
    assert (50, True) in [(one.about.position, one.pinned) for one in checkpoints.all()]
    for position in (10, 20, 50, 60):  # other code reads the log again
        laid(checkpoints, position, day=1, value=1)
    assert checkpoints.load(digest) == {"n": 50, "value": 0}
    assert {one.digest for one in checkpoints.all() if one.pinned} == {digest}


def test_a_rebuild_does_not_take_away_what_lies_ahead(tmp_path: Path) -> None:
    checkpoints = kept(tmp_path)
    for day, position in enumerate((100, 200, 300)):
        laid(checkpoints, position, day=day)
    laid(checkpoints, 10, day=3)
    assert [one.about.position for one in checkpoints.all()] == [10, 300, 200, 100]


def test_the_one_just_saved_is_never_the_one_that_goes(tmp_path: Path) -> None:
    checkpoints = kept(tmp_path, newest=1)
    ahead = laid(checkpoints, 100)
    os.utime(checkpoints.snapshots.folder / f"{100:020d}", (4e9, 4e9))  # a clock that was wrong
    path = checkpoints.snapshots.save({"n": 7}, about(7))
    assert path.is_dir()
    assert ahead


def test_damaged_ones_are_passed_over_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoints = kept(tmp_path)
    digests = [laid(checkpoints, position, day=position) for position in (1, 2, 3)]
    folders = checkpoints.snapshots.folders()
    (folders[0] / "arrays.npz").write_bytes(b"torn")
    (folders[1] / "manifest.json").unlink()
    assert [one.about.position for one in checkpoints.all()] == [1]
    assert "damaged" in caplog.text
    assert checkpoints.resolve("latest").digest == digests[0]
    for digest in digests[1:]:
        with pytest.raises(HubError, match=f"checkpoint '{digest}' of honest is not in"):
            checkpoints.load(digest)
    with pytest.raises(HubError, match=f"there are {digests[0][:12]}"):
        checkpoints.load("f" * 64)


def test_a_damaged_one_is_read_from_where_it_is_pinned(tmp_path: Path) -> None:
    checkpoints = kept(tmp_path)
    digest = laid(checkpoints, 5)
    checkpoints.pin(digest)
    (checkpoints.snapshots.folder / f"{5:020d}" / "scalars.json").write_bytes(b"{}")
    assert checkpoints.load(digest)["n"] == 5
    shutil.rmtree(checkpoints.snapshots.folder / "pinned" / digest)
    with pytest.raises(HubError):
        checkpoints.load(digest)
    with pytest.raises(HubError):
        checkpoints.pin(digest)


def test_one_is_named_by_its_first_signs_or_as_the_latest(tmp_path: Path) -> None:
    checkpoints = kept(tmp_path)
    with pytest.raises(HubError, match="none yet"):
        checkpoints.resolve("latest")
    digests = [laid(checkpoints, position, day=position) for position in range(1, 40)]
    assert checkpoints.resolve(digests[7]).about.position == 8
    assert checkpoints.resolve(digests[7][:10]).about.position == 8
    assert checkpoints.resolve("latest").about.position == 39
    shared = next(sign for sign in "0123456789abcdef" if sum(one.startswith(sign) for one in digests) > 1)
    for name in ("", "x", shared):
        with pytest.raises(HubError, match="name one"):
            checkpoints.resolve(name)


# --- laying down ------------------------------------------------------------------------------------------------------


def test_laying_down_records_what_is_there_and_alters_nothing(log: EventLog, tmp_path: Path) -> None:
    def run(name: str, *, often: bool) -> tuple[list[Any], str, list[Event]]:
        with open_log(f"sqlite:///{tmp_path / name}.sqlite") as one:
            one.append(EVENTS, writer="source")
            runner, projection = running(one, tmp_path / name)
            checkpoints = kept(tmp_path / name)
            assert checkpoints.lay_down(one, runner, projection, "demand") is None  # nothing is known yet
            while runner.step():
                if often:
                    checkpoints.lay_down(one, runner, projection, "events")
            said = [(*event.identity, encode_payload(event.payload)) for event in one.read(writer="honest")]
            assert refold(one, host(Honest)).equal
            return said, runner.state_digest(), one.read(kinds={"checkpoint"})

    without, digest, none = run("without", often=False)
    with_them, other, laid_down = run("with", often=True)
    assert without == with_them
    assert digest == other
    assert none == []
    assert len(laid_down) > 30
    newest = laid_down[-1]
    payload = newest.payload
    assert isinstance(payload, Checkpoint)
    latest = kept(tmp_path / "with").latest()
    assert latest is not None
    assert (payload.digest, payload.size_bytes, payload.position) == (
        *(latest.digest, latest.size_bytes, latest.about.position),
    )
    assert newest.key == "honest"
    assert newest.event_time == EVENTS[-1].event_time + 900_000
    assert payload.metrics.keys() == {"right"}
    assert state_digest(latest_state(latest.digest, tmp_path / "with")) == digest


def latest_state(digest: str, folder: Path) -> State:
    return dict(kept(folder).load(digest))


def test_a_figure_that_is_none_is_recorded_as_unknown(log: EventLog, tmp_path: Path) -> None:
    log.append(EVENTS, writer="source")
    runner, projection = running(log, tmp_path, Unfigured)
    runner.catch_up()
    assert kept(tmp_path).lay_down(log, runner, projection, "hourly") is not None
    ((payload),) = [event.payload for event in log.read(kinds={"checkpoint"})]
    assert payload.metrics == {"loss": None}  # type: ignore[attr-defined]


def test_a_restore_goes_back_and_the_log_tells_it_again(log: EventLog, tmp_path: Path) -> None:
    log.append(EVENTS[:400], writer="source")
    runner, projection = running(log, tmp_path)
    checkpoints = kept(tmp_path, newest=1)
    runner.catch_up()
    digest = checkpoints.lay_down(log, runner, projection, "demand")
    assert digest is not None
    learnt = state_digest({name: np.array(x) for name, x in projection.series[SERIES].learnt().items()})
    checkpoints.pin(digest)
    log.append(EVENTS[400:500], writer="source")
    log.append([command("honest", "restore", 7, checkpoint=digest)], writer="command")
    runner.catch_up()
    checkpoints.lay_down(log, runner, projection, "demand")  # the one that was named is no longer among the newest
    assert learnt == state_digest({name: np.array(x) for name, x in projection.series[SERIES].learnt().items()})
    log.append(EVENTS[500:], writer="source")
    runner.catch_up()
    again, fresh = running(log, tmp_path)
    report = refold(log, fresh)
    assert report.equal, report.differences
    assert report.state_digest == runner.state_digest()
    shutil.rmtree(tmp_path / "snapshots", ignore_errors=True)
    again.recover()
    assert again.state_digest() == runner.state_digest()
    models = {event.payload.model for event in log.read(kinds={"forecast"})}  # type: ignore[attr-defined]
    assert models == {"honest:0", "honest:1"}
    shutil.rmtree(checkpoints.snapshots.folder)
    with pytest.raises(HubError, match="bring that folder back from a copy"):
        refold(log, running(log, tmp_path)[1])


def test_a_kill_between_save_and_record_leaves_no_lie(tmp_path: Path) -> None:
    """The process dies after the folder is there and before the log knows: what the log names is always there."""
    code = """
import os, sys
from pathlib import Path
from tests.fakes.learners import Honest, host
from tests.unit.hub.test_checkpoints import EVENTS, kept, running
from kalibre.log import open_log
folder = Path(sys.argv[1])
with open_log(f"sqlite:///{folder / 'log.sqlite'}") as log:
    log.append(EVENTS[:200], writer="source")
    runner, projection = running(log, folder)
    runner.catch_up()
    checkpoints = kept(folder)
    checkpoints.lay_down(log, runner, projection, "demand")
    log.append(EVENTS[200:], writer="source")
    runner.catch_up()
    type(log).append = lambda *a, **k: os.kill(os.getpid(), 9)
    checkpoints.lay_down(log, runner, projection, "demand")
"""
    root = Path(__file__).parents[3]
    command_line = [sys.executable, "-c", code, str(tmp_path)]
    ran = subprocess.run(command_line, check=False, cwd=root, capture_output=True, text=True)
    assert ran.returncode == -9, ran.stderr
    checkpoints = kept(tmp_path)
    assert len(checkpoints.all()) == 2
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as log:
        named = [event.payload.digest for event in log.read(kinds={"checkpoint"})]  # type: ignore[attr-defined]
        assert named == [checkpoints.all()[1].digest]
        runner, projection = running(log, tmp_path)
        runner.recover()
        assert checkpoints.lay_down(log, runner, projection, "demand") is not None
        assert len(log.read(kinds={"checkpoint"})) == 2
        assert len(checkpoints.all()) == 2


def test_a_disk_that_refuses_records_nothing(log: EventLog, tmp_path: Path) -> None:
    log.append(EVENTS[:100], writer="source")
    runner, projection = running(log, tmp_path)
    runner.catch_up()
    (tmp_path / "checkpoints").write_bytes(b"a file")
    with pytest.raises(SnapshotError, match="cannot be written"):
        kept(tmp_path).lay_down(log, runner, projection, "demand")
    assert log.read(kinds={"checkpoint"}) == []


# --- copies -----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "file"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"memory://{uuid4().hex}/copies" if request.param == "memory" else f"file://{tmp_path / 'far' / 'copies'}"


def copied(log: EventLog, folder: Path, address: str) -> tuple[Checkpoints, str]:
    log.append(EVENTS[:300], writer="source")
    runner, projection = running(log, folder)
    runner.catch_up()
    checkpoints = kept(folder, copies=address)
    digest = checkpoints.lay_down(log, runner, projection, "demand")
    checkpoints.wait_for_copy(20.0)
    assert digest is not None
    return checkpoints, digest


def files_at(address: str) -> dict[str, Any]:
    fs, path = fsspec.url_to_fs(address)
    return {name.rpartition("/")[2]: (fs, name) for name in fs.find(path)}


def test_a_copy_brings_a_lost_folder_back(log: EventLog, tmp_path: Path, address: str) -> None:
    checkpoints, digest = copied(log, tmp_path, address)
    state = dict(checkpoints.load(digest))
    assert set(files_at(address)) == {"arrays.npz", "scalars.json", "manifest.json"}
    shutil.rmtree(checkpoints.snapshots.folder)
    found = kept(tmp_path, copies=address)
    assert state_digest(found.load(digest)) == state_digest(state)
    assert [(one.digest, one.pinned) for one in found.all()] == [(digest, True)]
    assert state_digest(kept(tmp_path).load(digest)) == state_digest(state)  # it is here again
    with pytest.raises(HubError):
        found.load("f" * 64)


@pytest.mark.parametrize("harm", ["no manifest", "cut short", "another", "no arrays"])
def test_a_copy_that_is_not_whole_is_not_believed(
    log: EventLog, tmp_path: Path, address: str, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints, digest = copied(log, tmp_path, address)
    shutil.rmtree(checkpoints.snapshots.folder)
    files = files_at(address)
    match harm:
        case "no manifest" | "no arrays":
            fs, name = files["manifest.json" if harm == "no manifest" else "arrays.npz"]
            fs.rm(name)
        case "cut short":
            fs, name = files["arrays.npz"]
            fs.pipe_file(name, fs.cat_file(name)[:-7])
        case "another":
            fs, name = files["manifest.json"]
            fs.pipe_file(name, fs.cat_file(name).replace(b"honest", b"deceit"))
    with pytest.raises(HubError, match="is not in"):
        checkpoints.load(digest)
    assert checkpoints.all() == []
    left = list(checkpoints.snapshots.folder.rglob("*"))
    assert [path for path in left if path.is_file()] == []


def test_a_copy_without_its_manifest_is_what_a_kill_leaves(
    log: EventLog, tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The manifest goes last, so a copy that was stopped anywhere before it is none; the learner does not notice."""
    fs, _ = fsspec.url_to_fs(address)
    put, sent = type(fs).put_file, list[str]()

    def stopped(self: Any, source: str, target: str, **more: Any) -> None:
        sent.append(Path(source).name)
        if sent[-1] == "manifest.json":
            raise ConnectionError("the line is dead")
        put(self, source, target, **more)

    monkeypatch.setattr(type(fs), "put_file", stopped)
    checkpoints, digest = copied(log, tmp_path, address)
    assert sent == ["arrays.npz", "scalars.json", "manifest.json"]
    assert "the line is dead" in caplog.text
    assert checkpoints.load(digest)
    shutil.rmtree(checkpoints.snapshots.folder)
    with pytest.raises(HubError):
        checkpoints.load(digest)


def test_what_comes_while_a_copy_is_on_its_way_is_copied_next(
    log: EventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    address = f"memory://{uuid4().hex}"
    go, begun = threading.Event(), threading.Event()
    send = _copies.Copies._send

    def slow(self: _copies.Copies, folder: Path) -> None:
        begun.set()
        assert go.wait(20.0)
        send(self, folder)

    monkeypatch.setattr(_copies.Copies, "_send", slow)
    log.append(EVENTS, writer="source")
    runner, projection = running(log, tmp_path)
    checkpoints = kept(tmp_path, copies=address, newest=9)
    digests = []
    for _ in range(4):
        runner.step()
        digests.append(checkpoints.lay_down(log, runner, projection, "demand"))
        assert begun.wait(20.0)
    go.set()
    checkpoints.wait_for_copy(20.0)
    shutil.rmtree(checkpoints.snapshots.folder)
    found = []
    for digest in digests:
        try:
            found.append(bool(checkpoints.load(str(digest))))
        except HubError:
            found.append(False)
    assert found == [True, False, False, True]  # the first, and the newest of those that came meanwhile


def copies_at(address: str) -> dict[int, list[str]]:
    """Return the names of the files of each copy, by its position."""
    fs, path = fsspec.url_to_fs(address)
    fs.invalidate_cache()
    found: dict[int, list[str]] = {}
    for name in fs.find(path):
        folder, _, file = name.rpartition("/")
        found.setdefault(int(folder.rpartition("/")[2].partition("-")[0]), []).append(file)
    return found


@pytest.fixture
def dated(monkeypatch: pytest.MonkeyPatch, address: str) -> dict[int, int]:
    """Return by position on which day the far side says that a copy was made."""
    fs, _ = fsspec.url_to_fs(address)
    days: dict[int, int] = {}

    def modified(self: Any, path: str) -> datetime:
        position = int(path.rpartition("/")[0].rpartition("/")[2].partition("-")[0])
        return datetime.fromtimestamp(1_700_000_000 + days.get(position, 0) * DAY_S + position, tz=UTC)

    monkeypatch.setattr(type(fs), "modified", modified)
    return days


def send(checkpoints: Checkpoints, position: int, *, named: Collection[str] = ()) -> str:
    """Save a state and copy it, as laying it down does."""
    digest = laid(checkpoints, position)
    assert checkpoints._copies is not None
    checkpoints._copies.copy(checkpoints.snapshots.folder / f"{position:020d}", named=named)
    checkpoints.wait_for_copy(20.0)
    return digest


def test_copies_are_kept_by_the_same_rule(tmp_path: Path, address: str, dated: dict[int, int]) -> None:
    checkpoints = kept(tmp_path, copies=address)
    for position in range(1, 21):
        dated[position] = (position - 1) // 4  # four a day
        send(checkpoints, position)
    assert sorted(copies_at(address)) == [4, 8, 12, 16, 18, 19, 20]
    assert all(len(files) == 3 for files in copies_at(address).values())
    send(checkpoints, 7)  # other code reads the log again: positions begin anew
    assert 7 in copies_at(address), "the one that was copied just now stays"


def test_a_copy_that_its_caller_names_stays(tmp_path: Path, address: str, dated: dict[int, int]) -> None:
    checkpoints = kept(tmp_path, newest=1, copies=address)
    digest = send(checkpoints, 1)
    for position in (2, 3):
        send(checkpoints, position, named={digest})
    assert sorted(copies_at(address)) == [1, 3]


def test_one_that_is_pinned_here_stays_there(tmp_path: Path, address: str, dated: dict[int, int]) -> None:
    checkpoints = kept(tmp_path, newest=1, copies=address)
    digest = send(checkpoints, 1)
    checkpoints.pin(digest)
    for position in (2, 3, 4):
        send(checkpoints, position)
    assert sorted(copies_at(address)) == [1, 4]
    shutil.rmtree(checkpoints.snapshots.folder)
    assert kept(tmp_path, newest=1, copies=address).load(digest)["n"] == 1


def test_the_log_says_whom_a_restore_named_where_the_folder_was_lost(
    log: EventLog, tmp_path: Path, address: str
) -> None:
    checkpoints, digest = copied(log, tmp_path, address)
    checkpoints.pin(digest)
    log.append([command("honest", "restore", 7, checkpoint=digest)], writer="command")
    runner, projection = running(log, tmp_path)
    runner.catch_up()
    shutil.rmtree(checkpoints.snapshots.folder)  # another machine, the same log
    again = kept(tmp_path, newest=1, copies=address)
    for event in EVENTS[300:303]:
        log.append([event], writer="source")
        runner.catch_up()
        again.lay_down(log, runner, projection, "demand")
        again.wait_for_copy(20.0)
    assert len(copies_at(address)) == 2
    shutil.rmtree(again.snapshots.folder)
    assert kept(tmp_path, copies=address).load(digest)


def test_what_a_kill_left_half_made_goes_after_a_day(tmp_path: Path, address: str, dated: dict[int, int]) -> None:
    checkpoints = kept(tmp_path, newest=1, copies=address)
    send(checkpoints, 1)
    fs, path = fsspec.url_to_fs(address)
    for name in [name for name in fs.find(path) if name.endswith("manifest.json")]:
        fs.rm_file(name)
    send(checkpoints, 2)
    assert sorted(copies_at(address)) == [1, 2], "it may be on its way"
    dated[3] = 2
    send(checkpoints, 3)
    assert sorted(copies_at(address)) == [2, 3]


@pytest.mark.parametrize("fails", ["ls", "modified", "rm", "rm_file", "put_file"])
def test_a_far_side_that_fails_stops_nothing(
    log: EventLog, tmp_path: Path, address: str, fails: str, caplog: pytest.LogCaptureFixture
) -> None:
    fs, _ = fsspec.url_to_fs(address)
    log.append(EVENTS, writer="source")
    runner, projection = running(log, tmp_path)
    checkpoints = kept(tmp_path, newest=1, copies=address)

    def refuse(*_: Any, **__: Any) -> Any:
        raise ConnectionError("the line is dead")

    with pytest.MonkeyPatch.context() as harm:
        harm.setattr(type(fs), fails, refuse)
        for _ in range(3):
            runner.step()
            assert checkpoints.lay_down(log, runner, projection, "demand") is not None
            checkpoints.wait_for_copy(20.0)
    assert "the line is dead" in caplog.text
    assert len(log.read(kinds={"checkpoint"})) == 3
    runner.step()
    digest = checkpoints.lay_down(log, runner, projection, "demand")
    checkpoints.wait_for_copy(20.0)
    whole = [position for position, files in copies_at(address).items() if "manifest.json" in files]
    assert len(whole) == 1, "once it is back, what was left is taken away"
    shutil.rmtree(checkpoints.snapshots.folder)
    assert kept(tmp_path, copies=address).load(str(digest))


def test_something_else_at_the_address_is_left_alone(tmp_path: Path, address: str, dated: dict[int, int]) -> None:
    checkpoints = kept(tmp_path, newest=1, copies=address)
    send(checkpoints, 1)
    fs, path = fsspec.url_to_fs(f"{address}/{checkpoints.snapshots.folder.name}")
    fs.pipe_file(f"{path}/readme.txt", b"mine")
    fs.makedirs(f"{path}/12-mine", exist_ok=True)
    fs.pipe_file(f"{path}/12-mine/manifest.json", b"mine")
    for position in (2, 3):
        send(checkpoints, position)
    assert len(fs.ls(path, detail=False)) == 3
    assert fs.cat_file(f"{path}/readme.txt") == b"mine"
    assert fs.cat_file(f"{path}/12-mine/manifest.json") == b"mine"


def test_settings_say_where_and_how_many(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, hub={"checkpoints_kept": 2})  # type: ignore[arg-type]
    checkpoints = checkpoints_of(settings, "honest")
    digests = [laid(checkpoints, position) for position in (1, 2, 3)]
    assert len(checkpoints.all()) == 2
    assert load_checkpoint(settings, "honest", digests[2])["n"] == 3
    with pytest.raises(KalibreError):
        load_checkpoint(settings, "honest", digests[0])
    with pytest.raises(KalibreError):
        load_checkpoint(settings, "agents", digests[2])


def test_newest_of_a_projection_is_not_touched_by_this_rule(tmp_path: Path) -> None:
    """Recovery's own snapshots keep theirs: three, and none that lies ahead."""
    snapshots = Snapshots(tmp_path, "p")
    save = partial(About, projection="p", version="1", libraries="l", anchor="a")
    for position in (1, 2, 3, 4, 9, 5):
        snapshots.save({"n": 1}, save(position=position, emitted=position))
    assert [int(folder.name) for folder in snapshots.folders()] == [5, 4, 3]


def test_a_life_with_a_host_of_its_own_is_the_one_of_the_log(tmp_path: Path) -> None:
    projection = host(Honest)
    assert len(play(projection, EVENTS)) >= 600
