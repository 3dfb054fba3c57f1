"""A scorer for a back-test has read nothing of the time it judges."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kalibre.bars.calendars import get_calendar
from kalibre.core.errors import ModelError, UsageError
from kalibre.core.settings import Settings
from kalibre.language.headlines.history import dated_scores
from kalibre.language.headlines.publication import known_ms
from kalibre.log import open_log
from kalibre.log.protocol import EventLog

XIST = get_calendar("XIST")
UP = ["rekor kırdı", "yükseldi", "kârını artırdı", "güçlü alım gördü", "değer kazandı"]
DOWN = ["sert düştü", "zarar açıkladı", "geriledi", "satış baskısı gördü", "değer kaybetti"]
FLAT = ["toplantı yaptı", "genel kurul tarihini duyurdu", "yatay seyretti", "yeni logo tanıttı", "açıklama yaptı"]
NAMES = "Akbank Garanti Tüpraş Arçelik Vestel Koç Sasa Petkim".split()


def _labels(path: Path, day: str) -> Path:
    rows = [
        {"text": f"{name} hissesi {words}", "label": label, "date": day}
        for label, group in (("positive", UP), ("negative", DOWN), ("neutral", FLAT))
        for words in group
        for name in NAMES
    ]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return path


def _wire(path: Path) -> Path:
    path.write_text("text,published\nBorsa rekor kırdı,2023-04-12 11:00\nBorsa sert düştü,2023-04-13 12:00\n")
    return path


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return open_log(f"sqlite:///{tmp_path / 'log.sqlite'}")


def test_a_scorer_is_trained_on_older_labels_only(tmp_path: Path, log: EventLog) -> None:
    labels = _labels(tmp_path / "labels.jsonl", "2021-05-04")
    # A planted leak: labels of the window itself, and wrong ones, must not be looked at.
    with labels.open("a", encoding="utf-8") as stream:
        for _ in range(200):
            stream.write('\n{"text": "Borsa rekor kırdı", "label": "negative", "date": "2023-04-12 11:00"}')
    found = dated_scores(log, Settings(), file=_wire(tmp_path / "wire.csv"), labels=labels, calendar=XIST)
    assert found.trained_until_ms == known_ms("2021-05-04", XIST)
    assert [(when, score.asset) for when, score in found.scores] == [
        (known_ms("2023-04-12 11:00", XIST), "BIST100"),
        (known_ms("2023-04-13 12:00", XIST), "BIST100"),
    ]
    assert found.scores[0][1].impact > 0 > found.scores[1][1].impact
    assert {score.horizon for _, score in found.scores} == {None}


def test_labels_that_all_come_later_are_refused(tmp_path: Path, log: EventLog) -> None:
    labels = _labels(tmp_path / "labels.jsonl", "2023-04-13")
    with pytest.raises(ModelError, match="dated before the first headline"):
        dated_scores(log, Settings(), file=_wire(tmp_path / "wire.csv"), labels=labels, calendar=XIST)


def test_nothing_recorded_is_told(tmp_path: Path, log: EventLog) -> None:
    with pytest.raises(UsageError, match="news score --file FILE --record"):
        dated_scores(log, Settings(), file=None, labels=None, calendar=XIST)
    with pytest.raises(UsageError, match="add --file"):
        dated_scores(log, Settings(), file=None, labels=tmp_path / "labels.jsonl", calendar=XIST)
