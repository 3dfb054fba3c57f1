"""Promotion and rollback: gates that refuse, the order of effects, and what an interruption leaves behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tests.fakes.models import gates_failing, passed_gates, small_bundle

from kalibre.core.clock import ManualClock
from kalibre.core.errors import ModelError, PromotionRefusedError, RegistryError
from kalibre.core.events import Promotion, Refusal, new_event
from kalibre.core.settings import Settings
from kalibre.evaluation.gates import GateFigures, GateWindow, judge
from kalibre.log import open_log
from kalibre.log.protocol import EventLog
from kalibre.models.bundle import ModelBundle
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
from kalibre.registry.standing import drifted, undrifted
from kalibre.registry.store import Registry

COLUMNS = ("realised_volatility_20", "log_return_1")
CHAMPION = "BTCUSDT|15m|champion"


@pytest.fixture(scope="session")
def bundles() -> list[ModelBundle]:
    return [small_bundle(seed=seed, columns=COLUMNS, created_at_ms=1_000_000 * seed) for seed in (1, 2, 3)]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home whose MLflow database is made: making it takes seconds, copying it does not."""
    home = tmp_path_factory.mktemp("prepared")
    Registry(Settings(home=home)).versions("BTCUSDT", "15m")
    return home


@pytest.fixture
def settings(prepared: Path, tmp_path: Path, bundles: list[ModelBundle]) -> Settings:
    home = tmp_path / "home"
    shutil.copytree(prepared, home)
    made = Settings(home=home)
    for bundle in bundles:
        bundle.save(made.models_dir)
    return made


@pytest.fixture
def log(settings: Settings) -> Iterator[EventLog]:
    with open_log(settings.log_url) as opened:
        yield opened


def acting(log: EventLog, key: str = CHAMPION) -> str | None:
    event = log.latest("promotion", key=key)
    assert event is None or isinstance(event.payload, Promotion)
    return None if event is None else event.payload.model  # type: ignore[union-attr]


def go(log: EventLog, settings: Settings, bundle: ModelBundle, **named: Any) -> Any:
    registry = named.pop("registry", None) or Registry(settings)
    return promote(log, registry, settings, bundle.model_id, note="n", by="me", **named)


def test_a_model_that_passed_acts_and_mlflow_follows(log: EventLog, settings: Settings, bundles: list[Any]) -> None:
    registry = Registry(settings)
    done = go(log, settings, bundles[0], registry=registry, clock=ManualClock(5))
    assert (done.model_id, done.previous, done.registry_problem) == (bundles[0].model_id, None, "")
    assert acting(log) == bundles[0].model_id
    assert registry.alias("BTCUSDT", "15m", "champion") == bundles[0].model_id
    head = log.head()
    assert go(log, settings, bundles[0], registry=registry).previous == bundles[0].model_id
    assert log.head() == head
    assert differences(log, registry, "BTCUSDT", "15m") == []


def test_a_refusal_names_every_failed_gate_and_the_model_runs_in_shadow(
    log: EventLog, settings: Settings, bundles: list[Any]
) -> None:
    go(log, settings, bundles[0])
    poor = small_bundle(
        seed=4,
        columns=COLUMNS,
        gates=[{**gate, "figure": None} if gate["name"] == "auc" else gate for gate in gates_failing("ece", "auc")],
        created_at_ms=7_000_000,
    )
    poor.save(settings.models_dir)
    with pytest.raises(PromotionRefusedError) as caught:
        go(log, settings, poor)
    message = str(caught.value)
    assert "refused by 2 gates" in message
    assert "ECE out of sample (walk-forward) is 0.200, but has to be at most 0.05." in message
    assert "Lower bound of the AUC" in message
    assert "shadow" in message
    refusal = log.latest("refusal")
    assert refusal is not None
    assert isinstance(refusal.payload, Refusal)
    assert set(refusal.payload.failed) == {"ece", "auc"}
    assert acting(log) == bundles[0].model_id
    assert acting(log, "BTCUSDT|15m|challenger") == poor.model_id
    assert Registry(settings).alias("BTCUSDT", "15m", "challenger") == poor.model_id


