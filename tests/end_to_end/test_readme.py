"""README's commands, typed as a newcomer would, against an exchange on loopback; both languages show the same ones."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.exchange import exchange_in_thread

from kalibre.core.bars import concat
from kalibre.log import open_log
from kalibre.sources import open_source

ROOT = Path(__file__).resolve().parents[2]
STEP_MS = 900_000


def commands(name: str) -> list[str]:
    blocks = re.findall(r"^```\n(.*?)^```", (ROOT / name).read_text(encoding="utf-8"), flags=re.M | re.S)
    return [line for block in blocks for line in block.splitlines() if line.startswith("kalibre ")]


def verbs(name: str) -> list[str]:
    return [shlex.split(line)[1] for line in commands(name)]


def test_both_languages_show_the_same_commands() -> None:
    assert verbs("README.md") == verbs("README.tr.md")
    english, turkish = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.tr.md"))
    for name in re.findall(r"\]\(([^)#]+)\)", english + turkish):
        assert (ROOT / name).exists(), f"README links to {name}, which is not there"


def test_every_command_of_the_docs_exists() -> None:
    pages = ("README.md", "README.tr.md", "docs/guide.md", "docs/hub.md", "docs/language.md")
    lines = [line for page in pages for line in commands(page)]
    assert len(lines) > 20
    helps: dict[str, str] = {}
    for line in lines:
        _, verb, *words = shlex.split(line)
        # A group has verbs of its own: `kalibre hub up`.
        named = (verb, words.pop(0)) if verb in ("hub", "nlp", "news", "corpus", "tokenizer") else (verb,)
        verb = " ".join(named)
        if verb not in helps:
            done = subprocess.run(
                [sys.executable, "-m", "kalibre", *named, "--help"],
                env={**os.environ, "COLUMNS": "200"},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{line}: there is no such verb"
            helps[verb] = done.stdout
        for word in words:
            assert not word.startswith("--") or word in helps[verb], f"{line}: {word} is no option of {verb}"


def test_the_make_targets_of_readme_are_there() -> None:
    shown = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in re.findall(r"^make (\w+)$", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.M):
        assert f"make {target}" in shown


def test_the_python_of_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (snippet,) = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.M | re.S
    )
    scope: dict[str, object] = {}
    exec(compile(snippet, "README.md", "exec"), scope)
    assert len(scope["bars"]) > 1_000  # type: ignore[arg-type]
    assert scope["verdict"]


class Newcomer:
    """Types commands in an empty folder; follows keep running until `leave`."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder = folder
        self.env = {**os.environ, "PYTHONWARNINGS": "ignore", **env}
        self.running: dict[str, subprocess.Popen[str]] = {}

    def type(self, line: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *shlex.split(line)],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, f"{line}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def stay(self, line: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", *shlex.split(line)],
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.running[line] = process
        return process

    def leave(self) -> None:
        """Stop what runs, as Ctrl-C would."""
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        for line, process in self.running.items():
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 0, f"{line}: exit {process.returncode} on SIGTERM\n{errors}"
        self.running.clear()


@contextlib.contextmanager
def newcomer(folder: Path, env: dict[str, str]) -> Iterator[Newcomer]:
    person = Newcomer(folder, env)
    try:
        yield person
    finally:
        for process in person.running.values():
            process.kill()
            process.communicate()


def test_the_way_of_a_newcomer(tmp_path: Path) -> None:
    now_ms = time.time_ns() // 1_000_000
    newest = now_ms // STEP_MS * STEP_MS
    source = open_source(
        "simulated", market="edge", auc=0.68, seed=4, n_bars=14_000, start_ms=newest - 14_000 * STEP_MS
    )
    bars = concat(list(source.history("BTCUSDT", "15m")))
    trained_until = int(bars.open_time[-9])
    with exchange_in_thread({"BTCUSDT": bars}, now_ms=trained_until) as exchange:
        env = {
            "KALIBRE_MARKET__SOURCE_OPTIONS": json.dumps({"rest_url": exchange.rest_url, "ws_url": exchange.ws_url}),
            "KALIBRE_MODEL__FOLDS": "3",
            "KALIBRE_MODEL__ROUNDS": "80",
            "KALIBRE_MODEL__THRESHOLD_PAIRS": "200",
            "KALIBRE_API__PORT": "0",
        }
        with newcomer(tmp_path, env) as person:
            model, address = "", ""
            for line in commands("README.md"):
                verb = shlex.split(line)[1]
                if "--follow" in line:
                    person.stay(line)
                elif verb == "serve":
                    errors = person.stay(line).stderr
                    assert errors is not None
                    match = re.search(r"http://\S+", errors.readline())
                    assert match is not None
                    address = match.group()
                elif verb == "promote":
                    # What does not qualify is refused with exit code 1; in shadow it trades all the same.
                    person.type(line.replace("MODEL", model) + " --challenger")
                elif verb == "kill":
                    exchange.advance_to(now_ms)
                    follow_to(tmp_path, int(bars.close_time[-1]))
                    answer = json.load(urllib.request.urlopen(f"{address}/ml/predict?symbol=BTCUSDT&shadow=1"))
                    assert answer["challenger"]["model"] == model
                    assert answer["signal"] == "HOLD"
                    person.type(line)
                elif verb == "hub":
                    person.leave()  # the hub does all that by itself
                    errors = person.stay(line).stderr
                    assert errors is not None
                    told = next(line for line in errors if "its page:" in line)
                    page = urllib.request.urlopen(told.split()[-1]).read().decode()
                    assert "<title>Kalibre" in page
                else:
                    out = person.type(line)
                    found = re.search(r"model +(\S+)", out)
                    model = found.group(1) if found else model
            person.leave()
        with open_log(f"sqlite:///{tmp_path}/kalibre_home/log.sqlite") as log:
            kill = log.latest("kill")
            assert kill is not None
            assert all(order.seq < kill.seq for order in log.read(kinds={"order"}))


def follow_to(folder: Path, close_ms: int) -> None:
    """Wait until the paper engine has taken in the bar that closed then."""
    deadline = time.monotonic() + 90
    with open_log(f"sqlite:///{folder}/kalibre_home/log.sqlite") as log:
        while time.monotonic() < deadline:
            account = log.latest("account", key="BTCUSDT|15m|challenger")
            if account is not None and account.event_time >= close_ms:
                return
            log.wait(log.head(), 0.2)
    raise AssertionError(f"the paper engine did not reach {close_ms} in 90 s")
