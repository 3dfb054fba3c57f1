"""The compile cache: follows every source, needs no numba when warm, mends torn files, works where it cannot write."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import kalibre
from kalibre.features import _compile

SCRIPT = """
import sys
import numpy as np
from kalibre.core.bars import Bars
from kalibre.features.engine import FeatureEngine, FeatureSpec
n = 30
close = np.arange(1.0, n + 1)
bars = Bars("X", "1h", np.arange(n) * 3_600_000, close, close, close, close, np.ones(n))
print(FeatureEngine(FeatureSpec("1h", columns=("sma_10",))).batch(bars)[-1, 0], "numba" in sys.modules)
"""
MEAN = "25.5"


def run(cache: Path, package: Path | None = None) -> tuple[str, bool, str]:
    """Compute one column in a process of its own: its value, whether numba was needed, and what was logged."""
    environment = {**os.environ, "KALIBRE_CACHE_DIR": str(cache), "PYTHONDONTWRITEBYTECODE": "1"}
    if package is not None:
        environment["PYTHONPATH"] = str(package)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], check=False, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    value, compiled = done.stdout.split()
    return value, compiled == "True", done.stderr


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("cache")
    assert run(cache) == (MEAN, True, "")
    return cache


def copied(warm: Path, tmp_path: Path) -> Path:
    shutil.copytree(warm, tmp_path / "cache")
    return tmp_path / "cache"


def test_warm_start_needs_no_numba(warm: Path) -> None:
    assert run(warm) == (MEAN, False, "")


def test_edited_kernel_and_formula_are_seen(warm: Path, tmp_path: Path) -> None:
    """Each edit is in a file that the compiled file only imports, and the cache of the unedited package is there."""
    cache, package = copied(warm, tmp_path), tmp_path / "src"
    shutil.copytree(Path(kalibre.__file__).parent, package / "kalibre", ignore=shutil.ignore_patterns("__pycache__"))
    features = package / "kalibre" / "features"
    assert run(cache, package) == (MEAN, False, "")
    kernels = (features / "kernels.py").read_text()
    (features / "kernels.py").write_text(kernels.replace("head = F[f] + x", "head = F[f] + 2.0 * x", 1))
    value, compiled, _ = run(cache, package)
    assert compiled
    assert value != MEAN
    (features / "kernels.py").write_text(kernels)
    assert run(cache, package) == (MEAN, False, "")
    trend = (features / "trend.py").read_text()
    formula = "lambda plan, window: sma(plan, plan.close, window),"
    assert formula in trend
    (features / "trend.py").write_text(trend.replace(formula, formula[:-1] + " * 2.0,"))
    assert run(cache, package)[:2] == ("51.0", True)


def test_constant_that_a_kernel_refers_to_is_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    from kalibre.features._program import compose
    from kalibre.features.engine import find_column

    def digest() -> str:
        return compose({"sar": find_column("sar")}, {"sar": 0}).digest

    before = digest()
    assert digest() == before
    monkeypatch.setattr("kalibre.features.trend.SAR_BLOCK", 128)
    assert digest() != before


def test_damaged_file_is_compiled_anew(warm: Path, tmp_path: Path) -> None:
    cache = copied(warm, tmp_path)
    (path,) = (cache / "features").iterdir()
    path.write_bytes(path.read_bytes()[:-7])
    value, compiled, logged = run(cache)
    assert (value, compiled) == (MEAN, True)
    assert "damaged" in logged
    assert run(cache) == (MEAN, False, "")


def test_every_damage_is_detected(warm: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (path,) = (warm / "features").iterdir()
    whole = path.read_bytes()
    torn = tmp_path / "torn.bin"
    torn.write_bytes(whole)
    content = _compile._read(torn)
    assert content is not None
    assert len(content) < len(whole)
    ends = [0, 1, len(_compile._MAGIC), len(_compile._MAGIC) + 32, len(whole) // 2, len(whole) - 1]
    flips = [*range(0, 80, 7), *range(80, len(whole), 997), len(whole) - 1]
    damages = [whole[:end] for end in ends]
    damages += [whole[:k] + bytes([whole[k] ^ 4]) + whole[k + 1 :] for k in flips]
    for damage in (*damages, b"not machine code", whole + b"x"):
        torn.write_bytes(damage)
        assert _compile._read(torn) is None
    assert len(caplog.records) == len(damages) + 2


def test_folder_that_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    """A file stands where the folder should be: that fails for every user, root too."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    value, compiled, logged = run(blocked)
    assert (value, compiled) == (MEAN, True)
    assert logged.count("cannot be kept") == 1
    assert "KALIBRE_CACHE_DIR" in logged


def test_package_folder_is_left_alone(warm: Path, tmp_path: Path) -> None:
    package = tmp_path / "src"
    shutil.copytree(Path(kalibre.__file__).parent, package / "kalibre", ignore=shutil.ignore_patterns("__pycache__"))
    before = sorted(package.rglob("*"))
    for path in before:
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert run(warm, package)[0] == MEAN
    assert sorted(package.rglob("*")) == before
    for path in before:
        path.chmod(0o755)


def test_two_processes_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    environment = {**os.environ, "KALIBRE_CACHE_DIR": str(tmp_path)}
    both = [
        subprocess.Popen([sys.executable, "-c", SCRIPT], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [process.communicate(timeout=120)[0].split()[0] for process in both] == [MEAN, MEAN]
    assert len(list((tmp_path / "features").iterdir())) == 1
    assert run(tmp_path) == (MEAN, False, "")


def test_cache_folder_follows_the_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KALIBRE_CACHE_DIR", str(tmp_path))
    assert _compile.cache_folder() == tmp_path / "features"
    monkeypatch.delenv("KALIBRE_CACHE_DIR")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert _compile.cache_folder() == tmp_path / "kalibre" / "features"


def test_numba_works_after_a_warm_start(warm: Path) -> None:
    """What stands in for numba's own symbols gives way once numba is there: an error in a kernel is still reported."""
    script = SCRIPT + (
        "from numba import cfunc, types\n"
        "@cfunc(types.float64(types.float64))\n"
        "def planted(x):\n"
        "    if x > 1:\n"
        "        raise ValueError('planted')\n"
        "    return x\n"
        "print(planted.ctypes(0.5), planted.ctypes(2.0))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        env={**os.environ, "KALIBRE_CACHE_DIR": str(warm)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [MEAN, "False", "0.5", "0.0"]
    assert "ValueError: planted" in done.stderr
