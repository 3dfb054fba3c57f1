"""Trend: averages, their crossings, directional movement, and where a line through the closes points."""

# ruff: noqa: N803  (F and I, the two state arrays, keep the names they have in the generated step)

from __future__ import annotations

from kalibre.features.base import Column, Family, Plan, Value
from kalibre.features.kernels import (
    Array,
    efficiency_ratio,
    ema,
    fading_ratio,
    lag,
    phase,
    sma,
    true_range,
    wilder,
    window_sum,
)

_PERCENT = (0.0, 100.0)
SAR_BLOCK = 256
"""Bars after which a parabolic SAR starts over; see `parabolic_sar_step`."""


def weighted_sum_step(F: Array, I: Array, f: int, i: int, x: float, n: int, k: int) -> float:  # noqa: E741
    """Return the sum of the last `n` values, weighted 1 (oldest) to `n` (newest).

    Two sums in blocks as `window_sum_step`: of the values, and of the values times their place in the block. A window
    that reaches from place k + 1 of the block before to place k of this one weighs a value at place j with j - k there
    and with n - k + j here.
    """
    a = f
    b = f + n + 2
    head = F[a] + x
    placed = F[b] + k * x
    total = (F[b + 2 + k] - k * F[a + 2 + k]) + (placed + (n - k) * head)
    F[a + 1 + k] = x
    if k == n - 1:
        tail = 0.0
        tail_placed = 0.0
        for j in range(n - 1, -1, -1):
            value = F[a + 1 + j]
            tail += value
            tail_placed += j * value
            F[a + 1 + j] = tail
            F[b + 1 + j] = tail_placed
        head = 0.0
        placed = 0.0
    F[a] = head
    F[b] = placed
    return total  # type: ignore[no-any-return]


def bars_since_extreme_step(F: Array, I: Array, f: int, i: int, x: float, n: int, k: int) -> int:  # noqa: E741
    """Return how many bars ago the greatest of the last `n` values was, the latest one of equals.

    Values in blocks as `window_max_step`; beside each stands the place in its block where it was reached.
    """
    if k == 0 or x >= F[f]:
        F[f] = x
        I[i] = k
    age = k - I[i]
    if k < n - 1 and F[f + 2 + k] > F[f]:
        age = k + n - I[i + 2 + k]
    F[f + 1 + k] = x
    if k == n - 1:
        best = x
        place = n - 1
        for j in range(n - 1, -1, -1):
            if F[f + 1 + j] > best:
                best = F[f + 1 + j]
                place = j
            F[f + 1 + j] = best
            I[i + 1 + j] = place
    return age  # type: ignore[no-any-return]


def parabolic_sar_step(  # noqa: PLR0915  (two mirrored branches, read best side by side)
    F: Array,
    I: Array,  # noqa: E741
    f: int,
    i: int,
    high: float,
    low: float,
    close_time: int,
    bar_ms: int,
    block: int,
) -> float:
    """Return Wilder's parabolic stop-and-reverse (step 0.02, at most 0.2).

    As Wilder wrote it, the SAR of today depends on every bar since the first: two histories meet only once they happen
    to reverse on the same bar. They do so within some dozens of bars, but nothing bounds it. So two SARs run here, each
    starts over at every second boundary of `block` bars on the clock, and the one that has run for a whole block is
    shown: it depends on at most two blocks of bars, and equals Wilder's wherever the two have met by then.

    State of each: `F` sar, extreme, acceleration; `I` long. Shared: `F` high and low before, `I` block and which.
    """
    now = close_time // bar_ms // block
    restart = -1
    if I[i + 3] == 0 or now != I[i]:
        I[i] = now
        I[i + 1] = 1 - I[i + 1]
        I[i + 3] = 1
        restart = I[i + 1]
    shown = 0.0
    for s in range(2):
        a = f + 2 + 3 * s
        if s == restart:
            I[i + 4 + s] = 1
            F[a] = low
            F[a + 1] = high
            F[a + 2] = 0.02
            continue
        sar = F[a]
        extreme = F[a + 1]
        acceleration = F[a + 2]
        out = sar
        if I[i + 4 + s] == 1:
            if low <= sar:
                I[i + 4 + s] = 0
                sar = max(extreme, F[f], high)
                out = sar
                acceleration = 0.02
                extreme = low
                sar = max(sar + acceleration * (extreme - sar), F[f], high)
            else:
                if high > extreme:
                    extreme = high
                    acceleration = min(acceleration + 0.02, 0.2)
                sar = min(sar + acceleration * (extreme - sar), F[f + 1], low)
        elif high >= sar:
            I[i + 4 + s] = 1
            sar = min(extreme, F[f + 1], low)
            out = sar
            acceleration = 0.02
            extreme = high
            sar = min(sar + acceleration * (extreme - sar), F[f + 1], low)
        else:
            if low < extreme:
                extreme = low
                acceleration = min(acceleration + 0.02, 0.2)
            sar = max(sar + acceleration * (extreme - sar), F[f], high)
        F[a] = sar
        F[a + 1] = extreme
        F[a + 2] = acceleration
        if s != I[i + 1]:
            shown = out
    F[f] = high
    F[f + 1] = low
    return shown


