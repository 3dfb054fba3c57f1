"""A worker process: which projections it runs, how it keeps their checkpoints, and how it lives.

Any grouping of projections into workers gives the same events: each has its own position, and what one emits with the
position is committed at once. A group only saves memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from kalibre.core.errors import HubError, KalibreError, LogLockedError, LogUnavailableError
from kalibre.core.events import Event, Tick
from kalibre.core.hub_events import Checkpoint, Command
from kalibre.core.protocols import Projection
from kalibre.core.settings import Settings, make_home
from kalibre.hub.checkpoints import Checkpoints, Reason, checkpoints_of, load_checkpoint
from kalibre.hub.costs import SUFFIX as COSTS
from kalibre.hub.costs import Costs
from kalibre.hub.worker_process import WorkerProcess
from kalibre.learners.base import LearnerProjection, enabled_learners, learner_projection
from kalibre.log.protocol import EventLog
from kalibre.log.runner import Runner

LEARNERS, JUDGES = "learners", "judges"
JUDGED = ("paper", "ensemble", "scorer", "alarms")
"""What follows the learners: the champion's trading, the ensemble, the league, and who is told."""
SERVICES = ("ingest", "jobs", "outbox", "api")
"""Workers that are no projections."""
_POLL_S = 0.1
_HOUR_MS = 3_600_000
_LIVE_WITHIN_MS = 60_000
_EVENTS_BETWEEN = 10_000
_logger = logging.getLogger(__name__)


def projections(settings: Settings) -> dict[str, Callable[[], Projection]]:
    """Return what makes each projection of the hub, by name."""
    from kalibre.hub.alarms import alarms_projection
    from kalibre.hub.ensemble import ensemble_projection
    from kalibre.hub.scorer import scorer_projection
    from kalibre.trading.paper import paper_projection

    made: dict[str, Callable[[], Projection]] = {
        name: partial(learner_projection, name, settings, load_checkpoint=partial(load_checkpoint, settings))
        for name in enabled_learners(settings)
    }
    judged: tuple[tuple[str, Callable[[Settings], Projection]], ...] = (
        ("paper", paper_projection),
        ("ensemble", ensemble_projection),
        ("scorer", scorer_projection),
        ("alarms", alarms_projection),
    )
    return made | {name: partial(make, settings) for name, make in judged}


