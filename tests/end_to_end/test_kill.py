"""No order after the kill: under hammering processes, and at the worst moment there is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from tests.fakes.kill_hammer import COLUMNS, hammering, pull, wait_for_orders
from tests.fakes.models import bar_events, random_bars, small_bundle
from tests.fakes.trading import Models, projection, promotion

from kalibre.core.clock import ManualClock
from kalibre.core.events import Event, Kill
from kalibre.features.engine import FeatureSpec
from kalibre.log import open_log
from kalibre.log.protocol import EventLog
from kalibre.log.runner import Runner, refold
from kalibre.models.bundle import ModelBundle
from kalibre.trading.kill_switch import KillSwitch
from kalibre.trading.paper import PaperProjection


def orders_under_kill(log: EventLog) -> list[int]:
    """Return the positions of orders that lie behind an engaging kill and before its release."""
    killed, wrong = False, []
    for event in log.read(kinds={"kill", "order"}):
        if isinstance(event.payload, Kill):
            killed = event.payload.engaged
        elif killed:
            wrong.append(event.seq)
    return wrong


@pytest.mark.fault
@pytest.mark.slow
def test_no_order_after_the_kill_under_a_hammer(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'log.sqlite'}"
    with hammering(url, tmp_path) as log:
        for number in range(6):
            wait_for_orders(log, log.head(), 5)
            stop = pull(log, tmp_path, "event" if number % 2 else "file")
            assert stop.kill_seq < stop.release_seq
        wait_for_orders(log, log.head(), 5)
    with open_log(url) as log:
        assert len([e for e in log.read(kinds={"kill"}) if e.payload.engaged]) >= 6  # type: ignore[attr-defined]
        assert orders_under_kill(log) == []
        for cancelled in log.read(kinds={"order_cancelled"}):
            time = cancelled.event_time
            (order,) = log.read(kinds={"order"}, key=cancelled.key, start_ms=time, end_ms=time + 1)
            assert order.seq < cancelled.seq


class KilledMeanwhile(PaperProjection):
    """The switch is pulled while a batch is worked on: its orders are decided, and not stored yet."""

    pull_at = 0
    switch: KillSwitch | None = None
    way = "event"

    def apply(self, event: Event) -> list[Event]:
        if event.kind == "bar":
            self.pull_at -= 1
            if self.pull_at == 0 and self.switch is not None:
                if self.way == "event":
                    self.switch.engage("worst moment", "drill")
                else:
                    self.switch._file.touch()
        return super().apply(event)


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return small_bundle(columns=COLUMNS, entry_threshold=0.6, exit_threshold=0.55)


def run_killed(bundle: ModelBundle, folder: Path, way: str, priority: Iterable[str]) -> tuple[str, list[int]]:
    url, models = f"sqlite:///{folder / 'log.sqlite'}", Models()
    models.add(bundle)
    with open_log(url) as log, open_log(url) as other:
        log.append([promotion(bundle), *bar_events(random_bars(200, seed=9))], writer="ingest")
        plain = projection(models, FeatureSpec("15m", columns=COLUMNS))
        plain.__class__ = KilledMeanwhile
        assert isinstance(plain, KilledMeanwhile)
        plain.pull_at, plain.way = 120, way
        plain.switch = KillSwitch(other, folder / "KILL", ManualClock(1))
        runner = Runner(
            log,
            plain,
            snapshots_dir=folder / "snapshots",
            batch_size=64,
            priority_kinds=frozenset(priority),
            kill_file=folder / "KILL",
        )
        runner.recover()
        runner.catch_up()
        assert log.read(kinds={"kill"})
        assert log.read(kinds={"order"})
        return url, orders_under_kill(log)


@pytest.mark.parametrize("way", ["event", "file"])
def test_killed_at_the_worst_moment(bundle: ModelBundle, tmp_path: Path, way: str) -> None:
    url, wrong = run_killed(bundle, tmp_path, way, {"kill"})
    assert wrong == []
    models = Models()
    models.add(bundle)
    with open_log(url) as log:
        assert log.read(kinds={"command_applied"})
        assert refold(log, projection(models, FeatureSpec("15m", columns=COLUMNS))).equal


def test_without_priority_the_test_sees_orders(bundle: ModelBundle, tmp_path: Path) -> None:
    """Plant: a runner that reads commands in their turn orders after the kill."""
    _, wrong = run_killed(bundle, tmp_path, "event", set())
    assert wrong
