"""The command line, as a user types it: from an empty folder to a stopped paper account, every verb with --json."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kalibre.core.bars import concat
from kalibre.core.events import Event, Signal, Tick, new_event
from kalibre.log import open_log
from kalibre.log.protocol import EventLog
from kalibre.sources import open_source

KALIBRE = [sys.executable, "-m", "kalibre"]
FEW = {"KALIBRE_MODEL__FOLDS": "3", "KALIBRE_MODEL__ROUNDS": "80", "KALIBRE_MODEL__THRESHOLD_PAIRS": "200"}


def run(folder: Path, *words: str, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*KALIBRE, *words],
        cwd=folder,
        env={**os.environ, "PYTHONWARNINGS": "ignore", "COLUMNS": "160", **FEW, **env},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == code, f"{shlex.join(words)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def ask(folder: Path, *words: str, code: int = 0, **env: str) -> Any:
    out = run(folder, *words, "--json", code=code, **env).stdout
    assert out.count("\n") == 1, "one JSON object on one line, nothing else on stdout"
    return json.loads(out)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with settings and a CSV of a market with an edge, ingested and studied once."""
    folder = tmp_path_factory.mktemp("cli")
    bars = concat(list(open_source("simulated", market="edge", auc=0.68, seed=5, n_bars=14_000).history("EDGE", "15m")))
    bars[:13_500].to_frame().write_csv(folder / "bars.csv")
    bars.to_frame().write_csv(folder / "later.csv")
    run(folder, "init")
    settings = folder / "kalibre.toml"
    settings.write_text(settings.read_text().replace('# symbols = ["BTCUSDT"]', 'symbols = ["EDGE"]'))
    ingested = ask(folder, "ingest", "--path", "bars.csv")
    assert ingested["reports"][0]["bars_written"] == 13_500
    ask(folder, "train")
    shutil.copytree(folder, trained(folder))
    return folder


def trained(home: Path) -> Path:
    return home.with_name(home.name + "-trained")


def test_a_second_ingest_writes_nothing(home: Path) -> None:
    assert ask(home, "ingest", "--path", "bars.csv")["reports"][0]["bars_written"] == 0
    assert ask(home, "gaps")["gaps"] == []
    assert ask(home, "verify", "log")["damage"] == []


def test_a_hole_is_listed_and_healed_when_the_source_has_it(home: Path, tmp_path: Path) -> None:
    lines = (home / "bars.csv").read_text().splitlines()[:600]
    (tmp_path / "holed.csv").write_text("\n".join(lines[:300] + lines[307:]))
    (tmp_path / "whole.csv").write_text("\n".join(lines))
    run(tmp_path, "ingest", "--symbol", "EDGE", "--path", "holed.csv")
    (hole,) = ask(tmp_path, "gaps", "--symbol", "EDGE")["gaps"]
    assert (hole["missing_bars"], hole["status"]) == (7, "hole")
    assert "1 gaps, 7 bars missing" in run(tmp_path, "gaps", "--symbol", "EDGE").stdout
    (healed,) = ask(tmp_path, "gaps", "--symbol", "EDGE", "--heal", "--path", "whole.csv")["gaps"]
    assert healed["status"] == "healed"


def test_features_are_shown_and_written(home: Path) -> None:
    shown = ask(home, "features", "--days", "30", "--out", "features.parquet")
    assert len(shown["columns"]) >= 60
    assert (home / "features.parquet").stat().st_size > 10_000
    refused = run(home, "features", "--out", "features.xls", code=2)
    assert "features.xls" in refused.stderr


def test_features_are_verified(home: Path) -> None:
    found = ask(home, "verify", "features", "--days", "20")
    assert found["clean"] is True


def test_a_leak_in_a_function_of_the_users_own_is_caught(home: Path) -> None:
    (home / "mine.py").write_text(
        "def honest(bars):\n    return {'gap': bars.open / bars.close}\n"
        "def leaky(bars):\n    return {'scaled': bars.close / bars.close.max()}\n"
    )
    assert ask(home, "verify", "features", "--days", "5", "--function", "mine:honest")["clean"] is True
    found = ask(home, "verify", "features", "--days", "5", "--function", "mine:leaky", code=1)
    assert found["columns"]["scaled"]["mismatched"] > 0
    assert "'mine:nothing'" in run(home, "verify", "features", "--function", "mine:nothing", code=2).stderr


