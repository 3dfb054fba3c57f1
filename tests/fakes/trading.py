"""Helpers of the trading tests: a paper engine over a real log, and a backtest laid beside what it recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from tests.fakes.models import START_MS, bar_events

from kalibre.core.bars import Bars
from kalibre.core.errors import RegistryError
from kalibre.core.events import CorporateAction, Event, Funding, Promotion, new_event
from kalibre.core.protocols import FloatArray
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


def backtested(
    bundle: ModelBundle,
    bars: Bars,
    costs: CostSettings = COSTS,
    risk: RiskSettings = RISK,
    *,
    funding: FloatArray | None = None,
) -> Simulation:
    """Carry a bundle over bars as the study does: features in one batch, then the trading engine."""
    p_up = bundle.predict(FeatureEngine(bundle.spec).batch(bars))
    volatility = FeatureEngine(FeatureSpec(bars.timeframe, columns=("realised_volatility_20",))).batch(bars)[:, 0]
    policy = Policy(bundle.entry_threshold, bundle.exit_threshold)
    return simulate(bars, p_up, volatility, policy, costs, risk, horizon_bars=bundle.horizon_bars, funding=funding)


def unquiet(bars: Bars) -> list[Event]:
    """Return bars as ingest records them when all goes wrong: a hole filled late, funding, a split, and doubts.

    A stretch of bars comes after newer ones, rates come in time, late and revised, a split is detected and confirmed
    later, and another one is detected and turns out to be none.
    """
    n = len(bars)
    hole, doubt, row = range(n // 6, n // 6 + 12), n // 2, n * 2 // 3
    traded = bar_events(split(bars, row))
    inputs: list[Event] = []
    for number, event in enumerate(traded):
        close = event.event_time + STEP_MS
        if number in (doubt, row):
            inputs.append(action(event.event_time, 3.0, "detected"))
        if number not in hole:
            inputs.append(event)
        if number == hole.stop + 5:
            inputs += [traded[late] for late in hole]
        if number % 20 == 10:
            inputs.append(funding(close + (0, STEP_MS)[number % 40 == 10], 0.0005))
        if number % 60 == 33:
            inputs += [funding(close - 3 * STEP_MS + 2, 0.001), funding(close - 3 * STEP_MS + 2, 0.0011, revision=1)]
        if number in (doubt + 4, row + 4):
            decided = "rejected" if number == doubt + 4 else "confirmed"
            inputs.append(action(int(bars.open_time[number - 4]), 3.0, decided, revision=1))
    return inputs


def newest(events: Sequence[Event], kind: str, role: str = "champion") -> list[Event]:
    """Return the newest revision of each event of a kind, in the order of their times; forecasts by a model only."""
    found: dict[int, Event] = {}
    for event in events:
        by_nobody = event.kind == "forecast" and event.payload.model == ""  # type: ignore[attr-defined]
        if event.kind == kind and event.key == f"{SERIES}|{role}" and not by_nobody:
            held = found.get(event.event_time)
            found[event.event_time] = event if held is None or event.revision >= held.revision else held
    return [found[time] for time in sorted(found)]


def assert_equal_to_backtest(
    events: Sequence[Event],
    bars: Bars,
    run: Simulation,
    role: str = "champion",
    *,
    scale: FloatArray | None = None,
) -> None:
    """Compare signals, fills and accounts with a backtest, bit for bit.

    Parameters
    ----------
    scale
        Shape (n_bars,), what the backtest's prices were multiplied by: paper says shares and prices as traded.
    """
    scale = np.ones(len(bars)) if scale is None else scale
    signals = newest(events, "signal", role)
    assert [event.event_time for event in signals] == bars.close_time.tolist()
    assert [event.payload.action for event in signals] == [("HOLD", "ENTRY", "EXIT")[code] for code in run.action]
    accounts = newest(events, "account", role)
    for name, expected in (("cash", run.cash), ("quantity", run.quantity * scale), ("equity", run.equity)):
        recorded = np.array([getattr(event.payload, name) for event in accounts])
        assert np.array_equal(recorded, expected), name
    fills, at = newest(events, "fill", role), scale[run.fills.row]
    assert [event.event_time for event in fills] == bars.open_time[run.fills.row].tolist()
    assert [event.payload.side for event in fills] == [("", "buy", "sell")[side] for side in run.fills.side]
    traded = {"quantity": run.fills.quantity * at, "price": run.fills.price / at}
    for name, expected in {**traded, "fee": run.fills.fee, "order_time": run.fills.order_time}.items():
        assert [getattr(event.payload, name) for event in fills] == expected.tolist(), name


def action(open_time: int, factor: float = 3.0, status: str = "confirmed", *, revision: int = 0) -> Event:
    """Return a corporate action of the series' symbol."""
    payload = CorporateAction(factor=factor, status=status)  # type: ignore[arg-type]
    return new_event("BTCUSDT", open_time, payload, revision=revision)


def funding(settlement_ms: int, rate: float, *, revision: int = 0) -> Event:
    """Return a funding rate of the series' symbol."""
    return new_event("BTCUSDT", settlement_ms, Funding(rate=rate), revision=revision)


def split(bars: Bars, row: int, factor: float = 3.0) -> Bars:
    """Return bars as they are traded if shares are split so at a row's open."""
    scale = np.where(np.arange(len(bars)) >= row, factor, 1.0)
    prices = {name: getattr(bars, name) / scale for name in ("open", "high", "low", "close")}
    return replace(bars, **prices, volume=bars.volume * scale)


def stored(log: EventLog) -> list[Event]:
    kinds = {"forecast", "outcome", "signal", "order", "order_cancelled", "fill", "account", "model_unable"}
    return log.read(kinds=kinds)
