"""The benchmark's own check catches a paragraph that leaked into training; what is trained on is no test."""

from __future__ import annotations

import json

from benchmarks import _turkish as turkish
from benchmarks._answering_sets import TAUGHT, leaks

PARAGRAPH = (
    "Kasabanın eski deniz feneri uzun yıllar boyunca bakımsız kaldıktan sonra gönüllü bir topluluk tarafından onarıldı "
    "ve geçen sonbaharda küçük bir denizcilik müzesi olarak yeniden açıldı."
)
OTHER = "Yayla yolundaki taş köprü baharda taşan derenin altında kaldığı için köylüler uzun süre kente inemedi."


def test_a_leaked_paragraph_is_caught():
    assert leaks([OTHER, PARAGRAPH], [PARAGRAPH]) == [0]


def test_a_leaked_paragraph_is_caught_inside_another_text():
    assert leaks([f"{OTHER} {PARAGRAPH} {OTHER}"], [OTHER[:20], PARAGRAPH]) == [1]


def test_another_text_is_not():
    assert leaks([OTHER], [PARAGRAPH]) == []


def test_no_question_to_train_on_is_over_a_judged_document():
    judged, taught = (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for path in (turkish.LABELS / "questions.jsonl", TAUGHT)
    )

    assert len(taught) >= 1_000
    assert not {one["document_hash"] for one in judged} & {one["document_hash"] for one in taught}
    worded = {" ".join(one["question"].lower().split()) for one in judged}
    assert not [one for one in taught if " ".join(one["question"].lower().split()) in worded]
    # What is trained on stands apart from the labels that must not be.
    assert not TAUGHT.is_relative_to(turkish.LABELS)
