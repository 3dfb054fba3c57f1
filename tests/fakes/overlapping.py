"""A market whose forecasts are known to be perfect, and whose labels overlap as real ones do."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.special import ndtr

FloatArray = NDArray[np.float64]

_WARMUP = 200


def perfect_forecasts(
    n_samples: int, *, horizon_bars: int, edge: float, persistence: float = 0.9, seed: int
) -> tuple[FloatArray, FloatArray]:
    """Return the true probability of up at each bar, and what happened.

    The drift of the next bar is `edge` times a hidden AR(1) state and its noise normal: the probability that the sum
    of the next `horizon_bars` returns is above 0 has a closed form. Neighbouring labels share all but one bar.
    """
    rng = np.random.default_rng(seed)
    n_bars = n_samples + horizon_bars + _WARMUP
    state = lfilter([1.0], [1.0, -persistence], rng.standard_normal(n_bars) * math.sqrt(1 - persistence**2))
    returns = rng.standard_normal(n_bars)
    returns[1:] += edge * state[:-1]
    price = np.cumsum(returns)
    t = np.arange(_WARMUP, _WARMUP + n_samples)
    y = (price[t + horizon_bars] > price[t]).astype(np.float64)
    mean = edge * state[t] * sum(persistence**k for k in range(horizon_bars))
    later = [sum(persistence ** (k - i) for k in range(i, horizon_bars)) for i in range(1, horizon_bars)]
    variance = horizon_bars + (edge**2) * (1 - persistence**2) * sum(weight**2 for weight in later)
    return ndtr(mean / math.sqrt(variance)), y


def over_confident(p: FloatArray, factor: float) -> FloatArray:
    """Return forecasts whose log-odds are `factor` times as large as they should be."""
    odds = np.log(p) - np.log1p(-p)
    return 1.0 / (1.0 + np.exp(-factor * odds))
