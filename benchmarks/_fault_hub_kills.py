"""Killing the hub: any part at any instant, half of the times aimed at an open transaction.

Which projections share a process is dealt at random and dealt anew as processes are killed, so that every comparison
proves at once that no grouping shows. A worker of jobs is frozen now and then until its lease is over and another one
works, and comes back as a zombie.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks._fault_hub import (
    GROUPS,
    INGEST,
    JOBS,
    JOBS_TOO,
    MOST_GROUPS,
    OUTBOX,
    HubRig,
    deliver_letters,
    follow,
    hub_board,
    ingest,
    work,
)
from benchmarks._fault_hub_compare import compare_hub
from benchmarks._fault_kills import PATIENCE_S, Caught, fork, in_child
from benchmarks._fault_rounds import tear_snapshot
from tests.fakes.postgres import Postgres

from kalibre.log import failpoints
from kalibre.log.snapshots import Snapshots, library_versions

_AIMED, _EARLY = 0.5, 0.15
"""Shares of the kills that are aimed at an open transaction, and that do not wait for the part to get on."""
_LEASE_S = 0.4
"""A little longer than a job stays with a worker that gives no sign of life."""
_SERVICES = {INGEST: "ingest", JOBS: "jobs", JOBS_TOO: "jobs", OUTBOX: "outbox"}


@dataclass
class HubTally:
    """What was done to hubs."""

    kills: int = 0
    inside: int = 0
    laying: int = 0
    frozen: int = 0
    rounds: int = 0
    groupings: set[tuple[tuple[str, ...], ...]] = field(default_factory=set)
    of: Counter[str] = field(default_factory=Counter)
    states: int = 0
    jobs: int = 0
    attempts: int = 0
    letters: int = 0
    again: int = 0
    torn: int = 0

    def count(self, found: Mapping[str, Any]) -> None:
        """Take in what a comparison found."""
        self.rounds += 1
        self.states += found["stored"]
        self.jobs += len(found["jobs"]["done"])
        self.attempts += found["jobs"]["attempts"]
        self.letters += found["letters"]["delivered"]
        self.again += found["letters"]["again"]

    def words(self) -> str:
        """Return it in words."""
        parts = ", ".join(f"{name} {count}" for name, count in sorted(self.of.items()))
        return (
            f"{self.kills} kills ({parts}), {self.inside / max(self.kills, 1):.0%} of them inside a transaction, "
            f"{self.laying} while a checkpoint was laid down; {self.frozen} workers frozen, {self.torn} snapshots "
            f"torn; {self.outcome()}"
        )

    def outcome(self) -> str:
        """Return in words what was compared."""
        return (
            f"{self.rounds} logs equal to the undisturbed run, {len(self.groupings)} groupings, {self.states} stored "
            f"states equal to the refolded ones, {self.jobs} jobs done once in {self.attempts} attempts, "
            f"{self.letters} events brought out in order ({self.again} of them again)"
        )


class HubTorture:
    """One log and the processes over it, from the first event to the comparison."""

    def __init__(self, rig: HubRig, dice: random.Random, tally: HubTally) -> None:
        self.rig, self._dice, self._tally = rig, dice, tally
        self.board = hub_board()
        rig.errors.mkdir(parents=True, exist_ok=True)
        self._children: dict[int, int] = {}
        self._begun: dict[int, int] = {}
        self._frozen: int | None = None
        self._frozen_s = 0.0
        self.arming: Callable[[int], str] = lambda who: ""
        """Says at which named place a process that is about to be forked has to die; empty for nowhere."""
        self.armed: dict[int, str] = {}
        self.died: dict[str, str] = {}
        """Of each place at which a process died, what it ran."""
        self.groups: dict[int, list[str]] = {}
        self._deal(range(GROUPS, GROUPS + dice.randint(2, MOST_GROUPS)), rig.trained.names)

    # --- processes ----------------------------------------------------------------------------------------------------

    def start_all(self) -> None:
        """Fork every part that does not run."""
        for who in (INGEST, JOBS, OUTBOX, *self.groups):
            if who not in self._children:
                self.start(who)

    def start(self, who: int) -> None:
        """Fork one part."""
        rig, board, seed = self.rig, self.board, self._dice.randrange(2**31)
        if who in self.groups:
            names = tuple(self.groups[who])
            work_of: Callable[[], None] = lambda: follow(rig, board, who, names, seed)  # noqa: E731
        elif who == INGEST:
            work_of = lambda: ingest(rig, board, seed)  # noqa: E731
        elif who == OUTBOX:
            work_of = lambda: deliver_letters(rig, board, seed)  # noqa: E731
        else:
            work_of = lambda: work(rig, board, who, seed)  # noqa: E731
        board[f"seen_{who}"] = 0
        self._begun[who] = board[f"progress_{who}"]
        self.armed[who] = self.arming(who)
        failpoints.arm(self.armed[who])
        self._children[who] = fork(work_of, rig.errors)
        failpoints.arm("")

    def _deal(self, places: Sequence[int], names: Sequence[str]) -> None:
        """Deal projections anew among processes."""
        for who in places:
            self.groups[who] = []
        for name in self._dice.sample(list(names), len(names)):
            self.groups[self._dice.choice(list(places))].append(name)
        for who in places:
            if not self.groups[who]:
                del self.groups[who]
        self._tally.groupings.add(tuple(sorted(tuple(sorted(group)) for group in self.groups.values())))

    def regroup(self, who: int) -> None:
        """Kill another group as well and deal the projections of both anew, into one process, two or three."""
        other = self._dice.choice(list(self.groups))
        if other != who and other in self._children:
            self.kill(other)
        names = [name for one in {who, other} for name in self.groups.pop(one)]
        free = [place for place in range(GROUPS, GROUPS + MOST_GROUPS) if place not in self.groups]
        self._deal(self._dice.sample(free, self._dice.randint(1, min(3, len(free)))), names)

    def look(self) -> None:
        """Raise what a part has found wrong."""
        for who, child in list(self._children.items()):
            found, status = os.waitpid(child, os.WNOHANG)
            if found:
                del self._children[who]
                self._judge(who, child, status)
                if os.waitstatus_to_exitcode(status):
                    self.died[self.armed[who].partition(":")[0]] = ", ".join(self.members(who))
                    self._tally.kills += 1
                    self._tally.of.update(self.members(who))
                    self._tally.inside += self.board[f"inside_{who}"]
                    self.board[f"inside_{who}"] = 0

    def _judge(self, who: int, child: int, status: int) -> None:
        if os.waitstatus_to_exitcode(status) not in (0, -signal.SIGKILL):
            left = self.rig.errors / f"{child}.txt"
            words = left.read_text() if left.exists() else f"it ended with {status}"
            raise Caught(f"{', '.join(self.members(who))}: {words}")

    def members(self, who: int) -> Sequence[str]:
        """Return which parts a process runs."""
        return self.groups[who] if who in self.groups else (_SERVICES[who],)

    # --- killing ------------------------------------------------------------------------------------------------------

    def strike(self, granted: int, *, tear: bool) -> None:
        """Kill one part at some instant, sometimes two and deal what they ran anew; then go on with all.

        Parameters
        ----------
        granted
            How far ingest may deliver from now on: half of what is new comes as the part has to get on, the other half
            as it is aimed at.
        tear
            Whether snapshots are torn now and then while nobody looks after them.
        """
        dice, board = self._dice, self.board
        who = self._victim()
        aimed = dice.random() < _AIMED
        board["granted"] = (board["granted"] + granted + 1) // 2 if aimed else granted
        if dice.random() >= _EARLY:
            self._await(who)
        if aimed:
            self._aim(who, granted)
        else:
            until = time.perf_counter() + dice.random() * dice.choice((0.001, 0.004, 0.02))
            while time.perf_counter() < until:
                pass
        self.kill(who)
        if tear and who in self.groups and dice.random() < 0.1:
            folder = Snapshots(self.rig.settings.snapshots_dir, dice.choice(self.groups[who])).folder
            self._tally.torn += tear_snapshot(folder.glob("*"), dice)
        if who in self.groups and dice.random() < 0.3:
            self.regroup(who)
        self.start_all()

    def _victim(self) -> int:
        """Choose a part; each projection counts as much as each service."""
        running = [who for who in self._children if who != self._frozen]
        weights = [1.0 if who in self.groups and not self.groups[who] else len(self.members(who)) for who in running]
        return self._dice.choices(running, weights)[0]

    def _await(self, who: int, seconds: float = 0.25) -> None:
        """Wait until a part has got on since it was forked, has nothing to do, or enough time has passed."""
        until = time.monotonic() + seconds
        while self.board[f"progress_{who}"] == self._begun[who] and not self.board[f"seen_{who}"]:
            self.look()
            if who not in self._children or time.monotonic() > until:
                return
            time.sleep(0.0005)

    def _aim(self, who: int, granted: int) -> None:
        """Wait for an open transaction: as it has begun, somewhere in it, or just before it commits."""
        self.board["hold"] = self._dice.choice((-1 - who, 1 + who, 1 + who))
        self.board["granted"] = granted
        until = time.monotonic() + 0.1
        while not self.board[f"inside_{who}"] and time.monotonic() < until:
            time.sleep(0.0001)
        time.sleep(self._dice.random() * 0.004)

    def get_on(self, transactions: int) -> None:
        """Wait until the parts together have committed so often, or found nothing to do, and let a moment pass."""
        before = self._committed()
        until = time.monotonic() + PATIENCE_S
        while self._committed() < before + transactions and not self._quiet():
            self.look()
            if time.monotonic() > until:
                raise Caught(f"the hub did not get on within {PATIENCE_S} s")
            time.sleep(0.001)
        until = time.perf_counter() + self._dice.random() * 0.01
        while time.perf_counter() < until and not self.is_inside():
            pass

    def _committed(self) -> int:
        return sum(self.board[f"progress_{who}"] for who in self._children)

    def is_inside(self) -> bool:
        """Say whether any part has a transaction open."""
        return any(self.board[f"inside_{who}"] for who in self._children)

    def kill(self, who: int) -> None:
        """Kill a process wherever it is."""
        child = self._children.pop(who, None)
        if child is None:
            return
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        self.board["hold"] = 0
        self._judge(who, child, status)
        if os.waitstatus_to_exitcode(status) != 0:
            self._tally.kills += 1
            self._tally.of.update(self.members(who))
            self._tally.inside += self.board[f"inside_{who}"]
            self._tally.laying += bool(self.board[f"busy_{who}"] and who in self.groups)
        self.board[f"inside_{who}"] = self.board[f"busy_{who}"] = 0

    def freeze(self) -> None:
        """Freeze the worker of jobs, or let a frozen one go on: it comes back after its lease, a zombie."""
        if self._frozen is not None:
            if time.monotonic() < self._frozen_s + _LEASE_S:
                return  # its lease is not over yet
            if self._frozen in self._children:
                os.kill(self._children[self._frozen], signal.SIGCONT)
            self._frozen = None
            return
        first, second = (JOBS, JOBS_TOO) if self._dice.random() < 0.5 else (JOBS_TOO, JOBS)
        if first not in self._children:
            first, second = second, first
        if first in self._children:
            until = time.monotonic() + 0.05
            while not self.board[f"busy_{first}"] and time.monotonic() < until:
                time.sleep(0.0001)
            if self.board[f"inside_{first}"]:
                return  # who freezes while it holds the write lock holds up everybody
            os.kill(self._children[first], signal.SIGSTOP)
            self._frozen, self._frozen_s = first, time.monotonic()
            self._tally.frozen += 1
        if second not in self._children:
            self.start(second)

    def go_on(self, seconds: float) -> None:
        """Let everybody go on for so long, or until nobody has anything to do; who has died is forked again."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._quiet():
            self.look()
            self.start_all()
            time.sleep(0.001)

    def running(self) -> dict[int, Sequence[str]]:
        """Return which parts each process runs, by its id."""
        return {child: self.members(who) for who, child in self._children.items()}

    # --- the end ------------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Let every part come to its end undisturbed: all have seen the same head, and had nothing to do."""
        while self._frozen is not None:
            self.freeze()
            time.sleep(0.01)
        self.board["granted"] = len(self.rig.inputs)
        self.start_all()
        deadline = time.monotonic() + PATIENCE_S
        while not self._quiet():
            self.look()
            self.start_all()
            if time.monotonic() > deadline:
                seen = {", ".join(self.members(who)): self.board[f"seen_{who}"] for who in self._children}
                raise Caught(f"the hub did not come to rest within {PATIENCE_S} s: {seen}")
            time.sleep(0.002)
        self.board["stop"] = 1
        while self._children:
            self.look()
            if time.monotonic() > deadline:
                raise Caught(f"these did not stop: {[self.members(who) for who in self._children]}")
            time.sleep(0.001)

    def _quiet(self) -> bool:
        seen = {self.board[f"seen_{who}"] for who in self._children}
        return len(seen) == 1 and 0 not in seen

    def stop_all(self) -> None:
        """Leave no process behind."""
        for child in self._children.values():
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        self._children = {}


