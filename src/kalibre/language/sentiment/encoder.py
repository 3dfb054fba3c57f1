"""`builtin:encoder`: sentiment by the project's encoder (or one of a hub) with a head over the whole text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import CalibrationError, LanguageError, ModelError, UsageError
from kalibre.language import calibration, collapse
from kalibre.language.base import SENTIMENTS, AssetImpact, Sentiment
from kalibre.language.bundle import LanguageBundle
from kalibre.language.encoder.foundations import Foundation, Runner, bundled, foundation, runner, settings_of
from kalibre.language.encoder.heads import Example, Tuning, tune
from kalibre.language.encoder.networks import Network, outputs
from kalibre.language.encoder.tasks import apart, macro_f1, readable
from kalibre.language.sentiment.directions import read
from kalibre.language.sentiment.impact import impacts_of, scale_of
from kalibre.language.sentiment.lexicon import TURKISH
from kalibre.language.text.language_id import detect
from kalibre.language.text.normal import check_text, clean

LONGEST = 256
"""Pieces of a text that are read: headlines and notes, not articles."""

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
    base = foundation("sentiment", encoder) if isinstance(encoder, str) else encoder
    codec, length = base.codec, min(base.length, LONGEST)
    y = [SENTIMENTS.index(label) for label in labels]
    rows = [
        Example(ids=codec.windows(readable(text), length=length)[0].ids, label=label)
        for text, label in zip(texts, y, strict=True)
    ]
    learn, kept = apart(texts, share=share, seed=seed)
    judged, truth = [rows[at].ids for at in kept], np.array([y[at] for at in kept])

    def metric(network: Network) -> float:
        said = np.stack(outputs(network, judged)).argmax(axis=1)
        return macro_f1(truth.tolist(), said.tolist(), len(SENTIMENTS))

    tuned = tune(
        lambda seed: base.network("text", SENTIMENTS, seed, tuning.on()),
        [rows[at] for at in learn],
        metric,
        tuning,
        told=told,
    )
    logits = np.stack(outputs(tuned.network, judged)).astype(np.float64)
    calibrator = calibration.fit(logits, truth, "temperature")
    sure = calibrator.apply(logits)
    seen = collapse.guard(truth, sure, SENTIMENTS)
    abstention = calibration.tune_abstention(sure, truth, precision=precision)
    figures = {
        "validation": {"texts": len(kept), "macro_f1": tuned.metric, "seed": tuned.seed, "classes": str(seen)},
        "learnt_from": len(learn),
        "rounds": tuned.rounds,
    }
    scale = scale_of(sure[:, 2] - sure[:, 0], None if impacts is None else np.array([impacts[at] for at in kept]))
    settings = {
        "length": length,
        "calibrator": calibrator.as_dict(),
        "threshold": abstention.threshold,
        "impact_scale": scale,
    }
    return bundled("sentiment", base, tuned.network, "text", judged[:64], settings, {**figures, **(card or {})})


class EncoderSentiment:
    """Keeps the protocol `SentimentModel`; a text's result depends on that text alone."""

    def __init__(
        self,
        version: str,
        found: Runner,
        length: int,
        calibrator: calibration.ClassCalibrator,
        threshold: float,
        scale: float,
    ) -> None:
        self.version = version
        self._runner, self._length = found, length
        self._calibrator, self._threshold, self._scale = calibrator, threshold, scale

    def logits(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the head's scores, shape (texts, 3)."""
        windows = [self._runner.codec.windows(readable(text), length=self._length)[0].ids for text in texts]
        rows = [self._runner.run(ids) for ids in windows]
        return np.stack(rows).astype(np.float64) if rows else np.zeros((0, len(SENTIMENTS)))

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return calibrated probabilities, shape (texts, 3)."""
        logits = self.logits(texts)
        return self._calibrator.apply(logits) if len(logits) else logits

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
        row = self.probabilities([clear])[0]
        best = int(row.argmax())
        unsure = bool(row[best] < self._threshold)
        score = float(row[2] - row[0]) * self._scale
        return Sentiment(
            label=None if unsure else SENTIMENTS[best],
            probabilities=(float(row[0]), float(row[1]), float(row[2])),
            assets=tuple(
                AssetImpact(asset=asset, impact=one) for asset, one in impacts_of(clear, read(clear, TURKISH), score)
            ),
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
    settings = settings_of(bundle)
    try:
        calibrator = calibration.ClassCalibrator.from_dict(settings["calibrator"])
        threshold, scale = float(settings["threshold"]), float(settings["impact_scale"])
    except (KeyError, TypeError, ValueError, CalibrationError) as error:
        raise ModelError(
            f"{bundle.version} cannot be read as a sentiment model ({error}): restore it or train anew"
        ) from error
    return EncoderSentiment(bundle.version, runner(bundle), settings["length"], calibrator, threshold, scale)
