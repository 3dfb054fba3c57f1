"""`kalibre ingest | gaps | features`: what is read, what is passed over, and that both are said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import typer
from tests.fakes.models import random_bars

from kalibre.cli.app import build

N_BARS = 400
Ask = Callable[..., Any]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Return a function that runs a verb beside a file of bars: its JSON, or its text with `text=True`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    bars = random_bars(N_BARS)
    bars.to_frame().write_csv("bars.csv")
    Path("kalibre.toml").write_text(f'[market]\nsymbols = ["{bars.symbol}"]\ntimeframe = "{bars.timeframe}"\n')

    def asked(*words: str, text: bool = False) -> Any:
        command = [*words, *([] if text else ["--json"])]
        assert not typer.main.get_command(build()).main(command, standalone_mode=False)
        out = capsys.readouterr().out
        return out if text else json.loads(out)

    return asked


def corrected(row: int) -> str:
    """Write the file once more with the volume of a bar corrected, and return its path."""
    frame = pl.read_csv("bars.csv")
    volume = frame["volume"].to_list()
    volume[row] *= 1.01
    frame.with_columns(pl.Series("volume", volume)).write_csv("corrected.csv")
    return "corrected.csv"


def test_a_corrected_file_is_read_again(ask: Ask) -> None:
    ask("ingest", "--path", "bars.csv")
    (again,) = ask("ingest", "--path", "bars.csv")["reports"]
    assert (again["bars_read"], again["bars_known"], again["bars_written"]) == (N_BARS, N_BARS, 0)
    (told,) = ask("ingest", "--path", corrected(N_BARS // 2))["reports"]
    assert (told["bars_revised"], told["bars_written"], told["gaps_found"]) == (1, 1, 0)


def test_what_is_not_read_again_is_said_with_how_to(ask: Ask) -> None:
    ask("ingest", "--path", "bars.csv")
    with Path("kalibre.toml").open("a") as file:
        file.write(f'source = "files"\nsource_options = {{path = "{corrected(10)}"}}\n')
    assert "--refresh" in ask("ingest", text=True)
    assert ask("ingest")["reports"][0]["bars_revised"] == 0
    assert ask("ingest", "--refresh")["reports"][0]["bars_revised"] == 1


def test_days_of_a_file_are_counted_from_its_newest_bar(ask: Ask) -> None:
    (told,) = ask("ingest", "--path", "bars.csv", "--days", "2")["reports"]
    bars = random_bars(N_BARS)
    step = int(bars.open_time[1] - bars.open_time[0])
    assert told["bars_written"] == 2 * 86_400_000 // step
    assert told["last_ms"] == int(bars.open_time[-1])


def test_a_range_without_a_bar_names_what_the_file_has(ask: Ask) -> None:
    said = ask("ingest", "--path", "bars.csv", "--timerange", "19990101-19990201", text=True)
    assert "none of its bars lies in 19990101-19990201: the source has 20" in said


def test_a_path_keeps_the_dialect_of_the_settings(ask: Ask) -> None:
    """Planted: a file that cannot prove which of day and month comes first, and whose settings say so."""
    rows = "\n".join(f"0{day}.01.2024;100;101;99;100;{day}" for day in range(1, 8))
    Path("plain.csv").write_text(f"date;open;high;low;close;volume\n{rows}\n")
    Path("kalibre.toml").write_text(
        '[market]\nsymbols = ["X"]\ntimeframe = "1d"\nsource = "files"\n'
        'source_options = {path = "elsewhere.csv", dialect = "tr"}\n[features]\nhigher_timeframes = []\n'
    )
    (told,) = ask("ingest", "--path", "plain.csv")["reports"]
    assert told["bars_written"] == 7
    shown = ask("ingest", "--path", "plain.csv", text=True)
    assert "Istanbul" not in shown, "bars of days have a date, no time of day"