@pytest.mark.parametrize("missing", REQUIRED_GATES)
def test_a_gate_that_was_never_judged_refuses(missing: str, settings: Settings) -> None:
    bundle = small_bundle(columns=COLUMNS, gates=[gate for gate in passed_gates() if gate["name"] != missing])
    assert set(failed_gates(bundle, settings)) == {missing}


def test_no_gates_at_all_refuse_and_so_do_the_gates_of_today(settings: Settings) -> None:
    assert set(failed_gates(small_bundle(columns=COLUMNS, gates=[]), settings)) == set(REQUIRED_GATES)
    bundle = small_bundle(columns=COLUMNS)
    assert failed_gates(bundle, settings) == {}
    stricter = settings.model_copy(update={"gates": settings.gates.model_copy(update={"min_sharpe": 4.5})})
    assert failed_gates(bundle, stricter) == {"sharpe": "Gate sharpe: 4.0 is not > 4.5."}
    looser = settings.model_copy(update={"gates": settings.gates.model_copy(update={"max_ece": 0.3})})
    assert failed_gates(small_bundle(columns=COLUMNS, gates=gates_failing("ece")), looser) == {}
    turkish = settings.model_copy(update={"lang": "tr"})
    said = failed_gates(small_bundle(columns=COLUMNS, gates=gates_failing("ece")), turkish)["ece"]
    assert "olması gereken" in said


def test_features_that_changed_since_the_study_refuse(settings: Settings) -> None:
    from dataclasses import replace

    bundle = replace(small_bundle(columns=COLUMNS), feature_fingerprint="0" * 64)
    assert set(failed_gates(bundle, settings)) == {"features"}


def test_what_a_study_lets_pass_a_promotion_lets_pass(settings: Settings) -> None:
    # In a short final window chance alone explains an ECE of .08: the study says so, and promotion must not disagree.
    good = GateWindow(0.01, 0.62, 0.60, 0.02, 0.01, 4.0, 0.05)
    short = GateWindow(0.08, 0.62, 0.60, 0.02, 0.01, 4.0, 0.05, ece_chance=0.09)
    verdicts = judge(GateFigures(good, short, dsr=0.99, n_trials=1, n_trades=300, dirty_columns=0), settings.gates)
    assert all(verdict.passed for verdict in verdicts)
    bundle = small_bundle(columns=COLUMNS, gates=[verdict.as_dict() for verdict in verdicts])
    assert failed_gates(bundle, settings) == {}
    stricter = settings.model_copy(update={"gates": settings.gates.model_copy(update={"max_ece": 0.03})})
    assert set(failed_gates(bundle, stricter)) == {"final_ece"}


def test_drifted_costs_and_limits_are_told_and_recorded(log: EventLog, settings: Settings, bundles: list[Any]) -> None:
    assert go(log, settings, bundles[0]).drifted == ()
    costs = settings.costs.model_copy(update={"fee_bps": 10.0})
    risk = settings.risk.model_copy(update={"max_exposure": 0.5})
    dearer = settings.model_copy(update={"costs": costs, "risk": risk})
    told = (
        "costs.fee_bps: judged with 4.0, the settings say 10.0",
        "risk.max_exposure: judged with 1.0, the settings say 0.5",
    )
    assert tuple(drifted(bundles[1], dearer)) == told
    assert undrifted(bundles[1], dearer) == "KALIBRE_COSTS__FEE_BPS=4.0 KALIBRE_RISK__MAX_EXPOSURE=1.0"
    assert go(log, dearer, bundles[1]).drifted == told
    event = log.latest("promotion", key=CHAMPION)
    assert event is not None
    assert event.payload.note == f"n; drifted: {', '.join(told)}"  # type: ignore[attr-defined]


