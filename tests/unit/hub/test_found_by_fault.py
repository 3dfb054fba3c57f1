"""What `make fault` has found in the hub: each went wrong between two moments, and is held here without a kill."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kalibre.bars.calendars import get_calendar
from kalibre.core.events import Event, Gap, Tick, new_event
from kalibre.core.hub_events import Drift
from kalibre.core.settings import Settings
from kalibre.hub.alarms import AlarmsProjection
from kalibre.hub.checkpoints import Checkpoints
from kalibre.hub.rebuild import rebuild_with
from kalibre.hub.schedule import Schedule
from kalibre.hub.scheduler import Scheduler
from kalibre.log import open_log
from kalibre.log.jobs import Jobs
from kalibre.log.protocol import EventLog
from kalibre.log.replay import state_digest
from kalibre.log.runner import Runner
from kalibre.log.snapshots import About, Snapshots

HOUR_MS = 3_600_000


def about(position: int) -> About:
    return About(projection="honest", version="1", libraries="l", position=position, anchor="a", emitted=position)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as opened:
        yield opened


def test_a_scheduler_that_is_killed_before_its_first_tick_begins_with_that_tick_all_the_same(log: EventLog) -> None:
    hourly = Schedule(name="hourly", cron="0 * * * *", job="retrain", missed="all")
    assert Scheduler(log, [hourly]).step() == 0  # it is there, and killed
    start = 1_704_067_200_000 + HOUR_MS // 4
    log.append(
        [new_event("clock", start + n * HOUR_MS, Tick(now_ms=start + n * HOUR_MS)) for n in range(3)], writer="x"
    )
    while (scheduler := Scheduler(log, [hourly])).step():
        pass
    assert scheduler.position == 3
    assert [row.key[-6:] for row in reversed(Jobs(log).rows())] == ["01:00Z", "02:00Z"]


def test_a_scheduler_that_is_new_in_an_old_log_begins_now(log: EventLog) -> None:
    log.append([new_event("clock", n * HOUR_MS, Tick(now_ms=n * HOUR_MS)) for n in range(3)], writer="x")
    hourly = Schedule(name="hourly", cron="0 * * * *", job="retrain", missed="all")
    assert Scheduler(log, [hourly]).step() == 0
    log.append([new_event("clock", 3 * HOUR_MS, Tick(now_ms=3 * HOUR_MS))], writer="x")
    assert Scheduler(log, [hourly]).step() == 1
    assert [row.key[-6:] for row in Jobs(log).rows()] == ["03:00Z"]


def test_what_alarms_know_does_not_hang_on_whether_the_scorer_or_the_market_was_faster() -> None:
    gap = Gap(start_ms=0, end_ms=HOUR_MS, missing_bars=1, status="hole")
    drift = Drift(test="adwin", statistic=1.0, threshold=0.5, cause="unknown", action="retrain")
    both = (new_event("X|1h", HOUR_MS, gap), new_event("X|1h|champion|adwin", 2 * HOUR_MS, drift))

    def known(events: tuple[Event, ...]) -> str:
        one = AlarmsProjection([("X", "1h")], stale_bars=2, calendar=get_calendar("24/7"))
        for event in events:
            assert one.apply(event)
        return state_digest(one.state())

    assert known(both) == known(both[::-1])


def test_who_lists_checkpoints_does_not_stumble_over_one_that_is_being_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Checkpoints(tmp_path, "honest", newest=5)
    for position in (1, 2):
        kept.snapshots.save({"n": position}, about(position))
    load = kept.snapshots.load

    def taken(folder: Path) -> Any:
        loaded = load(folder)
        if folder.name.endswith("1"):
            shutil.rmtree(folder)  # by its learner, which lays down the next one
        return loaded

    monkeypatch.setattr(kept.snapshots, "load", taken)
    assert [one.about.position for one in kept.all()] == [2]


def test_a_snapshot_is_taken_away_at_once_and_not_file_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots = Snapshots(tmp_path, "honest", keep=lambda folders, position: [])
    # Killed at the very first file: all that has happened by then is what counts.
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    snapshots.save({"n": 1}, about(1))
    assert snapshots.folders() == []


def test_a_state_of_another_log_is_no_difference(log: EventLog, tmp_path: Path) -> None:
    ticks = [new_event("clock", n, Tick(now_ms=n)) for n in range(60)]

    def alarms() -> AlarmsProjection:
        return AlarmsProjection([("X", "1h")], stale_bars=2, calendar=get_calendar("24/7"))

    def run(opened: EventLog, events: list[Event], home: Path) -> Runner:
        runner = Runner(opened, alarms(), snapshots_dir=home / "snapshots")
        runner.recover()
        opened.append(events, writer="ingest")
        runner.catch_up()
        return runner

    with open_log(f"sqlite:///{tmp_path / 'other.sqlite'}") as other:
        run(other, ticks[10:40], tmp_path).snapshot()
    runner = run(log, ticks, tmp_path)
    found = rebuild_with(alarms(), log, Settings(home=tmp_path))
    assert (found.states, found.differences) == (0, ())
    runner.snapshot()
    found = rebuild_with(alarms(), log, Settings(home=tmp_path))
    assert (found.states, found.differences) == (1, ())
