"""Metrics of probabilities, with intervals that stand when the labels of neighbouring bars overlap."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np

from kalibre.core.errors import EvaluationError
from kalibre.core.protocols import FloatArray
from kalibre.evaluation.resampling import block_bootstrap_deviation, block_bootstrap_means, block_length

RESAMPLES: Final = 2000
LEAST_BLOCKS: Final = 10
"""Stretches that do not overlap, below which resampling them says nothing about a mean."""


@dataclass(frozen=True)
class AucInterval:
    """An AUC with its two-sided interval, all in [0, 1]."""

    auc: float
    low: float
    high: float


@dataclass(frozen=True)
class LogLossGain:
    """What a model's log-loss is better by than a constant's.

    Parameters
    ----------
    model, constant
        Mean log-loss of each, nats.
    gain
        Their difference, above 0 if the model is better.
    low
        Its one-sided lower bound; minus infinity for fewer than 10 samples that do not overlap.
    """

    model: float
    constant: float
    gain: float
    low: float


@dataclass(frozen=True)
class BrierParts:
    """The Brier score taken apart: `brier = reliability - resolution + uncertainty + within_bin`.

    Parameters
    ----------
    brier
        Mean squared difference of forecast and outcome.
    reliability
        Squared distance of forecasts from what happened, 0 if calibrated.
    resolution
        Squared distance of what happened from the base rate, the larger the better.
    uncertainty
        Base rate times one minus it.
    within_bin
        What forecasts that differ within a bin add.
    """

    brier: float
    reliability: float
    resolution: float
    uncertainty: float
    within_bin: float


def brier(p: FloatArray, y: FloatArray) -> float:
    """Return the mean squared difference between probability and outcome.

    Parameters
    ----------
    p, y
        Shape (n_samples,): probabilities in [0, 1], outcomes 0.0 or 1.0.

    Raises
    ------
    EvaluationError
        If the shapes differ, there is no sample, or a value is out of range.

    Examples
    --------
    >>> brier(np.array([0.5, 1.0]), np.array([1.0, 1.0]))
    0.125
    """
    check_forecasts(p, y)
    return float(np.mean((p - y) ** 2))


def brier_parts(p: FloatArray, y: FloatArray, *, bins: int = 10) -> BrierParts:
    """Take the Brier score apart over bins of equal mass.

    Parameters
    ----------
    p, y
        As for `brier`.
    bins
        At least 1; equal forecasts are never torn apart.

    References
    ----------
    Murphy (1973), Journal of Applied Meteorology 12(4), 595-600; Stephenson, Coelho & Jolliffe (2008), Weather and
    Forecasting 23(4), 752-757, for what forecasts within a bin add.

    Examples
    --------
    >>> parts = brier_parts(np.array([0.2, 0.2, 0.8, 0.8]), np.array([0.0, 0.0, 1.0, 1.0]), bins=2)
    >>> round(parts.reliability, 3), round(parts.resolution, 3), parts.uncertainty
    (0.04, 0.25, 0.25)
    """
    score = brier(p, y)
    number = equal_mass_bins(p, bins)
    count = np.bincount(number).astype(np.float64)
    forecast, observed = (np.bincount(number, weights=values) / count for values in (p, y))
    share, base_rate = count / len(y), float(y.mean())
    reliability = float(share @ (forecast - observed) ** 2)
    resolution = float(share @ (observed - base_rate) ** 2)
    uncertainty = base_rate * (1.0 - base_rate)
    return BrierParts(score, reliability, resolution, uncertainty, score - reliability + resolution - uncertainty)


def log_loss(p: FloatArray, y: FloatArray) -> float:
    """Return the mean negative log-likelihood, nats; infinite if a certainty was wrong.

    Examples
    --------
    >>> round(log_loss(np.array([0.5, 0.5]), np.array([0.0, 1.0])), 4)
    0.6931
    """
    check_forecasts(p, y)
    return float(_log_losses(p, y).mean())


def auc(p: FloatArray, y: FloatArray) -> float:
    """Return the probability that a sample that went up has the higher score, ties counted as half.

    Raises
    ------
    EvaluationError
        If there is one class only, or as `brier`.

    Examples
    --------
    >>> auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0.0, 0.0, 1.0, 1.0]))
    0.75
    """
    up_place, _ = _placements(p, y)
    return float(up_place.mean())


def auc_interval(p: FloatArray, y: FloatArray, *, horizon_bars: int, seed: int, level: float = 0.95) -> AucInterval:
    """Return the AUC with an interval that counts overlapping labels for what they are.

    An AUC is a mean of placements (DeLong); its error is resampled in blocks of time and taken to log-odds, so the
    interval stays within (0, 1). Where the classes lie wholly apart no resampling knows of an error: the bound is then
    the largest chance of one that samples so few could have hidden, counted by the rarer class and without overlap.

    Parameters
    ----------
    p, y
        As for `brier`, in order of time.
    horizon_bars
        Samples that neighbouring labels overlap by.
    seed
        Of the bootstrap.
    level
        Coverage, two-sided.

    References
    ----------
    DeLong, DeLong & Clarke-Pearson (1988), Biometrics 44(3), 837-845.
    """
    up_place, down_place = _placements(p, y)
    estimate = float(up_place.mean())
    up = y > 0.5
    influence = np.empty(len(y))
    influence[up] = (up_place - estimate) * (len(y) / up.sum())
    influence[~up] = (down_place - estimate) * (len(y) / (~up).sum())
    if not 0 < estimate < 1:
        independent = min(int(up.sum()), int((~up).sum())) / max(horizon_bars, 1)
        hidden = 1.0 - (0.5 - level / 2) ** (1.0 / independent)
        return AucInterval(estimate, 1.0 - hidden, 1.0) if estimate == 1 else AucInterval(estimate, 0.0, hidden)
    length = block_length(influence, horizon_bars=horizon_bars)
    return _logit_interval(estimate, block_bootstrap_deviation(influence, length=length), level)


def log_loss_gain(
    p: FloatArray, y: FloatArray, base_rate: float, *, horizon_bars: int, seed: int, level: float = 0.95
) -> LogLossGain:
    """Compare a model's log-loss with that of a constant forecast.

    Parameters
    ----------
    p, y
        As for `brier`, in order of time.
    base_rate
        The constant's forecast, in (0, 1).
    horizon_bars
        Samples that neighbouring labels overlap by.
    seed
        Of the bootstrap.
    level
        Confidence of the one-sided lower bound.

    Raises
    ------
    EvaluationError
        If the base rate is no probability strictly inside (0, 1), or as `brier`.
    """
    check_forecasts(p, y)
    if not 0 < base_rate < 1:
        raise EvaluationError(f"base_rate {base_rate!r} is not strictly between 0 and 1: the window has one class only")
    constant = _log_losses(np.full(len(y), base_rate), y)
    model = _log_losses(p, y)
    gain = constant - model
    if not np.isfinite(gain).all():
        return LogLossGain(float(model.mean()), float(constant.mean()), -math.inf, -math.inf)
    if len(gain) < LEAST_BLOCKS * max(horizon_bars, 1):
        return LogLossGain(float(model.mean()), float(constant.mean()), float(gain.mean()), -math.inf)
    length = block_length(gain, horizon_bars=horizon_bars)
    means = block_bootstrap_means(gain, length=length, resamples=RESAMPLES, seed=seed)
    estimate = float(gain.mean())
    # The basic bootstrap: errors are mirrored, which keeps the bound honest where gains are skewed.
    low = 2.0 * estimate - float(np.quantile(means, level))
    return LogLossGain(float(model.mean()), float(constant.mean()), estimate, low)


def equal_mass_bins(p: FloatArray, bins: int, *, least: int = 1) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return each forecast's bin, 0 upward, as equal in mass as forecasts that are the same allow.

    Parameters
    ----------
    p
        Shape (n_samples,).
    bins
        Bins wanted; ties may make them fewer.
    least
        A bin of fewer samples joins its smaller neighbour.

    Examples
    --------
    >>> equal_mass_bins(np.array([0.1, 0.2, 0.2, 0.9]), 2).tolist()
    [0, 1, 1, 1]
    """
    ordered = np.sort(p)
    edges = ordered[[round(len(p) * k / bins) for k in range(1, bins)]]
    number = np.searchsorted(np.unique(edges), p, side="right")
    _, compact, count = np.unique(number, return_inverse=True, return_counts=True)
    while len(count) > 1 and count.min() < least:
        small = int(count.argmin())
        after = small == 0 or (small + 1 < len(count) and count[small + 1] < count[small - 1])
        joint = small if after else small - 1
        compact = compact - (compact > joint)
        count = np.bincount(compact)
    return compact.astype(np.int64)


