"""What forecasters write about one made-up market, stream by stream, and readers that take it in at any pace."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kalibre.core.events import Event, Forecast, Outcome, encode_payload, new_event
from kalibre.core.hub_events import Annotation, Bench
from kalibre.core.protocols import Projection
from kalibre.hub.ensemble import EnsembleProjection
from kalibre.hub.scorer import ScorerProjection

SYMBOL, TIMEFRAME = "X", "15m"
SERIES = f"{SYMBOL}|{TIMEFRAME}"
STEP_MS = 900_000
START_MS = 1_704_067_200_000
HORIZON = 4
Voice = Callable[[int], float | None]
"""What a forecaster says of a bar."""


def close_of(bar: int) -> int:
    """Return the close of a bar."""
    return START_MS + (bar + 1) * STEP_MS


@dataclass
class Market:
    """Bars of which each goes up with a probability of its own, known to this file alone."""

    n: int
    seed: int = 1
    edge: float = 0.8
    closes: Callable[[int], int] = close_of
    q: Any = field(init=False)
    up: Any = field(init=False)
    log_return: Any = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self.q = 1.0 / (1.0 + np.exp(-self.edge * rng.normal(size=self.n)))
        self.up = rng.random(self.n) < self.q
        self.log_return = np.where(self.up, 1.0, -1.0) * np.abs(rng.normal(0.0, 0.004, self.n))

    # --- voices -------------------------------------------------------------------------------------------------------

    def knowing(self, share: float = 1.0) -> Voice:
        """Return who knows a share of the log-odds."""
        odds = np.log(self.q / (1.0 - self.q))
        return lambda bar: float(1.0 / (1.0 + math.exp(-share * odds[bar])))

    def wrong(self, share: float = 1.0, until: int = 10**9) -> Voice:
        """Return who says the contrary, up to a bar; then the truth."""
        right, contrary = self.knowing(share), self.knowing(-share)
        return lambda bar: contrary(bar) if bar < until else right(bar)

    def shuffled(self, seed: int) -> Voice:
        """Return who says of each bar what is true of another."""
        order = np.random.default_rng(seed).permutation(self.n)
        right = self.knowing()
        return lambda bar: right(int(order[bar]))

    # --- streams ------------------------------------------------------------------------------------------------------

    def stream(
        self,
        name: str,
        voice: Voice,
        *,
        bars: range | None = None,
        horizon: int = HORIZON,
        label: str = "direction",
        late: Callable[[int], bool] = lambda bar: False,
        model: Callable[[int], str] = lambda bar: "m",
        tells: bool = True,
    ) -> list[Event]:
        """Return what a forecaster writes, bar by bar: first what became of the one whose horizon has passed."""
        key, found = f"{SERIES}|{name}", list[Event]()
        chosen = range(self.n) if bars is None else bars
        for bar in chosen:
            past = bar - horizon
            said = voice(past) if past >= chosen.start else None
            if said is not None and tells:
                outcome = Outcome(
                    model=model(past),
                    p_up=said,
                    went_up=bool(self.up[past]),
                    log_return=float(self.log_return[past]),
                    told_ms=self.closes(bar),
                )
                found.append(new_event(key, self.closes(past), outcome))
            p_up = voice(bar)
            forecast = Forecast(
                model=model(bar),
                role=name,
                horizon_bars=horizon,
                score=p_up,
                p_up=p_up,
                abstained=None if p_up is not None else "it sleeps",
                label=label,
                late=late(bar),
            )
            found.append(new_event(key, self.closes(bar), forecast))
        return found

    def regimes(self, label: Callable[[int], str]) -> list[Event]:
        """Return what the annotator of regimes writes."""
        return [
            new_event(f"{SERIES}|regime", self.closes(bar), Annotation(learner="regime", label=label(bar), values={}))
            for bar in range(self.n)
        ]


def bench(name: str, from_ms: int, *, benched: bool = True) -> Event:
    """Return that nobody waits for a forecaster from a bar on, or that it is waited for again."""
    return new_event(name, from_ms, Bench(benched=benched, by="a test", reason="its worker has stopped"))


# --- readers ----------------------------------------------------------------------------------------------------------


def ensemble_of(names: Sequence[str], horizon: int = HORIZON) -> EnsembleProjection:
    """Return an ensemble of these forecasters."""
    return EnsembleProjection([(SYMBOL, TIMEFRAME)], names, horizon_bars=horizon)


def scorer_of(names: Sequence[str], horizon: int = HORIZON, **changes: Any) -> ScorerProjection:
    """Return a scorer of these forecasters."""
    options: dict[str, Any] = {"horizon_bars": horizon, "fee": 0.0005}
    return ScorerProjection([(SYMBOL, TIMEFRAME)], names, **{**options, **changes})


Said = list[tuple[Any, ...]]


def told(events: Sequence[Event]) -> Said:
    """Return what was said, as it is stored."""
    return [(*event.identity, encode_payload(event.payload)) for event in events]


def in_turn(streams: Sequence[Sequence[Event]]) -> list[Event]:
    """Return streams as forecasters in step write them: bar by bar."""
    return sorted((event for stream in streams for event in stream), key=moment_of)


def moment_of(event: Event) -> int:
    """Return the close of the bar at which an event was written; who is released, or back, is told before it."""
    if isinstance(event.payload, Outcome):
        return event.payload.told_ms
    return event.event_time - isinstance(event.payload, Bench)


class Readers:
    """Projections that read one log, each at its own pace, and write what they say into it."""

    def __init__(self, *projections: Projection) -> None:
        self.log: list[Event] = []
        self.said: dict[str, list[Event]] = {projection.name: [] for projection in projections}
        self._readers = list(projections)
        self._at = [0] * len(projections)

    def write(self, event: Event) -> None:
        """Append to the log."""
        self.log.append(event)

    def read(self, which: int, most: int = 1) -> None:
        """Let a projection read on by so many events."""
        one = self._readers[which]
        for _ in range(most):
            if self._at[which] >= len(self.log):
                return
            event = self.log[self._at[which]]
            self._at[which] += 1
            if event.kind in one.reads:
                emitted = one.apply(event)
                self.said[one.name] += emitted
                self.log += emitted

    def read_all(self) -> None:
        """Let everybody read on until nobody has anything to read."""
        while any(at < len(self.log) for at in self._at):
            for which in range(len(self._readers)):
                self.read(which, len(self.log) - self._at[which])

    def by_kind(self, kind: str) -> list[Event]:
        """Return what was said of a kind, in the order in which it was written."""
        return [event for events in self.said.values() for event in events if event.kind == kind]


def judged(streams: Mapping[str, Sequence[Event]], others: Sequence[Event] = (), **changes: Any) -> Readers:
    """Return ensemble and scorer over these streams, in step."""
    readers = Readers(ensemble_of(list(streams)), scorer_of(list(streams), **changes))
    for event in [*others, *in_turn(list(streams.values()))]:
        readers.write(event)
        readers.read_all()
    return readers
