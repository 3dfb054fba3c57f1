from __future__ import annotations

import json
from pathlib import Path

import pytest

from kalibre.core.errors import LanguageError, UsageError
from kalibre.core.settings import Settings
from kalibre.language.answering.library import build_library, index_folder, index_of_text, open_library

LAW = "Madde 1 - Bu kanunun amacı kooperatifleri düzenlemektir.\n\nMadde 2 - Kooperatif en az yedi ortakla kurulur."


def _library(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "kooperatif.txt").write_text(LAW)
    rows = [{"text": "Katma değer vergisi oranı yüzde yirmidir.", "title": "KDV", "date": "2023-07-10", "url": "x/1"}]
    (folder / "more.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (folder / "picture.png").write_bytes(b"\x89PNG\x00")
    return folder


def test_documents_are_found_with_their_title_source_and_date(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    counted = build_library([_library(tmp_path)], index_folder(settings))
    assert counted["documents"] == 2
    index = open_library(settings)
    (first, *_) = index.search("Kooperatif kaç ortakla kurulur?")
    assert "yedi ortakla" in first.passage.text
    (tax, *_) = index.search("KDV oranı nedir?")
    assert (tax.passage.title, tax.passage.source, tax.passage.date) == ("KDV", "x/1", "2023-07-10")


def test_a_new_index_takes_the_old_ones_place(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    build_library([_library(tmp_path)], index_folder(settings))
    other = tmp_path / "other.txt"
    other.write_text("Merkez bankası faizi sabit tuttu.")
    assert build_library([other], index_folder(settings))["documents"] == 1
    assert not open_library(settings).search("kooperatif")
    assert [one.name for one in index_folder(settings).parent.iterdir()] == ["index"]


def test_a_failed_build_leaves_the_old_one(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    build_library([_library(tmp_path)], index_folder(settings))
    broken = tmp_path / "broken.jsonl"
    broken.write_text("{")
    with pytest.raises(LanguageError):
        build_library([broken], index_folder(settings))
    assert open_library(settings).search("kooperatif")


def test_a_build_killed_between_its_renames_is_mended(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    build_library([_library(tmp_path)], index_folder(settings))
    index_folder(settings).rename(index_folder(settings).with_name(".index.old"))
    assert open_library(settings).search("kooperatif")


def test_nothing_to_answer_from_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="kalibre nlp index"):
        open_library(Settings(home=tmp_path))
    empty = tmp_path / "empty.txt"
    empty.write_text(" \n")
    with pytest.raises(UsageError, match="no text to index"):
        build_library([empty], tmp_path / "index")
    with pytest.raises(UsageError, match="holds no text"):
        index_of_text("  ", title="nothing")