def test_loosened_gates_are_recorded(log: EventLog, settings: Settings, bundles: list[Any]) -> None:
    loose = settings.model_copy(update={"gates": settings.gates.model_copy(update={"max_ece": 0.2, "min_dsr": 0.99})})
    go(log, loose, bundles[0])
    event = log.latest("promotion", key=CHAMPION)
    assert event is not None
    assert event.payload.note == "n; gates loosened: max_ece 0.2 (house: 0.05)"  # type: ignore[attr-defined]


def test_a_challenger_that_becomes_champion_leaves_its_seat(
    log: EventLog, settings: Settings, bundles: list[Any]
) -> None:
    go(log, settings, bundles[0], alias="challenger")
    go(log, settings, bundles[0])
    assert acting(log) == bundles[0].model_id
    assert acting(log, "BTCUSDT|15m|challenger") is None
    assert Registry(settings).alias("BTCUSDT", "15m", "challenger") is None


def test_rollback_goes_back_one_by_one_to_nobody(log: EventLog, settings: Settings, bundles: list[Any]) -> None:
    registry = Registry(settings)
    with pytest.raises(RegistryError, match="nothing to roll back"):
        rollback(log, registry, settings, symbol="BTCUSDT", by="me")
    for bundle in bundles:
        go(log, settings, bundle, registry=registry)
    seen = [rollback(log, registry, settings, symbol="BTCUSDT", by="me").model_id for _ in range(3)]
    assert seen == [bundles[1].model_id, bundles[0].model_id, None]
    assert registry.alias("BTCUSDT", "15m", "champion") is None
    with pytest.raises(RegistryError, match="nothing to roll back"):
        rollback(log, registry, settings, symbol="BTCUSDT", by="me")


def test_rollback_works_while_mlflow_is_down_and_is_brought_in_line(
    log: EventLog, settings: Settings, bundles: list[Any]
) -> None:
    registry = Registry(settings)
    for bundle in bundles[:2]:
        go(log, settings, bundle, registry=registry)
    down = Registry(settings.model_copy(update={"registry_url": "http://127.0.0.1:9"}))
    done = rollback(log, down, settings, symbol="BTCUSDT", by="me")
    assert done.model_id == bundles[0].model_id
    assert "127.0.0.1:9" in done.registry_problem
    assert acting(log) == bundles[0].model_id
    assert registry.alias("BTCUSDT", "15m", "champion") == bundles[1].model_id
    assert len(differences(log, registry, "BTCUSDT", "15m")) == 1
    assert len(reconcile(log, registry, settings, "BTCUSDT")) == 1
    assert differences(log, registry, "BTCUSDT", "15m") == []
    assert registry.alias("BTCUSDT", "15m", "champion") == bundles[0].model_id


def test_rollback_brings_lost_files_back_from_mlflow(log: EventLog, settings: Settings, bundles: list[Any]) -> None:
    registry = Registry(settings)
    for bundle in bundles[:2]:
        go(log, settings, bundle, registry=registry)
    shutil.rmtree(settings.models_dir / bundles[0].model_id)
    assert rollback(log, registry, settings, symbol="BTCUSDT", by="me").model_id == bundles[0].model_id
    assert (settings.models_dir / bundles[0].model_id / "model.txt").is_file()


class Interrupted(BaseException):
    """Stands for a process that ends at this very place."""


def cut(registry: Registry, monkeypatch: pytest.MonkeyPatch, name: str, *, before: bool) -> None:
    """Let the process end right before or right after one of MLflow's effects."""
    with registry._asking("cut") as client:
        real: Callable[..., Any] = getattr(client, name)

    def ends(*arguments: Any, **named: Any) -> Any:
        if not before:
            real(*arguments, **named)
        raise Interrupted(name)

    monkeypatch.setattr(client, name, ends)


