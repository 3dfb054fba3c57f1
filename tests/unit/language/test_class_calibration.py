"""Calibration of several classes: planted miscalibration is mended and measured, noise is not counted as error."""

import numpy as np
import pytest

from kalibre.core.errors import CalibrationError
from kalibre.language import calibration
from kalibre.language.calibration import ClassCalibrator


def planted(n, seed=0, factor=1.0):
    """Labels drawn from softmax of true scores; what is returned is those scores times a factor."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 1.5, (n, 3))
    p = calibration.softmax(scores)
    y = (rng.random((n, 1)) > p.cumsum(axis=1)).sum(axis=1).astype(np.int64)
    return scores * factor, y


@pytest.mark.parametrize("kind", calibration.KINDS)
def test_overconfidence_is_mended_on_new_samples(kind):
    scores, y = planted(6_000, factor=3.0)
    fitted = calibration.fit(scores[:3_000], y[:3_000], kind)
    before = calibration.error(calibration.softmax(scores[3_000:]), y[3_000:])
    after = calibration.error(fitted.apply(scores[3_000:]), y[3_000:])
    assert not before.inside
    assert before.ece > 0.08
    assert after.ece < 0.02


def test_temperature_is_found():
    scores, y = planted(8_000, factor=2.5)
    assert calibration.fit(scores, y, "temperature").slope[0] == pytest.approx(0.4, abs=0.03)


def test_class_that_is_told_too_often_is_mended_by_vector_scaling():
    scores, y = planted(6_000)
    biased = scores + np.array([0.0, 1.5, 0.0])
    fitted = calibration.fit(biased, y, "vector")
    assert calibration.log_loss(fitted.apply(biased), y) < calibration.log_loss(calibration.softmax(biased), y) - 0.05


def test_calibrated_forecasts_lie_in_the_band_nearly_always():
    inside = 0
    for seed in range(40):
        scores, y = planted(900, seed=seed)
        inside += calibration.error(calibration.softmax(scores), y, resamples=400, seed=seed).inside
    assert inside >= 36


def test_plain_error_counts_noise_and_the_other_does_not():
    scores, y = planted(600, seed=5)
    found = calibration.error(calibration.softmax(scores), y)
    assert found.ece <= found.ece_plain
    assert found.as_dict()["inside"] is True


def test_dict_keeps_it():
    scores, y = planted(500)
    for kind in calibration.KINDS:
        fitted = calibration.fit(scores, y, kind)
        assert np.allclose(ClassCalibrator.from_dict(fitted.as_dict()).apply(scores), fitted.apply(scores))


@pytest.mark.parametrize(
    "values", [{}, {"kind": "magic", "slope": [1], "offset": [0]}, {"kind": "vector", "slope": "x"}]
)
def test_torn_dict_is_refused(values):
    with pytest.raises(CalibrationError, match="no calibrator"):
        ClassCalibrator.from_dict(values)


def test_bad_input_is_refused():
    scores, y = planted(50)
    with pytest.raises(CalibrationError, match="one row a sample"):
        calibration.fit(scores, y[:-1])
    with pytest.raises(CalibrationError, match="not finite"):
        calibration.fit(np.full((50, 3), np.inf), y)
    with pytest.raises(CalibrationError, match="class 7"):
        calibration.fit(scores, np.full(50, 7))
    with pytest.raises(CalibrationError, match="does not sum"):
        calibration.error(np.full((50, 3), 0.5), y)
    with pytest.raises(CalibrationError, match="do not fit a calibrator"):
        calibration.fit(scores, y).apply(scores[:, :2])


def test_abstention_keeps_its_precision_and_gives_up_where_none_reaches_it():
    scores, y = planted(4_000)
    p = calibration.softmax(scores)
    found = calibration.tune_abstention(p, y, precision=0.85)
    named = p.max(axis=1) >= found.threshold
    assert np.mean((p.argmax(axis=1) == y)[named]) >= 0.85
    assert found.coverage == pytest.approx(named.mean())
    wrong = (p.argmax(axis=1) + 1) % 3
    assert calibration.tune_abstention(p, wrong, precision=0.85).threshold > 1.0


def test_where_all_are_right_the_least_sure_one_is_no_limit():
    y = np.arange(30) % 3
    p = np.full((30, 3), 5e-8)
    p[np.arange(30), y] = 1 - 1e-7
    found = calibration.tune_abstention(p, y, precision=0.8)
    assert (found.threshold, found.precision, found.coverage) == (0.8, 1.0, 1.0)


def test_of_few_samples_the_probabilities_say_the_threshold():
    scores, y = planted(300)
    p = calibration.softmax(scores)
    found = calibration.tune_abstention(p, y, precision=0.85)
    named = p.max(axis=1) >= found.threshold
    assert p.max(axis=1)[named].mean() >= 0.85
    assert found.precision == pytest.approx(np.mean((p.argmax(axis=1) == y)[named]))
    # One hit more or less does not move it.
    other = y.copy()
    other[np.argsort(-p.max(axis=1))[60]] = (p.argmax(axis=1) + 1)[np.argsort(-p.max(axis=1))[60]] % 3
    assert calibration.tune_abstention(p, other, precision=0.85).threshold == found.threshold
