from __future__ import annotations

from pathlib import Path

import pytest

from kalibre.core.errors import LanguageError, UsageError
from kalibre.language.files import labelled, types_of
from kalibre.language.rows import read_rows, read_text

ROWS = [{"text": "Borsa yükseldi, dolar düştü", "label": "positive"}, {"text": 'O "iyi" dedi', "label": "neutral"}]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'text,label\n"Borsa yükseldi, dolar düştü",positive\n"O ""iyi"" dedi",neutral\n'),
        ("a.csv", '\ufefftext;label\r\nBorsa yükseldi, dolar düştü;positive\r\n"O ""iyi"" dedi";neutral\r\n'),
        ("a.tsv", 'metin\tetiket\nBorsa yükseldi, dolar düştü\tpositive\n"O ""iyi"" dedi"\tneutral\n'),
        (
            "a.jsonl",
            '{"text": "Borsa yükseldi, dolar düştü", "label": "positive"}\n\n'
            '{"text": "O \\"iyi\\" dedi", "label": "neutral"}\n',
        ),
        (
            "a.json",
            '[{"headline": "Borsa yükseldi, dolar düştü", "label": "positive"},'
            ' {"text": "O \\"iyi\\" dedi", "label": "neutral"}]',
        ),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1254"])
def test_the_same_rows_come_out_of_every_form(tmp_path: Path, name: str, content: str, encoding: str) -> None:
    path = tmp_path / name
    path.write_bytes((content.lstrip("\ufeff") if encoding != "utf-8" else content).encode(encoding))
    also = {"text": ("metin", "headline"), "label": ("etiket",)}
    assert read_rows(path, ("text", "label"), also=also) == ROWS


@pytest.mark.parametrize("head", ["Text,LABEL", " text , label ", "BAŞLIK,ETİKET", "başlık,etiket"])
def test_letters_of_a_columns_name_do_not_matter(tmp_path: Path, head: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{head}\nBorsa yükseldi,positive\n", "utf-8")
    found = read_rows(path, ("text", "label"), also={"text": ("başlık",), "label": ("etiket",)})
    assert found == [{"text": "Borsa yükseldi", "label": "positive"}]


def test_in_a_file_of_one_column_a_comma_is_text(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('text\nDolar düştü, altın yükseldi\n"O ""iyi"" dedi"\n', "utf-8")
    assert [row["text"] for row in read_rows(path, ("text",))] == ["Dolar düştü, altın yükseldi", 'O "iyi" dedi']


def test_half_a_character_becomes_a_sign_that_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "\\ud83d faiz \\ud83d\\ude00"}\n', "utf-8")
    (row,) = read_rows(path, ("text",))
    assert row["text"].encode("utf-8").decode() == "\ufffd faiz 😀"


def test_lines_are_rows_of_one_column(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("bir\n\niki\n")
    assert read_rows(path, ("text",), ("date",)) == [{"text": "bir", "date": ""}, {"text": "iki", "date": ""}]


@pytest.mark.parametrize(
    ("name", "content", "error", "told"),
    [
        ("a.csv", b"title,mood\nx,y\n", UsageError, r"row 1: there is no 'text' among \['title', 'mood'\]"),
        ("a.csv", b'text,label\n"x,y\n', LanguageError, "no CSV"),
        ("a.jsonl", b'{"text": "x", "label": "y"}\n{"text": \n', LanguageError, "line 2: '{\"text\": ' is no JSON"),
        ("a.jsonl", b"[1]\n", LanguageError, "no object"),
        ("a.json", b'{"text": "x"}', LanguageError, "no object"),
        ("a.json", b"[" * 100_000, LanguageError, "no JSON"),
        ("a.csv", b"text,label\nx\x00y,z\n", LanguageError, "binary"),
        ("a.csv", b"text,label\n\x81\x8d,z\n", LanguageError, "neither UTF-8 nor Windows-1254"),
        ("a.csv", b"", LanguageError, "holds no row"),
        ("a.csv", b"text,label\nx,y\n,z\n", UsageError, "row 2: 'text' is empty"),
        (
            "a.csv",
            "text,label\nBanka, kârını artırdı,positive\n".encode(),
            LanguageError,
            "row 1: 3 fields for 2 columns",
        ),
        ("a.jsonl", b'{"text": ["x"], "label": "y"}\n', LanguageError, "'text' is \"\\['x'\\]\", no text"),
        ("a.xlsx", b"text", UsageError, r"ends in '\.xlsx'"),
    ],
)
def test_what_cannot_be_read_is_quoted(
    tmp_path: Path, name: str, content: bytes, error: type[Exception], told: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(error, match=told):
        read_rows(path, ("text", "label"))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name a file that is there"):
        read_text(tmp_path / "none.txt")


def test_a_label_that_is_none_is_quoted_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\na,Positive\nb,bullish\n")
    with pytest.raises(LanguageError, match="row 2: label 'bullish' is none of negative, neutral, positive"):
        labelled(path, ("negative", "neutral", "positive"))
    path.write_text("text,label\na,POSİTİVE\nb,OLUMSUZ\nc,Nötr\nd,POSITIVE\n", "utf-8")
    told = labelled(path, ("negative", "neutral", "positive"))[1]
    assert told == ["positive", "negative", "neutral", "positive"]
    path.write_text("text,label\na,Positive\nb,bullish\n")
    assert labelled(path, None) == (["a", "b"], ["Positive", "bullish"])


@pytest.mark.parametrize("text", ["ORG", "=X", "ORG=", "A=B,,"])
def test_types_that_are_no_pairs_are_quoted(text: str) -> None:
    with pytest.raises(UsageError, match="is no pair"):
        types_of(text)
    assert types_of(None) is None
