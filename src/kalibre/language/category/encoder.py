"""`builtin:encoder`: what a text is about, by the project's encoder (or a hub's) with a head over the whole text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kalibre.core.errors import UsageError
from kalibre.language.bundle import LanguageBundle
from kalibre.language.category.sorting import Sorting
from kalibre.language.encoder.classifying import TextHead, fit
from kalibre.language.encoder.foundations import Foundation
from kalibre.language.encoder.heads import Tuning
from kalibre.language.text.normal import clean

TUNING = Tuning()


def train(
    texts: Sequence[str],
    labels: Sequence[str],
    *,
    encoder: str | Foundation = "builtin:encoder",
    tuning: Tuning = TUNING,
    share: float = 0.15,
    seed: int = 0,
    card: Mapping[str, Any] | None = None,
    told: Callable[[dict[str, Any]], None] = lambda point: None,
) -> LanguageBundle:
    """Fine-tune an encoder on texts with their category; parameters as `sentiment.encoder.train`.

    Raises
    ------
    UsageError
        If there are not as many labels as texts, or fewer than two categories.
    ModelError
        If it learns nothing, or collapses onto some of the classes.
    """
    classes = sorted(set(labels))
    if len(texts) != len(labels) or len(classes) < 2:
        raise UsageError(f"{len(texts)} texts with {len(labels)} labels of {len(classes)} categories: two at least")
    y = [classes.index(label) for label in labels]
    fitted = fit(
        "category",
        texts,
        y,
        classes,
        encoder=encoder,
        tuning=tuning,
        precision=0.8,
        share=share,
        seed=seed,
        told=told,
    )
    return fitted.bundle("category", {}, card or {})


class EncoderCategory(Sorting):
    """Keeps the protocol `CategoryModel`."""

    def __init__(self, version: str, head: TextHead) -> None:
        self.version = version
        self.classes = head.classes
        self._head = head

    def predict_proba(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """Return calibrated probabilities in the order of `classes`."""
        found = self._head.probabilities([clean(text).text for text in texts])
        return [tuple(float(value) for value in row) for row in found]


def from_bundle(bundle: LanguageBundle) -> EncoderCategory:
    """Make the model that a bundle holds; errors as `sentiment.encoder.from_bundle`."""
    return EncoderCategory(bundle.version, TextHead(bundle))
