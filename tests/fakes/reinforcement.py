"""Markets for the reinforcement learner, and its oracle: the same arithmetic in plain Python, written from the papers.

The oracle shares no code with the learner: dictionaries by what a person calls a state, probabilities of tabular
Q-learning spelt out, no kernels.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from kalibre.core.bars import Bar
from kalibre.core.learning import Moment, Sample, Seat
from kalibre.learners.reinforcement import Reinforcement

STEP_MS = 900_000
HORIZON = 3
NAMES = (
    "rsi_14",
    "macd_relative_12_26",
    "macd_histogram_relative_12_26_9",
    "sma_distance_96",
    "realised_volatility_20",
    "realised_volatility_96",
)


def seat(*, fee: float = 5e-4, seed: int = 7, columns: Sequence[str] = NAMES) -> Seat:
    return Seat(symbol="X", timeframe="15m", horizon_bars=HORIZON, columns=tuple(columns), fee=fee, seed=seed)


def moment(
    t: int, row: Iterable[float], *, opened: float = 100.0, close: float = 100.0, follows: bool = True
) -> Moment:
    """Return the close of bar `t`; its row is read-only as the host's are."""
    bar = Bar(
        open_time=t * STEP_MS, open=opened, high=max(opened, close), low=min(opened, close), close=close, volume=1
    )
    numbers = np.array(list(row), dtype=np.float64)
    numbers.flags.writeable = False
    return Moment((t + 1) * STEP_MS, bar, numbers, follows)


def moments(n: int, *, seed: int = 0, unknown: float = 0.0, holes: float = 0.0) -> list[Moment]:
    """Return closes of a made-up market whose rows jump about, some of them unknown, some after a hole."""
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(2e-3 * rng.standard_normal(n)))
    opened = np.concatenate([[100.0], close[:-1]]) * np.exp(5e-4 * rng.standard_normal(n))
    volatility = np.exp(rng.uniform(-7.0, -6.0, (n, 2)))
    rows = np.column_stack(
        [
            rng.uniform(0.0, 100.0, n),
            1e-3 * rng.standard_normal(n),
            1e-3 * rng.standard_normal(n),
            volatility[:, 1] * math.sqrt(96.0) * rng.normal(0.0, 0.5, n),
            volatility,
        ]
    )
    for t in np.flatnonzero(rng.uniform(size=n) < unknown):
        rows[t, rng.integers(6)] = rng.choice([np.nan, np.inf, -np.inf])
    missing = rng.uniform(size=n) < holes
    times = np.cumsum(1 + 2 * missing)
    return [
        moment(int(times[t]), rows[t], opened=float(opened[t]), close=float(close[t]), follows=t > 0 and not missing[t])
        for t in range(n)
    ]


def run(learner: Any, told: Sequence[Moment], *, first: int = 0) -> list[float | None]:
    """Show bars from `first` on, as the host does: what has matured is learnt from before the next forecast."""
    said: list[float | None] = []
    for t in range(first, len(told)):
        if t >= HORIZON:
            learner.learn_one(matured(told, t - HORIZON))
        said.append(learner.predict_proba_one(told[t]))
    return said


def matured(told: Sequence[Moment], t: int) -> Sample:
    moved = math.log(told[t + HORIZON].bar.close / told[t].bar.close)
    return Sample(told[t], None, None, moved > 0, moved)


def copied(learner: Reinforcement) -> dict[str, Any]:
    return {name: np.array(value) for name, value in learner.state().items()}


def mark(value: float, marks: Sequence[float]) -> dict[float, float]:
    """Return the marks that a value stands between, each with its share."""
    if value <= marks[0]:
        return {marks[0]: 1.0}
    if value >= marks[-1]:
        return {marks[-1]: 1.0}
    above = next(k for k, one in enumerate(marks) if value < one)
    low, high = marks[above - 1], marks[above]
    share = (value - low) / (high - low)
    return {low: 1.0 - share, high: share} if share > 0 else {low: 1.0}


State = tuple[float, bool, bool, float, bool]


