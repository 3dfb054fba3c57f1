"""`builtin:encoder`: sentiment by the project's encoder (or one of a hub) with a head over the whole text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import LanguageError, ModelError, UsageError
from kalibre.language.base import SENTIMENTS, AssetImpact, Sentiment
from kalibre.language.bundle import LanguageBundle
from kalibre.language.encoder.classifying import TextHead, fit
from kalibre.language.encoder.foundations import Foundation, settings_of
from kalibre.language.encoder.heads import Tuning
from kalibre.language.sentiment.directions import read
from kalibre.language.sentiment.impact import focused, impacts_of, scale_of
from kalibre.language.sentiment.lexicon import TURKISH
from kalibre.language.text.language_id import detect
from kalibre.language.text.normal import check_text, clean

LONGEST_TEXT = 20_000
"""Characters of a text that is judged as one; longer ones are to be cut by whoever asks."""

TUNING = Tuning()


def train(
    texts: Sequence[str],
    labels: Sequence[str],
    *,
    encoder: str | Foundation = "builtin:encoder",
    tuning: Tuning = TUNING,
    impacts: Sequence[float] | None = None,
    precision: float = 0.8,
    share: float = 0.15,
    seed: int = 0,
    card: Mapping[str, Any] | None = None,
    told: Callable[[dict[str, Any]], None] = lambda point: None,
) -> LanguageBundle:
    """Fine-tune an encoder on labelled texts.

    A part of the texts, near-duplicates on one side, is kept for early stopping (macro-F1), calibration and the
    threshold of abstention; no other text is looked at.

    Parameters
    ----------
    texts, labels
        Texts and their `SENTIMENTS`.
    encoder
        What `foundations.foundation` takes, or a foundation.
    tuning
        How.
    impacts
        -1 to 1 a text, where they are known: they set the scale of the impacts told.
    precision
        Share of the named labels that shall be right; below the confidence that gives it the model abstains.
    share, seed
        Of the texts kept, and by which seed.
    card
        What the bundle's card says beside the figures.
    told
        Called after every round.

    Raises
    ------
    UsageError
        If a label is unknown.
    ModelError
        If it learns nothing, or collapses onto some of the classes.
    """
    unknown = sorted(set(labels) - set(SENTIMENTS))
    if unknown or len(texts) != len(labels):
        raise UsageError(f"{len(texts)} texts with {len(labels)} labels, {unknown} unknown: one of {SENTIMENTS} each")
    y = [SENTIMENTS.index(label) for label in labels]
    fitted = fit(
        "sentiment",
        texts,
        y,
        SENTIMENTS,
        encoder=encoder,
        tuning=tuning,
        precision=precision,
        share=share,
        seed=seed,
        told=told,
    )
    known = None if impacts is None else np.array([impacts[at] for at in fitted.kept])
    scale = scale_of(fitted.sure[:, 2] - fitted.sure[:, 0], known)
    return fitted.bundle("sentiment", {"impact_scale": scale}, card or {})


class EncoderSentiment:
    """Keeps the protocol `SentimentModel`; a text's result depends on that text alone."""

    def __init__(self, version: str, head: TextHead, scale: float) -> None:
        self.version = version
        self._head, self._scale = head, scale

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return calibrated probabilities of Turkish texts, shape (texts, 3)."""
        return self._head.probabilities(texts)

    def predict(self, texts: Sequence[str]) -> list[Sentiment]:
        """Return one result per text, in order; a text that is not Turkish is not judged."""
        return [self._one(text) for text in texts]

    def _one(self, text: str) -> Sentiment:
        against = unreadable(text)
        if against is not None:
            return self._nothing(against)
        clear = clean(text).text
        language, _ = detect(clear)
        if language in ("en", "other"):
            return self._nothing("language", language)
        reading = read(clear, TURKISH)
        row = self.probabilities([focused(clear, reading)])[0]
        best = int(row.argmax())
        unsure = bool(row[best] < self._head.threshold)
        score = float(row[2] - row[0]) * self._scale
        return Sentiment(
            label=None if unsure else SENTIMENTS[best],
            probabilities=(float(row[0]), float(row[1]), float(row[2])),
            assets=tuple(AssetImpact(asset=asset, impact=one) for asset, one in impacts_of(clear, reading, score)),
            abstained="unsure" if unsure else None,
            model=self.version,
        )

    def _nothing(self, why: str, language: str = "unknown") -> Sentiment:
        return Sentiment(label=None, probabilities=None, abstained=why, language=language, model=self.version)


def unreadable(text: str) -> str | None:
    """Return why a text cannot be judged; None where nothing speaks against it."""
    if not isinstance(text, str):
        return "not text"
    if len(text) > LONGEST_TEXT:
        return "too long"
    try:
        check_text(text, empty=False)
    except LanguageError:
        return "binary" if text.strip() else "empty"
    return "no words" if sum(letter.isalpha() for letter in text) < 2 else None


def from_bundle(bundle: LanguageBundle) -> EncoderSentiment:
    """Make the model that a bundle holds.

    Raises
    ------
    ModelError
        If a file of it is missing or not what it should be, or a package that it runs on is not installed.
    """
    try:
        scale = float(settings_of(bundle)["impact_scale"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{bundle.version} cannot be read as a sentiment model ({error}): restore it or train anew"
        ) from error
    return EncoderSentiment(bundle.version, TextHead(bundle), scale)
