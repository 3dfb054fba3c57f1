"""A training under kills: `python -m benchmarks._fault_hub_office HOME` does what is due, as the hub's worker of jobs.

A process of its own, for LightGBM and MLflow do not care to be forked.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks._fault_hub_compare import row_of
from benchmarks._fault_kills import Caught
from tests.fakes.models import bar_events

from kalibre.core.clock import ManualClock
from kalibre.core.settings import Settings
from kalibre.hub.jobs import JobWorker, handlers
from kalibre.log import open_log
from kalibre.log.failpoints import VARIABLE
from kalibre.log.jobs import Jobs
from kalibre.sources.simulated import Simulated

ROOT = Path(__file__).resolve().parents[1]
_KINDS = frozenset({"look", "trial", "model", "promotion", "refusal"})
_N_BARS = 4_000


def office_settings(home: Path) -> Settings:
    """Return settings under which a training takes seconds."""
    values: dict[str, Any] = {
        "market": {"source": "simulated", "symbols": ["SIM"], "timeframe": "15m"},
        "model": {"folds": 2, "threshold_pairs": 20, "rounds": 10},
    }
    return Settings(home=home, **values)


def open_office(home: Path) -> None:
    """Put bars and a training that is due into a home."""
    bars = Simulated("edge", auc=0.72, seed=3, n_bars=_N_BARS).simulate("SIM", "15m")[0]
    due_ms = int(bars.close_time[-1]) + 60_000
    home.mkdir()
    with open_log(office_settings(home).log_url) as log:
        log.append(bar_events(bars), writer="ingest", recorded_at_ms=due_ms)
        Jobs(log).enqueue("retrain", "SIM|1", {"symbol": "SIM", "by": "fault", "reason": "drill"}, due_ms=due_ms)


def run_office(home: Path, failpoint: str = "") -> bool:
    """Let a worker do what is due; say whether it died at the named place."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KALIBRE_")}
    environment |= {VARIABLE: failpoint, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks._fault_hub_office", str(home)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if done.returncode not in (0, -signal.SIGKILL):
        raise Caught(f"a training ended with {done.returncode}: {done.stderr.decode(errors='replace')[-1_500:]}")
    return done.returncode != 0


def compare_office(home: Path, other: Path) -> None:
    """Check that a training leaves the same events as another one, and that its job is done."""
    found = []
    for place in (home, other):
        with open_log(office_settings(place).log_url) as log:
            found.append(sorted(row_of(event) for event in log.read(kinds=_KINDS)))
            counts = Jobs(log).counts()
            if counts != {"done": 1}:
                raise Caught(f"jobs: {counts} instead of one that is done")
    if found[0] != found[1]:
        ours, theirs = ({tuple(row) for row in rows} for rows in found)
        raise Caught(
            f"interruption: a training gave {min(ours - theirs, default=None)} instead of the undisturbed one's"
        )


def main(argv: list[str]) -> int:
    """Do what is due; a lease is over at once, so that the next one need not wait for it."""
    settings = office_settings(Path(argv[0]))
    with open_log(settings.log_url) as log:
        row = Jobs(log).rows()[0]
        clock = ManualClock(max(row.due_ms, row.lease_until_ms) + 1)
        JobWorker(log, settings, handlers(), clock=clock, lease_ms=1).run_until_idle()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
