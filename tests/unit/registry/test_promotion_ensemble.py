"""The ensemble becomes champion through the same gates as a model, and gives the place back like one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.ensemble_led import MADE_OF, led_version, word
from tests.fakes.models import START_MS, bar_events, gates_failing, passed_gates, random_bars, small_bundle
from tests.fakes.trading import SERIES, STEP_MS

from kalibre.core.errors import ModelError, PromotionRefusedError, RegistryError
from kalibre.core.events import Promotion, Refusal
from kalibre.core.settings import Settings
from kalibre.log import open_log
from kalibre.log.protocol import EventLog
from kalibre.log.runner import Runner
from kalibre.models.bundle import ModelBundle
from kalibre.models.ensemble_version import EnsembleVersion, store_ensemble
from kalibre.registry import doctor
from kalibre.registry.champion import ChampionFollower
from kalibre.registry.promotion import (
    REQUIRED_GATES,
    differences,
    failed_gates,
    promote,
    reconcile,
    rollback,
    stack_of,
)
from kalibre.registry.standing import waiting
from kalibre.registry.store import Registry
from kalibre.trading.paper import paper_projection

CHAMPION = f"{SERIES}|champion"


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home whose MLflow database is made: making it takes seconds, copying it does not."""
    home = tmp_path_factory.mktemp("prepared")
    Registry(Settings(home=home)).versions("BTCUSDT", "15m")
    return home


@pytest.fixture(scope="session")
def bundle() -> ModelBundle:
    return small_bundle(columns=("realised_volatility_20", "log_return_1"))


@pytest.fixture
def settings(prepared: Path, tmp_path: Path, bundle: ModelBundle) -> Settings:
    home = tmp_path / "home"
    shutil.copytree(prepared, home)
    model = {"horizon_bars": 4}
    made = Settings(home=home, market={"symbols": ("BTCUSDT",), "timeframe": "15m"}, model=model)
    bundle.save(made.models_dir)
    return made


@pytest.fixture
def log(settings: Settings) -> Iterator[EventLog]:
    with open_log(settings.log_url) as opened:
        yield opened


def acting(log: EventLog) -> str | None:
    event = log.latest("promotion", key=CHAMPION)
    assert event is None or isinstance(event.payload, Promotion)
    return None if event is None else event.payload.model


def stored(settings: Settings, **changes: Any) -> EnsembleVersion:
    version = led_version(costs=settings.costs, risk=settings.risk, **changes)
    store_ensemble(settings.models_dir, version)
    return version


def go(log: EventLog, settings: Settings, model: str, **named: Any) -> Any:
    registry = named.pop("registry", None) or Registry(settings)
    named = {"forecasters": MADE_OF, **named}
    return promote(log, registry, settings, model, note="n", by="me", **named)


# --- gates ------------------------------------------------------------------------------------------------------------


def test_it_acts_once_every_gate_lets_it_and_mlflow_names_nobody(
    log: EventLog, settings: Settings, bundle: ModelBundle
) -> None:
    registry, version = Registry(settings), stored(settings)
    go(log, settings, bundle.model_id, registry=registry)
    assert registry.alias("BTCUSDT", "15m", "champion") == bundle.model_id
    done = go(log, settings, version.model_id, registry=registry)
    assert (done.series, done.alias, done.model_id, done.previous) == (
        SERIES,
        "champion",
        version.model_id,
        bundle.model_id,
    )
    assert (done.registry_problem, done.drifted) == ("", ())
    event = log.latest("promotion", key=CHAMPION)
    assert event is not None
    assert event.payload.digest == version.digest
    assert registry.alias("BTCUSDT", "15m", "champion") is None
    assert differences(log, registry, "BTCUSDT", "15m") == []
    assert [one.model_id for one in registry.versions("BTCUSDT", "15m")] == [bundle.model_id]
    head = log.head()
    assert go(log, settings, version.model_id, registry=registry).previous == version.model_id
    assert log.head() == head


def test_a_gate_that_failed_refuses_it_and_nothing_runs_in_shadow(log: EventLog, settings: Settings) -> None:
    poor = stored(settings, gates=gates_failing("ece", "dummies"))
    with pytest.raises(PromotionRefusedError) as caught:
        go(log, settings, poor.model_id)
    assert "refused by 2 gates" in str(caught.value)
    assert "shadow" not in str(caught.value)
    refusal = log.latest("refusal")
    assert refusal is not None
    assert isinstance(refusal.payload, Refusal)
    assert (refusal.key, refusal.payload.model) == (SERIES, poor.model_id)
    assert set(refusal.payload.failed) == {"ece", "dummies"}
    assert log.latest("promotion") is None


