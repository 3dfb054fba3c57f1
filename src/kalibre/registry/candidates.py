"""Candidates: a trained, judged and stored model, and what can still be asked about it later."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kalibre.core.bars import Bars
from kalibre.core.clock import Clock, SystemClock
from kalibre.core.errors import EvaluationError, RegistryError
from kalibre.core.events import ModelTrained, Promotion, new_event, series_key
from kalibre.core.protocols import FloatArray
from kalibre.core.settings import Settings

if TYPE_CHECKING:
    from kalibre.log.protocol import EventLog
    from kalibre.models.bundle import ModelBundle

Progress = Callable[[str, int, int], None]
_LEAST_INDEPENDENT = 400
"""A calibration error needs so many forecasts whose horizons do not overlap; recalibration judges on one half."""


@dataclass(frozen=True)
class Candidate:
    """A model that was trained and stored: its study as plain data, its folder, its bundle."""

    study: Mapping[str, Any]
    folder: Path
    bundle: ModelBundle


def train_candidate(
    log: EventLog,
    bars: Bars,
    settings: Settings,
    *,
    final: bool = True,
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> Candidate:
    """Run the study on bars, store its model and its figures, and record both; nothing is promoted.

    The bundle is stored before the log names it: a `model` event never points at nothing.

    Raises
    ------
    KalibreError
        Whatever the study refuses (too few bars, one class only, a full disk); then nothing is stored.
    """
    from kalibre.bars.calendars import get_calendar
    from kalibre.evaluation.study import run_study

    now_ms = (clock or SystemClock()).now_ms()
    result = run_study(
        bars,
        settings,
        log=log,
        calendar=get_calendar(settings.market.calendar),
        final=final,
        progress=progress,
        created_at_ms=now_ms,
    )
    study = result.as_dict()
    folder = result.bundle.save(settings.models_dir)
    _store_study(settings, study)
    _record(log, result.bundle, now_ms)
    return Candidate(study=study, folder=folder, bundle=result.bundle)


def _record(log: EventLog, bundle: ModelBundle, now_ms: int) -> None:
    # A figure that could not be measured (too few samples for a calibration error) is None: the log holds no NaN.
    metrics = {
        name: float(value) if value is not None and math.isfinite(value) else None
        for name, value in bundle.metrics.items()
        if isinstance(value, float | int | None)
    }
    event = ModelTrained(model=bundle.model_id, digest=bundle.digest, metrics=metrics)
    log.append([new_event(series_key(bundle.symbol, bundle.timeframe), now_ms, event)], writer="training")


def _study_path(settings: Settings, model: str) -> Path:
    return settings.home / "studies" / f"{model}.json"


def _store_study(settings: Settings, study: Mapping[str, Any]) -> None:
    path = _study_path(settings, study["model_id"])
    temporary = path.with_suffix(".json.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as stream:
            json.dump(study, stream, allow_nan=False)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise RegistryError(f"study cannot be stored at {str(path)!r}: {error}; free space or change `home`") from error


def load_study(settings: Settings, model: str) -> dict[str, Any]:
    """Read the study of a stored model.

    Raises
    ------
    RegistryError
        If there is none or it is torn; the message names the file.
    """
    path = _study_path(settings, model)
    try:
        study: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        stored = sorted(file.stem for file in path.parent.glob("*.json")) if path.parent.is_dir() else []
        known = f"there are {', '.join(stored)}" if stored else "there is none yet: run `kalibre train`"
        raise RegistryError(f"model {model!r} has no study in {str(path.parent)!r}; {known}") from error
    except json.JSONDecodeError as error:
        raise RegistryError(f"study {str(path)!r} is torn: {error}; train the model again") from error
    return study


def model_of(log: EventLog, settings: Settings) -> str:
    """Return the model a command means when none is named: the champion of the first symbol, else its newest model.

    Raises
    ------
    RegistryError
        If no model was ever trained for it.
    """
    key = series_key(settings.market.symbols[0], settings.market.timeframe)
    champion = log.latest("promotion", key=f"{key}|champion")
    if champion is not None and isinstance(champion.payload, Promotion) and champion.payload.model is not None:
        return champion.payload.model
    newest = log.latest("model", key=key)
    if newest is None or not isinstance(newest.payload, ModelTrained):
        raise RegistryError(f"no model was trained for {key!r} yet: run `kalibre train` first, or name one by --model")
    return newest.payload.model


def forecasts(bundle: ModelBundle, bars: Bars) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return raw score, calibrated p_up and volatility for each bar, NaN before the warm-up; shapes (n_bars,)."""
    from kalibre.features.engine import FeatureEngine
    from kalibre.trading.series import sizing_volatility

    engine = FeatureEngine(bundle.spec)
    if engine.fingerprint != bundle.feature_fingerprint:
        raise RegistryError(
            f"model {bundle.model_id!r} was trained on features {bundle.feature_fingerprint[:12]}, this version "
            f"computes {engine.fingerprint[:12]}: train again"
        )
    score = bundle.score(engine.batch(bars))
    return score, bundle.calibrator.apply(score), sizing_volatility(bars)


