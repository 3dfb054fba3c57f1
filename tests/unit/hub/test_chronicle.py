"""The chronicle: what becomes of workers is in the log once, and nobody is waited for who cannot speak."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.command_line import understood
from tests.fakes.hub_streams import STEP_MS, Market, ensemble_of

from kalibre.core.clock import ManualClock
from kalibre.core.events import BarClosed, Event, new_event
from kalibre.core.hub_events import Alert, Bench, EnsembleForecast, WorkerState
from kalibre.core.settings import Settings
from kalibre.hub.chronicle import Chronicle
from kalibre.log import open_log
from kalibre.log.protocol import EventLog
from kalibre.log.runner import Runner

NOW = 1_800_000_000_000


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    market = {"symbols": ["X"], "timeframe": "15m"}
    return Settings(home=tmp_path, market=market, hub={"learners": ["agents"]})  # type: ignore[arg-type]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as opened:
        yield opened


def chronicle(log: EventLog, settings: Settings, clock: ManualClock | None = None) -> Chronicle:
    members = {"learners": ("agents",), "judges": ("paper", "ensemble", "scorer")}
    return Chronicle(settings, lambda name: members.get(name, ()), lambda: log, clock=clock or ManualClock(NOW))


def state(state: Any, reason: str = "", restarts: int = 0) -> WorkerState:
    return WorkerState(state=state, pid=1, restarts=restarts, reason=reason)


def said(log: EventLog, kind: str) -> list[Event]:
    return log.read(kinds={kind})


def benches(log: EventLog) -> list[tuple[str, int, bool]]:
    found: list[Any] = said(log, "bench")
    return [(event.key, event.event_time, event.payload.benched) for event in found]


def write(log: EventLog, market: Market, name: str, bars: range) -> None:
    """Record what a forecaster says of these bars, and the bars."""
    log.append(market.stream(name, market.knowing(), bars=bars), writer=name)


def bars_of(log: EventLog, market: Market, bars: range) -> None:
    for bar in bars:
        at_ms = market.closes(bar) - STEP_MS
        payload = BarClosed(open_time=at_ms, open=1.0, high=1.0, low=1.0, close=1.0, volume=1.0)
        log.append([new_event("X|15m", at_ms, payload)], writer="ingest")


def test_every_transition_is_an_event_of_its_own(log: EventLog, settings: Settings) -> None:
    told = chronicle(log, settings)
    for one in ("starting", "online", "restarting", "starting", "online", "stopped"):
        told("ingest", state(one))
    found: list[Any] = said(log, "worker")
    assert [event.payload.state for event in found] == [
        *("starting", "online", "restarting", "starting", "online", "stopped")
    ]
    assert [event.event_time for event in found] == [NOW + k for k in range(6)]
    assert {event.revision for event in found} == {0}
    assert {event.writer for event in found} == {"supervisor"}


def test_a_trouble_is_told_with_its_cause_and_its_end_once(log: EventLog, settings: Settings) -> None:
    told = chronicle(log, settings)
    told("ingest", state("online"))
    assert said(log, "alert") == []
    told("ingest", state("restarting", "killed by signal 9"))
    told("ingest", state("online", restarts=1))
    told("ingest", state("online"))
    told("ingest", state("error", "it ended 5 times within 60 s"))
    told("ingest", state("online", restarts=6))
    alerts: list[Alert] = [event.payload for event in said(log, "alert")]  # type: ignore[misc]
    assert [(one.level, one.recovered) for one in alerts] == [
        *(("warning", False), ("info", True), ("critical", False), ("info", True))
    ]
    assert {event.key for event in said(log, "alert")} == {"worker|ingest"}
    assert alerts[0].cause == "killed by signal 9"
    assert understood(alerts[2].mend) == "hub restart"
    assert benches(log) == []  # a service foresees nothing


def test_the_next_supervisor_tells_the_end_of_a_trouble_too(log: EventLog, settings: Settings) -> None:
    chronicle(log, settings)("ingest", state("error", "port taken"))
    chronicle(log, settings, ManualClock(NOW + 60_000))("ingest", state("online"))
    assert [event.payload.recovered for event in said(log, "alert")] == [False, True]  # type: ignore[attr-defined]


def test_nobody_waits_for_a_worker_in_error_from_its_last_word_on(log: EventLog, settings: Settings) -> None:
    market = Market(20)
    write(log, market, "agents", range(8))
    bars_of(log, market, range(12))
    told = chronicle(log, settings)
    told("learners", state("restarting", "oops"))
    assert benches(log) == []
    told("learners", state("error", "oops"))
    assert benches(log) == [("agents", market.closes(7) + 1, True)]
    silent = EnsembleForecast(horizon_bars=4, score=None, p_up=None, weights={}, abstained="nobody says anything")
    log.append([new_event("X|15m|ensemble", market.closes(bar), silent) for bar in range(10)], writer="ensemble")
    told("learners", state("online"))
    assert benches(log)[1] == ("agents", market.closes(9) + 1, False), (
        "waited for where the ensemble is, not the market"
    )
    told("learners", state("online"))
    assert len(benches(log)) == 2


def test_the_champion_is_missed_where_the_paper_engine_does_not_run(log: EventLog, settings: Settings) -> None:
    write(log, Market(5), "champion", range(5))
    chronicle(log, settings)("judges", state("error", "oops"))
    assert benches(log) == [("champion", Market(5).closes(4) + 1, True)]


def test_who_never_spoke_is_released_from_the_first_bar_on(log: EventLog, settings: Settings) -> None:
    chronicle(log, settings)("learners", state("error", "oops"))
    assert benches(log) == [("agents", 0, True)]


def test_who_spoke_of_one_series_only_is_released_everywhere(log: EventLog, settings: Settings) -> None:
    """Else the series of which it never spoke would wait for it for ever."""
    both = settings.model_copy(update={"market": settings.market.model_copy(update={"symbols": ("X", "Y")})})
    write(log, Market(9), "agents", range(9))
    chronicle(log, both)("learners", state("error", "oops"))
    assert benches(log) == [("agents", 0, True)]


def test_an_annotator_is_released_as_well(log: EventLog, settings: Settings) -> None:
    annotator = settings.model_copy(update={"hub": settings.hub.model_copy(update={"learners": ("explain",)})})
    told = Chronicle(annotator, lambda name: (name,), lambda: log, clock=ManualClock(NOW))
    told("explain", state("error", "oops"))
    assert benches(log) == [("explain", 0, True)]


@pytest.mark.parametrize("reasons", [("oops", "oops", "oops"), ("oops", "again", "and again")])
def test_who_fails_again_before_a_word_is_released_again(
    log: EventLog, settings: Settings, tmp_path: Path, reasons: tuple[str, ...]
) -> None:
    """It is back, and dies before it has said anything: the ensemble must not wait for it from then on."""
    market = Market(40)
    names = ["agents", "other"]
    runner = Runner(log, ensemble_of(names), snapshots_dir=None)
    told = chronicle(log, settings)
    write(log, market, "agents", range(8))
    for k, reason in enumerate(reasons):
        bars = range(10 * k, 10 * (k + 1))
        bars_of(log, market, bars)
        write(log, market, "other", bars)
        told("learners", state("error", reason))
        runner.catch_up()
        assert len(said(log, "ensemble")) == bars.stop
        told("learners", state("online"))
        runner.catch_up()
    last = said(log, "ensemble")[-1].payload
    assert isinstance(last, EnsembleForecast)
    assert set(last.silent) == {"agents"}
    bars_of(log, market, range(30, 40))
    write(log, market, "other", range(30, 40))
    runner.catch_up()
    assert len(said(log, "ensemble")) == 30  # it is waited for again
    write(log, market, "agents", range(8, 40))
    runner.catch_up()
    assert len(said(log, "ensemble")) == 40
    assert [isinstance(event.payload, Bench) for event in said(log, "bench")] == [True] * 6


def test_a_log_that_cannot_be_opened_is_told_to_the_supervisor(settings: Settings) -> None:
    def refuse() -> EventLog:
        raise OSError("no disk")

    told = Chronicle(settings, lambda name: (), refuse)
    with pytest.raises(OSError, match="no disk"):
        told("ingest", state("online"))
    told.close()