def groups(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Return the workers that run projections, each with what it runs, as the settings group them."""
    if settings.hub.grouping == "apart":
        return {name: (name,) for name in (*enabled_learners(settings), *JUDGED)}
    return {LEARNERS: enabled_learners(settings), JUDGES: JUDGED}


def members(name: str, settings: Settings) -> tuple[str, ...]:
    """Return the projections that a worker of this name runs: a group's, or that one.

    Raises
    ------
    HubError
        If there is no such worker; the message lists those there are.
    """
    known = {LEARNERS: enabled_learners(settings), JUDGES: JUDGED}
    if name in known:
        return known[name]
    if name in (*known[LEARNERS], *JUDGED):
        return (name,)
    listed = ", ".join((*SERVICES, *known, *known[LEARNERS], *JUDGED))
    raise HubError(f"worker {name!r} is unknown: choose one of {listed}")


class _Member(NamedTuple):
    name: str
    runner: Runner
    projection: Projection


class Keeper:
    """Lays down the checkpoints of the learners of a worker: hourly live, every 10,000 events in replay, on demand.

    The hour is that of recorded ticks. In a replay hours pass in a second, so there events are counted instead.

    A demand is served once its learner has read up to it, so that the checkpoint holds what was known when it was asked
    for. One that nobody was there to serve is served at the next start; of several the newest speaks for all.
    """

    def __init__(self, log: EventLog, learners: Mapping[str, tuple[Runner, LearnerProjection, Checkpoints]]) -> None:
        self._log, self._learners = log, learners
        self._events = dict.fromkeys(learners, 0)
        self._commands = log.last_position({"command"})
        self._demands = {
            name: position for name in learners if (position := _demanded(log, name, self._commands)) is not None
        }
        self._ticks = 0
        self._hour: int | None = None
        self._live = False

    def count(self, name: str, events: int) -> None:
        """Note that a learner has read events."""
        if name in self._events:
            self._events[name] += events

    def look(self) -> None:
        """Lay down what is due."""
        self._look_at_clock()
        for name in self._learners:
            if self._events[name] >= _EVENTS_BETWEEN and not self._live:
                self._lay_down(name, "events")
        last = self._log.last_position({"command"})
        if last > self._commands:
            for event in self._log.read(after=self._commands, kinds={"command"}):
                if event.key in self._learners and _asks(event):
                    self._demands[event.key] = event.seq
            self._commands = last
        for name, position in list(self._demands.items()):
            if self._learners[name][0].position >= position and self._lay_down(name, "demand"):
                del self._demands[name]

    def _look_at_clock(self) -> None:
        position = self._log.last_position({"tick"})
        if position == self._ticks:
            return
        self._ticks = position
        tick = self._log.latest("tick")
        if tick is None or not isinstance(tick.payload, Tick):
            return
        self._live = tick.recorded_at - tick.payload.now_ms < _LIVE_WITHIN_MS
        hour = tick.payload.now_ms // _HOUR_MS
        if self._live and self._hour is not None and hour > self._hour:
            for name in self._learners:
                self._lay_down(name, "hourly")
        self._hour = hour

    def _lay_down(self, name: str, reason: Reason) -> bool:
        """Lay one down; return whether to leave it at that: it is there, or cannot be for more than a moment."""
        runner, projection, checkpoints = self._learners[name]
        self._events[name] = 0
        try:
            return checkpoints.lay_down(self._log, runner, projection, reason) is not None
        except KalibreError as error:
            # The learner goes on without: what it knows is in the log all the same.
            _logger.warning("no checkpoint of %s: %s", name, error)
            return not isinstance(error, LogUnavailableError | LogLockedError)


def _asks(event: Event) -> bool:
    return isinstance(event.payload, Command) and event.payload.verb == "checkpoint"


def _demanded(log: EventLog, learner: str, upto: int) -> int | None:
    """Return the position of a learner's newest demand that no checkpoint has answered; None if there is none."""
    asked = [event.seq for event in log.read(kinds={"command"}, key=learner, upto=upto) if _asks(event)]
    if not asked:
        return None
    laid_down = (event.payload for event in log.read(after=asked[-1], kinds={"checkpoint"}, key=learner))
    answers = (one for one in laid_down if isinstance(one, Checkpoint) and one.reason == "demand")
    return None if any(one.position >= asked[-1] for one in answers) else asked[-1]


def run_projections(names: Sequence[str], settings: Settings, process: WorkerProcess) -> None:
    """Run projections side by side until told to stop, then leave a snapshot of each.

    Raises
    ------
    KalibreError
        If one of them fails for good; the supervisor starts the worker again.
    """
    from kalibre.log import open_log

    makers = projections(settings)
    if not settings.log.url:
        make_home(settings.home)
    process.beat(0, "recovering")
    with open_log(settings.log_url) as log:
        running: list[_Member] = []
        kept: dict[str, tuple[Runner, LearnerProjection, Checkpoints]] = {}
        for name in names:
            projection = makers[name]()
            runner = Runner(
                log,
                projection,
                snapshots_dir=settings.snapshots_dir,
                batch_size=settings.log.batch_size,
                snapshot_every_events=settings.log.snapshot_every_events,
                kill_file=settings.kill_file,
            )
            runner.recover()
            process.beat(runner.position, "recovering")
            running.append(_Member(name, runner, projection))
            if isinstance(projection, LearnerProjection):
                kept[name] = (runner, projection, checkpoints_of(settings, name))
        states = {name: projection.state for name, _, projection in running}
        costs = Costs(settings.home / "run" / f"{process.name}{COSTS}", states)
        _turn(log, running, Keeper(log, kept), costs, process)


def _turn(log: EventLog, running: Sequence[_Member], keeper: Keeper, costs: Costs, process: WorkerProcess) -> None:
    while not process.should_stop():
        try:
            head, moved = log.head(), 0
            for name, runner, _ in running:
                with costs.of(name):
                    read = runner.step()
                keeper.count(name, read)
                moved += read
                process.beat(min(one.runner.position for one in running))
            keeper.look()
            costs.tell()
            if not moved:
                log.wait(head, _POLL_S, process.should_stop)
        except (LogUnavailableError, LogLockedError) as error:
            _logger.warning("%s waits: %s", process.name, error)
            process.beat(0, "waiting")
            process.wait(_POLL_S)
    for _, runner, _ in running:
        runner.snapshot()
