"""Who waits for whom: read off the log as the projections themselves know it, and told with what mends it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.fakes.hub_streams import HORIZON, SERIES, SYMBOL, TIMEFRAME, Market, bench, close_of

from kalibre.cli.app import build
from kalibre.core.clock import ManualClock
from kalibre.core.hub_events import Alert
from kalibre.core.settings import Settings
from kalibre.hub import waits as hub_waits
from kalibre.hub.ensemble import EnsembleProjection, ensemble_projection
from kalibre.hub.findings import hub_findings
from kalibre.hub.scorer import ScorerProjection, scorer_projection
from kalibre.hub.waits import LATE_MS, Wait, WaitsWatch, waits
from kalibre.hub.worker_process import Heart
from kalibre.log import open_log
from kalibre.log.protocol import EventLog
from kalibre.log.runner import Runner

NAMES = ("agents", "online", "champion")
NOW_MS = 1_800_000_000_000


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    market = {"symbols": (SYMBOL,), "timeframe": TIMEFRAME}
    model = {"horizon_bars": HORIZON}
    hub = {"learners": ("agents", "online"), "grouping": "apart"}
    return Settings(home=tmp_path, market=market, model=model, hub=hub)  # type: ignore[arg-type]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_MS)


@pytest.fixture
def log(settings: Settings, clock: ManualClock) -> Iterator[EventLog]:
    with open_log(settings.log_url, clock=clock) as opened:
        yield opened


class Hub:
    """Forecasters that each have spoken up to a bar, and the two who wait for them."""

    def __init__(self, log: EventLog, settings: Settings) -> None:
        self.log, self.settings = log, settings
        self.market = Market(400)
        self._streams = {name: self.market.stream(name, self.market.knowing()) for name in NAMES}
        self._said = dict.fromkeys(NAMES, 0)
        ensemble, scorer = ensemble_projection(settings), scorer_projection(settings)
        assert isinstance(ensemble, EnsembleProjection)
        assert isinstance(scorer, ScorerProjection)
        self.ensemble, self.scorer = ensemble, scorer
        self.released: set[str] = set()
        self.readers = {one.name: Runner(log, one, snapshots_dir=None) for one in (ensemble, scorer)}
        self._hearts = {name: Heart(name, settings.home / "run") for name in ("api", "agents", "online", "paper")}
        self._hearts |= {name: Heart(name, settings.home / "run") for name in self.readers}
        self.live()

    def say(self, name: str, bars: int) -> None:
        """Let a forecaster speak up to a bar."""
        stream = self._streams[name]
        last = next(
            (k for k, one in enumerate(stream) if one.kind == "forecast" and one.event_time > close_of(bars - 1))
        )
        self.log.append(stream[self._said[name] : last], writer=name)
        self._said[name] = max(last, self._said[name])

    def live(self, *names: str) -> None:
        """Let readers read on until nobody has anything to read; by default both."""
        while sum(self.readers[name].catch_up() for name in names or self.readers):
            pass

    def stop(self, *names: str) -> None:
        for name in names:
            self._hearts.pop(name).close()

    def release(self, name: str) -> None:
        """Have nobody wait for a forecaster from its last word on, as the supervisor does."""
        newest = self.log.latest("forecast", key=f"{SERIES}|{name}", by="event_time")
        if name not in self.released:
            self.log.append([bench(name, 0 if newest is None else newest.event_time + 1)], writer="supervisor")
            self.released.add(name)

    def await_again(self, name: str) -> None:
        """Have a forecaster waited for from the ensemble's newest bar on, as the supervisor does."""
        known = (self.log.latest("ensemble", by="event_time"), self.log.latest("bench", key=name, by="event_time"))
        from_ms = max(one.event_time for one in known if one is not None) + 1
        self.log.append([bench(name, from_ms, benched=False)], writer="supervisor")
        self.released.discard(name)

    def waits(self) -> dict[str, Wait]:
        return {one.reader: one for one in waits(self.log, self.settings)}


@pytest.fixture
def hub(log: EventLog, settings: Settings) -> Iterator[Hub]:
    made = Hub(log, settings)
    yield made
    made.stop(*made._hearts)


def test_where_everybody_speaks_nobody_waits(hub: Hub) -> None:
    assert hub.waits() == {}
    for name in NAMES:
        hub.say(name, 300)
    hub.live()
    assert hub.waits() == {}