def test_a_model_is_judged_reported_promoted_traded_and_stopped(home: Path) -> None:
    study = ask(home, "train", "--explore")
    assert {gate["name"] for gate in study["gates"]} >= {"ece", "dsr", "sharpe", "auc", "dummies", "verification"}
    models = sorted(path.stem for path in (home / "kalibre_home" / "studies").glob("*.json"))
    report = ask(home, "report", "--model", models[0], "--lang", "tr")
    assert (home / report["report"]).read_text(encoding="utf-8").startswith("<!doctype html>")
    traded = ask(home, "backtest", "--model", models[0])
    assert traded["bars_seen_by_its_study"] == traded["bars"] == 13_500
    # Whether it qualifies is the gates' business: refused, it runs in shadow, and both ways are told.
    refused = run(home, "promote", study["model_id"], "exploring", code=1)
    assert "final_unseen" in refused.stderr or "final window" in refused.stderr
    assert ask(home, "promote", models[0], "in shadow", "--challenger")["alias"] == "challenger"
    assert ask(home, "ingest", "--path", "later.csv")["reports"][0]["bars_written"] == 500
    ledgers = {row["role"]: row for row in ask(home, "paper")["ledgers"]}
    assert ledgers["challenger"]["model"] == models[0]
    assert ask(home, "paper")["ledgers"] == list(ledgers.values()), "what was read is not traded again"
    assert ask(home, "backtest", "--days", "3")["bars_seen_by_its_study"] == 0
    answer = ask(home, "predict", "--shadow")
    assert answer["symbol"] == "EDGE"
    assert answer["signal"] in {"ENTRY", "EXIT", "HOLD"}
    assert ask(home, "verify", "state")["equal"] is True
    moved = (
        "from kalibre.core.settings import load_settings\nfrom kalibre.registry.store import Registry\n"
        "Registry(load_settings()).set_alias('EDGE', '15m', 'challenger', None)\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", moved], cwd=home, check=True)
    assert any(f["mend"] == "kalibre doctor --mend" for f in ask(home, "doctor", code=3)["findings"])
    assert not any(f["mend"] == "kalibre doctor --mend" for f in ask(home, "doctor", "--mend", code=3)["findings"])
    assert ask(home, "kill", "enough")["engaged"] is True
    assert ask(home, "kill", "--status", code=4)["engaged"] is True
    stopped = ask(home, "predict")
    assert stopped["signal"] == "HOLD"
    assert any("kill" in reason for reason in stopped["reasons"])
    sick = ask(home, "doctor", code=3)
    assert any(f["mend"] == "kalibre kill --release" for f in sick["findings"])
    assert ask(home, "kill", "--release")["engaged"] is False


def test_a_replay_is_traded_as_it_is_played(home: Path, tmp_path: Path) -> None:
    played, stored = tmp_path / "played", tmp_path / "stored"
    shutil.copytree(trained(home), played)
    model = next((played / "kalibre_home" / "studies").glob("*.json")).stem
    ask(played, "promote", model, "in shadow", "--challenger")
    shutil.copytree(played, stored)
    ask(stored, "ingest", "--path", "later.csv")
    ask(stored, "paper")
    replay = ["ingest", "--source", "replay", "--path", "later.csv", "--follow"]
    with (
        open_log(f"sqlite:///{played}/kalibre_home/log.sqlite") as log,
        staying(played, "paper", "--follow") as paper,
    ):
        with staying(played, *replay, "--speed", "20000x") as killed:
            wait_for(log, lambda: played_bars(log) >= 60, killed, paper)
            killed.kill()
        assert 60 <= played_bars(log) < 500
        ask(played, *replay, "--speed", "max")
        newest = log.latest("bar", by="event_time")
        assert newest is not None
        close_ms = newest.event_time + 900_000
        wait_for(log, lambda: reached(log) >= close_ms, paper)
        paper.send_signal(signal.SIGTERM)
        assert paper.wait(timeout=60) == 0
        with open_log(f"sqlite:///{stored}/kalibre_home/log.sqlite") as other:
            for kind in ("signal", "order", "fill", "account"):
                assert said(log, kind) == said(other, kind)
        signals = [event.payload for event in log.read(kinds={"signal"}, start_ms=close_ms - 400 * 900_000)]
        clock_ms = 0
        for event in log.read(kinds={"tick", "bar"}):
            if isinstance(event.payload, Tick):
                clock_ms = event.event_time
            elif clock_ms:  # played: not before its close, and not so late that it would be stale
                assert 0 <= clock_ms - (event.event_time + 900_000) <= 900_000
    assert len(signals) >= 400
    assert all(isinstance(one, Signal) and "stale" not in " ".join(one.reasons) for one in signals)
    assert {one.action for one in signals if isinstance(one, Signal)} == {"ENTRY", "EXIT", "HOLD"}


