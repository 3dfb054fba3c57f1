"""A tokenizer on disk: whole, checked, and found by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from kalibre.core.errors import ModelError, UsageError
from kalibre.language.tokenizer.storage import MODEL, load, read, save, version_of
from kalibre.language.tokenizer.training import Trained


def test_saved_and_read(trained: Trained, tmp_path: Path):
    folder = save(trained.tokenizer, tmp_path / "mine", trained.as_dict())
    tokenizer, card = read(folder)
    assert tokenizer.model == trained.tokenizer.model
    assert card["vocabulary"] == trained.tokenizer.size
    assert load(str(folder)).model == load(str(folder / MODEL)).model == trained.tokenizer.model
    with pytest.raises(ModelError, match="is there already"):
        save(trained.tokenizer, folder, {})


def test_an_altered_byte_is_seen(trained: Trained, tmp_path: Path):
    folder = save(trained.tokenizer, tmp_path / "mine", {})
    (folder / MODEL).write_bytes(trained.tokenizer.model[:-1] + b"?")
    with pytest.raises(ModelError, match="sha256 differs"):
        read(folder)


@pytest.mark.parametrize("manifest", ["", "[]", "{}", '{"files": {}, "card": {}}', "\x00"])
def test_a_broken_manifest_is_refused(trained: Trained, tmp_path: Path, manifest: str):
    folder = save(trained.tokenizer, tmp_path / "mine", {})
    (folder / "manifest.json").write_text(manifest)
    with pytest.raises(ModelError, match="cannot be read"):
        read(folder)


def test_nothing_there_is_said(tmp_path: Path):
    with pytest.raises(ModelError, match=r"manifest\.json is missing"):
        load(str(tmp_path))
    with pytest.raises(UsageError, match="'nowhere' is none"):
        load("nowhere")


def test_the_shipped_one_reads_financial_turkish():
    tokenizer = load("builtin")
    assert tokenizer.size == 32_000
    assert len(tokenizer.encode("Borsa İstanbul güne yükselişle başladı.")) <= 8
    assert "'nun" in tokenizer.pieces("THYAO'nun")
    assert version_of(tokenizer.model).startswith("tokenizer-")
