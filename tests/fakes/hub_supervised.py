"""A supervisor over small workers that get into trouble, in a thread or as a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from kalibre.core.hub_events import WorkerState
from kalibre.hub.supervisor import Supervisor
from kalibre.hub.watch import Backoff
from kalibre.hub.worker_spec import WorkerSpec

ROOT = Path(__file__).resolve().parents[2]
LOOK_S = 0.03
SHORT = Backoff(first_s=0.05, longest_s=1.0, failures=4, window_s=60.0, cool_down_s=30.0, refused_s=0.1)

# A test run that was begun with nohup hands down that SIGHUP is ignored, which a supervisor honours.
_HOST = """
import json, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from pathlib import Path
from kalibre.hub.supervisor import Supervisor
from kalibre.hub.watch import Backoff
from kalibre.hub.worker_spec import WorkerSpec
told = json.loads(sys.argv[1])
def say(name, state):
    print(json.dumps([name, state.state, state.pid, state.reason]), flush=True)
specs = [WorkerSpec(**{**spec, "start_after": tuple(spec["start_after"])}) for spec in told["specs"]]
Supervisor(specs, run_dir=Path(told["run_dir"]), on_state=say, look_s=told["look_s"]).run()
"""


def worker(
    name: str, trouble: str = "calm", argument: object = "", *, times: int | None = None, **more: Any
) -> WorkerSpec:
    """Return a worker of `benchmarks/_supervision_worker.py`."""
    command = [sys.executable, "-m", "benchmarks._supervision_worker", name, trouble, str(argument)]
    command += [] if times is None else ["--times", str(times)]
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    return WorkerSpec(**{"name": name, "command": command, "environment": environment, "grace_s": 2.0, **more})


def wait_for(true: Callable[[], Any], timeout_s: float = 20.0, what: str = "") -> Any:
    """Wait until something holds and return it."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = true()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"{what or true} did not come within {timeout_s} s")


class Told:
    """What the supervisor said, as it came."""

    def __init__(self) -> None:
        self.all: list[tuple[str, WorkerState]] = []

    def __call__(self, name: str, state: WorkerState) -> None:
        self.all.append((name, state))

    def of(self, name: str) -> list[WorkerState]:
        return [state for who, state in list(self.all) if who == name]

    def states(self, name: str) -> list[str]:
        return [state.state for state in self.of(name)]

    def wait(self, name: str, state: str, *, count: int = 1, timeout_s: float = 20.0) -> WorkerState:
        """Wait until a worker has been told to be so for so many times; return the last of them."""

        def there() -> list[WorkerState]:
            return [one for one in self.of(name) if one.state == state][count - 1 :]

        try:
            return wait_for(there, timeout_s)[0]
        except AssertionError:
            raise AssertionError(f"{name} was not {state} {count} times: {self.all}") from None


@contextlib.contextmanager
def running(specs: list[WorkerSpec], run_dir: Path, **more: Any) -> Iterator[tuple[Supervisor, Told]]:
    """Run a supervisor in a thread; afterwards it is stopped, and nothing is left."""
    told: Any = more.pop("on_state", Told())
    supervisor = Supervisor(specs, run_dir=run_dir, on_state=told, **{"look_s": LOOK_S, "backoff": SHORT, **more})
    failed: list[BaseException] = []

    def run() -> None:
        try:
            supervisor.run()
        except BaseException as error:  # noqa: BLE001  (raised again in the test's own thread)
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield supervisor, told
    finally:
        supervisor.stop("the test")
        thread.join(20)
        assert not thread.is_alive()
        if failed:
            raise failed[0]


@contextlib.contextmanager
def hosted(specs: list[WorkerSpec], run_dir: Path) -> Iterator[tuple[subprocess.Popen[str], Callable[[], list[Any]]]]:
    """Run a supervisor as a process; yields it and a function that waits for the next transition it tells."""
    told = json.dumps({"specs": [asdict(spec) for spec in specs], "run_dir": str(run_dir), "look_s": LOOK_S})
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    command = [sys.executable, "-c", _HOST, told]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        try:
            yield process, lambda: json.loads(process.stdout.readline())  # type: ignore[union-attr]
        finally:
            process.kill()


def gone(pid: int) -> bool:
    """Say whether a process has ended; one that nobody has waited for yet has."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True
