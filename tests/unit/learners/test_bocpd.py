"""Change-point detection against the paper's recursion in full, and against planted changes and plain noise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.special import gammaln, logsumexp
from scipy.stats import t as student

from kalibre.learners import _bocpd as bocpd

CENTRE, WITHIN, BETWEEN = np.array([-6.0, 0.0]), np.array([0.09, 0.7]), np.array([0.25, 0.07])
HAZARD = 1 / 500


def runs_of(most: int = 64) -> Any:
    runs = bocpd.new_runs(most)
    bocpd.expect(runs, CENTRE, WITHIN, BETWEEN)
    return runs


def noise(n: int, seed: int) -> Any:
    return CENTRE + np.random.default_rng(seed).normal(size=(n, 2)) * np.sqrt(WITHIN)


def follow(seen: Any, *, most: int = 64, hazard: float = HAZARD, least: float = 1e-6) -> Any:
    """Return (log-likelihood, likeliest length, expected length, P(recent)) of each bar, shape (n_bars, 4)."""
    runs = runs_of(most)
    return np.array([bocpd.update(runs, *row, hazard, least, 20.0) for row in seen.tolist()])


def directly(seen: Any, hazard: float) -> Any:
    """Return the same from the whole run-length distribution, every posterior from its run's bars at once.

    Adams and MacKay (2007), algorithm 1, in log space; Murphy (2007) for the posterior.
    """
    n = len(seen)
    kappa, alpha, beta = WITHIN / BETWEEN, bocpd.SHAPE, WITHIN * (bocpd.SHAPE - 1.0)
    log_p, told = np.zeros(1), []
    for t in range(n):
        said = np.zeros(t + 1)
        for length in range(t + 1):
            own = seen[t - length : t]
            mean = own.mean(axis=0) if length else np.zeros(2)
            k, a = kappa + length, alpha + 0.5 * length
            m = (kappa * CENTRE + length * mean) / k
            b = beta + 0.5 * ((own - mean) ** 2).sum(axis=0) + 0.5 * kappa * length * (mean - CENTRE) ** 2 / k
            said[length] = student.logpdf(seen[t], 2.0 * a, m, np.sqrt(b * (k + 1.0) / (a * k))).sum()
        joint = log_p + said
        whole = logsumexp(joint)
        log_p = np.concatenate(([math.log(hazard)], joint - whole + math.log1p(-hazard)))
        p = np.exp(log_p)
        told.append((whole, p.argmax(), p @ np.arange(t + 2), p[:21].sum()))
    return np.array(told)


def shifted(seed: int, *, level: float = 0.0, lean: float = 0.0, at: int = 500, after: int = 200) -> Any:
    seen = noise(at + after, seed)
    seen[at:] += level, lean
    return seen


def delay(told: Any, at: int = 500) -> float:
    """Return after how many bars the likeliest run is the one that began with the change (within ten bars)."""
    lengths = told[at:, 1]
    found = np.flatnonzero(np.abs(lengths - np.arange(1, len(lengths) + 1)) <= 10)
    return float(found[0] + 1) if len(found) else math.inf


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_papers_recursion(seed: int) -> None:
    seen = np.concatenate(
        [noise(70, seed), noise(60, seed + 10) + np.array([0.7, 0.0]), noise(50, seed + 20) * np.array([1.0, 3.0])]
    )
    told, expected = follow(seen, most=256, least=0.0), directly(seen, HAZARD)
    assert told == pytest.approx(expected, rel=1e-9, abs=1e-10)
    assert len(set(expected[:, 1] - np.arange(1, len(seen) + 1))) > 1  # it did find a change


def test_a_table_of_few_runs_says_nearly_the_same() -> None:
    seen = np.concatenate([noise(400, 1), noise(300, 2) + np.array([0.5, 0.0]), noise(300, 3)])
    few, all_of_them = follow(seen), follow(seen, most=2_000, least=0.0)
    assert few[:, 0] == pytest.approx(all_of_them[:, 0], abs=0.05)
    assert few[:, 3] == pytest.approx(all_of_them[:, 3], abs=0.03)
    assert np.mean(few[:, 1] == all_of_them[:, 1]) > 0.99


def test_the_table_never_grows_and_stays_a_distribution() -> None:
    runs = runs_of(16)
    for row in noise(3_000, 4).tolist():
        bocpd.update(runs, *row, HAZARD, 0.0, 20.0)
        n = int(runs[-1, bocpd.LENGTH])
        assert n <= 16
        assert runs[:n, bocpd.LIKELY].sum() == pytest.approx(1.0, abs=1e-12)
        assert (np.diff(runs[:n, bocpd.LENGTH]) < 0.0).all()
    assert n == 16


def test_the_ratio_of_gammas_does_not_drift_over_a_long_run() -> None:
    runs = runs_of(4)
    for row in noise(50_000, 5).tolist():
        bocpd.update(runs, *row, 0.0, 0.0, 20.0)
    longest = runs[0]
    shape = bocpd.SHAPE + 0.5 * longest[bocpd.LENGTH]
    assert longest[bocpd.LENGTH] == 50_000
    assert math.log(longest[bocpd.RATIO]) == pytest.approx(gammaln(shape + 0.5) - gammaln(shape), abs=1e-9)


@pytest.mark.parametrize(
    ("level", "lean", "most_bars", "usual_bars"),
    [(math.log(2.0), 0.0, 10, 5), (-math.log(2.0), 0.0, 10, 5), (math.log(1.5), 0.0, 40, 15), (0.0, 2.0, 40, 15)],
)
def test_a_planted_change_is_found(level: float, lean: float, most_bars: int, usual_bars: int) -> None:
    """Volatility doubled, halved, up by half; and a drift of more than two deviations a bar."""
    delays = [delay(follow(shifted(seed, level=level, lean=lean))) for seed in range(20)]
    assert max(delays) <= most_bars
    assert np.median(delays) <= usual_bars


def test_who_expects_no_change_finds_none() -> None:
    """The planted failure: without a hazard the same changes stay unseen, so the test above tests something."""
    assert delay(follow(shifted(1, level=math.log(2.0)), hazard=1e-300)) > 10


def test_plain_noise_rarely_looks_like_a_change() -> None:
    """The likeliest run falls back at most as often as the hazard says that runs end."""
    alarms = bars = 0
    for seed in range(20):
        told = follow(noise(2_000, 100 + seed))
        alarms += int((np.diff(told[100:, 1]) < 0.0).sum())
        bars += len(told) - 100
        assert (told[100:, 3] > 0.5).mean() < 0.03
    assert alarms / bars < HAZARD


def test_a_change_told_is_recent_for_a_while_only() -> None:
    told = follow(shifted(3, level=math.log(2.0)))
    assert told[480, 3] < 0.2
    assert told[510, 3] > 0.9
    assert told[540, 3] < 0.1


def test_what_nothing_can_explain_begins_anew() -> None:
    runs = runs_of()
    for row in noise(100, 1).tolist():
        bocpd.update(runs, *row, HAZARD, 1e-6, 20.0)
    _, length, expected, recent = bocpd.update(runs, 1e200, 0.0, HAZARD, 1e-6, 20.0)
    assert (length, expected, recent) == (0.0, 0.0, 1.0)
    likelihood, *rest = bocpd.update(runs, -6.0, 0.1, HAZARD, 1e-6, 20.0)
    assert np.isfinite([likelihood, *rest]).all()
    assert np.isfinite(runs[: int(runs[-1, bocpd.LENGTH])]).all()


def test_what_is_expected_of_new_runs_may_change_on_the_way() -> None:
    runs = runs_of()
    for row in noise(100, 1).tolist():
        bocpd.update(runs, *row, HAZARD, 1e-6, 20.0)
    before = runs.copy()
    bocpd.expect(runs, CENTRE + 1.0, WITHIN * 2.0, BETWEEN)
    assert (runs[:-1] == before[:-1]).all()
    bocpd.update(runs, -6.0, 0.0, HAZARD, 1e-6, 20.0)
    newest = runs[int(runs[-1, bocpd.LENGTH]) - 1, bocpd.FIRST :].reshape(2, bocpd.NUMBER_COLUMNS)
    assert newest[:, bocpd.CENTRE] == pytest.approx(CENTRE + 1.0)
    assert newest[:, bocpd.SPREAD] == pytest.approx(WITHIN * 2.0 * (bocpd.SHAPE - 1.0))
