"""Walk-forward: one recipe, fitted again and again on the past and judged on what came after.

The recipe of a fold: fit on the first part, stop boosting by the second, calibrate on the third, choose thresholds by
the sweep on the fourth, and only then touch the test part. The bundle for deployment is the same recipe, its test part
being the final window.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from kalibre.core.bars import Bars
from kalibre.core.protocols import FloatArray
from kalibre.core.settings import Settings
from kalibre.dataset.join import Dataset
from kalibre.evaluation.backtest import BacktestResult, annualised_sharpe, backtest, drawdown
from kalibre.evaluation.calibration import fit_calibrator
from kalibre.evaluation.dummies import Persistence
from kalibre.evaluation.figures import Curve, TradingFigures
from kalibre.evaluation.thresholds import Grid, Surface, choose, pair_returns, sweep_surface
from kalibre.models.calibrator import Calibrator
from kalibre.models.gradient_boosting import GradientBoosting
from kalibre.trading.policy import Policy

NEVER = Policy(entry_threshold=1.0, exit_threshold=0.0)
"""Holds for ever: a calibrated probability lies strictly inside (0, 1)."""


class Classifier(Protocol):
    """What a recipe scores with: a model that was fitted, or a record of what was said."""

    @property
    def best_round(self) -> int:
        """Rounds of boosting it took; 0 where nothing was fitted."""

    @property
    def class_weights(self) -> Mapping[str, float]:
        """What a sample of each class weighed in the fit."""

    def predict_proba(self, values: FloatArray) -> FloatArray:
        """Return the uncalibrated probability of up for each row; NaN where it is not known."""


AnyClassifier_co = TypeVar("AnyClassifier_co", bound=Classifier, covariant=True)
AnyClassifier = TypeVar("AnyClassifier", bound=Classifier)


@dataclass(frozen=True)
class Material:
    """What every fold works on: the bars, their features and samples, and the terms of trade."""

    bars: Bars
    values: FloatArray
    columns: tuple[str, ...]
    volatility: FloatArray
    moves: FloatArray
    """Log return over the horizon that ends at each close: what persistence goes by."""
    settings: Settings
    bars_per_year: float
    funding: FloatArray | None = None
    """Rate that a long pays at each close, 0 where none is due; None where the market has none."""

    def funded(self, rows: slice) -> FloatArray | None:
        """Return the funding rates of a range of bars."""
        return None if self.funding is None else self.funding[rows]

    @property
    def horizon_bars(self) -> int:
        """Bars until a forecast is checked."""
        return self.settings.model.horizon_bars

    def score(self, classifier: Classifier, rows: slice) -> FloatArray:
        """Return the uncalibrated score at each bar of a range; NaN where a feature is unknown."""
        return classifier.predict_proba(self.values[rows])


@dataclass(frozen=True)
class Recipe(Generic[AnyClassifier_co]):
    """What a fold learnt before its test part: a model, its calibrator, and the thresholds chosen from its sweep."""

    classifier: AnyClassifier_co
    calibrator: Calibrator
    policy: Policy
    surface: Surface
    chosen: tuple[int, int] | None
    persistence: Persistence

    def p_up(self, material: Material, rows: slice) -> FloatArray:
        """Return the calibrated probability at each bar of a range; NaN where a feature is unknown."""
        return self.calibrator.apply(material.score(self.classifier, rows))


@dataclass(frozen=True)
class Outcome:
    """A policy on one test part: samples for the forecast's figures, a backtest over every bar of the part."""

    p_up: FloatArray
    """Shape (n_samples,), of the samples whose label is known."""
    y: FloatArray
    result: BacktestResult
    time_ms: NDArray[np.int64]


def span(part: Dataset) -> slice:
    """Return the bars from a part's first sample to its last, those without a sample included."""
    return slice(int(part.row[0]), int(part.row[-1]) + 1)


def fit_recipe(
    material: Material, parts: Mapping[str, Dataset], *, shuffle_seed: int | None = None
) -> Recipe[GradientBoosting]:
    """Fit, stop, calibrate and choose thresholds, each on its own part; the test part is not looked at.

    Parameters
    ----------
    material
        The bars and their features.
    parts
        `fit`, `stop`, `calibrate` and `threshold`, each later than the one before, purged.
    shuffle_seed
        With it the labels are put in random order: the dummy that learns nothing the hard way.
    """
    settings = material.settings
    fit, stop, calibrate, threshold = (parts[name] for name in ("fit", "stop", "calibrate", "threshold"))
    if shuffle_seed is not None:
        rng = np.random.default_rng(shuffle_seed)
        fit, stop, calibrate = (replace(part, y=rng.permutation(part.y)) for part in (fit, stop, calibrate))
    classifier = GradientBoosting.fit(
        fit.features,
        fit.y,
        stop_features=stop.features,
        stop_y=stop.y,
        settings=settings.model,
        columns=material.columns,
    )
    calibrator = fit_calibrator(
        classifier.predict_proba(calibrate.features), calibrate.y, horizon_bars=material.horizon_bars
    )
    persistence = Persistence.count(material.moves[fit.row], fit.y)
    return choose_thresholds(material, classifier, calibrator, threshold, persistence)


