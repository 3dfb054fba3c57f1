"""Windows: what one or more consecutive test parts amount to, forecasts, trading and dummies side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np

from kalibre.core.protocols import FloatArray
from kalibre.dataset.join import Dataset
from kalibre.evaluation.backtest import FundingPaid
from kalibre.evaluation.calibration import calibration_error
from kalibre.evaluation.figures import DummyFigures, FoldFigures, ForecastFigures, Span, ThresholdMap, WindowFigures
from kalibre.evaluation.gates import GateWindow
from kalibre.evaluation.metrics import auc, auc_interval, brier, log_loss, log_loss_gain
from kalibre.evaluation.walk_forward import Classifier, Material, Outcome, Recipe, pooled_curve, pooled_trading


@dataclass(frozen=True)
class Parts:
    """The same test parts, oldest first, as the model and as each dummy that needs a test of its own went through."""

    model: Sequence[Outcome]
    persistence: Sequence[Outcome]
    shuffled: Sequence[Outcome]


def window_figures(name: str, material: Material, parts: Parts, *, seed: int) -> WindowFigures:
    """Pool test parts into one window's figures.

    Parameters
    ----------
    name
        `walk_forward` or `final`.
    seed
        Of the block bootstraps.
    """
    p_up, y = _samples(parts.model)
    holds = [part.result.buy_and_hold for part in parts.model if part.result.buy_and_hold is not None]
    base_rate = float(y.mean())
    constant = np.full(len(y), np.clip(base_rate, 1e-6, 1 - 1e-6))
    dummies = (
        DummyFigures("base_rate", auc=0.5, log_loss=log_loss(constant, y), brier=brier(constant, y), trading=None),
        _dummy("persistence", parts.persistence),
        DummyFigures("buy_and_hold", auc=None, log_loss=None, brier=None, trading=pooled_trading(holds)),
        _dummy("shuffled_labels", parts.shuffled),
    )
    curve = pooled_curve(parts.model, holds, material.settings.risk.initial_cash)
    return WindowFigures(
        name=name,
        start_ms=int(curve.time_ms[0]) - material.bars.step_ms,
        end_ms=int(curve.time_ms[-1]),
        n_bars=len(curve.time_ms),
        forecast=forecast_figures(p_up, y, horizon_bars=material.horizon_bars, seed=seed),
        trading=pooled_trading([part.result for part in parts.model]),
        dummies=dummies,
        curve=curve,
        funding=_funding_paid(parts.model),
    )


def forecast_figures(p_up: FloatArray, y: FloatArray, *, horizon_bars: int, seed: int) -> ForecastFigures:
    """Judge probabilities against what happened; the constant is the window's own base rate, known in hindsight."""
    base_rate = float(y.mean())
    interval = auc_interval(p_up, y, horizon_bars=horizon_bars, seed=seed)
    gain = log_loss_gain(p_up, y, base_rate, horizon_bars=horizon_bars, seed=seed)
    error = calibration_error(p_up, y, horizon_bars=horizon_bars, seed=seed)
    return ForecastFigures(
        n_samples=len(y),
        base_rate=base_rate,
        auc=interval.auc,
        auc_low=interval.low,
        auc_high=interval.high,
        brier=brier(p_up, y),
        log_loss=gain.model,
        log_loss_constant=gain.constant,
        log_loss_gain=gain.gain,
        log_loss_gain_low=gain.low,
        ece=error.ece,
        ece_band=error.band,
        reliability=error.bins,
    )


def gate_window(window: WindowFigures) -> GateWindow:
    """Take from a window what the gates look at."""
    return GateWindow(
        ece=window.forecast.ece,
        auc=window.forecast.auc,
        auc_low=window.forecast.auc_low,
        log_loss_gain=window.forecast.log_loss_gain,
        log_loss_gain_low=window.forecast.log_loss_gain_low,
        sharpe=window.trading.sharpe,
        max_drawdown=window.trading.max_drawdown,
        ece_chance=window.forecast.ece_band[1],
    )


def _funding_paid(parts: Sequence[Outcome]) -> FundingPaid | None:
    paid = [part.result.funding for part in parts if part.result.funding is not None]
    return reduce(add, paid) if paid else None


def _samples(parts: Sequence[Outcome]) -> tuple[FloatArray, FloatArray]:
    return np.concatenate([part.p_up for part in parts]), np.concatenate([part.y for part in parts])


def _dummy(name: str, parts: Sequence[Outcome]) -> DummyFigures:
    p_up, y = _samples(parts)
    known = np.isfinite(p_up)
    return DummyFigures(
        name=name,
        auc=auc(p_up[known], y[known]),
        log_loss=log_loss(p_up[known], y[known]),
        brier=brier(p_up[known], y[known]),
        trading=pooled_trading([part.result for part in parts]),
    )


def fold_figures(
    number: int, parts: Mapping[str, Dataset], recipe: Recipe[Classifier], outcome: Outcome, *, horizon_bars: int
) -> FoldFigures:
    """Say how one fold did on its own test part."""
    error = calibration_error(outcome.p_up, outcome.y, horizon_bars=horizon_bars, seed=number)
    return FoldFigures(
        index=number,
        parts={
            name: Span(int(part.close_time[0]), int(part.close_time[-1]), len(part)) for name, part in parts.items()
        },
        best_round=recipe.classifier.best_round,
        calibrator=recipe.calibrator.kind,
        class_weights=dict(recipe.classifier.class_weights),
        entry_threshold=recipe.policy.entry_threshold,
        exit_threshold=recipe.policy.exit_threshold,
        auc=auc(outcome.p_up, outcome.y),
        log_loss=log_loss(outcome.p_up, outcome.y),
        ece=error.ece,
        trading=pooled_trading([outcome.result]),
    )


def threshold_map(recipe: Recipe[Classifier]) -> ThresholdMap:
    """Return the sweep that a recipe chose its thresholds from."""
    surface = recipe.surface
    return ThresholdMap(
        entry_quantiles=surface.grid.entries,
        exit_quantiles=surface.grid.exits,
        entries=recipe.calibrator.apply(surface.entries),
        exits=recipe.calibrator.apply(surface.exits),
        sharpe=surface.sharpe,
        n_trades=surface.n_trades,
        chosen=recipe.chosen,
    )
