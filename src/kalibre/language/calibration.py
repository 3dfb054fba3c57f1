"""Calibration of classifiers with more than two classes: fitting it, and measuring it without counting noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import CalibrationError
from kalibre.evaluation.calibration import debiased_error

FloatArray = NDArray[np.float64]
Kind = Literal["temperature", "vector", "isotonic"]
KINDS: tuple[Kind, ...] = ("temperature", "vector", "isotonic")
_LEAST_PER_BIN = 50
_MOST_BINS = 15
_ENOUGH_TO_COUNT = 500


def softmax(scores: FloatArray) -> FloatArray:
    """Return probabilities per row.

    Examples
    --------
    >>> softmax(np.array([[0.0, 0.0]])).tolist()
    [[0.5, 0.5]]
    """
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    found: FloatArray = shifted / shifted.sum(axis=1, keepdims=True)
    return found


@dataclass(frozen=True)
class ClassCalibrator:
    """A map from a classifier's scores (logits) to probabilities.

    `temperature` divides all scores by one number; `vector` gives each class a slope and an offset; `isotonic` bends
    each class's probability by a rising curve and normalises.
    """

    kind: Kind
    slope: tuple[float, ...]
    offset: tuple[float, ...]
    knots: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = ()

    def apply(self, scores: FloatArray) -> FloatArray:
        """Return probabilities, shape as `scores`; each row sums to 1.

        Raises
        ------
        CalibrationError
            If the number of classes is another.
        """
        if scores.ndim != 2 or scores.shape[1] != len(self.slope):
            raise CalibrationError(
                f"scores of shape {scores.shape} do not fit a calibrator of {len(self.slope)} classes: pass one column "
                "a class"
            )
        probability = softmax(scores * np.array(self.slope) + np.array(self.offset))
        if self.kind != "isotonic":
            return probability
        bent = np.column_stack([np.interp(probability[:, k], *self.knots[k]) for k in range(len(self.slope))])
        bent = np.maximum(bent, 1e-4)
        found: FloatArray = bent / bent.sum(axis=1, keepdims=True)
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {
            "kind": self.kind,
            "slope": list(self.slope),
            "offset": list(self.offset),
            "knots": [[list(side) for side in pair] for pair in self.knots],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ClassCalibrator:
        """Read what `as_dict` gave.

        Raises
        ------
        CalibrationError
            If a value is missing or of another form.
        """
        try:
            kind = values["kind"]
            if kind not in KINDS:
                raise ValueError(f"kind {kind!r}")
            return cls(
                kind,
                tuple(float(one) for one in values["slope"]),
                tuple(float(one) for one in values["offset"]),
                tuple((tuple(map(float, x)), tuple(map(float, y))) for x, y in values.get("knots", [])),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CalibrationError(f"{values!r} describes no calibrator ({error}): train the model anew") from error


def fit(scores: FloatArray, y: NDArray[np.int64], kind: Kind = "vector", *, pull: float = 1.0) -> ClassCalibrator:
    """Fit a calibrator on scores that were made out of fold.

    Parameters
    ----------
    scores
        Shape (n_samples, n_classes), logits.
    y
        Shape (n_samples,), class numbers.
    kind
        `temperature` (one number), `vector` (two a class), `isotonic` (a curve a class, upon a temperature).
    pull
        How strongly slopes are drawn to their mean and offsets to 0, in samples' worth of log-loss.

    Raises
    ------
    CalibrationError
        If shapes differ, a class is unknown, or a score is not finite.

    References
    ----------
    Guo, Pleiss, Sun & Weinberger (2017), On Calibration of Modern Neural Networks, ICML 34.
    """
    _check(scores, y)
    n_classes = scores.shape[1]
    if kind == "vector":
        return ClassCalibrator("vector", *_fit_slopes(scores, y, pull))
    slope, _ = _fit_slopes(scores, y, None)
    level = ClassCalibrator("temperature", slope, (0.0,) * n_classes)
    if kind == "temperature":
        return level
    probability = level.apply(scores)
    knots = tuple(_curve(probability[:, k], (y == k).astype(np.float64)) for k in range(n_classes))
    return ClassCalibrator("isotonic", slope, (0.0,) * n_classes, knots)


def _check(scores: FloatArray, y: NDArray[np.int64]) -> None:
    if scores.ndim != 2 or scores.shape[0] != len(y) or not len(y) or scores.shape[1] < 2:
        raise CalibrationError(f"scores of shape {scores.shape} and {len(y)} classes do not fit: one row a sample")
    if not np.isfinite(scores).all():
        raise CalibrationError("a score is not finite: the classifier has diverged, train it anew")
    if y.min() < 0 or y.max() >= scores.shape[1]:
        raise CalibrationError(f"class {int(y.max())} is not one of {scores.shape[1]}: number classes from 0")


def _fit_slopes(
    scores: FloatArray, y: NDArray[np.int64], pull: float | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Minimise the log-loss over one temperature (`pull` None) or a slope and an offset per class."""
    from scipy.optimize import minimize

    n, n_classes = scores.shape
    hit = np.zeros_like(scores)
    hit[np.arange(n), y] = 1.0

    def unpack(x: FloatArray) -> tuple[FloatArray, FloatArray]:
        if pull is None:
            return np.full(n_classes, np.exp(x[0])), np.zeros(n_classes)
        return np.exp(x[0]) + x[1 : 1 + n_classes], x[1 + n_classes :]

    def loss(x: FloatArray) -> tuple[float, FloatArray]:
        slope, offset = unpack(x)
        z = scores * slope + offset
        top = z.max(axis=1, keepdims=True)
        log_sum = top[:, 0] + np.log(np.exp(z - top).sum(axis=1))
        value = float((log_sum - z[np.arange(n), y]).sum())
        residual = softmax(z) - hit
        by_slope = (residual * scores).sum(axis=0)
        if pull is None:
            return value, np.array([by_slope.sum() * np.exp(x[0])])
        gradient = np.concatenate(([by_slope.sum() * np.exp(x[0])], by_slope, residual.sum(axis=0)))
        value += pull * float((x[1:] ** 2).sum()) * 2.0
        gradient[1:] += pull * 4.0 * x[1:]
        return value, gradient

    start = np.zeros(1 if pull is None else 1 + 2 * n_classes)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 300})
    slope, offset = unpack(found.x)
    return tuple(float(one) for one in slope), tuple(float(one) for one in offset)


