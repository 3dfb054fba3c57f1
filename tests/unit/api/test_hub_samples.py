"""What the hub tells Prometheus: counters that never fall, whatever the page still shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from kalibre.api._hub_fold import N_DRIFTS
from kalibre.api._hub_samples import hub_samples
from kalibre.api.app import create_app
from kalibre.core.clock import ManualClock
from kalibre.core.events import BarQuarantined, Event, new_event
from kalibre.core.hub_events import Drift
from kalibre.core.settings import Settings
from kalibre.log import open_log
from kalibre.log.protocol import EventLog

STEP_MS = 900_000
NOW_MS = 1_750_000_000_000 // STEP_MS * STEP_MS
KEY = "BTCUSDT|15m"
Counted = dict[tuple[str, ...], float]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, market={"symbols": ("BTCUSDT", "ETHUSDT")})  # type: ignore[arg-type]


@pytest.fixture
def log(settings: Settings) -> Iterator[EventLog]:
    with open_log(settings.log_url) as opened:
        yield opened


def alarm(bar: int, name: str = "online", test: str = "adwin", series: str = KEY) -> Event:
    payload = Drift(test=test, statistic=1.0, threshold=0.5, cause="unknown", action="none")  # type: ignore[arg-type]
    return new_event(f"{series}|{name}|{test}", NOW_MS + bar * STEP_MS, payload)


def refused(bar: int) -> Event:
    return new_event(KEY, NOW_MS + bar * STEP_MS, BarQuarantined(raw={"close": "-1"}, reasons=("price",)))


class Server:
    """A server's scrapes, with its view drawn before each."""

    def __init__(self, settings: Settings, log: EventLog) -> None:
        self._app = create_app(settings, log=log, clock=ManualClock(NOW_MS))

    def scrape(self, name: str) -> Counted:
        self._app.service.hub.draw_once()
        samples = [one for one in hub_samples(self._app.service) if one[0] == name]
        assert len({tuple(sorted(labels.items())) for _, labels, _ in samples}) == len(samples)
        return {tuple(labels.values()): float(value or 0) for _, labels, value in samples}


def fell(counts: Sequence[Counted]) -> bool:
    return any(
        later.get(labels, 0.0) < count for earlier, later in pairwise(counts) for labels, count in earlier.items()
    )


def test_alarms_of_drift_are_counted_beyond_what_the_page_keeps(settings: Settings, log: EventLog) -> None:
    """One forecaster fills the page's ring, then another pushes its alarms out."""
    drifts = "kalibre_hub_drift_alarms_total"
    server, seen = Server(settings, log), []
    assert server.scrape(drifts) == {}
    for start in range(0, 3 * N_DRIFTS, 20):
        name = "online" if start < N_DRIFTS else "agents"
        log.append([alarm(bar, name) for bar in range(start, start + 20)], writer="scorer")
        seen.append(server.scrape(drifts))
    assert not fell(seen)
    assert seen[-1] == {
        ("BTCUSDT", "online", "adwin"): float(N_DRIFTS),
        ("BTCUSDT", "agents", "adwin"): float(2 * N_DRIFTS),
    }
    assert Server(settings, log).scrape(drifts) == seen[-1], "after a restart as before it"
    log.append([alarm(0, test="psi"), alarm(0, series="ETHUSDT|15m"), alarm(0, series="ELSE|1h")], writer="scorer")
    assert Server(settings, log).scrape(drifts) == seen[-1] | {
        ("BTCUSDT", "online", "psi"): 1.0,
        ("ETHUSDT", "online", "adwin"): 1.0,
    }


def test_bars_kept_aside_are_counted_beyond_what_the_page_keeps(
    settings: Settings, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kalibre.api import hub_view

    monkeypatch.setitem(hub_view.BY_COUNT, "quarantine", 5)  # as many as a view reads when it begins
    quarantined = "kalibre_hub_quarantined_total"
    server = Server(settings, log)
    assert server.scrape(quarantined) == {("BTCUSDT",): 0.0, ("ETHUSDT",): 0.0}
    log.append([refused(bar) for bar in range(12)], writer="ingest")
    assert server.scrape(quarantined) == {("BTCUSDT",): 12.0, ("ETHUSDT",): 0.0}
