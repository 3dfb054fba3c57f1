"""The kernels' cache follows every file they are built from, and is not needed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import kalibre

SOURCE = Path(kalibre.__file__).parent
SWEEP = """
import numpy as np
from kalibre.core.bars import Bars
from kalibre.core.settings import CostSettings, RiskSettings
from kalibre.evaluation.sweep import sweep
price = np.full((5, 4), 100.0)
bars = Bars("X", "1h", 3_600_000 * np.arange(4), *price)
costs, risk = CostSettings(fee_bps=0, slippage_bps=100), RiskSettings(risk_per_trade=1)
score, calm = np.array([0.9, 0.1, 0.5, 0.5]), np.full(4, 0.01)
swept = sweep(bars, score, calm, np.array([0.6]), np.array([0.4]), costs, risk, bars_per_year=1.0, horizon_bars=1)
print(swept.path, swept.final_equity[0])
"""
STEP = """
from kalibre.trading._compile import compiled
def doubled(cash: float) -> float:
    return cash * 2.0
print(compiled(doubled)(3.0))
"""


def run(script: str, source: Path, cache: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(source), "KALIBRE_CACHE_DIR": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_an_edit_in_an_imported_file_is_compiled(tmp_path: Path) -> None:
    copy, cache = tmp_path / "source", tmp_path / "cache"
    shutil.copytree(SOURCE, copy / "kalibre", ignore=shutil.ignore_patterns("__pycache__"))
    before = run(SWEEP, copy, cache)
    assert before == f"event {10_000 / 1.01 * 0.99}"
    kept = list((cache / "trading").iterdir())
    assert {path.suffix for path in kept} == {".bin"}, "machine code only: numba's own cache pickles"
    engine = copy / "kalibre" / "trading" / "engine.py"
    # The kernel that is kept is in lanes.py, and inlines this from engine.py.
    text = engine.read_text()
    assert "return open_price * (1.0 - slippage)" in text
    engine.write_text(
        text.replace("return open_price * (1.0 - slippage)", "return open_price * (1.0 - 2.0 * slippage)")
    )
    assert run(SWEEP, copy, cache) == f"event {10_000 / 1.01 * 0.98}"


WALK = """
import sys
import numpy as np
from kalibre.models.kernels import probabilities
one, out = np.zeros(1, np.int32), np.empty(2)
leaves = (np.array([-1], np.int32), np.array([-2], np.int32), np.array([2.0, -2.0]))
probabilities(one, one, np.zeros(1), *leaves, np.array([[-1.0], [1.0]]), out)
print(out[0], "numba" in sys.modules)
"""


@pytest.mark.slow
def test_the_walk_through_trees_follows_its_sources_too(tmp_path: Path) -> None:
    copy, cache = tmp_path / "source", tmp_path / "cache"
    shutil.copytree(SOURCE, copy / "kalibre", ignore=shutil.ignore_patterns("__pycache__"))
    assert run(WALK, copy, cache) == "0.8807970779778823 True"
    assert run(WALK, copy, cache) == "0.8807970779778823 False"
    kernels = copy / "kalibre" / "models" / "kernels.py"
    kernels.write_text(kernels.read_text().replace("math.exp(-total)", "math.exp(-2.0 * total)"))
    assert run(WALK, copy, cache) == "0.9820137900379085 True"


def test_works_where_nothing_can_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    assert run(STEP, SOURCE.parent, blocked) == "6.0"
