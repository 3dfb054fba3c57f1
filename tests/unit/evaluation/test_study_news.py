"""A study reads the news on the bars where it is asked to, and proves an edge that lies nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kalibre.core.bars import Bars
from kalibre.core.settings import FeatureSettings, ModelSettings, Settings
from kalibre.evaluation.materials import feature_spec
from kalibre.evaluation.study import run_study
from kalibre.features.engine import FeatureEngine, FeatureSpec
from kalibre.log import open_log
from kalibre.sources.simulated import Simulated

MODEL = ModelSettings(folds=3, threshold_pairs=100, rounds=60)
NEWS = FeatureSettings(news=True)
COLUMNS = {"snews_impact", "snews_conf"}


@pytest.fixture(scope="module")
def bars() -> Bars:
    """A walk that nothing foretells but the headlines: they know, roughly, where the next four bars go."""
    walk = Simulated("driftless", seed=4, n_bars=9_600).simulate("SIM", "15m")[0]
    ahead = np.zeros(len(walk))
    ahead[:-4] = np.log(walk.close[4:] / walk.close[:-4])
    rng = np.random.default_rng(9)
    told = rng.random(len(walk)) < 0.8
    impact = np.tanh(0.6 * ahead / ahead.std() + rng.normal(0, 0.6, len(walk)))
    return replace(walk, news_impact=told * impact, news_conf=told * np.abs(impact))


def test_the_columns_are_seen_only_where_they_are_asked_for(bars: Bars) -> None:
    plain, asked = feature_spec(bars, Settings()), feature_spec(bars, Settings(features=NEWS))
    assert not COLUMNS & set(plain.names)
    assert set(asked.names) - set(plain.names) == COLUMNS
    taker = replace(bars, taker_buy_volume=bars.volume / 2)
    both, without = feature_spec(taker, Settings(features=NEWS)), feature_spec(taker, Settings())
    assert set(both.names) == COLUMNS | set(without.names)


def test_an_edge_that_lies_in_the_news_alone_is_found_with_them_and_not_without(bars: Bars, tmp_path) -> None:
    found = {}
    for name, features in (("with", NEWS), ("without", FeatureSettings())):
        with open_log(f"sqlite:///{tmp_path / name}.sqlite") as log:
            found[name] = run_study(bars, Settings(model=MODEL, features=features), log=log, created_at_ms=0)
    assert found["with"].walk_forward.forecast.auc > 0.6
    assert found["with"].qualifies, [gate.explanation for gate in found["with"].failed]
    assert abs(found["without"].walk_forward.forecast.auc - 0.5) < 0.03
    assert not found["without"].qualifies
    bundle = found["with"].bundle
    assert set(bundle.spec.names) >= COLUMNS
    # Served live, the bundle reads from each bar what the study read from the history.
    engine = FeatureEngine(FeatureSpec.from_dict(bundle.spec.as_dict()))
    rows = np.array([engine.step(bar) for bar in bars[:1_500]])
    assert np.array_equal(rows, engine.batch(bars[:1_500]), equal_nan=True)
