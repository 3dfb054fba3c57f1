"""Checkpoints on demand: served once, also where nobody was there to hear of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.learners import Honest, command, host, quiet_life
from tests.fakes.models import bar_events, random_bars

from kalibre.core.errors import LogUnavailableError, SnapshotError
from kalibre.core.events import Event
from kalibre.core.hub_events import Checkpoint
from kalibre.core.settings import Settings
from kalibre.hub.checkpoints import Checkpoints
from kalibre.hub.commands import record_command
from kalibre.hub.worker import Keeper
from kalibre.log import open_log
from kalibre.log.protocol import EventLog
from kalibre.log.runner import Runner

EVENTS = quiet_life(200)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as opened:
        opened.append(EVENTS, writer="source")
        yield opened


class Worker:
    """A learner's worker from its start, without the process around it."""

    def __init__(self, log: EventLog, folder: Path) -> None:
        self.projection = host(Honest)
        self.runner = Runner(log, self.projection, snapshots_dir=folder / "snapshots", batch_size=16)
        self.runner.recover()
        self.checkpoints = Checkpoints(folder / "checkpoints", "honest", newest=9)
        self.keeper = Keeper(log, {"honest": (self.runner, self.projection, self.checkpoints)})

    def turn(self) -> int:
        read = self.runner.step()
        self.keeper.count("honest", read)
        self.keeper.look()
        return read

    def live(self) -> None:
        """Read everything, and look around for a while after."""
        while self.turn():
            pass
        self.turn()


def ask(log: EventLog, at_ms: int, learner: str = "honest") -> int:
    return log.append([command(learner, "checkpoint", at_ms)], writer="command")[0].seq


def demanded(log: EventLog) -> list[Checkpoint]:
    told = [event.payload for event in log.read(kinds={"checkpoint"}, key="honest")]
    return [one for one in told if isinstance(one, Checkpoint) and one.reason == "demand"]


def test_a_demand_that_nobody_heard_is_served_once_at_the_next_start(log: EventLog, tmp_path: Path) -> None:
    Worker(log, tmp_path).live()
    assert demanded(log) == []
    asked = ask(log, 1)
    again = Worker(log, tmp_path)
    again.live()
    assert [one.position >= asked for one in demanded(log)] == [True]
    assert demanded(log)[0].digest in [one.digest for one in again.checkpoints.all()]
    for _ in range(3):
        Worker(log, tmp_path).live()
    assert len(demanded(log)) == 1


def test_of_many_that_nobody_heard_the_newest_speaks_for_all(log: EventLog, tmp_path: Path) -> None:
    for at_ms in range(1, 9):
        asked = ask(log, at_ms)
    ask(log, 99, learner="somebody else")
    Worker(log, tmp_path).live()
    assert [one.position >= asked for one in demanded(log)] == [True]


def test_what_was_served_is_not_served_again_but_what_came_after_it_is(log: EventLog, tmp_path: Path) -> None:
    worker = Worker(log, tmp_path)
    ask(log, 1)
    worker.live()
    ask(log, 2)
    worker.live()
    assert len(demanded(log)) == 2
    Worker(log, tmp_path).live()
    assert len(demanded(log)) == 2
    ask(log, 3)
    Worker(log, tmp_path).live()
    assert len(demanded(log)) == 3


def test_a_checkpoint_that_did_not_know_the_demand_is_no_answer_to_it(log: EventLog, tmp_path: Path) -> None:
    """Asked between the save of one and its record, then killed: the record stands behind the demand and is older."""
    worker = Worker(log, tmp_path)
    worker.live()
    early = worker.runner.position
    asked = ask(log, 1)
    worker.checkpoints.lay_down(log, worker.runner, worker.projection, "demand")
    assert [one.position for one in demanded(log)] == [early]
    Worker(log, tmp_path).live()
    assert [one.position >= asked for one in demanded(log)] == [False, True]


def test_a_demand_is_served_when_its_learner_has_read_up_to_it(log: EventLog, tmp_path: Path) -> None:
    asked = ask(log, 1)
    worker = Worker(log, tmp_path)
    while worker.turn() and worker.runner.position < asked:
        assert demanded(log) == []
    assert [one.position for one in demanded(log)] == [worker.runner.position]


def test_hourly_ones_answer_no_demand(log: EventLog, tmp_path: Path) -> None:
    worker = Worker(log, tmp_path)
    asked = ask(log, 1)
    worker.runner.catch_up()
    worker.checkpoints.lay_down(log, worker.runner, worker.projection, "hourly")
    Worker(log, tmp_path).live()
    assert [one.position >= asked for one in demanded(log)] == [True]


@pytest.mark.parametrize(("error", "served"), [(LogUnavailableError, 1), (SnapshotError, 0)])
def test_a_log_that_is_away_is_waited_for_and_a_full_disk_until_the_next_start(
    log: EventLog, tmp_path: Path, error: Any, served: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(log, tmp_path)
    ask(log, 1)
    with monkeypatch.context() as harm:

        def refuse(*_: Any, **__: Any) -> list[Event]:
            raise error("planted")

        harm.setattr(worker.checkpoints, "lay_down", refuse)
        worker.live()
    worker.live()
    assert len(demanded(log)) == served
    Worker(log, tmp_path).live()
    assert len(demanded(log)) == 1


def until(holds: Callable[[], object], process: subprocess.Popen[bytes], output: Path) -> None:
    limit = time.monotonic() + 120
    while not holds():
        assert process.poll() is None, output.read_text()
        assert time.monotonic() < limit, output.read_text()
        time.sleep(0.05)


def test_a_real_worker_serves_what_was_asked_while_it_was_down(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    settings.home.mkdir()
    output = tmp_path / "output"

    def work(holds: Callable[[], object], ended_by: signal.Signals) -> None:
        command = [sys.executable, "-m", "kalibre", "hub", "worker", "agents"]
        environment = {**os.environ, "KALIBRE_HOME": str(settings.home)}
        with output.open("wb") as stream:
            process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=stream, stderr=stream)
        try:
            until(holds, process, output)
            process.send_signal(ended_by)
            process.wait(60)
        finally:
            process.kill()
            process.wait(60)

    with open_log(settings.log_url) as log:
        bars = bar_events(random_bars(300))
        log.append(bars[:200], writer="ingest")

        def read(event: Event) -> bool:
            progress = log.progress("agents")
            return progress is not None and progress.seq >= event.seq

        newest = log.read(kinds={"bar"})[-1]
        work(lambda: read(newest), signal.SIGKILL)
        assert log.read(kinds={"checkpoint"}) == []
        for reason in ("first", "second"):
            asked = record_command(log, settings, "agents", "checkpoint", by="a test", reason=reason)
        work(lambda: log.read(kinds={"checkpoint"}), signal.SIGTERM)
        (newest,) = log.append(bars[200:201], writer="ingest")
        work(lambda: read(newest), signal.SIGTERM)
        (told,) = [event.payload for event in log.read(kinds={"checkpoint"}, key="agents")]
        assert isinstance(told, Checkpoint)
        assert (told.reason, told.position >= asked.seq) == ("demand", True)
