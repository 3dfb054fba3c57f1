"""Volatility: how far prices move, by range, by return, and by the channels drawn from them."""

# ruff: noqa: N803  (F and I, the two state arrays, keep the names they have in the generated step)

from __future__ import annotations

import math

from kalibre.features.base import Column, Family, Plan, Value
from kalibre.features.kernels import (
    Array,
    ema,
    fading_ratio,
    log_return,
    logarithm,
    previous_close,
    ratio,
    root,
    sma,
    true_range,
    typical_price,
    wilder,
    window_lead,
    window_max,
    window_min,
    window_sum,
    window_variance,
)

_KELTNER_WIDTH = 2.0
_BOLLINGER_WIDTH = 2.0


def _atr(plan: Plan, window: int) -> Value:
    return wilder(plan, true_range(plan), window)


def _deviation(plan: Plan, window: int) -> Value:
    return root(plan, window_variance(plan, plan.close, window))


def _bollinger(plan: Plan, window: int, sides: float) -> Value:
    return sma(plan, plan.close, window) + (sides * _BOLLINGER_WIDTH) * _deviation(plan, window)


def _bollinger_position(plan: Plan, window: int) -> Value:
    lead = window_lead(plan, plan.close, window)
    return 0.5 + ratio(plan, lead, (2.0 * _BOLLINGER_WIDTH) * _deviation(plan, window))


def _keltner(plan: Plan, window: int, sides: float) -> Value:
    middle = ema(plan, typical_price(plan), window)
    return middle + (sides * _KELTNER_WIDTH) * _atr(plan, max(window // 2, 1))


def lead_step(F: Array, I: Array, f: int, i: int, change: float, inside: float, alpha: float) -> float:  # noqa: E741
    """Return by how much the close leads the exponential average of the typical price.

    Carried on as a difference, from the change of the close and its place in the bar: it fades with the bars, where two
    prices of nearly the same size would leave their rounding.
    """
    lead = (1.0 - alpha) * (F[f] + change) + alpha * inside
    F[f] = lead
    return lead  # type: ignore[no-any-return]


def _keltner_position(plan: Plan, window: int) -> Value:
    alpha = 2.0 / (window + 1.0)
    change = plan.close - previous_close(plan)
    inside = ((plan.close - plan.high) + (plan.close - plan.low)) * (1.0 / 3.0)
    lead = plan.call(lead_step, change, inside, alpha, floats=1, decays=(1.0 - alpha,))[0]
    n = max(window // 2, 1)
    width = (2.0 * _KELTNER_WIDTH) * wilder(plan, true_range(plan), n)
    return 0.5 + fading_ratio(plan, lead, width, true_range(plan), n)


def _donchian_position(plan: Plan, window: int) -> Value:
    low = window_min(plan, plan.low, window)
    return ratio(plan, plan.close - low, window_max(plan, plan.high, window) - low, 0.5)


def _donchian_width(plan: Plan, window: int) -> Value:
    return (window_max(plan, plan.high, window) - window_min(plan, plan.low, window)) / plan.close


def _squared_range(plan: Plan) -> Value:
    spread = logarithm(plan, plan.high / plan.low)
    return spread * spread


def _parkinson(plan: Plan, window: int) -> Value:
    return root(plan, window_sum(plan, _squared_range(plan), window) * (1.0 / (4.0 * math.log(2.0) * window)))


def _garman_klass(plan: Plan, window: int) -> Value:
    body = logarithm(plan, plan.close / plan.open)
    variance = 0.5 * _squared_range(plan) - (2.0 * math.log(2.0) - 1.0) * (body * body)
    return root(plan, window_sum(plan, variance, window) * (1.0 / window))


def _realised(plan: Plan, window: int) -> Value:
    return root(plan, window_variance(plan, log_return(plan), window) * (window / (window - 1.0)))


FAMILY = Family(
    doc="Ranges, deviations and channels.",
    columns=(
        Column("true_range", "Wilder's true range, quote currency.", true_range, level=True, talib="TRANGE"),
        Column("atr_{window}", "Average true range, quote currency.", _atr, ((14,),), level=True, talib="ATR"),
        Column(
            "natr_{window}",
            "Average true range in percent of the close.",
            lambda plan, window: 100.0 * (_atr(plan, window) / plan.close),
            ((14,),),
            talib="NATR",
        ),
        Column(
            "range_relative",
            "True range over the close.",
            lambda plan: true_range(plan) / plan.close,
            higher=True,
        ),
        Column(
            "stddev_{window}",
            "Population standard deviation of the close, quote currency.",
            _deviation,
            ((20,),),
            level=True,
            talib="STDDEV",
        ),
        Column(
            "bollinger_upper_{window}",
            "Mean of the close plus two deviations.",
            lambda plan, window: _bollinger(plan, window, 1.0),
            ((20,),),
            level=True,
            talib="BBANDS",
        ),
        Column(
            "bollinger_lower_{window}",
            "Mean of the close less two deviations.",
            lambda plan, window: _bollinger(plan, window, -1.0),
            ((20,),),
            level=True,
            talib="BBANDS",
        ),
        Column(
            "bollinger_position_{window}",
            "Place of the close between the Bollinger bands: 0 lower, 1 upper; 0.5 where they meet.",
            _bollinger_position,
            ((20,),),
            higher=True,
        ),
        Column(
            "bollinger_width_{window}",
            "Distance of the Bollinger bands over their middle.",
            lambda plan, window: (2.0 * _BOLLINGER_WIDTH) * _deviation(plan, window) / sma(plan, plan.close, window),
            ((20,),),
            higher=True,
        ),
        Column(
            "keltner_upper_{window}",
            "Exponential mean of the typical price plus two average true ranges of half the window.",
            lambda plan, window: _keltner(plan, window, 1.0),
            ((20,),),
            level=True,
            talib="KC",
        ),
        Column(
            "keltner_lower_{window}",
            "Exponential mean of the typical price less two average true ranges of half the window.",
            lambda plan, window: _keltner(plan, window, -1.0),
            ((20,),),
            level=True,
            talib="KC",
        ),
        Column(
            "keltner_position_{window}",
            "Place of the close within the Keltner channel: 0 lower, 1 upper; 0.5 where they meet.",
            _keltner_position,
            ((20,),),
        ),
        Column(
            "donchian_upper_{window}",
            "Highest high.",
            lambda plan, window: window_max(plan, plan.high, window),
            ((20,),),
            level=True,
            talib="MAX",
        ),
        Column(
            "donchian_lower_{window}",
            "Lowest low.",
            lambda plan, window: window_min(plan, plan.low, window),
            ((20,),),
            level=True,
            talib="MIN",
        ),
        Column(
            "donchian_position_{window}",
            "Place of the close between lowest low and highest high; 0.5 where they are one.",
            _donchian_position,
            ((20,), (50,)),
            bounds=(0.0, 1.0),
            higher=True,
        ),
        Column(
            "donchian_width_{window}",
            "Highest high less lowest low, over the close.",
            _donchian_width,
            ((20,),),
            higher=True,
        ),
        Column(
            "parkinson_{window}",
            "Volatility from high and low, log return per bar (Parkinson 1980).",
            _parkinson,
            ((20,),),
            higher=True,
        ),
        Column(
            "garman_klass_{window}",
            "Volatility from open, high, low and close, log return per bar (Garman and Klass 1980).",
            _garman_klass,
            ((20,),),
        ),
        Column(
            "realised_volatility_{window}",
            "Sample standard deviation of log returns, per bar.",
            _realised,
            ((10,), (20,), (96,)),
            higher=True,
        ),
    ),
)
