"""The study: the whole honest way from bars to a judged bundle.

features -> label -> data set -> walk-forward (fit, stop, calibrate, threshold, test; each later, purged) -> pooled
out-of-sample figures -> deflated Sharpe ratio over every trial recorded for the history -> the bundle, refitted by the
same recipe on everything before the final window -> a look at the final window, recorded before its figures exist ->
gates.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kalibre.bars.calendars import Calendar, get_calendar
from kalibre.bars.gaps import count_missing, find_gaps
from kalibre.core.bars import Bars
from kalibre.core.clock import SystemClock
from kalibre.core.errors import DatasetError, EvaluationError
from kalibre.core.protocols import FloatArray
from kalibre.core.settings import Settings
from kalibre.dataset.join import Dataset
from kalibre.dataset.splits import walk_forward
from kalibre.evaluation.calibration import LEAST_PER_BIN
from kalibre.evaluation.figures import Significance, StudyResult, WindowFigures, plain
from kalibre.evaluation.gates import GateVerdict, judge
from kalibre.evaluation.judging import (
    FINAL_SHARE,
    Judged,
    assess,
    final_share,
    gate_figures,
    parts_of,
    significance_of,
    stored_calibration,
    stored_metrics,
    verify_recent,
)
from kalibre.evaluation.materials import configuration, feature_spec, make_label, prepare
from kalibre.evaluation.pipeline import Pipeline, signals
from kalibre.evaluation.trials import TrialBook, config_digest
from kalibre.evaluation.walk_forward import Material, Recipe, assess_recipe, fit_recipe
from kalibre.evaluation.windows import fold_figures, threshold_map, window_figures
from kalibre.features.engine import FeatureEngine
from kalibre.models.bundle import ModelBundle
from kalibre.models.gradient_boosting import GradientBoosting
from kalibre.trading.engine import funding_column

if TYPE_CHECKING:
    from kalibre.log.protocol import EventLog

__all__ = ["Progress", "feature_spec", "run_study"]

Progress = Callable[[str, int, int], None]


def run_study(
    bars: Bars,
    settings: Settings,
    *,
    log: EventLog | None = None,
    calendar: Calendar | None = None,
    seed: int | None = None,
    progress: Progress | None = None,
    final: bool = True,
    created_at_ms: int | None = None,
    funding: FloatArray | None = None,
) -> StudyResult[ModelBundle]:
    """Train, calibrate and judge one configuration on one history.

    Parameters
    ----------
    bars
        Checked bars, oldest first.
    settings
        What to train, at which costs and limits, and what it has to prove.
    log
        Where trials and looks are recorded; None keeps no memory, which suits simulations only.
    calendar
        When the market is open; None takes the one that the settings name.
    seed
        Of model and bootstraps; None takes the one of the model settings.
    progress
        Called with the stage (`features`, `folds`, `bundle`, `verification`, `final`), what is done of it, and of
        how much.
    final
        Whether to look at the final window. Without it nothing can qualify.
    created_at_ms
        Wall time that the bundle carries; None takes the clock's.
    funding
        Shape (n_bars,), rate that a long pays on its value at each close, 0 where none is due; None without.

    Raises
    ------
    DatasetError
        If there are too few bars for the warm-up or a fold, or one class only; the message says what would be enough.
    BarError
        If the bars are none.
    """
    run = _Run(
        bars,
        settings,
        log=log,
        calendar=calendar,
        seed=seed,
        progress=progress,
        created_at_ms=created_at_ms,
        funding=funding,
    )
    return run.study(look=final)


def bars_to_qualify(horizon_bars: int, warmup_bars: int) -> int:
    """Return how many bars a history must have before any model on it can qualify.

    The final window is a fifth of the samples, and its calibration error needs `2 * LEAST_PER_BIN` forecasts there
    whose horizons do not overlap.

    Examples
    --------
    >>> bars_to_qualify(4, 1_205), bars_to_qualify(1, 1_205)
    (9209, 3206)
    """
    return warmup_bars + horizon_bars + math.ceil(2 * LEAST_PER_BIN * horizon_bars / FINAL_SHARE)


def few_bars(bars: Bars, horizon_bars: int, warmup_bars: int) -> str:
    """Say that a history is too short for anything to qualify, what would be enough, and how less is needed."""
    shorter = (
        f"; with model.horizon_bars = 1, {bars_to_qualify(1, warmup_bars):,}, and a shorter timeframe has more bars"
        if horizon_bars > 1
        else "; a shorter timeframe has more bars"
    )
    return (
        f"On {len(bars):,} bars nothing can qualify: it takes about {bars_to_qualify(horizon_bars, warmup_bars):,}, as "
        f"the final window is a fifth and needs {2 * LEAST_PER_BIN} forecasts whose horizons of {horizon_bars} do not "
        f"overlap{shorter}"
    )


class _Run:
    """One study in progress."""

    def __init__(
        self,
        bars: Bars,
        settings: Settings,
        *,
        log: EventLog | None,
        calendar: Calendar | None,
        seed: int | None,
        progress: Progress | None,
        created_at_ms: int | None,
        funding: FloatArray | None,
    ) -> None:
        if not len(bars):
            raise EvaluationError(f"there are 0 bars of {bars.symbol} {bars.timeframe} to study: ingest some first")
        bars.check()
        if seed is not None:
            settings = settings.model_copy(update={"model": settings.model.model_copy(update={"seed": seed})})
        self.bars = bars
        self.settings = settings
        self.seed = settings.model.seed
        self.funding = None if funding is None else funding_column(funding, len(bars))
        self.calendar = calendar or get_calendar(settings.market.calendar)
        self.book = TrialBook(bars, log)
        self.report = progress or (lambda stage, done, total: None)
        self.created_at_ms = SystemClock().now_ms() if created_at_ms is None else created_at_ms
        self.seconds: dict[str, float] = {}
        self.engine = FeatureEngine(feature_spec(bars, settings))

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        self.report(name, 0, 1)
        yield
        self.report(name, 1, 1)
        self.seconds[name] = time.perf_counter() - began

    def study(self, *, look: bool) -> StudyResult[ModelBundle]:
        """Carry the study out, stage by stage."""
        config = config_digest(
            {**configuration(self.settings, self.engine, self.seed), "funding": self.funding is not None}
        )
        try:
            with self._stage("features"):
                material, dataset = prepare(self.bars, self.engine, self.settings, self.calendar, funding=self.funding)
            folds, last = walk_forward(dataset, self.settings.model.folds, final_share(self.book, dataset))
        except DatasetError as error:
            horizon = self.settings.model.horizon_bars
            if len(self.bars) >= bars_to_qualify(horizon, self.engine.warmup):
                raise
            raise DatasetError(f"{error}. {few_bars(self.bars, horizon, self.engine.warmup)}") from error
        with self._stage("folds"):
            judged = [self._judge(material, parts, number, len(folds)) for number, parts in enumerate(folds)]
            pooled = window_figures("walk_forward", material, parts_of(judged), seed=self.seed)
            significance = significance_of(self.book, config, material, folds, judged)
        with self._stage("bundle"):
            recipe = fit_recipe(material, last)
        with self._stage("verification"):
            verification = self._verify(recipe)
        final, seen = None, False
        if look:
            with self._stage("final"):
                span = last["test"]
                seen = self.book.look(int(span.close_time[0]), int(span.close_time[-1]), config)
                judged_last = self._assess(material, last, recipe, len(folds))
                final = window_figures("final", material, parts_of([judged_last]), seed=self.seed)
        figures = gate_figures(
            pooled, final, significance, dirty_columns=verification["dirty_columns"], final_seen=seen
        )
        gates = tuple(judge(figures, self.settings.gates))
        bundle = self._bundle(material, recipe, final or pooled, pooled, significance, gates)
        gaps = find_gaps(self.bars, self.calendar)
        return StudyResult(
            symbol=self.bars.symbol,
            timeframe=self.bars.timeframe,
            model_id=bundle.model_id,
            history_digest=self.book.digest,
            config_digest=config,
            n_bars=len(self.bars),
            start_ms=int(self.bars.open_time[0]),
            end_ms=int(self.bars.close_time[-1]),
            missing_bars=count_missing(gaps),
            holes=tuple((gap.start_ms, gap.end_ms, gap.missing_bars) for gap in gaps),
            columns=material.columns,
            horizon_bars=material.horizon_bars,
            label=self.settings.model.label,
            folds=tuple(
                fold_figures(k, parts, fold.recipe, fold.model, horizon_bars=material.horizon_bars)
                for k, (parts, fold) in enumerate(zip(folds, judged, strict=True))
            ),
            walk_forward=pooled,
            final=final,
            final_seen_before=seen,
            significance=significance,
            thresholds=threshold_map(recipe),
            importance=recipe.classifier.importance(),
            verification=verification,
            gates=gates,
            settings=plain(
                self.settings.model_dump(
                    mode="json", exclude={"alerts", "hub", "api", "home", "language", "log", "registry_url"}
                )
            ),
            seconds=dict(self.seconds),
            bundle=bundle,
        )

    def _judge(self, material: Material, parts: Mapping[str, Dataset], number: int, total: int) -> Judged:
        recipe = fit_recipe(material, parts)
        judged = self._assess(material, parts, recipe, number)
        self.report("folds", number + 1, total)
        return judged

    def _assess(
        self, material: Material, parts: Mapping[str, Dataset], recipe: Recipe[GradientBoosting], number: int
    ) -> Judged:
        shuffled = fit_recipe(material, parts, shuffle_seed=self.seed * 1000 + number)
        test = parts["test"]
        return assess(material, recipe, test, assess_recipe(material, shuffled, test))

    def _verify(self, recipe: Recipe[GradientBoosting]) -> dict[str, Any]:
        """Prove columns, volatility, labels, score, probability and signal on the newest bars, in the short form."""
        pipeline = Pipeline(
            self.engine,
            make_label(self.settings, self.calendar),
            score=recipe.classifier.predict_proba,
            calibrate=recipe.calibrator.apply,
            decide=lambda p_up: signals(p_up, recipe.policy),
        )
        return verify_recent(pipeline, self.bars, seed=self.seed)

    def _bundle(
        self,
        material: Material,
        recipe: Recipe[GradientBoosting],
        latest: WindowFigures,
        pooled: WindowFigures,
        significance: Significance,
        gates: Sequence[GateVerdict],
    ) -> ModelBundle:
        return ModelBundle(
            symbol=self.bars.symbol,
            timeframe=self.bars.timeframe,
            spec=self.engine.spec,
            feature_fingerprint=self.engine.fingerprint,
            classifier=recipe.classifier,
            calibrator=recipe.calibrator,
            entry_threshold=recipe.policy.entry_threshold,
            exit_threshold=recipe.policy.exit_threshold,
            horizon_bars=material.horizon_bars,
            label=self.settings.model.label,
            funded=self.funding is not None,
            costs=self.settings.costs,
            risk=self.settings.risk,
            calibration=stored_calibration(latest),
            metrics=stored_metrics(pooled, latest, significance),
            gates=[gate.as_dict() for gate in gates],
            created_at_ms=self.created_at_ms,
        )
