"""Drift tests: against River and scipy, and against planted drifts and streams without any."""

from __future__ import annotations

import numpy as np
import pytest
from river import drift as river_drift
from scipy import stats

from kalibre.core.errors import EvaluationError
from kalibre.evaluation.drift import Adwin, PageHinkley, kolmogorov_smirnov, population_stability


def losses(seed: int, n: int, shift_at: int | None = None, by: float = 0.2) -> np.ndarray:
    values = np.random.default_rng(seed).beta(4, 4, n)
    if shift_at is not None:
        values[shift_at:] = np.minimum(values[shift_at:] + by, 1.0)
    return values


@pytest.mark.parametrize("seed", range(5))
def test_adwin_finds_a_planted_drift_about_when_river_does(seed: int) -> None:
    values = losses(seed, 4_000, shift_at=2_000)
    ours, theirs = Adwin(delta=0.002), river_drift.ADWIN(delta=0.002)
    found = [k for k, value in enumerate(values.tolist()) if ours.take(value)]
    told = []
    for k, value in enumerate(values.tolist()):
        theirs.update(value)
        if theirs.drift_detected:
            told.append(k)
    assert [k for k in found if k < 2_000] == []
    first = next(k for k in found if k >= 2_000)
    assert abs(first - next(k for k in told if k >= 2_000)) <= 64
    assert abs(ours.mean - values[-ours.length :].mean()) < 1e-9


def test_adwin_is_silent_without_drift_and_when_losses_fall() -> None:
    assert sum(bool(Adwin().take(v)) for v in losses(1, 10)) == 0
    quiet, better = Adwin(), Adwin()
    assert sum(bool(quiet.take(v)) for v in losses(9, 20_000).tolist()) == 0
    assert sum(bool(better.take(v)) for v in losses(9, 6_000, shift_at=3_000, by=-0.3).tolist()) == 0
    assert better.length <= 3_100, "the old mean is forgotten all the same"


def test_adwin_keeps_its_variance_through_cuts() -> None:
    test = Adwin()
    values = losses(3, 5_000, shift_at=2_500).tolist()
    for value in values:
        test.take(value)
    kept = np.array(values[-test.length :])
    assert test._spread / test.length == pytest.approx(kept.var(), rel=0.02)
    assert sum(map(len, test._rows)) < 90, "a window of any length costs the logarithm of it"


def test_page_hinkley_agrees_with_river() -> None:
    values = losses(4, 3_000, shift_at=1_500, by=0.3).tolist()
    ours = PageHinkley(delta=0.01, threshold=8.0, least=30)
    theirs = river_drift.PageHinkley(delta=0.01, threshold=8.0, min_instances=30, alpha=1.0, mode="up")
    found = [k for k, value in enumerate(values) if ours.take(value)]
    told = []
    for k, value in enumerate(values):
        theirs.update(value)
        if theirs.drift_detected:
            told.append(k)
    assert found
    assert found[0] == told[0]


@pytest.mark.parametrize("make", [Adwin, lambda: PageHinkley(delta=0.01, threshold=8.0, least=30)])
def test_states_go_on_where_they_were(make) -> None:
    values = losses(5, 3_000, shift_at=1_400, by=0.3).tolist()
    whole, first = make(), make()
    expected = [whole.take(value) for value in values]
    found = [first.take(value) for value in values[:1_467]]
    second = make()
    second.restore(first.state())
    found += [second.take(value) for value in values[1_467:]]
    assert found == expected
    assert second.state() == whole.state()


def test_kolmogorov_smirnov_is_scipys() -> None:
    random = np.random.default_rng(0)
    one, other = random.normal(size=700), random.normal(0.2, 1, size=450)
    distance, p = kolmogorov_smirnov(one, other)
    expected = stats.ks_2samp(one, other, method="asymp")
    assert distance == pytest.approx(expected.statistic, abs=1e-12)
    assert p == pytest.approx(expected.pvalue, rel=0.1)


def test_population_stability_sees_a_moved_distribution() -> None:
    random = np.random.default_rng(0)
    reference = random.normal(size=5_000)
    assert population_stability(reference, random.normal(size=5_000)) < 0.02
    assert population_stability(reference, random.normal(1.0, 1, size=5_000)) > 0.25
    assert population_stability(np.zeros(10), np.zeros(10)) == 0.0


@pytest.mark.parametrize("test", [population_stability, kolmogorov_smirnov])
def test_an_empty_sample_is_refused(test) -> None:
    with pytest.raises(EvaluationError, match="0 and 3"):
        test(np.array([]), np.ones(3))
