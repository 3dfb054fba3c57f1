"""The bundle: back as it was, every flipped byte and every truncation found, whole or not at all on disk."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.fakes.models import small_bundle

from kalibre.core.errors import ModelError, RegistryError
from kalibre.models import _storage as storage_module
from kalibre.models import bundle as bundle_module
from kalibre.models.bundle import BUNDLE_FILE, MANIFEST_FILE, MODEL_FILE, ModelBundle, load_bundle


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return replace(
        small_bundle(),
        label="triple_barrier",
        funded=True,
        calibration={"ece_calibrated": np.float64(0.012), "ece_band": (0.0, 0.02)},
        metrics={"auc": 0.61, "unknown": float("nan"), "counts": np.array([1, 2])},
    )


@pytest.fixture
def stored(bundle, tmp_path) -> Path:
    return bundle.save(tmp_path)


def test_round_trip(bundle, stored, tmp_path):
    again = load_bundle(tmp_path, stored.name, bundle.digest)
    assert (again.model_id, again.digest) == (bundle.model_id, bundle.digest)
    for name in (
        "symbol",
        "timeframe",
        "spec",
        "feature_fingerprint",
        "calibrator",
        "costs",
        "risk",
        "created_at_ms",
        "label",
        "funded",
    ):
        assert getattr(again, name) == getattr(bundle, name), name
    assert again.classifier.class_weights == bundle.classifier.class_weights
    values = np.random.default_rng(0).standard_normal((50, len(bundle.classifier.columns)))
    np.testing.assert_array_equal(again.predict(values), bundle.predict(values))
    np.testing.assert_array_equal(again.score(values), bundle.score(values))
    assert again.calibration == {"ece_calibrated": 0.012, "ece_band": [0.0, 0.02]}
    assert again.metrics == {"auc": 0.61, "unknown": None, "counts": [1, 2]}


def test_the_id_says_what_and_when(bundle, stored):
    assert stored.name == f"BTCUSDT-15m-20240101T000000Z-{bundle.digest[:8]}"
    assert sorted(path.name for path in stored.iterdir()) == [BUNDLE_FILE, MANIFEST_FILE, MODEL_FILE]


def test_saving_again_changes_nothing(bundle, stored, tmp_path):
    before = {path.name: path.stat().st_mtime_ns for path in stored.iterdir()}
    assert bundle.save(tmp_path) == stored
    assert {path.name: path.stat().st_mtime_ns for path in stored.iterdir()} == before


def test_another_content_is_another_model(bundle):
    assert replace(bundle, entry_threshold=0.6).digest != bundle.digest


def test_a_symbol_with_a_slash_stays_in_its_folder(bundle, tmp_path):
    other = replace(bundle, symbol="BTC/USDT:../x")
    folder = other.save(tmp_path)
    assert folder.parent == tmp_path
    assert load_bundle(tmp_path, folder.name).symbol == "BTC/USDT:../x"


def test_one_row_or_many(bundle):
    values = np.random.default_rng(1).standard_normal((3, len(bundle.classifier.columns)))
    assert bundle.predict(values[0])[0] == bundle.predict(values)[0]
    with pytest.raises(ModelError, match="do not fit a model of"):
        bundle.predict(values[:, 1:])


@pytest.mark.parametrize("name", [MANIFEST_FILE, BUNDLE_FILE, MODEL_FILE])
def test_flipped_bytes_are_found(stored, tmp_path, name):
    path = stored / name
    content = path.read_bytes()
    every = 1 if name == MANIFEST_FILE else max(len(content) // 250, 1)
    rng = np.random.default_rng(7)
    for at in range(0, len(content), every):
        flipped = bytearray(content)
        flipped[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        with pytest.raises(ModelError, match="is damaged"):
            load_bundle(tmp_path, stored.name)
    path.write_bytes(content)
    load_bundle(tmp_path, stored.name)


@pytest.mark.parametrize("name", [MANIFEST_FILE, BUNDLE_FILE, MODEL_FILE])
def test_truncated_grown_and_missing_files_are_found(stored, tmp_path, name):
    path = stored / name
    content = path.read_bytes()
    for wrong in (b"", content[:-1], content[: len(content) // 2], content + b"\n"):
        path.write_bytes(wrong)
        with pytest.raises(ModelError, match="is damaged"):
            load_bundle(tmp_path, stored.name)
    path.unlink()
    with pytest.raises(ModelError, match=f"{name}"):
        load_bundle(tmp_path, stored.name)


def test_the_damaged_file_is_named(stored, tmp_path):
    (stored / MODEL_FILE).write_bytes((stored / MODEL_FILE).read_bytes().replace(b"tree", b"free", 1))
    with pytest.raises(ModelError, match=rf"{MODEL_FILE} does not match"):
        load_bundle(tmp_path, stored.name)


def test_a_bundle_replaced_as_a_whole_is_found(bundle, stored, tmp_path):
    other = replace(bundle, entry_threshold=0.9).save(tmp_path / "elsewhere")
    shutil.rmtree(stored)
    shutil.copytree(other, stored)
    with pytest.raises(ModelError, match="another model lies in its folder"):
        load_bundle(tmp_path, stored.name)
    with pytest.raises(ModelError, match=f"not '{bundle.digest}'"):
        load_bundle(tmp_path / "elsewhere", other.name, bundle.digest)


@pytest.mark.parametrize(
    "model_id",
    [
        "nobody",
        "",
        ".",
        "..",
        "../models",
        "a/b",
        ".saving-x",
        "/etc",
        "BTCUSDT-15m-20240101T000000Z-0123abcd/..",
        "x\0",
    ],
)
def test_what_is_no_id_never_becomes_a_path(stored, tmp_path, model_id):
    with pytest.raises(RegistryError, match=r"is no model id, which reads like .*; there is") as caught:
        load_bundle(tmp_path, model_id)
    assert repr(model_id) in str(caught.value)
    assert stored.name in str(caught.value)


def test_an_unknown_model_lists_what_there_is(stored, tmp_path):
    other = f"{stored.name[:-8]}00000000"
    with pytest.raises(RegistryError, match=rf"{other}' is not in .*; there is {stored.name}$"):
        load_bundle(tmp_path, other)
    with pytest.raises(RegistryError, match="there is none yet: run `kalibre train`"):
        load_bundle(tmp_path / "empty", other)


def test_another_format_says_train_again(bundle, tmp_path):
    content = json.loads(bundle._files[BUNDLE_FILE])
    with pytest.raises(ModelError, match="format 99"):
        bundle_module._read({**content, "format": 99}, bundle.classifier.text)


def test_a_bundle_of_the_first_format_is_told_from_a_damaged_one(bundle, tmp_path):
    model_id = "BTCUSDT-15m-20231231T000000Z-0123abcd"
    content = json.loads(bundle._files[BUNDLE_FILE])
    old = json.dumps({k: v for k, v in content.items() if k not in {"label", "funded"}} | {"format": 1}).encode()
    model = bundle._files[MODEL_FILE]
    for name, written in ((MODEL_FILE, model), (BUNDLE_FILE, old)):
        (tmp_path / model_id).mkdir(exist_ok=True)
        (tmp_path / model_id / name).write_bytes(written)
    manifest = tmp_path / model_id / MANIFEST_FILE
    manifest.write_bytes(bundle_module._manifest(model, old, bundle_format=1))
    with pytest.raises(ModelError, match="is whole, but of format 1, this version reads 2: train again"):
        load_bundle(tmp_path, model_id)
    manifest.write_bytes(bundle_module._manifest(model, old + b" ", bundle_format=1))
    with pytest.raises(ModelError, match="is damaged"):
        load_bundle(tmp_path, model_id)


@pytest.mark.parametrize("number", range(4))
def test_a_full_disk_leaves_nothing_behind(bundle, tmp_path, monkeypatch, number):
    calls = []
    sync = storage_module.os.fsync

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == number + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(storage_module.os, "fsync", fsync)
    with pytest.raises(ModelError, match="No space left on device"):
        bundle.save(tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    load_bundle(tmp_path, bundle.save(tmp_path).name)


def test_a_folder_that_cannot_be_made_is_quoted(bundle, tmp_path):
    (tmp_path / "models").write_text("a file")
    with pytest.raises(ModelError, match="models"):
        bundle.save(tmp_path / "models")


def test_a_damaged_bundle_is_not_saved_over_in_silence(bundle, stored, tmp_path):
    (stored / MODEL_FILE).write_text("x")
    with pytest.raises(ModelError, match="is damaged"):
        bundle.save(tmp_path)


@pytest.mark.parametrize(("entry", "exit_"), [(0.4, 0.6), (0.5, 0.5), (1.1, 0.5), (0.6, -0.1), (float("nan"), 0.5)])
def test_thresholds_no_policy_could_follow(bundle, entry, exit_):
    with pytest.raises(ModelError, match=f"entry_threshold {entry}"):
        replace(bundle, entry_threshold=entry, exit_threshold=exit_)


def test_what_json_cannot_hold_is_refused(bundle):
    with pytest.raises(ModelError, match="cannot be stored"):
        _ = replace(bundle, metrics={"when": object()}).digest
