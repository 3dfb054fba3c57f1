"""The projection that `make fault` tortures: an online logistic regression over bars that trades on paper.

Not a counter: its float state (weights, moving moments, a ring of closes, cash and quantity) depends on every bar in
order, so that one event lost, doubled or swapped changes the bits of everything after it. It learns only from matured
labels, obeys the kill switch, and leaves late and revised bars out of its learning as the paper engine does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from kalibre.core.events import Account, BarClosed, Event, Forecast, Kill, Order, Outcome, new_event

STEP_MS = 60_000
_LAGS = 4


class OnlineModel:
    """Forecasts, outcomes, orders and accounts of every series that it meets."""

    name = "online-model"
    version = "1"
    reads = frozenset({"bar", "kill", "tick"})

    def __init__(self, horizon_bars: int = 3, seed: int = 7) -> None:
        self._horizon = horizon_bars
        self._seed = seed
        self._killed = False
        self._late = 0
        self._now = 0
        self._series: dict[str, dict[str, Any]] = {}

    def apply(self, event: Event) -> Iterator[Event]:
        """Take one event in."""
        payload = event.payload
        if isinstance(payload, Kill):
            self._killed = payload.engaged
        elif isinstance(payload, BarClosed):
            yield from self._bar(event.key, event, payload)
        else:
            self._now = event.event_time

    def _bar(self, key: str, event: Event, bar: BarClosed) -> Iterator[Event]:
        own = self._series.setdefault(key, self._begin(key))
        if event.revision or event.event_time <= own["time"]:
            self._late += 1
            return
        own["time"] = event.event_time
        ring: np.ndarray[Any, Any] = own["ring"]
        role, close_time = f"{key}|shadow", event.event_time + STEP_MS
        change = math.log(bar.close / ring[-1]) if ring[-1] > 0 else 0.0
        own["variance"] += 0.05 * (change * change - own["variance"])
        ring[:-1] = ring[1:]
        ring[-1] = bar.close
        own["n"] += 1
        inputs: np.ndarray[Any, Any] = own["inputs"]
        p_then: np.ndarray[Any, Any] = own["p"]
        if own["n"] > self._horizon + 1:
            went_up = ring[-1] > ring[-1 - self._horizon]
            then, p_old = inputs[0], float(p_then[0])
            own["weights"] += 0.05 * ((1.0 if went_up else 0.0) - p_old) * then
            yield new_event(
                role,
                close_time - self._horizon * STEP_MS,
                Outcome(
                    model=self.name,
                    p_up=p_old,
                    went_up=bool(went_up),
                    log_return=math.log(ring[-1] / ring[-1 - self._horizon]),
                ),
            )
        scale = math.sqrt(own["variance"]) + 1e-9
        now = np.array([1.0, change / scale, math.tanh(bar.volume / 50.0 - 1.0), own["variance"] * 1e4])
        score = float(own["weights"] @ now)
        p_up = 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, score))))
        inputs[:-1], inputs[-1] = inputs[1:], now
        p_then[:-1], p_then[-1] = p_then[1:], p_up
        model = Forecast(
            model=self.name, role="shadow", horizon_bars=self._horizon, score=self._score(score, event), p_up=p_up
        )
        yield new_event(role, close_time, model)
        yield from self._trade(role, close_time, bar.close, p_up, own)

    def _score(self, score: float, event: Event) -> float:
        """Return what the forecast says of its score; planted bugs add what they must not know."""
        return score

    def _trade(self, role: str, time: int, close: float, p_up: float, own: dict[str, Any]) -> Iterator[Event]:
        wanted = 0.0 if self._killed or p_up < 0.5 else 1.0
        held = own["quantity"] > 0
        if wanted and not held:
            own["quantity"], own["cash"] = own["cash"] / close, 0.0
            yield new_event(
                role, time, Order(model=self.name, role="shadow", side="buy", fraction=1.0, reason=f"p_up {p_up!r}")
            )
        elif held and not wanted and not self._killed:
            own["cash"], own["quantity"] = own["quantity"] * close * 0.9995, 0.0
            yield new_event(
                role, time, Order(model=self.name, role="shadow", side="sell", fraction=1.0, reason=f"p_up {p_up!r}")
            )
        equity = own["cash"] + own["quantity"] * close
        yield new_event(role, time, Account(role="shadow", cash=own["cash"], quantity=own["quantity"], equity=equity))

    def _begin(self, key: str) -> dict[str, Any]:
        # Randomness comes from the seed and the key, never from a global generator.
        generator = np.random.default_rng([self._seed, *key.encode()])
        return {
            "weights": generator.normal(0.0, 0.1, _LAGS),
            "ring": np.zeros(self._horizon + 1),
            "inputs": np.zeros((self._horizon + 1, _LAGS)),
            "p": np.zeros(self._horizon + 1),
            "variance": 1e-6,
            "cash": 10_000.0,
            "quantity": 0.0,
            "time": -1,
            "n": 0,
        }

    def state(self) -> dict[str, Any]:
        """Return everything that later emissions depend on."""
        state: dict[str, Any] = {"killed": self._killed, "late": self._late, "now": self._now}
        for key, own in self._series.items():
            state |= {f"{key}/{name}": value for name, value in own.items()}
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take on a state."""
        self._killed, self._late, self._now = state["killed"], state["late"], state["now"]
        self._series = {}
        for name, value in state.items():
            key, slash, field = name.partition("/")
            if slash:
                self._series.setdefault(key, {})[field] = np.array(value) if isinstance(value, np.ndarray) else value


class ForgetfulModel(OnlineModel):
    """Planted bug: one number of the state is not in `state`."""

    def state(self) -> dict[str, Any]:
        """Return almost everything."""
        return {name: value for name, value in super().state().items() if not name.endswith("/variance")}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take on almost everything."""
        super().restore(state)
        for own in self._series.values():
            own.setdefault("variance", 1e-6)


class PositionModel(OnlineModel):
    """Planted bug: the position is an input."""

    def _score(self, score: float, event: Event) -> float:
        return score + 1e-9 * (event.seq % 1_000)


class ArrivalModel(OnlineModel):
    """Planted bug: the wall time of recording is an input."""

    def _score(self, score: float, event: Event) -> float:
        return score + 1e-9 * (event.recorded_at % 1_000)


class RandomModel(OnlineModel):
    """Planted bug: a generator that nobody seeded."""

    def _score(self, score: float, event: Event) -> float:
        return score + 1e-9 * float(np.random.random())  # noqa: NPY002 - the global generator is the bug


def make_state_of(n_bars: int) -> dict[str, Any]:
    """Return a real state: the model after so many bars."""
    model = OnlineModel()
    for i in range(n_bars):
        close = 100.0 + math.sin(i)
        bar = BarClosed(open_time=i * STEP_MS, open=close, high=close, low=close, close=close, volume=1.0 + i % 7)
        for _ in model.apply(new_event("AAA|1m", i * STEP_MS, bar)):
            pass
    return model.state()