def backtest_bundle(
    bundle: ModelBundle, bars: Bars, *, calendar: str, study: Mapping[str, Any]
) -> dict[str, str | int | float | dict[str, Any]]:
    """Trade a bundle on bars with its own thresholds, costs and limits; counts the bars its study had already seen."""
    from kalibre.bars.calendars import get_calendar
    from kalibre.evaluation.backtest import backtest
    from kalibre.trading.policy import Policy

    _, p_up, volatility = forecasts(bundle, bars)
    outcome = backtest(
        bars,
        p_up,
        volatility,
        Policy(bundle.entry_threshold, bundle.exit_threshold),
        bundle.costs,
        bundle.risk,
        bars_per_year=get_calendar(calendar).bars_per_year(bundle.timeframe),
        horizon_bars=bundle.horizon_bars,
    )
    seen = int((bars.open_time <= study["end_ms"]).sum())
    return {"model": bundle.model_id, "bars": len(bars), "bars_seen_by_its_study": seen, **outcome.as_dict()}


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

    The first half of the later forecasts fits the new calibrator, the second half judges old and new alike. The new
    version keeps the classifier; it carries a gate that no one has passed for it yet, so it can only run in shadow.

    Raises
    ------
    EvaluationError
        If too few forecasts have matured since the study (800 that do not overlap); the message says how many.
    """
    from kalibre.evaluation.calibration import calibration_error, fit_calibrator

    score, p_up, _ = forecasts(bundle, bars)
    horizon = bundle.horizon_bars
    went_up = np.full(len(bars), np.nan)
    went_up[:-horizon] = bars.close[horizon:] > bars.close[:-horizon]
    rows = np.flatnonzero((bars.open_time > study["end_ms"]) & np.isfinite(p_up) & np.isfinite(went_up))
    needed = 2 * _LEAST_INDEPENDENT * horizon
    if len(rows) < needed:
        raise EvaluationError(
            f"only {len(rows)} forecasts of {bundle.model_id} have matured since its study, {needed} are needed: "
            "ingest later bars first"
        )
    # The labels of the last `horizon` fitting rows reach into the judging half: purge them.
    fit, judge = rows[: len(rows) // 2 - horizon], rows[len(rows) // 2 :]
    calibrator = fit_calibrator(score[fit], went_up[fit], horizon_bars=horizon)
    seed = settings.model.seed
    before = calibration_error(p_up[judge], went_up[judge], horizon_bars=horizon, seed=seed)
    after = calibration_error(calibrator.apply(score[judge]), went_up[judge], horizon_bars=horizon, seed=seed)
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
    _store_study(
        settings, {**study, "model_id": recalibrated.model_id, "qualifies": False, "gates": recalibrated.gates}
    )
    _record(log, recalibrated, now_ms)
    return {
        "model": recalibrated.model_id,
        "from": bundle.model_id,
        "n_samples": len(rows),
        "before": {"ece": before.ece, "band": list(before.band)},
        "after": {"ece": after.ece, "band": list(after.band)},
    }
