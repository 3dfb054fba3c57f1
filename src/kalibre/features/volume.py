"""Volume: who trades how much, and on which side of the price."""

# ruff: noqa: N803  (F and I, the two state arrays, keep the names they have in the generated step)

from __future__ import annotations

from kalibre.features.base import Column, Family, Plan, Value
from kalibre.features.kernels import (
    Array,
    lag,
    previous_close,
    ratio,
    root,
    sma,
    typical_price,
    window_lead,
    window_sum,
    window_variance,
)

_SHARE = (-1.0, 1.0)
_TIE = 1e-14


def lagging_gap_step(F: Array, I: Array, f: int, i: int, increment: float, alpha: float) -> float:  # noqa: E741
    """Return by how much the exponential average of a running total lags behind the total itself.

    The total (the accumulation/distribution line) depends on where it began; its average less itself does not.
    """
    gap = (1.0 - alpha) * (F[f] - increment)
    F[f] = gap
    return gap  # type: ignore[no-any-return]


def _signed_volume(plan: Plan) -> Value:
    before = previous_close(plan)
    return plan.let("{2} if {0} > {1} else (-{2} if {0} < {1} else 0.0)", plan.close, before, plan.volume)


def _accumulation(plan: Plan) -> Value:
    inside = (plan.close - plan.low) - (plan.high - plan.close)
    return ratio(plan, inside, plan.high - plan.low) * plan.volume


def _share_of_volume(plan: Plan, flow: Value, window: int) -> Value:
    return ratio(plan, window_sum(plan, flow, window), window_sum(plan, plan.volume, window))


def _chaikin_oscillator(plan: Plan, fast: int, slow: int) -> Value:
    gaps = []
    for n in (fast, slow):
        alpha = 2.0 / (n + 1.0)
        gaps.append(plan.call(lagging_gap_step, _accumulation(plan), alpha, floats=1, decays=(1.0 - alpha,))[0])
    return gaps[0] - gaps[1]


def _money_flow(plan: Plan, window: int) -> Value:
    price = typical_price(plan)
    before = lag(plan, price, 1)
    flow = price * plan.volume
    # Prices are decimals: two equal means may differ in the last bit of their sums, and are still equal (as in TA-Lib).
    up = window_sum(plan, plan.let("{2} if {0} - {1} > {3} * {0} else 0.0", price, before, flow, _TIE), window)
    down = window_sum(plan, plan.let("{2} if {1} - {0} > {3} * {0} else 0.0", price, before, flow, _TIE), window)
    return 100.0 * ratio(plan, up, up + down)


def _vwap(plan: Plan, window: int) -> Value:
    traded = window_sum(plan, typical_price(plan) * plan.volume, window)
    total = window_sum(plan, plan.volume, window)
    return plan.let("{} / {} if {} > 0.0 else {}", traded, total, total, plan.close)


def _volume_z(plan: Plan, window: int) -> Value:
    spread = root(plan, window_variance(plan, plan.volume, window))
    return ratio(plan, window_lead(plan, plan.volume, window), spread)


def _taker_imbalance(plan: Plan, window: int) -> Value:
    bought = window_sum(plan, plan.taker_buy_volume, window)
    total = window_sum(plan, plan.volume, window)
    # Nobody traded: no side has the upper hand. Nobody knows: NaN, which the sum has kept.
    return plan.let("2.0 * {0} / {1} - 1.0 if {1} > 0.0 else {0} * 0.0", bought, total)


FAMILY = Family(
    doc="Who trades how much, and on which side of the price.",
    columns=(
        Column(
            "obv_change",
            "Change of the on-balance volume: the volume, signed by the close's change.",
            _signed_volume,
            level=True,
            talib="OBV",
        ),
        Column(
            "obv_flow_{window}",
            "Change of the on-balance volume over the volume traded.",
            lambda plan, window: _share_of_volume(plan, _signed_volume(plan), window),
            ((10,), (20,)),
            bounds=_SHARE,
            higher=True,
        ),
        Column(
            "ad_change",
            "Change of the accumulation/distribution line: the volume, weighed by the close's place in the range.",
            _accumulation,
            level=True,
            talib="AD",
        ),
        Column(
            "chaikin_oscillator_{fast}_{slow}",
            "Fast less slow exponential mean of the accumulation/distribution line, base currency.",
            _chaikin_oscillator,
            ((3, 10),),
            level=True,
            talib="ADOSC",
        ),
        Column(
            "chaikin_relative_{fast}_{slow}",
            "Chaikin oscillator over the mean volume of the slow window.",
            lambda plan, fast, slow: ratio(plan, _chaikin_oscillator(plan, fast, slow), sma(plan, plan.volume, slow)),
            ((3, 10),),
        ),
        Column(
            "mfi_{window}",
            "Money flow index: traded value on rising typical prices in percent of both sides.",
            _money_flow,
            ((14,),),
            bounds=(0.0, 100.0),
            higher=True,
            talib="MFI",
        ),
        Column(
            "cmf_{window}",
            "Chaikin money flow: change of the accumulation/distribution line over the volume traded.",
            lambda plan, window: _share_of_volume(plan, _accumulation(plan), window),
            ((20,),),
            bounds=_SHARE,
            higher=True,
            talib="CMF",
        ),
        Column(
            "vwap_{window}",
            "Mean typical price weighted by volume, quote currency; the close where nothing traded.",
            _vwap,
            ((20,),),
            level=True,
        ),
        Column(
            "vwap_distance_{window}",
            "Close over the volume-weighted mean price, less 1.",
            lambda plan, window: plan.close / _vwap(plan, window) - 1.0,
            ((20,), (96,)),
            higher=True,
        ),
        Column(
            "volume_z_{window}",
            "Volume less its mean, in population standard deviations; 0 where volume does not vary.",
            _volume_z,
            ((20,), (96,)),
            higher=True,
        ),
        Column(
            "volume_ratio_{window}",
            "Volume over its mean; 1 where nothing traded.",
            lambda plan, window: ratio(plan, plan.volume, sma(plan, plan.volume, window), 1.0),
            ((20,),),
        ),
        Column(
            "taker_imbalance_{window}",
            "Taker buy less taker sell volume over both, -1 to 1; NaN where the market does not tell taker volume.",
            _taker_imbalance,
            ((1,), (20,)),
            bounds=_SHARE,
            higher=True,
            least=1,
        ),
    ),
)
