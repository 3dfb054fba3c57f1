"""The doctor's findings about models and corporate actions, each with an advice that mends what it was given for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes.models import START_MS, small_bundle

from kalibre.core.events import CorporateAction, Promotion, new_event
from kalibre.core.settings import Settings
from kalibre.log import open_log
from kalibre.log.protocol import EventLog
from kalibre.models.bundle import ModelBundle
from kalibre.registry import doctor
from kalibre.registry.doctor import Finding

COLUMNS = ("log_return_1",)


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return small_bundle(columns=COLUMNS)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def log(settings: Settings) -> Iterator[EventLog]:
    with open_log(settings.log_url) as opened:
        yield opened


def appoint(log: EventLog, settings: Settings, bundle: ModelBundle, alias: str = "champion") -> None:
    bundle.save(settings.models_dir)
    named = Promotion(model=bundle.model_id, digest=bundle.digest, alias=alias, previous=None, by="me")  # type: ignore[arg-type]
    log.append([new_event(f"BTCUSDT|15m|{alias}", 1, named)], writer="registry")


def about(part: str, log: EventLog, settings: Settings) -> Finding:
    """Return what is found about a model; MLflow is left out, it is asked elsewhere."""
    return next(f for f in doctor._models(log, settings, "BTCUSDT") if f.part == part)


def test_a_model_as_it_was_judged_is_in_order(log: EventLog, settings: Settings, bundle: ModelBundle) -> None:
    appoint(log, settings, bundle)
    assert about("champion BTCUSDT", log, settings).level == "ok"


@pytest.mark.parametrize("alias", ["champion", "challenger"])
def test_costs_that_have_drifted_are_told_and_the_advice_brings_them_back(
    alias: str, log: EventLog, settings: Settings, bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    appoint(log, settings, bundle, alias)
    monkeypatch.setenv("KALIBRE_COSTS__SLIPPAGE_BPS", "7.5")
    monkeypatch.setenv("KALIBRE_RISK__STALE_BARS", "5")
    found = about(f"{alias} BTCUSDT", log, Settings(home=settings.home))
    assert found.level == "degraded"
    assert "costs.slippage_bps: judged with 1.0, the settings say 7.5" in found.found
    assert "risk.stale_bars: judged with 2, the settings say 5" in found.found
    assert "kalibre train --symbol BTCUSDT --timeframe 15m" in found.mend
    for word in found.mend.removeprefix("set ").partition(",")[0].split():
        name, _, value = word.partition("=")
        monkeypatch.setenv(name, value)
    assert about(f"{alias} BTCUSDT", log, Settings(home=settings.home)).level == "ok"


def test_a_model_of_other_features_cannot_act(log: EventLog, settings: Settings, bundle: ModelBundle) -> None:
    appoint(log, settings, replace(bundle, feature_fingerprint="0" * 64))
    found = about("champion BTCUSDT", log, settings)
    assert found.level == "degraded"
    assert "cannot act" in found.found
    assert "then 000000000000" in found.found
    assert found.mend == "kalibre train --symbol BTCUSDT --timeframe 15m"


def test_a_damaged_champion_is_broken(log: EventLog, settings: Settings, bundle: ModelBundle) -> None:
    appoint(log, settings, bundle)
    (settings.models_dir / bundle.model_id / "model.txt").write_text("nothing of the sort")
    found = about("champion BTCUSDT", log, settings)
    assert (found.level, found.mend) == ("broken", "kalibre rollback")


def test_an_undecided_corporate_action_is_told_until_it_is_decided(log: EventLog, settings: Settings) -> None:
    assert [f for f in doctor.examine(settings) if f.part.startswith("corporate actions")] == []
    seen = CorporateAction(factor=2.5, status="detected", evidence="a fall of 60 %")
    log.append([new_event("BTCUSDT", START_MS, seen)], writer="ingest")
    log.append([new_event("ELSE", START_MS, seen)], writer="ingest")
    (found,) = [f for f in doctor.examine(settings) if f.part.startswith("corporate actions")]
    assert (found.part, found.level, found.mend) == ("corporate actions BTCUSDT", "degraded", "kalibre actions")
    assert "factor 2.5 from 2024-01-01" in found.found
    decided = CorporateAction(factor=2.5, status="rejected", evidence="a crash")
    log.append([new_event("BTCUSDT", START_MS, decided, revision=1)], writer="ingest")
    assert [f for f in doctor.examine(settings) if f.part.startswith("corporate actions")] == []
