"""What a study found, as plain data: figures per window, per fold, and the whole result that reports are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from kalibre.core.protocols import FloatArray
from kalibre.evaluation.backtest import FundingPaid
from kalibre.evaluation.gates import GateVerdict

if TYPE_CHECKING:
    from kalibre.models.bundle import ModelBundle
    from kalibre.models.ensemble_version import EnsembleVersion

Stored = TypeVar("Stored", bound="ModelBundle | EnsembleVersion")


@dataclass(frozen=True)
class TradingFigures:
    """What a policy earned over a window after costs; ratios annualised by the calendar, shares as fractions."""

    sharpe: float
    total_return: float
    max_drawdown: float
    win_rate: float
    turnover: float
    n_trades: int
    exposure: float


@dataclass(frozen=True)
class ForecastFigures:
    """How good the probabilities of a window were, blocks of time resampled.

    `auc_low` and `auc_high` bound a two-sided 95 % interval, `log_loss_gain_low` is a one-sided 95 % bound, and
    `ece_band` is where a perfectly calibrated forecast's error would lie (5 % to 95 %).
    """

    n_samples: int
    base_rate: float
    auc: float
    auc_low: float
    auc_high: float
    brier: float
    log_loss: float
    log_loss_constant: float
    log_loss_gain: float
    log_loss_gain_low: float
    ece: float
    ece_band: tuple[float, float]
    reliability: tuple[Mapping[str, float], ...] = ()


@dataclass(frozen=True)
class DummyFigures:
    """What something that knows nothing gets on the same window; None where the figure means nothing for it."""

    name: str
    auc: float | None
    log_loss: float | None
    brier: float | None
    trading: TradingFigures | None


@dataclass(frozen=True)
class Curve:
    """Equity at each bar's close beside buy and hold, both in quote currency from the same start; shape (n_bars,)."""

    time_ms: FloatArray
    equity: FloatArray
    buy_and_hold: FloatArray

    @property
    def drawdown(self) -> FloatArray:
        """Fall below the highest equity so far, as a fraction, shape (n_bars,)."""
        fall: FloatArray = 1.0 - self.equity / np.maximum.accumulate(self.equity)
        return fall


@dataclass(frozen=True)
class WindowFigures:
    """Everything known about one out-of-sample window: `walk_forward` (the folds' tests, pooled) or `final`."""

    name: str
    start_ms: int
    end_ms: int
    n_bars: int
    forecast: ForecastFigures
    trading: TradingFigures
    dummies: tuple[DummyFigures, ...]
    curve: Curve
    funding: FundingPaid | None = None
    """Summed over the parts, each of which starts from the initial cash; None where no rates are recorded."""


@dataclass(frozen=True)
class Span:
    """A part of a fold: its first and last sample's close time (UTC ms) and how many samples it has."""

    start_ms: int
    end_ms: int
    n_samples: int


@dataclass(frozen=True)
class FoldFigures:
    """One fold of the walk-forward, judged on its own test part."""

    index: int
    parts: Mapping[str, Span]
    best_round: int
    calibrator: str
    class_weights: Mapping[str, float]
    entry_threshold: float
    exit_threshold: float
    auc: float
    log_loss: float
    ece: float
    trading: TradingFigures


@dataclass(frozen=True)
class ThresholdMap:
    """Annualised Sharpe of every (entry, exit) pair on the bundle's threshold part; NaN where exit exceeds entry."""

    entry_quantiles: FloatArray
    exit_quantiles: FloatArray
    entries: FloatArray
    exits: FloatArray
    sharpe: FloatArray
    n_trades: FloatArray
    chosen: tuple[int, int] | None


@dataclass(frozen=True)
class Significance:
    """Whether the Sharpe ratio could be luck, given everything that was tried on this history."""

    sharpe: float
    dsr: float
    n_trials: int
    effective_trials: float
    trial_sharpe_std: float
    smallest_passing_sharpe: float
    pbo: float
    n_returns: int


@dataclass(frozen=True)
class StudyResult(Generic[Stored]):
    """The whole study; `as_dict` is JSON-able and holds everything but the version itself.

    `bundle` is what was judged and is to be stored: a model, or the ensemble as a version.
    """

    symbol: str
    timeframe: str
    model_id: str
    history_digest: str
    config_digest: str
    n_bars: int
    start_ms: int
    end_ms: int
    missing_bars: int
    holes: tuple[tuple[int, int, int], ...]
    columns: tuple[str, ...]
    horizon_bars: int
    label: str
    folds: tuple[FoldFigures, ...]
    walk_forward: WindowFigures
    final: WindowFigures | None
    final_seen_before: bool
    significance: Significance
    thresholds: ThresholdMap
    importance: Mapping[str, float]
    verification: Mapping[str, Any]
    gates: tuple[GateVerdict, ...]
    settings: Mapping[str, Any]
    seconds: Mapping[str, float]
    bundle: Stored = field(repr=False)

    @property
    def qualifies(self) -> bool:
        """Whether every gate is passed."""
        return bool(self.gates) and all(gate.passed for gate in self.gates)

    @property
    def failed(self) -> tuple[GateVerdict, ...]:
        """The gates that are not passed."""
        return tuple(gate for gate in self.gates if not gate.passed)

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the model as JSON-able values; what is not a finite number is None."""
        content = {f.name: plain(getattr(self, f.name)) for f in fields(self) if f.name != "bundle"}
        return {**content, "qualifies": self.qualifies}


def plain(value: Any) -> Any:
    """Turn figures into JSON-able values: arrays to lists, NaN and infinity to None.

    Examples
    --------
    >>> plain({"ece": np.float64("nan"), "bins": np.array([1.0, 2.0])})
    {'ece': None, 'bins': [1.0, 2.0]}
    """
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
