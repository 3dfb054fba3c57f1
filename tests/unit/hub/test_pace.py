"""The pace of a replay: it waits for who gets on, for nobody for ever, and never holds up a stop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.models import START_MS, STEP_MS, bar_events, random_bars

from kalibre.core.events import new_event
from kalibre.core.hub_events import EnsembleForecast
from kalibre.hub.pace import Pace
from kalibre.log import open_log
from kalibre.log.protocol import EventLog

N_BARS = 600


def speak(log: EventLog, close_ms: int) -> None:
    said = EnsembleForecast(horizon_bars=1, score=None, p_up=None, weights={}, silent={}, abstained="nothing yet")
    log.append([new_event("X|15m|ensemble", close_ms, said)], writer="ensemble")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as opened:
        yield opened


def played(log: EventLog, pace: Pace) -> None:
    """Store the bars one by one, as a source with this pace gives them."""

    async def play() -> None:
        for event in bar_events(random_bars(N_BARS, symbol="X")):
            await pace()
            log.append([event], writer="market")

    asyncio.run(play())
    assert log.counts({"bar"}) == {("bar", "X|15m"): N_BARS}


def newest(log: EventLog, kind: str, key: str) -> int:
    event = log.latest(kind, key=key, by="event_time")
    assert event is not None
    return event.event_time


def test_it_waits_for_the_ensemble_and_goes_on_with_it(log: EventLog) -> None:
    ahead: list[int] = []
    spoken = [START_MS]

    async def speaks_on(seconds: float) -> None:
        ahead.append((newest(log, "bar", "X|15m") - spoken[0]) // STEP_MS)
        spoken[0] += 7 * STEP_MS
        speak(log, spoken[0])

    played(log, Pace(log, ["X"], "15m", most_ahead_bars=50, every_bars=5, sleep=speaks_on))
    assert len(ahead) > 50
    assert 50 < max(ahead) <= 50 + 5


def test_who_does_not_get_on_is_waited_for_once_until_it_does(log: EventLog) -> None:
    now, waits = [0.0], [0]

    async def passes(seconds: float) -> None:
        now[0] += 1.0
        waits[0] += 1

    pace = Pace(
        log, ["X"], "15m", most_ahead_bars=50, every_bars=5, patience_s=10.0, sleep=passes, now_s=lambda: now[0]
    )
    played(log, pace)
    assert waits == [10], "the patience, once; not once more at every look"
    speak(log, START_MS + STEP_MS)
    for _ in range(5):
        asyncio.run(pace.__call__())
    assert waits == [20], "it has got on: it is waited for again"


def test_a_stop_is_not_held_up(log: EventLog) -> None:
    async def never(seconds: float) -> None:
        raise AssertionError("it waited")

    played(log, Pace(log, ["X"], "15m", most_ahead_bars=50, every_bars=5, should_stop=lambda: True, sleep=never))
