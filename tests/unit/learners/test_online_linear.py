"""The linear member: its scaler against River's, FTRL-proximal against the paper, and what it does after an alarm."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from river import preprocessing

from kalibre.core.errors import LearnerError
from kalibre.learners._online_linear import Ftrl

INF = math.inf


def logistic(n: int, seed: int, *, columns: int = 8, flip_at: int | None = None) -> tuple[Any, Any]:
    """Return rows and outcomes of a logistic truth that turns around at a sample."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, columns))
    truth = rows @ (rng.normal(size=columns) * 3.0 / math.sqrt(columns))
    if flip_at is not None:
        truth[flip_at:] *= -1.0
    return rows, rng.random(n) < 1.0 / (1.0 + np.exp(-truth))


def follow(model: Ftrl, rows: Any, ups: Any, *, horizon: int = 1, start: int = 0) -> Any:
    """Forecast every row and learn each `horizon` rows later; return what was said."""
    said = np.full(len(rows), np.nan)
    for t, row in enumerate(rows):
        past = t - horizon
        if past >= 0:
            model.learn_one(rows[past], bool(ups[past]), start + past + 1)
        p = model.predict_proba_one(row, start + t + 1)
        said[t] = np.nan if p is None else p
    return said


def losses(said: Any, ups: Any) -> Any:
    return -np.log(np.where(ups, said, 1.0 - said))


# --- scaler -----------------------------------------------------------------------------------------------------------


def test_the_scaler_has_the_statistics_of_rivers() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(1_000, 6)) * 10.0 ** np.array([-6, -2, 0, 1, 3, 0]) + np.array([0, 5, -3, 1e4, 0, 0])
    rows[:, 5] = 7.0
    model, theirs = Ftrl(6, memory=INF), preprocessing.StandardScaler()
    for t, row in enumerate(rows):
        model.learn_one(row, t % 2 == 0, t + 1)
        theirs.learn_one(dict(enumerate(row.tolist())))
    assert model.means == pytest.approx([theirs.means[k] for k in range(6)], rel=1e-9)
    assert model.variances == pytest.approx([theirs.vars[k] for k in range(6)], rel=1e-9)


def test_the_scaler_forgets_as_an_exponentially_weighted_mean() -> None:
    """Plain until it counts as many rows as it remembers; then every row fades by the same factor."""
    rng = np.random.default_rng(2)
    rows, memory = rng.normal(size=300) * 3.0 + 10.0, 50
    model = Ftrl(1, memory=float(memory))
    for t, x in enumerate(rows):
        model.learn_one(np.array([x]), True, t + 1)
    weight = np.where(np.arange(300) < memory, 1.0, 0.0) / memory
    for t in range(memory, 300):
        weight *= 1.0 - 1.0 / memory
        weight[t] = 1.0 / memory
    assert weight.sum() == pytest.approx(1.0)
    mean = (weight * rows).sum()
    assert model.means[0] == pytest.approx(mean, rel=1e-12)
    assert model.variances[0] == pytest.approx((weight * (rows - mean) ** 2).sum(), rel=1e-12)


def test_a_column_that_never_moves_says_nothing() -> None:
    model = Ftrl(2)
    rng = np.random.default_rng(3)
    for t in range(300):
        x = rng.normal()
        model.learn_one(np.array([1e9 / 3.0, x]), x > 0.0, t + 1)
    assert model.weights[0] == 0.0
    assert model.weights[1] > 0.5


# --- FTRL-proximal ----------------------------------------------------------------------------------------------------


class Paper:
    """Algorithm 1 of McMahan et al. (2013), as it is printed there."""

    def __init__(self, n: int, alpha: float, beta: float, l1: float, l2: float) -> None:
        self.alpha, self.beta, self.l1, self.l2 = alpha, beta, l1, l2
        self.z, self.n = np.zeros(n), np.zeros(n)

    @property
    def w(self) -> Any:
        rate = (self.beta + np.sqrt(self.n)) / self.alpha + self.l2
        return np.where(np.abs(self.z) <= self.l1, 0.0, -(self.z - np.sign(self.z) * self.l1) / rate)

    def predict(self, x: Any) -> float:
        return float(1.0 / (1.0 + np.exp(-(self.w @ x))))

    def update(self, x: Any, y: float) -> None:
        gradient = (self.predict(x) - y) * x
        sigma = (np.sqrt(self.n + gradient**2) - np.sqrt(self.n)) / self.alpha
        self.z = self.z + gradient - sigma * self.w
        self.n = self.n + gradient**2