def check_forecasts(p: FloatArray, y: FloatArray) -> None:
    """Refuse forecasts and outcomes that do not belong together or are none.

    Raises
    ------
    EvaluationError
        With the shapes or the offending value.
    """
    if p.shape != y.shape or p.ndim != 1 or not len(p):
        raise EvaluationError(f"forecasts of shape {p.shape} and outcomes of {y.shape}: pass two of (n_samples,)")
    bad = ~((p >= 0) & (p <= 1)) | ~((y == 0) | (y == 1))
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        raise EvaluationError(
            f"forecast {p[i]} with outcome {y[i]} at sample {i}: a forecast is in [0, 1], an outcome 0 or 1; leave out "
            "what is unknown"
        )


def _log_losses(p: FloatArray, y: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore"):
        losses: FloatArray = -np.log(np.where(y > 0.5, p, 1.0 - p))
    return losses


def _placements(p: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the share of downs below each up, and of ups above each down, ties as half."""
    check_forecasts(p, y)
    up = y > 0.5
    ups, downs = p[up], p[~up]
    if not len(ups) or not len(downs):
        raise EvaluationError(
            f"{len(ups)} samples up and {len(downs)} down: an AUC needs both classes; take a longer window"
        )
    return _share_below(ups, np.sort(downs)), 1.0 - _share_below(downs, np.sort(ups))


def _share_below(values: FloatArray, ordered: FloatArray) -> FloatArray:
    below = np.searchsorted(ordered, values, side="left") + np.searchsorted(ordered, values, side="right")
    share: FloatArray = below / (2.0 * len(ordered))
    return share


def _logit_interval(estimate: float, deviation: float, level: float) -> AucInterval:
    reach = NormalDist().inv_cdf(0.5 + level / 2) * deviation / (estimate * (1.0 - estimate))
    centre = math.log(estimate / (1.0 - estimate))
    low, high = (1.0 / (1.0 + math.exp(-(centre + side * reach))) for side in (-1.0, 1.0))
    return AucInterval(estimate, low, high)
