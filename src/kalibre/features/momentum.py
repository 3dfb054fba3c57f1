"""Momentum: oscillators of how fast and how one-sidedly the price moves."""

# ruff: noqa: N803  (F and I, the two state arrays, keep the names they have in the generated step)

from __future__ import annotations

from kalibre.features.base import Column, Family, Plan, Value
from kalibre.features.kernels import (
    Array,
    ema,
    fading_ratio,
    lag,
    logarithm,
    phase,
    previous_close,
    ratio,
    sma,
    stochastic,
    true_range,
    typical_price,
    wilder,
    window_max,
    window_min,
    window_sum,
)

_PERCENT = (0.0, 100.0)
_EQUAL = 1e-14
"""Share of a price within which two sums of the same prices may differ by rounding alone."""
_LEVEL_RSI = 1e-10
"""How far rounding moves an RSI while prices stand still; TA-Lib divides one such difference by another."""


def mean_deviation_step(F: Array, I: Array, f: int, i: int, x: float, n: int, k: int) -> tuple[float, float]:  # noqa: E741
    """Return by how much the newest of `n` values leads their mean, and their summed distance from it.

    Of distances from the newest value, so that a tick among equal prices is that tick and not the rounding of a mean;
    four sums, so that additions overlap.
    """
    F[f + k] = x
    a = 0.0
    b = 0.0
    c = 0.0
    d = 0.0
    j = 0
    while j + 4 <= n:
        a += F[f + j] - x
        b += F[f + j + 1] - x
        c += F[f + j + 2] - x
        d += F[f + j + 3] - x
        j += 4
    while j < n:
        a += F[f + j] - x
        j += 1
    mean = ((a + b) + (c + d)) / n
    a = 0.0
    b = 0.0
    c = 0.0
    d = 0.0
    j = 0
    while j + 4 <= n:
        a += abs((F[f + j] - x) - mean)
        b += abs((F[f + j + 1] - x) - mean)
        c += abs((F[f + j + 2] - x) - mean)
        d += abs((F[f + j + 3] - x) - mean)
        j += 4
    while j < n:
        a += abs((F[f + j] - x) - mean)
        j += 1
    return -mean, (a + b) + (c + d)


def _rsi(plan: Plan, window: int) -> Value:
    change = plan.close - previous_close(plan)
    gain = wilder(plan, plan.let("max({}, 0.0)", change), window)
    loss = wilder(plan, plan.let("max(-{}, 0.0)", change), window)
    return 100.0 * fading_ratio(plan, gain, gain + loss, change, window)


def _stochastic_k(plan: Plan, window: int) -> Value:
    return sma(plan, stochastic(plan, plan.close, plan.high, plan.low, window), 3)


def _stochastic_rsi_k(plan: Plan, window: int) -> Value:
    strength = _rsi(plan, window)
    return stochastic(plan, strength, strength, strength, window, _LEVEL_RSI)


def _cci(plan: Plan, window: int) -> Value:
    price = typical_price(plan)
    lead, spread = plan.call(
        mean_deviation_step, price, window, phase(plan, window), floats=window, outputs=2, window=window - 1
    )
    # Typical prices of equal bars may differ in the last bit: that distance over itself says nothing.
    return plan.let("{0} / (0.015 * {1}) if {1} > {2} * {3} else 0.0", lead, spread * (1.0 / window), _EQUAL, price)


def _williams(plan: Plan, window: int) -> Value:
    high = window_max(plan, plan.high, window)
    return -100.0 * ratio(plan, high - plan.close, high - window_min(plan, plan.low, window))


def _change(plan: Plan, window: int) -> Value:
    return plan.close - lag(plan, plan.close, window)


def _rate_of_change(plan: Plan, window: int) -> Value:
    return 100.0 * (plan.close / lag(plan, plan.close, window) - 1.0)


def _trix(plan: Plan, window: int) -> Value:
    smooth = ema(plan, ema(plan, ema(plan, plan.close, window), window), window)
    return 100.0 * (smooth / lag(plan, smooth, 1) - 1.0)


def _ultimate(plan: Plan, short: int, middle: int, long: int) -> Value:
    pressure = plan.close - plan.let("min({}, {})", plan.low, previous_close(plan))
    spread = true_range(plan)
    share = [ratio(plan, window_sum(plan, pressure, n), window_sum(plan, spread, n)) for n in (short, middle, long)]
    return (100.0 / 7.0) * (4.0 * share[0] + 2.0 * share[1] + share[2])


def _log_return(plan: Plan, window: int) -> Value:
    return logarithm(plan, plan.close / lag(plan, plan.close, window))


FAMILY = Family(
    doc="How fast and how one-sidedly the price moves.",
    columns=(
        Column(
            "log_return_{window}",
            "Logarithm of the close over the close so many bars ago.",
            _log_return,
            ((1,), (3,)),
            higher=True,
            least=1,
        ),
        Column("change_{window}", "Close less the close so many bars ago.", _change, ((10,),), level=True, talib="MOM"),
        Column(
            "roc_{window}",
            "Change of the close in percent.",
            _rate_of_change,
            ((5,), (10,), (20,)),
            higher=True,
            talib="ROC",
            least=1,
        ),
        Column(
            "rsi_{window}",
            "Relative strength: average gain in percent of average gain and loss (Wilder 1978).",
            _rsi,
            ((7,), (14,), (28,)),
            bounds=_PERCENT,
            talib="RSI",
        ),
        Column(
            "stochastic_k_{window}",
            "Slow stochastic %K: place of the close between low and high, mean of 3 bars.",
            _stochastic_k,
            ((14,),),
            bounds=_PERCENT,
            higher=True,
            talib="STOCH",
        ),
        Column(
            "stochastic_d_{window}",
            "Slow stochastic %D: mean of 3 bars of %K.",
            lambda plan, window: sma(plan, _stochastic_k(plan, window), 3),
            ((14,),),
            bounds=_PERCENT,
            talib="STOCH",
        ),
        Column(
            "stochastic_rsi_k_{window}",
            "Place of the RSI between its least and greatest value of as many bars.",
            _stochastic_rsi_k,
            ((14,),),
            bounds=_PERCENT,
            talib="STOCHRSI",
        ),
        Column(
            "stochastic_rsi_d_{window}",
            "Mean of 3 bars of the stochastic RSI.",
            lambda plan, window: sma(plan, _stochastic_rsi_k(plan, window), 3),
            ((14,),),
            bounds=_PERCENT,
            talib="STOCHRSI",
        ),
        Column(
            "cci_{window}",
            "Commodity channel index: typical price from its mean, in 0.015 mean deviations (Lambert 1980).",
            _cci,
            ((20,),),
            higher=True,
            talib="CCI",
        ),
        Column(
            "williams_r_{window}",
            "Williams %R: place of the close below the highest high, -100 to 0.",
            _williams,
            ((14,),),
            bounds=(-100.0, 0.0),
            higher=True,
            talib="WILLR",
        ),
        Column(
            "trix_{window}",
            "Change in percent of the close smoothed three times.",
            _trix,
            ((15,),),
            talib="TRIX",
        ),
        Column(
            "ultimate_{short}_{middle}_{long}",
            "Ultimate oscillator: buying pressure over three windows (Williams 1985).",
            _ultimate,
            ((7, 14, 28),),
            bounds=_PERCENT,
            higher=True,
            talib="ULTOSC",
        ),
    ),
)