def test_a_forecaster_that_was_stopped_is_named_with_the_bar_and_the_command(hub: Hub) -> None:
    for name in NAMES:
        hub.say(name, 100)
    hub.live()
    hub.stop("online")
    for name in ("agents", "champion"):
        hub.say(name, 130)
    hub.live()
    found = hub.waits()
    assert set(found) == {"ensemble", "scorer"}
    assert (found["ensemble"].of, found["ensemble"].since_ms) == (("online",), close_of(100))
    assert found["ensemble"].mend == "kalibre hub start online"
    assert "worker online was stopped" in found["ensemble"].text
    # The scorer waits for the ensemble too, which is no trouble of its own: its worker runs.
    assert found["scorer"].of == ("online", "ensemble")
    assert found["scorer"].mend == "kalibre hub start online"
    hub.log.append([bench("online", close_of(100))], writer="supervisor")
    hub.live()
    assert hub.waits() == {}, "released by a recorded bench"


def test_one_that_catches_up_needs_no_command(hub: Hub) -> None:
    for name, bars in zip(NAMES, (100, 20, 100), strict=True):
        hub.say(name, bars)
    hub.live()
    found = hub.waits()["ensemble"]
    assert (found.of, found.since_ms, found.mend) == (("online",), close_of(20), "")
    assert "has to catch up" in found.text


def test_the_champion_is_said_by_the_paper_engine(hub: Hub) -> None:
    for name, bars in zip(NAMES, (100, 100, 60), strict=True):
        hub.say(name, bars)
    hub.live()
    hub.stop("paper")
    found = hub.waits()["ensemble"]
    assert (found.of, found.mend) == (("champion",), "kalibre hub start paper")


def test_without_the_scorer_the_ensemble_stops_and_it_is_said_why(hub: Hub) -> None:
    for name in NAMES:
        hub.say(name, 50)
    hub.live()
    hub.stop("scorer")
    for name in NAMES:
        hub.say(name, 390)
    hub.live("ensemble")
    newest = hub.log.latest("ensemble", by="event_time")
    assert newest is not None
    assert newest.event_time < close_of(300), "it has come to a stand"
    found = hub.waits()
    assert list(found) == ["ensemble"], "the scorer is down, and waits for nobody"
    assert (found["ensemble"].of, found["ensemble"].mend) == (("scorer",), "kalibre hub start scorer")
    assert found["ensemble"].since_ms == newest.event_time + 900_000
    hub.live()
    assert hub.waits() == {}


def test_without_the_ensemble_the_scorer_stops_and_it_is_said_why(hub: Hub) -> None:
    for name in NAMES:
        hub.say(name, 50)
    hub.live()
    hub.stop("ensemble")
    for name in NAMES:
        hub.say(name, 390)
    hub.live("scorer")
    found = hub.waits()
    assert list(found) == ["scorer"]
    assert (found["scorer"].of, found["scorer"].since_ms) == (("ensemble",), close_of(50))
    assert found["scorer"].mend == "kalibre hub start ensemble"


