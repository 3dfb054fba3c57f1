"""A kill at every named place of the code, each followed by recovery and by both equalities.

The places are found by reading the code (`kalibre.log.failpoints.places`), so a new one is covered by being there. For
each, the whole hub is run with that place armed in every process; where nobody comes by it, the worker that ingests,
and then one that trains.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
    office: Path | None

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
            ways += [lambda: self._in_office(place, undisturbed)] if self.office else []  # noqa: B023
            try:
                yield place, next((died for way in ways if (died := way())), "")
            except Caught as caught:
                raise Caught(f"after a kill at {place}: {caught}") from caught
            finally:
                failpoints.arm("")

    def _in_hub(self, furnished: Furnished, place: str, count: int, dice: random.Random, tally: HubTally) -> str:
        rig = self.make_rig(furnished)
        in_child(rig.prepare, rig.errors)
        torture = HubTorture(rig, dice, tally)
        try:
            failpoints.arm(f"{place}:{count}")
            torture.start_all()
            failpoints.arm("")  # whoever is forked later is not armed
            torture.board["granted"] = len(rig.inputs)
            torture.finish()
            if not torture.died:
                return ""
            tally.count(compare_hub(rig, self.reference))
        finally:
            failpoints.arm("")
            torture.stop_all()
        return f"{torture.died[0]} at the {count}th time" if count > 1 else torture.died[0]

    def _in_market(self, place: str, known: dict[str, Any], dice: random.Random) -> str:
        if not known:
            known |= undisturbed_market(self.make_market())
        armed = lambda: failpoints.arm(f"{place}:{dice.randrange(1, 50)}")  # noqa: E731
        return "ingest" if market_round(self.make_market(), known, dice, MarketTally(), kills=0, armed=armed) else ""

    def _in_office(self, place: str, undisturbed: list[Path]) -> str:
        assert self.office is not None
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