def choose_thresholds(
    material: Material,
    classifier: AnyClassifier,
    calibrator: Calibrator,
    part: Dataset,
    persistence: Persistence,
) -> Recipe[AnyClassifier]:
    """Complete a recipe: sweep the thresholds over a part and choose a pair in the middle of its best neighbourhood."""
    settings = material.settings
    rows = span(part)
    surface = sweep_surface(
        material.bars[rows],
        material.score(classifier, rows),
        material.volatility[rows],
        Grid.of(settings.model.threshold_pairs),
        settings.costs,
        settings.risk,
        bars_per_year=material.bars_per_year,
        horizon_bars=material.horizon_bars,
        funding=material.funded(rows),
    )
    chosen = choose(surface)
    return Recipe(
        classifier=classifier,
        calibrator=calibrator,
        policy=_policy(calibrator, surface, chosen),
        surface=surface,
        chosen=chosen,
        persistence=persistence,
    )


def _policy(calibrator: Calibrator, surface: Surface, chosen: tuple[int, int] | None) -> Policy:
    """Map a chosen pair of scores to probabilities; where the calibrator cannot tell them apart, hold."""
    if chosen is None:
        return NEVER
    pair = np.array([surface.entries[chosen[0]], surface.exits[chosen[1]]])
    entry, exit_ = calibrator.apply(pair).tolist()
    return Policy(entry_threshold=entry, exit_threshold=exit_) if exit_ < entry else NEVER


def trade(material: Material, part: Dataset, p_up: FloatArray, policy: Policy) -> Outcome:
    """Trade a part's bars by a policy, flat at its first bar.

    Parameters
    ----------
    p_up
        One value for each bar of `span(part)`.
    """
    rows = span(part)
    settings = material.settings
    result = backtest(
        material.bars[rows],
        p_up,
        material.volatility[rows],
        policy,
        settings.costs,
        settings.risk,
        bars_per_year=material.bars_per_year,
        horizon_bars=material.horizon_bars,
        funding=material.funded(rows),
    )
    return Outcome(p_up=p_up[part.row - part.row[0]], y=part.y, result=result, time_ms=material.bars.close_time[rows])


def assess_recipe(material: Material, recipe: Recipe[Classifier], part: Dataset) -> Outcome:
    """Judge a recipe on its test part."""
    return trade(material, part, recipe.p_up(material, span(part)), recipe.policy)


def assess_persistence(material: Material, recipe: Recipe[Classifier], part: Dataset) -> Outcome:
    """Judge the dummy that expects the last move to go on, on the same part: long after a rise, flat after a fall."""
    p_up = recipe.persistence.predict(material.moves[span(part)])
    outcome = trade(material, part, np.where(material.moves[span(part)] > 0, 1.0, 0.0), Policy(0.75, 0.25))
    return replace(outcome, p_up=p_up[part.row - part.row[0]])


def assess_pairs(material: Material, recipe: Recipe[Classifier], part: Dataset, *, blocks: int) -> FloatArray:
    """Return what every pair of the recipe's sweep would have earned on blocks of its test part, for the PBO."""
    rows = span(part)
    return pair_returns(
        material.bars[rows],
        material.score(recipe.classifier, rows),
        material.volatility[rows],
        recipe.surface,
        material.settings.costs,
        material.settings.risk,
        blocks=blocks,
        bars_per_year=material.bars_per_year,
        horizon_bars=material.horizon_bars,
        funding=material.funded(rows),
    )


def pooled_returns(results: Sequence[BacktestResult]) -> FloatArray:
    """Chain the per-bar returns of consecutive parts, shape (n_bars,)."""
    return np.concatenate([result.returns for result in results])


def grown(returns: FloatArray) -> FloatArray:
    """Return what 1 has grown to at each close.

    Examples
    --------
    >>> grown(np.array([0.5, -0.5])).tolist()
    [1.5, 0.75]
    """
    equity: FloatArray = np.multiply.accumulate(1.0 + returns)
    return equity


def pooled_trading(results: Sequence[BacktestResult]) -> TradingFigures:
    """Judge consecutive parts as one record: returns chained, so that a drawdown may cross parts."""
    returns = pooled_returns(results)
    n_trades = sum(result.n_trades for result in results)
    n_bars = len(returns)
    equity = grown(returns)

    def per_bar(figure: Callable[[BacktestResult], float]) -> float:
        return sum(figure(result) * len(result.returns) for result in results) / n_bars

    return TradingFigures(
        sharpe=annualised_sharpe(returns, results[0].bars_per_year),
        total_return=float(equity[-1]) - 1.0,
        max_drawdown=float(drawdown(equity, 1.0).max()),
        win_rate=sum(result.win_rate * result.n_trades for result in results) / max(n_trades, 1),
        turnover=per_bar(lambda result: result.turnover),
        n_trades=n_trades,
        exposure=per_bar(lambda result: result.exposure),
    )


def pooled_curve(outcome: Sequence[Outcome], holds: Sequence[BacktestResult], initial_cash: float) -> Curve:
    """Chain the equity of consecutive parts beside buy and hold, both from the same cash."""
    return Curve(
        time_ms=np.concatenate([part.time_ms for part in outcome]),
        equity=initial_cash * grown(pooled_returns([part.result for part in outcome])),
        buy_and_hold=initial_cash * grown(pooled_returns(holds)),
    )
