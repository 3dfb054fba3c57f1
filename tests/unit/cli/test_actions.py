"""`kalibre actions`: what was found is listed, a person decides, and every refusal quotes what was typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from getpass import getuser
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.fakes.scripted_source import ScriptedSource
from tests.unit.bars.test_action_search import DAYS, share

from kalibre.bars.action_search import WRITER
from kalibre.bars.history import load_actions, load_bars, undecided_actions
from kalibre.bars.ingest import ingest_history
from kalibre.cli.app import build
from kalibre.cli.base import opened_log, stored_bars
from kalibre.core.clock import ManualClock
from kalibre.core.errors import CalendarError, UsageError
from kalibre.core.events import CorporateAction, new_event
from kalibre.core.settings import Settings
from kalibre.log import open_log

Ask = Callable[..., Any]
CLOCK = ManualClock(10**13)
SPLIT, JUMP = "2023-03-01", "2023-03-15"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return the settings of a folder whose log holds a share with a split and a jump that nobody can explain."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KALIBRE_MARKET__SYMBOLS", '["X"]')
    monkeypatch.setenv("KALIBRE_MARKET__TIMEFRAME", "1d")
    monkeypatch.setenv("KALIBRE_MARKET__CALENDAR", "XIST")
    settings = Settings()
    with opened_log(settings) as log:
        bars = share(splits={37: 3.0}, nights={47: 1.31})
        assert [str(day) for day in DAYS[[37, 47]].astype("datetime64[ms]").astype("datetime64[D]")] == [SPLIT, JUMP]
        source = ScriptedSource({"X": bars}, timeframe="1d")
        ingest_history(log, source, "X", "1d", calendar="XIST", clock=CLOCK)
    return settings


@pytest.fixture
def ask(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Return a function that runs the verb in this process and gives back its JSON, or its text with `text=True`."""

    def asked(*words: str, text: bool = False) -> Any:
        command = ["actions", *words, *([] if text else ["--json"])]
        assert not typer.main.get_command(build()).main(command, standalone_mode=False)
        out = capsys.readouterr().out
        return out if text else json.loads(out)

    return asked


def test_what_was_found_is_listed_with_its_evidence_and_who_decided(ask: Ask) -> None:
    found = ask()
    rows = {row["date"]: row for row in found["actions"]}
    assert {day: (row["status"], row["by"]) for day, row in rows.items()} == {
        SPLIT: ("confirmed", "kalibre"),
        JUMP: ("detected", ""),
    }
    assert (rows[SPLIT]["factor"], found["undecided"]) == (3.0, 1)
    assert rows[JUMP]["evidence"].startswith("1d bars: open 1.31")
    assert ask("list", "--symbol", "X") == ask("list", "X") == found
    text = ask("list", text=True)
    assert f"`kalibre actions confirm X {JUMP}` or `kalibre actions reject X {JUMP}`" in text


def test_a_confirmed_factor_changes_the_series_and_says_what_follows(ask: Ask, settings: Settings) -> None:
    done = ask("confirm", "X", JUMP, "--factor", "0.75")
    assert (done["action"]["status"], done["action"]["factor"], done["action"]["by"]) == ("confirmed", 0.75, getuser())
    assert f"confirmed by {getuser()} on " in done["action"]["evidence"]
    assert "no usual factor" in done["action"]["evidence"]
    assert "train them again by `kalibre train --symbol X`" in done["follows"][0]
    with open_log(settings.log_url) as log:
        assert [one.action.factor for one in load_actions(log, "X")] == [3.0, 0.75]
        adjusted, traded = load_bars(log, "X", "1d"), load_bars(log, "X", "1d", adjusted=False)
        assert adjusted.close[-1] == traded.close[-1] * (3.0 * 0.75)
        [event] = [e for e in log.read(kinds={"corporate_action"}) if e.writer != WRITER]
        assert event.writer == f"person:{getuser()}"


def test_without_a_factor_the_recorded_one_is_confirmed(ask: Ask) -> None:
    recorded = next(row["factor"] for row in ask()["actions"] if row["date"] == JUMP)
    assert ask("confirm", "X", JUMP.replace("-", ""))["action"]["factor"] == recorded


def test_a_rejected_action_lets_trading_go_on_and_needs_no_training(ask: Ask, settings: Settings) -> None:
    done = ask("reject", "X", JUMP)
    assert done["action"]["status"] == "rejected"
    assert "no model has to be trained again" in done["follows"][0]
    assert "hold this symbol no longer" in done["follows"][1]
    with open_log(settings.log_url) as log:
        assert undecided_actions(log, "X") == []
    assert "train them again" in ask("reject", "X", SPLIT)["follows"][0]


