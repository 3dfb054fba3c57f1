"""A test set of anybody's, as CSV or JSON lines."""

import json

import pytest
from tests.unit.language.sentiment.made import sentences

from kalibre.core.errors import EvaluationError, LanguageError
from kalibre.language.sentiment.evaluate import evaluate


@pytest.fixture
def rows():
    texts, labels = sentences(40, 8)
    return list(zip(texts, labels, strict=True))


def test_csv_and_json_lines_give_the_same(model, rows, tmp_path):
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f'"{text}",{label}\n' for text, label in rows), "utf-8")
    lines = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
    (tmp_path / "a.jsonl").write_text(lines, "utf-8")
    one, two = (evaluate(tmp_path / name, model) for name in ("a.csv", "a.jsonl"))
    assert one == two
    assert json.loads(json.dumps(one)) == one
    low, value, high = (one["accuracy"][key] for key in ("low", "value", "high"))
    assert low <= value <= high
    assert value > 0.85
    assert one["n"] == one["texts"] == 40
    assert one["named"]["coverage"] <= 1.0


def test_texts_that_cannot_be_read_are_counted_apart(model, rows, tmp_path):
    lines = [*rows, ("😀", "neutral")]
    text = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in lines)
    (tmp_path / "a.jsonl").write_text(text, "utf-8")
    found = evaluate(tmp_path / "a.jsonl", model)
    assert (found["n"], found["texts"], found["abstained"]["no words"]) == (40, 41, 1)


def test_unknown_label_and_nothing_readable_are_told(model, tmp_path):
    (tmp_path / "a.csv").write_text("text,label\nFaiz arttı,bad\n", "utf-8")
    with pytest.raises(LanguageError, match="label 'bad'"):
        evaluate(tmp_path / "a.csv", model)
    (tmp_path / "b.csv").write_text("text,label\n😀,neutral\n", "utf-8")
    with pytest.raises(EvaluationError, match="no text is left"):
        evaluate(tmp_path / "b.csv", model)
