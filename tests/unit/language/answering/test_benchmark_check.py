"""The benchmark's own check catches a paragraph that leaked into training."""

from __future__ import annotations

from benchmarks._answering_sets import leaks

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