def _curve(p: FloatArray, hit: FloatArray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return a rising curve through groups of 50 samples, drawn out to 0 and 1."""
    from kalibre.evaluation.calibration import centred_isotonic

    order = np.argsort(p, kind="stable")
    groups = np.array_split(order, max(len(p) // 50, 1))
    x, at = np.unique([float(p[group].mean()) for group in groups], return_inverse=True)
    weight = np.bincount(at, [float(len(group)) for group in groups]).astype(np.float64)
    level = np.bincount(at, [float(hit[group].sum()) for group in groups]).astype(np.float64) / weight
    knots_x, knots_y = centred_isotonic(x, level, weight)
    knots_x = np.concatenate(([0.0], knots_x, [1.0]))
    knots_y = np.concatenate(([min(knots_y[0], 1e-3)], knots_y, [max(knots_y[-1], 1.0 - 1e-3)]))
    keep = np.concatenate(([True], np.diff(knots_x) > 0))
    return tuple(knots_x[keep].tolist()), tuple(knots_y[keep].tolist())


@dataclass(frozen=True)
class ClassCalibrationError:
    """The calibration error of the class named (top label), beside what chance alone would show.

    Attributes
    ----------
    ece
        Mean distance of confidence and hit rate over bins of equal mass, less what noise adds to it.
    ece_plain
        The same with noise.
    band
        Where the debiased error of the same forecasts lies if they are perfectly calibrated, 2.5 % to 97.5 %: labels
        drawn again from the probabilities themselves.
    band_plain
        The same of the plain error.
    classwise
        Plain error of each class's probability, averaged over the classes.
    """

    ece: float
    ece_plain: float
    band: tuple[float, float]
    band_plain: tuple[float, float]
    classwise: float
    n_bins: int
    n_samples: int

    @property
    def inside(self) -> bool:
        """Whether the error, noise and all, is no larger than chance explains."""
        return self.ece_plain <= self.band_plain[1] and self.ece <= self.band[1]

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {
            "ece": self.ece,
            "ece_plain": self.ece_plain,
            "band": list(self.band),
            "band_plain": list(self.band_plain),
            "classwise": self.classwise,
            "n_bins": self.n_bins,
            "n_samples": self.n_samples,
            "inside": self.inside,
        }


def error(p: FloatArray, y: NDArray[np.int64], *, seed: int = 0, resamples: int = 1_000) -> ClassCalibrationError:
    """Measure how far confidence is from being right.

    Parameters
    ----------
    p
        Shape (n_samples, n_classes), probabilities that were made out of sample.
    y
        Shape (n_samples,), class numbers.
    seed
        Of the labels drawn for the band.
    resamples
        Of the band.

    Raises
    ------
    CalibrationError
        If shapes differ or a row is no distribution.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> p = rng.dirichlet((1, 1, 1), 3000)
    >>> y = (rng.random((3000, 1)) > p.cumsum(axis=1)).sum(axis=1)
    >>> error(p, y).inside
    True
    """
    _check(np.log(np.maximum(p, 1e-300)), y)
    if (p < 0).any() or np.abs(p.sum(axis=1) - 1.0).max() > 1e-6:
        raise CalibrationError("a row of probabilities is negative or does not sum to 1: normalise it")
    top = p.argmax(axis=1)
    confidence = p[np.arange(len(p)), top]
    n_bins = int(np.clip(len(p) // _LEAST_PER_BIN, 1, _MOST_BINS))
    order = np.argsort(confidence, kind="stable")
    number = np.empty(len(p), np.int64)
    number[order] = np.arange(len(p)) * n_bins // len(p)
    size = np.bincount(number, minlength=n_bins).astype(np.float64)
    share = size / len(p)
    forecast = np.bincount(number, confidence, n_bins) / size
    noise = np.sqrt(np.bincount(number, confidence * (1.0 - confidence), n_bins)) / size
    rng = np.random.default_rng(seed)
    # If calibrated, the class named is right with its own confidence: nothing else of the row matters.
    hits = (rng.random((resamples, len(p))) < confidence).astype(np.float64)
    gaps = np.stack([np.bincount(number, row, n_bins) for row in hits]) / size - forecast
    gap = (np.bincount(number, (top == y).astype(np.float64), n_bins) / size - forecast)[None, :]
    chance, chance_plain = debiased_error(gaps, noise, share), (share * np.abs(gaps)).sum(axis=1)
    return ClassCalibrationError(
        ece=float(debiased_error(gap, noise, share)[0]),
        ece_plain=float((share * np.abs(gap)).sum()),
        band=_ends(chance),
        band_plain=_ends(chance_plain),
        classwise=float(np.mean([_class_error(p[:, k], y == k, n_bins) for k in range(p.shape[1])])),
        n_bins=n_bins,
        n_samples=len(p),
    )


def _ends(values: FloatArray) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _class_error(p: FloatArray, hit: NDArray[np.bool_], n_bins: int) -> float:
    parts = np.array_split(np.argsort(p, kind="stable"), n_bins)
    return float(sum(len(part) * abs(p[part].mean() - hit[part].mean()) for part in parts) / len(p))


def log_loss(p: FloatArray, y: NDArray[np.int64]) -> float:
    """Return the mean negative log-probability of what was right."""
    return float(-np.log(np.maximum(p[np.arange(len(y)), y], 1e-12)).mean())


@dataclass(frozen=True)
class Abstention:
    """From which confidence on a class is named, and what that brought where it was tuned."""

    threshold: float
    precision: float
    coverage: float
    wanted: float


def tune_abstention(p: FloatArray, y: NDArray[np.int64], *, precision: float) -> Abstention:
    """Find the lowest confidence from which on the classes named are right often enough.

    Parameters
    ----------
    p, y
        Out-of-fold probabilities and classes of the training part. Of fewer than 500 samples a single hit more or less
        moves a counted precision's threshold far; there the probabilities say what precision to expect.
    precision
        Share that has to be right among those named.

    Returns
    -------
    The threshold, with the precision and coverage counted there; above 1 (nothing is named) where no threshold with 20
    samples reaches the precision.
    """
    _check(np.log(np.maximum(p, 1e-300)), y)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == y
    order, number = np.argsort(-confidence, kind="stable"), np.arange(1, len(y) + 1)
    counted = np.cumsum(right[order]) / number
    judged = counted if len(y) >= _ENOUGH_TO_COUNT else np.cumsum(confidence[order]) / number
    good = np.flatnonzero((judged >= precision) & (number >= min(20, len(order))))
    if not len(good):
        return Abstention(1.01, 0.0, 0.0, precision)
    last = int(good[-1])
    threshold = float(confidence[order[last]])
    if last == len(order) - 1:
        # All of them may be named: how sure the least sure one happened to be says nothing of texts to come.
        threshold = min(threshold, precision)
    return Abstention(threshold, float(counted[last]), (last + 1) / len(order), precision)
