"""The planted market of `benchmarks.reinforcement`, the random walk, and the policies that are carried over them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy.signal import lfilter

from kalibre.core.bars import Bars
from kalibre.core.learning import Moment, Sample, Seat
from kalibre.features.engine import FeatureEngine, FeatureSpec
from kalibre.learners.reinforcement import MarketEnv, Reinforcement

FEE = 5e-4
SIGMA, HALF_LIFE_BARS, WANDER, DRIFT = 4e-3, 24.0, 0.1, 1e-5
"""Per bar: deviation of the shocks; half-life of the gap; the level's shocks as a share of SIGMA; its drift."""
WARM, TRAIN, TEST = 700, 20_000, 15_000
"""Bars before the features are known; the most that is learnt from; the later stretch."""
START_MS, STEP_MS = 1_704_067_200_000, 900_000


@dataclass(frozen=True)
class Market:
    """A simulated market: its bars, their features, and the hidden gap between price and level (0: none)."""

    bars: Bars
    rows: Any
    gap: Any

    def stretch(self, first: int, n: int) -> tuple[Any, Any, Any]:
        """Return opens, closes and rows of so many bars."""
        part = slice(first, first + n)
        return self.bars.open[part], self.bars.close[part], self.rows[part]


@cache
def engine() -> FeatureEngine:
    """Return the features of the learner."""
    return FeatureEngine(FeatureSpec("15m", columns=Reinforcement.columns or ()))


def market(kind: str, seed: int, n: int = WARM + TRAIN + TEST) -> Market:
    """Return a planted (`reverting`) market or a random `walk`."""
    rng = np.random.default_rng([seed, {"reverting": 1, "walk": 2}[kind]])
    shocks, level = SIGMA * rng.standard_normal(n), WANDER * SIGMA * rng.standard_normal(n)
    if kind == "reverting":
        gap = lfilter([1.0], [1.0, -(0.5 ** (1.0 / HALF_LIFE_BARS))], shocks)
        log_price = gap + np.cumsum(level) + DRIFT * np.arange(n)
    else:
        gap, log_price = np.zeros(n), np.cumsum(shocks)
    close = 30_000.0 * np.exp(log_price)
    opened = np.concatenate([[30_000.0], close[:-1]])
    # The extremes of a Brownian bridge between open and close.
    moved = np.log(close / opened)
    up, down = -np.log(rng.uniform(1e-12, 1.0, (2, n)))
    high = opened * np.exp(0.5 * (moved + np.sqrt(moved**2 + 2.0 * SIGMA**2 * up)))
    low = opened * np.exp(0.5 * (moved - np.sqrt(moved**2 + 2.0 * SIGMA**2 * down)))
    high, low = np.maximum(high, np.maximum(opened, close)), np.minimum(low, np.minimum(opened, close))
    open_time = START_MS + STEP_MS * np.arange(n, dtype=np.int64)
    bars = Bars("PLANTED", "15m", open_time, opened, high, low, close, np.full(n, 100.0))
    return Market(bars, engine().batch(bars), gap)


@dataclass(frozen=True)
class Run:
    """What a policy did on a stretch: growth a bar, shape (n_bars,), after costs; what it held; its fills."""

    growth: Any
    held: Any
    trades: int

    @property
    def mean_bp(self) -> float:
        """Growth a bar in basis points."""
        return 1e4 * float(self.growth.mean())


def carry(env: MarketEnv, decide: Callable[[int, int], int]) -> Run:
    """Carry a policy over an episode; `decide(row, held)` returns an action."""
    _, info = env.reset()
    growth, held, ended = [], [], False
    while not ended:
        _, _, _, ended, info = env.step(decide(info["row"], info["held"]))
        growth.append(info["growth"])
        held.append(info["held"])
    position = np.array(held)
    return Run(np.array(growth), position, int(np.abs(np.diff(position, prepend=0)).sum()))


def seated(seed: int, *, hindsight: bool = True) -> Reinforcement:
    """Return a learner that knows nothing."""
    seat = Seat(
        symbol="PLANTED", timeframe="15m", horizon_bars=4, columns=Reinforcement.columns or (), fee=FEE, seed=seed
    )
    return Reinforcement(seat, hindsight=hindsight)