def _wma(plan: Plan, window: int) -> Value:
    return _weighted_sum(plan, window) * (2.0 / (window * (window + 1.0)))


def _weighted_sum(plan: Plan, window: int) -> Value:
    return plan.call(
        weighted_sum_step, plan.close, window, phase(plan, window), floats=2 * window + 4, window=window - 1
    )[0]


def _slope(plan: Plan, window: int) -> Value:
    middle = window_sum(plan, plan.close, window) * ((window + 1.0) / 2.0)
    return (_weighted_sum(plan, window) - middle) * (12.0 / (window * (window * window - 1.0)))


def _macd(plan: Plan, fast: int, slow: int) -> Value:
    return ema(plan, plan.close, fast) - ema(plan, plan.close, slow)


def _signal(plan: Plan, fast: int, slow: int, signal: int) -> Value:
    return ema(plan, _macd(plan, fast, slow), signal)


def _movement(plan: Plan) -> tuple[Value, Value]:
    """Upward and downward movement of the bar: how far it reaches beyond the one before, on its farther side only."""
    up = plan.high - lag(plan, plan.high, 1)
    down = lag(plan, plan.low, 1) - plan.low
    first = plan.let("first")
    return (
        plan.let("{0} if {0} > {1} and {0} > 0.0 and not {2} else 0.0", up, down, first),
        plan.let("{1} if {1} > {0} and {1} > 0.0 and not {2} else 0.0", up, down, first),
    )


def _directional(plan: Plan, window: int, side: int) -> Value:
    """Average upward (0) or downward (1) movement in percent of the average true range."""
    spread = true_range(plan)
    share = fading_ratio(plan, plan.let("100.0"), wilder(plan, spread, window), spread, window)
    return wilder(plan, _movement(plan)[side], window) * share


def _adx(plan: Plan, window: int) -> Value:
    up, down = _movement(plan)
    plus, minus = wilder(plan, up, window), wilder(plan, down, window)
    one_sided = fading_ratio(plan, plan.let("abs({})", plus - minus), plus + minus, up + down, window)
    return wilder(plan, 100.0 * one_sided, window)


def _aroon(plan: Plan, window: int, x: Value) -> Value:
    n = window + 1
    since = plan.call(bars_since_extreme_step, x, n, phase(plan, n), floats=n + 2, ints=n + 2, window=window)[0]
    return (100.0 / window) * (float(window) - since)


def _sar(plan: Plan) -> Value:
    bar = (plan.high, plan.low, plan.close_time, plan.bar_ms)
    return plan.call(parabolic_sar_step, *bar, SAR_BLOCK, floats=8, ints=6, window=2 * SAR_BLOCK)[0]


