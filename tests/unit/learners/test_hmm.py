"""The hidden Markov model against enumeration of every path and against an independent Baum-Welch in log space."""

from __future__ import annotations

from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from kalibre.learners import _hmm as hmm

K = hmm.N_STATES
MOVES = slice(hmm.MOVES, hmm.MOVES + K)
MEANS = slice(hmm.MEAN, hmm.MEAN + 2)
VARIANCES = slice(hmm.VARIANCE, hmm.VARIANCE + 2)
FLOORS = np.array([1e-9, 1e-9])


def model_of(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    model = np.zeros((K, hmm.MODEL_COLUMNS))
    model[:, hmm.START] = rng.dirichlet(np.ones(K))
    model[:, MOVES] = rng.dirichlet(np.ones(K), size=K)
    model[:, MEANS] = rng.normal(size=(K, 2))
    model[:, VARIANCES] = rng.uniform(0.2, 2.0, size=(K, 2))
    return model


def seen_of(n: int, seed: int, *, unknown: float = 0.0, weighed: bool = True) -> Any:
    rng = np.random.default_rng(seed)
    seen = np.column_stack([rng.normal(size=(n, 2)) * 1.5, rng.uniform(0.3, 3.0, n) if weighed else np.ones(n)])
    seen[rng.random(n) < unknown] = np.nan
    return seen


def densities(seen: Any, model: Any) -> Any:
    """Return the log-density of each bar in each state, shape (n_bars, n_states)."""
    first = norm.logpdf(seen[:, :1], model[:, hmm.MEAN], np.sqrt(model[:, hmm.VARIANCE]))
    mean = model[:, hmm.MEAN + 1] * seen[:, 2:]
    second = norm.logpdf(seen[:, 1:2], mean, np.sqrt(model[:, hmm.VARIANCE + 1]))
    return np.where(np.isnan(seen[:, :1]), 0.0, first + second)


def log_forward(seen: Any, model: Any) -> Any:
    with np.errstate(divide="ignore"):
        start, moves = np.log(model[:, hmm.START]), np.log(model[:, MOVES])
    said = densities(seen, model)
    alpha = [start + said[0]]
    for row in said[1:]:
        alpha.append(logsumexp(alpha[-1][:, None] + moves, axis=0) + row)
    return np.array(alpha)


def one_round(seen: Any, model: Any) -> Any:
    """Return what one round of Baum-Welch makes of a model; in log space, all at once."""
    with np.errstate(divide="ignore"):
        moves = np.log(model[:, MOVES])
    said, alpha = densities(seen, model), log_forward(seen, model)
    beta = np.zeros_like(alpha)
    for t in range(len(seen) - 2, -1, -1):
        beta[t] = logsumexp(moves + said[t + 1] + beta[t + 1], axis=1)
    gamma = np.exp(alpha + beta - logsumexp(alpha[-1]))
    xi = alpha[:-1, :, None] + moves + (said + beta)[1:, None, :] - logsumexp(alpha[-1])
    better = model.copy()
    better[:, hmm.START] = gamma[0]
    moved = np.exp(xi).sum(axis=0)
    better[:, MOVES] = moved / moved.sum(axis=1, keepdims=True)
    known = ~np.isnan(seen[:, 0])
    x, y, w, g = seen[known, 0], seen[known, 1], seen[known, 2], gamma[known]
    held = g.sum(axis=0)
    better[:, hmm.MEAN] = g.T @ x / held
    better[:, hmm.MEAN + 1] = g.T @ (y * w) / (g.T @ (w * w))
    better[:, hmm.VARIANCE] = (g * (x[:, None] - better[:, hmm.MEAN]) ** 2).sum(axis=0) / held
    better[:, hmm.VARIANCE + 1] = (g * (y[:, None] - w[:, None] * better[:, hmm.MEAN + 1]) ** 2).sum(axis=0) / held
    better[:, hmm.HELD] = gamma.sum(axis=0)
    return better


# --- the filter -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unknown", [0.0, 0.4])
@pytest.mark.parametrize("seed", range(4))
def test_the_filter_is_the_sum_over_every_path(seed: int, unknown: float) -> None:
    model, seen = model_of(seed), seen_of(6, seed + 50, unknown=unknown)
    said = densities(seen, model)
    likelihood, filtered = hmm.log_likelihood(seen, model)
    for n in range(1, len(seen) + 1):
        by_end = np.zeros(K)
        for path in product(range(K), repeat=n):
            p = model[path[0], hmm.START] * np.exp(said[0, path[0]])
            for t in range(1, n):
                p *= model[path[t - 1], hmm.MOVES + path[t]] * np.exp(said[t, path[t]])
            by_end[path[-1]] += p
        assert filtered[n - 1] == pytest.approx(by_end / by_end.sum(), rel=1e-12)
    assert likelihood == pytest.approx(np.log(by_end.sum()), rel=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_the_filter_is_the_forward_pass_in_log_space(seed: int) -> None:
    """Also where bars are unknown or sixty deviations away, and over more bars than a product could hold."""
    model, seen = model_of(seed), seen_of(3_000, seed, unknown=0.1)
    seen[1_000] = 60.0, -60.0, 1.0
    seen[2_000, 1] = 500.0
    alpha = log_forward(seen, model)
    likelihood, filtered = hmm.log_likelihood(seen, model)
    assert likelihood == pytest.approx(logsumexp(alpha[-1]), rel=1e-12)
    expected = np.exp(alpha - logsumexp(alpha, axis=1, keepdims=True))
    assert filtered == pytest.approx(expected, abs=1e-10)


def test_one_step_a_bar_is_the_same_filter() -> None:
    model, seen = model_of(3), seen_of(500, 4, unknown=0.2)
    belief = np.zeros((2, K))
    belief[0] = np.array([0.2, 0.5, 0.3])
    model[:, hmm.START] = belief[0] @ model[:, MOVES]
    likelihood, filtered = hmm.log_likelihood(seen, model)
    said = 0.0
    for row, expected in zip(seen.tolist(), filtered, strict=True):
        said += hmm.step(model, belief, *row)
        assert belief[0] == pytest.approx(expected, abs=1e-12)
    assert said == pytest.approx(likelihood, rel=1e-12)


def test_of_an_unknown_bar_only_time_is_known() -> None:
    model, belief = model_of(1), np.array([[0.1, 0.7, 0.2], [0.0, 0.0, 0.0]])
    expected = belief[0] @ model[:, MOVES]
    assert hmm.step(model, belief, np.nan, np.nan, np.nan) == 0.0
    assert belief[0] == pytest.approx(expected, abs=1e-15)


def test_a_bar_that_no_state_can_explain_leaves_a_probability() -> None:
    model, belief = model_of(1), np.full((2, K), 1 / 3)
    hmm.step(model, belief, 1e6, -1e6, 1.0)
    assert np.isfinite(belief[0]).all()
    assert belief[0].sum() == pytest.approx(1.0)


# --- learning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_a_round_is_baum_welch(seed: int, *, weighed: bool) -> None:
    seen = seen_of(400, seed, unknown=0.1, weighed=weighed)
    model = model_of(seed + 9)
    expected = one_round(seen, model)
    assert expected[:, MOVES].min() > 10 * hmm.LEAST_MOVE
    likelihood, better, _ = hmm.fitted(seen, model, FLOORS, 1)
    assert better == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert likelihood == pytest.approx(logsumexp(log_forward(seen, expected)[-1]), rel=1e-12)


@pytest.mark.parametrize("floors", [FLOORS, np.array([0.8, 3.0])])
@pytest.mark.parametrize("seed", range(8))
def test_the_likelihood_never_falls(seed: int, floors: Any) -> None:
    """With floors that bind as well, and with moves that want to vanish."""
    rng = np.random.default_rng(seed)
    seen = seen_of(300, seed, unknown=0.05)
    seen[:, 0] += 4.0 * np.repeat(rng.integers(0, 3, 10), 30)
    model = model_of(seed + 100)
    model[:, MOVES] = np.maximum(model[:, MOVES], hmm.LEAST_MOVE)
    model[:, MOVES] /= model[:, MOVES].sum(axis=1, keepdims=True)
    model[:, VARIANCES] = np.maximum(model[:, VARIANCES], floors)
    course = [hmm.log_likelihood(seen, model)[0]]
    for _ in range(40):
        likelihood, model, _ = hmm.fitted(seen, model, floors, 1)
        course.append(likelihood)
        assert model[:, MOVES].sum(axis=1) == pytest.approx(np.ones(K))
        assert model[:, MOVES].min() >= hmm.LEAST_MOVE
        assert (model[:, VARIANCES] >= floors).all()
    assert min(np.diff(course)) > -1e-9 * abs(course[0])
    assert course[-1] > course[0] + 1.0
    bound = model[:, VARIANCES] == floors if floors is not FLOORS else model[:, MOVES] == hmm.LEAST_MOVE
    assert bound.any()  # or nothing was tested of it


def test_so_many_rounds_at_once_are_the_same_as_one_by_one() -> None:
    seen, model = seen_of(200, 1), model_of(2)
    _, once, filtered = hmm.fitted(seen, model, FLOORS, 7)
    for _ in range(7):
        _, model, last = hmm.fitted(seen, model, FLOORS, 1)
    assert once.tobytes() == model.tobytes()
    assert filtered.tobytes() == last.tobytes()


def test_what_a_long_sample_was_made_of_is_found_again() -> None:
    rng = np.random.default_rng(5)
    truth = model_of(0)
    truth[:, MOVES] = 0.02
    truth[range(K), range(hmm.MOVES, hmm.MOVES + K)] = 0.96
    truth[:, hmm.MEAN], truth[:, hmm.VARIANCE] = (-2.0, 0.0, 2.0), (0.5, 0.3, 0.8)
    truth[:, hmm.MEAN + 1], truth[:, hmm.VARIANCE + 1] = (0.3, -0.3, 0.0), (0.5, 0.5, 1.0)
    seen, state = np.ones((40_000, 3)), 0
    for t in range(len(seen)):
        state = rng.choice(K, p=truth[state, MOVES])
        seen[t, 2] = rng.uniform(0.5, 2.0)
        seen[t, 0] = rng.normal(truth[state, hmm.MEAN], truth[state, hmm.VARIANCE] ** 0.5)
        seen[t, 1] = rng.normal(truth[state, hmm.MEAN + 1] * seen[t, 2], truth[state, hmm.VARIANCE + 1] ** 0.5)
    begun = truth.copy()
    begun[:, hmm.START], begun[:, hmm.MEAN], begun[:, hmm.MEAN + 1] = 1 / K, (-1.0, 0.1, 1.0), 0.0
    begun[:, VARIANCES] = 1.0
    found = hmm.fitted(seen, begun, FLOORS, 60)[1]
    assert found[:, hmm.MOVES : hmm.HELD] == pytest.approx(truth[:, hmm.MOVES : hmm.HELD], abs=0.03)


def test_a_state_that_nobody_saw_keeps_what_it_was() -> None:
    model = model_of(1)
    model[2, hmm.MEAN] = 1e5
    before = model[2, MEANS].copy(), model[2, VARIANCES].copy()
    _, better, filtered = hmm.fitted(seen_of(50, 1), model, FLOORS, 3)
    assert np.isfinite(better).all()
    assert (better[2, MEANS] == before[0]).all()
    assert (better[2, VARIANCES] == before[1]).all()
    assert filtered.sum(axis=1) == pytest.approx(np.ones(50))


def test_the_order_of_the_states_does_not_matter_to_learning() -> None:
    seen, model = seen_of(300, 8), model_of(8)
    straight = hmm.fitted(seen, model, FLOORS, 10)[1]
    for order in permutations(range(K)):
        turned = model[list(order)].copy()
        turned[:, MOVES] = turned[:, hmm.MOVES + np.array(order)]
        found = hmm.fitted(seen, turned, FLOORS, 10)[1]
        back = straight[list(order)].copy()
        back[:, MOVES] = back[:, hmm.MOVES + np.array(order)]
        assert found == pytest.approx(back, rel=1e-8)