def test_a_replay_begins_where_it_is_told_to(tmp_path: Path, home: Path) -> None:
    replay = ["ingest", "--symbol", "EDGE", "--source", "replay", "--path", str(home / "later.csv"), "--follow"]
    past, live = ask(tmp_path, *replay, "--live-from", "2024-05-25T12:00")["reports"]
    assert past["bars_written"] + live["bars_written"] == 14_000
    assert ask(tmp_path, *replay)["reports"][-1]["bars_written"] == 0
    with open_log(f"sqlite:///{tmp_path}/kalibre_home/log.sqlite") as log:
        came = [(event.event_time + 900_000 > 1_716_638_400_000, event.provenance) for event in log.read(kinds={"bar"})]
        assert set(came) == {(False, "backfilled"), (True, "replayed")}
        log.append([new_event("clock", now := time.time_ns() // 1_000_000, Tick(now_ms=now))], writer="ingest")
    run(tmp_path, *replay)  # nothing is left to be played, so nothing is wrong
    longer = concat(
        list(open_source("simulated", market="edge", auc=0.68, seed=5, n_bars=14_010).history("EDGE", "15m"))
    )
    longer.to_frame().write_csv(tmp_path / "longer.csv")
    replay[replay.index("--path") + 1] = "longer.csv"
    assert "this log was live until" in run(tmp_path, *replay, code=2).stderr
    assert "not for 'files'" in run(tmp_path, "ingest", "--path", "longer.csv", "--speed", "60x", code=2).stderr
    assert "'soon' is no date" in run(tmp_path, *replay, "--live-from", "soon", code=2).stderr


@contextlib.contextmanager
def staying(folder: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    env = {**os.environ, "PYTHONWARNINGS": "ignore", **FEW}
    process = subprocess.Popen([*KALIBRE, *words], cwd=folder, env=env, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(log: EventLog, there: Callable[[], bool], *running: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 200
    while not there():
        assert all(process.poll() is None for process in running), "it ended before its work was done"
        assert time.monotonic() < deadline, "it did not come in 200 s"
        log.wait(log.head(), 0.1)


def played_bars(log: EventLog) -> int:
    return sum(event.provenance == "replayed" for event in log.read(kinds={"bar"}))


def reached(log: EventLog) -> int:
    account = log.latest("account", key="EDGE|15m|challenger")
    return 0 if account is None else account.event_time


def said(log: EventLog, kind: str) -> list[tuple[Any, ...]]:
    def content(event: Event) -> tuple[Any, ...]:
        return (*event.identity, event.payload)

    return sorted((content(event) for event in log.read(kinds={kind})), key=lambda row: row[:4])


def test_recalibration_wants_later_bars(home: Path) -> None:
    said = run(home, "calibrate", code=1).stderr
    assert "have matured since its study" in said


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["train", "--symbol", "NOPE"], 1, "kalibre ingest --symbol NOPE"),
        (["train", "--timerange", "2024"], 2, "'2024'"),
        (["train", "--timerange", "20240101-", "--days", "3"], 2, "exclude each other"),
        (["train", "--days", "2"], 1, "bars"),
        (["report", "--model", "nobody"], 1, "'nobody'"),
        (["promote", "nobody", "why"], 1, "'nobody'"),
        (["ingest", "--source", "bloomberg"], 2, "'bloomberg'"),
        (["ingest", "--path", "none.csv"], 2, "none.csv"),
        (["rollback"], 1, "nothing to roll back"),
        (["init"], 2, "--force"),
        (["features", "--timeframe", "15x"], 2, "15x"),
    ],
)
def test_what_cannot_be_done_is_quoted(home: Path, words: list[str], code: int, said: str) -> None:
    done = run(home, *words, code=code)
    assert said in done.stderr
    assert done.stdout == ""
    error = ask(home, *words, code=code)["error"]
    assert said in error["message"]


def test_help_is_light_and_lists_every_verb(tmp_path: Path) -> None:
    verbs = [
        "init",
        "ingest",
        "gaps",
        "features",
        "train",
        "calibrate",
        "backtest",
        "report",
        "promote",
        "rollback",
        "serve",
        "predict",
        "paper",
        "kill",
        "verify",
        "doctor",
        "demo",
    ]
    shown = run(tmp_path, "--help").stdout
    assert all(verb in shown for verb in verbs)
    probe = (
        "import sys\n"
        "from kalibre.cli.app import build\n"
        "build()\n"
        "print([m for m in ('numpy','polars','lightgbm','numba','mlflow','fastapi','pandas','httpx','pydantic') "
        "if m in sys.modules])\n"
    )
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "[]"
    probe = (
        "import sys\nfrom kalibre.cli.app import build\n"
        "build()(['--help'], standalone_mode=False)\n"
        "print([m for m in ('rich', 'pygments', 'markdown_it') if m in sys.modules])\n"
    )
    shown = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == "[]", "rich takes longer to import than all the rest of the help"
    for verb in verbs:
        assert "Usage" in run(tmp_path, verb, "--help").stdout


def test_bash_completes_verbs_options_and_choices(tmp_path: Path) -> None:
    """The script that the user installs, asked by bash itself as bash asks it when Tab is pressed."""
    (tmp_path / "kalibre").symlink_to(Path(sys.executable).with_name("kalibre"))
    script = (
        'eval "$(kalibre --show-completion)"\n'
        "complete -p kalibre | grep -q -- '-F _kalibre_completion kalibre' || exit 9\n"
        "press_tab() {\n"
        '  COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()\n'
        '  _kalibre_completion kalibre "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"\n'
        '  echo "${COMPREPLY[@]}"\n'
        "}\n"
        "press_tab kalibre ro\npress_tab kalibre train --time\n"
        "press_tab kalibre verify fe\npress_tab kalibre nothing-\n"
    )
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["rollback", "--timeframe --timerange", "features", ""]


def test_kill_works_with_the_log_damaged(tmp_path: Path) -> None:
    home = tmp_path / "kalibre_home"
    home.mkdir()
    (home / "log.sqlite").write_bytes(b"SQLite format 3\x00" + b"nothing of the sort" * 400)
    done = run(tmp_path, "kill", "now", "--flatten", code=1)
    assert "orders are stopped by the file" in done.stderr
    assert (home / "KILL").read_text() == "flatten\n"


def test_an_unusable_home_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run(tmp_path, "gaps", code=2, KALIBRE_HOME=str(tmp_path / "file" / "below"))
    assert "KALIBRE_HOME" in done.stderr


def test_the_mend_for_a_kill_file_mends(tmp_path: Path) -> None:
    (tmp_path / "kalibre_home").mkdir()
    run(tmp_path, "verify", "log")
    (tmp_path / "kalibre_home" / "KILL").touch()
    assert ask(tmp_path, "kill", "--status", code=4)["engaged"] is True
    (mend,) = (f["mend"] for f in ask(tmp_path, "doctor", code=3)["findings"] if f["part"] == "kill file")
    remove, release = mend.split(" && ")
    subprocess.run(shlex.split(remove), cwd=tmp_path, check=True)
    run(tmp_path, *shlex.split(release)[1:])
    assert ask(tmp_path, "kill", "--status")["engaged"] is False
