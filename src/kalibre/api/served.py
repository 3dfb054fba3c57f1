"""A promoted bundle made ready to answer one row at a time: the same numbers as the bundle, without the array layer.

The classifier's compiled walk serves as it is: for one row it takes two thirds of the time of LightGBM's own
`LGBM_BoosterPredictForMatSingleRowFast` (docs/experiments.md), and the server need not load LightGBM at all. What is
done here is the calibration of a single score, which as array operations would take longer than the trees.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from kalibre.core.protocols import FloatArray
from kalibre.models.calibrator import Calibrator

if TYPE_CHECKING:
    from kalibre.models.acting import Acting
    from kalibre.models.bundle import ModelBundle
    from kalibre.models.ensemble_version import EnsembleVersion


class PolicyView(msgspec.Struct, frozen=True):
    """The promoted thresholds: at or above the first get in, at or below the second get out."""

    entry_threshold: float | None
    exit_threshold: float | None


class CalibrationView(msgspec.Struct, frozen=True):
    """How far the probabilities were off out of sample, debiased, and the band that a perfect model would show."""

    ece_calibrated: float | None
    ece_band: tuple[float, float] | None


class ServedModel:
    """One model as the serving path holds it: immutable, and safe to ask from several threads.

    Parameters
    ----------
    bundle
        A verified bundle, as `load_bundle` returns it.
    """

    def __init__(self, bundle: ModelBundle) -> None:
        self.bundle = bundle
        self.model_id: str = bundle.model_id
        self.horizon_bars: int = bundle.horizon_bars
        self.entry_threshold: float = bundle.entry_threshold
        self.exit_threshold: float = bundle.exit_threshold
        self.policy_view = PolicyView(bundle.entry_threshold, bundle.exit_threshold)
        self.calibration_view = _calibration_view(bundle)
        self.columns: tuple[str, ...] = bundle.classifier.columns
        self.n_columns = len(self.columns)
        self.features_key: str = bundle.feature_fingerprint
        self._classify = bundle.classifier.predict_one
        self._calibrate = single_score(bundle.calibrator)

    def p_up(self, values: Sequence[float] | FloatArray) -> float:
        """Return the calibrated probability of up for one row of features, bit for bit the bundle's own.

        NaN for a row with a value that is not finite.

        Raises
        ------
        ModelError
            If the number of values is not the number of columns.
        """
        return self._calibrate(self._classify(values))


class ServedEnsemble:
    """The ensemble that is champion, as the serving path holds it: its thresholds and what it proved.

    What it forecasts is recorded by the hub; nothing here can compute it.

    Parameters
    ----------
    version
        A verified ensemble version.
    """

    def __init__(self, version: EnsembleVersion) -> None:
        self.bundle = version
        self.model_id: str = version.model_id
        self.horizon_bars: int = version.horizon_bars
        self.entry_threshold: float = version.entry_threshold
        self.exit_threshold: float = version.exit_threshold
        self.policy_view = PolicyView(version.entry_threshold, version.exit_threshold)
        self.calibration_view = _calibration_view(version)
        self.columns: tuple[str, ...] = ()
        self.unasked = (
            f"{version.model_id} is the ensemble of the hub, which speaks of bars as they close: it cannot be asked "
            "about anything else"
        )
        """Why it does not answer."""


def served(acting: Acting) -> ServedModel | ServedEnsemble:
    """Make of what is promoted what the serving path holds."""
    from kalibre.models.ensemble_version import EnsembleVersion

    return ServedEnsemble(acting) if isinstance(acting, EnsembleVersion) else ServedModel(acting)


def _calibration_view(acting: Acting) -> CalibrationView:
    # Of too short a history neither is known, and it says null.
    low, high = acting.calibration.get("ece_band") or (None, None)
    band = None if low is None or high is None else (float(low), float(high))
    return CalibrationView(acting.calibration.get("ece_calibrated"), band)


def single_score(calibrator: Calibrator) -> Callable[[float], float]:
    """Make a function that calibrates one score, bit for bit as `Calibrator.apply` does.

    Examples
    --------
    >>> from kalibre.models.calibrator import Calibrator
    >>> round(single_score(Calibrator("isotonic", scores=(0.4, 0.6), probabilities=(0.45, 0.55)))(0.45), 6)
    0.475
    """
    if calibrator.kind != "isotonic":
        # Its exponential is numpy's, which differs from the C library's in the last bit: ask numpy.
        return lambda score: float(calibrator.apply(np.array([score]))[0])
    closest: float
    farthest: float
    closest, farthest = Calibrator("identity").apply(np.array([0.0, 1.0])).tolist()
    x, y = list(calibrator.scores), [min(max(p, closest), farthest) for p in calibrator.probabilities]
    raw = list(calibrator.probabilities)
    slopes = [(raw[i + 1] - raw[i]) / (x[i + 1] - x[i]) for i in range(len(x) - 1)]
    last = len(x) - 1

    def calibrate(score: float) -> float:
        if math.isnan(score):
            return score
        i = bisect_right(x, score) - 1
        if i < 0:
            return y[0]
        if i >= last:
            return y[last]
        return min(max(slopes[i] * (score - x[i]) + raw[i], closest), farthest)

    return calibrate
