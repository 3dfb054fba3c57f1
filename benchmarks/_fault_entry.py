"""Killing a real entry point: a command of its own in a fresh interpreter, not a fork of a warm parent.

As a program (`python -m benchmarks._fault_entry URL FOLDER module:factory`) it is the smallest such entry point: it
follows the log until SIGTERM. `kill_entry` kills any other as well, given as an argv.
"""

from __future__ import annotations

import importlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from benchmarks._fault_kills import PATIENCE_S, Caught


def load_factory(dotted: str) -> Callable[[], Any]:
    """Import `module:name`, a callable without arguments that makes a projection."""
    module, _, name = dotted.partition(":")
    found: Callable[[], Any] = getattr(importlib.import_module(module), name)
    return found


def kill_entry(
    argv: Sequence[str],
    *,
    probe: Callable[[], int],
    kills: int,
    dice: random.Random,
    feed: Callable[[int], None] = lambda _: None,
    caught_up: Callable[[], bool] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> int:
    """Start a command and kill it after progress, so many times; then let it catch up and end it by SIGTERM.

    Parameters
    ----------
    argv
        The command, for example `[sys.executable, "-m", "kalibre", "paper"]`.
    probe
        Returns a number that grows when the command commits something. It may open a log, and must close it.
    kills
        How often; `feed(number)` is called before each to give it something to do, and a last time with `kills`.
    caught_up
        Says when all is done and SIGTERM may end it; None: when `probe` has grown once more.

    Returns
    -------
    The number of kills. Raises `Caught` if the command ends by itself, makes no progress, or not cleanly on SIGTERM.
    """
    for number in range(kills + 1):
        feed(number)
        before = probe()
        last = number == kills
        with tempfile.TemporaryFile() as told:  # a pipe that nobody reads would hold a talkative command up
            process = subprocess.Popen(
                list(argv),
                env=None if env is None else dict(env),
                cwd=cwd,
                stdout=subprocess.DEVNULL,
                stderr=told,
                start_new_session=True,
            )
            try:
                deadline = time.monotonic() + PATIENCE_S
                while probe() <= before if not last or caught_up is None else not caught_up():
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise Caught(f"{' '.join(argv)} ended with {process.poll()} before it got on: {_end_of(told)}")
                    time.sleep(0.005)
                if last:
                    process.terminate()
                    if process.wait(PATIENCE_S) not in (0, 130, 143):
                        raise Caught(f"{' '.join(argv)} ended with {process.returncode} on SIGTERM: {_end_of(told)}")
                else:
                    until = time.perf_counter() + dice.random() * 0.02
                    while time.perf_counter() < until:
                        pass
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return kills


def _end_of(told: IO[bytes]) -> str:
    told.seek(0)
    return told.read().decode(errors="replace")[-2000:]


def main(argv: list[str]) -> int:
    """Follow a log until SIGTERM."""
    from kalibre.log import open_log
    from kalibre.log.runner import Runner

    url, folder, factory = argv
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with open_log(url) as log:
        runner = Runner(
            log, load_factory(factory)(), snapshots_dir=Path(folder), batch_size=8, snapshot_every_events=100
        )
        runner.follow(stop.is_set, poll_s=0.05)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
