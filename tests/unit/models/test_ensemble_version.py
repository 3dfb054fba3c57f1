"""The ensemble version: back as it was, every flipped byte found, whole or not at all, and never taken for a bundle."""

from __future__ import annotations

import errno
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kalibre.core.errors import ModelError
from kalibre.core.settings import CostSettings, RiskSettings
from kalibre.models import _storage as storage_module
from kalibre.models import ensemble_version as version_module
from kalibre.models.bundle import load_bundle
from kalibre.models.ensemble_version import (
    PREFIX,
    VERSION_FILE,
    EnsembleVersion,
    is_ensemble,
    load_ensemble,
    store_ensemble,
)


@pytest.fixture
def version() -> EnsembleVersion:
    return EnsembleVersion(
        symbol="BTCUSDT",
        timeframe="15m",
        horizon_bars=4,
        entry_threshold=0.57,
        exit_threshold=0.49,
        forecasters=("champion", "online"),
        costs=CostSettings(fee_bps=7.0),
        risk=RiskSettings(),
        funded=True,
        calibration={"ece_calibrated": np.float64(0.012), "ece_band": (0.0, 0.02)},
        metrics={"auc": 0.61, "unknown": float("nan")},
        gates=[{"name": "auc", "passed": True, "value": 0.61}],
        created_at_ms=1_704_067_200_000,
    )


def test_round_trip(version, tmp_path):
    folder = store_ensemble(tmp_path, version)
    assert [path.name for path in folder.iterdir()] == [VERSION_FILE]
    assert folder == tmp_path / version.model_id
    assert version.model_id == PREFIX + version.digest[:12]
    again = load_ensemble(tmp_path, version.model_id, version.digest)
    assert (again.model_id, again.digest) == (version.model_id, version.digest)
    plain = {
        "calibration": {"ece_calibrated": 0.012, "ece_band": [0.0, 0.02]},
        "metrics": {"auc": 0.61, "unknown": None},
    }
    assert again == replace(version, **plain)


def test_storing_again_changes_nothing(version, tmp_path):
    path = store_ensemble(tmp_path, version) / VERSION_FILE
    before = path.stat().st_mtime_ns
    store_ensemble(tmp_path, version)
    assert path.stat().st_mtime_ns == before


def test_the_order_of_forecasters_is_no_part_of_it(version):
    assert replace(version, forecasters=("online", "champion")).digest == version.digest
    assert replace(version, forecasters=("online",)).digest != version.digest


def test_flipped_and_truncated_bytes_are_found(version, tmp_path):
    path = store_ensemble(tmp_path, version) / VERSION_FILE
    content = path.read_bytes()
    rng = np.random.default_rng(7)
    for at in range(len(content)):
        flipped = bytearray(content)
        flipped[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        with pytest.raises(ModelError, match="is damaged"):
            load_ensemble(tmp_path, version.model_id)
    for wrong in (b"", content[:-1], content + b"\n"):
        path.write_bytes(wrong)
        with pytest.raises(ModelError, match="is damaged"):
            store_ensemble(tmp_path, version)
    path.unlink()
    with pytest.raises(ModelError, match=rf"cannot be read from .*{VERSION_FILE}.*run `kalibre hub judge` again"):
        load_ensemble(tmp_path, version.model_id)


def test_one_replaced_as_a_whole_is_found(version, tmp_path):
    stored = store_ensemble(tmp_path, version)
    other = store_ensemble(tmp_path / "elsewhere", replace(version, entry_threshold=0.9))
    with pytest.raises(ModelError, match=version.digest):
        load_ensemble(tmp_path / "elsewhere", other.name, version.digest)
    shutil.rmtree(stored)
    shutil.copytree(other, stored)
    with pytest.raises(ModelError, match="is damaged"):
        load_ensemble(tmp_path, stored.name)


@pytest.mark.parametrize(
    "model_id", ["", "..", f"{PREFIX}..", f"{PREFIX}0123456789ab/..", f"{PREFIX}0123456789AB", "x\0"]
)
def test_what_is_no_id_never_becomes_a_path(tmp_path, model_id):
    with pytest.raises(ModelError, match="is no id of an ensemble version") as caught:
        load_ensemble(tmp_path, model_id)
    assert repr(model_id) in str(caught.value)


@pytest.mark.parametrize("number", range(3))
def test_a_full_disk_leaves_nothing_behind(version, tmp_path, monkeypatch, number):
    calls = []
    sync = storage_module.os.fsync

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == number + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(storage_module.os, "fsync", fsync)
    with pytest.raises(ModelError, match="No space left on device"):
        store_ensemble(tmp_path, version)
    half: list[Path] = [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert half == []
    monkeypatch.undo()
    load_ensemble(tmp_path, store_ensemble(tmp_path, version).name)


def test_another_format_says_judge_again(version, tmp_path):
    with pytest.raises(ModelError, match="format 99"):
        version_module._read({"format": 99})


@pytest.mark.parametrize(("entry", "exit_"), [(0.4, 0.6), (0.5, 0.5), (1.1, 0.5), (float("nan"), 0.5)])
def test_thresholds_no_policy_could_follow(version, entry, exit_):
    with pytest.raises(ModelError, match=f"entry_threshold {entry}"):
        replace(version, entry_threshold=entry, exit_threshold=exit_)


def test_an_ensemble_of_nobody_is_refused(version):
    with pytest.raises(ModelError, match=r"forecasters \(\)"):
        replace(version, forecasters=())


def test_it_is_no_bundle(version, tmp_path):
    store_ensemble(tmp_path, version)
    assert is_ensemble(version.model_id)
    with pytest.raises(ModelError, match="its forecasts are recorded by the hub and cannot be computed from a bundle"):
        load_bundle(tmp_path, version.model_id)
