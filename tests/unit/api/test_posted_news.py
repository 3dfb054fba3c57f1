"""Posted bars for a model that reads news: they have to say what was known, and then count as stored ones do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.fakes.models import random_bars, small_bundle

from kalibre.api.posted import _ask
from kalibre.api.served import ServedModel
from kalibre.core.errors import ApiError
from kalibre.features.engine import FeatureEngine

COLUMNS = ("snews_impact", "snews_conf", "roc_10")


def test_a_model_that_reads_news_is_not_asked_without() -> None:
    bundle = small_bundle(columns=COLUMNS)
    bars = random_bars(40, seed=3, news=True)
    with pytest.raises(ApiError, match="reads snews_conf, snews_impact"):
        _ask(ServedModel(bundle), replace(bars, news_impact=None, news_conf=None))
    expected = bundle.predict(FeatureEngine(bundle.spec).batch(bars))[-1]
    assert _ask(ServedModel(bundle), bars) == expected


def test_a_model_that_reads_none_needs_none() -> None:
    assert 0 < _ask(ServedModel(small_bundle(columns=("roc_10",))), random_bars(40, seed=3)) < 1