class Oracle:
    """The learner, spelt out: states are (RSI mark, MACD above 0, rising, trend mark, wild)."""

    def __init__(self, terms: Any, random: Any) -> None:
        self.terms, self.random = terms, random
        self.q: dict[Any, float] = defaultdict(float)
        self.n: dict[Any, float] = defaultdict(float)
        self.trend_q: dict[Any, float] = defaultdict(float)
        self.trend_n: dict[Any, float] = defaultdict(float)
        self.decided: dict[Any, int] = defaultdict(int)
        self.outcomes: dict[State, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self.rose, self.told = 0, 0
        self.held = self.wants = 0
        self.before: tuple[dict[State, float], float, float, int] | None = None
        self.last: Moment | None = None
        self.error = self.earned = math.nan

    @staticmethod
    def states(row: Any) -> dict[State, float] | None:
        rsi, macd, histogram, distance, now, usual = (float(x) for x in row)
        if not all(map(math.isfinite, (rsi, macd, histogram, distance, now, usual))) or usual <= 0:
            return None
        trend = mark(distance / (usual * math.sqrt(96)), (-0.6, -0.3, 0.0, 0.3, 0.6))
        return {
            (r, macd > 0, histogram > 0, t, now > usual): a * b
            for r, a in mark(rsi, (30.0, 50.0, 70.0)).items()
            for t, b in trend.items()
        }

    def worth(self, states: dict[State, float], held: int, goes: int) -> float:
        total = 0.0
        for state, share in states.items():
            n = self.n[state, held, goes]
            trust = n / (n + self.terms.pooling)
            total += share * (trust * self.q[state, held, goes] + (1 - trust) * self.trend_q[state[3], held, goes])
        return total

    def rate(self, n: float) -> float:
        return 1.0 if n <= 1 else max(self.terms.rate_floor, 1 / n**self.terms.rate_power)

    def reward(self, held: int, goes: int, prices: tuple[float, float, float], usual: float) -> float:
        decided, opened, closed = prices
        ratio = (opened / decided if held else 1.0) * (closed / opened if goes else 1.0)
        units = max(-5.0, min(5.0, math.log(ratio) / usual))
        if goes and not held:
            cost = math.log(1 + self.terms.fee)
        elif held and not goes:
            cost = -math.log(1 - self.terms.fee)
        else:
            cost = 0.0
        return units - cost / usual - self.terms.aversion * min(units, 0.0) ** 2

    def best(self, states: dict[State, float], held: int) -> int:
        other = 1 - held
        variance = 0.0
        for state, share in states.items():
            n = self.n[state, held, other]
            trust = n / (n + self.terms.pooling)
            of_trend = self.rate(self.trend_n[state[3], held, other])
            variance += share * (trust**2 * self.rate(n) + (1 - trust) ** 2 * of_trend) / 2
        gain = self.worth(states, held, other) - self.worth(states, held, held)
        return other if gain > self.terms.proof * math.sqrt(variance) else held

    def predict_proba_one(self, now: Moment) -> float | None:
        states = self.states(now.row)
        follows = now.follows and self.last is not None and now.close_ms - self.last.close_ms == STEP_MS
        if self.last is not None:
            goes = self.wants
            if goes and not self.held and not follows:
                goes = 0
            if self.before is not None and states is not None and follows:
                self._learn(states, (self.last.bar.close, now.bar.open, now.bar.close), goes)
            self.held = goes
        self.last, self.wants, self.before = now, self.held, None
        if states is None:
            return None
        most = max(states.values())
        nearest = next(state for state, share in states.items() if share == most)
        epsilon = self.terms.curiosity / (self.terms.curiosity + self.decided[nearest, self.held])
        self.decided[nearest, self.held] += 1
        chance = self.random(now.close_ms)
        if chance < epsilon:
            self.wants = 1 if chance < epsilon / 2 else 0
        else:
            self.wants = self.best(states, self.held)
        self.before = states, float(now.row[5]), now.bar.close, self.held
        return self._score(states)

    def _learn(self, now: dict[State, float], prices: tuple[float, float, float], went: int) -> None:
        assert self.before is not None
        states, usual, _, _ = self.before
        ahead = [max(self.worth(now, held, goes) for goes in (0, 1)) for held in (0, 1)]
        said = self.worth(states, self.held, went)
        for held in (0, 1):
            for goes in (0, 1):
                done = (held, goes) == (self.held, went)
                if not done and not self.terms.hindsight:
                    continue
                earned = self.reward(held, goes, prices, usual)
                target = earned + self.terms.discount * ahead[goes]
                if done:
                    self.earned, self.error = earned, target - said
                for state, share in states.items():
                    for q, n, key in ((self.q, self.n, state), (self.trend_q, self.trend_n, state[3])):
                        n[key, held, goes] += share
                        q[key, held, goes] += share * self.rate(n[key, held, goes]) * (target - q[key, held, goes])

    def _score(self, states: dict[State, float]) -> float:
        base = (self.rose + 1) / (self.told + 2)
        odds = math.log(base / (1 - base)) + self.terms.tilt * (self.worth(states, 1, 1) - self.worth(states, 0, 0))
        prior = 1 / (1 + math.exp(-odds))
        total = 0.0
        for state, share in states.items():
            n, up = self.outcomes[state]
            total += share * (up + self.terms.strength * prior) / (n + self.terms.strength)
        return total

    def learn_one(self, sample: Sample) -> None:
        states = self.states(sample.moment.row)
        if states is None:
            return
        for state, share in states.items():
            self.outcomes[state][0] += share
            self.outcomes[state][1] += share * sample.went_up
        self.told += 1
        self.rose += sample.went_up
