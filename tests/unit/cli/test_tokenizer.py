"""`kalibre tokenizer`: train on files and a corpus, compare beside known models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from kalibre.cli.app import build
from kalibre.core.errors import UsageError
from kalibre.language.corpus.document import document
from kalibre.language.corpus.store import Store

Ask = Callable[..., tuple[int, str]]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Return a function that runs a verb in a folder with texts."""
    monkeypatch.chdir(tmp_path)
    text = "Borsa güne yükselişle başladı. THYAO'nun kârı 2023'te %4,5 arttı.\n\nFaiz sabit kaldı, kur geriledi.\n\n"
    (tmp_path / "a.txt").write_text(text * 40, encoding="utf-8")

    def asked(*words: str) -> tuple[int, str]:
        code = typer.main.get_command(build()).main(list(words), standalone_mode=False) or 0
        return code, capsys.readouterr().out

    return asked


def test_trained_and_compared(ask: Ask, tmp_path: Path):
    store = Store(tmp_path / "c")
    with store.writing():
        store.add([document("Altın ons fiyatı yükseldi", source="s", licence="l")])
    code, shown = ask("tokenizer", "train", "a.txt", "c", "--out", "mine", "--weight", "c=3", "--cap", "a.txt=500")
    assert code == 0
    assert "32000 pieces were asked for and" in " ".join(shown.split())
    code, shown = ask("tokenizer", "compare", "a.txt", "-m", "mine", "-m", "builtin", "--no-peers", "--json")
    told = json.loads(shown)
    assert {row["name"] for row in told["tokenizers"]} == {"mine", "builtin"}
    assert all(row["round_trip"] == 1 and row["unknown"] == 0 for row in told["tokenizers"])
    assert told["texts"] == 80
    assert "tokens a" in ask("tokenizer", "compare", "c", "--no-peers")[1]
    with pytest.raises(UsageError, match="'mine' is there already"):
        ask("tokenizer", "train", "a.txt", "--out", "mine")


def test_test_texts_are_kept_out(ask: Ask):
    Path("test.txt").write_text("FAİZ sabit kaldı, kur geriledi!", encoding="utf-8")
    code, shown = ask("tokenizer", "train", "a.txt", "--without", "test.txt", "--json")
    told = json.loads(shown)
    assert code == 0
    assert told["lines_kept_out"] == {"a.txt": 40}
    assert told["words"] == {"a.txt": 360}


def test_json_of_training_is_the_card(ask: Ask):
    told = json.loads(ask("tokenizer", "train", "a.txt", "--vocabulary", "800", "--kind", "unigram", "--json")[1])
    assert told["folder"] == "tokenizer"
    assert told["words"]["a.txt"] == 560
    assert told["version"].startswith("tokenizer-")


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (["train", "yok.txt"], UsageError, "'yok.txt' is no file"),
        (["compare", "yok*.txt"], UsageError, "is no file and no pattern that finds one"),
        (["train", "a.txt", "--cap", "a.txt=nan"], UsageError, "is not PLACE=NUMBER"),
        (["train", "a.txt", "--cap", "a.txt=inf"], UsageError, "is not PLACE=NUMBER"),
        (["train", "a.txt", "--weight", "a.txt=-1"], UsageError, "weight -1"),
        (["train", "a.txt", "--out", "a.txt/mine"], UsageError, "takes no files"),
        (["train", "."], UsageError, "holds no corpus"),
        (["train", "a.txt", "--weight", "a.txt"], UsageError, "is not PLACE=NUMBER"),
        (["train", "a.txt", "--cap", "b.txt=3"], UsageError, "names no place"),
        (["train", "a.txt", "--vocabulary", "3"], UsageError, "vocabulary 3"),
        (["compare", "a.txt", "-m", "yok"], UsageError, "tokenizer 'yok' is none"),
    ],
)
def test_what_is_wrong_is_said(ask: Ask, words: list[str], error: type[Exception], said: str):
    with pytest.raises(error, match=said):
        ask("tokenizer", *words)


def test_a_name_with_brackets_is_a_name(ask: Ask):
    Path("b[1].txt").write_text("Kur arttı, faiz sabit kaldı.", encoding="utf-8")
    assert json.loads(ask("tokenizer", "compare", "b[1].txt", "--no-peers", "--json")[1])["texts"] == 1
