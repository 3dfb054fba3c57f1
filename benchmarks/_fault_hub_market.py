"""The hub's own ingest under kills: the worker's loop plays a history with holes and bad bars, in forked processes."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._fault_hub_compare import row_of
from benchmarks._fault_hub_entry import write_bars
from benchmarks._fault_hub_inputs import SYMBOLS, TIMEFRAME
from benchmarks._fault_kills import PATIENCE_S, Board, Caught, fork, in_child, watch
from tests.fakes.models import random_bars

from kalibre.core.bars import Bar
from kalibre.core.hub_events import OPERATIONAL
from kalibre.core.settings import Settings
from kalibre.hub.feed import feed
from kalibre.log import open_log

_HELD_S = 0.01


@dataclass
class MarketTally:
    """What was done to ingest."""

    kills: int = 0
    inside: int = 0
    logs: int = 0
    events: int = 0

    def words(self) -> str:
        """Return it in words."""
        return (
            f"{self.kills} kills, {self.inside / max(self.kills, 1):.0%} of them inside a transaction, {self.logs} "
            f"logs of {self.events} events in all equal to the undisturbed one"
        )


def write_bad_market(folder: Path, n_bars: int) -> None:
    """Write a history in which bars are missing, come twice, or cannot be true."""
    folder.mkdir(parents=True)
    dice = random.Random(5)
    for seed, symbol in enumerate(SYMBOLS):
        rows: list[Bar] = []
        for bar in random_bars(n_bars, seed=seed + 20, symbol=symbol):
            chance = dice.random()
            if chance < 0.02:
                continue
            values = {name: getattr(bar, name) for name in Bar.__struct_fields__}
            if chance < 0.03:
                values["close"] = values["high"] * 1.5
            rows.append(Bar(**values))
        write_bars(folder / f"{symbol}.csv", rows)


class Market:
    """An empty log, and the worker that plays the history into it."""

    def __init__(self, home: Path, url: str, history: Path) -> None:
        home.mkdir()
        self.url, self.errors = url, home / "errors"
        self.errors.mkdir()
        options: dict[str, Any] = {"source": "files", "source_options": {"path": str(history)}, "speed": "max"}
        market: dict[str, Any] = {"source": "replay", "source_options": options}
        market |= {"symbols": list(SYMBOLS), "timeframe": TIMEFRAME}
        self.settings = Settings(home=home, market=market, log={"url": url})  # type: ignore[arg-type]

    def play(self, board: Board) -> None:
        """Run the worker's loop until the history has been played."""
        log = watch(open_log(self.url, patience_s=60.0), board, _HELD_S)
        over: list[bool] = []

        def pause(_: float) -> bool:
            over.append(True)
            return True

        feed(log, self.settings, should_stop=lambda: bool(over), beat=lambda _, phase: None, pause=pause)

    def contents(self) -> dict[str, Any]:
        """Return what is compared."""
        with open_log(self.url) as log:
            events = [event for event in log.read() if event.kind not in OPERATIONAL]
            return {"check": log.check(), "rows": sorted(row_of(event) for event in events)}


def undisturbed_market(market: Market) -> dict[str, Any]:
    """Play it without a fault and return what the log then holds."""

    def run() -> dict[str, Any]:
        market.play(market_board())
        return market.contents()

    return dict(in_child(run, market.errors))


def warm_market() -> None:
    """Import once what each forked process would have to; polars begins its threads where it is first used."""
    import polars  # noqa: F401

    from kalibre.sources import files, replay

    assert files.SOURCE.name, replay.SOURCE.name


def market_board() -> Board:
    """Return a board for one process."""
    return Board(("inside", "hold", "progress"))


def market_round(
    market: Market,
    reference: dict[str, Any],
    dice: random.Random,
    tally: MarketTally,
    *,
    kills: int,
    armed: Callable[[], None] = lambda: None,
) -> int:
    """Kill the worker at any instant until it has played everything; compare; return how often it died by itself.

    Parameters
    ----------
    armed
        Called in the first process before it begins, so that it may die at a named place.
    """
    board, died, first = market_board(), 0, True
    while True:
        arm, first = (armed, False) if first else (lambda: None, False)

        def work(arm: Callable[[], None] = arm) -> None:
            arm()
            market.play(board)

        child, began = fork(work, market.errors), board["progress"]
        status = _after_a_while(child, board, began, dice) if kills > 0 else None
        if status is None:
            if kills > 0:
                os.kill(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
        board["hold"] = 0
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            break
        if code != -signal.SIGKILL:
            left = market.errors / f"{child}.txt"
            raise Caught(f"ingest: {left.read_text() if left.exists() else status}")
        died += kills <= 0
        kills -= 1
        tally.kills += 1
        tally.inside += board["inside"]
        board["inside"] = 0
    found = in_child(market.contents, market.errors)
    if found["check"]:
        raise Caught(f"log check: {found['check']}")
    if found["rows"] != reference["rows"]:
        ours, theirs = ({tuple(row) for row in side["rows"]} for side in (found, reference))
        first_two = min(ours - theirs, default=None), min(theirs - ours, default=None)
        raise Caught(
            f"interruption: {len(ours - theirs)} events differ from the undisturbed ingest's, {len(theirs - ours)} are "
            f"missing; first {first_two[0]} instead of {first_two[1]}"
        )
    tally.logs += 1
    tally.events += len(found["rows"])
    return died


def _after_a_while(child: int, board: Board, began: int, dice: random.Random) -> int | None:
    """Let it get on, and half of the times wait for an open transaction; return its status if it has ended."""
    aimed, wanted = dice.random() < 0.5, began + dice.randrange(1, 20)
    deadline = time.monotonic() + PATIENCE_S
    while board["progress"] < wanted:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        if time.monotonic() > deadline:
            raise Caught(f"ingest did not get on within {PATIENCE_S} s")
        time.sleep(0.0005)
    board["hold"] = int(dice.choice((-1, 1))) if aimed else 0
    until = time.monotonic() + (0.05 if aimed else dice.random() * 0.02)
    while time.monotonic() < until and not (aimed and board["inside"]):
        time.sleep(0.0001)
    time.sleep(dice.random() * 0.002)
    return None
