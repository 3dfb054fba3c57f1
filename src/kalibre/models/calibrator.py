"""The calibrator: a model's score in, a probability out, never 0 or 1, never against the score's order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from kalibre.core.errors import CalibrationError
from kalibre.core.protocols import FloatArray

_CLOSEST = 1e-6
"""No probability comes closer to 0 or 1 than this, whatever the calibrator was told."""


@dataclass(frozen=True)
class Calibrator:
    """A monotone map from score to probability. `kalibre.evaluation.calibration.fit_calibrator` fits one.

    Parameters
    ----------
    kind
        `isotonic`: straight lines between knots, level beyond the outer ones. `platt`: a logistic curve in the score's
        log-odds. `identity`: the score, kept off 0 and 1.
    scores, probabilities
        Knots of `isotonic`, both rising strictly; empty otherwise.
    slope, intercept
        Of `platt`: p = 1 / (1 + exp(-(slope * log-odds(score) + intercept))), slope at least 0.
    n_samples
        Samples it was fitted on.

    Raises
    ------
    CalibrationError
        If the parameters do not make a monotone map into (0, 1).

    Examples
    --------
    >>> calibrator = Calibrator("isotonic", scores=(0.4, 0.6), probabilities=(0.45, 0.55))
    >>> calibrator.apply(np.array([0.0, 0.45, 0.6])).round(3).tolist()
    [0.45, 0.475, 0.55]
    """

    kind: Literal["isotonic", "platt", "identity"]
    scores: tuple[float, ...] = ()
    probabilities: tuple[float, ...] = ()
    slope: float = 1.0
    intercept: float = 0.0
    n_samples: int = 0

    def __post_init__(self) -> None:
        """Refuse what would not be a monotone map into (0, 1)."""
        if self.kind not in ("isotonic", "platt", "identity"):
            raise CalibrationError(f"calibrator kind {self.kind!r} is unknown: choose isotonic, platt or identity")
        if self.kind == "isotonic":
            x, y = self._knots
            if (
                x.shape != y.shape
                or not x.size
                or not (np.isfinite(x).all() and np.isfinite(y).all())
                or (np.diff(x) <= 0).any()
                or (np.diff(y) <= 0).any()
                or y[0] <= 0
                or y[-1] >= 1
            ):
                raise CalibrationError(
                    f"isotonic knots {self.scores} -> {self.probabilities} do not rise strictly within (0, 1): "
                    "fit the calibrator again"
                )
        if self.kind == "platt" and not (math.isfinite(self.slope + self.intercept) and self.slope >= 0):
            raise CalibrationError(
                f"platt slope {self.slope!r} and intercept {self.intercept!r} turn the score around or are not finite: "
                "fit the calibrator again"
            )

    @cached_property
    def _knots(self) -> tuple[FloatArray, FloatArray]:
        return np.array(self.scores, dtype=np.float64), np.array(self.probabilities, dtype=np.float64)

    def apply(self, score: FloatArray) -> FloatArray:
        """Return the calibrated probability of up.

        Parameters
        ----------
        score
            Any shape, in [0, 1] or NaN.

        Returns
        -------
        The same shape, strictly inside (0, 1); NaN where the score is.

        Raises
        ------
        CalibrationError
            If a score lies outside [0, 1].
        """
        score = np.asarray(score, dtype=np.float64)
        outside = (score < 0) | (score > 1)
        if outside.any():
            raise CalibrationError(
                f"score {score[outside].flat[0]!r} is no probability: pass the classifier's predict_proba, in [0, 1]"
            )
        if self.kind == "isotonic":
            x, y = self._knots
            p = np.interp(score, x, y)
        elif self.kind == "platt":
            p = logistic(self.slope * log_odds(score) + self.intercept)
        else:
            p = score
        clipped: FloatArray = np.clip(p, _CLOSEST, 1.0 - _CLOSEST)
        return clipped

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-able values that `from_dict` reads back exactly."""
        return {
            "kind": self.kind,
            "scores": list(self.scores),
            "probabilities": list(self.probabilities),
            "slope": self.slope,
            "intercept": self.intercept,
            "n_samples": self.n_samples,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibrator:
        """Read a calibrator back.

        Raises
        ------
        CalibrationError
            If a value is missing or the calibrator is none; the message quotes it.
        """
        try:
            return cls(
                kind=values["kind"],
                scores=tuple(float(x) for x in values["scores"]),
                probabilities=tuple(float(p) for p in values["probabilities"]),
                slope=float(values["slope"]),
                intercept=float(values["intercept"]),
                n_samples=int(values["n_samples"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CalibrationError(f"calibrator {dict(values)} cannot be read: {error!r}; fit it again") from error


def log_odds(p: FloatArray) -> FloatArray:
    """Return log(p / (1 - p)), with p kept 1e-6 off 0 and 1."""
    kept = np.clip(p, _CLOSEST, 1.0 - _CLOSEST)
    odds: FloatArray = np.log(kept) - np.log1p(-kept)
    return odds


def logistic(z: FloatArray) -> FloatArray:
    """Return 1 / (1 + exp(-z)) without overflow."""
    small = np.exp(-np.abs(z))
    p: FloatArray = np.where(z >= 0, 1.0 / (1.0 + small), small / (1.0 + small))
    return p
