"""Small real bundles, bars and logs for tests of registry and API: nothing is mocked, only the market is made up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kalibre.core.bars import Bars
from kalibre.core.events import BarClosed, Event, new_event, series_key
from kalibre.core.settings import CostSettings, GateSettings, ModelSettings, RiskSettings
from kalibre.evaluation.gates import GateFigures, GateWindow, judge
from kalibre.features.engine import FeatureEngine, FeatureSpec
from kalibre.models.bundle import ModelBundle
from kalibre.models.calibrator import Calibrator
from kalibre.models.gradient_boosting import GradientBoosting

START_MS = 1_704_067_200_000
STEP_MS = 900_000


def random_bars(
    n: int, *, seed: int = 1, symbol: str = "BTCUSDT", start_ms: int = START_MS, news: bool = False
) -> Bars:
    """Return 15m bars of a geometric random walk, with news on half of them if asked for."""
    rng = np.random.default_rng(seed)
    close = 40_000.0 * np.exp(np.cumsum(rng.normal(0, 0.002, n)))
    opens = np.concatenate([[close[0]], close[:-1]])
    spread = 1 + np.abs(rng.normal(0, 0.001, n))
    volume = rng.uniform(1, 9, n)
    told = rng.random(n) < 0.5
    return Bars(
        symbol=symbol,
        timeframe="15m",
        open_time=start_ms + STEP_MS * np.arange(n),
        open=opens,
        high=np.maximum(opens, close) * spread,
        low=np.minimum(opens, close) / spread,
        close=close,
        volume=volume,
        news_impact=told * rng.uniform(-1, 1, n) if news else None,
        news_conf=told * rng.uniform(0.1, 1, n) if news else None,
    )


def bar_events(bars: Bars) -> list[Event]:
    """Return the log's events of bars."""
    key = series_key(bars.symbol, bars.timeframe)
    return [new_event(key, bar.open_time, BarClosed.of(bar)) for bar in bars]


_GOOD = GateWindow(0.01, 0.62, 0.60, 0.02, 0.01, 4.0, 0.05)
_POOR = GateWindow(0.20, 0.45, 0.40, -0.10, -0.20, -1.0, 0.5)


def passed_gates() -> list[dict[str, Any]]:
    """Return the verdicts of a study that went well."""
    figures = GateFigures(_GOOD, _GOOD, dsr=0.99, n_trials=1, n_trades=300, dirty_columns=0)
    return [verdict.as_dict() for verdict in judge(figures, GateSettings())]


def failed_gate(name: str) -> dict[str, Any]:
    """Return one verdict of a study that went badly in every respect."""
    figures = GateFigures(
        _POOR, _POOR, dsr=0.1, n_trials=9, n_trades=300, dirty_columns=3, unbeaten=("buy and hold",), final_seen=True
    )
    return next(verdict.as_dict() for verdict in judge(figures, GateSettings()) if verdict.name == name)


def gates_failing(*names: str) -> list[dict[str, Any]]:
    """Return verdicts of which exactly these have failed."""
    return [failed_gate(gate["name"]) if gate["name"] in names else gate for gate in passed_gates()]


def small_bundle(
    *,
    seed: int = 1,
    symbol: str = "BTCUSDT",
    entry_threshold: float = 0.55,
    exit_threshold: float = 0.45,
    gates: Sequence[Mapping[str, Any]] | None = None,
    columns: tuple[str, ...] | None = None,
    created_at_ms: int = START_MS,
) -> ModelBundle:
    """Return a bundle with a really fitted classifier on real features; seeds make different models."""
    spec = FeatureSpec("15m", columns=columns)
    engine = FeatureEngine(spec)
    bars = random_bars(1_500, seed=seed, news="snews_impact" in engine.columns)
    values = engine.batch(bars)
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(np.isfinite(values).all(axis=1))
    features = values[rows]
    y = (features[:, 0] + rng.normal(0, features[:, 0].std() * 0.5, len(rows)) > np.median(features[:, 0])).astype(
        float
    )
    half = len(rows) // 2
    settings = ModelSettings(rounds=40, early_stopping_rounds=10, min_samples_leaf=20, leaves=7)
    classifier = GradientBoosting.fit(
        features[:half],
        y[:half],
        stop_features=features[half:],
        stop_y=y[half:],
        settings=settings,
        columns=engine.columns,
    )
    return ModelBundle(
        symbol=symbol,
        timeframe="15m",
        spec=spec,
        feature_fingerprint=engine.fingerprint,
        classifier=classifier,
        calibrator=Calibrator("isotonic", scores=(0.1, 0.4, 0.6, 0.9), probabilities=(0.2, 0.42, 0.57, 0.8)),
        entry_threshold=entry_threshold,
        exit_threshold=exit_threshold,
        horizon_bars=4,
        costs=CostSettings(),
        risk=RiskSettings(),
        created_at_ms=created_at_ms,
        calibration={"ece_calibrated": 0.012, "ece_band": [0.002, 0.02]},
        metrics={"auc": 0.61, "sharpe": 1.9, "n_folds": 5},
        gates=passed_gates() if gates is None else list(gates),
    )
