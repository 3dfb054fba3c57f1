"""Fine-tuning of a head over whole texts: what sentiment and category share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import CalibrationError, ModelError
from kalibre.language import calibration, collapse
from kalibre.language.bundle import LanguageBundle
from kalibre.language.encoder.foundations import Foundation, Runner, bundled, foundation, runner, settings_of
from kalibre.language.encoder.heads import Example, Tuning, tune
from kalibre.language.encoder.networks import Network, outputs
from kalibre.language.encoder.tasks import apart, macro_f1, readable

LONGEST = 256
"""Pieces of a text that are read: headlines, posts and notes, the beginning of an article."""


@dataclass(frozen=True)
class Fitted:
    """What fine-tuning gave.

    Attributes
    ----------
    network, base
        The tuned network and what it was tuned from.
    kept, judged
        Which texts it was validated on, and their pieces.
    sure
        Calibrated probabilities of these, shape (kept, classes).
    settings, figures
        What the bundle stores, and what its card says.
    """

    network: Any
    base: Foundation
    kept: list[int]
    judged: list[list[int]]
    sure: NDArray[np.float64]
    settings: dict[str, Any]
    figures: dict[str, Any]

    def bundle(self, task: str, more: Mapping[str, Any], card: Mapping[str, Any]) -> LanguageBundle:
        """Return it as a bundle of a task's encoder family, with more settings and a card."""
        settings = {**self.settings, **more}
        return bundled(task, self.base, self.network, "text", self.judged[:64], settings, {**self.figures, **card})


def fit(
    task: str,
    texts: Sequence[str],
    y: Sequence[int],
    classes: Sequence[str],
    *,
    encoder: str | Foundation,
    tuning: Tuning,
    precision: float,
    share: float,
    seed: int,
    told: Callable[[dict[str, Any]], None],
) -> Fitted:
    """Fine-tune; see `sentiment.encoder.train` for the parameters.

    Raises
    ------
    ModelError
        If it learns nothing, or collapses onto some of the classes.
    """
    base = foundation(task, encoder, texts) if isinstance(encoder, str) else encoder
    codec, length = base.codec, min(base.length, LONGEST)
    rows = [
        Example(ids=codec.windows(readable(text), length=length)[0].ids, label=label)
        for text, label in zip(texts, y, strict=True)
    ]
    learn, kept = apart(texts, share=share, seed=seed)
    judged, truth = [rows[at].ids for at in kept], np.array([y[at] for at in kept])

    def metric(network: Network) -> float:
        said = np.stack(outputs(network, judged)).argmax(axis=1)
        return macro_f1(truth.tolist(), said.tolist(), len(classes))

    tuned = tune(
        lambda one: base.network("text", classes, one, tuning.on()),
        [rows[at] for at in learn],
        metric,
        tuning,
        told=told,
    )
    logits = np.stack(outputs(tuned.network, judged)).astype(np.float64)
    calibrator = calibration.fit(logits, truth, "temperature")
    sure = calibrator.apply(logits)
    seen = collapse.guard(truth, sure, classes)
    abstention = calibration.tune_abstention(sure, truth, precision=precision)
    settings = {
        "length": length,
        "classes": list(classes),
        "calibrator": calibrator.as_dict(),
        "threshold": abstention.threshold,
    }
    figures = {
        "validation": {"texts": len(kept), "macro_f1": tuned.metric, "seed": tuned.seed, "classes": str(seen)},
        "learnt_from": len(learn),
        "rounds": tuned.rounds,
    }
    return Fitted(tuned.network, base, kept, judged, sure, settings, figures)


class TextHead:
    """A tuned head at work: calibrated probabilities of texts, each depending on that text alone."""

    def __init__(self, bundle: LanguageBundle) -> None:
        settings = settings_of(bundle)
        try:
            self.classes = tuple(str(one) for one in settings["classes"])
            self.calibrator = calibration.ClassCalibrator.from_dict(settings["calibrator"])
            self.threshold = float(settings["threshold"])
        except (KeyError, TypeError, ValueError, CalibrationError) as error:
            raise ModelError(
                f"{bundle.version} cannot be read as a classifier of texts ({error}): restore it or train anew"
            ) from error
        self._length = settings["length"]
        self._runner: Runner = runner(bundle)

    def logits(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the head's scores, shape (texts, classes)."""
        windows = [self._runner.codec.windows(readable(text), length=self._length)[0].ids for text in texts]
        rows = [self._runner.run(ids) for ids in windows]
        return np.stack(rows).astype(np.float64) if rows else np.zeros((0, len(self.classes)))

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return calibrated probabilities, shape (texts, classes)."""
        logits = self.logits(texts)
        return self.calibrator.apply(logits) if len(logits) else logits
