from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kalibre.core.errors import ModelError, UsageError
from kalibre.language.base import TASKS
from kalibre.language.bundle import WEIGHTS, LanguageBundle, open_bundle, pack_arrays, shipped, unpack_arrays
from kalibre.language.load import load


def _bundle(**changed: bytes) -> LanguageBundle:
    files = {"weights.npz": pack_arrays({"w": np.arange(3.0)}), "words.json": b"{}", **changed}
    return LanguageBundle(task="sentiment", family="fast", files=files, card={"licence": "MIT"})


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    bundle = _bundle()
    folder = bundle.save(tmp_path)
    assert folder.name == bundle.version
    assert open_bundle(folder, "sentiment") == bundle
    assert bundle.save(tmp_path) == folder, "saving the same again changes nothing"
    assert unpack_arrays(bundle.file("weights.npz"))["w"].tolist() == [0.0, 1.0, 2.0]


def test_the_version_is_of_the_files_alone() -> None:
    one, other = _bundle(), _bundle(**{"words.json": b"[]"})
    assert one.version != other.version
    assert LanguageBundle("sentiment", "fast", one.files, {"licence": "other"}).version == one.version
    assert pack_arrays({"b": np.ones(2), "a": np.zeros(1)}) == pack_arrays({"a": np.zeros(1), "b": np.ones(2)})


@pytest.mark.parametrize("cut", [0, 5, -1])
def test_a_torn_file_is_refused(tmp_path: Path, cut: int) -> None:
    folder = _bundle().save(tmp_path)
    whole = (folder / "weights.npz").read_bytes()
    (folder / "weights.npz").write_bytes(whole[:cut])
    with pytest.raises(ModelError, match=r"'weights\.npz' of sentiment-fast-.* is not what was saved"):
        open_bundle(folder)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    folder = _bundle().save(tmp_path)
    (folder / "words.json").unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        open_bundle(folder)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"files": 3}', "\x00"])
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    folder = _bundle().save(tmp_path)
    (folder / "manifest.json").write_text(content)
    with pytest.raises(ModelError, match="cannot be read"):
        open_bundle(folder)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/b"])
def test_a_manifest_that_points_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    folder = _bundle().save(tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="altered"):
        open_bundle(folder)


def test_another_task_is_refused(tmp_path: Path) -> None:
    folder = _bundle().save(tmp_path)
    with pytest.raises(ModelError, match="for 'sentiment', not for 'entities'"):
        open_bundle(folder, "entities")


def test_another_version_under_the_same_name_is_refused(tmp_path: Path) -> None:
    _bundle().save(tmp_path, "mine")
    with pytest.raises(ModelError, match="already holds"):
        _bundle(**{"words.json": b"[]"}).save(tmp_path, "mine")


def test_objects_are_not_stored_and_never_read() -> None:
    with pytest.raises(ModelError, match="holds Python objects"):
        pack_arrays({"x": np.array([{}], dtype=object)})
    for content in (b"\x80\x04pickle", b"PK\x03\x04torn", pack_arrays({"x": np.ones(9)})[:-30], b""):
        with pytest.raises(ModelError, match="cannot be read"):
            unpack_arrays(content)


def test_what_is_not_there_is_told() -> None:
    with pytest.raises(UsageError, match="task 'mood' is unknown"):
        load("mood")
    with pytest.raises(UsageError, match=r"'builtin:huge' is not shipped for 'sentiment'; shipped are .*horizon-fast"):
        load("sentiment", "builtin:huge")


@pytest.mark.parametrize("folder", sorted(WEIGHTS.glob("*-*")), ids=lambda path: path.name)
def test_everything_shipped_opens_and_says_what_it_is(folder: Path) -> None:
    """Conformance of what is shipped: whole, of its task, with a card, and no large files."""
    task, family = folder.name.split("-")
    assert task in TASKS
    bundle = shipped(task, family)
    assert {"trained_on", "limits"} <= set(bundle.card), f"the card of {folder.name} says too little"
    assert "licence" in json.dumps(bundle.card), f"the card of {folder.name} says nothing of licences"
    assert sum(map(len, bundle.files.values())) < 32_000_000
    assert load(task, f"builtin:{family}").version == bundle.version
