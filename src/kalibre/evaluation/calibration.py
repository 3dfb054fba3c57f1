"""Calibration: fitting a calibrator, and measuring how far forecasts are from what happens without counting noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import CalibrationError, EvaluationError
from kalibre.core.protocols import FloatArray
from kalibre.evaluation.metrics import check_forecasts, equal_mass_bins
from kalibre.evaluation.resampling import block_bootstrap_means, thin
from kalibre.models.calibrator import Calibrator, log_odds, logistic

LEAST_FOR_ISOTONIC: Final = 1_000
"""Independent samples: with a horizon of 4 bars, 1,500 samples are 375, where isotonic regression costs more log-loss
than most edges earn."""
LEAST_PER_BIN: Final = 200
"""Independent samples in a bin of the calibration error: fewer, and noise of .03 passes for an error."""
MOST_BINS: Final = 20
RESAMPLES: Final = 1_000
_GROUP: Final = 50
"""Independent samples that isotonic regression sees as one: three ups out of three are no certainty."""
_TAIL: Final = 1e-4
"""Rise beyond the outer knots, so that scores out there keep their order."""


@dataclass(frozen=True)
class CalibrationErrorResult:
    """The expected calibration error of a forecast, without what noise adds to it.

    Parameters
    ----------
    ece
        Debiased expected calibration error; NaN if there are too few samples to measure it.
    ece_plain
        As it is usually computed, noise included.
    band
        Where the debiased error of a perfectly calibrated forecast lies, 5 % to 95 %.
    n_bins, n_samples, n_independent
        Bins, samples, and samples that do not overlap.
    bins
        For a reliability diagram: `forecast` and `observed` mean, `n`, and `band_low`, `band_high` where a perfectly
        calibrated forecast's observed mean lies, 5 % to 95 %.
    note
        Why there is no figure; empty if there is one.
    """

    ece: float
    ece_plain: float
    band: tuple[float, float]
    n_bins: int
    n_samples: int
    n_independent: int
    bins: tuple[dict[str, float], ...]
    note: str = ""

    @property
    def above_band(self) -> bool:
        """Whether the error is larger than chance explains for a perfectly calibrated forecast."""
        return self.ece > self.band[1]

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-able values; a figure that is not known is None."""

        def plain(value: float) -> float | None:
            return value if math.isfinite(value) else None

        return {
            "ece_calibrated": plain(self.ece),
            "ece_plain": plain(self.ece_plain),
            "ece_band": [plain(side) for side in self.band],
            "n_bins": self.n_bins,
            "n_samples": self.n_samples,
            "n_independent": self.n_independent,
            "bins": [dict(row) for row in self.bins],
            "note": self.note,
        }


def fit_calibrator(score: FloatArray, y: FloatArray, *, horizon_bars: int = 1) -> Calibrator:
    """Fit a monotone map from score to probability: centred isotonic regression, or Platt's below 1,000 samples.

    Parameters
    ----------
    score
        Shape (n_samples,), a classifier's uncalibrated probabilities of a part that it was not fitted on.
    y
        Shape (n_samples,), 0.0 or 1.0.
    horizon_bars
        Samples that neighbouring labels overlap by. Only every so many count towards the 1,000.

    Raises
    ------
    CalibrationError
        If there is no sample, one class only, or a score is no probability.

    References
    ----------
    Oron & Flournoy (2017), Centered Isotonic Regression, Statistics in Biopharmaceutical Research 9(3), 258-267;
    Platt (1999), Probabilistic outputs for support vector machines.

    Examples
    --------
    >>> score = np.linspace(0.3, 0.7, 2000)
    >>> calibrator = fit_calibrator(score, (np.arange(2000) * 0.618 % 1 < score).astype(float))
    >>> calibrator.kind, calibrator.apply(np.array([0.5])).round(1).tolist()
    ('isotonic', [0.5])
    """
    try:
        check_forecasts(score, y)
    except EvaluationError as error:
        raise CalibrationError(f"a calibrator cannot be fitted: {error}") from error
    ups = int(y.sum())
    if ups in (0, len(y)):
        raise CalibrationError(
            f"a calibrator cannot be fitted on one class: {ups} samples up, {len(y) - ups} down; take a longer part"
        )
    if thin(len(y), horizon_bars) < LEAST_FOR_ISOTONIC:
        return _fit_platt(score, y)
    return _fit_isotonic(score, y, group=_GROUP * max(horizon_bars, 1))