STEPS = ["create_run", "log_batch", "log_artifacts", "create_model_version", "set_registered_model_alias"]


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_interrupted_anywhere_it_converges(
    step: str, before: bool, log: EventLog, settings: Settings, bundles: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    go(log, settings, bundles[0])
    registry = Registry(settings)
    with monkeypatch.context() as patch:
        cut(registry, patch, step, before=before)
        with pytest.raises(Interrupted):
            go(log, settings, bundles[1], registry=registry)
    # Either nothing has happened, or the event is there and the model acts; never an event without sound files.
    if step == "set_registered_model_alias":
        assert acting(log) == bundles[1].model_id
    else:
        assert acting(log) == bundles[0].model_id
    fresh = Registry(settings)
    go(log, settings, bundles[1], registry=fresh)
    assert acting(log) == bundles[1].model_id
    assert differences(log, fresh, "BTCUSDT", "15m") == []
    assert [version.model_id for version in fresh.versions("BTCUSDT", "15m")] == [b.model_id for b in bundles[:2]]
    assert len(log.read(kinds={"promotion"}, key=CHAMPION)) == 2


def test_interrupted_at_the_event_nothing_has_changed(
    log: EventLog, settings: Settings, bundles: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(*arguments: Any, **named: Any) -> Any:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(type(log), "transaction", ends)
        with pytest.raises(Interrupted):
            go(log, settings, bundles[0])
    assert acting(log) is None
    registry = Registry(settings)
    assert registry.alias("BTCUSDT", "15m", "champion") is None
    go(log, settings, bundles[0], registry=registry)
    assert len(registry.versions("BTCUSDT", "15m")) == 1


def test_unknown_and_damaged_models_change_nothing(log: EventLog, settings: Settings, bundles: list[Any]) -> None:
    with pytest.raises(RegistryError, match="NOPE"):
        promote(log, Registry(settings), settings, "NOPE", note="", by="me")
    text = settings.models_dir / bundles[0].model_id / "model.txt"
    text.write_bytes(text.read_bytes()[:-9])
    with pytest.raises(ModelError, match=r"model\.txt"):
        go(log, settings, bundles[0])
    assert log.head() == 0


@given(moves=st.lists(st.sampled_from(["a", "b", "c", None]), max_size=12))
@hypothesis_settings(max_examples=40, deadline=None)
def test_the_stack_is_what_promotions_and_rollbacks_leave(
    moves: list[str | None], tmp_path_factory: pytest.TempPathFactory
) -> None:
    expected: list[str | None] = [None]
    with open_log(f"sqlite:///{tmp_path_factory.mktemp('stack')}/log.sqlite") as log:
        for number, move in enumerate(moves):
            if move is None:
                if len(expected) == 1:
                    continue
                expected.pop()
            elif move == expected[-1]:
                continue
            else:
                expected.append(move)
            payload = Promotion(
                model=expected[-1], digest="d", alias="champion", previous=None, by="me", rollback=move is None
            )
            log.append([new_event("X|15m|champion", number, payload)], writer="test")
        assert stack_of(log, "X|15m") == expected


def test_the_follower_swaps_one_object_and_keeps_what_did_not_change(
    log: EventLog, settings: Settings, bundles: list[Any]
) -> None:
    follower = ChampionFollower(log, settings.models_dir, prepare=lambda bundle: bundle.model_id)
    assert follower.poll() is False
    go(log, settings, bundles[0])
    go(log, settings, bundles[1], alias="challenger")
    before = follower.current
    assert follower.poll() is True
    assert before == {}
    seen = follower.current
    assert {place: holder.prepared for place, holder in seen.items()} == {
        ("BTCUSDT|15m", "champion"): bundles[0].model_id,
        ("BTCUSDT|15m", "challenger"): bundles[1].model_id,
    }
    assert follower.poll() is False
    assert follower.current is seen
    go(log, settings, bundles[1])
    assert follower.poll() is True
    assert seen["BTCUSDT|15m", "champion"].prepared == bundles[0].model_id
    assert follower.current["BTCUSDT|15m", "champion"].prepared == bundles[1].model_id
    assert follower.current["BTCUSDT|15m", "challenger"].prepared is None
