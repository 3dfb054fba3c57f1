"""Materials: what a study works on, from bars and settings to columns, samples and the terms of trade."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

from kalibre.bars.calendars import Calendar
from kalibre.core.bars import Bars
from kalibre.core.catalog import part as load_part
from kalibre.core.protocols import FloatArray, Label
from kalibre.core.settings import Settings
from kalibre.core.timeframe import timeframes_above
from kalibre.dataset.join import Dataset, build_dataset
from kalibre.evaluation.dummies import horizon_moves
from kalibre.evaluation.walk_forward import Material
from kalibre.features.engine import FeatureEngine, FeatureSpec
from kalibre.trading.series import sizing_volatility


def prepare(
    bars: Bars, engine: FeatureEngine, settings: Settings, calendar: Calendar, *, funding: FloatArray | None = None
) -> tuple[Material, Dataset]:
    """Compute the columns of a history and join them with its labels.

    Raises
    ------
    DatasetError
        If there are too few bars for the warm-up, or one class only.
    """
    values = engine.batch(bars)
    columns = tuple(engine.columns)
    dataset = build_dataset(bars, values, columns, make_label(settings, calendar), warmup=engine.warmup_bars)
    material = Material(
        bars=bars,
        values=values,
        columns=columns,
        volatility=sizing_volatility(bars),
        moves=horizon_moves(bars, settings.model.horizon_bars),
        settings=settings,
        bars_per_year=calendar.bars_per_year(bars.timeframe),
        funding=funding,
    )
    return material, dataset


def configuration(settings: Settings, engine: FeatureEngine, seed: int) -> dict[str, Any]:
    """Return everything that shapes a trial's out-of-sample result on a given history."""
    chosen = settings.model_dump(mode="json", include={"features", "model", "costs", "risk"})
    return {**chosen, "seed": seed, "columns": list(engine.columns), "feature_fingerprint": engine.fingerprint}


def feature_spec(bars: Bars, settings: Settings, *, news: bool | None = None) -> FeatureSpec:
    """Return the columns to learn from: the default ones, and those that need taker volume where the bars have it.

    Those of headlines belong to them if `news` says so, or else `features.news` of the settings.

    Of the higher timeframes that the settings name, those not above the bars' own are left out: the default ones then
    suit any bars.
    """
    spec = FeatureSpec(
        timeframe=bars.timeframe,
        higher_timeframes=timeframes_above(bars.timeframe, settings.features.higher_timeframes),
        scale_window=settings.features.scale_window,
    )
    wanted = settings.features.news if news is None else news
    return spec.widened(taker=bars.taker_buy_volume is not None, news=wanted)


def make_label(settings: Settings, calendar: Calendar) -> Label:
    """Make the label that the settings name; one that can tell holes from nights is given the calendar."""
    return named_label(settings.model.label, settings.model.horizon_bars, calendar)


def named_label(name: str, horizon_bars: int, calendar: Calendar) -> Label:
    """Make a label by the name of its file, as settings and stored bundles give it.

    Raises
    ------
    KalibreError
        If there is none of that name, or it takes no such horizon.
    """
    label: Label = load_part("kalibre.labels", name).LABEL(horizon_bars=horizon_bars)
    if is_dataclass(label) and any(f.name == "calendar" for f in fields(label)):
        return replace(label, calendar=calendar)
    return label
