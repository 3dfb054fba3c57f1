"""TreeSHAP beside LightGBM's own contributions, and on every model that cannot or need not be explained."""

from __future__ import annotations

import re
import threading
from typing import Any

import numpy as np
import pytest

from kalibre.core.errors import ModelError
from kalibre.core.settings import ModelSettings
from kalibre.learners._treeshap import TreeShap
from kalibre.models.gradient_boosting import GradientBoosting

N_COLUMNS = 12


def fitted(leaves: int, *, rounds: int = 40, min_samples_leaf: int = 5) -> tuple[GradientBoosting, Any]:
    """Return a model of columns that matter alone, together and not at all, and rows that it has not seen."""
    rng = np.random.default_rng(leaves)
    values = rng.normal(size=(2_500, N_COLUMNS))
    values[:, 4] = np.round(values[:, 4])
    y = values[:, 0] + values[:, 1] * values[:, 2] + np.abs(values[:, 3]) + values[:, 4] + rng.normal(size=2_500) > 1
    part = slice(0, 1_500), slice(1_500, 2_000)
    model = GradientBoosting.fit(
        values[part[0]],
        y[part[0]].astype(float),
        stop_features=values[part[1]],
        stop_y=y[part[1]].astype(float),
        settings=ModelSettings(
            leaves=leaves, rounds=rounds, early_stopping_rounds=rounds, min_samples_leaf=min_samples_leaf
        ),
        columns=[f"c{k}" for k in range(N_COLUMNS)],
    )
    return model, values[2_000:]


@pytest.mark.parametrize("leaves", [2, 3, 4, 8, 31, 200])
def test_contributions_are_lightgbms(leaves: int) -> None:
    import lightgbm

    model, rows = fitted(leaves)
    shap = TreeShap(model)
    values, scores = shap.explain(rows)
    booster = lightgbm.Booster(model_str=model.text)
    theirs = booster.predict(rows, pred_contrib=True, num_threads=1)
    np.testing.assert_allclose(values, theirs[:, :-1], rtol=0, atol=1e-12)
    np.testing.assert_allclose(shap.bias, theirs[0, -1], rtol=0, atol=1e-12)
    np.testing.assert_allclose(scores, booster.predict(rows, raw_score=True), rtol=0, atol=1e-13)
    np.testing.assert_allclose(values.sum(axis=1) + shap.bias, scores, rtol=0, atol=1e-12)


def test_a_wrong_cover_would_be_seen() -> None:
    """Planted: one sample more in one leaf. It still adds up, so the oracle above has to see it."""
    model, rows = fitted(4)
    first = re.search(r"^leaf_count=(\d+)", model.text, flags=re.MULTILINE)
    assert first is not None
    text = model.text.replace(first[0], f"leaf_count={int(first[1]) + 1}", 1)
    with pytest.raises(ModelError, match="its branches have"):
        TreeShap(GradientBoosting.from_text(text))
    stump, rows = fitted(2, rounds=1)
    counts = re.search(r"^leaf_count=(\d+) (\d+)", stump.text, flags=re.MULTILINE)
    assert counts is not None
    moved = f"leaf_count={int(counts[1]) + 1} {int(counts[2]) - 1}"
    other = TreeShap(GradientBoosting.from_text(stump.text.replace(counts[0], moved, 1)))
    honest = TreeShap(stump)
    values, scores = other.explain(rows)
    np.testing.assert_allclose(values.sum(axis=1) + other.bias, scores, rtol=0, atol=1e-12)
    assert np.abs(values - honest.explain(rows)[0]).max() > 1e-6


@pytest.mark.parametrize("leaves", [2, 31])
def test_one_row_is_bit_for_bit_what_it_is_among_others(leaves: int) -> None:
    model, rows = fitted(leaves)
    shap = TreeShap(model)
    values, scores = shap.explain(rows)
    for k in (0, 17, 255):
        one = shap.explain_one(rows[k])
        assert one.values.tobytes() == values[k].tobytes()
        assert (one.score, one.bias, one.columns) == (scores[k], shap.bias, model.columns)


def test_the_score_is_what_the_model_makes_its_probability_from() -> None:
    model, rows = fitted(8)
    _, scores = TreeShap(model).explain(rows)
    np.testing.assert_array_almost_equal_nulp(1.0 / (1.0 + np.exp(-scores)), model.predict_proba(rows), nulp=4)


@pytest.mark.parametrize("leaves", [2, 8])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_unknown_value_is_treated_as_by_the_model(leaves: int, value: float) -> None:
    model, rows = fitted(leaves)
    rows = rows[:5].copy()
    rows[2, 7] = value
    values, scores = TreeShap(model).explain(rows)
    assert np.isnan(values[2]).all()
    assert (
        np.isnan(scores).tolist() == np.isnan(model.predict_proba(rows)).tolist() == [False, False, True, False, False]
    )
    assert np.isfinite(values[[0, 1, 3, 4]]).all()


def test_inputs_are_not_touched_and_may_lie_anyhow() -> None:
    model, rows = fitted(8)
    shap = TreeShap(model)
    rows.flags.writeable = False
    before = rows.tobytes()
    expected = shap.explain(rows)[0]
    assert rows.tobytes() == before
    assert (shap.explain(np.asfortranarray(rows))[0] == expected).all()
    assert (shap.explain(rows[::2])[0] == expected[::2]).all()


def test_rows_of_another_width_are_refused() -> None:
    model, rows = fitted(2)
    with pytest.raises(ModelError, match=r"shape \(500, 11\) do not fit a model of 12 columns"):
        TreeShap(model).explain(rows[:, 1:])
    with pytest.raises(ModelError, match=r"\(1, 3\)"):
        TreeShap(model).explain_one(rows[0, :3])


def test_a_model_without_splits_is_its_bias() -> None:
    model, rows = fitted(2, min_samples_leaf=2_000)
    assert not len(model.trees.feature)
    shap = TreeShap(model)
    values, scores = shap.explain(rows)
    assert (values == 0.0).all()
    np.testing.assert_allclose(scores, shap.bias, rtol=0, atol=1e-15)


def test_a_text_without_counts_is_refused() -> None:
    model, _ = fitted(8)
    text = re.sub(r"^internal_count=.*$", "internal_count=", model.text, count=1, flags=re.MULTILINE)
    with pytest.raises(ModelError, match=r"tree 0 of 8 leaves has internal_count \[\]"):
        TreeShap(GradientBoosting.from_text(text))


def test_no_row_gives_no_contribution() -> None:
    model, rows = fitted(8)
    values, scores = TreeShap(model).explain(rows[:0])
    assert values.shape == (0, N_COLUMNS)
    assert scores.shape == (0,)


def test_threads_do_not_disturb_each_other() -> None:
    model, rows = fitted(31)
    shap = TreeShap(model)
    expected = shap.explain(rows)[0].tobytes()
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.extend(shap.explain(rows)[0].tobytes() for _ in range(10)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 40
