"""The verbs with an ensemble as champion: promoted, waited for, told of, asked, and taken back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.fakes.ensemble_led import led_version, word
from tests.fakes.models import START_MS, bar_events, random_bars
from tests.fakes.trading import SERIES, STEP_MS

from kalibre.cli.app import build
from kalibre.core.errors import ModelError, PromotionRefusedError, RegistryError
from kalibre.core.settings import Settings
from kalibre.log import open_log
from kalibre.models.ensemble_version import store_ensemble

Ask = Callable[..., tuple[int, str]]
CONFIG = """
[market]
symbols = ["BTCUSDT"]
timeframe = "15m"
[features]
higher_timeframes = []
[model]
horizon_bars = 4
[hub]
learners = [{learners}]
"""
VERSION = led_version()


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kalibre.toml").write_text(CONFIG.format(learners='"online"'))

    def asked(*words: str) -> tuple[int, str]:
        code = typer.main.get_command(build()).main([*words], standalone_mode=False) or 0
        return code, capsys.readouterr().out

    store_ensemble(Settings().models_dir, VERSION)
    return asked


def test_an_ensemble_of_others_is_refused_and_none_runs_in_shadow(ask: Ask, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="no challenger"):
        ask("promote", VERSION.model_id, "a test", "--challenger")
    (tmp_path / "kalibre.toml").write_text(CONFIG.format(learners='"online", "agents"'))
    with pytest.raises(PromotionRefusedError, match="by the settings it is made of agents, champion, online"):
        ask("promote", VERSION.model_id, "a test")
    (tmp_path / "kalibre.toml").write_text(CONFIG.replace("= 4", "= 8").format(learners='"online"'))
    with pytest.raises(PromotionRefusedError, match="judged over 4 bars, by the settings it foresees 8"):
        ask("promote", VERSION.model_id, "a test")


def test_the_way_of_an_ensemble_through_the_verbs(ask: Ask) -> None:
    def told(*words: str) -> Any:
        return json.loads(ask(*words, "--json")[1])

    assert told("promote", VERSION.model_id, "better than its members")["model_id"] == VERSION.model_id
    bars = bar_events(random_bars(30))
    with open_log(Settings().log_url) as log:
        log.append(bars, writer="ingest")
    (waits,) = told("paper")["waiting"]
    assert (waits["series"], waits["model"], waits["bars"]) == (SERIES, VERSION.model_id, 30)
    assert "30 bars wait for the word of the ensemble" in ask("paper")[1]
    found = [one for one in told("doctor")["findings"] if one["part"] == "ensemble BTCUSDT"]
    assert [one["level"] for one in found] == ["degraded"]
    with pytest.raises(ModelError, match="recorded by the hub and cannot be computed"):
        ask("backtest")
    with open_log(Settings().log_url) as log:
        log.append([word(START_MS + (n + 1) * STEP_MS, 0.7) for n in range(30)], writer="ensemble")
    ledger = told("paper")
    assert ledger["waiting"] == []
    assert [(row["role"], row["model"]) for row in ledger["ledgers"]] == [("champion", VERSION.model_id)]
    answer = told("predict")
    assert (answer["model"], answer["p_up"]) == (VERSION.model_id, 0.7)
    assert told("verify", "state")["equal"]
    assert told("rollback")["model_id"] is None
