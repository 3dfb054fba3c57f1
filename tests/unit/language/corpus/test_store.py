"""The corpus on disk: whole or not at all, and damage is seen."""

from __future__ import annotations

import json
import lzma
import os
from pathlib import Path

import pytest

from kalibre.core.errors import DatasetError, LanguageError, UsageError
from kalibre.language.corpus.document import document, text_id
from kalibre.language.corpus.inspection import inspect, stats
from kalibre.language.corpus.store import Store


def filled(folder: Path, n: int = 3) -> Store:
    store = Store(folder)
    with store.writing():
        for shard in range(n):
            store.add(
                [
                    document(f"Haber {shard}-{i} metni", source=f"s{i % 2}", licence="CC0-1.0", date="2024-01-02")
                    for i in range(4)
                ]
            )
    return store


def test_written_and_read(tmp_path: Path):
    filled(tmp_path / "c")
    found = list(Store(tmp_path / "c").documents())
    assert len(found) == 12
    assert found[0].text == "Haber 0-0 metni"
    assert found[0].id == text_id("Haber  0-0\nmetni")
    line = lzma.decompress((tmp_path / "c" / "documents-00000.jsonl.xz").read_bytes()).splitlines()[0]
    assert json.loads(line)["licence"] == "CC0-1.0"


@pytest.mark.parametrize("harm", ["torn", "altered", "gone"])
def test_a_damaged_shard_is_refused(tmp_path: Path, harm: str):
    folder = filled(tmp_path / "c").folder
    shard = folder / "documents-00001.jsonl.xz"
    content = shard.read_bytes()
    if harm == "gone":
        shard.unlink()
    else:
        shard.write_bytes(content[:-5] if harm == "torn" else content[:20] + b"x" + content[21:])
    for use in (lambda: list(Store(folder).documents()), lambda: stats(folder), lambda: inspect(folder, limit=99)):
        with pytest.raises(DatasetError, match=r"shard 'documents-00001\.jsonl\.xz'"):
            use()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"format": 2}', '{"shards": 5}'])
def test_a_broken_manifest_is_refused(tmp_path: Path, content: str):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(DatasetError, match=r"manifest|format 2"):
        Store(tmp_path)


def test_leftovers_of_an_interrupted_build_go(tmp_path: Path):
    store = filled(tmp_path / "c", 1)
    (store.folder / "documents-00001.jsonl.xz").write_bytes(b"half")
    (store.folder / ".writing-documents-00002.jsonl.xz").write_bytes(b"half")
    again = Store(store.folder)
    assert len(list(again.documents())) == 4
    with again.writing():
        again.add([document("Yeni haber", source="s", licence="l")])
    assert sorted(path.name for path in store.folder.iterdir()) == [
        ".lock",
        "documents-00000.jsonl.xz",
        "documents-00001.jsonl.xz",
        "manifest.json",
    ]
    assert len(list(Store(store.folder).documents())) == 5


def test_two_builds_at_once_are_refused(tmp_path: Path):
    with Store(tmp_path).writing(), pytest.raises(DatasetError, match="another build"), Store(tmp_path).writing():
        pass


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = filled(tmp_path / "c", 1)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DatasetError, match="No space left"), store.writing():
        store.add([document("Yeni haber", source="s", licence="l")])
    monkeypatch.undo()
    assert len(list(Store(store.folder).documents())) == 4
    assert not list(store.folder.glob(".writing-*"))


@pytest.mark.parametrize("missing", ["source", "licence"])
def test_nothing_without_source_and_licence(missing: str):
    with pytest.raises(UsageError, match=f"has no {missing}"):
        document("metin", **{"source": "s", "licence": "l", missing: " "})


@pytest.mark.parametrize(("text", "date"), [(" ", ""), ("metin", "dün"), ("metin", "28.11.2024")])
def test_no_document_without_text_or_with_another_date(text: str, date: str):
    with pytest.raises(LanguageError):
        document(text, source="s", licence="l", date=date)


def test_figures(tmp_path: Path):
    told = stats(filled(tmp_path / "c").folder)
    assert (told.total.documents, told.total.words, told.shards) == (12, 36, 3)
    assert told.sources["s0"].documents == 6
    assert (told.total.first, told.total.last) == ("2024-01-02", "2024-01-02")
    assert told.bytes > 100


def test_documents_to_look_at(tmp_path: Path):
    folder = filled(tmp_path / "c").folder
    assert [one.text for one in inspect(folder, limit=2)] == ["Haber 0-0 metni", "Haber 0-1 metni"]
    assert {one.source for one in inspect(folder, source="s1", limit=99)} == {"s1"}
    assert [one.text for one in inspect(folder, contains="HABER 2-3")] == ["Haber 2-3 metni"]
    one = inspect(folder)[0]
    assert inspect(folder, contains=one.id) == [one]
    drawn = inspect(folder, limit=3, seed=1)
    assert drawn == inspect(folder, limit=3, seed=1) != inspect(folder, limit=3, seed=2)
    assert inspect(folder, contains="yok böyle bir şey") == []
    with pytest.raises(DatasetError, match="source 's9' is not in the corpus"):
        inspect(folder, source="s9")
    with pytest.raises(DatasetError, match="holds no corpus"):
        stats(tmp_path)


def test_what_another_build_added_in_the_meantime_is_no_leftover(tmp_path: Path):
    waiting = Store(tmp_path / "c")  # looked before the first build had ended
    filled(tmp_path / "c", 2)
    with waiting.writing():
        waiting.add([document("Yeni haber", source="s", licence="l")])
    assert len(list(Store(tmp_path / "c").documents())) == 9