def server_round(
    rig: HubRig, reference: dict[str, Any], dice: random.Random, tally: HubTally, server: Postgres, *, kills: int
) -> int:
    """Kill the PostgreSQL server so many times while the whole hub goes on; return how often a transaction was open."""
    in_child(rig.prepare, rig.errors)
    torture, inside = HubTorture(rig, dice, tally), 0
    try:
        torture.start_all()
        for number in range(kills):
            torture.board["granted"] = len(rig.inputs) * (number + 1) // kills
            torture.get_on(dice.randrange(5, 60))
            inside += torture.is_inside()
            server.kill()
            server.start()
        torture.finish()
        tally.count(compare_hub(rig, reference))
    finally:
        torture.stop_all()
    return inside


def hub_round(
    rig: HubRig, reference: dict[str, Any], dice: random.Random, tally: HubTally, *, kills: int, tear: bool = False
) -> None:
    """Fill one log under so many kills and compare it."""
    library_versions()  # asked once in the parent, not once in every child
    in_child(rig.prepare, rig.errors)
    torture = HubTorture(rig, dice, tally)
    before = tally.kills
    try:
        torture.start_all()
        while tally.kills - before < kills:
            torture.look()
            torture.strike(min(len(rig.inputs), len(rig.inputs) * (1 + tally.kills - before) // kills), tear=tear)
            if dice.random() < 0.2:
                torture.freeze()
        torture.finish()
        tally.count(compare_hub(rig, reference))
    finally:
        torture.stop_all()
