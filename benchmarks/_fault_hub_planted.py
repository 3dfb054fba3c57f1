"""Bugs planted into the hub: each must be caught by the net that is meant for it, in words that name it."""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from benchmarks._fault_hub import HubRig
from benchmarks._fault_hub_compare import undisturbed_hub
from benchmarks._fault_hub_inputs import make_learner, make_projection
from benchmarks._fault_hub_kills import HubTally, hub_round
from benchmarks._fault_kills import Caught

from kalibre.core.events import Event, Forecast
from kalibre.core.hub_events import Annotation
from kalibre.core.protocols import Projection
from kalibre.core.settings import Settings
from kalibre.hub.checkpoints import Checkpoints, checkpoints_of
from kalibre.hub.ensemble import EnsembleProjection, ensemble_projection
from kalibre.hub.jobs import JobWorker
from kalibre.hub.join import Complete, Join, Truth
from kalibre.hub.scorer import ScorerProjection, scorer_projection
from kalibre.learners.base import LearnerProjection
from kalibre.log.outbox import Outbox
from kalibre.log.protocol import EventLog, Progress
from kalibre.log.runner import Runner

_APART = "paper"
_SAME = "emits .* again|recorded .* does not emit it again|refold"


# --- projections ------------------------------------------------------------------------------------------------------


def _with_clock(projection: LearnerProjection) -> LearnerProjection:
    """Let what a learner says depend on the wall clock, by less than anybody would notice."""
    apply = projection.apply

    def told(event: Event) -> list[Event]:
        return [_nudged(one) for one in apply(event)]

    projection.apply = told  # type: ignore[method-assign]
    return projection


