"""Verbs of `kalibre hub` over a log of their own: the jobs as a person and a program read them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from kalibre.cli.app import build
from kalibre.core.settings import Settings
from kalibre.log import open_log
from kalibre.log.jobs import Jobs

NOW_MS = 1_750_000_000_000
Ask = Callable[..., tuple[int, str]]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    return Settings()


@pytest.fixture
def ask(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Return a function that runs a verb of `kalibre hub` in this process and gives back exit code and output."""

    def asked(*words: str) -> tuple[int, str]:
        code = typer.main.get_command(build()).main(["hub", *words], standalone_mode=False) or 0
        return code, capsys.readouterr().out

    return asked


@pytest.fixture
def queue(settings: Settings) -> None:
    """Queue one job of each kind of fate."""
    settings.home.mkdir()
    with open_log(settings.log_url) as log:
        jobs = Jobs(log)
        for name, key in (("retrain", "BTCUSDT|1"), ("export", "[daily]"), ("retrain", "ETHUSDT|2"), ("export", "b")):
            jobs.enqueue(name, key, {"by": "somebody"}, due_ms=NOW_MS)
        first = jobs.claim(NOW_MS, "host:1", 30_000)
        assert first is not None
        jobs.complete(first, [], result={"model": "gb-1", "verdict": "refused"})
        second = jobs.claim(NOW_MS, "host:1", 30_000)
        assert second is not None
        jobs.fail(second, "the disk [b] is full", NOW_MS + 60_000)
        third = jobs.claim(NOW_MS, "host:2", 30_000)
        assert third is not None


def jobs_of(told: str) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in json.loads(told)["jobs"]}


def test_jobs_are_told_as_they_stand(ask: Ask, queue: None) -> None:
    code, told = ask("jobs", "--json")
    rows = jobs_of(told)
    assert code == 0
    assert list(rows) == ["export|b", "retrain|ETHUSDT|2", "export|[daily]", "retrain|BTCUSDT|1"], "newest first"
    assert [(row["state"], row["attempt"], row["max_attempts"]) for row in rows.values()] == [
        *(("queued", 0, 3), ("running", 1, 3), ("queued", 1, 3), ("done", 1, 3)),
    ]
    running, failed, done = rows["retrain|ETHUSDT|2"], rows["export|[daily]"], rows["retrain|BTCUSDT|1"]
    assert (running["owner"], running["lease_until_ms"]) == ("host:2", NOW_MS + 30_000)
    assert (failed["ready_ms"], failed["due_ms"], failed["last"]) == (NOW_MS + 60_000, NOW_MS, "the disk [b] is full")
    assert done["last"] == "model gb-1, verdict refused"
    assert rows["export|b"]["last"] == "queued"
    assert all(row["last_at_ms"] > NOW_MS for row in rows.values())
    assert json.loads(told)["counts"] == {"done": 1, "queued": 2, "running": 1}


def test_jobs_are_chosen_by_state_and_number(ask: Ask, queue: None) -> None:
    assert list(jobs_of(ask("jobs", "--json", "--state", "queued")[1])) == ["export|b", "export|[daily]"]
    assert list(jobs_of(ask("jobs", "--json", "--limit", "1")[1])) == ["export|b"]
    assert jobs_of(ask("jobs", "--json", "--state", "skipped")[1]) == {}


def test_jobs_are_told_in_words(ask: Ask, queue: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "240")
    told = ask("jobs")[1]
    line = {row.split()[0]: row for row in told.splitlines() if row.strip()}
    assert "leased to host:2 until 2025-06-15 18:07" in line["retrain|ETHUSDT|2"]
    assert "again from 2025-06-15 18:07" in line["export|[daily]"]
    assert "the disk [b] is full" in line["export|[daily]"], "brackets are words, not colours"
    assert "model gb-1, verdict refused" in line["retrain|BTCUSDT|1"]
    assert told.splitlines()[-1] == "1 done, 2 queued, 1 running"


def test_without_jobs_it_says_how_to_get_one(ask: Ask) -> None:
    assert "kalibre hub retrain" in ask("jobs")[1]