FAMILY = Family(
    doc="Averages, directional movement and slopes.",
    columns=(
        Column(
            "sma_{window}",
            "Mean of the close.",
            lambda plan, window: sma(plan, plan.close, window),
            ((10,), (20,), (50,)),
            level=True,
            talib="SMA",
        ),
        Column(
            "sma_distance_{window}",
            "Close over its mean, less 1.",
            lambda plan, window: plan.close / sma(plan, plan.close, window) - 1.0,
            ((10,), (20,), (50,)),
            higher=True,
        ),
        Column(
            "ema_{window}",
            "Exponential mean of the close.",
            lambda plan, window: ema(plan, plan.close, window),
            ((12,), (26,), (50,)),
            level=True,
            talib="EMA",
        ),
        Column(
            "ema_distance_{window}",
            "Close over its exponential mean, less 1.",
            lambda plan, window: plan.close / ema(plan, plan.close, window) - 1.0,
            ((12,), (26,), (50,)),
        ),
        Column(
            "wma_{window}",
            "Mean of the close, weighted from 1 (oldest) up.",
            _wma,
            ((20,),),
            level=True,
            talib="WMA",
        ),
        Column(
            "wma_distance_{window}",
            "Close over its weighted mean, less 1.",
            lambda plan, window: plan.close / _wma(plan, window) - 1.0,
            ((20,),),
            higher=True,
        ),
        Column(
            "macd_{fast}_{slow}",
            "Fast less slow exponential mean, quote currency.",
            _macd,
            ((12, 26),),
            level=True,
            talib="MACD",
        ),
        Column(
            "macd_signal_{fast}_{slow}_{signal}",
            "Exponential mean of the MACD, quote currency.",
            _signal,
            ((12, 26, 9),),
            level=True,
            talib="MACD",
        ),
        Column(
            "macd_histogram_{fast}_{slow}_{signal}",
            "MACD less its signal, quote currency.",
            lambda plan, fast, slow, signal: _macd(plan, fast, slow) - _signal(plan, fast, slow, signal),
            ((12, 26, 9),),
            level=True,
            talib="MACD",
        ),
        Column(
            "macd_relative_{fast}_{slow}",
            "MACD over the close.",
            lambda plan, fast, slow: _macd(plan, fast, slow) / plan.close,
            ((12, 26),),
        ),
        Column(
            "macd_signal_relative_{fast}_{slow}_{signal}",
            "Signal of the MACD over the close.",
            lambda plan, fast, slow, signal: _signal(plan, fast, slow, signal) / plan.close,
            ((12, 26, 9),),
        ),
        Column(
            "macd_histogram_relative_{fast}_{slow}_{signal}",
            "MACD less its signal, over the close.",
            lambda plan, fast, slow, signal: (_macd(plan, fast, slow) - _signal(plan, fast, slow, signal)) / plan.close,
            ((12, 26, 9),),
        ),
        Column(
            "adx_{window}",
            "Average directional index: how one-sided movement is (Wilder 1978).",
            _adx,
            ((14,),),
            bounds=_PERCENT,
            talib="ADX",
        ),
        Column(
            "plus_di_{window}",
            "Upward movement in percent of the true range.",
            lambda plan, window: _directional(plan, window, 0),
            ((14,),),
            bounds=_PERCENT,
            talib="PLUS_DI",
        ),
        Column(
            "minus_di_{window}",
            "Downward movement in percent of the true range.",
            lambda plan, window: _directional(plan, window, 1),
            ((14,),),
            bounds=_PERCENT,
            talib="MINUS_DI",
        ),
        Column(
            "aroon_up_{window}",
            "How lately the highest high was: 100 now, 0 a window ago.",
            lambda plan, window: _aroon(plan, window, plan.high),
            ((14,),),
            bounds=_PERCENT,
            higher=True,
            talib="AROON",
        ),
        Column(
            "aroon_down_{window}",
            "How lately the lowest low was: 100 now, 0 a window ago.",
            lambda plan, window: _aroon(plan, window, -plan.low),
            ((14,),),
            bounds=_PERCENT,
            higher=True,
            talib="AROON",
        ),
        Column("sar", "Parabolic stop and reverse, quote currency (Wilder 1978).", _sar, level=True, talib="SAR"),
        Column("sar_distance", "Close over the parabolic SAR, less 1.", lambda plan: plan.close / _sar(plan) - 1.0),
        Column(
            "slope_{window}",
            "Slope of the least-squares line through the closes, quote currency per bar.",
            _slope,
            ((20,),),
            level=True,
            talib="LINEARREG_SLOPE",
        ),
        Column(
            "slope_relative_{window}",
            "Slope of the least-squares line through the closes, over the close, per bar.",
            lambda plan, window: _slope(plan, window) / plan.close,
            ((20,), (50,)),
            higher=True,
        ),
        Column(
            "efficiency_{window}",
            "Distance travelled over the length of the path, 0 to 1 (Kaufman 1995).",
            lambda plan, window: efficiency_ratio(plan, plan.close, window),
            ((20,),),
            bounds=(0.0, 1.0),
            higher=True,
            talib="ER",
        ),
    ),
)