def _nudged(event: Event) -> Event:
    nudge, payload = 1e-9 * (time.time_ns() // 1_000 % 1_000), event.payload
    if isinstance(payload, Forecast) and payload.score is not None:
        payload = msgspec.structs.replace(payload, score=payload.score * (1.0 - nudge))
    elif isinstance(payload, Annotation) and payload.values:
        payload = msgspec.structs.replace(payload, values={key: one + nudge for key, one in payload.values.items()})
    return msgspec.structs.replace(event, payload=payload)


class _FirstToArrive(Join):
    """Planted bug: a bar counts as complete once two have spoken, whoever they are."""

    def first_waiting(self) -> Complete | None:
        """Return the oldest bar of which anybody two have spoken."""
        if not self._waiting:
            return None
        close_ms = min(self._waiting)
        heard = self._waiting[close_ms]
        return Complete(close_ms, dict(heard), ()) if len(heard) >= 2 else None


class _ToldLater(Join):
    """Planted bug: an outcome counts as soon as it has arrived, not from the bar at which it was told."""

    def truth(self, close_ms: int, *, by_ms: int) -> Truth | None:
        """Return what became of a bar, whenever that was told."""
        return super().truth(close_ms, by_ms=2**62)


def _joined_by(projection: EnsembleProjection | ScorerProjection, join: type[Join]) -> Projection:
    for series in projection._series.values():
        series.join.__class__ = join
    return projection


def _making(name: str, change: Callable[[Settings], Projection]) -> Callable[[str, Settings], Projection]:
    """Return what makes every projection as it is, but for one."""
    return lambda which, settings: change(settings) if which == name else make_projection(which, settings)


# --- checkpoints ------------------------------------------------------------------------------------------------------


class _Altering(Checkpoints):
    """Planted bug: who lays a checkpoint down leaves the learner otherwise than it was."""

    def lay_down(self, log: EventLog, runner: Runner, projection: LearnerProjection, reason: Any) -> str | None:
        """Lay it down, and let the learner believe that it missed a bar."""
        digest = super().lay_down(log, runner, projection, reason)
        for one in projection.series.values():
            one.calibration.take(0.5, went_up=True)
        return digest


def _altering(settings: Settings, learner: str) -> Checkpoints:
    return _Altering(
        settings.home / "checkpoints",
        learner,
        newest=settings.hub.checkpoints_kept,
        copies=settings.hub.checkpoint_copies,
    )


def _newest_instead(settings: Settings) -> Callable[[str, str], Mapping[str, Any]]:
    """Return what goes back to the newest checkpoint there is, whichever was named."""

    def load(learner: str, digest: str) -> Mapping[str, Any]:
        kept = checkpoints_of(settings, learner)
        folders = kept.snapshots.folders()
        return kept.snapshots.load(folders[0])[0] if folders else kept.load(digest)

    return load


# --- log, jobs, outbox ------------------------------------------------------------------------------------------------


def _moved(progress: Progress | None, projection: str, path: Path) -> Progress | None:
    if progress is None or projection != _APART or not path.exists():
        return progress
    return msgspec.structs.replace(progress, seq=int(path.read_text()))


def _offset_apart(path: Path) -> Callable[[EventLog], EventLog]:
    """Keep the offset of the paper engine in a file that is replaced just after the commit."""

    def wrap(log: EventLog) -> EventLog:
        transaction, progress = log.transaction, log.progress

        @contextlib.contextmanager
        def apart(*, durable: bool = False) -> Iterator[Any]:
            pending: list[int] = []
            with transaction(durable=durable) as opened:
                moves, says = opened.set_offset, opened.progress
                opened.set_offset = lambda name, seq: pending.append(seq) if name == _APART else moves(name, seq)
                opened.progress = lambda name: _moved(says(name), name, path)
                yield opened
            if pending:
                time.sleep(0.002)  # as if it were kept in another database
                path.with_suffix(".new").write_text(str(pending[-1]))
                path.with_suffix(".new").replace(path)

        log.transaction = apart  # type: ignore[method-assign]
        log.progress = lambda projection: _moved(progress(projection), projection, path)  # type: ignore[method-assign]
        return log

    return wrap


class _WithoutLease(JobWorker):
    """Planted bug: what a job gave is stored whether or not its lease is still ours."""

    def _say(self, work: Any) -> None:
        if work.error is None:
            self._log.append(work.events, writer=work.job.name)
        super()._say(work)


class _CommitsFirst(Outbox):
    """Planted bug: the offset moves before what lies before it was delivered."""

    def step(self) -> int:
        """Bring out what there is."""
        if self._committed is None:
            self._begin()
        events = self._log.read(after=self._passed, kinds=self._kinds, limit=self._batch_size)
        if events:
            self._passed = events[-1].seq
            self._commit()
            time.sleep(0.02)  # a letter takes its time: kills do fall in between
        for event in events:
            self._deliver(event)
        return len(events)


# --- all of them ------------------------------------------------------------------------------------------------------


class Plant(NamedTuple):
    """A bug: what plants it into a rig (given its folder), the words by which a net must name it, and whether a run
    that nobody disturbs says something else with it too, and so has to be compared with one of its kind.
    """

    into: Callable[[Path], dict[str, Any]]
    word: str
    alters: bool = False


def planted_hub(forecaster: str) -> dict[str, Plant]:
    """Return every bug by what it is."""

    def making(name: str, change: Callable[[Settings], Projection]) -> Callable[[Path], dict[str, Any]]:
        return lambda _: {"make": _making(name, change)}

    return {
        "a learner reads the wall clock": Plant(
            making(forecaster, lambda settings: _with_clock(make_learner(forecaster, settings))), _SAME
        ),
        "the ensemble goes by arrival": Plant(
            making("ensemble", lambda settings: _joined_by(ensemble_projection(settings), _FirstToArrive)),
            "interruption",
            alters=True,
        ),
        "an offset is committed apart": Plant(
            lambda folder: {"wrap_log": _offset_apart(folder / "apart")}, f"{_APART}.*({_SAME})"
        ),
        "a job is completed without its lease": Plant(
            lambda _: {"make_worker": _WithoutLease}, "jobs: job .* results are of"
        ),
        "the outbox commits before it delivers": Plant(
            lambda _: {"make_outbox": _CommitsFirst}, r"outbox: \d+ of \d+ events were lost"
        ),
        "a checkpoint alters the learner": Plant(lambda _: {"make_checkpoints": _altering}, _SAME),
        "the scorer uses what was told later": Plant(
            making("scorer", lambda settings: _joined_by(scorer_projection(settings), _ToldLater)),
            "interruption",
            alters=True,
        ),
        "a restore takes another moment": Plant(
            making(forecaster, lambda settings: make_learner(forecaster, settings, _newest_instead(settings))),
            f"{_SAME}|interruption",
        ),
    }


def catch_in_hub(
    name: str,
    make_rig: Callable[[Callable[[Path], dict[str, Any]]], HubRig],
    plant: Plant,
    reference: dict[str, Any],
    dice: random.Random,
    *,
    kills: int,
    rounds: int = 12,
) -> tuple[bool, str]:
    """Torture a hub with a planted bug until a net catches it; return whether the right one did, and its words."""
    tally = HubTally()
    if plant.alters:
        reference = undisturbed_hub(make_rig(plant.into))
    for _ in range(rounds):
        try:
            hub_round(make_rig(plant.into), reference, dice, tally, kills=kills)
        except Caught as caught:
            return re.search(plant.word, str(caught)) is not None, f"within {tally.kills} kills: {caught}"
    return False, f"{name} was not caught by {tally.kills} kills"
