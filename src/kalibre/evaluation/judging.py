"""Judging: test parts as model and dummies went through them, what they amount to, and whether that could be luck.

It is the same whoever foresaw: a model that was fitted, or a record of what was said (`kalibre.evaluation.recorded`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kalibre.core.bars import Bars
from kalibre.dataset.join import Dataset
from kalibre.evaluation.dummies import unbeaten
from kalibre.evaluation.figures import Significance, WindowFigures, plain
from kalibre.evaluation.gates import GateFigures
from kalibre.evaluation.pipeline import Pipeline
from kalibre.evaluation.significance import (
    deflated_sharpe_ratio,
    probability_of_backtest_overfitting,
    sharpe_ratio,
    smallest_passing_sharpe,
)
from kalibre.evaluation.trials import TrialBook
from kalibre.evaluation.verification import verify
from kalibre.evaluation.walk_forward import (
    Classifier,
    Material,
    Outcome,
    Recipe,
    assess_pairs,
    assess_persistence,
    assess_recipe,
    pooled_returns,
)
from kalibre.evaluation.windows import Parts, gate_window

FINAL_SHARE = 0.2
"""Share of the samples that the final window takes."""
PBO_BLOCKS = 16
"""Blocks of each test part whose returns the PBO compares; `CSCV_BLOCKS` of them all are chosen on and judged on."""
CSCV_BLOCKS = 10
VERIFIED_BARS = 2000
"""Newest bars beyond the warm-up that every study verifies; `kalibre verify features` does all."""


@dataclass(frozen=True)
class Judged:
    """One test part as everyone went through it."""

    recipe: Recipe[Classifier]
    model: Outcome
    persistence: Outcome
    shuffled: Outcome


def assess(material: Material, recipe: Recipe[Classifier], part: Dataset, shuffled: Outcome) -> Judged:
    """Judge a recipe and persistence on a test part; what shuffled labels make of it is the caller's to say."""
    return Judged(
        recipe=recipe,
        model=assess_recipe(material, recipe, part),
        persistence=assess_persistence(material, recipe, part),
        shuffled=shuffled,
    )


def parts_of(judged: Sequence[Judged]) -> Parts:
    """Return consecutive test parts, player by player."""
    return Parts(
        model=[fold.model for fold in judged],
        persistence=[fold.persistence for fold in judged],
        shuffled=[fold.shuffled for fold in judged],
    )


def final_share(book: TrialBook, dataset: Dataset) -> float:
    """Take the usual share, or all that came after what was shown last if that is at least half as much."""
    usual = max(1, round(FINAL_SHARE * len(dataset)))
    first = int(dataset.close_time[len(dataset) - usual])
    last_shown = max((window.end_ms for window in book.shown()), default=0)
    if last_shown < first:
        return FINAL_SHARE
    unseen = int((dataset.close_time > last_shown).sum())
    return unseen / len(dataset) if 2 * unseen >= usual else FINAL_SHARE


def significance_of(
    book: TrialBook,
    config: str,
    material: Material,
    folds: Sequence[Mapping[str, Dataset]],
    judged: Sequence[Judged],
) -> Significance:
    """Record a trial, and say whether its Sharpe ratio could be luck given everything that was tried.

    Parameters
    ----------
    book
        Trials of the history; this one is recorded there.
    config
        Digest of what was tried.
    folds, judged
        The folds' parts, and how their tests went.
    """
    results = [fold.model.result for fold in judged]
    returns = pooled_returns(results)
    per_bar = sharpe_ratio(returns)
    time_ms = np.concatenate([fold.model.time_ms for fold in judged])
    tried = book.record(config, time_ms, returns, per_bar)
    year = math.sqrt(material.bars_per_year)
    gates = material.settings.gates
    passing = smallest_passing_sharpe(
        returns, n_trials=tried.effective, trial_sharpe_std=tried.sharpe_std, confidence=gates.min_dsr
    )
    earned = np.concatenate(
        [
            assess_pairs(material, fold.recipe, parts["test"], blocks=PBO_BLOCKS)
            for fold, parts in zip(judged, folds, strict=True)
        ]
    )
    earned = earned[:, np.isfinite(earned).all(axis=0)]
    return Significance(
        sharpe=per_bar * year,
        dsr=deflated_sharpe_ratio(
            returns,
            n_trials=tried.effective,
            trial_sharpe_std=tried.sharpe_std,
            n_trades=sum(result.n_trades for result in results),
        ),
        n_trials=tried.n_trials,
        effective_trials=tried.effective,
        trial_sharpe_std=tried.sharpe_std * year,
        smallest_passing_sharpe=max(passing * year, gates.min_sharpe),
        pbo=probability_of_backtest_overfitting(earned, blocks=CSCV_BLOCKS) if earned.shape[1] > 1 else float("nan"),
        n_returns=len(returns),
    )


def verify_recent(pipeline: Pipeline, bars: Bars, *, seed: int) -> dict[str, Any]:
    """Prove every column of a pipeline on the newest bars, in the short form; `dirty_columns` counts what failed."""
    longest = max(pipeline.warmup.values())
    recent = bars[max(0, len(bars) - longest - VERIFIED_BARS) :]
    report = verify(pipeline, recent, warmup=pipeline.warmup, cuts=4, altered_cuts=1, starts=1, seed=seed)
    content: dict[str, Any] = plain(report.as_dict())
    return {**content, "dirty_columns": len(report.offenders)}


def gate_figures(
    pooled: WindowFigures,
    final: WindowFigures | None,
    significance: Significance,
    *,
    dirty_columns: int,
    final_seen: bool,
) -> GateFigures:
    """Gather what the gates judge on; `final` is None where the final window was not looked at."""
    return GateFigures(
        walk_forward=gate_window(pooled),
        final=None if final is None else gate_window(final),
        dsr=significance.dsr,
        n_trials=significance.n_trials,
        n_trades=pooled.trading.n_trades,
        dirty_columns=dirty_columns,
        unbeaten=unbeaten(pooled.forecast, pooled.trading, pooled.dummies),
        final_seen=final_seen,
    )


def stored_calibration(latest: WindowFigures) -> dict[str, Any]:
    """Return what a stored version says of its calibration: that of the newest window."""
    return {
        "ece_calibrated": latest.forecast.ece,
        "ece_band": list(latest.forecast.ece_band),
        "window": latest.name,
        "n_samples": latest.forecast.n_samples,
    }


def stored_metrics(pooled: WindowFigures, latest: WindowFigures, significance: Significance) -> dict[str, Any]:
    """Return the figures that a stored version carries."""
    return {
        **{f"{pooled.name}_{name}": value for name, value in _headline(pooled).items()},
        **{f"{latest.name}_{name}": value for name, value in _headline(latest).items()},
        "dsr": significance.dsr,
        "pbo": significance.pbo,
        "n_trials": significance.n_trials,
        "smallest_passing_sharpe": significance.smallest_passing_sharpe,
    }


def _headline(window: WindowFigures) -> dict[str, float | int]:
    return {
        "auc": window.forecast.auc,
        "log_loss": window.forecast.log_loss,
        "brier": window.forecast.brier,
        "ece": window.forecast.ece,
        "sharpe": window.trading.sharpe,
        "max_drawdown": window.trading.max_drawdown,
        "win_rate": window.trading.win_rate,
        "n_trades": window.trading.n_trades,
        "total_return": window.trading.total_return,
    }
