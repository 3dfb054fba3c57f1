"""A build that is killed at any instant leaves a corpus that is whole, and the next one ends where it would have."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kalibre.language.corpus.store import Store

WORDS = (
    "borsa faiz kur enflasyon şirket hisse yatırımcı endeks banka altın petrol ihracat üretim bilanço temettü sermaye "
    "yükseldi düştü açıkladı bekliyor artırdı azalttı güçlü zayıf yeni eski piyasa kararı bugün dün ve için daha çok"
).split()
_ENTRY = (
    "import sys; from pathlib import Path; from kalibre.language.corpus import build as b; "
    "from kalibre.language.corpus.config import read_config; b.BATCH_DOCUMENTS = 100; "
    "b.build(read_config(Path(sys.argv[1])))"
)


def command(folder: Path) -> list[str]:
    return [sys.executable, "-c", _ENTRY, str(folder / "corpus.toml")]


@pytest.mark.fault
def test_killed_at_any_instant(tmp_path: Path):
    chance = random.Random(2)
    lines = [f"{' '.join(chance.choices(WORDS, k=12))}." for _ in range(1_500)]
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text("\n".join(lines), encoding="utf-8")
        (tmp_path / name / "corpus.toml").write_text(
            'folder = "c"\n[[sources]]\nname = "s"\nkind = "files"\nlicence = "l"\nsplit = "line"\npaths = ["a.txt"]\n'
        )
    subprocess.run(command(tmp_path / "whole"), check=True)
    kills = 0
    for wanted in (1, 4, 9):
        building = subprocess.Popen(command(tmp_path / "killed"))
        deadline = time.monotonic() + 60
        while building.poll() is None and time.monotonic() < deadline:
            if len(list((tmp_path / "killed" / "c").glob("documents-*"))) >= wanted:
                time.sleep(chance.random() * 0.02)
                os.kill(building.pid, signal.SIGKILL)
                break
            time.sleep(0.002)
        kills += building.wait() == -signal.SIGKILL
        assert list(Store(tmp_path / "killed" / "c").documents()) is not None
    assert kills >= 2
    subprocess.run(command(tmp_path / "killed"), check=True)
    whole, killed = (list(Store(tmp_path / name / "c").documents()) for name in ("whole", "killed"))
    assert whole == killed
    assert len(whole) > 1_400
