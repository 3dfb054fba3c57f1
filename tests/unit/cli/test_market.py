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
from kalibre.core.errors import UsageError

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


def weekdays(n: int) -> str:
    """Write daily bars of working days of 2024 and return the path."""
    days = [day for day in range(19_723, 19_723 + n) if (day + 3) % 7 < 5]
    close = [100.0 + (day % 3) for day in days]
    columns = {"open_time": [day * 86_400_000 for day in days], "open": close, "close": close, "volume": close}
    frame = pl.DataFrame(columns).with_columns(high=pl.col("close") + 1, low=pl.col("close") - 1)
    frame.write_csv("days.csv")
    return "days.csv"


def test_holes_that_are_a_closed_market_are_told_with_the_calendar(ask: Ask) -> None:
    Path("kalibre.toml").write_text('[market]\nsymbols = ["X"]\ntimeframe = "1d"\n')
    (told,) = ask("ingest", "--path", weekdays(60))["reports"]
    assert told["holes"] >= 8
    (note,) = told["notes"]
    assert "the calendar says 24/7" in note
    assert "market.calendar" in note
    assert len(ask("gaps")["gaps"]) == told["holes"]
    Path("kalibre.toml").write_text('[market]\nsymbols = ["X"]\ntimeframe = "1d"\ncalendar = "XNYS"\n')
    assert ask("gaps")["gaps"] == []
    assert f"{told['holes']} more were announced under another calendar" in ask("gaps", text=True)


def test_real_holes_are_no_closed_market(ask: Ask) -> None:
    lines = Path("bars.csv").read_text().splitlines()
    Path("holed.csv").write_text("\n".join(line for row, line in enumerate(lines) if row % 40 != 39))
    (told,) = ask("ingest", "--path", "holed.csv")["reports"]
    assert told["holes"] >= 8
    assert told["notes"] == []


def test_what_was_kept_aside_is_listed_with_its_values(ask: Ask) -> None:
    frame = pl.read_csv("bars.csv")
    low = frame["low"].to_list()
    low[200] = -5.0
    frame.with_columns(pl.Series("low", low)).write_csv("bad.csv")
    ask("ingest", "--path", "bad.csv")
    (row,) = ask("gaps", "--quarantined")["quarantined"]
    assert (row["open_time"], row["raw"]["low"]) == (int(frame["open_time"][200]), "-5.0")
    assert "price_not_positive" in row["reasons"]
    shown = ask("gaps", "--quarantined", text=True)
    assert "a price is zero or negative" in shown
    assert "low -5.0" in shown
    assert "1 bars were kept aside" in shown
    with pytest.raises(UsageError, match="give one"):
        ask("gaps", "--quarantined", "--heal")


def test_features_says_what_it_wrote(ask: Ask) -> None:
    ask("ingest", "--path", "bars.csv")
    assert f"wrote rows.csv: {N_BARS} rows" in ask("features", "--out", "rows.csv", text=True)
