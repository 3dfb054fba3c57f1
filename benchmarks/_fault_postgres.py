"""PostgreSQL under `make fault`: the server itself is killed, or comes back from an older copy of its disk."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks._fault_kills import DELIVER, PROJECT, Rig, Tally, Torture, compare
from tests.fakes.postgres import Postgres


def server_round(
    rig: Rig, reference: dict[str, object], dice: random.Random, tally: Tally, server: Postgres, *, kills: int
) -> None:
    """Kill the postmaster so many times while both processes go on, and start it again; then compare."""
    torture = Torture(rig, dice)
    share = max(1, len(rig.inputs) // (kills + 1))
    try:
        torture.start(DELIVER)
        torture.start(PROJECT)
        for _ in range(kills):
            before = torture.board["progress_1"]
            torture.board["granted"] = min(len(rig.inputs), torture.board["granted"] + share)
            torture.await_progress(PROJECT, before)
            torture.pause_a_moment(PROJECT)
            tally.inside += torture.board["inside_1"] or torture.board["inside_0"]
            server.kill()
            server.start()
            tally.kills += 1
        torture.finish()
        compare(rig, reference)
    finally:
        torture.stop_all()
    tally.rounds += 1
    tally.refolded += 1
    tally.compared += 1


def rewind(server: Postgres, dice: random.Random, tally: Tally) -> Callable[[Torture], None]:
    """Return what a disk that lied does: the server comes back as it was some kills ago, snapshots stay ahead of it."""
    kept: list[Path] = []

    def lose(torture: Torture) -> None:
        server.kill()
        if kept:
            server.wait_until_gone()
            shutil.rmtree(server.cluster)
            shutil.move(kept.pop(), server.cluster)
            torture.board["delivered"] = 0  # the source does not know what the log lost: it delivers all again
            tally.tails_lost += 1
        else:
            server.wait_until_gone()
            kept.append(server.copy_cluster())
        server.start()

    return lose
