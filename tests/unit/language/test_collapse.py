"""The guard passes healthy classifiers and stops collapsed ones with their figures."""

import numpy as np
import pytest

from kalibre.core.errors import EvaluationError, ModelError
from kalibre.language.collapse import figures, guard

CLASSES = ("negative", "neutral", "positive")


@pytest.fixture
def y():
    return np.repeat([0, 1, 2], [60, 300, 140])


def test_healthy_classifier_passes(y):
    rng = np.random.default_rng(0)
    told = np.where(rng.random(len(y)) < 0.7, y, rng.integers(0, 3, len(y)))
    seen = guard(y, told, CLASSES)
    assert seen.ratio > 0.8
    assert min(seen.recall.values()) > 0.5


def test_only_the_most_frequent_class_is_a_collapse(y):
    with pytest.raises(ModelError, match=r"collapsed: entropy 0\.00 bits.*recall negative 0\.00"):
        guard(y, np.ones(len(y), np.int64), CLASSES)


def test_lost_minority_is_a_collapse_however_good_the_accuracy(y):
    told = y.copy()
    told[y == 0] = 1
    told[:3] = 0
    assert np.mean(told == y) > 0.85
    with pytest.raises(ModelError, match="hardly ever found: negative"):
        guard(y, told, CLASSES)


def test_probabilities_that_say_the_same_of_all_are_a_collapse(y):
    with pytest.raises(ModelError, match="collapsed"):
        guard(y, np.tile([0.2, 0.5, 0.3], (len(y), 1)), CLASSES)


def test_diverged_probabilities_are_told(y):
    p = np.full((len(y), 3), np.nan)
    with pytest.raises(EvaluationError, match="not finite"):
        guard(y, p, CLASSES)


def test_small_class_is_not_judged():
    y = np.repeat([0, 1, 2], [3, 60, 60])
    told = y.copy()
    told[:3] = 1
    assert guard(y, told, CLASSES).recall["negative"] == 0.0


def test_nothing_or_unequal_lengths_are_refused(y):
    with pytest.raises(EvaluationError, match="0 predictions"):
        guard(y[:0], y[:0], CLASSES)
    with pytest.raises(EvaluationError, match="do not fit"):
        guard(y, y[:-1], CLASSES)
    with pytest.raises(EvaluationError, match="beyond"):
        guard(y, y, CLASSES[:2])


def test_figures_name_each_class(y):
    assert "recall negative 1.00, neutral 1.00, positive 1.00" in str(figures(y, y, CLASSES))
