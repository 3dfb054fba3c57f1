"""Significance of a Sharpe ratio: probabilistic and deflated, and the probability of backtest overfitting."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import EvaluationError
from kalibre.core.protocols import FloatArray

_NORMAL: Final = NormalDist()
_EULER_MASCHERONI: Final = 0.5772156649015329
_CHUNK: Final = 256

LEAST_TRADES: Final = 50
"""Closed trades below which a deflated Sharpe ratio says nothing.

Its error is worked out from the skewness and kurtosis of the returns, and those of a few trades among thousands of idle
bars are what the luck of these trades makes them: one winning bar in 8,000 has a DSR of 0.977. Of worthless strategies
that trade one bar at a time this many reach 0.95 (nominal 5 %; normal returns, Student's t with 3 degrees of freedom,
rare losses): 49, 49 and 64 % with 1 trade, 11, 12 and 17 % with 10, 6, 8 and 9 % with 30, 6, 7 and 7 % with 50.
"""


@dataclass(frozen=True)
class Moments:
    """What the distribution of a Sharpe ratio depends on.

    Parameters
    ----------
    sharpe
        Mean over standard deviation of the returns, per period, not annualised.
    skewness, kurtosis
        Of the returns; 0 and 3 for normal ones.
    n_returns
        Number of periods.
    """

    sharpe: float
    skewness: float
    kurtosis: float
    n_returns: int

    @classmethod
    def of(cls, returns: FloatArray) -> Moments | None:
        """Measure returns; None if they do not vary, as those of a strategy that never traded.

        Raises
        ------
        EvaluationError
            If there are fewer than 2 or one is not finite.
        """
        _check_returns(returns)
        scaled = _scaled(returns)
        centred = scaled - scaled.mean()
        variance = float(np.mean(centred**2))
        if not _varies(variance):
            return None
        return cls(
            sharpe=sharpe_ratio(returns),
            skewness=float(np.mean(centred**3)) / variance**1.5,
            kurtosis=float(np.mean(centred**4)) / variance**2,
            n_returns=len(returns),
        )

    def variance_factor(self, sharpe: float) -> float:
        """Return what `n - 1` times the variance of an estimated Sharpe ratio is, at a Sharpe ratio."""
        return 1.0 - self.skewness * sharpe + (self.kurtosis - 1.0) / 4.0 * sharpe**2


def sharpe_ratio(returns: FloatArray, *, periods_per_year: float = 1.0) -> float:
    """Return mean over standard deviation of the returns, annualised by the square root of the periods in a year.

    Parameters
    ----------
    returns
        Shape (n_returns,), per period, after costs.
    periods_per_year
        As the market's calendar has them; 1 leaves the ratio per period.

    Returns
    -------
    The ratio; 0.0 for returns that do not vary, as those of a strategy that never traded.

    Raises
    ------
    EvaluationError
        If there are fewer than 2 returns or one is not finite.

    Examples
    --------
    >>> round(sharpe_ratio(np.array([0.01, -0.005, 0.01]), periods_per_year=252), 3)
    9.165
    """
    _check_returns(returns)
    scaled = _scaled(returns)
    deviation = float(scaled.std(ddof=1))
    if not _varies(deviation**2):
        return 0.0
    return float(scaled.mean()) / deviation * math.sqrt(periods_per_year)


def probabilistic_sharpe_ratio(moments: Moments, *, benchmark: float = 0.0) -> float:
    """Return the probability that the true Sharpe ratio is above a benchmark.

    Parameters
    ----------
    moments
        Of the returns.
    benchmark
        Sharpe ratio per period.

    References
    ----------
    Bailey & Lopez de Prado (2012), The Sharpe Ratio Efficient Frontier, Journal of Risk 15(2), 3-44.

    Examples
    --------
    >>> round(probabilistic_sharpe_ratio(Moments(sharpe=0.1, skewness=0.0, kurtosis=3.0, n_returns=401)), 4)
    0.977
    """
    spread = math.sqrt(max(moments.variance_factor(moments.sharpe), 0.0))
    if spread == 0.0:
        return float(moments.sharpe > benchmark)
    return _NORMAL.cdf((moments.sharpe - benchmark) * math.sqrt(moments.n_returns - 1) / spread)


def expected_maximum_sharpe(n_trials: float, trial_sharpe_std: float) -> float:
    """Return the largest Sharpe ratio to be expected of trials that are all worth nothing.

    Parameters
    ----------
    n_trials
        Independent trials, at least 1; need not be whole.
    trial_sharpe_std
        Standard deviation of the trials' Sharpe ratios.

    Raises
    ------
    EvaluationError
        If there is less than one trial or the deviation is negative.

    References
    ----------
    Bailey & Lopez de Prado (2014), The Deflated Sharpe Ratio, Journal of Portfolio Management 40(5), 94-107, eq. 1.

    Examples
    --------
    >>> round(expected_maximum_sharpe(100, 1.0), 2)
    2.53
    """
    if not n_trials >= 1 or not trial_sharpe_std >= 0:
        raise EvaluationError(
            f"n_trials {n_trials!r} and trial_sharpe_std {trial_sharpe_std!r}: count at least the one trial that is "
            "judged, and pass no negative deviation"
        )
    if n_trials == 1:
        return 0.0
    largest = (1.0 - _EULER_MASCHERONI) * _NORMAL.inv_cdf(1.0 - 1.0 / n_trials)
    largest += _EULER_MASCHERONI * _NORMAL.inv_cdf(1.0 - 1.0 / (n_trials * math.e))
    return max(largest, 0.0) * trial_sharpe_std


def deflated_sharpe_ratio(
    returns: FloatArray, *, n_trials: float, trial_sharpe_std: float, n_trades: int | None = None
) -> float:
    """Return the probability that the true Sharpe ratio is above what luck would give the best of all trials.

    Parameters
    ----------
    returns
        Shape (n_returns,), per period, after costs, out of sample.
    n_trials
        Effective number of independent trials, this one included; see `kalibre.evaluation.trials`.
    trial_sharpe_std
        Standard deviation of all trials' Sharpe ratios, per period as the returns.
    n_trades
        Closed trades that the returns come from; None where they are no trades' returns.

    Returns
    -------
    A probability; 0.0 for returns that do not vary: they prove nothing. NaN below `LEAST_TRADES` trades.

    Raises
    ------
    EvaluationError
        If the returns are fewer than 2 or not finite, or there is less than one trial.

    References
    ----------
    Bailey & Lopez de Prado (2014), The Deflated Sharpe Ratio, Journal of Portfolio Management 40(5), 94-107.

    Examples
    --------
    >>> returns = np.tile([0.02, -0.01], 200)
    >>> round(deflated_sharpe_ratio(returns, n_trials=1, trial_sharpe_std=0.0), 4)
    1.0
    """
    benchmark = expected_maximum_sharpe(n_trials, trial_sharpe_std)
    moments = Moments.of(returns)
    if moments is None:
        return 0.0
    if n_trades is not None and n_trades < LEAST_TRADES:
        return math.nan
    return probabilistic_sharpe_ratio(moments, benchmark=benchmark)


def smallest_passing_sharpe(
    returns: FloatArray, *, n_trials: float, trial_sharpe_std: float, confidence: float = 0.95
) -> float:
    """Return the smallest Sharpe ratio whose deflated ratio reaches a confidence, per period.

    Skewness, kurtosis and number of the returns are held as they are.

    Parameters
    ----------
    returns
        Shape (n_returns,), per period.
    n_trials, trial_sharpe_std
        As for `deflated_sharpe_ratio`.
    confidence
        Deflated Sharpe ratio to be reached, in [0.5, 1).

    Returns
    -------
    The ratio; infinity if no Sharpe ratio could pass on so few returns.

    Raises
    ------
    EvaluationError
        If the confidence is out of range, or as `deflated_sharpe_ratio`.
    """
    if not 0.5 <= confidence < 1:
        raise EvaluationError(f"confidence {confidence!r} is not in [0.5, 1): pass for example 0.95")
    benchmark = expected_maximum_sharpe(n_trials, trial_sharpe_std)
    moments = Moments.of(returns) or Moments(sharpe=0.0, skewness=0.0, kurtosis=3.0, n_returns=len(returns))
    # (x - benchmark)^2 (n - 1) = z^2 (1 - skewness x + (kurtosis - 1) / 4 x^2), solved for x >= benchmark.
    z2 = _NORMAL.inv_cdf(confidence) ** 2
    n = moments.n_returns - 1
    a = n - z2 * (moments.kurtosis - 1.0) / 4.0
    b = -2.0 * n * benchmark + z2 * moments.skewness
    c = n * benchmark**2 - z2
    if a <= 0:
        return math.inf
    return (-b + math.sqrt(max(b * b - 4.0 * a * c, 0.0))) / (2.0 * a)


def probability_of_backtest_overfitting(returns: FloatArray, *, blocks: int = 16) -> float:
    """Return how often the best strategy of one half of the time is no better than the median in the other half.

    Parameters
    ----------
    returns
        Shape (n_periods, n_trials), oldest first.
    blocks
        Consecutive blocks that the periods are cut into; even. Every half of the blocks is used once to choose and once
        to judge: 12,870 ways for 16.

    Returns
    -------
    A share: about 0.5 if choosing is no better than luck, near 0 if the chosen one stays good, near 1 if what won
    loses afterwards.

    Raises
    ------
    EvaluationError
        If there are fewer than 2 trials, fewer periods than two per block, `blocks` is odd or a return is not finite.

    References
    ----------
    Bailey, Borwein, Lopez de Prado & Zhu (2015), The Probability of Backtest Overfitting, Journal of Computational
    Finance 20(4), 39-69.
    """
    return float(np.mean(cscv_logits(returns, blocks=blocks) <= 0.0))


def cscv_logits(returns: FloatArray, *, blocks: int = 16) -> FloatArray:
    """Return the log-odds of the chosen strategy's relative rank out of sample, for every split of the blocks.

    See `probability_of_backtest_overfitting`, whose figure is the share of these that is not above 0.

    Returns
    -------
    Shape (n_splits,).
    """
    if returns.ndim != 2 or returns.shape[1] < 2 or not np.isfinite(returns).all():
        raise EvaluationError(
            f"returns of shape {returns.shape} cannot be compared: pass finite ones of shape (n_periods, n_trials) "
            "with at least 2 trials"
        )
    if blocks < 2 or blocks % 2 or returns.shape[0] < 2 * blocks:
        raise EvaluationError(
            f"{returns.shape[0]} periods cannot be cut into {blocks} blocks: pass an even number of blocks and at "
            f"least {2 * max(blocks, 2)} periods"
        )
    pieces = np.array_split(returns, blocks)
    size = np.array([len(piece) for piece in pieces], dtype=np.float64)
    total = np.stack([piece.sum(axis=0) for piece in pieces])
    square = np.stack([(piece**2).sum(axis=0) for piece in pieces])
    # The last half of all combinations are the complements of the first: each pair of halves is used both ways.
    chosen = np.array(list(combinations(range(blocks), blocks // 2)), dtype=np.int64)
    first = np.zeros((len(chosen) // 2, blocks))
    np.put_along_axis(first, chosen[: len(first)], 1.0, axis=1)
    logits = []
    for start in range(0, len(first), _CHUNK):
        half = first[start : start + _CHUNK]
        one = _sharpe(half, size, total, square)
        other = _sharpe(1.0 - half, size, total, square)
        logits += [_rank_logit(one, other), _rank_logit(other, one)]
    return np.concatenate(logits)


def _sharpe(half: FloatArray, size: FloatArray, total: FloatArray, square: FloatArray) -> FloatArray:
    """Return each trial's Sharpe ratio on each half, shape (n_halves, n_trials); 0 where returns do not vary."""
    n = (half @ size)[:, None]
    mean = (half @ total) / n
    variance = (half @ square) / n - mean**2
    varies = variance > 1e-14 * (mean**2 + variance)
    sharpe: FloatArray = np.divide(mean, np.sqrt(variance, where=varies, out=np.ones_like(variance)))
    return np.where(varies, sharpe, 0.0)


