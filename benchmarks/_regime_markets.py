"""Planted markets of three states, and the filter that knows everything about them but the states.

A bar is a Brownian path with the drift and volatility of its state; its high and low are those of the whole path. The
filter knows transitions, drifts and volatilities, sees open, high, low and close, and uses their exact joint density:
no filter that sees bars only can be right more often.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from kalibre.core.bars import Bar
from kalibre.core.learning import Moment

_TICKS, _TERMS = 24, 8
_MINUTE = 60_000


class Market(NamedTuple):
    """What a market is made of: drift and volatility of a bar, by state, calm and rising first."""

    name: str
    moves: Any
    drift: Any
    volatility: Any


class Bars(NamedTuple):
    """Log high, low and close of each bar over its open, and the state behind it."""

    high: Any
    low: Any
    close: Any
    state: Any


def _moves(*stay: float) -> Any:
    moves = np.array([[(1.0 - p) / 2.0] * 3 for p in stay])
    np.fill_diagonal(moves, stay)
    return moves


def _market(name: str, moves: Any, lean: Any, volatility: Any) -> Market:
    size = np.array(volatility) * 1e-3
    return Market(name, moves, np.array(lean) * size, size)


MARKETS = (
    _market("volatility 1:2:4, 50 bars", _moves(0.98, 0.98, 0.98), (0.05, 0.0, -0.05), (1.0, 2.0, 4.0)),
    _market("volatility 1:1.5:2.25, 50 bars", _moves(0.98, 0.98, 0.98), (0.05, 0.0, -0.05), (1.0, 1.5, 2.25)),
    _market("volatility 1:2:4, 10 bars", _moves(0.9, 0.9, 0.9), (0.05, 0.0, -0.05), (1.0, 2.0, 4.0)),
    _market("drift +0.3:-0.3, one storm", _moves(0.99, 0.99, 0.99), (0.3, -0.3, 0.0), (1.0, 1.0, 2.5)),
    _market("rare storm that falls", _moves(0.99, 0.97, 0.94), (0.2, 0.0, -0.2), (1.0, 1.6, 3.0)),
)
"""Drifts are in units of a bar's volatility; bars are how long a state lasts on average."""


def planted(market: Market, n: int, seed: int) -> Bars:
    """Return bars of a market."""
    rng = np.random.default_rng(seed)
    reached, drawn = market.moves.cumsum(axis=1), rng.random(n)
    state = np.zeros(n, dtype=np.int64)
    for t in range(1, n):
        state[t] = min(int(np.searchsorted(reached[state[t - 1]], drawn[t])), 2)
    part = market.volatility[state][:, None] / np.sqrt(_TICKS)
    ticks = rng.normal(size=(n, _TICKS)) * part + market.drift[state][:, None] / _TICKS
    path = np.hstack([np.zeros((n, 1)), ticks.cumsum(axis=1)])
    # Between two ticks the path is a Brownian bridge, whose highest and lowest points have a known law.
    ends, moved = path[:, :-1] + path[:, 1:], path[:, :-1] - path[:, 1:]
    over, under = (np.sqrt(moved**2 - 2.0 * part**2 * np.log(rng.random((n, _TICKS)))) for _ in range(2))
    return Bars(((ends + over) / 2.0).max(axis=1), ((ends - under) / 2.0).min(axis=1), path[:, -1], state)


def moments_of(bars: Bars) -> list[Moment]:
    """Return the bars as a learner meets them, with the log return as their only feature."""
    start = 100.0 * np.exp(bars.close.cumsum() - bars.close)
    rows = bars.close[:, None].copy()
    rows.flags.writeable = False
    prices = zip(start, start * np.exp(bars.high), start * np.exp(bars.low), start * np.exp(bars.close), strict=True)
    return [
        Moment(
            (t + 1) * _MINUTE,
            Bar(open_time=t * _MINUTE, open=a, high=max(b, a, d), low=min(c, a, d), close=d, volume=1.0),
            rows[t],
            t > 0,
        )
        for t, (a, b, c, d) in enumerate(np.array(list(prices)).tolist())
    ]


def log_densities(bars: Bars, market: Market) -> Any:
    """Return the exact log-density of high, low and close in each state, shape (n_bars, n_states).

    The joint density of a Brownian motion's extremes and end is the mixed derivative of the image series (Borodin and
    Salminen, 2002, 1.15.8); a drift tilts it by Girsanov's theorem.
    """
    found = np.empty((len(bars.close), 3))
    for k, (drift, size) in enumerate(zip(market.drift, market.volatility, strict=True)):
        high, low, close = bars.high / size, bars.low / size, bars.close / size
        density = np.zeros(len(close))
        for j in range(-_TERMS, _TERMS + 1):
            density += 4.0 * j * j * _bend(close - 2.0 * j * (high - low))
            density += 4.0 * j * (1.0 - j) * _bend(close - 2.0 * high + 2.0 * j * (high - low))
        tilt = drift * bars.close / size**2 - 0.5 * (drift / size) ** 2
        found[:, k] = np.log(np.maximum(density, 1e-14)) - 3.0 * np.log(size) + tilt
    return found


def _bend(x: Any) -> Any:
    """Return the second derivative of the normal density."""
    return (x * x - 1.0) * np.exp(-0.5 * x * x) / np.sqrt(2.0 * np.pi)


def knowing_filter(bars: Bars, market: Market) -> Any:
    """Return the likeliest state of each bar for who knows everything but the states."""
    said = log_densities(bars, market)
    likely = np.exp(said - said.max(axis=1, keepdims=True))
    belief, found = np.full(3, 1.0 / 3.0), np.empty(len(likely), dtype=np.int64)
    for t, row in enumerate(likely):
        belief = (belief @ market.moves) * row
        belief /= belief.sum()
        found[t] = belief.argmax()
    return found