@pytest.mark.parametrize(("l1", "l2", "beta"), [(0.0, 0.0, 1.0), (2.0, 0.5, 1.0), (5.0, 0.0, 0.3)])
def test_it_is_algorithm_1_of_the_paper(l1: float, l2: float, beta: float) -> None:
    """Both models at one rate are one model: then what is said is what the paper's algorithm says."""
    columns, rate = 7, 1.5
    rows, ups = logistic(500, 4, columns=columns)
    model = Ftrl(columns, rates=(rate, rate), memories=(INF, INF), l1=l1, l2=l2, beta=beta, memory=INF, doubt=0.0)
    paper = Paper(columns + 1, rate / columns, beta, l1, l2)
    mean, squares = np.zeros(columns), np.zeros(columns)
    for t, (row, up) in enumerate(zip(rows, ups, strict=True)):
        spread = np.sqrt(squares / max(t, 1))
        unit = np.clip(np.divide(row - mean, spread, out=np.zeros(columns), where=spread > 0), -3.0, 3.0)
        assert model.predict_proba_one(row, t + 1) == pytest.approx(paper.predict(np.append(unit, 1.0)), abs=1e-9)
        apart = row - mean
        mean = mean + apart / (t + 1)
        squares = squares + apart * (row - mean)
        spread = np.sqrt(squares / (t + 1))
        unit = np.clip(np.divide(row - mean, spread, out=np.zeros(columns), where=spread > 1e-12), -3.0, 3.0)
        paper.update(np.append(unit, 1.0), float(up))
        model.learn_one(row, bool(up), t + 1)
        assert model.weights == pytest.approx(paper.w, abs=1e-9)
    assert (np.count_nonzero(paper.w) < columns + 1) == (l1 > 0.0)


def test_a_fading_past_is_the_paper_with_every_term_weighed() -> None:
    """A kept share k: z and n are the sums of the paper's terms, each times k (k squared) for every sample since."""
    rows, ups = logistic(200, 5, columns=3)
    memory, rate = 40.0, 2.0
    model = Ftrl(3, rates=(rate, rate), memories=(memory, memory), l1=0.0, memory=INF, doubt=0.0)
    kept, alpha = 1.0 - 1.0 / memory, rate / 3.0
    gradients, pulls = [], []
    w = np.zeros(4)
    scaler = preprocessing.StandardScaler()
    for t, (row, up) in enumerate(zip(rows, ups, strict=True)):
        scaler.learn_one(dict(enumerate(row.tolist())))
        x = np.append(np.clip(list(scaler.transform_one(dict(enumerate(row.tolist()))).values()), -3.0, 3.0), 1.0)
        root = np.sqrt(sum((g * kept ** (t - s)) ** 2 for s, g in enumerate(gradients))) if gradients else np.zeros(4)
        gradient = (1.0 / (1.0 + np.exp(-(w @ x))) - float(up)) * x
        gradients.append(gradient)
        after = np.sqrt(root**2 + gradient**2)
        pulls.append(gradient - (after - root) / alpha * w)
        z = sum(pull * kept ** (t - s) for s, pull in enumerate(pulls))
        w = -z / ((1.0 + after) / alpha)
        model.learn_one(row, bool(up), t + 1)
        assert model.weights == pytest.approx(w, abs=1e-9)


def test_the_slow_and_the_fast_model_are_mixed_by_fixed_share() -> None:
    rows, ups = logistic(400, 6)
    share, switching = np.array([0.5, 0.5]), 1.0 / 2_000.0
    model = Ftrl(8, doubt=0.0)
    alone = [
        Ftrl(8, rates=(rate, rate), memories=(memory, memory), doubt=0.0) for rate, memory in ((0.3, INF), (4.0, 700.0))
    ]
    for t, (row, up) in enumerate(zip(rows, ups, strict=True)):
        two = np.array([one.predict_proba_one(row, t + 1) for one in alone])
        assert model.predict_proba_one(row, t + 1) == pytest.approx(share @ two, abs=1e-12)
        likely = share * (two if up else 1.0 - two)
        share = (1.0 - switching) * likely / likely.sum() + switching / 2.0
        for one in (model, *alone):
            one.learn_one(row, bool(up), t + 1)
        assert model.shares == pytest.approx((*share, 0.0, 0.0), abs=1e-12)


# --- delayed labels ---------------------------------------------------------------------------------------------------


def test_weights_come_from_what_was_said_and_not_from_what_is_known_since() -> None:
    """Labels of a random walk overlap: who is judged by what it says when the outcome comes seems to foresee them."""
    horizon = 4
    rng = np.random.default_rng(7)
    walk = np.cumsum(rng.normal(size=3_000))
    ups = np.append(walk[horizon:] > walk[:-horizon], [False] * horizon)
    rows = rng.normal(size=(3_000, 2))
    model = Ftrl(2, horizon_bars=horizon, rates=(0.3, 30.0), memories=(INF, 5.0))  # the fast one runs after the labels
    said = follow(model, rows, ups, horizon=horizon)[: 3_000 - horizon]
    assert losses(said, ups[: 3_000 - horizon])[1_000:].mean() < math.log(2.0) + 0.01
    assert model.shares[1] < 0.05


