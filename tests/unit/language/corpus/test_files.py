"""Files of every kind, and files that are broken."""

from __future__ import annotations

import gzip
import lzma
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kalibre.core.errors import SourceError, UsageError
from kalibre.language.corpus.sources.base import Found, Left, iso_date
from kalibre.language.corpus.sources.files import Source


def read(*paths: Path | str, memory: dict[str, Any] | None = None, **options: Any) -> list[Any]:
    return list(Source(list(map(str, paths)), **options).read({} if memory is None else memory))


def test_text_as_file_blocks_or_lines(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_bytes("bir\r\niki\r\n\r\n\r\nüç".encode())
    assert [one.text for one in read(path, split="block")] == ["bir\niki", "üç"]
    assert [one.text for one in read(path, split="line")] == ["bir", "iki", "üç"]
    assert len(read(path)) == 1


def test_tables_and_json_lines_with_turkish_names(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text(
        '{"metin": "Kur arttı", "tarih": "28.11.2024", "lisans": "CC0-1.0"}\n\nbozuk\n[1]\n{"x": 1}\n', encoding="utf-8"
    )
    (tmp_path / "b.csv").write_text('baslik;icerik;link\n"Faiz";"Sabit;\nkaldı";https://a/b\n', encoding="utf-8-sig")
    (tmp_path / "c.tsv").write_text("date\ttext\n2024-01-02\tAltın\n", encoding="cp1254")
    found = read(tmp_path / "*")
    kept = [msgspec.structs.replace(one, where="") for one in found if isinstance(one, Found)]
    assert [one.where.rpartition("/")[2] for one in found[:5]] == [f"a.jsonl:{number}" for number in (1, 3, 4, 5)] + [
        "b.csv:2"
    ]
    assert kept[0] == Found(text="Kur arttı", date="2024-11-28", licence="CC0-1.0")
    assert kept[1] == Found(text="Sabit;\nkaldı", title="Faiz", url="https://a/b")
    assert kept[2] == Found(text="Altın", date="2024-01-02")
    assert [one.reason for one in found if isinstance(one, Left)] == ["unreadable", "unreadable", "no text"]


def test_columns_by_choice(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text("text,yorum\nyanlış,doğru\n", encoding="utf-8")
    assert read(path, text="yorum")[0].text == "doğru"
    assert read(path, text="yok")[0].reason == "no text"


@pytest.mark.parametrize(("ending", "opener"), [(".xz", lzma.open), (".gz", gzip.open)])
def test_compressed_files_and_torn_ones(tmp_path: Path, ending: str, opener: Any):
    path = tmp_path / f"a.txt{ending}"
    with opener(path, "wb") as stream:
        stream.write(("Şirket kârı arttı. " * 400).encode())
    assert "Şirket" in read(path)[0].text
    path.write_bytes(path.read_bytes()[:-30])
    assert read(path)[0].reason == "unreadable"


def test_a_bomb_is_not_unpacked(tmp_path: Path):
    path = tmp_path / "a.txt.xz"
    path.write_bytes(lzma.compress(b"a" * 5_000_000))
    assert read(path, largest_mb=1)[0].reason == "too large"


def test_pages(tmp_path: Path):
    path = tmp_path / "a.html"
    body = "<p>Borsa güne yükselişle başladı ve bankacılık hisseleri gün boyunca alıcılı seyretti.</p>" * 2
    path.write_text(f"<html><head><meta charset='windows-1254'></head><body>{body}</body></html>", encoding="cp1254")
    assert "bankacılık" in read(path)[0].text
    path.write_text("<html></html>")
    assert read(path)[0].reason == "no article"


def test_binary_is_left(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_bytes(bytes(range(256)) * 4 + b"\x00" * 100)
    assert read(path)[0].reason == "unreadable"


def test_files_that_did_not_change_are_not_read_again(tmp_path: Path):
    path, memory = tmp_path / "a.txt", {}
    path.write_text("bir")
    assert len(read(path, memory=memory)) == 1
    assert read(path, memory=memory) == []
    path.write_text("iki")
    os.utime(path, ns=(1, 1))
    assert [one.text for one in read(path, memory=memory)] == ["iki"]


def test_nothing_there_and_wrong_options(tmp_path: Path):
    with pytest.raises(SourceError, match="no file matches"):
        read(tmp_path / "yok*.txt")
    with pytest.raises(UsageError, match="is no list of files"):
        Source("a.txt")
    with pytest.raises(UsageError, match="split 'word'"):
        Source(["a.txt"], split="word")


@pytest.mark.parametrize(
    ("told", "iso"),
    [
        ("2024-11-28", "2024-11-28"),
        ("28.11.2024", "2024-11-28"),
        ("28.11.24 18:05", "2024-11-28T18:05:00"),
        ("Thu, 28 Nov 2024 18:05:00 +0300", "2024-11-28T18:05:00+03:00"),
        ("2024-11-28T18:05:00Z", "2024-11-28T18:05:00+00:00"),
        ("dün", ""),
        ("", ""),
        (None, ""),
        ("99.99.2024", ""),
    ],
)
def test_dates(told: Any, iso: str):
    assert iso_date(told) == iso


def test_names_that_are_no_text_and_names_with_brackets(tmp_path: Path):
    odd = os.path.join(os.fsencode(tmp_path), "şeker.txt".encode("cp1254"))
    with open(odd, "wb") as stream:
        stream.write(b"bir")
    (tmp_path / "a[1].txt").write_text("iki")
    memory: dict[str, Any] = {}
    assert {one.text for one in read(tmp_path / "*.txt", tmp_path / "a[1].txt", memory=memory)} == {"bir", "iki"}
    msgspec.json.encode(memory)
    assert read(tmp_path / "*.txt", memory=memory) == []


def test_a_folder_alone_is_not_passed_over_in_silence(tmp_path: Path):
    (tmp_path / "texts").mkdir()
    with pytest.raises(SourceError, match=r"names a folder and no file: write for example '.*texts/\*\*/\*\.txt'"):
        read(tmp_path / "texts")


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ('[{"Text": "bir"}, {"METİN": "iki"}, {"text": {"tr": "x"}}, {"text": ["x"]}, 5, "x"]', ["bir", "iki"]),
        ('{"count": 2, "data": [{"text": "bir"}, {"text": "iki"}]}', ["bir", "iki"]),
        ('{"text": "bir", "tags": ["x"], "comments": [{"text": "yorum"}]}', ["bir"]),
        ('{"x": 1}', []),
        ("[" * 100_000, []),
        ('{"text": "bir"}\n{"text": "iki"}', []),
    ],
)
def test_json_is_read_by_its_columns_and_never_as_prose(tmp_path: Path, content: str, texts: list[str]):
    path = tmp_path / "a.json"
    path.write_text(content, encoding="utf-8")
    found = read(path)
    assert [one.text for one in found if isinstance(one, Found)] == texts
    assert {one.reason for one in found if isinstance(one, Left)} <= {"no text", "unreadable"}


def test_columns_in_any_case_and_objects_that_are_no_text(tmp_path: Path):
    (tmp_path / "a.csv").write_text("Başlık|TEXT|Date\nFaiz|Sabit kaldı|28 Kasım 2024\n", encoding="utf-8")
    (found,) = read(tmp_path / "a.csv")
    assert (found.title, found.text, found.date) == ("Faiz", "Sabit kaldı", "2024-11-28")


def test_other_options_read_a_file_again(tmp_path: Path):
    path, memory = tmp_path / "a.txt", dict[str, Any]()
    path.write_text("bir\niki")
    assert len(read(path, memory=memory)) == 1
    assert len(read(path, memory=memory, split="line")) == 2
    assert read(path, memory=memory, split="line") == []


def test_a_file_that_may_not_be_read_now_is_read_once_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, memory = tmp_path / "a.txt", dict[str, Any]()
    path.write_text("bir")

    def refused(*words: Any, **options: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refused)
        assert read(path, memory=memory)[0].reason == "unreadable"
    assert [one.text for one in read(path, memory=memory)] == ["bir"]


@pytest.mark.parametrize("name", ["a.xml", "a.svg", "a.js", "a.rtf"])
def test_markup_and_code_are_no_prose(tmp_path: Path, name: str):
    (tmp_path / name).write_text("<haber>Borsa güne yükselişle başladı.</haber>", encoding="utf-8")
    assert [one.reason for one in read(tmp_path / name)] == ["unreadable"]


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_sizes_have_bounds(value: float):
    with pytest.raises(UsageError, match="largest_mb"):
        Source(["a.txt"], largest_mb=value)


@pytest.mark.parametrize(
    ("told", "iso"),
    [
        ("28 Kasım 2024 Perşembe 18:05", "2024-11-28T18:05:00"),
        ("28 KASIM 2024", "2024-11-28"),
        ("Per, 28 Kas 2024 10:00:00 +0300", "2024-11-28T10:00:00+03:00"),
        ("2024/11/28", "2024-11-28"),
        (1732800000, "2024-11-28T13:20:00+00:00"),
        ("1732800000000", "2024-11-28T13:20:00+00:00"),
        ("31 Şubat 2024", ""),
        ("1 Jan 2024 99999999999999999999:00", ""),
        ("1900-01-01T00:00:00+01:56:56", ""),
        ("٢٠٢٤-١١-٢٨", ""),
    ],
)
def test_more_dates(told: Any, iso: str):
    assert iso_date(told) == iso
