"""Recalibration: a stored model's probabilities checked, and fitted anew, on bars later than its study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kalibre.core.bars import Bars
from kalibre.core.clock import Clock, SystemClock
from kalibre.core.errors import EvaluationError
from kalibre.core.protocols import FloatArray
from kalibre.core.settings import Settings
from kalibre.registry.candidates import forecasts, record_model, store_study

if TYPE_CHECKING:
    from kalibre.log.protocol import EventLog
    from kalibre.models.bundle import ModelBundle

_LEAST_INDEPENDENT = 400
"""A calibration error needs so many forecasts whose horizons do not overlap; recalibration judges on one half."""


def recalibrate(
    log: EventLog,
    bundle: ModelBundle,
    bars: Bars,
    settings: Settings,
    *,
    study: Mapping[str, Any],
    clock: Clock | None = None,
) -> dict[str, Any]:
    """Check a model's calibration on bars later than its study, and store a recalibrated version.

    The outcomes are the label's that the bundle learnt; where a horizon spans a hole there is none. The first half of
    the later forecasts fits the new calibrator, purged of what only became known within the second half, which judges
    old and new alike. That these bars were looked at is recorded first: no later study can take them for an untouched
    final window. The new version keeps the classifier; it carries a gate that no one has passed for it yet, so it can
    only run in shadow.

    Raises
    ------
    EvaluationError
        If too few forecasts have matured since the study (800 that do not overlap); the message says how many.
    UsageError
        If the bars are of another timeframe than the model's.
    """
    from kalibre.evaluation.calibration import calibration_error, fit_calibrator
    from kalibre.evaluation.trials import TrialBook

    score, p_up, _ = forecasts(bundle, bars)
    horizon = bundle.horizon_bars
    y, known_row = _outcomes(bundle, bars, settings)
    rows = np.flatnonzero((bars.close_time > study["end_ms"]) & np.isfinite(p_up) & np.isfinite(y))
    needed = 2 * _LEAST_INDEPENDENT * horizon
    if len(rows) < needed:
        raise EvaluationError(
            f"only {len(rows)} forecasts of {bundle.model_id} have matured since its study, {needed} are needed (one "
            f"half fits, the other judges, each by {_LEAST_INDEPENDENT} whose horizons of {horizon} do not overlap): "
            f"ingest at least {needed + horizon - len(rows):,} later bars of {bundle.symbol} {bundle.timeframe} first"
        )
    TrialBook(bars, log).look(int(bars.close_time[rows[0]]), int(bars.close_time[-1]), bundle.model_id)
    judge = rows[len(rows) // 2 :]
    fit = rows[: len(rows) // 2]
    fit = fit[known_row[fit] < judge[0]]
    calibrator = fit_calibrator(score[fit], y[fit], horizon_bars=horizon)
    seed = settings.model.seed
    before = calibration_error(p_up[judge], y[judge], horizon_bars=horizon, seed=seed)
    after = calibration_error(calibrator.apply(score[judge]), y[judge], horizon_bars=horizon, seed=seed)
    unjudged = {
        "name": "judged",
        "window": "pipeline",
        "figure": None,
        "comparison": ">=",
        "bar": 1.0,
        "passed": False,
        "explanation": f"Recalibrated from {bundle.model_id}: no study has judged this version yet; train to judge it.",
        "explanation_tr": f"{bundle.model_id} yeniden kalibre edildi; bu sürümü henüz bir çalışma değerlendirmedi.",
    }
    now_ms = (clock or SystemClock()).now_ms()
    recalibrated = replace(
        bundle,
        calibrator=calibrator,
        calibration={**bundle.calibration, **after.as_dict()},
        gates=[*bundle.gates, unjudged],
        created_at_ms=now_ms,
    )
    recalibrated.save(settings.models_dir)
    store_study(settings, {**study, "model_id": recalibrated.model_id, "qualifies": False, "gates": recalibrated.gates})
    record_model(log, recalibrated, now_ms)
    return {
        "model": recalibrated.model_id,
        "from": bundle.model_id,
        "n_samples": len(rows),
        "before": {"ece": before.ece, "band": list(before.band)},
        "after": {"ece": after.ece, "band": list(after.band)},
    }


def _outcomes(bundle: ModelBundle, bars: Bars, settings: Settings) -> tuple[FloatArray, NDArray[np.int64]]:
    """Return the label that a bundle learnt on bars, and the row at which each is known."""
    from kalibre.bars.calendars import get_calendar
    from kalibre.evaluation.materials import make_label

    learnt = settings.model.model_copy(update={"label": bundle.label, "horizon_bars": bundle.horizon_bars})
    label = make_label(settings.model_copy(update={"model": learnt}), get_calendar(settings.market.calendar))
    return label.compute(bars)
