"""The agents of the panel: each one small function of a few features, with what it believes in words.

An agent returns the probability of up that its belief suggests, or None while its setup is not there: it sleeps then.
It is not asked at all where a feature that it reads is NaN. How far it is to be believed is learnt, not written here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

Vote = Callable[..., float | None]

_MOST = 3.0
"""A move counts as that many of its usual size at most."""


class Agent(NamedTuple):
    """A member of the panel.

    Attributes
    ----------
    name
        Its function's name.
    believes
        What it believes, for people.
    reads
        Columns that its function takes, in order.
    vote
        The function.
    """

    name: str
    believes: str
    reads: tuple[str, ...]
    vote: Vote


PANEL: list[Agent] = []
"""Every agent, in the order in which this file names them."""


def _agent(*reads: str, believes: str) -> Callable[[Vote], Vote]:
    """Enter a function into the panel."""

    def entered(function: Vote) -> Vote:
        PANEL.append(Agent(function.__name__, believes, reads, function))
        return function

    return entered


def _leaning(odds: float) -> float:
    """Return the probability of these log-odds."""
    return 1.0 / (1.0 + math.exp(-odds))


def _sizes(move: float, usual: float) -> float:
    """Return a move in units of its usual size, -3 to 3; 0 where nothing usually moves."""
    return min(max(move / usual, -_MOST), _MOST) if usual > 0.0 else 0.0


# --- who follows ------------------------------------------------------------------------------------------------------


@_agent("roc_20", "realised_volatility_96", believes="What has risen or fallen for 20 bars goes on.")
def momentum(change_percent: float, volatility: float) -> float | None:
    """Moskowitz, Ooi and Pedersen (2012), Journal of Financial Economics 104(2), 228-250."""
    size = _sizes(change_percent / 100.0, volatility * math.sqrt(20.0))
    return _leaning(0.1 * size) if abs(size) > 0.5 else None


@_agent("donchian_position_50", believes="A close at the edge of the last 50 bars' range breaks out of it.")
def breakout(place: float) -> float | None:
    """Donchian's channel; Brock, Lakonishok and LeBaron (1992), Journal of Finance 47(5), 1731-1764."""
    if 0.03 <= place <= 0.97:
        return None
    return _leaning(0.2 if place > 0.5 else -0.2)


@_agent(
    "macd_histogram_relative_12_26_9",
    "natr_14",
    believes="The short trend pulls away from the long one, and price goes with it.",
)
def macd(histogram: float, range_percent: float) -> float | None:
    """Appel (2005), Technical Analysis: Power Tools for Active Investors."""
    return _leaning(0.1 * _sizes(histogram, 0.2 * range_percent / 100.0))


@_agent("slope_relative_50", "realised_volatility_96", believes="The mean return of 50 bars, over its risk, goes on.")
def mean_variance(slope: float, volatility: float) -> float | None:
    """Markowitz (1952), Journal of Finance 7(1), 77-91: a position in proportion to mean over variance."""
    return _leaning(0.2 * _sizes(slope, 0.5 * volatility))


@_agent(
    "volume_z_20",
    "log_return_1",
    "realised_volatility_96",
    believes="A move on unusual volume is news, and goes on.",
)
def volume(volume_z: float, log_return: float, volatility: float) -> float | None:
    """Gervais, Kaniel and Mingelgrin (2001), Journal of Finance 56(3), 877-919."""
    return _leaning(0.1 * _sizes(log_return, volatility)) if volume_z > 1.5 else None


@_agent("adx_14", "plus_di_14", "minus_di_14", believes="Where movement is one-sided, the stronger side wins.")
def trend_strength(adx: float, up: float, down: float) -> float | None:
    """Wilder (1978), New Concepts in Technical Trading Systems: ADX above 25."""
    return _leaning(0.1 * _sizes(up - down, 20.0)) if adx > 25.0 else None


@_agent("efficiency_20", "roc_20", believes="A straight path is a trend; a crooked one says nothing.")
def efficiency(ratio: float, change_percent: float) -> float | None:
    """Kaufman (1995), Smarter Trading: the efficiency ratio."""
    if ratio <= 0.4:
        return None
    return _leaning(0.2 if change_percent > 0.0 else -0.2)


