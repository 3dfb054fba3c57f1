"""What the doctor finds in the hub: silence, a worker in error, a reader that lags, a target that refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kalibre.core.events import Tick, new_event
from kalibre.core.hub_events import WorkerState
from kalibre.core.settings import Settings, load_settings
from kalibre.hub import findings
from kalibre.hub.findings import hub_findings
from kalibre.log import open_log
from kalibre.log.protocol import Progress


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path, hub={"learners": ("agents",)})


def test_where_no_hub_ever_ran_there_is_nothing_to_find(settings: Settings) -> None:
    assert hub_findings(settings) == []


def test_a_worker_that_was_killed_is_silent_and_one_that_beats_is_well(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "from kalibre.hub.worker_process import Heart\nfrom pathlib import Path\nimport os, sys\n"
    code += "Heart('learners', Path(sys.argv[1])).beat(7)\nos.kill(os.getpid(), 9)\n"
    subprocess.run([sys.executable, "-c", code, str(settings.home / "run")], check=False)
    (found,) = hub_findings(settings)
    assert (found.part, found.level) == ("hub", "ok")
    monkeypatch.setattr(findings, "_SILENT_S", -1.0)
    (found,) = hub_findings(settings)
    assert (found.part, found.level) == ("worker learners", "degraded")
    assert found.mend == "kalibre hub restart learners"


def test_an_error_and_a_lag_are_told_with_what_mends_them(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "_LAG", 2)
    with open_log(settings.log_url) as log:
        state = WorkerState(state="error", reason="failed 5 times within 15 minutes")
        log.append([new_event("judges", 1, state)], writer="supervisor")
        log.append([new_event("clock", k, Tick(now_ms=k)) for k in range(5)], writer="clock")
        with log.transaction() as transaction:
            transaction.set_progress("agents", Progress(seq=1, version="x"))
    late, failed = hub_findings(settings)
    assert (late.part, late.mend) == ("agents", "kalibre hub up")
    assert "5 positions" in late.found
    assert (failed.part, failed.mend) == ("worker judges", "kalibre hub restart judges")
    assert "failed 5 times" in failed.found