@pytest.mark.parametrize("missing", REQUIRED_GATES)
def test_a_gate_that_was_never_judged_refuses(missing: str, settings: Settings) -> None:
    version = led_version(gates=[gate for gate in passed_gates() if gate["name"] != missing])
    failed = failed_gates(version, settings, MADE_OF)
    assert failed == {missing: f"Gate {missing} was not judged: judge the ensemble again."}


def test_the_gates_of_today_judge_it(settings: Settings) -> None:
    stricter = settings.model_copy(update={"gates": settings.gates.model_copy(update={"min_sharpe": 4.5})})
    assert failed_gates(led_version(), stricter, MADE_OF) == {"sharpe": "Gate sharpe: 4.0 is not > 4.5."}


@pytest.mark.parametrize("now", [("champion",), ("champion", "online", "agents"), ()])
def test_an_ensemble_of_others_is_refused(log: EventLog, settings: Settings, now: tuple[str, ...]) -> None:
    version = stored(settings)
    with pytest.raises(PromotionRefusedError, match="was judged as made of champion, online, by the settings"):
        go(log, settings, version.model_id, forecasters=now)
    assert acting(log) is None


def test_it_is_no_challenger(log: EventLog, settings: Settings) -> None:
    version = stored(settings)
    with pytest.raises(RegistryError, match="no challenger: its forecasts are judged in the league already"):
        go(log, settings, version.model_id, alias="challenger")
    assert log.head() == 0


def test_unknown_and_damaged_versions_change_nothing(log: EventLog, settings: Settings) -> None:
    with pytest.raises(ModelError, match=r"ensemble\.json"):
        go(log, settings, "ensemble-0123456789ab")
    with pytest.raises(ModelError, match="is no id of an ensemble version"):
        go(log, settings, "ensemble-../../../etc")
    version = stored(settings)
    file = settings.models_dir / version.model_id / "ensemble.json"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(ModelError, match="damaged"):
        go(log, settings, version.model_id)
    assert log.head() == 0


def test_drifted_costs_are_told(log: EventLog, settings: Settings) -> None:
    version = stored(settings)
    dearer = settings.model_copy(update={"costs": settings.costs.model_copy(update={"fee_bps": 10.0})})
    assert go(log, dearer, version.model_id).drifted == ("costs.fee_bps: judged with 4.0, the settings say 10.0",)


# --- back and forth ---------------------------------------------------------------------------------------------------


def test_rollback_goes_both_ways(log: EventLog, settings: Settings, bundle: ModelBundle) -> None:
    registry, version = Registry(settings), stored(settings)
    for model in (version.model_id, bundle.model_id):
        go(log, settings, model, registry=registry)
    assert registry.alias("BTCUSDT", "15m", "champion") == bundle.model_id
    done = rollback(log, registry, settings, symbol="BTCUSDT", by="me")
    assert (done.model_id, done.previous, done.registry_problem) == (version.model_id, bundle.model_id, "")
    event = log.latest("promotion", key=CHAMPION)
    assert event is not None
    assert event.payload.digest == version.digest
    assert registry.alias("BTCUSDT", "15m", "champion") is None
    go(log, settings, bundle.model_id, registry=registry)
    go(log, settings, version.model_id, registry=registry)
    assert rollback(log, registry, settings, symbol="BTCUSDT", by="me").model_id == bundle.model_id
    assert registry.alias("BTCUSDT", "15m", "champion") == bundle.model_id
    assert stack_of(log, SERIES) == [None, version.model_id, bundle.model_id]


def test_rollback_to_a_version_that_is_gone_changes_nothing(
    log: EventLog, settings: Settings, bundle: ModelBundle
) -> None:
    version = stored(settings)
    for model in (version.model_id, bundle.model_id):
        go(log, settings, model)
    shutil.rmtree(settings.models_dir / version.model_id)
    head = log.head()
    with pytest.raises(RegistryError, match=r"ensemble\.json.*kalibre kill"):
        rollback(log, Registry(settings), settings, symbol="BTCUSDT", by="me")
    assert log.head() == head