@_agent("cmf_20", believes="Closes near the high on volume are buyers at work.")
def money_flow(flow: float) -> float | None:
    """Chaikin's money flow, beyond its usual 0.1."""
    return _leaning(0.1 * _sizes(flow, 0.2)) if abs(flow) > 0.1 else None


@_agent("obv_flow_20", believes="Volume goes before price: the side it gathers on wins.")
def on_balance(flow: float) -> float | None:
    """Granville (1963), New Key to Stock Market Profits: on-balance volume."""
    if abs(flow) <= 0.2:
        return None
    return _leaning(0.2 if flow > 0.0 else -0.2)


@_agent("taker_imbalance_20", believes="Who takes orders from the book moves the price.")
def taker_flow(imbalance: float) -> float | None:
    """Cont, Kukanov and Stoikov (2014), Journal of Financial Econometrics 12(1), 47-88. Sleeps without taker volume."""
    return _leaning(0.1 * _sizes(imbalance, 0.1)) if abs(imbalance) > 0.05 else None


# --- who opposes ------------------------------------------------------------------------------------------------------


@_agent("log_return_1", "realised_volatility_96", believes="A bar larger than usual is partly taken back.")
def reversal(log_return: float, volatility: float) -> float | None:
    """Jegadeesh (1990), Journal of Finance 45(3), 881-898: short-run returns reverse."""
    size = _sizes(log_return, volatility)
    return _leaning(-0.1 * size) if abs(size) > 1.0 else None


@_agent("rsi_14", believes="Below 30 it is oversold and rises, above 70 overbought and falls.")
def rsi_reversion(rsi: float) -> float | None:
    """Wilder (1978), New Concepts in Technical Trading Systems."""
    return None if 30.0 <= rsi <= 70.0 else _leaning((50.0 - rsi) / 100.0)


@_agent("mfi_14", believes="Money that flows one way only has soon flown: below 20 up, above 80 down.")
def mfi_reversion(mfi: float) -> float | None:
    """Quong and Soudack (1989), Technical Analysis of Stocks and Commodities 7(3): the money flow index."""
    return None if 20.0 <= mfi <= 80.0 else _leaning((50.0 - mfi) / 100.0)


@_agent("bollinger_position_20", believes="A close outside its Bollinger bands comes back.")
def bollinger(place: float) -> float | None:
    """Bollinger (2001), Bollinger on Bollinger Bands."""
    if 0.0 <= place <= 1.0:
        return None
    return _leaning(-0.2 if place > 0.5 else 0.2)


@_agent(
    "stochastic_k_14", "stochastic_d_14", believes="At an extreme, the fast line crossing the slow one turns price."
)
def stochastic(k: float, d: float) -> float | None:
    """Lane (1984), Technical Analysis of Stocks and Commodities 2(3): the stochastic's signal."""
    if k < 20.0 and k > d:
        return _leaning(0.2)
    return _leaning(-0.2) if k > 80.0 and k < d else None


@_agent("vwap_distance_96", "realised_volatility_96", believes="Price comes back to what was paid on average.")
def vwap_reversion(distance: float, volatility: float) -> float | None:
    """Berkowitz, Logue and Noser (1988), Journal of Finance 43(1), 97-112: the volume-weighted price as fair price."""
    size = _sizes(distance, volatility * math.sqrt(48.0))
    return _leaning(-0.1 * size) if abs(size) > 1.0 else None


@_agent(
    "range_relative",
    "natr_14",
    "log_return_1",
    "realised_volatility_96",
    believes="A bar of twice the usual range is an overreaction.",
)
def shock(bar_range: float, range_percent: float, log_return: float, volatility: float) -> float | None:
    """De Bondt and Thaler (1985), Journal of Finance 40(3), 793-805."""
    return _leaning(-0.1 * _sizes(log_return, volatility)) if bar_range > range_percent / 50.0 else None
