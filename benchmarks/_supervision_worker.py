"""Small workers that get into trouble in one way each, for `benchmarks/supervision.py` and the tests of the supervisor.

    python -m benchmarks._supervision_worker NAME TROUBLE [ARGUMENT] [--times N]

They beat every 20 ms. Trouble begins a few beats after they are online, and not any more after N restarts.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from kalibre.hub.worker_process import RESTARTS, WorkerProcess, adopt

BEAT_S = 0.02
WELL = 5
"""Beats before the trouble."""


def hang(worker: WorkerProcess, argument: str) -> None:
    """Wait for what never comes: in Python, or in compiled code that never lets another thread run."""
    if argument == "compiled":
        re.match(r"(a+)+$", "a" * 64 + "b")
    threading.Event().wait()


def hog(worker: WorkerProcess, argument: str) -> None:
    """Take a megabyte more with every beat, up to so many; keep beating, as a leak does."""
    held: list[bytes] = []
    while not worker.wait(BEAT_S / 4):
        if len(held) < int(argument):
            held.append(os.urandom(1_000_000))
        worker.beat(len(held))


def crash(worker: WorkerProcess, argument: str) -> None:
    """Fail with a trace."""
    raise RuntimeError(argument or "planted")


def port(worker: WorkerProcess, argument: str) -> None:
    """Listen on a port, as the API does."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", int(argument)))
        listener.listen()
        calm(worker, "")


def disk(worker: WorkerProcess, argument: str) -> None:
    """Write to a file with every beat, as the log does."""
    while not worker.wait(BEAT_S):
        with open(argument, "ab", buffering=0) as stream:
            stream.write(b"x" * 100)
        worker.beat(1)


def deaf(worker: WorkerProcess, argument: str) -> None:
    """Take no notice of SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        worker.beat(1)
        time.sleep(BEAT_S)


def mute(worker: WorkerProcess, argument: str) -> None:
    """Beat on, and never get further than starting."""
    while not worker.wait(BEAT_S):
        worker.beat(0, "starting")


def parent(worker: WorkerProcess, argument: str) -> None:
    """Start a child in the same session that nobody stops; its id goes to the file named."""
    child = subprocess.Popen(["sleep", "1000"])
    with open(argument, "w", encoding="ascii") as stream:
        stream.write(str(child.pid))
    calm(worker, "")


def end(worker: WorkerProcess, argument: str) -> None:
    """End well."""
    sys.exit(int(argument or 0))


def calm(worker: WorkerProcess, argument: str) -> None:
    """Be no trouble at all."""
    beats = 0
    while not worker.wait(BEAT_S):
        beats += 1
        worker.beat(beats)


TROUBLES: dict[str, Callable[[WorkerProcess, str], None]] = {
    one.__name__: one for one in (calm, crash, deaf, disk, end, hang, hog, mute, parent, port)
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("trouble", choices=sorted(TROUBLES))
    parser.add_argument("argument", nargs="?", default="")
    parser.add_argument("--times", type=int, default=1_000_000)
    parser.add_argument("--limit-s", type=float, default=60.0)
    options = parser.parse_args()
    with adopt(options.name, heartbeat_limit_s=options.limit_s) as worker:
        if options.trouble in ("mute", "port"):
            TROUBLES[options.trouble](worker, options.argument)
        for beats in range(1, WELL + 1):
            worker.beat(beats)
            worker.wait(BEAT_S)
        well = int(os.environ.get(RESTARTS, "0")) >= options.times
        TROUBLES["calm" if well else options.trouble](worker, options.argument)
    return 0


if __name__ == "__main__":
    sys.exit(main())
