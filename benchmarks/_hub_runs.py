"""One run of the whole hub over a stored history, as a user starts it, and what each of its parts cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Run:
    """A finished run: its wall seconds, and of each worker CPU seconds and memory."""

    seconds: float
    events: int
    bars: int
    workers: list[dict[str, Any]]
    home: Path

    @property
    def cpu_s(self) -> float:
        return sum(float(one["cpu_s"]) for one in self.workers)


def kalibre(*words: str, home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a verb in a home of its own."""
    environment = {**os.environ, "KALIBRE_HOME": str(home), **more}
    return subprocess.run(
        [sys.executable, "-m", "kalibre", *words], capture_output=True, text=True, env=environment, check=False
    )


def replay(path: Path, symbols: list[str], timeframe: str, *, home: Path | None = None, **more: str) -> Run:
    """Play a file or folder through the hub at full speed, and return once everything has read everything."""
    place = home or Path(tempfile.mkdtemp(prefix="kalibre-bench-"))
    chosen = [word for symbol in symbols for word in ("--symbol", symbol)]
    began = time.monotonic()
    done = kalibre(
        *("hub", "up", "--replay", str(path), "--folder", str(place), "--port", "0", "--once"),
        *(*chosen, "--timeframe", timeframe),
        home=place,
        **more,
    )
    seconds = time.monotonic() - began
    if done.returncode:
        raise SystemExit(f"the hub ended with {done.returncode}: {done.stderr[-2000:]}")
    told = kalibre("hub", "status", "--json", home=place, **_market(symbols, timeframe), **more)
    status = json.loads(told.stdout)
    late = {one["projection"]: one["behind"] for one in status["projections"] if one["behind"]}
    if late:
        raise SystemExit(f"not everything was read: {late}")
    return Run(seconds, status["head"], _count_bars(place), status["workers"], place)


def _market(symbols: list[str], timeframe: str) -> dict[str, str]:
    return {"KALIBRE_MARKET__SYMBOLS": json.dumps(symbols), "KALIBRE_MARKET__TIMEFRAME": timeframe}


def _count_bars(home: Path) -> int:
    import sqlite3

    with sqlite3.connect(home / "log.sqlite") as connection:
        return int(connection.execute("SELECT coalesce(sum(events), 0) FROM streams WHERE kind = 'bar'").fetchone()[0])


def print_parts(run: Run) -> None:
    """Print what each worker cost."""
    print(f"{'part':<12}{'CPU s':>8}{'memory, MB':>12}{'restarts':>10}")
    for one in sorted(run.workers, key=lambda one: -float(one["cpu_s"])):
        print(f"{one['worker']:<12}{one['cpu_s']:>8.1f}{one['memory_mb']:>12,}{one['restarts']:>10}")