def test_outcomes_that_are_lost_or_were_not_forecast_do_no_harm() -> None:
    rows, ups = logistic(300, 8)
    model = Ftrl(8, horizon_bars=2)
    for t, row in enumerate(rows):
        if t >= 2 and t % 5:
            model.learn_one(rows[t - 2], bool(ups[t - 2]), t - 1)
        model.predict_proba_one(row, t + 1)
    shares = model.shares
    model.learn_one(rows[0], True, 10_000)  # never forecast: it teaches the models, not their weights
    assert model.shares == shares
    assert model.predict_proba_one(rows[0], 10_001) is not None


@pytest.mark.parametrize("unknown", [math.nan, INF, -INF])
def test_a_row_with_an_unknown_number_is_not_forecast_and_teaches_nothing(unknown: float) -> None:
    rows, ups = logistic(50, 9)
    model = Ftrl(8)
    follow(model, rows, ups)
    book = model.state()["book"].tobytes()
    broken = rows[0].copy()
    broken[5] = unknown
    weights, means = model.weights, model.means
    assert model.predict_proba_one(broken, 1_000) is None
    assert model.learn_one(broken, True, 1_000) is False
    assert (model.weights == weights).all()
    assert (model.means == means).all()
    assert model.state()["book"].tobytes() == book


# --- drift ------------------------------------------------------------------------------------------------------------


def test_after_a_turn_new_models_take_over_and_the_loss_is_soon_as_before() -> None:
    for seed in range(3):
        rows, ups = logistic(2_400, seed, flip_at=1_500)
        model, stubborn = Ftrl(8), Ftrl(8, doubt=0.0)
        said, fixed = follow(model, rows, ups), follow(stubborn, rows, ups)
        soon, after = slice(1_600, 1_900), slice(1_800, 2_400)
        assert model.alarms >= 1
        assert model.takeovers == 1
        assert stubborn.alarms == stubborn.takeovers == 0
        assert losses(said, ups)[after].mean() < losses(said, ups)[900:1_500].mean() + 0.1
        assert losses(said, ups)[soon].mean() < losses(fixed, ups)[soon].mean() - 0.03


def test_after_a_false_alarm_what_was_learnt_stays() -> None:
    rows, ups = logistic(6_000, 11)
    model, calm = Ftrl(8), Ftrl(8)
    follow(model, rows[:2_000], ups[:2_000])
    follow(calm, rows[:2_000], ups[:2_000])
    model.begin_anew()
    assert model.is_renewing
    assert sum(model.shares[2:]) == pytest.approx(0.5)
    said = follow(model, rows[2_000:], ups[2_000:], start=2_000)
    undisturbed = follow(calm, rows[2_000:], ups[2_000:], start=2_000)
    assert not model.is_renewing
    assert model.takeovers == 0
    assert sum(model.shares[:2]) == pytest.approx(1.0)
    extra = (losses(said, ups[2_000:]) - losses(undisturbed, ups[2_000:])).sum()
    assert extra < 3.0  # nats, all in all


def test_it_follows_a_column_whose_scale_changes() -> None:
    """The truth stays, the unit of one column is another: outcomes go wrong, and are soon right again."""
    rng = np.random.default_rng(12)
    rows = rng.normal(size=(3_000, 3))
    ups = rng.random(3_000) < 1.0 / (1.0 + np.exp(-3.0 * rows[:, 0]))
    rows[1_500:, 0] = 0.02 * rows[1_500:, 0] + 3.0
    said = follow(Ftrl(3), rows, ups)
    assert losses(said, ups)[1_500:1_550].mean() > losses(said, ups)[1_000:1_500].mean() + 0.2
    assert losses(said, ups)[2_400:].mean() < losses(said, ups)[1_000:1_500].mean() + 0.05


def test_a_falling_error_raises_no_alarm() -> None:
    rng = np.random.default_rng(13)
    rows = rng.normal(size=(3_000, 4))
    noisy = np.arange(3_000) < 1_500
    ups = rng.random(3_000) < 1.0 / (1.0 + np.exp(-np.where(noisy, 0.3, 6.0) * rows[:, 0]))
    model = Ftrl(4)
    said = follow(model, rows, ups)
    assert losses(said, ups)[2_500:].mean() < 0.4 < losses(said, ups)[:1_500].mean()
    assert model.alarms == 0


# --- state ------------------------------------------------------------------------------------------------------------


def test_no_column_is_refused() -> None:
    with pytest.raises(LearnerError, match="0 columns"):
        Ftrl(0)
