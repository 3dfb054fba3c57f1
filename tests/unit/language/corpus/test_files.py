"""Files of every kind, and files that are broken."""

from __future__ import annotations

import gzip
import lzma
import os
from pathlib import Path
from typing import Any

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
    kept = [one for one in found if isinstance(one, Found)]
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
