"""`kalibre kill | serve | paper | predict`: what is refused before anything is done, and what is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from getpass import getuser
from pathlib import Path
from typing import Any

import pytest
import typer

from kalibre.cli.app import build
from kalibre.core.errors import UsageError

Ask = Callable[..., tuple[int, str]]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Return a function that runs a verb in an empty folder and gives back its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)

    def asked(*words: str) -> tuple[int, str]:
        code = typer.main.get_command(build()).main(list(words), standalone_mode=False) or 0
        return code, capsys.readouterr().out

    return asked


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--status", "--release"], "give one"),
        (["--release", "--flatten"], "--flatten sells .* --release does not engage"),
        (["--status", "--flatten"], "--flatten sells .* --status does not engage"),
        (["--release", "all is well"], "--release records no reason .'all is well'"),
    ],
)
def test_a_kill_that_contradicts_itself_changes_nothing(ask: Ask, words: list[str], said: str) -> None:
    ask("kill", "a test")
    with pytest.raises(UsageError, match=said):
        ask("kill", *words)
    assert ask("kill", "--status")[0] == 4, "still engaged"


@pytest.mark.parametrize("port", ["99999", "-1"])
def test_a_port_that_no_machine_has_is_refused(ask: Ask, port: str) -> None:
    with pytest.raises(UsageError, match=f"--port {port} is no port"):
        ask("serve", "--port", port)


def test_kill_says_who_when_why_and_what_becomes_of_positions(ask: Ask) -> None:
    code, shown = ask("kill", "feed is wrong", "--flatten")
    assert code == 0
    assert shown.startswith(f"engaged by {getuser()} since 20")
    assert "(Istanbul time): feed is wrong" in shown
    assert "sold at the next open" in shown
    state: dict[str, Any] = json.loads(ask("kill", "--status", "--json")[1])
    assert (state["by"], state["reason"], state["flatten"]) == (getuser(), "feed is wrong", True)
    assert ask("kill", "--release")[1].startswith("released since 20")
    assert "positions are kept" in ask("kill")[1]


def test_kill_names_the_file_that_keeps_it_engaged(ask: Ask) -> None:
    ask("kill", "--status")
    Path("kalibre_home", "KILL").touch()
    assert "rm kalibre_home/KILL" in ask("kill", "--status")[1]


def test_a_forecast_without_bars_or_model_says_what_to_do(ask: Ask) -> None:
    for _ in range(3):
        shown = ask("predict", "--shadow")[1]
        assert "HOLD, p_up unknown, no bar" in shown
        assert "run `kalibre ingest --symbol BTCUSDT`" in shown
        assert "train one and promote it" in shown
        assert "no challenger" in shown
        assert "starting" not in shown


def test_ledgers_are_readable_on_a_narrow_terminal(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    row = {"series": "BTCUSDT|15m", "role": "challenger", "equity": 9_876.54321, "held": 0.123456789, "fills": 3}
    model = "BTCUSDT-15m-20261121T071403Z-a4f3613c"
    rows = [{**row, "model": model, "as_of": "2024-01-01 03:00"}, {**row, "model": None, "as_of": "2024-01-01 03:15"}]
    monkeypatch.setattr("kalibre.registry.standing.ledgers", lambda log, settings: rows)
    shown = ask("paper")[1]
    assert "None" not in shown
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown
    start = shown.index("model")
    column = "".join(line[start:].partition(" ")[0] for line in shown.splitlines()[1:])
    assert model in column
    assert "9,876.54" in shown
