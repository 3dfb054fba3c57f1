"""What the shipped tokenizer was trained on stays known when labels come later, and they are looked for in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks import _labelled as labelled
from benchmarks import _tokenizer_texts as texts
from benchmarks import _turkish as turkish

TEST = "Örnek Bankası yılın üçüncü çeyreğinde beklentilerin üzerinde kâr açıkladı."
OTHER = "Deneme Holding fabrikasındaki üretimi iki hafta süreyle durdurdu."
LINES = {
    "news": [
        "Hava bugün açık ve güneşli geçecek.",
        f"Piyasalar karışık bir gün geçirdi. {TEST} Altın ise yeni bir rekor kırdı.",
        TEST,
    ],
    "laws": ["Madde 1 uygulama esaslarını belirler.", OTHER],
}


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put small sources and tests in place of the shared ones."""
    monkeypatch.setattr(texts, "candidates", lambda: {name: list(lines) for name, lines in LINES.items()})
    monkeypatch.setattr(texts, "WEIGHTS", {"news": 2.0, "laws": 1.0})
    monkeypatch.setattr(texts, "RECORD", tmp_path / "record.json")
    monkeypatch.setattr(texts, "test_sentences", lambda: (TEST,))
    monkeypatch.setattr(texts, "test_texts", lambda: (TEST,))
    monkeypatch.setattr(texts, "test_laws", lambda: (OTHER,))
    monkeypatch.setattr(texts, "law_texts", lambda: (OTHER,))
    texts.RECORD.write_text(json.dumps(texts.record(texts.clean())), encoding="utf-8")


@pytest.mark.usefixtures("toy")
def test_the_record_gives_the_training_texts_back(monkeypatch: pytest.MonkeyPatch):
    kept = {part.name: list(part.texts) for part in texts.trained()}
    assert kept["laws"] == [LINES["laws"][0]]
    assert len(kept["news"]) == 2
    assert "Örnek" not in " ".join(kept["news"])
    assert "Altın" in kept["news"][1]
    assert "Bankası" not in texts.RECORD.read_text(encoding="utf-8"), "numbers, no words"
    assert not any(texts.leaks(texts.trained()).values())
    # Labels that come later change neither what was trained on ...
    monkeypatch.setattr(texts, "test_sentences", lambda: (TEST, "Hava bugün açık ve güneşli geçecek!"))
    assert {part.name: list(part.texts) for part in texts.trained()} == kept
    # ... nor go unnoticed.
    assert texts.leaks(texts.trained())["exact or near"] == 1


@pytest.mark.usefixtures("toy")
def test_other_shared_sets_are_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(texts, "candidates", lambda: {"news": LINES["news"][:1], "laws": LINES["laws"]})
    with pytest.raises(SystemExit, match="'news' has 1 lines, 3 at the time"):
        texts.trained()


def test_every_file_of_labels_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "more.jsonl").write_text(
        '{"question": "Kaç ortak gerekir?", "document_hash": "ab"}\n\n{"hash": "cd", "label": "neutral"}\n', "utf-8"
    )
    (tmp_path / "a.jsonl").write_text('{"text": "Kur arttı"}\n', encoding="utf-8")
    monkeypatch.setattr(turkish, "LABELS", tmp_path)
    monkeypatch.setattr(turkish, "texts_by_hash", lambda: {"cd": "Faiz sabit"})
    assert labelled.written() == ["Kur arttı", "Kaç ortak gerekir?"]
    assert labelled.named() == ["Faiz sabit"]
    assert labelled.documents() == {"ab"}
