"""Recorded forecasts through the gates: nothing is fitted but thresholds, everything else is judged as a model is.

An ensemble's forecasts are on record, each said before its outcome was, so they are out of sample by construction. What
a model's study fits, stops and calibrates is left out; thresholds are chosen by the same sweep, in each fold on earlier
forecasts only, purged; pooled tests, dummies, trials, final window and gates are those of `kalibre.evaluation.study`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kalibre.bars.calendars import Calendar, get_calendar
from kalibre.bars.gaps import count_missing, find_gaps
from kalibre.core.bars import Bars
from kalibre.core.clock import SystemClock
from kalibre.core.errors import EvaluationError
from kalibre.core.protocols import FloatArray
from kalibre.core.settings import Settings
from kalibre.dataset.join import Dataset, build_dataset
from kalibre.dataset.splits import walk_forward
from kalibre.evaluation.calibration import LEAST_PER_BIN
from kalibre.evaluation.dummies import Persistence, horizon_moves
from kalibre.evaluation.figures import StudyResult, plain
from kalibre.evaluation.gates import judge
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
from kalibre.evaluation.materials import feature_spec, named_label
from kalibre.evaluation.pipeline import Pipeline
from kalibre.evaluation.trials import TrialBook, config_digest
from kalibre.evaluation.walk_forward import Material, Recipe, assess_recipe, choose_thresholds
from kalibre.evaluation.windows import fold_figures, threshold_map, window_figures
from kalibre.features.engine import FeatureEngine
from kalibre.models.calibrator import Calibrator
from kalibre.models.ensemble_version import EnsembleVersion
from kalibre.trading.engine import funding_column
from kalibre.trading.series import sizing_volatility

if TYPE_CHECKING:
    from kalibre.log.protocol import EventLog

LABEL = "direction"
"""What an ensemble foresees, whatever the champion does."""


@dataclass(frozen=True)
class Record:
    """What an ensemble said of a series, as far as it may be judged by it.

    Parameters
    ----------
    close_time, p_up
        Shape (n,): closes (UTC ms), rising, and the probability that was said at each, in [0, 1].
    forecasters
        Who it was made of.
    code
        Version of the code that said it.
    weights
        Mean weight of each forecaster.
    left_out
        Why further forecasts are not among these, each reason with its count; quoted where there are too few.
    doubtful
        Forecasts that the log, read again, does not give: each counts as a column that fails the verification.
    without_champion
        Whether a champion spoke, whose word was left out: it falls silent once the ensemble acts.
    """

    close_time: NDArray[np.int64]
    p_up: FloatArray
    forecasters: tuple[str, ...]
    code: str
    weights: Mapping[str, float] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    doubtful: int = 0
    without_champion: bool = False


@dataclass(frozen=True)
class SaidBefore:
    """The classifier of a recipe that fits nothing: what was said at a bar is its only column."""

    best_round: int = 0
    class_weights: Mapping[str, float] = field(default_factory=dict)

    def predict_proba(self, values: FloatArray) -> FloatArray:
        """Return what was said at each row; NaN where nothing was."""
        said: FloatArray = values[:, 0]
        return said


def forecasts_to_qualify(horizon_bars: int) -> int:
    """Return how many matured forecasts it takes before any record can qualify.

    The final window is a fifth of them, and its calibration error needs `2 * LEAST_PER_BIN` whose horizons do not
    overlap.

    Examples
    --------
    >>> forecasts_to_qualify(4), forecasts_to_qualify(1)
    (8000, 2000)
    """
    return math.ceil(2 * LEAST_PER_BIN * horizon_bars / FINAL_SHARE)


def judge_recorded(
    bars: Bars,
    record: Record,
    settings: Settings,
    *,
    log: EventLog | None = None,
    calendar: Calendar | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    created_at_ms: int | None = None,
    funding: FloatArray | None = None,
) -> StudyResult[EnsembleVersion]:
    """Judge recorded forecasts of a series by the gates.

    Parameters
    ----------
    bars
        Checked bars of the series, oldest first; also from before the record, which verifying the features needs.
    record
        What was said of them.
    settings
        Costs, limits, folds, the sweep and the gates.
    log
        Where trials and looks are recorded; None keeps no memory, which suits simulations only.
    calendar
        When the market is open; None takes the one that the settings name.
    progress
        Called with the stage (`folds`, `thresholds`, `verification`, `final`), what is done of it, and of how much.
    created_at_ms
        Wall time that the version carries; None takes the clock's.
    funding
        Shape (n_bars,), rate that a long pays on its value at each close, 0 where none is due; None without.

    Returns
    -------
    As a model's study gives it; its `bundle` is the version to be stored, its `importance` the mean weights.

    Raises
    ------
    EvaluationError
        If the record is too short for anything to qualify; the message says how many forecasts there are and how many
        are needed.
    VerificationError
        If there are too few bars to verify the features on.
    """
    bars.check()
    run = _Judgement(bars, record, settings, log=log, calendar=calendar, progress=progress, funding=funding)
    return run.judge(SystemClock().now_ms() if created_at_ms is None else created_at_ms)


class _Judgement:
    """One judgement in progress."""

    def __init__(
        self,
        bars: Bars,
        record: Record,
        settings: Settings,
        *,
        log: EventLog | None,
        calendar: Calendar | None,
        progress: Callable[[str, int, int], None] | None,
        funding: FloatArray | None,
    ) -> None:
        self.record = record
        self.settings = settings.model_copy(update={"model": settings.model.model_copy(update={"label": LABEL})})
        self.seed = settings.model.seed
        self.calendar = calendar or get_calendar(settings.market.calendar)
        self.label = named_label(LABEL, settings.model.horizon_bars, self.calendar)
        self.report = progress or (lambda stage, done, total: None)
        self.seconds: dict[str, float] = {}
        self.all_bars = bars
        self.material, self.dataset = self._prepare(bars, funding)
        # Trials on older bars say nothing about these: nobody could have chosen by what had not happened yet.
        self.book = TrialBook(self.material.bars, log)

    def _prepare(self, bars: Bars, funding: FloatArray | None) -> tuple[Material, Dataset]:
        """Bring what was said to the bars it was said of, from the first of them on."""
        horizon = self.settings.model.horizon_bars
        row = np.searchsorted(bars.close_time, self.record.close_time)
        row = np.minimum(row, len(bars) - 1)
        there = bars.close_time[row] == self.record.close_time
        row = row[there]
        if len(row) <= horizon:
            raise self._too_few(0)
        said = np.full(len(bars), np.nan)
        said[row] = self.record.p_up[there]
        since = slice(int(row[0]), None)
        said = said[since]
        material = Material(
            bars=bars[since],
            values=said[:, None],
            columns=("p_up",),
            volatility=sizing_volatility(bars)[since],
            moves=horizon_moves(bars, horizon)[since],
            settings=self.settings,
            bars_per_year=self.calendar.bars_per_year(bars.timeframe),
            funding=None if funding is None else funding_column(funding, len(bars))[since],
        )
        # A bar without a word is no sample, and no fault of a column's either: it is left out after the join.
        silent = np.isnan(said)
        joined = build_dataset(material.bars, np.where(silent, 0.5, said)[:, None], ("p_up",), self.label, warmup=0)
        dataset = joined.take(~silent[joined.row], silent=int(silent[joined.row].sum()))
        if len(dataset) < forecasts_to_qualify(horizon):
            raise self._too_few(len(dataset))
        return material, dataset

    def _too_few(self, n: int) -> EvaluationError:
        horizon, series = self.settings.model.horizon_bars, f"{self.all_bars.symbol} {self.all_bars.timeframe}"
        needed = forecasts_to_qualify(horizon)
        out = ", ".join(f"{count:,} {reason}" for reason, count in self.record.left_out.items() if count)
        told = f" (not counted: {out})" if out else ""
        return EvaluationError(
            f"the ensemble of {series} has {n:,} recorded forecasts whose outcome is known{told}, and {needed:,} are "
            f"needed before anything can qualify: let the hub run on for about {needed - n:,} more bars"
        )

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        self.report(name, 0, 1)
        yield
        self.report(name, 1, 1)
        self.seconds[name] = time.perf_counter() - began

    def judge(self, created_at_ms: int) -> StudyResult[EnsembleVersion]:
        """Carry the judgement out, stage by stage."""
        config, material = config_digest(self._configuration()), self.material
        share = final_share(self.book, self.dataset)
        folds, last = walk_forward(self.dataset, self.settings.model.folds, share, shares={"fit": 1.0})
        with self._stage("folds"):
            judged = []
            for number, parts in enumerate(folds):
                judged.append(self._assess(parts, self._recipe(material, parts), number))
                self.report("folds", number + 1, len(folds))
            pooled = window_figures("walk_forward", material, parts_of(judged), seed=self.seed)
            significance = significance_of(self.book, config, material, folds, judged)
        with self._stage("thresholds"):
            recipe = self._recipe(material, last)
        with self._stage("verification"):
            verification = self._verify()
        with self._stage("final"):
            span = last["test"]
            seen = self.book.look(int(span.close_time[0]), int(span.close_time[-1]), config)
            final = window_figures(
                "final", material, parts_of([self._assess(last, recipe, len(folds))]), seed=self.seed
            )
        figures = gate_figures(
            pooled, final, significance, dirty_columns=verification["dirty_columns"], final_seen=seen
        )
        gates = tuple(judge(figures, self.settings.gates))
        bars, forecasters = material.bars, tuple(sorted(self.record.forecasters))
        version = EnsembleVersion(
            symbol=bars.symbol,
            timeframe=bars.timeframe,
            horizon_bars=material.horizon_bars,
            label=LABEL,
            entry_threshold=recipe.policy.entry_threshold,
            exit_threshold=recipe.policy.exit_threshold,
            forecasters=forecasters,
            costs=self.settings.costs,
            risk=self.settings.risk,
            funded=material.funding is not None,
            calibration=stored_calibration(final),
            metrics={**stored_metrics(pooled, final, significance), "n_forecasts": len(self.dataset)},
            gates=[gate.as_dict() for gate in gates],
            created_at_ms=created_at_ms,
        )
        gaps = find_gaps(bars, self.calendar)
        return StudyResult(
            symbol=bars.symbol,
            timeframe=bars.timeframe,
            model_id=version.model_id,
            history_digest=self.book.digest,
            config_digest=config,
            n_bars=len(bars),
            start_ms=int(bars.open_time[0]),
            end_ms=int(bars.close_time[-1]),
            missing_bars=count_missing(gaps),
            holes=tuple((gap.start_ms, gap.end_ms, gap.missing_bars) for gap in gaps),
            columns=forecasters,
            horizon_bars=material.horizon_bars,
            label=LABEL,
            folds=tuple(
                fold_figures(k, parts, fold.recipe, fold.model, horizon_bars=material.horizon_bars)
                for k, (parts, fold) in enumerate(zip(folds, judged, strict=True))
            ),
            walk_forward=pooled,
            final=final,
            final_seen_before=seen,
            significance=significance,
            thresholds=threshold_map(recipe),
            importance=dict(sorted(self.record.weights.items(), key=lambda item: -item[1])),
            verification=verification,
            gates=gates,
            settings=plain(
                self.settings.model_dump(
                    mode="json", exclude={"alerts", "hub", "api", "home", "language", "log", "registry_url"}
                )
            ),
            seconds=dict(self.seconds),
            bundle=version,
        )

    def _configuration(self) -> dict[str, Any]:
        """Return everything that shapes the trial's out-of-sample result: another ensemble is another trial."""
        model = self.settings.model
        return {
            "ensemble": sorted(self.record.forecasters),
            "code": self.record.code,
            "without_champion": self.record.without_champion,
            "model": model.model_dump(mode="json", include={"horizon_bars", "folds", "threshold_pairs", "seed"}),
            **self.settings.model_dump(mode="json", include={"costs", "risk"}),
            "funding": self.material.funding is not None,
        }

    def _recipe(self, material: Material, parts: Mapping[str, Dataset]) -> Recipe[SaidBefore]:
        """Choose thresholds on everything before a test part; what was said is calibrated already."""
        before = parts["fit"]
        persistence = Persistence.count(material.moves[before.row], before.y)
        return choose_thresholds(material, SaidBefore(), Calibrator("identity"), before, persistence)

    def _assess(self, parts: Mapping[str, Dataset], recipe: Recipe[SaidBefore], number: int) -> Judged:
        other = replace(self.material, values=_of_other_bars(self.material.values, [self.seed, number]))
        dummy = assess_recipe(other, self._recipe(other, parts), parts["test"])
        return assess(self.material, recipe, parts["test"], dummy)

    def _verify(self) -> dict[str, Any]:
        """Prove the forecasters' columns on the newest bars; what the log does not give again counts with them."""
        engine = FeatureEngine(feature_spec(self.all_bars, self.settings))
        found = verify_recent(Pipeline(engine, self.label), self.all_bars, seed=self.seed)
        dirty = found["dirty_columns"] + self.record.doubtful
        return {**found, "forecasts_not_said_again": self.record.doubtful, "dirty_columns": dirty}


def _of_other_bars(values: FloatArray, seed: list[int]) -> FloatArray:
    """Return what was said, each word moved to a far bar: labels shuffled for a record that learnt from none.

    All move by the same number of words, so that neighbours stay neighbours and the dummy trades no more often.
    """
    said = np.flatnonzero(np.isfinite(values[:, 0]))
    far = int(np.random.default_rng(seed).integers(len(said) // 4, 3 * len(said) // 4))
    moved = values.copy()
    moved[said, 0] = np.roll(values[said, 0], far)
    return moved
