"""The pace of a replay: it waits for who gets on, for nobody for ever, and never holds up a stop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.models import bar_events, random_bars

from kalibre.core.events import Event
from kalibre.core.protocols import State
from kalibre.hub.pace import Pace
from kalibre.log import open_log
from kalibre.log.protocol import EventLog
from kalibre.log.runner import Runner

N_BARS = 600


class Reader:
    """Reads bars and keeps nothing."""

    version = "1"
    reads = frozenset({"bar"})

    def __init__(self, name: str) -> None:
        self.name = name

    def apply(self, event: Event) -> list[Event]:
        return []

    def state(self) -> State:
        return {}

    def restore(self, state: State) -> None:
        pass


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as opened:
        yield opened


def played(log: EventLog, pace: Pace) -> list[int]:
    """Store the bars one by one, as a source with this pace gives them; return what was stored at each wait."""
    waited: list[int] = []
    sleep = pace._sleep

    async def counting(seconds: float) -> object:
        waited.append(log.last_position({"bar"}))
        return await sleep(seconds)

    async def play() -> None:
        pace._sleep = counting
        for event in bar_events(random_bars(N_BARS, symbol="X")):
            await pace()
            log.append([event], writer="market")

    asyncio.run(play())
    return waited


def test_it_waits_for_the_slowest_and_goes_on_with_it(log: EventLog) -> None:
    slow = Runner(log, Reader("slow"), snapshots_dir=None, batch_size=10)
    slow.recover()
    furthest: list[int] = []

    async def reads_on(seconds: float) -> object:
        progress = log.progress("slow")
        furthest.append(log.last_position({"bar"}) - (0 if progress is None else progress.seq))
        return slow.step()

    waited = played(log, Pace(log, ["slow"], most_behind=50, every_bars=5, sleep=reads_on))
    assert waited
    assert max(furthest) <= 50 + 5
    assert log.last_position({"bar"}) == N_BARS


def test_who_does_not_get_on_is_waited_for_once(log: EventLog) -> None:
    now = [0.0]

    async def passes(seconds: float) -> object:
        now[0] += 1.0
        return None

    pace = Pace(log, ["dead"], most_behind=50, every_bars=5, patience_s=10.0, sleep=passes, now_s=lambda: now[0])
    waited = played(log, pace)
    assert len(waited) == 10, "the patience, once; not once more at every look"
    assert log.last_position({"bar"}) == N_BARS


def test_a_stop_is_not_held_up(log: EventLog) -> None:
    assert played(log, Pace(log, ["dead"], most_behind=50, every_bars=5, should_stop=lambda: True)) == []
