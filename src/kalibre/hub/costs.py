"""What each projection costs: processor time, and what it keeps in mind; told beside its worker's heartbeat."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np

from kalibre.core.protocols import State

SUFFIX = ".costs"
_TOLD_EVERY_S = 2.0
_WEIGHED_EVERY_S = 60.0


class Cost(msgspec.Struct, frozen=True):
    """Processor seconds since its worker was started, and the bytes that its state takes."""

    cpu_s: float
    state_bytes: int


class Costs:
    """Measures what the projections of one worker cost, and writes it into the run folder now and then.

    Neither is in the log: they are of this machine and this run. A disk that refuses the file costs nothing but that.

    Parameters
    ----------
    path
        The file, `WORKER.costs`.
    states
        By projection, what returns its state.
    """

    def __init__(
        self, path: Path, states: dict[str, Callable[[], State]], *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._path, self._states, self._now_s = path, states, now_s
        self._cpu_s = dict.fromkeys(states, 0.0)
        self._bytes = dict.fromkeys(states, 0)
        self._told_s = self._weighed_s = -float("inf")

    @contextlib.contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Count the processor time of what is done meanwhile as this projection's."""
        before = time.thread_time()
        try:
            yield
        finally:
            self._cpu_s[name] += time.thread_time() - before

    def tell(self) -> None:
        """Write the file, if the last time is long enough ago."""
        now_s = self._now_s()
        if now_s - self._told_s < _TOLD_EVERY_S:
            return
        self._told_s = now_s
        if now_s - self._weighed_s >= _WEIGHED_EVERY_S:
            self._weighed_s = now_s
            self._bytes = {name: size_of(state()) for name, state in self._states.items()}
        found = {name: Cost(round(self._cpu_s[name], 3), self._bytes[name]) for name in self._states}
        beside = self._path.with_name(f".{self._path.name}")
        with contextlib.suppress(OSError):
            beside.write_bytes(msgspec.json.encode(found))
            os.replace(beside, self._path)


def size_of(state: State) -> int:
    """Return the bytes that a state's arrays and texts take; a number counts as eight.

    Examples
    --------
    >>> size_of({"weights": np.zeros(10), "name": "abc", "n": 5, "none": None})
    91
    """
    total = 0
    for value in state.values():
        if isinstance(value, np.ndarray):
            total += value.nbytes
        elif isinstance(value, str):
            total += len(value)
        elif value is not None:
            total += 8
    return total


def read_costs(run_dir: Path) -> dict[str, Cost]:
    """Return what each projection costs, by name, as the workers that run told last.

    Examples
    --------
    >>> read_costs(Path("there is no such folder"))
    {}
    """
    found: dict[str, Cost] = {}
    for path in sorted(run_dir.glob(f"[!.]*{SUFFIX}")):
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            found |= msgspec.json.decode(path.read_bytes(), type=dict[str, Cost])
    return found