def test_a_person_may_decide_again_and_again(ask: Ask, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log takes the same words for the same event: each decision must be one of its own."""
    monkeypatch.setattr("kalibre.core.clock.SystemClock", lambda: CLOCK)
    for verb in ("confirm", "reject", "confirm", "reject", "confirm"):
        assert ask(verb, "X", JUMP, *(["--factor", "0.75"] if verb == "confirm" else []))
        rows = {row["date"]: row["status"] for row in ask()["actions"]}
        assert rows[JUMP] == {"confirm": "confirmed", "reject": "rejected"}[verb]
    assert max(row["revision"] for row in ask()["actions"]) == 6


def test_one_that_was_announced_is_added_and_known_before_its_bar(ask: Ask, settings: Settings) -> None:
    done = ask("add", "X", "2025-05-16", "--factor", "2")
    assert (done["action"]["date"], done["action"]["status"], done["action"]["by"]) == (
        *("2025-05-16", "confirmed", getuser()),
    )
    assert f"added by {getuser()} on " in done["action"]["evidence"]
    assert "will be multiplied by 2: no stored bar changes" in done["follows"][0]
    with open_log(settings.log_url) as log:
        assert load_actions(log, "X")[-1].action.factor == 2.0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["confirm", "Y", JUMP], "'Y' has no corporate action recorded; there are: X 2023-03-01 confirmed factor 3, X"),
        (["reject", "X", "2023-03-02"], "no corporate action on '2023-03-02'; there are: X 2023-03-01 confirmed"),
        (["confirm", "X", "yesterday"], "date 'yesterday' is none"),
        (["confirm", "X", JUMP, "--factor", "0"], "factor 0.0 is no"),
        (["confirm", "X", JUMP, "--factor", "-3"], "factor -3.0 is no"),
        (["confirm", "X", JUMP, "--factor", "nan"], "factor nan is no"),
        (["confirm", "X", JUMP, "--factor", "inf"], "factor inf is no"),
        (["add", "X", "2023-03-20", "--factor", "1"], "factor 1.0 is no"),
        (["add", "Y", "2023-03-20", "--factor", "2"], "symbol 'Y' is unknown: the log holds no bar of it; known are X"),
        (["add", "X", "2023-03-19", "--factor", "2"], "'2023-03-19' is no session of XIST, the next one is 2023-03-20"),
        (["add", "X", SPLIT, "--factor", "2"], f"has an action on '{SPLIT}' already: there are: X {SPLIT} confirmed"),
        (["add", "X", "2023-03-20"], "needs SYMBOL DATE --factor F"),
        (["confirm", "X"], "needs SYMBOL DATE"),
        (["reject", "X", JUMP, "--factor", "2"], "--factor 2 does not go with `kalibre actions reject`"),
        (["list", "X", JUMP], f"date '{JUMP}' does not go"),
        (["list", "Y"], "symbol 'Y' is unknown"),
        (["list", "X", "--symbol", "Z"], "--symbol 'Z' and 'X' name two"),
    ],
)
def test_bad_input_is_refused_with_what_there_is(ask: Ask, settings: Settings, words: list[str], told: str) -> None:
    with open_log(settings.log_url) as log:
        head = log.head()
    with pytest.raises(UsageError) as refused:
        ask(*words)
    assert told in str(refused.value)
    assert refused.value.exit_code == 2
    with open_log(settings.log_url) as log:
        assert log.head() == head


def test_a_day_that_the_calendar_does_not_know_is_refused(ask: Ask) -> None:
    with pytest.raises(CalendarError, match="knows the sessions of"):
        ask("add", "X", "2199-01-02", "--factor", "2")


def test_reading_a_range_with_an_undecided_action_warns(
    settings: Settings, capsys: pytest.CaptureFixture[str], ask: Ask
) -> None:
    def warned(**span: str) -> str:
        with open_log(settings.log_url) as log:
            stored_bars(log, settings, "X", **span)  # type: ignore[arg-type]
        return capsys.readouterr().err

    told = f"a corporate action of X {JUMP} (factor 0.7634) is undecided"
    assert told in warned()
    assert warned(timerange="20230101-20230315") == warned(timerange="20230315-") == ""
    assert told in warned(timerange="20230314-20230316")
    ask("confirm", "X", JUMP)
    assert warned() == ""


def test_an_action_that_comes_while_a_person_decides_is_decided_by_the_person(settings: Settings, ask: Ask) -> None:
    """The planted failure: a search that ignores who spoke last would write over the decision."""
    ask("reject", "X", SPLIT)
    with open_log(settings.log_url) as log:
        source = ScriptedSource({"X": share(splits={37: 3.0}, nights={47: 1.31})}, timeframe="1d")
        ingest_history(log, source, "X", "1d", calendar="XIST", clock=CLOCK, refresh=True)
        assert [row["status"] for row in ask("list", "X")["actions"]] == ["rejected", "detected"]
        # As if the machine had said it: now the search may take it back, and does.
        word = CorporateAction(factor=3.0, status="rejected", evidence="1d bars: planted")
        log.append([new_event("X", int(DAYS[37]), word)], writer=WRITER)
        ingest_history(log, source, "X", "1d", calendar="XIST", clock=CLOCK, refresh=True)
        assert [row["status"] for row in ask("list", "X")["actions"]] == ["confirmed", "detected"]
