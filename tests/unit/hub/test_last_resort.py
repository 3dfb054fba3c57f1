"""The last resort: a log that cannot be written is told past it, once, and when it is over."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from tests.fakes.alert_receivers import http_receiver

from kalibre.core.clock import ManualClock
from kalibre.core.errors import LogError
from kalibre.core.events import Event
from kalibre.core.hub_events import Alert, WorkerState
from kalibre.core.settings import Settings
from kalibre.hub.last_resort import LastResort

NOW = 1_800_000_000_000
DIED = WorkerState(state="error", pid=1, restarts=1, reason="disk full: ended with exit code 1")


class Recording:
    """Records transitions while it can."""

    def __init__(self) -> None:
        self.full = False
        self.recorded: list[str] = []

    def __call__(self, name: str, state: WorkerState) -> None:
        if self.full:
            raise LogError("log 'x' cannot grow: the disk is full")
        self.recorded.append(name)


def settings_of(home: Path, **alerts: object) -> Settings:
    return Settings(home=home, alerts=alerts)  # type: ignore[arg-type]


def test_it_is_told_once_an_outage_again_after_a_while_and_when_it_is_over(tmp_path: Path) -> None:
    recording, clock = Recording(), ManualClock(NOW)
    told: list[Alert] = []
    came = threading.Semaphore(0)

    def send(event: Event) -> None:
        assert isinstance(event.payload, Alert)
        told.append(event.payload)
        came.release()

    resort = LastResort(recording, settings_of(tmp_path, repeat_after_minutes=10), send=send, clock=clock)

    def tried() -> None:
        with pytest.raises(LogError, match="the disk is full"):
            resort("ingest", DIED)

    resort("ingest", DIED)
    recording.full = True
    tried()
    clock.set(NOW + 1_000)
    recording.full = False
    resort("ingest", DIED)
    assert told == [], "what was over within a second was a lock"
    recording.full = True
    for seconds in (2, 3, 4, 5, 6):
        clock.set(NOW + 1_000 * seconds)
        tried()
    assert came.acquire(timeout=10)
    clock.set(NOW + 11 * 60_000)
    tried()
    tried()
    assert came.acquire(timeout=10)
    recording.full = False
    resort("ingest", DIED)
    resort("learners", DIED)
    assert came.acquire(timeout=10)
    assert [(alert.level, alert.recovered) for alert in told] == [
        ("critical", False),
        ("critical", False),
        ("info", True),
    ]
    assert "the disk is full" in told[0].cause
    assert told[0].mend == "kalibre doctor"
    assert recording.recorded == ["ingest", "ingest", "ingest", "learners"], "what was recorded is not told twice"


def test_it_reaches_the_targets_of_the_settings(tmp_path: Path) -> None:
    recording, clock = Recording(), ManualClock(NOW)
    recording.full = True
    came = threading.Event()
    with http_receiver() as receiver:
        usual = receiver.answer

        def answer(request: object) -> object:
            came.set()
            return usual(request)  # type: ignore[arg-type]

        receiver.answer = answer  # type: ignore[assignment]
        alerts = {"urls": [f"json://127.0.0.1:{receiver.port}/told"], "allow_private": True}
        resort = LastResort(recording, settings_of(tmp_path, **alerts), clock=clock)
        for ms in (0, 2_000):
            clock.set(NOW + ms)
            with pytest.raises(LogError):
                resort("ingest", DIED)
        assert came.wait(20)
        told = receiver.got[0].json()
    assert told["title"] == "CRITICAL: nothing can be recorded"
    assert "Position" not in told["message"]
    assert "Mend it with: kalibre doctor" in told["message"]
