"""The runner: one transaction for what is emitted and how far was read, recovery, rebuild, refold, commands first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from benchmarks._fault_kills import make_inputs, orders_after_kill
from benchmarks._fault_model import ForgetfulModel, OnlineModel, RandomModel

from kalibre.core.clock import ManualClock
from kalibre.core.errors import DeterminismError, LogError
from kalibre.core.events import CommandApplied, Event, Kill, Tick, new_event
from kalibre.log import open_log
from kalibre.log.protocol import EventLog
from kalibre.log.replay import state_digest
from kalibre.log.runner import Runner, refold
from kalibre.log.snapshots import Snapshots

INPUTS = make_inputs(60)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}", clock=ManualClock(5)) as opened:
        yield opened


def runner(log: EventLog, folder: Path, projection: OnlineModel | None = None, **more: Any) -> Runner:
    return Runner(log, projection or OnlineModel(), snapshots_dir=folder / "snapshots", **more)


def emissions(log: EventLog) -> list[tuple[Any, ...]]:
    return [(*event.identity, event.payload) for event in log.read(writer="online-model")]


def kill(time: int, *, engaged: bool = True) -> Event:
    return new_event("kill", time, Kill(engaged=engaged, by="test"))


def test_every_batch_size_gives_the_same_events_and_state(tmp_path: Path) -> None:
    found = []
    for size in (1, 3, 64, 1000):
        with open_log(f"sqlite:///{tmp_path / f'{size}.sqlite'}") as log:
            log.append(INPUTS, writer="source")
            one = runner(log, tmp_path / f"{size}", batch_size=size, snapshot_every_events=50)
            assert one.catch_up() == len(log.read(kinds=OnlineModel.reads))
            found.append((emissions(log), one.state_digest()))
            report = refold(log, OnlineModel())
            assert report.equal
            assert report.state_digest == one.state_digest()
    assert all(one == found[0] for one in found[1:])


def test_what_is_emitted_and_the_position_are_committed_together(log: EventLog, tmp_path: Path) -> None:
    log.append(INPUTS, writer="source")

    class Breaking(OnlineModel):
        def apply(self, event: Event) -> Iterator[Event]:
            yield from super().apply(event)
            if event.event_time >= 20 * 60_000 and event.kind == "bar":
                raise ZeroDivisionError

    broken = runner(log, tmp_path, Breaking(), batch_size=8)
    with pytest.raises(ZeroDivisionError):
        broken.catch_up()
    progress = log.progress("online-model")
    assert progress is not None
    assert progress.seq > 0
    assert refold(log, OnlineModel()).equal  # nothing of the batch that broke
    mended = runner(log, tmp_path)
    assert mended.recover().position == progress.seq
    mended.catch_up()
    assert refold(log, OnlineModel()).equal


def test_recovery_goes_on_from_the_newest_intact_snapshot(log: EventLog, tmp_path: Path) -> None:
    log.append(INPUTS, writer="source")
    first = runner(log, tmp_path, batch_size=5, snapshot_every_events=20)
    first.catch_up()
    folders = sorted((tmp_path / "snapshots").glob("*/*"))
    assert len(folders) == 3
    again = runner(log, tmp_path)
    assert again.recover().snapshot == int(folders[-1].name)
    assert again.state_digest() == first.state_digest()
    (folders[-1] / "arrays.npz").write_bytes(b"torn")
    third = runner(log, tmp_path)
    recovery = third.recover()
    assert recovery.snapshot == int(folders[-2].name)
    assert recovery.events_checked > 0
    assert recovery.emissions_checked > 0
    assert third.state_digest() == first.state_digest()


def test_the_log_is_on_the_disk_before_a_snapshot_knows_of_it(
    log: EventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append(INPUTS, writer="source")
    one = runner(log, tmp_path)
    one.catch_up()
    done: list[str] = []
    fsync, save = os.fsync, Snapshots.save

    def synced(descriptor: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    def saved(*arguments: Any) -> Path:
        done.append("snapshot")
        return save(*arguments)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Snapshots, "save", saved)
    one.snapshot()
    assert done[:3] == ["log.sqlite-wal", tmp_path.name, "snapshot"]


def test_a_snapshot_of_another_log_is_passed_over(log: EventLog, tmp_path: Path) -> None:
    log.append(INPUTS, writer="source")
    runner(log, tmp_path, snapshot_every_events=20, batch_size=5).catch_up()
    with open_log(f"sqlite:///{tmp_path / 'other.sqlite'}", clock=ManualClock(6)) as other:
        other.append(INPUTS, writer="source")
        runner(other, tmp_path / "b").catch_up()
        assert runner(other, tmp_path).recover().snapshot == 0


def test_a_snapshot_that_survived_a_lost_tail_is_passed_over(log: EventLog, tmp_path: Path) -> None:
    """The disk lied: the snapshot is there, what it had recorded is gone, and other events took its positions."""
    log.append(INPUTS[:40], writer="source")
    log.sync()
    with open_log(f"sqlite:///{tmp_path / 'lost.sqlite'}", clock=ManualClock(5)) as lost:
        lost.append(INPUTS[:40], writer="source")
        first = runner(log, tmp_path, snapshot_every_events=40)
        first.catch_up()
        lost.append(INPUTS[40:60], writer="source")  # delivered again, further than before, while no runner ran
        runner(lost, tmp_path / "none", snapshot_every_events=10**6).catch_up()
        assert lost.read(upto=first.position) == log.read(upto=first.position)  # what it had read is the same
        assert runner(lost, tmp_path).recover().snapshot == 0


@pytest.mark.parametrize("planted", [ForgetfulModel, RandomModel])
def test_a_projection_that_is_no_function_of_its_inputs_is_caught(
    log: EventLog, tmp_path: Path, planted: type[OnlineModel]
) -> None:
    log.append(INPUTS, writer="source")
    runner(log, tmp_path, planted(), batch_size=5, snapshot_every_events=35).catch_up()
    head = log.head()
    with pytest.raises(DeterminismError, match=r"emits .*Forecast\(.*again.*but recorded is .*Forecast\("):
        runner(log, tmp_path, planted()).recover()
    assert log.head() == head


def test_what_is_recorded_but_not_said_again_is_caught(log: EventLog, tmp_path: Path) -> None:
    class Quieter(OnlineModel):
        def apply(self, event: Event) -> Iterator[Event]:
            return (emitted for emitted in super().apply(event) if emitted.kind != "account")

    log.append(INPUTS, writer="source")
    runner(log, tmp_path).catch_up()
    report = refold(log, Quieter())
    assert not report.equal
    assert "does not emit it again" in report.differences[-1]
    with pytest.raises(DeterminismError, match="does not emit it again"):
        Runner(log, Quieter(), snapshots_dir=None).recover()


def test_another_version_is_rebuilt_and_not_a_failed_check(log: EventLog, tmp_path: Path) -> None:
    class Newer(OnlineModel):
        version = "2"

        def _score(self, score: float, event: Event) -> float:
            return score + 0.5

    log.append(INPUTS[:60], writer="source")
    runner(log, tmp_path, snapshot_every_events=10, batch_size=5).catch_up()
    old = log.read(writer="online-model")
    read_before = log.last_position(OnlineModel.reads)
    log.append(INPUTS[60:], writer="source")
    newer = runner(log, tmp_path, Newer(), batch_size=7)
    recovery = newer.recover()
    assert recovery.snapshot == 0
    assert recovery.rebuild_upto == read_before
    newer.catch_up()
    rebuilt = [event for event in log.read(writer="online-model") if event.provenance == "rebuild"]
    assert {event.kind for event in rebuilt} == {"forecast"}  # only what it now says otherwise
    assert {event.revision for event in rebuilt} == {1}
    assert len(rebuilt) == sum(event.kind == "forecast" for event in old)
    newest = log.read(kinds={"forecast"}, newest_revision=True)
    assert all(event.revision == 1 for event in newest if event.event_time <= old[-1].event_time - 120_000)
    assert refold(log, Newer()).equal
    again = runner(log, tmp_path, Newer())
    assert again.recover().rebuild_upto == 0
    assert again.state_digest() == newer.state_digest()
    with pytest.raises(LogError, match="version '1'"):
        refold(log, OnlineModel())


def test_a_version_that_comes_back_does_not_believe_its_old_snapshot(log: EventLog, tmp_path: Path) -> None:
    class Newer(OnlineModel):
        version = "2"

        def _score(self, score: float, event: Event) -> float:
            return score + 0.5

    log.append(INPUTS[:60], writer="source")
    first = runner(log, tmp_path)
    first.catch_up()
    first.snapshot()
    log.append(INPUTS[60:], writer="source")
    runner(log, tmp_path, Newer()).catch_up()
    runner(log, tmp_path).catch_up()  # back to the first version, which then dies before a snapshot of its own
    again = runner(log, tmp_path)
    assert again.recover().snapshot == 0
    assert refold(log, OnlineModel()).equal
    again.snapshot()
    assert runner(log, tmp_path).recover().snapshot == again.position


def test_a_rebuild_that_is_killed_goes_on(log: EventLog, tmp_path: Path) -> None:
    class Newer(OnlineModel):
        version = "2"

    log.append(INPUTS, writer="source")
    runner(log, tmp_path).catch_up()
    head = log.head()
    half = runner(log, tmp_path, Newer(), batch_size=5)
    half.step()
    half.step()
    rest = runner(log, tmp_path, Newer())
    assert 0 < rest.recover().position < rest.recover().rebuild_upto
    rest.catch_up()
    assert log.head() == head  # the same words were not recorded twice
    assert refold(log, Newer()).equal


def test_other_libraries_may_differ_in_the_last_bits(
    log: EventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elsewhere(OnlineModel):
        def _score(self, score: float, event: Event) -> float:
            return score * (1 + 3e-16)

    log.append(INPUTS, writer="source")
    runner(log, tmp_path).catch_up()
    head = log.head()
    with pytest.raises(DeterminismError):
        Runner(log, Elsewhere(), snapshots_dir=None).recover()
    monkeypatch.setattr("kalibre.log.runner.library_versions", lambda: "numpy 99")
    moved = runner(log, tmp_path, Elsewhere())
    moved.catch_up()
    assert log.head() == head
    log.append([new_event("AAA|1m", 10**9, INPUTS[1].payload)], writer="source")
    moved.catch_up()
    assert log.head() > head + 1
    runner(log, tmp_path, Elsewhere()).recover()
    assert refold(log, Elsewhere()).equal


def test_two_runners_of_one_projection_are_told_apart(log: EventLog, tmp_path: Path) -> None:
    log.append(INPUTS, writer="source")
    one, other = runner(log, tmp_path, batch_size=5), runner(log, tmp_path, batch_size=5)
    one.step()
    other.step()
    with pytest.raises(LogError, match="another process runs it; stop one"):
        one.step()
    assert one.step() > 0  # having recovered
    one.catch_up()
    assert refold(log, OnlineModel()).equal


def test_a_projection_never_sees_the_record(log: EventLog, tmp_path: Path) -> None:
    seen: list[Event] = []

    class Curious(OnlineModel):
        def apply(self, event: Event) -> Iterator[Event]:
            seen.append(event)
            return super().apply(event)

    log.append(INPUTS[:5], writer="source", recorded_at_ms=77)
    runner(log, tmp_path, Curious()).catch_up()
    assert [event.identity for event in seen] == [event.identity for event in log.read(writer="source")]
    assert {(event.seq, event.recorded_at, event.writer, event.provenance) for event in seen} == {(0, 0, "", "")}


def test_emitting_what_it_reads_is_refused(log: EventLog, tmp_path: Path) -> None:
    class Echo(OnlineModel):
        def apply(self, event: Event) -> Iterator[Event]:
            yield new_event("clock", event.event_time + 1, Tick(now_ms=0))

    log.append(INPUTS[:5], writer="source")
    with pytest.raises(LogError, match="emits 'tick', which it reads"):
        runner(log, tmp_path, Echo()).step()


# --- commands that overtake -------------------------------------------------------------------------------------------


def test_a_kill_behind_the_batch_is_applied_before_it(log: EventLog, tmp_path: Path) -> None:
    log.append(INPUTS[:100], writer="source")
    one = runner(log, tmp_path, batch_size=10)
    one.step()
    before = log.progress("online-model")
    assert before is not None
    log.append([kill(1)], writer="operator")
    one.catch_up()
    applied = [event.payload for event in log.read(kinds={"command_applied"})]
    first = log.read(after=before.seq, kinds=OnlineModel.reads, limit=1)[0]
    assert applied == [CommandApplied(projection="online-model", command=("kill", "kill", 1, 0), before=first.identity)]
    assert not orders_after_kill(log.read())
    assert refold(log, OnlineModel()).equal
    again = runner(log, tmp_path)
    again.recover()
    assert again.state_digest() == one.state_digest()
    released = log.append([kill(2, engaged=False), *INPUTS[100:]], writer="operator")[0]
    one.catch_up()
    assert log.read(kinds={"order"}, after=released.seq)  # released, it trades again
    assert refold(log, OnlineModel()).equal


def test_a_kill_that_comes_while_a_batch_is_computed_still_wins(log: EventLog, tmp_path: Path) -> None:
    """The race itself: the command is committed after the batch was read and before it commits."""

    class Late(OnlineModel):
        sent = False

        def apply(self, event: Event) -> Iterator[Event]:
            if event.event_time > 40 * 60_000 and not Late.sent:
                Late.sent = True
                log.append([kill(1)], writer="operator")
            return super().apply(event)

    log.append(INPUTS, writer="source")
    runner(log, tmp_path, Late(), batch_size=1000).catch_up()
    assert Late.sent
    assert not orders_after_kill(log.read())
    assert not log.read(kinds={"order"})  # the whole batch was done again, under the kill
    assert refold(log, OnlineModel()).equal


def test_without_the_overtaking_an_order_would_follow_the_kill(log: EventLog, tmp_path: Path) -> None:
    """The planted failure of the net above."""
    log.append(INPUTS, writer="source")
    log.append([kill(1)], writer="operator")
    runner(log, tmp_path, priority_kinds=()).catch_up()
    assert orders_after_kill(log.read())


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_commands_between_bars_reach_their_place_or_overtake(log: EventLog, tmp_path: Path, batch_size: int) -> None:
    log.append(INPUTS[:40], writer="source")
    log.append([kill(1)], writer="operator")
    log.append(INPUTS[40:80], writer="source")
    log.append([kill(2, engaged=False)], writer="operator")
    log.append(INPUTS[80:], writer="source")
    one = runner(log, tmp_path, batch_size=batch_size)
    one.catch_up()
    assert log.read(kinds={"command_applied"}) == []  # revoked by now: it stays where it stands
    log.append([kill(3, engaged=False), kill(4)], writer="operator")
    log.append([new_event("AAA|1m", 10**9 + i * 60_000, INPUTS[1].payload) for i in range(5)], writer="source")
    one.catch_up()
    assert not log.read(kinds={"command_applied"})  # at the front of the batch they are in time
    log.append([new_event("AAA|1m", 2 * 10**9, INPUTS[1].payload), kill(5, engaged=False), kill(6)], writer="source")
    one.catch_up()
    commands = [event.payload.command[2] for event in log.read(kinds={"command_applied"})]
    assert commands == [5, 6]
    assert refold(log, OnlineModel()).equal


def test_touching_the_kill_file_is_enough(log: EventLog, tmp_path: Path) -> None:
    kill_file = tmp_path / "KILL"
    log.append(INPUTS[:50], writer="source")
    one = runner(log, tmp_path, batch_size=10, kill_file=kill_file)
    one.step()
    kill_file.write_text("flatten, please")
    one.catch_up()
    recorded = [event.payload for event in log.read(kinds={"kill"})]
    assert [(payload.engaged, payload.by, payload.flatten) for payload in recorded] == [(True, "kill file", True)]
    assert len(log.read(kinds={"command_applied"})) == 1
    assert not orders_after_kill(log.read())
    log.append([kill(10**14, engaged=False)], writer="operator")
    one.catch_up()  # released, but the file is still there: it engages again, even with nothing to read
    assert [event.payload.engaged for event in log.read(kinds={"kill"})] == [True, False, True]
    kill_file.unlink()
    log.append([kill(10**15, engaged=False), *INPUTS[50:]], writer="operator")
    one.catch_up()
    assert [event.payload.engaged for event in log.read(kinds={"kill"})][-1] is False
    assert refold(log, OnlineModel()).equal


def test_a_version_that_no_longer_reads_the_place_meets_the_command_where_it_stands(
    log: EventLog, tmp_path: Path
) -> None:
    class OnlyKills(OnlineModel):
        version = "2"
        reads = frozenset({"kill", "tick"})

    log.append([event for event in INPUTS[:40] if event.kind == "bar"], writer="source")
    log.append([kill(1)], writer="operator")
    one = runner(log, tmp_path)
    one.catch_up()
    assert log.read(kinds={"command_applied"})[0].payload.before[0] == "bar"
    only = OnlyKills()
    Runner(log, only, snapshots_dir=None).catch_up()
    assert only.state()["killed"] is True


# --- following --------------------------------------------------------------------------------------------------------


def test_follow_reads_on_until_it_is_told_to_stop(log: EventLog, tmp_path: Path) -> None:
    one = runner(log, tmp_path)
    stop = threading.Event()
    thread = threading.Thread(target=lambda: one.follow(stop.is_set, poll_s=0.05))
    thread.start()
    for start in range(0, len(INPUTS), 20):
        log.append(INPUTS[start : start + 20], writer="source")
    last = log.last_position(OnlineModel.reads)
    head = log.head()
    while (progress := log.progress("online-model")) is None or progress.seq < last:
        head = log.wait(head, 10.0)
    stop.set()
    thread.join(60)
    assert not thread.is_alive()
    assert [int(path.name) for path in (tmp_path / "snapshots").glob("*/*")] == [one.position]
    assert refold(log, OnlineModel()).equal


def test_sigterm_ends_the_loop_cleanly(log: EventLog, tmp_path: Path) -> None:
    log.append(INPUTS, writer="source")
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "benchmarks._fault_entry",
            log.url,
            str(tmp_path),
            "benchmarks._fault_model:OnlineModel",
        ],
        cwd=Path(__file__).resolve().parents[3],
        stderr=subprocess.PIPE,
    )
    try:
        last, head = log.last_position(OnlineModel.reads), 0
        while (progress := log.progress("online-model")) is None or progress.seq < last:
            head = log.wait(head, 5.0)
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()
    assert refold(log, OnlineModel()).equal


def test_settings_out_of_range_are_quoted(log: EventLog, tmp_path: Path) -> None:
    with pytest.raises(LogError, match="batch_size 0"):
        runner(log, tmp_path, batch_size=0)
    with pytest.raises(LogError, match="let a Runner"):
        refold(log, OnlineModel())


def test_state_digests_tell_bits_apart() -> None:
    import numpy as np

    base = {"a": np.arange(3.0), "b": 1.5, "c": "x", "d": None, "e": True}
    others = [
        base | {"a": np.arange(3.0, dtype=np.float32)},
        base | {"a": np.arange(3.0).reshape(1, 3)},
        base | {"a": np.nextafter(np.arange(3.0), 9)},
        base | {"b": -1.5},
        base | {"c": "y"},
        base | {"e": 1},
        {name: value for name, value in base.items() if name != "d"},
    ]
    assert state_digest(base) == state_digest(dict(reversed(base.items())))
    assert len({state_digest(state) for state in (base, *others)}) == len(others) + 1
    assert msgspec.json.encode(state_digest(base))
