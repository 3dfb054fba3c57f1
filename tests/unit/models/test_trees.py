"""LightGBM's text: what is cut off, of another kind or does not hold together is refused with the reason."""

from __future__ import annotations

import re

import numpy as np
import pytest
from tests.fakes.models import small_bundle

from kalibre.core.errors import ModelError
from kalibre.models.gradient_boosting import GradientBoosting
from kalibre.models.trees import parse


@pytest.fixture(scope="module")
def text() -> str:
    return small_bundle().classifier.text


def changed(text: str, pattern: str, replacement: str) -> str:
    after, count = re.subn(pattern, replacement, text, count=1, flags=re.MULTILINE)
    assert count == 1
    return after


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        (r"^objective=.*$", "objective=regression", "objective 'regression'"),
        (r"\Atree", "forest", "no LightGBM model"),
        (r"^num_leaves=\d+$", "num_leaves=three", "tree 0 .* cannot be read"),
        (r"^num_leaves=\d+$", "num_leaves=900", "tree 0 of 900 leaves holds arrays"),
        (r"^left_child=.*?( |$)", r"left_child=0\1", "left_child .* does not form a tree"),
        (r"^right_child=.*?( |$)", r"right_child=-99\1", "right_child .* does not form a tree"),
        (r"^split_feature=\d+", "split_feature=9999", "splits on column 9999"),
        (r"^decision_type=\d+", "decision_type=1", "decision types"),
        (r"^decision_type=\d+", "decision_type=10", "decision types"),
        (r"^threshold=\S+", "threshold=inf", "not finite"),
        (r"^leaf_value=\S+", "leaf_value=nan", "not finite"),
        (r"^leaf_value=\S+", "leaf_value=1.0.0", "cannot be read"),
    ],
)
def test_planted_damage_is_named(text, pattern, replacement, message):
    with pytest.raises(ModelError, match=message):
        parse(changed(text, pattern, replacement))


def test_every_truncation_is_detected(text):
    ends_of_lines = [at for at, letter in enumerate(text) if letter == "\n"][:-1]
    for end in [*range(0, len(text) - 1, max(len(text) // 300, 1)), *ends_of_lines, len(text) - 3]:
        with pytest.raises(ModelError):
            parse(text[:end])


def test_a_tree_without_splits_is_its_leaf():
    import lightgbm

    features = np.random.default_rng(0).standard_normal((300, 2))
    y = (np.arange(300) % 3 == 0).astype(float)
    train = lightgbm.Dataset(features, y, params={"verbosity": -1})
    parameters = {"objective": "binary", "min_data_in_leaf": 299, "verbosity": -1, "num_threads": 1}
    booster = lightgbm.train(parameters, train, num_boost_round=2)
    model = GradientBoosting.from_text(booster.model_to_string())
    np.testing.assert_allclose(model.predict_proba(features), booster.predict(features), atol=1e-15)
    assert model.importance() == {"Column_0": 0.0, "Column_1": 0.0}
