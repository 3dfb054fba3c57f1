"""The rounds of `make fault`: kills alone, with a lost tail or a torn snapshot, and while the switch is thrown."""

from __future__ import annotations

import random
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks._fault_kills import DELIVER, PROJECT, Board, Rig, Tally, Torture, compare, in_child

from kalibre.core.events import Kill, new_event
from kalibre.log import open_log
from kalibre.log.protocol import EventLog
from kalibre.log.snapshots import library_versions


def kill_round(
    rig: Rig,
    reference: dict[str, object],
    dice: random.Random,
    tally: Tally,
    *,
    kills: int,
    lose: Callable[[Torture], None] | None = None,
    switch: bool = False,
) -> None:
    """Fill one log under so many kills and compare it; `lose` is what a power cut may do while nobody runs."""
    library_versions()  # asked once in the parent, not once in every child
    torture = Torture(rig, dice)
    share = max(1, len(rig.inputs) // kills)
    lose_at = set(dice.sample(range(1, kills), min(3, kills - 1))) if lose else set()
    switch_at = sorted(dice.sample(range(1, kills), 2)) if switch and kills > 2 else []
    try:
        torture.start(DELIVER)
        torture.start(PROJECT)
        for number in range(kills):
            before = [torture.board["progress_0"], torture.board["progress_1"]]
            torture.board["granted"] = min(len(rig.inputs), torture.board["granted"] + share)
            if switch_at and number in switch_at:
                _throw(rig, engaged=number == switch_at[0], by_file=dice.random() < 0.5)
                tally.switched += 1
            who = PROJECT if dice.random() < 0.65 or torture.ended(DELIVER) else DELIVER
            inside = torture.kill(who, before[who])
            if inside is not None:
                tally.kills += 1
                tally.inside += inside
            if number in lose_at and lose is not None:
                for other in (DELIVER, PROJECT):
                    if torture.kill_now(other) is not None:
                        tally.kills += 1
                lose(torture)
            for one in (DELIVER, PROJECT):
                if torture.ended(one):
                    torture.start(one)
        torture.finish()
        compare(rig, None if switch else reference)
    finally:
        torture.stop_all()
    tally.rounds += 1
    tally.refolded += 1
    tally.compared += not switch


def _throw(rig: Rig, *, engaged: bool, by_file: bool) -> None:
    """Engage or release the kill switch, by an event of another process or by touching the file."""
    if engaged and by_file:
        rig.kill_file.touch()
        return
    rig.kill_file.unlink(missing_ok=True)

    def command() -> None:
        with open_log(rig.url, patience_s=60.0) as log:
            last = log.latest("kill")
            time = last.event_time + 1 if last else 1
            log.append([new_event("kill", time, Kill(engaged=engaged, by="fault"))], writer="operator")

    in_child(command, rig.folder / "errors")


# --- what a power cut does --------------------------------------------------------------------------------------------


def wal_of(url: str) -> Path:
    """Return the write-ahead log beside a SQLite log."""
    return Path(url.removeprefix("sqlite:///") + "-wal")


def note_synced(log: EventLog, board: Board) -> None:
    """Remember how much of the write-ahead log had been brought onto the disk when `sync` returned."""
    wal = wal_of(log.url)
    board["synced"] = wal.stat().st_size if wal.exists() else 0


def checkpointed(wal: Path) -> int:
    """Return how much of a write-ahead log SQLite has begun to copy into the database.

    It syncs that much of the log first. To cut it off nevertheless would leave old pages beside new ones, which no
    write-ahead log survives; what is simulated is a tail that was lost, not pages that were exchanged.
    """
    shared = wal.with_name(wal.name.removesuffix("-wal") + "-shm")
    if not shared.exists():
        return 0
    index, page_size = shared.read_bytes()[:136], int.from_bytes(wal.read_bytes()[8:12], "big")
    frames = int.from_bytes(index[128:132], sys.byteorder)  # nBackfillAttempted of the wal-index
    return 32 + frames * (24 + page_size) if frames else 0


def lose_tail(dice: random.Random, tally: Tally, *, lying: bool) -> Callable[[Torture], None]:
    """Cut the write-ahead log back to somewhere behind the last sync, or anywhere if the disk lied; tear the end."""

    def lose(torture: Torture) -> None:
        wal = wal_of(torture.rig.url)
        if not wal.exists() or not wal.stat().st_size:
            return
        size = wal.stat().st_size
        floor = min(size, max(checkpointed(wal), 0 if lying else torture.board["synced"]))
        kept = dice.randrange(floor, size + 1)
        with wal.open("r+b") as stream:
            stream.truncate(kept)
            torn = min(kept - floor, dice.randrange(200))
            if torn > 0:  # the last block was half written
                stream.seek(kept - torn)
                stream.write(dice.randbytes(torn))
        wal.with_name(wal.name.removesuffix("-wal") + "-shm").unlink(missing_ok=True)
        torture.board["delivered"] = 0  # the source does not know what the log lost: it delivers all again
        tally.tails_lost += 1
        if dice.random() < 0.5:
            tally.snapshots_torn += tear_snapshot(torture.rig.snapshots.glob("*/*"), dice)

    return lose


def tear_snapshot(paths: Iterable[Path], dice: random.Random) -> bool:
    """Cut off or flip something in the newest snapshot, or leave a half-written one behind; say if there is one."""
    folders = sorted(path for path in paths if path.name.isdigit())
    if not folders:
        return False
    victim = dice.choice(sorted(folders[-1].iterdir()))
    raw = bytearray(victim.read_bytes())
    kind = dice.randrange(3)
    if kind == 0:
        victim.write_bytes(raw[: dice.randrange(len(raw))])
    elif kind == 1:
        raw[dice.randrange(len(raw))] ^= 1 << dice.randrange(8)
        victim.write_bytes(raw)
    else:
        left = folders[-1].parent / f".writing-{dice.randrange(10**6)}"
        shutil.copytree(folders[-1], left)
    return True
