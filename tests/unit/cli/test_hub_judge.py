"""`kalibre hub judge`, end to end on a small log: what it prints, what it stores, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from tests.fakes.hub_streams import SYMBOL, TIMEFRAME
from tests.fakes.planted import market, recorded

from kalibre.cli.app import build
from kalibre.core.errors import EvaluationError, PromotionRefusedError, UsageError
from kalibre.core.events import Promotion
from kalibre.core.settings import Settings
from kalibre.log import open_log
from kalibre.models.ensemble_version import load_ensemble

Ask = Callable[..., tuple[int, str]]
CONFIG = f"""
[market]
symbols = ["{SYMBOL}"]
timeframe = "{TIMEFRAME}"
[features]
higher_timeframes = []
[model]
horizon_bars = 1
folds = 3
threshold_pairs = 200
[costs]
fee_bps = 1.0
slippage_bps = 0.0
[hub]
learners = ["online"]
"""


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kalibre.toml").write_text(CONFIG)

    def asked(*words: str) -> tuple[int, str]:
        code = typer.main.get_command(build()).main([*words], standalone_mode=False) or 0
        return code, capsys.readouterr().out

    return asked


def write(n: int) -> None:
    settings = Settings()
    settings.home.mkdir(exist_ok=True)
    with open_log(settings.log_url) as log:
        recorded(log, market(n))


def test_the_verdict_is_printed_and_the_version_stored(ask: Ask) -> None:
    write(3_000)
    code, told = ask("hub", "judge")
    assert code == 0
    [folder] = Settings().models_dir.iterdir()
    version = load_ensemble(Settings().models_dir, folder.name)
    assert f"version  {version.model_id}" in told
    assert f'kalibre promote {version.model_id} "why you trust it"' in told
    for gate in version.gates:
        assert str(gate["name"]) in told
    code, told = ask("report", "--model", version.model_id)
    assert code == 0
    assert Path(told.strip()).is_file()


def test_as_json_it_says_the_same(ask: Ask) -> None:
    write(3_000)
    code, told = ask("hub", "judge", "--symbol", SYMBOL, "--json")
    study = json.loads(told)
    assert code == 0
    assert study["qualifies"] is True
    assert study["promoted"] is None
    assert "curve" not in study["walk_forward"]
    assert load_ensemble(Settings().models_dir, study["model_id"]).gates[0]["name"] == study["gates"][0]["name"]


def test_what_it_cannot_judge_it_says(ask: Ask) -> None:
    write(500)
    with pytest.raises(EvaluationError, match="2,000 are needed"):
        ask("hub", "judge")
    with pytest.raises(UsageError, match="no ensemble of 'Y' 15m: it follows X"):
        ask("hub", "judge", "--symbol", "Y")


def champion_of() -> str | None:
    with open_log(Settings().log_url) as log:
        event = log.latest("promotion", key=f"{SYMBOL}|{TIMEFRAME}|champion")
    return event.payload.model if event is not None and isinstance(event.payload, Promotion) else None


def test_promote_lets_it_act_only_if_every_gate_does(ask: Ask) -> None:
    write(3_000)
    code, told = ask("hub", "judge", "--promote")
    assert code == 0
    [folder] = Settings().models_dir.iterdir()
    assert champion_of() == folder.name
    assert f"champion of {SYMBOL}|{TIMEFRAME}: {folder.name}" in told
    # The same bars again: their final window was looked at, so what it shows now cannot promote.
    with pytest.raises(PromotionRefusedError, match="final window was looked at before"):
        ask("hub", "judge", "--promote")
    assert champion_of() == folder.name
