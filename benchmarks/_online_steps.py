"""The learners of online_learning.py, ours and River's, each as a step: forecast a sample, then learn it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kalibre.core.bars import Bar
from kalibre.core.learning import Moment, Sample, Seat
from kalibre.learners._online_forest import Forest
from kalibre.learners._online_linear import Ftrl
from kalibre.learners.online import Online

BAR = Bar(open_time=0, open=1.0, high=1.0, low=1.0, close=1.0, volume=1.0)

Step = Callable[[int], float]
"""Forecasts sample `t`, then learns it; returns the probability of up."""


def linear_step(rows: Any, ups: Any, *, alarm_every: int = 0, **settings: Any) -> Step:
    model, each, outcomes = Ftrl(rows.shape[1], **settings), list(rows), ups.tolist()

    def step(t: int) -> float:
        p = model.predict_proba_one(each[t], t + 1)
        model.learn_one(each[t], outcomes[t], t + 1)
        return p  # type: ignore[return-value]

    def alarmed(t: int) -> float:
        if t % alarm_every == 0:
            model.begin_anew()
        return step(t)

    return alarmed if alarm_every else step


def forest_step(rows: Any, ups: Any, seed: int = 1) -> Step:
    model, each, outcomes = Forest(rows.shape[1], seed=seed), list(rows), ups.tolist()

    def step(t: int) -> float:
        p = model.predict_proba_one(each[t])
        model.learn_one(each[t], outcomes[t])
        return p  # type: ignore[return-value]

    return step


def online_step(rows: Any, ups: Any, seed: int = 1) -> Step:
    names = tuple(f"column_{k}" for k in range(rows.shape[1]))
    learner = Online(Seat(symbol="X", timeframe="15m", horizon_bars=1, columns=names, fee=0.0, seed=seed))
    moments = [Moment(900_000 * (t + 1), BAR, row, True) for t, row in enumerate(rows)]
    outcomes = ups.tolist()

    def step(t: int) -> float:
        p = learner.predict_proba_one(moments[t])
        learner.learn_one(Sample(moments[t], p, None, outcomes[t], 0.0))
        return p  # type: ignore[return-value]

    return step


def river_step(model: Any, rows: Any, ups: Any) -> Step:
    names = [f"column_{k}" for k in range(rows.shape[1])]
    each, outcomes = [dict(zip(names, row, strict=True)) for row in rows.tolist()], ups.tolist()

    def step(t: int) -> float:
        p = model.predict_proba_one(each[t]).get(True, 0.0 if t > 1 else 0.5)
        model.learn_one(each[t], outcomes[t])
        return float(p)

    return step


def regression(rate: float = 0.01) -> Any:
    """Return River's scaler and logistic regression at a learning rate; 0.01 is its default."""
    from river import linear_model, optim, preprocessing

    return preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.SGD(rate))


def river_models(seed: int) -> dict[str, Any]:
    """Return the River learners that a drift is tried on."""
    from river import drift, forest, linear_model, naive_bayes, optim, preprocessing, tree

    return {
        "logistic regression": regression(),
        "the same, SGD(0.1)": regression(0.1),
        "the same, Adam": preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.Adam(0.01)),
        "naive Bayes, retrained": drift.DriftRetrainingClassifier(naive_bayes.GaussianNB()),
        "Hoeffding adaptive tree": tree.HoeffdingAdaptiveTreeClassifier(seed=seed),
        "adaptive random forest": forest.ARFClassifier(seed=seed),
    }
