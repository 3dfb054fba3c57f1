"""The engine of `make fault`: two processes over one log, killed with SIGKILL at any instant, then compared.

One process delivers bars as a source does (in order, in batches of any size, going back a little after each start), the
other runs the projection. Both are forked from a warm parent that never opens a log; each opens its own after the fork.
The parent kills one after it has seen it commit, forks it again, and at the end compares the log with the log of a run
that nobody disturbed.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks._fault_model import STEP_MS

from kalibre.core.errors import KalibreError, LogLockedError, LogUnavailableError
from kalibre.core.events import BarClosed, Event, Kill, Order, Tick, encode_payload, new_event
from kalibre.core.protocols import Projection
from kalibre.log import open_log
from kalibre.log.protocol import EventLog
from kalibre.log.runner import Runner, refold

PATIENCE_S = 120.0
DELIVER, PROJECT = 0, 1
_SLOTS = ("progress_0", "progress_1", "inside_0", "inside_1", "delivered", "granted", "synced")


class Caught(Exception):  # noqa: N818 - what a safety net says, not a failure of the harness
    """One of the nets caught something; its words say which and what."""


class Board:
    """A few numbers that the processes share; they outlive a SIGKILL."""

    def __init__(self, names: Sequence[str] = _SLOTS) -> None:
        self._memory = mmap.mmap(-1, 4096)
        self._numbers = memoryview(self._memory).cast("q")
        self._places = {name: place for place, name in enumerate(names)}

    def __getitem__(self, name: str) -> int:
        """Return a number."""
        return int(self._numbers[self._places[name]])

    def __setitem__(self, name: str, value: int) -> None:
        """Set a number."""
        self._numbers[self._places[name]] = value


@dataclass
class Rig:
    """What is put under torture."""

    url: str
    folder: Path
    make_projection: Callable[[], Projection]
    inputs: list[Event]
    make_runner: Callable[..., Runner] = Runner
    wrap_log: Callable[[EventLog], EventLog] = lambda log: log
    on_commit: Callable[[EventLog, Board], None] | None = None

    @property
    def snapshots(self) -> Path:
        """Folder of snapshots."""
        return self.folder / "snapshots"

    @property
    def kill_file(self) -> Path:
        """The kill switch as a file."""
        return self.folder / "KILL"


@dataclass
class Tally:
    """What was done."""

    kills: int = 0
    inside: int = 0
    rounds: int = 0
    refolded: int = 0
    compared: int = 0
    tails_lost: int = 0
    snapshots_torn: int = 0
    switched: int = 0
    notes: list[str] = field(default_factory=list)


def make_inputs(n_bars: int, seed: int = 7) -> list[Event]:
    """Return two interleaved series with revisions, late bars and ticks, as a source would deliver them."""
    generator = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(generator.normal(0.0, 2e-3, (n_bars, 2)), axis=0))
    volume = generator.gamma(2.0, 25.0, (n_bars, 2))
    odd = generator.random(n_bars)
    events: list[Event] = []
    for i in range(n_bars):
        for s, symbol in enumerate(("AAA", "BBB")):
            if s == 1 and odd[i] < 0.02:
                continue  # a hole in one series delays nothing in the other
            events.append(_bar(f"{symbol}|1m", i, float(close[i, s]), float(volume[i, s])))
        if odd[i] > 0.97:  # the source corrects a bar
            events.append(_bar("AAA|1m", i, float(close[i, 0]) * 1.001, float(volume[i, 0])))
        if odd[i] > 0.99 and i > 3:  # a bar comes late
            events.append(_bar("LATE|1m", i - 3, float(close[i, 1]), 1.0))
        if i % 10 == 0:
            events.append(new_event("clock", i * STEP_MS + STEP_MS, Tick(now_ms=i * STEP_MS + STEP_MS)))
    return events


def _bar(key: str, i: int, close: float, volume: float) -> Event:
    payload = BarClosed(
        open_time=i * STEP_MS, open=close, high=close * 1.001, low=close * 0.999, close=close, volume=volume
    )
    return new_event(key, i * STEP_MS, payload, provenance="received")


# --- the two processes ------------------------------------------------------------------------------------------------


def fork(work: Callable[[], None], errors: Path) -> int:
    """Run work in a forked process; an error is left in a file and makes it exit with 3."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    code = 3
    try:
        work()
        code = 0
    except KalibreError as error:
        (errors / f"{os.getpid()}.txt").write_text(f"{type(error).__name__}: {error}")
    except BaseException as error:  # noqa: BLE001 - the parent raises it
        (errors / f"{os.getpid()}.txt").write_text(f"harness: {error!r}: {traceback.format_exc()}")
    finally:
        os._exit(code)


