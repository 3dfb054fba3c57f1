"""A kill at every named place of the code, each followed by recovery and by both equalities.

The places are found by reading the code (`kalibre.log.failpoints.places`), so a new one is covered by being there. For
each, the whole hub is run with that place armed in every process; where nobody comes by it, the worker that ingests,
and then one that trains.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks._fault_hub import HubRig
from benchmarks._fault_hub_compare import compare_hub
from benchmarks._fault_hub_inputs import Furnished
from benchmarks._fault_hub_kills import HubTally, HubTorture
from benchmarks._fault_hub_market import Market, MarketTally, market_round, undisturbed_market
from benchmarks._fault_hub_office import compare_office, open_office, run_office
from benchmarks._fault_kills import Caught, in_child

from kalibre.log import failpoints

_COUNTS = (1, 2, 5)


@dataclass
class Places:
    """Where it is tried: what makes a hub, an ingest, and the folder of trainings; and what is undisturbed."""

    make_rig: Callable[[Furnished], HubRig]
    reference: dict[str, Any]
    make_market: Callable[[], Market]
    office: Path

    def kill_at_all(self, dice: random.Random, tally: HubTally) -> Iterator[tuple[str, str]]:
        """Yield each place and what died there; empty where nobody came by.

        Raises
        ------
        Caught
            If one of the equalities does not hold after it.
        """
        market: dict[str, Any] = {}
        undisturbed: list[Path] = []
        for place in failpoints.places():
            count = dice.choice(_COUNTS)
            ways: list[Callable[[], str]] = [lambda: self._in_hub("unpinned", place, count, dice, tally)]  # noqa: B023
            ways += [lambda: self._in_hub("unpinned", place, 1, dice, tally)] if count > 1 else []  # noqa: B023
            ways.append(lambda: self._in_hub("copies", place, 1, dice, tally))  # noqa: B023
            ways.append(lambda: self._in_market(place, market, dice))  # noqa: B023
            ways.append(lambda: self._in_office(place, undisturbed))  # noqa: B023
            try:
                yield place, next((died for way in ways if (died := way())), "")
            except Caught as caught:
                raise Caught(f"after a kill at {place}: {caught}") from caught

    def kill_at_many(self, dice: random.Random, tally: HubTally) -> dict[str, str]:
        """Kill at every place too, but several in one log, one after the other in each process; no trainings.

        Each process dies at the place that it would come by first, is forked again, and then at the next one.
        """
        found: dict[str, str] = dict.fromkeys(failpoints.places(), "")
        for furnished in ("unpinned", "copies"):
            met = self._met(furnished, dice)
            rig = self.make_rig(furnished)
            in_child(rig.prepare, rig.errors)
            torture = HubTorture(rig, dice, tally)
            torture.arming = partial(_next_place, torture, met, found)
            try:
                torture.start_all()
                for granted in range(4, len(rig.inputs), 4):
                    torture.board["granted"] = granted
                    torture.go_on(0.25)
                torture.finish()
                tally.count(compare_hub(rig, self.reference))
            finally:
                torture.stop_all()
            found |= torture.died
        known: dict[str, Any] = {}
        for place in [place for place, died in found.items() if not died]:
            found[place] = self._in_market(place, known, dice)
            # Others of that file were come by; at this one nobody happened to be first.
            if not found[place] and any(died and _file(place) == _file(other) for other, died in found.items()):
                ways: tuple[Furnished, ...] = ("copies", "unpinned")
                found[place] = next((died for way in ways if (died := self._in_hub(way, place, 1, dice, tally))), "")
        return found

    def _met(self, furnished: Furnished, dice: random.Random) -> dict[str, set[str]]:
        """Run a hub and return by which places each part comes, in the order in which it does."""
        rig = self.make_rig(furnished)
        in_child(rig.prepare, rig.errors)
        torture, noted = HubTorture(rig, dice, HubTally()), rig.folder / "met"
        noted.touch()
        with _noting(noted):
            torture.start_all()
        parts = torture.running()
        try:
            torture.finish()
        finally:
            torture.stop_all()
        met: dict[str, set[str]] = {}
        for line in noted.read_text().splitlines():
            pid, _, place = line.partition(" ")
            met.setdefault(place, set()).update(parts.get(int(pid), ()))
        return met

    def _in_hub(self, furnished: Furnished, place: str, count: int, dice: random.Random, tally: HubTally) -> str:
        rig = self.make_rig(furnished)
        in_child(rig.prepare, rig.errors)
        torture = HubTorture(rig, dice, tally)
        try:
            torture.arming = lambda who: f"{place}:{count}"
            torture.start_all()
            torture.arming = lambda who: ""  # whoever is forked later is not armed
            torture.finish()
            if not torture.died:
                return ""
            tally.count(compare_hub(rig, self.reference))
        finally:
            torture.stop_all()
        return torture.died[place]

    def _in_market(self, place: str, known: dict[str, Any], dice: random.Random) -> str:
        if not known:
            known |= undisturbed_market(self.make_market())
        armed = lambda: failpoints.arm(f"{place}:{dice.randrange(1, 50)}")  # noqa: E731
        return "ingest" if market_round(self.make_market(), known, dice, MarketTally(), kills=0, armed=armed) else ""

    def _in_office(self, place: str, undisturbed: list[Path]) -> str:
        template = self.office / "template"
        if not undisturbed:
            self.office.mkdir(exist_ok=True)
            in_child(lambda: open_office(template), self.office / "errors")
            undisturbed.append(Path(shutil.copytree(template, self.office / "undisturbed")))
            run_office(undisturbed[0])
        home = Path(shutil.copytree(template, self.office / place))
        if not run_office(home, place):
            return ""
        run_office(home)
        compare_office(home, undisturbed[0])
        return "a training"


def _file(place: str) -> str:
    return place.partition(".")[0]


def _next_place(torture: HubTorture, met: dict[str, set[str]], found: dict[str, str], who: int) -> str:
    """Return the first place at which nobody died yet that a process comes by."""
    members, taken = set(torture.members(who)), {*torture.died, *torture.armed.values()}
    return next(
        (place for place, parts in met.items() if not found[place] and place not in taken and parts & members), ""
    )


@contextmanager
def _noting(path: Path) -> Iterator[None]:
    """Let processes that are forked meanwhile note, once each, which places they come by, and die nowhere."""
    seen: set[tuple[int, str]] = set()

    def note(place: str) -> None:
        if (os.getpid(), place) not in seen:
            seen.add((os.getpid(), place))
            with path.open("a") as stream:
                stream.write(f"{os.getpid()} {place}\n")

    arm, reached = failpoints.arm, failpoints._reached
    failpoints._armed, failpoints._reached = "any", note
    failpoints.arm = lambda text: None
    try:
        yield
    finally:
        failpoints.arm, failpoints._reached = arm, reached
        failpoints.arm("")
