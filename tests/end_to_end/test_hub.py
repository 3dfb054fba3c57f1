"""The hub as a user runs it: a replay through every worker, grouped and apart, killed and gone on with, steered."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest
from tests.fakes.models import random_bars

from kalibre.core.events import Event, encode_payload
from kalibre.core.hub_events import OPERATIONAL
from kalibre.learners.base import learner_names
from kalibre.log import open_log

SYMBOLS = ("AAA", "BBB")
N_BARS = 1_300
SETTINGS = {
    "KALIBRE_MARKET__SYMBOLS": json.dumps(SYMBOLS),
    "KALIBRE_MARKET__TIMEFRAME": "1h",
    "KALIBRE_FEATURES__HIGHER_TIMEFRAMES": "[]",
    "KALIBRE_API__PORT": "0",
    "KALIBRE_LOG__BATCH_SIZE": "64",
}


def environment(home: Path, **more: str) -> dict[str, str]:
    return {**os.environ, **SETTINGS, "KALIBRE_HOME": str(home), **more}


def kalibre(*words: str, home: Path, code: int = 0, **more: str) -> dict[str, Any]:
    """Run a verb with --json and return what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "kalibre", *words, "--json"],
        capture_output=True,
        text=True,
        env=environment(home, **more),
        timeout=240,
        check=False,
    )
    assert done.returncode == code, done.stderr[-3_000:] + done.stdout[-3_000:]
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def start(bars: Path, home: Path, *words: str, **more: str) -> subprocess.Popen[str]:
    home.mkdir(parents=True, exist_ok=True)
    with (home / "said.txt").open("a") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "kalibre", "hub", "up", "--replay", str(bars), "--folder", str(home), *words],
            stdout=subprocess.DEVNULL,
            stderr=said,
            text=True,
            env=environment(home, **more),
        )


def play(bars: Path, home: Path, **more: str) -> None:
    """Play everything, to the end."""
    process = start(bars, home, "--once", **more)
    assert process.wait(240) == 0, (home / "said.txt").read_text()[-4_000:]


def told(home: Path) -> list[tuple[str, str, int, int, bytes]]:
    """Return what the log says of the market: without positions and wall times, and nothing about the running."""
    with open_log(f"sqlite:///{home / 'log.sqlite'}") as log:
        return sorted(map(_content, (event for event in log.read() if event.kind not in OPERATIONAL)))


def _content(event: Event) -> tuple[str, str, int, int, bytes]:
    return (*event.identity, encode_payload(event.payload))


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bars")
    for seed, symbol in enumerate(SYMBOLS):
        series = random_bars(N_BARS, seed=seed)
        columns = {name: getattr(series, name) for name in ("open", "high", "low", "close", "volume")}
        times = {"open_time": 1_704_067_200_000 + 3_600_000 * pl.int_range(N_BARS, eager=True)}
        pl.DataFrame(times | columns).write_parquet(folder / f"{symbol}_1h.parquet")
    return folder


@pytest.fixture(scope="module")
def played(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("hub")
    play(bars, home)
    return home


def test_every_learner_spoke_of_every_bar_and_was_judged(played: Path) -> None:
    with open_log(f"sqlite:///{played / 'log.sqlite'}") as log:
        for symbol in SYMBOLS:
            for name in (*learner_names("forecaster"), "champion"):
                assert len(log.read(kinds={"forecast"}, key=f"{symbol}|1h|{name}")) == N_BARS
            for name in learner_names("annotator"):
                assert len(log.read(kinds={"annotation"}, key=f"{symbol}|1h|{name}")) == N_BARS
            assert len(log.read(kinds={"ensemble"}, key=f"{symbol}|1h|ensemble")) == N_BARS
            said = log.latest("ensemble", key=f"{symbol}|1h|ensemble", by="event_time")
            assert said is not None
            assert said.payload.p_up is not None  # type: ignore[attr-defined]
        # A period ends with the first bar of the next one: the last bar's is still open.
        assert len(log.read(kinds={"league"}, key="AAA|1h")) == N_BARS - 1
    status = kalibre("hub", "status", home=played)
    assert {row["phase"] for row in status["workers"]} == {"stopped"}
    assert {row["restarts"] for row in status["workers"]} == {0}
    assert all(row["behind"] == 0 for row in status["projections"])


def test_what_was_learnt_equals_a_replay(played: Path) -> None:
    found = kalibre("verify", "state", "--of", "all", home=played)
    assert found["equal"], found
    assert {one["projection"] for one in found["projections"]} >= {*learner_names(), "ensemble", "scorer", "paper"}
    assert all(one["states"] >= 1 for one in found["projections"])


def test_apart_is_the_same_as_grouped(bars: Path, played: Path, tmp_path: Path) -> None:
    play(bars, tmp_path, KALIBRE_HUB__GROUPING="apart", KALIBRE_LOG__BATCH_SIZE="7")
    assert told(tmp_path) == told(played)


def test_killed_whole_and_started_again_is_the_same_as_undisturbed(bars: Path, played: Path, tmp_path: Path) -> None:
    for _ in range(3):
        process = start(bars, tmp_path, "--once")
        limit, before = time.monotonic() + 120, _head(tmp_path)
        while _head(tmp_path) < before + 3_000 and process.poll() is None:
            assert time.monotonic() < limit
            time.sleep(0.05)
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        _, alive = psutil.wait_procs(children, timeout=10)
        assert alive == [], "orphans are left"
    play(bars, tmp_path)
    assert told(tmp_path) == told(played)


def _head(home: Path) -> int:
    if not (home / "log.sqlite").exists():
        return 0
    with open_log(f"sqlite:///{home / 'log.sqlite'}") as log:
        return log.head()


def test_what_was_learnt_can_be_read_kept_and_steered(played: Path, tmp_path: Path) -> None:
    for name in learner_names():
        shown = kalibre("hub", "show", name, home=played)
        assert set(shown["series"]) == {f"{symbol}|1h" for symbol in SYMBOLS}
        assert shown["series"]["AAA|1h"]["bars"] == N_BARS
    league = kalibre("hub", "league", home=played)["league"]
    assert {row["name"] for row in league["AAA"]["rows"]} >= {"base rate", "ensemble", *learner_names("forecaster")}
    for what, form in (("predictions", "jsonl"), ("metrics", "parquet"), ("training", "jsonl")):
        path = tmp_path / f"{what}.{form}"
        assert kalibre("hub", "export", what, str(path), home=played)["rows"] > 0
        assert path.stat().st_size > 0


def test_bad_words_are_refused_with_what_to_do(played: Path, tmp_path: Path) -> None:
    cases = (
        (("hub", "show", "nobody"), "nobody"),
        (("hub", "worker", "nobody"), "nobody"),
        (("hub", "restore", "agents", "feed"), "feed"),
        (("hub", "export", "metrics", str(tmp_path / "x.csv")), "x.csv"),
        (("hub", "restart", "learners"), "kalibre hub up"),
        (("hub", "up", "--once"), "--replay"),
        (("hub", "up", "--replay", "nowhere.parquet"), "nowhere.parquet"),
    )
    for words, quoted in cases:
        done = subprocess.run(
            [sys.executable, "-m", "kalibre", *words],
            capture_output=True,
            text=True,
            env=environment(played),
            timeout=60,
            check=False,
        )
        assert done.returncode in (1, 2), (words, done.stdout)
        assert quoted in done.stderr, (words, done.stderr)
