"""What `benchmarks/supervision.py` stands on: the workers it casts, a supervisor in a thread, and what was timed."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kalibre.core.hub_events import WorkerState
from kalibre.hub.supervisor import Supervisor
from kalibre.hub.worker_spec import WorkerSpec

SILENCE_S, START_LIMIT_S = 2.0, 180.0
PATIENCE_S = 120.0
HOG_LIMIT_BYTES = 120_000_000
_SMALL = f"{sys.executable} -m benchmarks._supervision_worker {{name}}"
COMMANDS = {
    "calm": f"{_SMALL} calm",
    "hang": f"{_SMALL} hang compiled --times 1",
    "hog": f"{_SMALL} hog 2000 --times 1",
    "crash": f"{_SMALL} crash planted --times 5",
    "port": f"{_SMALL} port {{port}}",
    "disk": f"{_SMALL} disk {{path}}",
}


@dataclass
class Timed:
    """One trouble, timed: seconds from its planting, None where that does not apply or did not come."""

    trouble: str
    detected_s: float | None
    reported_s: float | None
    mended_s: float | None
    bar: Mapping[str, float]
    reason: str = ""
    wrong: str = ""

    @property
    def passed(self) -> bool:
        """Whether it came, was told in words, and was mended, each within its bar."""
        found = {"detected": self.detected_s, "reported": self.reported_s, "mended": self.mended_s}
        return not self.wrong and all((found[key] or PATIENCE_S) <= bar for key, bar in self.bar.items())


@dataclass
class Cast:
    """The commands of the workers, and the name under which they beat."""

    name: str
    commands: Mapping[str, str]
    environment: dict[str, str] = field(default_factory=dict)

    def spec(self, role: str, *, port: int = 0, path: str = "", name: str | None = None, **more: Any) -> WorkerSpec:
        """Return the worker of a role."""
        chosen = name or self.name
        command = shlex.split(self.commands[role].format(name=chosen, port=port, path=path))
        limits = {"heartbeat_limit_s": SILENCE_S, "starting_limit_s": START_LIMIT_S, **more}
        return WorkerSpec(name=chosen, command=command, environment=self.environment, **limits)


class Watched:
    """A supervisor in a thread, with what it says and when."""

    def __init__(self, supervisor: Supervisor, run_dir: Path, told: list[tuple[float, str, WorkerState]]) -> None:
        self.supervisor, self.run_dir, self.told = supervisor, run_dir, told

    def reported(self, name: str, *states: str, after: float = 0.0) -> tuple[float, WorkerState] | None:
        """Return when a worker was first told to be in one of the states after a time, and as what."""
        for at, who, state in list(self.told):
            if who == name and state.state in states and at >= after:
                return at, state
        return None

    def wait(self, name: str, *states: str, after: float = 0.0) -> tuple[float, WorkerState]:
        """Wait until it is told."""
        return until(lambda: self.reported(name, *states, after=after), f"{name} to be {' or '.join(states)}")

    def detected(self, name: str) -> float:
        """Wait until the supervisor holds a worker for anything but well; return when."""
        until(lambda: self.supervisor.workers[name].state not in ("online", "starting"), f"trouble of {name}", 0.002)
        return time.monotonic()


def until(true: Callable[[], Any], what: str, step_s: float = 0.005) -> Any:
    """Wait until something holds and return it."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = true()
        if found:
            return found
        time.sleep(step_s)
    raise TimeoutError(f"waited {PATIENCE_S:.0f} s for {what}")


@contextlib.contextmanager
def supervised(specs: list[WorkerSpec], **more: Any) -> Iterator[Watched]:
    """Run a supervisor as it is delivered, in a folder of its own."""
    told: list[tuple[float, str, WorkerState]] = []
    with tempfile.TemporaryDirectory(prefix="kalibre-supervision-") as folder:
        # Workers of the hub itself find everything from here.
        os.environ["KALIBRE_HOME"] = folder
        run_dir = Path(folder) / "run"
        supervisor = Supervisor(
            specs,
            run_dir=run_dir,
            on_state=lambda name, state: told.append((time.monotonic(), name, state)),
            **more,
        )
        thread = threading.Thread(target=supervisor.run)
        thread.start()
        try:
            yield Watched(supervisor, run_dir, told)
        finally:
            supervisor.stop("the benchmark")
            thread.join(PATIENCE_S)
