"""The hub's part of `make fault`: what is trained once, and a line for each claim."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._fault_hub import HubRig, warm
from benchmarks._fault_hub_compare import undisturbed_hub
from benchmarks._fault_hub_entry import EntryTally, entry_rounds
from benchmarks._fault_hub_inputs import Furnished, Item, Trained, hub_inputs, train
from benchmarks._fault_hub_kills import HubTally, hub_round, server_round
from benchmarks._fault_hub_market import (
    Market,
    MarketTally,
    market_round,
    undisturbed_market,
    warm_market,
    write_bad_market,
)
from benchmarks._fault_hub_planted import catch_in_hub, planted_hub
from benchmarks._fault_hub_points import Places
from tests.fakes.postgres import Postgres

from kalibre.learners.base import learner_class

KILLS_A_ROUND = 250


@dataclass
class _Stage:
    """A market, what learners and models know of it, and what a hub makes of it undisturbed."""

    trained: Trained
    inputs: list[Item]
    reference: dict[str, Any]


class HubSession:
    """One run of the command over the hub.

    Parameters
    ----------
    folder
        Everything is made in it.
    server
        PostgreSQL, for the claims about it.
    bars, probe_bars
        Bars of each symbol in a log that is filled under kills, and in one in which bugs are planted or places armed.
    learners
        Which learners; all that there are if none is named.
    """

    def __init__(
        self,
        folder: Path,
        dice: random.Random,
        server: Postgres | None,
        *,
        bars: int = 240,
        probe_bars: int = 80,
        learners: tuple[str, ...] = (),
    ) -> None:
        self._folder, self._dice, self.server = folder, dice, server
        self._bars, self._probe, self._learners = bars, probe_bars, learners
        self._stages: dict[int, _Stage] = {}
        self._made = 0
        folder.mkdir()

    # --- what is put under torture ------------------------------------------------------------------------------------

    def _place(self) -> Path:
        self._made += 1
        return self._folder / f"{self._made}"

    def _stage(self, bars: int) -> _Stage:
        """Train and run undisturbed, once; what a forked process would have to compile is compiled here."""
        if bars not in self._stages:
            place = self._place()
            place.mkdir()
            trained = train(place, bars, self._learners)
            stage = self._stages[bars] = _Stage(trained, hub_inputs(trained), {})
            rig = self._rig(bars)
            with quietly():
                warm(rig)
                stage.reference = undisturbed_hub(rig)
        return self._stages[bars]

    def _rig(self, bars: int, storage: str = "sqlite", **more: Any) -> HubRig:
        """Return a hub over an empty log."""
        stage, folder = self._stage(bars), self._place()
        folder.mkdir()
        url = f"sqlite:///{folder / 'log.sqlite'}"
        if storage == "postgres":
            assert self.server is not None
            url = self.server.new_database(drop_others=True)
        more |= more.pop("into", lambda _: {})(folder)
        return HubRig(url=url, folder=folder, trained=stage.trained, inputs=stage.inputs, **more)

    def _market(self, history: Path) -> Market:
        place = self._place()
        return Market(place, f"sqlite:///{place / 'log.sqlite'}", history)

    # --- claims -------------------------------------------------------------------------------------------------------

    def undisturbed(self) -> tuple[HubRig, dict[str, Any]]:
        """Return a hub that nobody disturbed, and what it holds."""
        rig = self._rig(self._bars)
        with quietly():
            return rig, undisturbed_hub(rig)

    def forks(self, kills: int, storage: str) -> HubTally:
        """Kill every part, so many times in all."""
        reference, tally = self._stage(self._bars).reference, HubTally()
        with quietly():
            while tally.kills < kills:
                furnished: Furnished = "copies" if tally.rounds % 3 == 1 else "whole"
                rig = self._rig(self._bars, storage, furnished=furnished)
                most = min(KILLS_A_ROUND, max(10, kills - tally.kills))
                hub_round(rig, reference, self._dice, tally, kills=most, tear=tally.rounds % 2 == 1)
        return tally

    def server_kills(self, kills: int) -> str:
        """Kill PostgreSQL itself."""
        assert self.server is not None
        reference, tally = self._stage(self._bars).reference, HubTally()
        with quietly():
            inside = server_round(
                self._rig(self._bars, "postgres"), reference, self._dice, tally, self.server, kills=kills
            )
        return f"{kills} kills of the server, {inside} while a transaction was open; {tally.outcome()}"

    def market(self, kills: int) -> MarketTally:
        """Kill the worker that ingests."""
        history = self._place()
        write_bad_market(history, self._bars)
        warm_market()
        reference, tally = undisturbed_market(self._market(history)), MarketTally()
        with quietly():
            while tally.kills < kills:
                most = min(60, kills - tally.kills)
                market_round(self._market(history), reference, self._dice, tally, kills=most)
        return tally

    def entry(self, kills: int, bars: int) -> str:
        """Kill `kalibre hub up`."""
        tally = EntryTally()
        trained = self._stage(self._probe).trained
        entry_rounds(self._place(), trained, self._dice, tally, kills=kills, n_bars=bars)
        return tally.words()

    def planted(self, kills: int) -> Iterator[tuple[str, bool, str]]:
        """Let the nets catch the planted bugs; yield name, whether the right net caught it, and its words."""
        stage = self._stage(self._probe)
        forecaster = next(name for name in stage.trained.learners if learner_class(name).role == "forecaster")
        make: Callable[[Any], HubRig] = lambda into: self._rig(self._probe, into=into)  # noqa: E731
        for name, plant in planted_hub(forecaster).items():
            with quietly():
                right, words = catch_in_hub(name, make, plant, stage.reference, self._dice, kills=kills)
            yield name, right, words

    def places(self, *, together: bool) -> str:
        """Kill at every named place; together: at many in each log, and at none that only a training comes by."""
        stage, history, tally = self._stage(self._probe), self._place(), HubTally()
        write_bad_market(history, self._probe)
        warm_market()

        def make(furnished: Furnished) -> HubRig:
            # Where checkpoints are not pinned yet, none may be laid down that takes their place.
            return self._rig(self._probe, furnished=furnished, laying=0.0 if furnished == "unpinned" else 0.3)

        places = Places(make, stage.reference, lambda: self._market(history), self._place())
        with quietly():
            died = places.kill_at_many(self._dice, tally) if together else dict(places.kill_at_all(self._dice, tally))
        missed = [place for place, who in died.items() if not who]
        left = [place for place in missed if place.startswith("retrain.") and together]
        if missed != left:
            raise NotReachedError(f"nobody comes by {', '.join(sorted(set(missed) - set(left)))}")
        words = f"{len(died) - len(left)} of {len(died)} places, each followed by recovery; {tally.outcome()}"
        return words + (f"; left to the long form: {', '.join(left)}" if left else "")


class NotReachedError(Exception):
    """A named place at which nothing under torture can die."""


@contextmanager
def quietly() -> Iterator[None]:
    """Keep thousands of warnings about what was damaged on purpose to itself; forked processes inherit it."""
    logger = logging.getLogger("kalibre")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
