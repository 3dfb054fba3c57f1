"""Significance: the papers' own numbers, false positives under nulls, and overfitting that is and is not there."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from kalibre.core.errors import EvaluationError
from kalibre.evaluation.significance import (
    LEAST_TRADES,
    Moments,
    cscv_logits,
    deflated_sharpe_ratio,
    expected_maximum_sharpe,
    probabilistic_sharpe_ratio,
    probability_of_backtest_overfitting,
    sharpe_ratio,
    smallest_passing_sharpe,
)

DAYS = 250
PAPER_STD = math.sqrt(0.5 / DAYS)
"""Bailey & Lopez de Prado (2014), "A numerical example": V[SR] = 1/2 annual, SR = 2.5 annual, 1,250 days."""


def paper(n_trials: float, skewness: float, kurtosis: float) -> float:
    moments = Moments(2.5 / math.sqrt(DAYS), skewness, kurtosis, 1_250)
    return probabilistic_sharpe_ratio(moments, benchmark=expected_maximum_sharpe(n_trials, PAPER_STD))


def test_the_papers_example():
    assert expected_maximum_sharpe(100, PAPER_STD) == pytest.approx(0.1132, abs=5e-5)
    assert paper(100, -3.0, 10.0) == pytest.approx(0.9004, abs=5e-5)
    assert paper(46, -3.0, 10.0) == pytest.approx(0.9505, abs=5e-5)
    assert paper(88, 0.0, 3.0) == pytest.approx(0.9505, abs=5e-5)


def test_the_expected_maximum_is_that_of_normal_draws():
    draws = np.random.default_rng(1).standard_normal((20_000, 50)).max(axis=1).mean()
    assert expected_maximum_sharpe(50, 1.0) == pytest.approx(draws, rel=0.02)
    assert expected_maximum_sharpe(1, 1.0) == 0.0
    assert expected_maximum_sharpe(1.2, 1.0) >= 0.0


def test_sharpe_is_annualised_by_the_square_root_of_the_year():
    returns = np.random.default_rng(1).normal(0.001, 0.01, 500)
    per_bar = returns.mean() / returns.std(ddof=1)
    assert sharpe_ratio(returns) == pytest.approx(per_bar)
    assert sharpe_ratio(returns, periods_per_year=35_040) == pytest.approx(per_bar * math.sqrt(35_040))


@pytest.mark.parametrize("value", [0.0, 0.1, -1e-9])
def test_returns_that_do_not_vary_prove_nothing(value):
    returns = np.full(100, value)
    assert sharpe_ratio(returns) == 0.0
    assert deflated_sharpe_ratio(returns, n_trials=1, trial_sharpe_std=0.0) == 0.0


def test_moments_are_scipys():
    from scipy import stats

    returns = np.random.default_rng(2).standard_t(4, 2_000) ** 2
    moments = Moments.of(returns)
    assert moments is not None
    assert moments.skewness == pytest.approx(stats.skew(returns))
    assert moments.kurtosis == pytest.approx(stats.kurtosis(returns, fisher=False))


def mostly_flat(seed: int, exposure: float, hold_bars: int = 4, n: int = 20_000) -> np.ndarray:
    """Return per-bar returns of a coin-flipping strategy in a driftless market of fat tails and changing volatility."""
    rng = np.random.default_rng(seed)
    volatility = np.exp(0.5 * np.repeat(rng.standard_normal(n // 96 + 1), 96)[:n])
    market = 1e-3 * rng.standard_t(4, n) * volatility
    start = rng.random(n) < exposure / hold_bars
    return market * (np.convolve(start, np.ones(hold_bars))[:n] > 0)


@pytest.mark.parametrize("exposure", [0.02, 0.2])
def test_false_positives_on_per_bar_returns_of_a_mostly_flat_strategy(exposure):
    passed = np.mean(
        [
            deflated_sharpe_ratio(mostly_flat(seed, exposure), n_trials=1, trial_sharpe_std=0.0) > 0.95
            for seed in range(400)
        ]
    )
    assert 0.02 <= passed <= 0.08


def test_more_trials_make_the_same_returns_worth_less():
    returns = np.random.default_rng(3).normal(0.06, 1.0, 2_000)
    dsr = [deflated_sharpe_ratio(returns, n_trials=n, trial_sharpe_std=0.02) for n in (1, 2, 10, 100, 1_000)]
    assert dsr == sorted(dsr, reverse=True)
    assert dsr[0] > 0.95 > dsr[-1]


@pytest.mark.parametrize("n_trials", [1, 20])
def test_the_best_of_worthless_trials_passes_no_more_often_than_it_may(n_trials):
    passed = 0
    for seed in range(300):
        trials = np.random.default_rng(seed).standard_normal((1_000, n_trials))
        ratios = trials.mean(axis=0) / trials.std(axis=0)
        spread = float(ratios.std(ddof=1)) if n_trials > 1 else 0.0
        best = trials[:, ratios.argmax()]
        passed += deflated_sharpe_ratio(best, n_trials=n_trials, trial_sharpe_std=spread) > 0.95
    assert passed / 300 <= 0.08


@pytest.mark.parametrize(("skew", "n_trials"), [(0, 1), (1, 1), (-1, 25), (1, 25)])
def test_the_smallest_passing_sharpe_just_passes(skew, n_trials):
    rng = np.random.default_rng(4)
    returns = rng.standard_normal(1_500) if not skew else skew * (rng.exponential(1.0, 1_500) - 1.0)
    passing = smallest_passing_sharpe(returns, n_trials=n_trials, trial_sharpe_std=0.03)
    moved = (returns - returns.mean()) / returns.std(ddof=1)

    def dsr(sharpe: float) -> float:
        return deflated_sharpe_ratio(moved + sharpe, n_trials=n_trials, trial_sharpe_std=0.03)

    assert dsr(passing) == pytest.approx(0.95, abs=1e-6)
    assert dsr(passing * 0.99) < 0.95 < dsr(passing * 1.01)


def test_too_few_returns_can_never_pass():
    one_lucky_day = np.zeros(100)
    one_lucky_day[40] = 9.0
    assert smallest_passing_sharpe(one_lucky_day, n_trials=1, trial_sharpe_std=0.0, confidence=0.99) == math.inf
    flat = smallest_passing_sharpe(np.zeros(1_001), n_trials=1, trial_sharpe_std=0.0)
    assert flat == pytest.approx(1.645 / math.sqrt(1_000), rel=0.01)


def few_trades(rng: np.random.Generator, n_trades: int, gain: float = 0.0, n: int = 8_000) -> np.ndarray:
    """Return per-bar returns of so many trades of one bar each, idle in between."""
    series = np.zeros(n)
    series[rng.choice(n, n_trades, replace=False)] = rng.normal(gain, 0.005, n_trades)
    return series


def test_one_winning_bar_proves_nothing():
    one = np.zeros(8_000)
    one[4_000] = 0.01
    assert deflated_sharpe_ratio(one, n_trials=1, trial_sharpe_std=0.0) > 0.95, "what the formula makes of it"
    assert math.isnan(deflated_sharpe_ratio(one, n_trials=1, trial_sharpe_std=0.0, n_trades=1))
    assert math.isnan(deflated_sharpe_ratio(one, n_trials=1, trial_sharpe_std=0.0, n_trades=LEAST_TRADES - 1))


@pytest.mark.parametrize("n_trades", [1, 5, 20, LEAST_TRADES, 100])
def test_false_positives_of_few_trades(n_trades):
    rng = np.random.default_rng(8)
    passed = np.mean(
        [
            deflated_sharpe_ratio(few_trades(rng, n_trades), n_trials=1, trial_sharpe_std=0.0, n_trades=n_trades) > 0.95
            for _ in range(500)
        ]
    )
    assert passed <= 0.08
    edge = few_trades(rng, n_trades, gain=0.004)
    known = deflated_sharpe_ratio(edge, n_trials=1, trial_sharpe_std=0.0, n_trades=n_trades)
    assert known > 0.99 if n_trades >= LEAST_TRADES else math.isnan(known)


@pytest.mark.parametrize("scale", [1e-200, 1e-81, 1e-30, 1e30, 1e150, 1e300])
def test_no_scale_is_too_small_or_too_large(scale):
    returns = np.random.default_rng(2).normal(0.1, 1.0, 500)
    expected, found = Moments.of(returns), Moments.of(returns * scale)
    assert expected is not None
    assert found is not None
    assert (found.sharpe, found.skewness, found.kurtosis) == pytest.approx(
        (expected.sharpe, expected.skewness, expected.kurtosis)
    )


def test_the_median_itself_is_no_better_than_the_median():
    """The best of each half is second of three in the other: log-odds of exactly 0, which counts as overfitted."""
    halves = np.array([[3.0, 2.0, 1.0], [2.0, 3.0, 1.0]])
    returns = np.concatenate([half + noise * np.ones(3) for half in halves for noise in (-1.0, 1.0)]).reshape(4, 3)
    assert cscv_logits(returns, blocks=2).tolist() == [0.0, 0.0]
    assert probability_of_backtest_overfitting(returns, blocks=2) == 1.0


def test_pbo_of_noise_is_a_coin_flip():
    rng = np.random.default_rng(6)
    pbos = [probability_of_backtest_overfitting(rng.standard_normal((320, 40)), blocks=8) for _ in range(60)]
    assert np.mean(pbos) == pytest.approx(0.5, abs=0.08)


def test_pbo_of_one_truly_good_strategy_is_near_0():
    returns = np.random.default_rng(7).standard_normal((2_000, 200))
    returns[:, 17] += 0.2
    assert probability_of_backtest_overfitting(returns) < 0.01


def test_pbo_of_strategies_that_win_once_and_lose_ever_after_is_near_1():
    returns = np.random.default_rng(8).standard_normal((1_600, 16)) * 0.1
    for k in range(16):
        returns[:, k] -= 0.05
        returns[k * 100 : (k + 1) * 100, k] += 1.5
    assert probability_of_backtest_overfitting(returns) > 0.8


def test_cscv_is_the_plain_loop():
    returns = np.random.default_rng(9).standard_normal((47, 7))
    returns[:, 3] = 0.0
    pieces = np.array_split(returns, 6)
    expected = []
    for chosen in combinations(range(6), 3):
        inside = np.concatenate([pieces[k] for k in chosen])
        outside = np.concatenate([pieces[k] for k in range(6) if k not in chosen])
        ratio = [np.divide(x.mean(0), x.std(0), where=x.std(0) > 0, out=np.zeros(7)) for x in (inside, outside)]
        best = int(ratio[0].argmax())
        rank = (ratio[1] < ratio[1][best]).sum() + ((ratio[1] == ratio[1][best]).sum() + 1) / 2
        expected.append(math.log(rank / 8 / (1 - rank / 8)))
    np.testing.assert_allclose(np.sort(cscv_logits(returns, blocks=6)), np.sort(expected), atol=1e-9)


@pytest.mark.parametrize(
    ("shape", "blocks", "message"),
    [((100, 1), 16, "at least 2 trials"), ((31, 5), 16, "31 periods"), ((100, 5), 7, "7 blocks"), ((100,), 4, "shape")],
)
def test_what_cscv_cannot_compare(shape, blocks, message):
    with pytest.raises(EvaluationError, match=message):
        probability_of_backtest_overfitting(np.random.default_rng(1).standard_normal(shape), blocks=blocks)


@pytest.mark.parametrize("returns", [[], [0.1], [0.1, math.nan], [[0.1, 0.2]]])
def test_returns_that_cannot_be_judged(returns):
    with pytest.raises(EvaluationError, match=r"return"):
        sharpe_ratio(np.array(returns))


@pytest.mark.parametrize(("n_trials", "std"), [(0, 0.1), (0.5, 0.1), (math.nan, 0.1), (3, -0.1), (3, math.nan)])
def test_trials_that_cannot_be_counted(n_trials, std):
    with pytest.raises(EvaluationError, match="n_trials"):
        deflated_sharpe_ratio(np.array([0.1, 0.2, 0.0]), n_trials=n_trials, trial_sharpe_std=std)


@pytest.mark.parametrize("confidence", [0.4, 1.0])
def test_a_confidence_out_of_range(confidence):
    with pytest.raises(EvaluationError, match=f"confidence {confidence}"):
        smallest_passing_sharpe(np.array([0.1, 0.2]), n_trials=1, trial_sharpe_std=0.0, confidence=confidence)
