"""One run of the whole hub over a stored history, as a user starts it, and what each of its parts cost."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kalibre.core.timeframe import timeframe_ms
from kalibre.hub.worker_process import Beat, read_beat


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


class Hub:
    """A hub that runs: where it answers, and how it goes on."""

    def __init__(self, process: subprocess.Popen[str], home: Path, address: str) -> None:
        self.process, self.home, self.address = process, home, address
        self.port = int(address.rpartition(":")[2])

    def get(self, path: str) -> bytes:
        """Return what it answers."""
        with urllib.request.urlopen(self.address + path, timeout=30) as answer:
            return bytes(answer.read())

    def ended(self) -> bool:
        """Say whether it has ended by itself."""
        return self.process.poll() is not None

    def bars(self, key: str) -> int:
        """Return how many bars of a series the log holds."""
        from kalibre.log import open_log

        with open_log(f"sqlite:///{self.home / 'log.sqlite'}") as log:
            progress = log.progress("scorer")
            last = log.latest("league", key=key, by="event_time")
            if progress is None or last is None:
                return 0
            first = log.read(kinds={"bar"}, key=key, limit=1)[0]
            step_ms = timeframe_ms(key.rpartition("|")[2])
            return (last.event_time - first.event_time) // step_ms


def beats(home: Path) -> list[tuple[str, Beat]]:
    """Return the newest beat of every worker that runs."""
    found = [(path.stem, read_beat(path)) for path in sorted((home / "run").glob("*.beat"))]
    return [(name, beat) for name, beat in found if beat is not None and beat.phase not in ("starting", "stopped")]


@contextlib.contextmanager
def running(
    path: Path,
    symbols: list[str],
    timeframe: str,
    *,
    home: Path,
    once: bool = False,
    speed: str = "max",
    port: int = 0,
    **more: str,
) -> Iterator[Hub]:
    """Start the hub on a replay and yield it once it says where its page is; it is stopped at the end."""
    chosen = [word for symbol in symbols for word in ("--symbol", symbol)]
    words = ["hub", "up", "--replay", str(path), "--folder", str(home), "--port", str(port), "--timeframe", timeframe]
    words += ["--speed", speed]
    process = subprocess.Popen(
        [sys.executable, "-m", "kalibre", *words, *chosen, *(["--once"] if once else [])],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "KALIBRE_HOME": str(home), **more},
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if "http://" in line:
                address = line[line.index("http://") :].split()[0].rstrip("/")
                break
        else:
            raise SystemExit(f"the hub ended with {process.wait()} before it said where its page is")
        reader = threading.Thread(target=lambda: [None for _ in process.stderr or ()], daemon=True)
        reader.start()
        yield Hub(process, home, address)
    finally:
        process.terminate()
        process.wait(60)
