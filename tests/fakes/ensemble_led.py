"""An ensemble version that may act, what the ensemble says of bars, and the orders in which that can arrive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from tests.fakes.models import START_MS, passed_gates
from tests.fakes.trading import COSTS, RISK, SERIES, STEP_MS

from kalibre.core.bars import Bars
from kalibre.core.events import BarClosed, Event, Kill, encode_payload, new_event
from kalibre.core.hub_events import EnsembleForecast
from kalibre.features.engine import FeatureEngine, FeatureSpec
from kalibre.models.ensemble_version import EnsembleVersion
from kalibre.trading.engine import Simulation, simulate
from kalibre.trading.policy import Policy

HORIZON = 4
MADE_OF = ("champion", "online")
Words = Mapping[int, Event]
"""What the ensemble says, by the close of the bar."""


def led_version(**changes: Any) -> EnsembleVersion:
    """Return the ensemble of the fakes' series as it was judged: every gate lets it act."""
    options: dict[str, Any] = {
        "symbol": "BTCUSDT",
        "timeframe": "15m",
        "horizon_bars": HORIZON,
        "entry_threshold": 0.6,
        "exit_threshold": 0.5,
        "forecasters": MADE_OF,
        "costs": COSTS,
        "risk": RISK,
        "created_at_ms": START_MS,
        "calibration": {"ece_calibrated": 0.012, "ece_band": [0.002, 0.02]},
        "metrics": {"auc": 0.61, "sharpe": 1.9},
        "gates": passed_gates(),
    }
    return EnsembleVersion(**{**options, **changes})


def word(close_ms: int, p_up: float | None, *, revision: int = 0, **changes: Any) -> Event:
    """Return what the ensemble says of a bar; without a probability, that it is not calibrated yet."""
    options: dict[str, Any] = {
        "horizon_bars": HORIZON,
        "score": p_up,
        "p_up": p_up,
        "weights": {"online": 0.7, "base rate": 0.3},
        "silent": {"champion": "the ensemble is champion: its own forecast stands"},
        "abstained": None if p_up is not None else "not calibrated yet",
    }
    said = EnsembleForecast(**{**options, **changes})
    return new_event(f"{SERIES}|ensemble", close_ms, said, revision=revision)


def probabilities(n: int, *, seed: int = 5) -> np.ndarray[Any, Any]:
    """Return probabilities that get in and out often; the first ones are not known."""
    p_up = np.random.default_rng(seed).uniform(0.3, 0.8, n)
    p_up[:30] = np.nan
    return p_up


def words_of(events: Iterable[Event], *, seed: int = 5) -> dict[int, Event]:
    """Return a word on every bar among events, by its close."""
    rng = np.random.default_rng(seed)
    opens = sorted({event.event_time for event in events if isinstance(event.payload, BarClosed)})
    said = [None if rng.random() < 0.1 else float(rng.uniform(0.3, 0.8)) for _ in opens]
    return {time + STEP_MS: word(time + STEP_MS, p_up) for time, p_up in zip(opens, said, strict=True)}


def in_step(inputs: Sequence[Event], words: Words) -> list[Event]:
    """Return the log of an ensemble that speaks of each new bar at once."""
    return delayed(inputs, words, lambda: 0)


def delayed(inputs: Sequence[Event], words: Words, wait: Callable[[], int], *, at_kill: int = 10**9) -> list[Event]:
    """Return the log of an ensemble that speaks late: in the order of time, and after it has been heard of the bar.

    Parameters
    ----------
    wait
        Says how many of the inputs come before it says its next word.
    at_kill
        So many bars at most wait when a command engages the kill switch: the words on older ones come before it.
    """
    log: list[Event] = []
    due: list[tuple[int, Event]] = []
    newest, last = -1, 0
    for number, event in enumerate(inputs):
        if isinstance(event.payload, Kill) and event.payload.engaged:
            while len(due) > at_kill:
                log.append(due.pop(0)[1])
        log.append(event)
        if isinstance(event.payload, BarClosed) and event.event_time > newest:
            newest = event.event_time
            last = max(last, number + wait())
            due.append((last, words[newest + STEP_MS]))
        while due and due[0][0] <= number:
            log.append(due.pop(0)[1])
    return log + [said for _, said in due]


def told(events: Iterable[Event]) -> list[tuple[Any, ...]]:
    """Return what was said, as it is stored."""
    return [(*event.identity, encode_payload(event.payload)) for event in events]


def simulated(version: EnsembleVersion, bars: Bars, p_up: Any) -> Simulation:
    """Carry a policy over bars by a column of probabilities, as a backtest does."""
    volatility = FeatureEngine(FeatureSpec(bars.timeframe, columns=("realised_volatility_20",))).batch(bars)[:, 0]
    policy = Policy(version.entry_threshold, version.exit_threshold)
    return simulate(bars, p_up, volatility, policy, COSTS, RISK, horizon_bars=version.horizon_bars)