def moments(given: Market, n: int) -> list[Moment]:
    """Return the closes of so many bars after the warm-up, as the host shows them."""
    told, rows = given.bars[WARM : WARM + n], given.rows[WARM : WARM + n]
    return [
        Moment(close_ms, bar, row, True)
        for close_ms, bar, row in zip(told.close_time.tolist(), told, rows, strict=True)
    ]


def taught(given: Market, steps: int, seed: int, *, hindsight: bool = True) -> tuple[Reinforcement, float]:
    """Return a learner that has gone so many steps after the warm-up, through its own API, and its CPU-seconds."""
    learner = seated(seed, hindsight=hindsight)
    told = moments(given, steps + 1)  # a step lies between two bars
    began = time.process_time()
    for moment in told:
        learner.predict_proba_one(moment)
    return learner, time.process_time() - began


def bar_cost_us(given: Market) -> float:
    """Return the CPU time of a bar: a sample that matured and a forecast; the median of five thousands of bars."""
    learner, told, spent = seated(0), moments(given, 5_000), []
    for first in range(0, 5_000, 1_000):
        began = time.process_time()
        for t in range(first, first + 1_000):
            if t >= 4:
                learner.learn_one(Sample(told[t - 4], 0.5, 0.5, t % 2 == 0, 0.0))
            learner.predict_proba_one(told[t])
        spent.append((time.process_time() - began) / 1_000)
    return 1e6 * float(np.median(spent))


def judged(learner: Reinforcement, given: Market) -> Run:
    """Carry the learner's frozen greedy policy over the later stretch."""
    opened, close, rows = given.stretch(WARM + TRAIN, TEST)
    return carry(MarketEnv(opened, close, rows, fee=FEE), lambda row, held: learner.action(rows[row], long=held == 1))


def oracle_thresholds() -> tuple[float, float, float]:
    """Return the gaps at which who sees the gap buys and sells at best, and the edge of that in bp a bar.

    Chosen on a history of its own, of a million bars.
    """
    n = 1_000_000
    rng = np.random.default_rng(4_711)
    gap = lfilter([1.0], [1.0, -(0.5 ** (1.0 / HALF_LIFE_BARS))], SIGMA * rng.standard_normal(n))
    moved = np.diff(gap + np.cumsum(WANDER * SIGMA * rng.standard_normal(n)) + DRIFT * np.arange(n))
    best = (-math.inf, 0.0, 0.0)
    for buy in np.arange(-4.0, 0.1, 0.5) * SIGMA:
        for sell in np.arange(0.0, 4.1, 0.5) * SIGMA:
            held = banded(gap, buy, sell)[:-1]
            paid = FEE * np.abs(np.diff(held)).sum()
            best = max(best, (1e4 * (float(held @ moved) - paid) / (n - 1), buy, sell))
    return best[1], best[2], best[0]


def banded(gap: Any, buy: float, sell: float) -> Any:
    """Return what is held: long from where the gap is at most `buy` until it is at least `sell`."""
    signal = np.where(gap <= buy, 1, np.where(gap >= sell, 0, -1))
    last = np.maximum.accumulate(np.where(signal >= 0, np.arange(len(gap)), -1))
    return np.where(last >= 0, signal[last], 0)


def dummies(given: Market, seed: int, model: Run, thresholds: tuple[float, float]) -> dict[str, Run]:
    """Return oracle, buy and hold, a coin at every bar, and a trader as busy and as long invested who knows nothing."""
    opened, close, rows = given.stretch(WARM + TRAIN, TEST)
    env = MarketEnv(opened, close, rows, fee=FEE)
    wanted = banded(given.gap[WARM + TRAIN :], *thresholds).tolist()
    rng = np.random.default_rng([seed, 3])
    coin, draws = rng.integers(0, 3, TEST).tolist(), rng.uniform(size=TEST).tolist()
    half, days_long = model.trades / 2.0, max(float(model.held.sum()), 1.0)
    enters, leaves = half / max(TEST - days_long, 1.0), half / days_long
    return {
        "oracle, sees the gap": carry(env, lambda row, held: 1 if wanted[row] else 2),
        "buy and hold": carry(env, lambda row, held: 1),
        "random, any action": carry(env, lambda row, held: coin[row]),
        "random, as busy": carry(
            env, lambda row, held: (2 if draws[row] < leaves else 0) if held else int(draws[row] < enters)
        ),
    }