def _fit_isotonic(score: FloatArray, y: FloatArray, *, group: int) -> Calibrator:
    number = equal_mass_bins(score, max(len(y) // group, 1))
    weight = np.bincount(number).astype(np.float64)
    x, p = centred_isotonic(np.bincount(number, score) / weight, np.bincount(number, y) / weight, weight)
    # Off 0 and 1 by what as many samples as the part has cannot tell from certainty (rule of succession).
    least = 1.0 / (len(y) + 2.0)
    p = np.clip(p, least, 1.0 - least)
    p, first = np.unique(p, return_index=True)
    x = x[first]
    low, high = float(score.min()), float(score.max())
    if low < x[0]:
        x, p = np.append(low, x), np.append(p[0] - min(_TAIL, p[0] / 2), p)
    if high > x[-1]:
        x, p = np.append(x, high), np.append(p, p[-1] + min(_TAIL, (1.0 - p[-1]) / 2))
    return Calibrator("isotonic", scores=tuple(x.tolist()), probabilities=tuple(p.tolist()), n_samples=len(y))


def centred_isotonic(x: FloatArray, y: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the knots of centred isotonic regression: one per level stretch, at its weighted centre.

    Plain isotonic regression is level over a stretch and jumps at its ends; joining the stretches' centres by straight
    lines estimates a strictly rising curve with less error.

    Parameters
    ----------
    x, y, weight
        Shape (n_points,); `x` rises strictly, `weight` is above 0.

    Returns
    -------
    Knots `x` and `y`, both rising strictly.

    References
    ----------
    Oron & Flournoy (2017), Statistics in Biopharmaceutical Research 9(3), 258-267.

    Examples
    --------
    >>> one = np.ones(4)
    >>> x, y = centred_isotonic(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.1, 0.5, 0.3, 0.9]), one)
    >>> x.tolist(), y.tolist()
    ([1.0, 2.5, 4.0], [0.1, 0.4, 0.9])
    """
    stretches: list[tuple[float, float, float]] = []
    for point in zip(x.tolist(), y.tolist(), weight.tolist(), strict=True):
        centre, level, mass = point
        # Equal levels are pooled too: knots have to rise strictly.
        while stretches and stretches[-1][1] >= level:
            before, below, lighter = stretches.pop()
            both = lighter + mass
            centre = (before * lighter + centre * mass) / both
            level = (below * lighter + level * mass) / both
            mass = both
        stretches.append((centre, level, mass))
    knots = np.array(stretches)
    return knots[:, 0], knots[:, 1]


def _fit_platt(score: FloatArray, y: FloatArray) -> Calibrator:
    """Fit slope and intercept by Newton's method on Platt's smoothed targets; a slope below 0 becomes 0."""
    ups = float(y.sum())
    downs = len(y) - ups
    target = np.where(y > 0.5, (ups + 1.0) / (ups + 2.0), 1.0 / (downs + 2.0))
    z = log_odds(score)
    centre, spread = float(z.mean()), float(z.std())
    mean = float(target.mean())
    level = math.log(mean / (1.0 - mean))
    flat = Calibrator("platt", slope=0.0, intercept=level, n_samples=len(y))
    if spread < 1e-12:
        return flat
    design = np.column_stack([(z - centre) / spread, np.ones(len(z))])
    beta = np.array([0.0, level])
    loss = _cross_entropy(design @ beta, target)
    for _ in range(100):
        p = logistic(design @ beta)
        gradient = design.T @ (p - target)
        hessian = (design * (p * (1.0 - p))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        scale = 1.0
        while _cross_entropy(design @ (beta - scale * step), target) > loss and scale > 1e-10:
            scale /= 2.0
        beta = beta - scale * step
        before, loss = loss, _cross_entropy(design @ beta, target)
        if before - loss <= 1e-12 * len(y):
            break
    slope = float(beta[0]) / spread
    if slope <= 0:
        return flat
    return Calibrator("platt", slope=slope, intercept=float(beta[1]) - slope * centre, n_samples=len(y))


def _cross_entropy(z: FloatArray, target: FloatArray) -> float:
    return float(np.sum(np.logaddexp(0.0, z) - target * z))


def calibration_error(
    p: FloatArray, y: FloatArray, *, horizon_bars: int, seed: int, resamples: int = RESAMPLES
) -> CalibrationErrorResult:
    """Measure the expected calibration error in bins of equal mass, and what chance alone would show.

    The usual estimate adds up noise: over 20 bins, a perfect forecast of 3,500 samples reads .03 to .05. Here bins hold
    at least 200 samples that do not overlap, and what noise adds to each bin's distance is taken off again; where the
    distances are no larger than noise altogether, all of it, where they are much larger, nothing.

    The band is what the same forecasts would read if they were perfect: the outcomes' deviations from their bins'
    means are resampled in blocks of time, which keeps overlapping labels together.

    Parameters
    ----------
    p, y
        Shape (n_samples,), probabilities and outcomes, in order of time.
    horizon_bars
        Samples that neighbouring labels overlap by.
    seed
        Of the bootstrap.
    resamples
        Of the band.

    Returns
    -------
    The error; its figures are NaN, with a note, if there are fewer than 400 samples that do not overlap.

    Raises
    ------
    EvaluationError
        If shapes differ or a value is no probability or no outcome.

    References
    ----------
    Broecker & Smith (2007), Weather and Forecasting 22(3), 651-661, for the consistency band; Kumar, Liang & Ma (2019),
    Verified Uncertainty Calibration, NeurIPS 32, for debiasing.
    """
    check_forecasts(p, y)
    independent = thin(len(p), horizon_bars)
    wanted = min(independent // LEAST_PER_BIN, MOST_BINS)
    if wanted < 2:
        return CalibrationErrorResult(
            ece=math.nan,
            ece_plain=math.nan,
            band=(math.nan, math.nan),
            n_bins=0,
            n_samples=len(p),
            n_independent=independent,
            bins=(),
            note=f"{len(p)} samples with a horizon of {horizon_bars} are {independent} independent ones; "
            f"{2 * LEAST_PER_BIN} ({2 * LEAST_PER_BIN * horizon_bars} samples) are needed to measure calibration",
        )
    number = equal_mass_bins(p, wanted, least=min(LEAST_PER_BIN * horizon_bars, len(p) // wanted))
    member = number[:, None] == np.arange(number.max() + 1)
    count = member.sum(axis=0).astype(np.float64)
    share = count / len(p)
    forecast = np.bincount(number, p) / count
    observed = np.bincount(number, y) / count
    gap = observed - forecast
    residual = np.where(member, (y - p - gap[number])[:, None], 0.0)
    noise = _bin_noise(residual, count, forecast, horizon_bars)
    length = min(max(8 * horizon_bars, math.ceil(len(p) ** (1 / 3))), len(p))
    chance = block_bootstrap_means(residual, length=length, resamples=resamples, seed=seed) / share
    chance_errors = debiased_error(chance, noise, share)
    low, high = np.quantile(chance_errors, [0.05, 0.95])
    gap_low, gap_high = np.quantile(chance, [0.05, 0.95], axis=0)
    bins = tuple(
        {
            "forecast": float(forecast[b]),
            "observed": float(observed[b]),
            "n": float(count[b]),
            "band_low": float(np.clip(forecast[b] + gap_low[b], 0.0, 1.0)),
            "band_high": float(np.clip(forecast[b] + gap_high[b], 0.0, 1.0)),
        }
        for b in range(len(count))
    )
    return CalibrationErrorResult(
        ece=float(debiased_error(gap[None, :], noise, share)[0]),
        ece_plain=float(share @ np.abs(gap)),
        band=(float(low), float(high)),
        n_bins=len(count),
        n_samples=len(p),
        n_independent=independent,
        bins=bins,
    )


def debiased_error(gap: FloatArray, noise: FloatArray, share: FloatArray) -> FloatArray:
    """Return the mean absolute calibration gap without what noise adds to it.

    A gap is a true distance plus normal noise, and |distance + noise| is larger than |distance| on average. How much
    larger depends on the distance: its size is estimated from all bins together (mean square of the gaps less that of
    the noise), each bin's distance by shrinking its gap accordingly, and the excess at that distance is taken off.

    Parameters
    ----------
    gap
        Shape (n_sets, n_bins), observed minus forecast.
    noise
        Shape (n_bins,), standard deviation of a gap's noise.
    share
        Shape (n_bins,), of the samples; sums to 1.

    Returns
    -------
    Shape (n_sets,), at least 0.
    """
    size = np.maximum((share * (gap**2 - noise**2)).sum(axis=1, keepdims=True), 0.0)
    whole = size + noise**2
    # Certain forecasts that came true have neither distance nor noise.
    kept = np.divide(size, whole, where=whole > 0, out=np.zeros_like(whole))
    spread = np.sqrt(kept) * noise
    distance = _folded_mean(kept * gap, spread)
    repeated = _folded_mean(kept * gap, np.sqrt(spread**2 + noise**2))
    plain = (share * np.abs(gap)).sum(axis=1)
    error: FloatArray = np.clip(plain - (share * (repeated - distance)).sum(axis=1), 0.0, plain)
    return error


def _folded_mean(mean: FloatArray, deviation: FloatArray) -> FloatArray:
    """Return the mean of |N(mean, deviation^2)|."""
    from scipy.special import ndtr

    safe = np.maximum(deviation, 1e-120)
    ratio = mean / safe
    folded: FloatArray = safe * math.sqrt(2.0 / math.pi) * np.exp(-0.5 * ratio**2) + mean * (1.0 - 2.0 * ndtr(-ratio))
    return folded


def _bin_noise(residual: FloatArray, count: NDArray[np.float64], forecast: FloatArray, horizon_bars: int) -> FloatArray:
    """Return the standard deviation of each bin's mean residual, overlapping labels counted as what they are.

    Labels `k < horizon_bars` apart share a part of their path, so products of residuals up to that lag add to the
    variance. It is never taken to be below that of independent outcomes.
    """
    variance = (residual**2).sum(axis=0)
    for lag in range(1, min(horizon_bars, len(residual))):
        variance += 2.0 * (residual[lag:] * residual[:-lag]).sum(axis=0)
    least = forecast * (1.0 - forecast) * count
    noise: FloatArray = np.sqrt(np.maximum(variance, least)) / count
    return noise
