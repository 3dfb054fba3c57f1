"""The calibrator: monotone, inside (0, 1), stored exactly, and not made of what is none."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from kalibre.core.errors import CalibrationError
from kalibre.models.calibrator import Calibrator, log_odds, logistic

ISOTONIC = Calibrator("isotonic", scores=(0.2, 0.5, 0.9), probabilities=(0.3, 0.31, 0.8), n_samples=5000)
PLATT = Calibrator("platt", slope=0.5, intercept=-0.1, n_samples=300)
IDENTITY = Calibrator("identity")


@pytest.mark.parametrize("calibrator", [ISOTONIC, PLATT, IDENTITY], ids=lambda c: c.kind)
def test_monotone_and_strictly_inside(calibrator):
    p = calibrator.apply(np.linspace(0.0, 1.0, 2001))
    assert (np.diff(p) >= 0).all()
    assert p.min() > 0
    assert p.max() < 1


@pytest.mark.parametrize("calibrator", [ISOTONIC, PLATT, IDENTITY], ids=lambda c: c.kind)
def test_stored_exactly(calibrator):
    assert Calibrator.from_dict(json.loads(json.dumps(calibrator.as_dict()))) == calibrator


def test_values():
    np.testing.assert_allclose(ISOTONIC.apply(np.array([0.1, 0.35, 0.7, 0.95])), [0.3, 0.305, 0.555, 0.8])
    np.testing.assert_allclose(PLATT.apply(np.array([0.5])), 1 / (1 + math.exp(0.1)))
    np.testing.assert_array_equal(IDENTITY.apply(np.array([0.25])), [0.25])


def test_an_unknown_score_stays_unknown():
    for calibrator in (ISOTONIC, PLATT, IDENTITY):
        np.testing.assert_array_equal(np.isnan(calibrator.apply(np.array([np.nan, 0.5]))), [True, False])


@pytest.mark.parametrize("score", [-0.1, 1.5, np.inf])
def test_a_score_that_is_no_probability_is_quoted(score):
    with pytest.raises(CalibrationError, match=str(score)):
        ISOTONIC.apply(np.array([0.5, score]))


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "isotonic"},
        {"kind": "isotonic", "scores": (0.1, 0.2), "probabilities": (0.5,)},
        {"kind": "isotonic", "scores": (0.2, 0.1), "probabilities": (0.4, 0.5)},
        {"kind": "isotonic", "scores": (0.1, 0.2), "probabilities": (0.5, 0.5)},
        {"kind": "isotonic", "scores": (0.1, 0.2), "probabilities": (0.0, 0.5)},
        {"kind": "isotonic", "scores": (0.1, 0.2), "probabilities": (0.5, 1.0)},
        {"kind": "isotonic", "scores": (0.1, math.nan), "probabilities": (0.5, 0.6)},
        {"kind": "platt", "slope": -0.1},
        {"kind": "platt", "intercept": math.inf},
        {"kind": "magic"},
    ],
)
def test_what_is_no_monotone_map_is_refused(wrong):
    with pytest.raises(CalibrationError):
        Calibrator(**wrong)


@pytest.mark.parametrize("content", [{}, {**PLATT.as_dict(), "slope": "steep"}, {**PLATT.as_dict(), "scores": None}])
def test_what_cannot_be_read_is_refused(content):
    with pytest.raises(CalibrationError, match="cannot be read"):
        Calibrator.from_dict(content)


def test_logistic_undoes_log_odds_and_never_overflows():
    p = np.linspace(0.001, 0.999, 99)
    np.testing.assert_allclose(logistic(log_odds(p)), p)
    assert logistic(np.array([-1e4, 1e4])).tolist() == [0.0, 1.0]