def _watched(rig: Rig, board: Board, who: int) -> EventLog:
    """Open the log, in this process, and show on the board when a transaction is open."""
    log = rig.wrap_log(open_log(rig.url, patience_s=30.0))
    transaction = log.transaction

    @contextlib.contextmanager
    def watched(*, durable: bool = False) -> Iterator[Any]:
        try:
            with transaction(durable=durable) as opened:
                board[f"inside_{who}"] = 1
                yield opened
        finally:
            board[f"inside_{who}"] = 0

    log.transaction = watched  # type: ignore[method-assign]
    if rig.on_commit is not None:
        sync, after = log.sync, rig.on_commit

        def noted() -> int:
            head = sync()
            after(log, board)
            return head

        log.sync = noted  # type: ignore[method-assign]
    return log


def watch(log: EventLog, board: Board, held_s: float, who: int = 0, suffix: str = "") -> EventLog:
    """Show on the board when a transaction of a log is open; where `hold` names it, let it stay so for a while."""
    transaction, inside, progress = log.transaction, f"inside{suffix}", f"progress{suffix}"

    @contextlib.contextmanager
    def watched(*, durable: bool = False) -> Iterator[Any]:
        try:
            with transaction(durable=durable) as opened:
                board[inside] = 1
                if board["hold"] == -1 - who:  # nothing is written yet
                    time.sleep(held_s)
                yield opened
                if board["hold"] == 1 + who:  # everything is written, nothing is committed
                    time.sleep(held_s)
        finally:
            board[inside] = 0
        board[progress] += 1

    log.transaction = watched  # type: ignore[method-assign]
    return log


def deliver(rig: Rig, board: Board, seed: int) -> None:
    """Append the inputs in order, from a little before where the last process stopped, as far as granted."""
    dice = random.Random(seed)
    log = _watched(rig, board, DELIVER)
    at = max(0, board["delivered"] - dice.randrange(8))
    while at < len(rig.inputs):
        if at >= board["granted"]:
            time.sleep(0.0005)
            continue
        end = min(at + dice.randrange(1, 12), board["granted"])
        try:
            log.append(rig.inputs[at:end], writer="source")
        except (LogUnavailableError, LogLockedError):
            continue  # whether it was committed is unknown: deliver it again
        at = end
        board["delivered"] = max(at, board["delivered"])
        board["progress_0"] += 1


def project(rig: Rig, board: Board, seed: int) -> None:
    """Run the projection until everything is delivered and read."""
    dice = random.Random(seed)
    log = _watched(rig, board, PROJECT)
    runner = rig.make_runner(
        log,
        rig.make_projection(),
        snapshots_dir=rig.snapshots,
        batch_size=dice.choice([1, 2, 5, 16, 64]),
        snapshot_every_events=dice.choice([40, 150, 600]),
        kill_file=rig.kill_file,
    )
    while True:
        all_delivered = board["delivered"] >= len(rig.inputs)
        try:
            if runner.step():
                board["progress_1"] += 1
            elif all_delivered:
                return
            else:
                log.wait(log.head(), 0.002)
        except (LogUnavailableError, LogLockedError):
            continue


# --- killing ----------------------------------------------------------------------------------------------------------


