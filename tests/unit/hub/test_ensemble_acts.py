"""A hub whose champion is the ensemble: it trades by the ensemble's word, at any pace of its projections."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.fakes.ensemble_led import led_version, simulated, told
from tests.fakes.models import START_MS, bar_events, random_bars
from tests.fakes.trading import SERIES, STEP_MS, newest

from kalibre.core.clock import ManualClock
from kalibre.core.events import Event
from kalibre.core.settings import Settings
from kalibre.hub.ensemble import forecasters_of
from kalibre.hub.findings import hub_findings
from kalibre.hub.worker import projections
from kalibre.log import open_log
from kalibre.log.runner import Runner, refold
from kalibre.models.ensemble_version import EnsembleVersion, store_ensemble
from kalibre.registry.promotion import promote
from kalibre.registry.store import Registry

N_BARS, PROMOTED = 760, 560
BARS = random_bars(N_BARS, seed=9)
NAMES = ("agents", "paper", "ensemble", "scorer")
KINDS = {"forecast", "outcome", "ensemble", "signal", "order", "order_cancelled", "fill", "account", "benched"}


def settings_of(home: Path, **changes: Any) -> Settings:
    options: dict[str, Any] = {
        "market": {"symbols": ("BTCUSDT",), "timeframe": "15m"},
        "features": {"higher_timeframes": ()},
        "model": {"horizon_bars": 4},
        "hub": {"learners": ("agents",)},
        "log": {"batch_size": 64},
    }
    return Settings(home=home, **{**options, **changes})


def version_of(settings: Settings) -> EnsembleVersion:
    return led_version(forecasters=forecasters_of(settings), entry_threshold=0.5, exit_threshold=0.495)


def run_hub(home: Path, seed: int) -> list[Event]:
    """Let the hub's projections read a market and a promotion on the way, each at a pace of its own."""
    rng, settings = np.random.default_rng(seed), settings_of(home)
    version, makers = version_of(settings), projections(settings)
    store_ensemble(settings.models_dir, version)
    with open_log(settings.log_url) as log:
        runners = {}
        for name in NAMES:
            size = int(rng.choice([1, 16, 200])) if seed else 64
            runners[name] = Runner(log, makers[name](), snapshots_dir=settings.snapshots_dir, batch_size=size)
            runners[name].recover()

        def read(until_quiet: bool) -> None:
            while True:
                order = list(rng.permutation(NAMES)) if seed else list(NAMES)
                moved = [runners[str(name)].step() for name in order for _ in range(int(rng.integers(1, 4)))]
                if not until_quiet or not any(moved):
                    return

        events = bar_events(BARS)
        for number, event in enumerate(events):
            if number == PROMOTED:
                # The market goes on while the hub reads: it is at some bar when the ensemble takes over.
                clock = ManualClock(START_MS + PROMOTED * STEP_MS)
                promote(
                    log,
                    Registry(settings),
                    settings,
                    version.model_id,
                    note="a test",
                    by="me",
                    forecasters=forecasters_of(settings),
                    clock=clock,
                )
            log.append([event], writer="ingest")
            if number % (40 if seed else 1) == 0:
                read(until_quiet=not seed)
        read(until_quiet=True)
        for name in NAMES:
            assert refold(log, makers[name]()).equal, name
        assert not [found for found in hub_findings(settings) if found.part.startswith("ensemble")]
        return log.read(kinds=KINDS)


@cache
def in_step(home: Path) -> tuple[Event, ...]:
    return tuple(run_hub(home / "in step", 0))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hub")


def test_the_hub_trades_by_the_word_of_the_ensemble(home: Path) -> None:
    said = list(in_step(home))
    version = version_of(settings_of(home))
    spoken = {event.event_time: event.payload for event in said if event.kind == "ensemble"}
    assert list(spoken) == BARS.close_time.tolist(), "it waits for nobody who waits for it"
    signals: list[Any] = [event for event in newest(said, "signal") if event.payload.model == version.model_id]
    assert [event.event_time for event in signals] == BARS.close_time[PROMOTED:].tolist()
    assert [event.payload.p_up for event in signals] == [spoken[event.event_time].p_up for event in signals]
    p_up = np.array([spoken[close].p_up for close in BARS.close_time.tolist()], dtype=float)
    p_up[:PROMOTED] = np.nan
    run = simulated(version, BARS, p_up)
    assert len(run.fills) >= 3
    fills: list[Any] = newest(said, "fill")
    assert [event.event_time for event in fills] == BARS.open_time[run.fills.row].tolist()
    assert [event.payload.price for event in fills] == run.fills.price.tolist()
    accounts: list[Any] = newest(said, "account")
    assert [event.payload.equity for event in accounts] == run.equity[PROMOTED:].tolist()


@pytest.mark.parametrize("seed", [1, 2])
def test_no_pace_of_the_hub_shows(home: Path, seed: int) -> None:
    assert sorted(told(run_hub(home / str(seed), seed))) == sorted(told(in_step(home)))


def test_the_doctor_names_an_ensemble_of_others(home: Path) -> None:
    in_step(home)
    other = settings_of(home / "in step", hub={"learners": ("agents", "online")})
    (found,) = [found for found in hub_findings(other) if found.part == "ensemble BTCUSDT"]
    assert found.level == "degraded"
    assert "agents, champion, by the settings it is made of agents, champion, online" in found.found
    assert SERIES == "BTCUSDT|15m"
