"""What positions are sized by has a unit: scaling a model's features must not reach it."""

from __future__ import annotations

import numpy as np

from kalibre.bars.calendars import get_calendar
from kalibre.core.bars import concat
from kalibre.core.settings import load_settings
from kalibre.evaluation.materials import feature_spec, prepare
from kalibre.features.engine import FeatureEngine
from kalibre.sources import open_source
from kalibre.trading.paper import paper_projection
from kalibre.trading.series import sizing_volatility


def test_scaled_features_leave_the_sizing_volatility_alone() -> None:
    bars = concat(list(open_source("simulated", seed=2, n_bars=3_000).history("X", "1h")))
    settings = load_settings(features={"scale_window": 200})
    engine = FeatureEngine(feature_spec(bars, settings))
    material, _ = prepare(bars, engine, settings, get_calendar("24/7"))
    np.testing.assert_array_equal(material.volatility, sizing_volatility(bars))
    steps = np.diff(np.log(bars.close))
    assert np.isclose(material.volatility[-1], steps[-20:].std(ddof=1), rtol=1e-6)
    scaled = engine.batch(bars)[:, engine.columns.index("realised_volatility_20")]
    assert not np.isclose(scaled[-1], material.volatility[-1]), "the scaled column would size positions by the hundred"


def test_the_default_timeframes_suit_hourly_bars_on_paper_as_well() -> None:
    settings = load_settings(market={"timeframe": "4h"})
    assert settings.features.higher_timeframes == ("1h", "4h")
    assert paper_projection(settings).name == "paper"