def test_what_mlflow_missed_is_brought_in_line(log: EventLog, settings: Settings, bundle: ModelBundle) -> None:
    registry, version = Registry(settings), stored(settings)
    go(log, settings, bundle.model_id, registry=registry)
    down = Registry(settings.model_copy(update={"registry_url": "http://127.0.0.1:9"}))
    assert "127.0.0.1:9" in go(log, settings, version.model_id, registry=down).registry_problem
    assert acting(log) == version.model_id
    assert len(differences(log, registry, "BTCUSDT", "15m")) == 1
    assert version.model_id in reconcile(log, registry, settings, "BTCUSDT")[0]
    assert differences(log, registry, "BTCUSDT", "15m") == []
    assert registry.alias("BTCUSDT", "15m", "champion") is None


def test_the_follower_holds_it_as_it_was_judged(log: EventLog, settings: Settings) -> None:
    version = stored(settings)
    go(log, settings, version.model_id)
    follower = ChampionFollower(log, settings.models_dir, prepare=lambda held: held)
    follower.poll()
    assert follower.current[SERIES, "champion"].prepared == version
    shutil.rmtree(settings.models_dir / version.model_id)
    again = ChampionFollower(log, settings.models_dir, prepare=lambda held: held)
    again.poll()
    holder = again.current[SERIES, "champion"]
    assert holder.prepared is None
    assert "kalibre hub judge" in holder.problem


# --- the doctor -------------------------------------------------------------------------------------------------------


def about(part: str, log: EventLog, settings: Settings) -> list[doctor.Finding]:
    return [found for found in doctor._models(log, settings, "BTCUSDT") if found.part == part]


def test_the_doctor_knows_an_ensemble_that_is_in_order(log: EventLog, settings: Settings) -> None:
    version = stored(settings)
    go(log, settings, version.model_id)
    (found,) = about("champion BTCUSDT", log, settings)
    assert (found.level, found.found) == ("ok", f"{version.model_id}, every byte as recorded")
    assert about("ensemble BTCUSDT", log, settings) == []
    dearer = settings.model_copy(update={"costs": settings.costs.model_copy(update={"fee_bps": 10.0})})
    (found,) = about("champion BTCUSDT", log, dearer)
    assert found.mend == "set KALIBRE_COSTS__FEE_BPS=4.0, or judge one anew: kalibre hub judge --symbol BTCUSDT"


def test_the_doctor_says_that_paper_waits_for_an_ensemble_that_does_not_speak(
    log: EventLog, settings: Settings, bundle: ModelBundle
) -> None:
    """`kalibre paper --follow` without a hub."""
    go(log, settings, bundle.model_id)
    go(log, settings, stored(settings).model_id)
    log.append(bar_events(random_bars(5)), writer="ingest")
    runner = Runner(log, paper_projection(settings), snapshots_dir=None)
    runner.recover()
    runner.catch_up()
    (row,) = waiting(log, settings)
    assert (row["series"], row["bars"]) == (SERIES, 5)
    (found,) = about("ensemble BTCUSDT", log, settings)
    assert found.level == "degraded"
    assert "it has not spoken of 5 bars" in found.found
    assert "kalibre hub up" in found.mend
    # A rollback takes its turn: they wait all the same.
    rollback(log, Registry(settings), settings, symbol="BTCUSDT", by="me")
    runner.catch_up()
    assert [row["bars"] for row in waiting(log, settings)] == [5]
    log.append([word(START_MS + n * STEP_MS, 0.6) for n in (1, 2, 3, 4, 5)], writer="ensemble")
    runner.catch_up()
    assert waiting(log, settings) == []
    assert len(log.read(kinds={"signal"}, key=CHAMPION)) == 5


def test_the_doctor_says_that_it_foresees_something_else_now(log: EventLog, settings: Settings) -> None:
    go(log, settings, stored(settings).model_id)
    other = settings.model_copy(update={"model": settings.model.model_copy(update={"horizon_bars": 8})})
    (found,) = about("ensemble BTCUSDT", log, other)
    assert (found.level, "judged over 4 bars" in found.found) == ("degraded", True)


def test_a_damaged_version_is_broken(log: EventLog, settings: Settings) -> None:
    version = stored(settings)
    go(log, settings, version.model_id)
    (settings.models_dir / version.model_id / "ensemble.json").write_text("{}")
    (found,) = about("champion BTCUSDT", log, settings)
    assert (found.level, found.mend) == ("broken", "kalibre rollback")
