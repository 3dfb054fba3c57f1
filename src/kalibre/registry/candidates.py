"""Candidates: a trained, judged and stored model, and what can still be asked about it later."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kalibre.core.bars import Bars
from kalibre.core.clock import Clock, SystemClock, to_text
from kalibre.core.errors import RegistryError, UsageError
from kalibre.core.events import ModelTrained, Promotion, new_event, series_key
from kalibre.core.protocols import FloatArray
from kalibre.core.settings import Settings

if TYPE_CHECKING:
    from kalibre.evaluation.backtest import FundingPaid
    from kalibre.log.protocol import EventLog
    from kalibre.models.bundle import ModelBundle
    from kalibre.models.ensemble_version import EnsembleVersion

Progress = Callable[[str, int, int], None]


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

    Funding rates that the log holds for the bars are charged on top of the costs. The bundle is stored before the log
    names it: a `model` event never points at nothing.

    Raises
    ------
    KalibreError
        Whatever the study refuses (too few bars, one class only, a full disk); then nothing is stored.
    """
    from kalibre.bars.calendars import get_calendar
    from kalibre.bars.funding import load_funding, missing_funding
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
        funding=load_funding(log, bars),
    )
    study = {**result.as_dict(), "funding_missing": missing_funding(log, bars)}
    folder = result.bundle.save(settings.models_dir)
    store_study(settings, study)
    record_model(log, result.bundle, now_ms)
    return Candidate(study=study, folder=folder, bundle=result.bundle)


def record_model(log: EventLog, bundle: ModelBundle | EnsembleVersion, now_ms: int) -> None:
    """Write into the log that a model, or the ensemble as a version, was stored."""
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


def store_study(settings: Settings, study: Mapping[str, Any]) -> None:
    """Store a study under its model's id, whole or not at all.

    Raises
    ------
    RegistryError
        If it cannot be written; the message names the file.
    """
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
    from kalibre.models.bundle import known_model_id

    folder = settings.home / "studies"
    stored = [file.stem for file in folder.glob("*.json")] if folder.is_dir() else []
    path = _study_path(settings, known_model_id(model, stored, where=folder))
    try:
        study: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RegistryError(f"study {str(path)!r} cannot be read: {error}; mend that or train again") from error
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
    newest = _newest_model(log, key)
    if newest is None:
        raise RegistryError(f"no model was trained for {key!r} yet: run `kalibre train` first, or name one by --model")
    return newest


def _newest_model(log: EventLog, key: str) -> str | None:
    """Return the model that was trained last; an ensemble version is none, it computes no forecast."""
    from kalibre.models.ensemble_version import is_ensemble

    before: int | None = None
    while found := log.read(kinds={"model"}, key=key, upto=before, limit=1, descending=True):
        payload = found[0].payload
        if isinstance(payload, ModelTrained) and not is_ensemble(payload.model):
            return payload.model
        before = found[0].seq - 1
    return None


def forecasts(bundle: ModelBundle, bars: Bars) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return raw score, calibrated p_up and volatility for each bar, NaN before the warm-up; shapes (n_bars,).

    Raises
    ------
    UsageError
        If the bars are of another timeframe than the model's.
    RegistryError
        If this version computes other features than the model was trained on.
    """
    from kalibre.features.engine import FeatureEngine
    from kalibre.trading.series import sizing_volatility

    if bars.timeframe != bundle.timeframe:
        raise UsageError(
            f"model {bundle.model_id!r} foretells bars of {bundle.timeframe}, these are {bars.timeframe} bars of "
            f"{bars.symbol}: load {bundle.timeframe} bars, or train a model on {bars.timeframe}"
        )
    engine = FeatureEngine(bundle.spec)
    if engine.fingerprint != bundle.feature_fingerprint:
        raise RegistryError(
            f"model {bundle.model_id!r} was trained on features {bundle.feature_fingerprint[:12]}, this version "
            f"computes {engine.fingerprint[:12]}: train again"
        )
    score = bundle.score(engine.batch(bars))
    return score, bundle.calibrator.apply(score), sizing_volatility(bars)


def backtest_bundle(
    bundle: ModelBundle,
    bars: Bars,
    *,
    calendar: str,
    study: Mapping[str, Any],
    log: EventLog | None = None,
    funding: FloatArray | None = None,
    funding_missing: Sequence[tuple[int, int]] = (),
) -> dict[str, Any]:
    """Trade a bundle on bars with its own thresholds, costs and limits; counts the bars its study had already seen.

    Parameters
    ----------
    log
        Where it is recorded, before any figure exists, that these bars were looked at: no later study can take them
        for an untouched final window. None keeps no memory, which suits simulations only.
    funding
        Shape (n_bars,), what a long pays a bar, as `kalibre.bars.funding.load_funding` gives it; None where no rate is
        recorded. The result's `funding` says what was charged, and in a `note` where study and backtest differ.
    funding_missing
        Stretches for which no rate is recorded, as `kalibre.bars.funding.missing_funding` tells them; noted too.

    Raises
    ------
    UsageError
        If the bars are of another timeframe than the model's.
    """
    from kalibre.bars.calendars import get_calendar
    from kalibre.evaluation.backtest import backtest
    from kalibre.evaluation.trials import TrialBook
    from kalibre.trading.policy import Policy

    _, p_up, volatility = forecasts(bundle, bars)
    if len(bars):
        TrialBook(bars, log).look(int(bars.close_time[0]), int(bars.close_time[-1]), bundle.model_id)
    outcome = backtest(
        bars,
        p_up,
        volatility,
        Policy(bundle.entry_threshold, bundle.exit_threshold),
        bundle.costs,
        bundle.risk,
        bars_per_year=get_calendar(calendar).bars_per_year(bundle.timeframe),
        horizon_bars=bundle.horizon_bars,
        funding=funding,
    )
    seen = int((bars.close_time <= study["end_ms"]).sum())
    return {
        "model": bundle.model_id,
        "bars": len(bars),
        "bars_seen_by_its_study": seen,
        **outcome.as_dict(),
        "funding": _funding_entry(bundle, bars, outcome.funding, funding_missing),
    }


def _funding_entry(
    bundle: ModelBundle, bars: Bars, paid: FundingPaid | None, missing: Sequence[tuple[int, int]]
) -> dict[str, Any]:
    charged = {"bars_due": 0, "bars_charged": 0, "paid": 0.0} if paid is None else asdict(paid)
    note = ""
    if paid is None:
        note = f"no funding recorded for these bars of {bars.symbol}"
    if bundle.funded and paid is None:
        note += (
            ", though the model's study charged it: the result is too good by what holding cost; ingest from a source "
            "that knows the rates (binance with market = 'perpetual', files with funding_path)"
        )
    elif paid is not None and not bundle.funded:
        note = "the model's study knew of no funding: its thresholds were chosen as if holding were free"
    if missing:
        spans = ", ".join(f"{to_text(start)} to {to_text(end)}" for start, end in missing)
        note = f"{note}; " * bool(note) + f"no rate is recorded from {spans}: holding looks free there"
    return {**charged, "charged_in_study": bundle.funded, "note": note}
