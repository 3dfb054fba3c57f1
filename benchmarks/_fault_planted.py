"""The planted bugs of `make fault`: what the two equalities must catch, each by the net that is meant for it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from benchmarks._fault_kills import Caught, Rig, Tally, undisturbed
from benchmarks._fault_model import ArrivalModel, ForgetfulModel, OnlineModel, PositionModel, RandomModel
from benchmarks._fault_rounds import kill_round

from kalibre.core.events import Event
from kalibre.log.protocol import EventLog, Progress
from kalibre.log.replay import Feeder
from kalibre.log.runner import Runner


class _LeakyFeeder(Feeder):
    """Shows a projection the record and not only what happened."""

    def _apply(self, event: Event) -> Iterator[Event]:
        yield from self._projection.apply(event)


class LeakyRunner(Runner):
    """Planted bug: position and wall time reach the projection."""

    def _make_feeder(self) -> Feeder:
        return _LeakyFeeder(self._projection, self._log)


class _Apart:
    """A transaction whose offset is written elsewhere."""

    def __init__(self, transaction: Any, path: Path, pending: list[int]) -> None:
        self._transaction = transaction
        self._path = path
        self._pending = pending

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transaction, name)

    def set_offset(self, projection: str, seq: int) -> None:
        self._pending.append(seq)

    def set_progress(self, projection: str, progress: Progress) -> None:
        self._transaction.set_progress(projection, progress)
        self._pending.append(progress.seq)

    def progress(self, projection: str) -> Progress | None:
        return _from_file(self._transaction.progress(projection), self._path)


def _from_file(progress: Progress | None, path: Path) -> Progress | None:
    if progress is None or not path.exists():
        return progress
    return msgspec.structs.replace(progress, seq=int(path.read_text()))


def offset_apart(path: Path, *, first: bool) -> Callable[[EventLog], EventLog]:
    """Keep the offset in a file that is replaced just after the commit, or just before it."""

    def write(pending: list[int]) -> None:
        if pending:
            with path.with_suffix(".new").open("w") as stream:
                stream.write(str(pending[-1]))
                if not first:
                    stream.flush()
                    os.fsync(stream.fileno())  # carefully done, and yet wrong
            path.with_suffix(".new").replace(path)

    def wrap(log: EventLog) -> EventLog:
        transaction, progress = log.transaction, log.progress

        @contextlib.contextmanager
        def apart(*, durable: bool = False) -> Iterator[Any]:
            pending: list[int] = []
            with transaction(durable=durable) as opened:
                yield _Apart(opened, path, pending)
                if first:
                    write(pending)
            if not first:
                write(pending)

        log.transaction = apart  # type: ignore[method-assign]
        log.progress = lambda projection: _from_file(progress(projection), path)  # type: ignore[method-assign]
        return log

    return wrap


def planted(make_rig: Callable[[], Rig]) -> dict[str, tuple[Callable[[], Rig], str]]:
    """Return for each bug what makes a rig with it, and the words by which a net must name it."""

    def with_offset_apart(*, first: bool) -> Rig:
        rig = make_rig()
        return dataclasses.replace(rig, wrap_log=offset_apart(rig.folder / "offset", first=first))

    def with_model(model: type[OnlineModel], runner: type[Runner] = Runner) -> Callable[[], Rig]:
        return lambda: dataclasses.replace(make_rig(), make_projection=model, make_runner=runner)

    return {
        "offset kept apart, written after": (lambda: with_offset_apart(first=False), "DeterminismError"),
        "offset kept apart, written before": (lambda: with_offset_apart(first=True), "DeterminismError"),
        "position used as input": (with_model(PositionModel, LeakyRunner), "interruption|refold"),
        "wall time used as input": (with_model(ArrivalModel, LeakyRunner), "interruption|refold"),
        "unseeded randomness": (with_model(RandomModel), "DeterminismError|refold"),
        "state left out of `state`": (with_model(ForgetfulModel), "DeterminismError|refold"),
    }


def catch(
    name: str, make_rig: Callable[[], Rig], word: str, dice: random.Random, *, kills: int, rounds: int = 20
) -> tuple[bool, str]:
    """Torture a planted bug until a net catches it; return whether the right one did, and its words.

    Where the window of a bug is a few microseconds, a kill has to fall into it: that may take some rounds.
    """
    tally = Tally()
    for _ in range(rounds):
        rig = make_rig()
        try:
            reference = undisturbed(dataclasses.replace(make_rig(), make_projection=rig.make_projection))
            kill_round(rig, reference, dice, tally, kills=kills)
        except Caught as caught:
            return re.search(word, str(caught)) is not None, f"within {tally.kills} kills: {caught}"
    return False, f"{name} was not caught by {tally.kills} kills"