def _rank_logit(inside: FloatArray, outside: FloatArray) -> FloatArray:
    best: NDArray[np.int64] = inside.argmax(axis=1)
    reached = np.take_along_axis(outside, best[:, None], axis=1)
    # Ties share their mean rank; ranks run from 1 to n.
    rank = (outside < reached).sum(axis=1) + ((outside == reached).sum(axis=1) + 1.0) / 2.0
    share = rank / (outside.shape[1] + 1.0)
    logit: FloatArray = np.log(share / (1.0 - share))
    return logit


def _check_returns(returns: FloatArray) -> None:
    if returns.ndim != 1 or len(returns) < 2:
        raise EvaluationError(f"returns of shape {returns.shape} have no spread: pass at least 2 in one dimension")
    if not np.isfinite(returns).all():
        i = int(np.flatnonzero(~np.isfinite(returns))[0])
        raise EvaluationError(f"return {i} is {returns[i]}: only finite returns can be judged; look at the bars there")


def _scaled(returns: FloatArray) -> FloatArray:
    """Scale returns by a power of two to at most 1: no rounding changes, and no power of them is lost or overflows."""
    _, exponent = math.frexp(float(np.max(np.abs(returns))))
    scaled: FloatArray = np.ldexp(returns, -exponent)
    return scaled


def _varies(variance: float) -> bool:
    """Say whether the variance of scaled returns is more than rounding leaves of equal ones."""
    return variance > 1e-24
