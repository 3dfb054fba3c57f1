"""`kalibre nlp ... | news ...`: the shipped models asked, judged on a user's file, trained, and put into the log."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.fakes.models import random_bars

from kalibre.cli.app import build
from kalibre.core.errors import ModelError, UsageError
from kalibre.core.settings import Settings
from kalibre.log import open_log

Ask = Callable[..., Any]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Return a function that runs a verb: its JSON, or its text with `text=True`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def asked(*words: str, text: bool = False) -> Any:
        command = [*words, *([] if text else ["--json"])]
        assert not typer.main.get_command(build()).main(command, standalone_mode=False)
        out = capsys.readouterr().out
        return out if text else json.loads(out)

    return asked


def write_labels(file: Path) -> None:
    """Write labelled headlines, enough to train on."""
    words = {
        "positive": "yükseldi arttı kazandı",
        "negative": "düştü geriledi kaybetti",
        "neutral": "toplandı açıldı anıldı",
    }
    names = "Akbank Garanti Tüpraş Vestel Sasa Petkim Migros Koç".split()
    rows = [f"{name} {verb},{label}" for label, verbs in words.items() for verb in verbs.split() for name in names]
    file.write_text("text,label\n" + "\n".join(rows), encoding="utf-8")


def test_each_task_is_asked(ask: Ask) -> None:
    text = "THYAO'nun yolcu sayısı yüzde 12 arttı"
    said = ask("nlp", "predict", "sentiment", text, "🚀")
    assert [one["label"] for one in said["results"]] == ["positive", None]
    assert said["model"].startswith("sentiment-fast-")
    assert "THYAO +" in ask("nlp", "predict", "sentiment", text, text=True)
    (names,) = ask("nlp", "predict", "entities", text)["results"]
    assert {(one["text"], one["type"]) for one in names} >= {("THYAO", "TICKER"), ("yüzde 12", "PERCENT")}
    assert "PERCENT" in ask("nlp", "predict", "entities", text, text=True)
    (category,) = ask("nlp", "predict", "category", "Merkez Bankası faiz kararını açıkladı, borsa yükseldi")["results"]
    assert category["label"] == "ekonomi"


def test_questions_are_answered_from_the_index_or_a_text(ask: Ask) -> None:
    Path("law.txt").write_text("Madde 1 - Kooperatif en az yedi ortakla kurulur.\n", encoding="utf-8")
    with pytest.raises(UsageError, match="kalibre nlp index"):
        ask("nlp", "predict", "answering", "Kooperatif en az kaç ortakla kurulur?")
    assert ask("nlp", "index", "law.txt")["documents"] == 1
    (found,) = ask("nlp", "predict", "answering", "Kooperatif en az kaç ortakla kurulur?")["results"]
    assert "yedi" in found["text"]
    assert found["passage"]["source"] == "law.txt"
    Path("other.txt").write_text("Toplantı pazartesi yapılacak.", encoding="utf-8")
    (none,) = ask("nlp", "predict", "answering", "Kooperatif nedir?", "--passage", "other.txt")["results"]
    assert none["text"] is None
    assert none["abstained"]


def test_a_users_file_is_judged_with_intervals(ask: Ask) -> None:
    rows = [("Borsa rekor kırdı", "positive"), ("Borsa sert düştü", "negative"), ("Toplantı yapıldı", "neutral")] * 5
    Path("mine.csv").write_text("text,label\n" + "\n".join(",".join(row) for row in rows), encoding="utf-8")
    figures = ask("nlp", "evaluate", "sentiment", "mine.csv")
    assert figures["model"].startswith("sentiment-fast-")
    assert "low" in json.dumps(figures)
    Path("mine.conll").write_text("Ahmet\tB-PER\nYılmaz\tI-PER\nkonuştu\tO\n.\tO\n\n" * 12, encoding="utf-8")
    judged = ask("nlp", "evaluate", "entities", "mine.conll", "--types", "PER=PERSON")
    assert "f1" in judged
    with pytest.raises(UsageError, match="ORG=ORGANIZATION"):
        ask("nlp", "evaluate", "entities", "mine.conll")
    with pytest.raises(UsageError, match=r"'mine\.xlsx'"):
        ask("nlp", "evaluate", "sentiment", "mine.xlsx")


def test_a_model_is_trained_stored_registered_and_asked(ask: Ask) -> None:
    write_labels(Path("mine.csv"))
    made = ask("nlp", "train", "sentiment", "mine.csv", "--licence", "ours", "--until", "2024-05-31")
    assert made["version"] == "1"
    assert (made["card"]["licence"], made["card"]["trained_until"]) == ("ours", "2024-05-31")
    asked = ask("nlp", "predict", "sentiment", "Vestel yükseldi", "--model", made["folder"])
    assert asked["model"] == made["model"]
    Path("few.csv").write_text("text,label\na b,positive\nc d,negative\n", encoding="utf-8")
    with pytest.raises(ModelError, match="needed"):
        ask("nlp", "train", "sentiment", "few.csv")


def test_headlines_are_scored_recorded_and_become_columns(ask: Ask) -> None:
    bars = random_bars(200)
    bars.to_frame().write_csv("bars.csv")
    Path("kalibre.toml").write_text(
        f'[market]\nsymbols = ["{bars.symbol}"]\ntimeframe = "{bars.timeframe}"\n'
        f"[language.relevance]\n{bars.symbol} = {{BIST100 = 1.0}}\n",
        encoding="utf-8",
    )
    ask("ingest", "--path", "bars.csv")
    when = datetime.fromtimestamp(int(bars.close_time[190]) / 1000, tz=UTC).isoformat()
    lines = [
        {"text": "Borsa güne yükselişle başladı", "published": when},
        {"text": "Borsa güne yükselişle başladı!", "published": when},
    ]
    Path("wire.jsonl").write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    scored = ask("news", "score", "--file", "wire.jsonl", "--record")
    assert [one["reused"] for one in scored["results"]] == ["", "near"]
    assert scored["recorded"] == {"headlines": 2, "scores": 2}
    assert ask("news", "score", "--file", "wire.jsonl", "--record")["recorded"] == {"headlines": 0, "scores": 0}
    stats = ask("news", "cache")
    assert (stats["exact_hits"], stats["near_hits"], stats["misses"]) == (1, 2, 1)
    assert "snews_impact" not in ask("features")["columns"], "bars stored before know nothing of it yet"
    assert ask("news", "join")["series"] == [{"symbol": bars.symbol, "bars": 200, "changed": 0, "refused_scores": 2}]
    lines = [{**line, "text": line["text"].replace("güne", "haftaya")} for line in lines]
    Path("wire.jsonl").write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    ask("news", "score", "--file", "wire.jsonl", "--record", "--trained-until", "2020-01-01")
    joined = ask("news", "join")["series"][0]
    assert (joined["changed"], joined["refused_scores"]) == (10, 2)
    assert ask("news", "join")["series"][0]["changed"] == 0
    shown = ask("features")
    assert shown["newest"]["snews_impact"] > 0
    assert shown["newest"]["snews_conf"] > 0
    judged = ask("news", "backtest")
    assert (judged["verdict"], judged["gain"]) == ("cannot tell", None)
    assert "too few headlines" in judged["reason"]


def test_what_is_missing_is_told(ask: Ask) -> None:
    with pytest.raises(UsageError, match="there is no headline"):
        ask("news", "score")
    with pytest.raises(UsageError, match="there is no text"):
        ask("nlp", "predict", "sentiment")
    with pytest.raises(UsageError, match="says no `published`"):
        ask("news", "score", "Borsa yükseldi", "--record")


@pytest.mark.parametrize(
    "words",
    [
        ("nlp", "predict", "sentiment", "Borsa", "--model", ""),
        ("nlp", "evaluate", "sentiment", "mine.csv", "--model", " "),
        ("news", "score", "Borsa yükseldi", "--model", ""),
    ],
)
def test_a_model_without_a_name_is_not_the_default(ask: Ask, words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="--model is empty"):
        ask(*words)


@pytest.mark.parametrize("until", ["dün", "31.05.2024", "2024-02-31", "2024-05-31T12:00"])
def test_a_day_that_is_none_is_told_before_a_model_is_trained(ask: Ask, until: str) -> None:
    with pytest.raises(UsageError, match="--until"):
        ask("nlp", "train", "sentiment", "none.csv", "--until", until)


def test_another_model_scores_headlines(ask: Ask) -> None:
    (one,) = ask("news", "score", "Borsa yükseldi", "--model", "builtin:fast")["results"]
    assert one["model"].startswith("sentiment-fast-")
    with pytest.raises(UsageError, match="'builtin:other'"):
        ask("news", "score", "Borsa yükseldi", "--model", "builtin:other")


def test_arguments_in_another_encoding_are_read_and_written(ask: Ask) -> None:
    told = "Şirket kârı arttı".encode("cp1254").decode("utf-8", "surrogateescape")
    (one,) = ask("news", "score", told)["results"]
    assert one["text"] == "Şirket kârı arttı"
    ask("nlp", "predict", "sentiment", told)
    ask("nlp", "predict", "entities", "Garanti\udcff Bankası")
    assert "Şirket" in ask("nlp", "predict", "sentiment", told, text=True)


def test_a_score_by_another_model_says_what_that_one_learnt_from(ask: Ask) -> None:
    """Planted: the date of the settings' model beside the scores of a younger one would let bars know the future."""
    write_labels(Path("mine.csv"))
    made = ask("nlp", "train", "sentiment", "mine.csv", "--until", "2026-09-30")
    Path("wire.jsonl").write_text(json.dumps({"text": "Vestel yükseldi", "published": "12.04.2023 11:00"}))
    stored = ask("news", "score", "--file", "wire.jsonl", "--record", "--model", made["folder"])
    assert stored["recorded"]["scores"] == 1
    with open_log(Settings(home=Path("kalibre_home")).log_url) as log:
        (event,) = log.read(kinds={"headline_score"})
    until = event.payload.trained_until_ms  # type: ignore[attr-defined]
    assert until is not None
    assert until >= datetime(2026, 9, 30, tzinfo=UTC).timestamp() * 1000
