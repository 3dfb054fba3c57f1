"""A busy paper engine in a process of its own, bars hammered at it from another, and a kill switch pulled in between.

python -m tests.fakes.kill_hammer paper LOG_URL HOME       follows the log until its standard input closes
python -m tests.fakes.kill_hammer bars LOG_URL HOME        appends bars until its standard input closes
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.fakes.models import bar_events, random_bars, small_bundle
from tests.fakes.trading import SERIES, projection, promotion

from kalibre.core.clock import SystemClock
from kalibre.core.events import Kill
from kalibre.features.engine import FeatureSpec
from kalibre.log import open_log
from kalibre.log.protocol import EventLog
from kalibre.log.runner import Runner
from kalibre.models.acting import load_acting
from kalibre.trading.kill_switch import KillSwitch

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = ("roc_10", "realised_volatility_20", "range_relative", "roc_3")
CHUNK = 16


@dataclass(frozen=True)
class Stop:
    """One pull of the switch: wall times in milliseconds, positions in the log."""

    way: str
    called_ms: int
    stored_ms: int
    """When the kill event was recorded."""
    kill_seq: int
    release_seq: int


def _closed_input() -> threading.Event:
    closed = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), closed.set()), daemon=True).start()
    return closed


def paper(url: str, home: Path) -> None:
    """Follow the log with a model whose thresholds order at almost every bar."""
    closed = _closed_input()
    with open_log(url) as log:
        engine = projection(partial(load_acting, home / "models"), FeatureSpec("15m", columns=COLUMNS))
        runner = Runner(log, engine, snapshots_dir=home / "snapshots", batch_size=CHUNK, kill_file=home / "KILL")
        runner.recover()
        print("ready", flush=True)
        runner.follow(closed.is_set, 0.005)


def bars(url: str, home: Path) -> None:
    """Append bars, a chunk at a time, as long as the paper engine keeps up."""
    closed = _closed_input()
    events = bar_events(random_bars(400_000, seed=3))
    with open_log(url) as log:
        print("ready", flush=True)
        for start in range(0, len(events), CHUNK):
            log.append(events[start : start + CHUNK], writer="ingest")
            while not closed.is_set() and _behind(log, events[start].event_time):
                time.sleep(0.001)
            if closed.is_set():
                return


def _behind(log: EventLog, time_ms: int) -> bool:
    latest = log.latest("account", key=f"{SERIES}|champion")
    return latest is None or latest.event_time < time_ms - 4 * CHUNK * 900_000


@contextmanager
def hammering(url: str, home: Path) -> Iterator[EventLog]:
    """Run paper engine and bars in two processes, and yield a log to watch them with."""
    bundle = small_bundle(columns=COLUMNS, entry_threshold=0.59, exit_threshold=0.585)
    bundle.save(home / "models")
    with open_log(url) as log:
        log.append([promotion(bundle)], writer="registry")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
        command = [sys.executable, "-m", "tests.fakes.kill_hammer"]
        running = [
            subprocess.Popen(
                [*command, what, url, str(home)],
                *(-1, None, subprocess.PIPE, subprocess.PIPE),
                cwd=ROOT,
                env=environment,
                text=True,
            )
            for what in ("paper", "bars")
        ]
        try:
            for process in running:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
            yield log
        finally:
            for process in running:
                assert process.stdin is not None
                process.stdin.close()
            for process in running:
                code = process.wait(60)
                assert process.stdout is not None
                process.stdout.close()
                assert code == 0, f"{process.args} ended with {code}"


def wait_for_orders(log: EventLog, after: int, n: int, timeout_s: float = 120.0) -> None:
    """Wait until so many orders were stored behind a position."""
    limit = time.monotonic() + timeout_s
    while len(log.read(after=after, kinds={"order"}, limit=n)) < n:
        assert time.monotonic() < limit, "the paper engine orders nothing"
        time.sleep(0.002)


def pull(log: EventLog, home: Path, way: str, *, timeout_s: float = 60.0) -> Stop:
    """Pull the switch by event or by touching the file, let bars go on, release, and say where all that is."""
    switch, clock = KillSwitch(log, home / "KILL", SystemClock()), SystemClock()
    head, called_ms = log.head(), clock.now_ms()
    if way == "event":
        switch.engage("hammer", "drill")
    else:
        (home / "KILL").touch()
    limit = time.monotonic() + timeout_s
    while not (kills := [e for e in log.read(after=head, kinds={"kill"}) if _engages(e.payload)]):
        assert time.monotonic() < limit, "the kill file was not heeded"
        time.sleep(0.001)
    # The market goes on meanwhile: what the paper engine makes of it must be no order.
    last = log.last_position({"signal"})
    while len(log.read(after=last, kinds={"signal"}, limit=3 * CHUNK)) < 3 * CHUNK:
        assert time.monotonic() < limit, "the paper engine stands still"
        time.sleep(0.002)
    (home / "KILL").unlink(missing_ok=True)
    switch.release("hammer")
    release = log.latest("kill")
    assert release is not None
    return Stop(way, called_ms, kills[0].recorded_at, kills[0].seq, release.seq)


def _engages(payload: object) -> bool:
    return isinstance(payload, Kill) and payload.engaged


if __name__ == "__main__":
    {"paper": paper, "bars": bars}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
