"""Snapshots under damage: every bit of the manifest, flips elsewhere, every truncation; the one before must be used."""

from __future__ import annotations

import logging
import random
from pathlib import Path

from benchmarks._fault_model import OnlineModel, make_state_of

from kalibre.core.errors import SnapshotError
from kalibre.log.replay import state_digest
from kalibre.log.snapshots import About, Snapshots, library_versions


def damage_snapshots(folder: Path, dice: random.Random, *, flips: int, every: int = 1) -> dict[str, tuple[int, int]]:
    """Damage the newest of two snapshots in every way; return for each way (cases, cases not detected).

    A case counts as detected only if loading it raises and the snapshot before is what recovery gets, bit for bit.
    `every` thins manifest and truncations out for a short form.
    """
    snapshots = Snapshots(folder, OnlineModel.name)
    older, newer = make_state_of(200), make_state_of(300)
    paths = []
    for position, state in ((200, older), (300, newer)):
        about = About(
            projection=OnlineModel.name,
            version="1",
            libraries=library_versions(),
            position=position,
            anchor="a" * 64,
            emitted=position,
        )
        paths.append(snapshots.save(state, about))
    wanted, newest = state_digest(older), state_digest(newer)
    found = {}
    level = logging.getLogger("kalibre.log.snapshots").level
    logging.getLogger("kalibre.log.snapshots").setLevel(logging.ERROR)  # thousands of warnings help nobody

    def missed(path: Path, raw: bytes) -> bool:
        path.write_bytes(raw)
        try:
            snapshots.load(paths[1])
        except SnapshotError:
            state, about = next(snapshots.newest())
            return about.position != 200 or state_digest(state) != wanted
        return True

    try:
        files = {path.name: path for path in sorted(paths[1].iterdir())}
        whole = {name: path.read_bytes() for name, path in files.items()}
        manifest = whole["manifest.json"]
        cases = [(at, bit) for at in range(0, len(manifest), every) for bit in range(8)]
        found["manifest, every bit"] = (
            len(cases),
            sum(missed(files["manifest.json"], _flipped(manifest, at, bit)) for at, bit in cases),
        )
        files["manifest.json"].write_bytes(manifest)
        rest = [(name, at) for name in whole if name != "manifest.json" for at in range(len(whole[name]))]
        wrong = 0
        for _ in range(flips):
            name, at = dice.choice(rest)
            wrong += missed(files[name], _flipped(whole[name], at, dice.randrange(8)))
            files[name].write_bytes(whole[name])
        found["flips elsewhere"] = (flips, wrong)
        count = wrong = 0
        for name, raw in whole.items():
            for size in range(0, len(raw), every):
                wrong += missed(files[name], raw[:size])
                count += 1
            files[name].write_bytes(raw)
        found["truncations"] = (count, wrong)
        wrong = 0
        for name, path in files.items():
            path.unlink()
            try:
                snapshots.load(paths[1])
                wrong += 1
            except SnapshotError:
                pass
            path.write_bytes(whole[name])
        found["files missing"] = (len(files), wrong)
        state, about = next(snapshots.newest())
        found["whole again"] = (1, int(about.position != 300 or state_digest(state) != newest))
    finally:
        logging.getLogger("kalibre.log.snapshots").setLevel(level)
    return found


def _flipped(raw: bytes, at: int, bit: int) -> bytes:
    changed = bytearray(raw)
    changed[at] ^= 1 << bit
    return bytes(changed)