class Torture:
    """One log, from its first event to the comparison."""

    def __init__(self, rig: Rig, dice: random.Random) -> None:
        self.rig = rig
        self.board = Board()
        self._dice = dice
        self._errors = rig.folder / "errors"
        self._errors.mkdir(parents=True, exist_ok=True)
        self._children: dict[int, int | None] = {DELIVER: None, PROJECT: None}

    def start(self, who: int) -> None:
        """Fork one of the two."""
        seed = self._dice.randrange(2**31)
        work = deliver if who == DELIVER else project
        self._children[who] = fork(lambda: work(self.rig, self.board, seed), self._errors)

    def ended(self, who: int) -> bool:
        """Say whether one has ended by itself; an error in it is raised here."""
        child = self._children[who]
        if child is None:
            return True
        found, status = os.waitpid(child, os.WNOHANG)
        if not found:
            return False
        self._children[who] = None
        self._judge(child, status)
        return True

    def _judge(self, child: int, status: int) -> None:
        if os.waitstatus_to_exitcode(status) not in (0, -signal.SIGKILL):
            left = self._errors / f"{child}.txt"
            raise Caught(left.read_text() if left.exists() else f"a process ended with {status}")

    def kill(self, who: int, before: int) -> bool | None:
        """Wait until it has committed more than `before`, let a moment pass, kill it.

        Returns whether a transaction was open, None if the process had come to its end.
        """
        if not self.await_progress(who, before):
            return None
        self.pause_a_moment(who)
        return self.kill_now(who)

    def await_progress(self, who: int, before: int) -> bool:
        """Wait until a process has committed more than `before`; False if it came to its end instead."""
        deadline = time.monotonic() + PATIENCE_S
        while self.board[f"progress_{who}"] == before:
            if self.ended(who):
                return False
            if time.monotonic() > deadline:
                raise Caught(f"no progress within {PATIENCE_S} s")
            time.sleep(0.0001)
        return True

    def pause_a_moment(self, who: int) -> None:
        """Let up to 4 ms pass; half of the times stop as soon as a transaction is open, which is rare by itself."""
        until = time.perf_counter() + self._dice.random() * 0.004
        aimed = self._dice.random() < 0.5
        while time.perf_counter() < until and not (aimed and self.board[f"inside_{who}"]):
            pass

    def kill_now(self, who: int) -> bool | None:
        """Kill it wherever it is."""
        child = self._children[who]
        if child is None:
            return None
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        self._children[who] = None
        self._judge(child, status)
        if os.waitstatus_to_exitcode(status) == 0:
            return None  # it ended in the same moment
        inside = bool(self.board[f"inside_{who}"])
        self.board[f"inside_{who}"] = 0
        return inside

    def stop_all(self) -> None:
        """Leave no process behind."""
        for child in self._children.values():
            if child is not None:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
        self._children = {DELIVER: None, PROJECT: None}

    def finish(self) -> None:
        """Let both come to their end undisturbed."""
        self.board["granted"] = len(self.rig.inputs)
        deadline = time.monotonic() + PATIENCE_S
        for who in (DELIVER, PROJECT):
            if self._children[who] is None:
                self.start(who)
            while not self.ended(who):
                if time.monotonic() > deadline:
                    raise Caught(f"it did not end within {PATIENCE_S} s")
                time.sleep(0.0005)


def in_child(work: Callable[[], Any], folder: Path) -> Any:
    """Run work in a forked process and return what it returned, by way of JSON: the parent never opens a log."""
    folder.mkdir(parents=True, exist_ok=True)
    answer = folder / "answer.json"

    def tell() -> None:
        answer.write_text(json.dumps(work()))

    child = fork(tell, folder)
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status):
        raise Caught((folder / f"{child}.txt").read_text())
    return json.loads(answer.read_text())


# --- comparing --------------------------------------------------------------------------------------------------------


def undisturbed(rig: Rig) -> dict[str, Any]:
    """Run everything once without a fault and return what the log then holds."""
    board = Board()
    board["granted"] = len(rig.inputs)

    def work() -> dict[str, Any]:
        deliver(rig, board, 1)
        project(rig, board, 1)
        return contents(rig)

    return dict(in_child(work, rig.folder / "errors"))


def contents(rig: Rig) -> dict[str, Any]:
    """Return the events without position, provenance, writer and wall time, the state, and what refold says."""
    with rig.wrap_log(open_log(rig.url, patience_s=30.0)) as log:
        events = log.read()
        report = refold(log, rig.make_projection())
        rows = sorted([*map(str, event.identity), encode_payload(event.payload).decode()] for event in events)
        return {
            "rows": rows,
            "state": report.state_digest,
            "refold": list(report.differences),
            "read_all": report.position >= log.last_position(rig.make_projection().reads),
            "check": log.check(),
            "orders_after_kill": orders_after_kill(events),
        }


def orders_after_kill(events: Sequence[Event]) -> list[str]:
    """Return the orders that were recorded while the log said that the kill switch is engaged."""
    engaged, found = False, []
    for event in events:
        if isinstance(event.payload, Kill):
            engaged = event.payload.engaged
        elif isinstance(event.payload, Order) and engaged and event.provenance != "rebuild":
            found.append(str(event.identity))
    return found


def compare(rig: Rig, reference: dict[str, Any] | None) -> None:
    """Check both equalities of design.md, rule 3; without a reference (kill switch thrown) only the first."""
    found = in_child(lambda: contents(rig), rig.folder / "errors")
    if found["check"] or not found["read_all"]:
        raise Caught(f"log check: {found['check'] or 'events were left unread'}")
    if found["refold"]:
        raise Caught(f"refold: {found['refold'][0]}")
    if found["orders_after_kill"]:
        raise Caught(f"kill switch: orders after the kill: {found['orders_after_kill'][:3]}")
    if reference is None:
        return
    if found["rows"] != reference["rows"]:
        ours, theirs = ({tuple(row) for row in side["rows"]} for side in (found, reference))
        raise Caught(
            f"interruption: {len(ours - theirs)} events differ from the undisturbed run, {len(theirs - ours)} are "
            f"missing; first {min(ours - theirs, default=None)} instead of {min(theirs - ours, default=None)}"
        )
    if found["state"] != reference["state"]:
        raise Caught(f"refold: state {found['state'][:12]} is not the undisturbed run's {reference['state'][:12]}")