def test_a_worker_that_fell_silent_or_never_began_has_another_command(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    for name, bars in zip(NAMES, (100, 60, 60), strict=True):
        hub.say(name, bars)
    hub.live()
    (settings.home / "run" / "paper.beat").unlink()
    beats = hub_waits._beats
    monkeypatch.setattr(hub_waits, "_beats", lambda seen: seen.name != "online" and beats(seen))
    found = hub.waits()["ensemble"]
    assert found.of == ("champion", "online") or found.of == ("online", "champion")
    assert set(found.mend.split("; ")) == {"kalibre hub restart online", "kalibre hub worker paper"}


def test_where_no_hub_runs_nothing_is_said(hub: Hub) -> None:
    hub.say("agents", 30)
    hub.live()
    assert set(hub.waits()) == {"ensemble", "scorer"}
    hub.stop(*hub._hearts)
    assert hub.waits() == {}


@pytest.mark.parametrize("seed", range(12))
def test_it_is_what_ensemble_and_scorer_know_themselves(hub: Hub, seed: int) -> None:
    """Forecasters at any pace, released and awaited again anywhere, and a scorer that may have stopped on the way."""
    rng = random.Random(seed)
    for step in range(4):
        for name in NAMES:
            hub.say(name, rng.randrange(1 + 60 * step, 95 * (step + 1)))
            if rng.random() < 0.4:
                hub.release(name)
        hub.live(*(["ensemble"] if rng.random() < 0.3 else []))
        for name in sorted(hub.released):
            if rng.random() < 0.3:
                hub.await_again(name)
                hub.live("ensemble")
        found = hub.waits()
        behind = {
            name: len(hub.log.read(after=one.position, kinds=hub_reads(hub, name))) for name, one in hub.readers.items()
        }
        assert behind["ensemble"] == 0
        series: Any = hub.ensemble._series[SERIES]
        missing = series.join.missing()
        if missing:
            assert (set(found["ensemble"].of), found["ensemble"].since_ms) == (set(missing), min(missing.values()))
        elif series.join.first_waiting() is not None:
            assert (found["ensemble"].of, found["ensemble"].since_ms) == (
                *(("scorer",), series.join.first_waiting().close_ms),
            )
        else:
            assert "ensemble" not in found
        if behind["scorer"] == 0:
            missing = hub.scorer._series[SERIES].join.missing()
            assert set(found["scorer"].of if "scorer" in found else ()) == set(missing)
            if missing:
                assert found["scorer"].since_ms == min(missing.values())


def hub_reads(hub: Hub, name: str) -> frozenset[str]:
    return hub.ensemble.reads if name == "ensemble" else hub.scorer.reads


@pytest.mark.parametrize("stopped", [True, False])
def test_status_says_it_with_its_exit_code(hub: Hub, stopped: bool, capsys: pytest.CaptureFixture[str]) -> None:
    for name, bars in zip(NAMES, (100, 60, 100), strict=True):
        hub.say(name, bars)
    hub.live()
    if stopped:
        hub.stop("online")
    config = hub.settings.home / "kalibre.toml"
    lines = [f'home = "{hub.settings.home}"', "[market]", f'symbols = ["{SYMBOL}"]', f'timeframe = "{TIMEFRAME}"']
    lines += ["[hub]", 'learners = ["agents", "online"]', 'grouping = "apart"', "[model]", f"horizon_bars = {HORIZON}"]
    config.write_text("\n".join(lines), encoding="utf-8")

    def status(*words: str) -> tuple[int, str]:
        command = ["hub", "status", "--config", str(config), *words]
        return typer.main.get_command(build()).main(command, standalone_mode=False) or 0, capsys.readouterr().out

    code, told = status("--json")
    found = {one["reader"]: one for one in json.loads(told)["waits"]}
    assert (code, found["ensemble"]["of"], found["ensemble"]["since_ms"]) == (3 * stopped, ["online"], close_of(60))
    assert found["ensemble"]["mend"] == ("kalibre hub start online" if stopped else "")
    code, told = status()
    assert code == 3 * stopped
    assert f"ensemble of {SERIES}: it waits for online since the bar of" in " ".join(told.split())
    assert ("(kalibre hub start online)" in " ".join(told.split())) == stopped


# --- who is told ------------------------------------------------------------------------------------------------------


def alerts(log: EventLog) -> list[tuple[str, str, bool, str]]:
    told = [(event.key, event.payload) for event in log.read(kinds={"alert"})]
    return [(key, one.title, one.recovered, one.mend) for key, one in told if isinstance(one, Alert)]


def test_a_wait_that_does_not_end_by_itself_is_told_once_and_so_is_its_end(hub: Hub, clock: ManualClock) -> None:
    watch = WaitsWatch(hub.log, hub.settings, clock=clock)
    watch.look()
    for name in NAMES:
        hub.say(name, 50)
    hub.live()
    hub.stop("scorer")
    for name in NAMES:
        hub.say(name, 390)
    hub.live("ensemble")
    watch.look()
    assert alerts(hub.log) == [], "it may be over in a moment"
    clock.set(NOW_MS + LATE_MS)
    for _ in range(3):
        watch.look()
    key, mend = f"waits|ensemble|{SERIES}", "kalibre hub start scorer"
    assert alerts(hub.log) == [(key, f"{SERIES}: the ensemble waits for scorer", False, mend)]
    WaitsWatch(hub.log, hub.settings, clock=clock).look()
    assert len(alerts(hub.log)) == 1, "another process knows from the log that it was told"
    found = {one.part: one for one in hub_findings(hub.settings)}[f"ensemble of {SERIES}"]
    assert (found.level, found.mend) == ("degraded", mend)
    hub.live()
    watch.look()
    watch.look()
    assert alerts(hub.log)[1:] == [(key, f"{SERIES}: the ensemble waits no longer", True, "")]


def test_who_only_has_to_catch_up_alarms_nobody(hub: Hub, clock: ManualClock) -> None:
    for name, bars in zip(NAMES, (100, 20, 100), strict=True):
        hub.say(name, bars)
    hub.live()
    clock.set(NOW_MS + 100 * LATE_MS)
    WaitsWatch(hub.log, hub.settings, clock=clock).look()
    assert alerts(hub.log) == []
    found = {one.part: one for one in hub_findings(hub.settings)}[f"ensemble of {SERIES}"]
    assert (found.level, found.mend) == ("ok", "")
