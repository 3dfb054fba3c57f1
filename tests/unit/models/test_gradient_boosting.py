"""Gradient boosting: the same answers as LightGBM, the same model twice, the stated metric, and what is refused."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from kalibre.core.errors import ModelError
from kalibre.core.settings import ModelSettings
from kalibre.models.gradient_boosting import METRICS, GradientBoosting, class_weights

COLUMNS = ("a", "b_14@1h", "c", "d", "e")
SETTINGS = ModelSettings(rounds=80, leaves=15, learning_rate=0.1, min_samples_leaf=50, early_stopping_rounds=20)


def samples(n: int, *, seed: int, share_up: float = 0.5, edge: float = 0.8):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, len(COLUMNS)))
    odds = edge * features[:, 0] + np.log(share_up / (1 - share_up))
    return features, (rng.random(n) < 1 / (1 + np.exp(-odds))).astype(float)


def fitted(settings: ModelSettings = SETTINGS, **kwargs) -> GradientBoosting:
    features, y = samples(4000, seed=1, **kwargs)
    stop_features, stop_y = samples(1500, seed=2, **kwargs)
    return GradientBoosting.fit(
        features, y, stop_features=stop_features, stop_y=stop_y, settings=settings, columns=COLUMNS
    )


@pytest.fixture(scope="module")
def model() -> GradientBoosting:
    return fitted()


def test_answers_are_lightgbms_own(model):
    import lightgbm

    features, _ = samples(3000, seed=3)
    features[:40] = features[:40].round()
    booster = lightgbm.Booster(model_str=model.text)
    np.testing.assert_allclose(model.predict_proba(features), booster.predict(features), rtol=0, atol=1e-15)


def test_values_on_a_threshold_go_where_lightgbm_sends_them(model):
    import lightgbm

    rows = np.repeat(samples(1, seed=4)[0], len(model.trees.threshold), axis=0)
    rows[np.arange(len(rows)), model.trees.feature] = model.trees.threshold
    booster = lightgbm.Booster(model_str=model.text)
    np.testing.assert_allclose(model.predict_proba(rows), booster.predict(rows), rtol=0, atol=1e-15)


def test_one_row_is_answered_as_in_a_batch(model):
    features, _ = samples(200, seed=5)
    batch = model.predict_proba(features)
    single = [model.predict_proba(features[i : i + 1])[0] for i in range(200)]
    np.testing.assert_array_equal(batch, single)


def test_the_same_samples_give_the_same_model(model):
    assert fitted().text == model.text
    assert fitted(SETTINGS.model_copy(update={"seed": 8})).text != model.text


def test_text_round_trip(model):
    again = GradientBoosting.from_text(model.text, class_weights=model.class_weights)
    features, _ = samples(100, seed=6)
    np.testing.assert_array_equal(again.predict_proba(features), model.predict_proba(features))
    assert again.columns == COLUMNS
    assert again.best_round == model.best_round
    assert again.importance() == model.importance()


def test_it_stops_at_the_best_round_of_the_stated_metric(model):
    import lightgbm

    stop_features, stop_y = samples(1500, seed=2)
    losses = []
    for rounds in range(1, model.best_round + 1):
        p = lightgbm.Booster(model_str=model.text).predict(stop_features, num_iteration=rounds)
        losses.append(-np.mean(np.where(stop_y > 0.5, np.log(p), np.log(1 - p))))
    assert np.argmin(losses) + 1 == model.best_round
    assert list(model.stop_metric) == ["binary_logloss"]
    assert model.stop_metric["binary_logloss"] == pytest.approx(min(losses), abs=2e-3)
    assert model.best_round < SETTINGS.rounds


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_it_offers_is_the_one_measured(metric):
    assert list(fitted(SETTINGS.model_copy(update={"metric": metric})).stop_metric) == [metric]


@pytest.mark.parametrize("metric", ["", "None", "logloss", "binary", "accuracy", "custom"])
def test_an_unknown_or_missing_metric_is_an_error(metric):
    with pytest.raises(ModelError, match=f"metric {metric!r} cannot stop a fit early"):
        fitted(SETTINGS.model_copy(update={"metric": metric}))


def test_a_metric_that_lightgbm_does_not_measure_is_an_error(monkeypatch):
    monkeypatch.setattr("kalibre.models.gradient_boosting.METRICS", ("binary_logloss", "binary"))
    with pytest.raises(ModelError, match="was to look at 'binary' but LightGBM measured"):
        fitted(SETTINGS.model_copy(update={"metric": "binary"}))


def test_it_finds_the_column_that_matters(model):
    importance = model.importance()
    assert next(iter(importance)) == "a"
    assert sum(importance.values()) == pytest.approx(1.0)
    assert set(importance) == set(COLUMNS)


def test_no_round_helps_on_noise_and_it_still_answers():
    model = fitted(edge=0.0)
    p = model.predict_proba(samples(500, seed=7)[0])
    assert model.best_round < 30
    assert np.abs(p - 0.5).max() < 0.2


def test_class_weights_are_bounded_and_shown():
    assert fitted(share_up=0.03).class_weights == {"down": 1.0, "up": 5.0}
    weights = fitted(share_up=0.3).class_weights
    assert weights["down"] == 1.0
    assert 1.5 < weights["up"] < 3.0
    assert class_weights(np.array([1.0, 1.0, 1.0, 0.0]), most=2.0) == {"down": 2.0, "up": 1.0}


def test_rows_with_unknown_values_get_no_probability(model):
    features, _ = samples(4, seed=8)
    features[1, 4], features[2, 0] = np.nan, np.inf
    np.testing.assert_array_equal(np.isnan(model.predict_proba(features)), [False, True, True, False])


@pytest.mark.parametrize("shape", [(1, 4), (1, 6), (3, 0), (5,)])
def test_a_wrong_vector_length_quotes_both(model, shape):
    with pytest.raises(ModelError, match=rf"shape \({shape[0]},.*do not fit a model of 5 columns"):
        model.predict_proba(np.zeros(shape))


def broken(part: str, **changes):
    features, y = samples(1000, seed=1)
    arguments = {"fit": [features, y], "stop": [features.copy(), y.copy()]}
    if "y" in changes:
        arguments[part][1] = changes["y"](y)
    if "features" in changes:
        arguments[part][0] = changes["features"](features.copy())
    (fit, fit_y), (stop, stop_y) = arguments["fit"], arguments["stop"]
    columns = changes.get("columns", COLUMNS)
    GradientBoosting.fit(fit, fit_y, stop_features=stop, stop_y=stop_y, settings=SETTINGS, columns=columns)


def poisoned(features: np.ndarray) -> np.ndarray:
    features[3, 2] = np.nan
    return features


@pytest.mark.parametrize("part", ["fit", "stop"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": np.ones_like}, "one class only, 1000 samples up and 0 down"),
        ({"y": np.zeros_like}, "one class only, 0 samples up and 1000 down"),
        ({"y": lambda y: y[1:]}, r"\(1000, 5\) do not fit 999 labels"),
        ({"y": lambda y: y * 0.5}, r"labels hold \[0.5\]"),
        ({"features": poisoned}, "column 'c' is nan in row 3"),
        ({"features": lambda x: x[:, :4]}, r"\(1000, 4\) do not fit 1000 labels and 5 columns"),
    ],
)
def test_a_part_that_cannot_be_used_is_named(part, changes, message):
    with pytest.raises(ModelError, match=f"{part}: .*{message}"):
        broken(part, **changes)


@pytest.mark.parametrize("columns", [("a", "b", "c", "d", "a"), ("a b", "b", "c", "d", "e"), ("", "b", "c", "d", "e")])
def test_columns_that_cannot_be_named(columns):
    with pytest.raises(ModelError, match="cannot be named"):
        broken("fit", columns=columns)


def test_asking_a_model_imports_no_lightgbm(model):
    code = (
        "import sys, numpy as np\n"
        "from kalibre.models.gradient_boosting import GradientBoosting\n"
        "model = GradientBoosting.from_text(sys.stdin.read())\n"
        "print(model.predict_proba(np.zeros((1, 5)))[0])\n"
        "sys.exit(any(name in sys.modules for name in ('lightgbm', 'sklearn', 'pandas')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], input=model.text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert float(done.stdout) == model.predict_proba(np.zeros((1, 5)))[0]


def test_one_row_at_a_time_gets_the_same_numbers() -> None:
    model = fitted()
    rows = samples(300, seed=5)[0]
    rows[3, 1], rows[4, 2] = np.nan, np.inf
    one_by_one = [model.predict_one(row.tolist()) for row in rows]
    np.testing.assert_array_equal(one_by_one, model.predict_proba(rows))
    assert np.isnan(one_by_one[3:5]).all()
    assert model.predict_one(rows[0]) == one_by_one[0]
    for wrong in ([], [1.0] * (len(COLUMNS) - 1), [1.0] * (len(COLUMNS) + 1)):
        with pytest.raises(ModelError, match=f"{len(wrong)} values"):
            model.predict_one(wrong)
