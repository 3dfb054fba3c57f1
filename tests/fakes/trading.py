"""Helpers of the trading tests: a paper engine over a real log, and a backtest laid beside what it recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tests.fakes.models import START_MS

from kalibre.core.bars import Bars
from kalibre.core.errors import RegistryError
from kalibre.core.events import Event, Promotion, new_event
from kalibre.core.settings import CostSettings, RiskSettings
from kalibre.features.engine import FeatureEngine, FeatureSpec
from kalibre.log.protocol import EventLog
from kalibre.models.bundle import ModelBundle
from kalibre.trading.engine import Simulation, simulate
from kalibre.trading.paper import PaperProjection
from kalibre.trading.policy import Policy

SERIES = "BTCUSDT|15m"
STEP_MS = 900_000
COSTS, RISK = CostSettings(), RiskSettings()


@dataclass
class Models:
    """Bundles by id, as a loader that knows only what it was given."""

    bundles: dict[str, ModelBundle] = field(default_factory=dict)

    def add(self, bundle: ModelBundle) -> ModelBundle:
        self.bundles[bundle.model_id] = bundle
        return bundle

    def __call__(self, model_id: str, digest: str | None) -> ModelBundle:
        if model_id not in self.bundles:
            raise RegistryError(f"model {model_id!r} is not here: there is {sorted(self.bundles)}")
        return self.bundles[model_id]


def projection(models: Callable[[str, str | None], ModelBundle], spec: FeatureSpec, **changes: Any) -> PaperProjection:
    options: dict[str, Any] = {"costs": COSTS, "risk": RISK, "load_model": models, "specs": {SERIES: spec}}
    return PaperProjection([("BTCUSDT", "15m")], **{**options, **changes})


def promotion(bundle: ModelBundle | None, alias: str = "champion", time: int = START_MS - STEP_MS) -> Event:
    payload = Promotion(
        model=bundle.model_id if bundle else None,
        digest=bundle.digest if bundle else None,
        alias=alias,  # type: ignore[arg-type]
        previous=None,
        by="test",
    )
    return new_event(f"{SERIES}|{alias}", time, payload)


def backtested(bundle: ModelBundle, bars: Bars, costs: CostSettings = COSTS, risk: RiskSettings = RISK) -> Simulation:
    """Carry a bundle over bars as the study does: features in one batch, then the trading engine."""
    p_up = bundle.predict(FeatureEngine(bundle.spec).batch(bars))
    volatility = FeatureEngine(FeatureSpec(bars.timeframe, columns=("realised_volatility_20",))).batch(bars)[:, 0]
    policy = Policy(bundle.entry_threshold, bundle.exit_threshold)
    return simulate(bars, p_up, volatility, policy, costs, risk, horizon_bars=bundle.horizon_bars)


def newest(events: Sequence[Event], kind: str, role: str = "champion") -> list[Event]:
    """Return the newest revision of each event of a kind, in the order of their times."""
    found: dict[int, Event] = {}
    for event in events:
        if event.kind == kind and event.key == f"{SERIES}|{role}":
            held = found.get(event.event_time)
            found[event.event_time] = event if held is None or event.revision >= held.revision else held
    return [found[time] for time in sorted(found)]


def assert_equal_to_backtest(events: Sequence[Event], bars: Bars, run: Simulation, role: str = "champion") -> None:
    """Compare signals, fills and accounts with a backtest, bit for bit."""
    signals = newest(events, "signal", role)
    assert [event.event_time for event in signals] == bars.close_time.tolist()
    assert [event.payload.action for event in signals] == [("HOLD", "ENTRY", "EXIT")[code] for code in run.action]
    accounts = newest(events, "account", role)
    for name in ("cash", "quantity", "equity"):
        recorded = np.array([getattr(event.payload, name) for event in accounts])
        assert np.array_equal(recorded, getattr(run, name)), name
    fills = newest(events, "fill", role)
    assert [event.event_time for event in fills] == bars.open_time[run.fills.row].tolist()
    assert [event.payload.side for event in fills] == [("", "buy", "sell")[side] for side in run.fills.side]
    for name in ("quantity", "price", "fee", "order_time"):
        assert [getattr(event.payload, name) for event in fills] == getattr(run.fills, name).tolist(), name


def stored(log: EventLog) -> list[Event]:
    return log.read(kinds={"forecast", "outcome", "signal", "order", "order_cancelled", "fill", "account"})
