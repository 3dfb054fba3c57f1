"""The whole hub as `make fault` runs it: one forked process for each part, over one log.

Ingest delivers the stream, groups of projections follow the log and lay down checkpoints at random moments, two workers
do jobs, and an outbox delivers to a file. Each opens the log for itself, after its fork. What a part shows the others
is a few numbers on a board that outlives a SIGKILL.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks._fault_hub_inputs import (
    JOB,
    SYMBOLS,
    Ask,
    CatchUp,
    Furnished,
    Item,
    Tell,
    Trained,
    furnish,
    hub_settings,
    make_projection,
)
from benchmarks._fault_hub_jobs import Rushing, Summary, Tireless
from benchmarks._fault_kills import Board, watch

from kalibre.core.clock import ManualClock
from kalibre.core.errors import LogError, LogLockedError, LogUnavailableError
from kalibre.core.events import Event, new_event
from kalibre.core.hub_events import Command
from kalibre.core.protocols import Projection
from kalibre.core.settings import Settings
from kalibre.hub.checkpoints import Checkpoints, checkpoints_of
from kalibre.hub.commands import record_command
from kalibre.hub.handlers.export import Export
from kalibre.hub.jobs import JobWorker
from kalibre.hub.schedule import Schedule
from kalibre.hub.scheduler import Scheduler
from kalibre.hub.up import behind
from kalibre.hub.worker import Keeper
from kalibre.learners.base import LearnerProjection
from kalibre.log import open_log
from kalibre.log.jobs import Jobs
from kalibre.log.outbox import Outbox
from kalibre.log.protocol import EventLog
from kalibre.log.runner import Runner

INGEST, JOBS, JOBS_TOO, OUTBOX, GROUPS = 0, 1, 2, 3, 4
"""Places on the board; from `GROUPS` on one for each group of projections."""
MOST_GROUPS = 6
DELIVERED_KINDS = frozenset({"forecast", "ensemble", "signal", "alert", "model"})
PAUSE_S = 0.004
_HELD_S = 0.02


def hub_board() -> Board:
    """Return a board with a place for every part."""
    places = [f"{what}_{who}" for who in range(GROUPS + MOST_GROUPS) for what in ("progress", "inside", "seen", "busy")]
    return Board(("granted", "delivered", "stop", "hold", *places))


@dataclass
class HubRig:
    """A hub under torture: its log, its home, what it is fed with, and which of its parts are planted."""

    url: str
    folder: Path
    trained: Trained
    inputs: list[Item]
    make: Callable[[str, Settings], Projection] = make_projection
    wrap_log: Callable[[EventLog], EventLog] = lambda log: log
    make_outbox: Callable[..., Outbox] = Outbox
    make_checkpoints: Callable[[Settings, str], Checkpoints] = checkpoints_of
    make_worker: Callable[..., JobWorker] = JobWorker
    furnished: Furnished = "whole"
    laying: float = 0.03
    """How likely a checkpoint is laid down after a learner has got on."""
    settings: Settings = field(init=False)

    def __post_init__(self) -> None:
        """Furnish the home, and make every projection once: a forked process has it without making it again."""
        # Where nothing is pinned yet, those that are asked for may not take the place of what is to be restored.
        kept = 1_000 if self.furnished == "unpinned" else 3
        self.settings = hub_settings(self.folder, self.url, self.trained.learners, kept=kept)
        furnish(self.folder, self.trained, self.furnished)
        self._fresh = {name: self.make(name, self.settings) for name in self.trained.names}
        self.reads = {name: projection.reads for name, projection in self._fresh.items()}

    def projection(self, name: str) -> Projection:
        """Return a projection that has read nothing."""
        fresh = self._fresh.pop(name, None)
        return self.make(name, self.settings) if fresh is None else fresh

    @property
    def letters(self) -> Path:
        """What the outbox delivered, a line each."""
        return self.folder / "letters"

    @property
    def errors(self) -> Path:
        """Where a child leaves why it ended."""
        return self.folder / "errors"

    def open(self) -> EventLog:
        """Open the log in this process."""
        return self.wrap_log(open_log(self.url, patience_s=60.0))

    def watched(self, board: Board, who: int) -> EventLog:
        """Open the log, and show on the board when a transaction is open."""
        return watch(self.open(), board, _HELD_S, who, f"_{who}")

    def outbox(self, log: EventLog) -> Outbox:
        """Return the outbox that writes into a file."""
        with_file = self.letters.open("ab", buffering=0)

        def deliver(event: Event) -> None:
            time.sleep(0.0002)  # as if it went over a wire
            with_file.write(f"{event.seq}\t{event.identity}\n".encode())

        return self.make_outbox(log, "file", DELIVERED_KINDS, deliver, live_only=False, batch_size=16)

    def scheduler(self, log: EventLog) -> Scheduler:
        """Return the scheduler: a summary every full hour by recorded ticks."""
        asked = {"symbol": SYMBOLS[1], "bars": 20}
        scheduler = Scheduler(log, [Schedule(name="hourly", cron="0 * * * *", job=JOB, payload=asked, missed="all")])
        scheduler._jobs = Tireless(log)
        return scheduler

    def worker(self, log: EventLog, owner: str) -> JobWorker:
        """Return a worker that does summaries."""
        return self.make_worker(log, self.settings, {JOB: Summary(), "export": Export()}, owner=owner, clock=Rushing())

    def prepare(self) -> None:
        """Let outbox and scheduler exist before there is anything: what was there before them is none of theirs."""
        with open_log(self.url) as log:
            self.outbox(log).step()
            self.scheduler(log).step()


# --- ingest -----------------------------------------------------------------------------------------------------------


def ingest(rig: HubRig, board: Board, seed: int) -> None:
    """Deliver the stream in order, from a little before where the last process stopped, as far as granted."""
    dice = random.Random(seed)
    log = rig.watched(board, INGEST)
    at = max(0, board["delivered"] - dice.randrange(8))
    while not board["stop"]:
        try:
            board[f"seen_{INGEST}"] = log.head() if at >= len(rig.inputs) else 0
            if at >= board["granted"]:
                time.sleep(PAUSE_S)
                continue
            at = deliver(rig, log, at, min(at + dice.randrange(1, 12), board["granted"]))
        except (LogUnavailableError, LogLockedError):
            continue  # whether it was committed is unknown: it is delivered again
        board["delivered"] = max(at, board["delivered"])


def deliver(rig: HubRig, log: EventLog, at: int, most: int) -> int:
    """Deliver what comes next, events together or one thing of another kind; return how far it came."""
    item = rig.inputs[at]
    if isinstance(item, Ask):
        Tireless(log).enqueue(item.job, item.key, item.payload, due_ms=item.due_ms)
        return at + 1
    if isinstance(item, Tell):
        tell(rig, log, item)
        return at + 1
    if isinstance(item, CatchUp):
        readers = {name: reads for name, reads in rig.reads.items() if item.kind in reads}
        if not behind(log, readers):
            return at + 1
        time.sleep(PAUSE_S)
        return at
    events = []
    for one in rig.inputs[at:most]:
        if not isinstance(one, Event):
            break
        events.append(one)
    log.append(events, writer="ingest")
    return at + len(events)


def tell(rig: HubRig, log: EventLog, said: Tell) -> None:
    """Tell a learner something, unless it was told before: who was killed looks first whether it is recorded."""
    before = log.latest("command", key=said.learner, by="event_time")
    if before is not None and before.event_time >= said.at_ms:
        return
    if (
        rig.furnished == "copies" and said.verb == "restore"
    ):  # recorded where the checkpoint lay; here there is only its copy
        command = Command(verb="restore", by="fault", reason="drill", checkpoint=said.checkpoint)
        log.append([new_event(said.learner, said.at_ms, command)], writer="command")
        return
    record_command(
        log,
        rig.settings,
        said.learner,
        said.verb,
        by="fault",
        reason="drill",
        checkpoint=said.checkpoint,
        clock=ManualClock(said.at_ms),
    )


# --- projections ------------------------------------------------------------------------------------------------------


def follow(rig: HubRig, board: Board, who: int, names: Sequence[str], seed: int) -> None:
    """Run projections side by side, as a worker of the hub does, and lay down a checkpoint now and then."""
    dice = random.Random(seed)
    log = rig.watched(board, who)
    projections = {name: rig.projection(name) for name in names}
    runners = {name: make_runner(rig, log, one, dice) for name, one in projections.items()}
    kept = {
        name: (runners[name], one, rig.make_checkpoints(rig.settings, name))
        for name, one in projections.items()
        if isinstance(one, LearnerProjection)
    }
    keeper: Keeper | None = None
    while not board["stop"]:
        try:
            if keeper is None:
                for runner in runners.values():
                    runner.recover()
                keeper = Keeper(log, kept)
            head, moved = log.head(), 0
            for name, runner in runners.items():
                read = runner.step()
                keeper.count(name, read)
                moved += read
            keeper.look()
            if moved and kept and dice.random() < rig.laying:
                name = dice.choice(sorted(kept))
                runner, projection, checkpoints = kept[name]
                board[f"busy_{who}"] = 1
                checkpoints.lay_down(log, runner, projection, "demand")
                board[f"busy_{who}"] = 0
            board[f"seen_{who}"] = 0 if moved else head
            if not moved:
                log.wait(head, PAUSE_S)
        except (LogUnavailableError, LogLockedError):
            continue
    for runner in runners.values():
        runner.snapshot()


def make_runner(rig: HubRig, log: EventLog, projection: Projection, dice: random.Random) -> Runner:
    """Return what lets a projection read: any size of batches, snapshots at any distance."""
    return Runner(
        log,
        projection,
        snapshots_dir=rig.settings.snapshots_dir,
        batch_size=dice.choice([1, 3, 16, 64, 200]),
        snapshot_every_events=dice.choice([60, 150, 400]),
        kill_file=rig.settings.kill_file,
    )


# --- jobs and what leaves the house -----------------------------------------------------------------------------------


def work(rig: HubRig, board: Board, who: int, seed: int) -> None:
    """Enqueue what ticks make due and do jobs, until told to stop."""
    log = rig.watched(board, who)
    jobs, scheduler, worker = Jobs(log), rig.scheduler(log), rig.worker(log, f"{os.getpid()}-{seed}")
    while not board["stop"]:
        try:
            head = log.head()
            moved, had = step_beside_another(scheduler), worker.job
            busy = worker.step()
            board[f"busy_{who}"] = busy
            idle = not moved and not busy and had is None and jobs.next_ready_ms() is None
            board[f"seen_{who}"] = head if idle else 0
            if not moved:
                time.sleep(PAUSE_S / 4 if busy else PAUSE_S)
        except (LogUnavailableError, LogLockedError):
            continue
    worker.stop()


def step_beside_another(scheduler: Scheduler) -> int:
    """Let the scheduler read on; that another one was faster, who came beside a frozen worker, is no trouble."""
    try:
        return scheduler.step()
    except (LogUnavailableError, LogLockedError):
        raise
    except LogError as error:
        if "stop the other one" not in str(error):
            raise
        return 1


def deliver_letters(rig: HubRig, board: Board, seed: int) -> None:
    """Bring out what the outbox finds, until told to stop."""
    log = rig.watched(board, OUTBOX)
    outbox = rig.outbox(log)
    while not board["stop"]:
        try:
            head = log.head()
            moved = outbox.step()
            board[f"seen_{OUTBOX}"] = 0 if moved else head
            if not moved:
                time.sleep(PAUSE_S)
        except (LogUnavailableError, LogLockedError):
            continue


# --- all of it, undisturbed -------------------------------------------------------------------------------------------


def run_undisturbed(rig: HubRig, log: EventLog) -> None:
    """Deliver everything at once, as far as nobody has to catch up first, and let one after the other read it all."""
    rig.prepare()
    dice = random.Random(1)
    runners = {name: make_runner(rig, log, rig.projection(name), dice) for name in rig.trained.names}
    at = 0
    while at < len(rig.inputs):
        item = rig.inputs[at]
        if isinstance(item, CatchUp):
            for name, runner in runners.items():
                if item.kind in rig.reads[name]:
                    runner.catch_up()
        at = deliver(rig, log, at, len(rig.inputs))
    scheduler, jobs = rig.scheduler(log), Jobs(log)
    while scheduler.step():
        pass
    # What one says another reads on: round by round, until nobody moves.
    while sum(runner.catch_up() for runner in runners.values()):
        pass
    worker = rig.worker(log, "undisturbed")
    while jobs.next_ready_ms() is not None:
        worker.run_until_idle()
    outbox = rig.outbox(log)
    while outbox.step():
        pass
    for runner in runners.values():
        runner.snapshot()


def warm(rig: HubRig) -> None:
    """Let this process compile and load once what each forked one would have to."""
    events = [item for item in rig.inputs if isinstance(item, Event)]
    told: list[Event] = []
    for name in rig.trained.names:
        projection = rig.make(name, rig.settings)
        for event in (*events[:400], *told) if name in ("ensemble", "scorer") else events[:400]:
            if event.kind in projection.reads and event.kind != "command":
                told += projection.apply(event)
        projection.restore(projection.state())
