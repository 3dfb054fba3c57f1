"""The online learner: what it needs, what it says, what it learns from, and what its numbers are worth."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kalibre.core.bars import Bar, Bars
from kalibre.core.errors import LearnerError
from kalibre.core.learning import Forecaster, Moment, Sample, Seat
from kalibre.features.engine import FeatureEngine, FeatureSpec
from kalibre.learners._online_stack import MEMBERS, Stack
from kalibre.learners.online import Online

BAR = Bar(open_time=0, open=1.0, high=1.0, low=1.0, close=1.0, volume=1.0)


def seat(columns: int = 5, *, horizon_bars: int = 1, seed: int = 1) -> Seat:
    names = tuple(f"column_{k}" for k in range(columns))
    return Seat(symbol="X", timeframe="1m", horizon_bars=horizon_bars, columns=names, fee=0.0, seed=seed)


def moments_of(rows: Any) -> list[Moment]:
    rows = np.array(rows, dtype=np.float64)
    rows.flags.writeable = False
    return [Moment((t + 1) * 60_000, BAR, row, True) for t, row in enumerate(rows)]


def follow(learner: Online, moments: list[Moment], ups: Any, *, horizon: int = 1, start: int = 0) -> Any:
    """Forecast every moment, each learnt from `horizon` later; return what was said, NaN where it abstained."""
    said: list[float | None] = []
    for t, now in enumerate(moments):
        past = t - horizon
        if past >= 0:
            learner.learn_one(Sample(moments[past], said[past], None, bool(ups[past]), 0.0))
        said.append(learner.predict_proba_one(now))
    return np.array([math.nan if p is None else p for p in said])


def logistic(n: int, seed: int, *, columns: int = 5, strength: float = 3.0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, columns))
    truth = rows @ rng.normal(size=columns) * strength / math.sqrt(columns)
    return rows, rng.random(n) < 1.0 / (1.0 + np.exp(-truth))


def loss(said: Any, ups: Any) -> float:
    return float(-np.log(np.where(ups, said, 1.0 - said)).mean())


def stored(state: Any) -> dict[str, Any]:
    return {key: np.array(value) if isinstance(value, np.ndarray) else value for key, value in state.items()}


def digest(learner: Online) -> dict[str, bytes]:
    return {key: np.asarray(value).tobytes() for key, value in learner.state().items()}


# --- what it is -------------------------------------------------------------------------------------------------------


def test_it_is_a_forecaster_found_by_its_file_and_reads_the_default_columns() -> None:
    from kalibre.learners.base import learner_class

    assert learner_class("online") is Online
    assert isinstance(Online(seat()), Forecaster)
    assert Online.columns is None


def test_a_change_in_any_of_its_files_is_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """The version of the projection is a digest of the code: every file that shapes a forecast has to be in it."""
    from kalibre.learners.base import code_digest

    before = code_digest.__wrapped__("online")
    read = Path.read_bytes
    for name in (
        "_adwin",
        "_scaler",
        "_ftrl",
        "_hoeffding",
        "_forest",
        "_online_linear",
        "_online_forest",
        "_online_stack",
    ):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", lambda file, name=name: read(file) + b"#" * (file.stem == name))
            assert code_digest.__wrapped__("online") != before, name
    assert code_digest.__wrapped__("online") == before


# --- what it learns ---------------------------------------------------------------------------------------------------


def test_it_learns_what_a_line_tells_and_what_none_does() -> None:
    rows, ups = logistic(3_000, 1)
    learner = Online(seat())
    said = follow(learner, moments_of(rows), ups)
    assert loss(said[1_000:], ups[1_000:]) < 0.45
    assert learner.figures()["loss"] == pytest.approx(loss(said[1_000:2_999], ups[1_000:2_999]), abs=0.1)
    crossed = (rows[:, 0] > 0.0) != (rows[:, 1] > 0.0)
    learner = Online(seat())
    said = follow(learner, moments_of(rows), crossed)
    assert loss(said[2_000:], crossed[2_000:]) < 0.4
    assert learner.figures()["weight_linear"] < 0.01


def test_a_leaked_label_is_used_and_a_shuffled_one_is_not() -> None:
    """The planted failure both ways: who is shown the answer is right; who cannot know it is not better than a coin."""
    rng = np.random.default_rng(2)
    rows, ups = logistic(4_000, 2)
    leaked = rows.copy()
    leaked[:, 4] = ups
    said = follow(Online(seat()), moments_of(leaked), ups)
    assert ((said > 0.5) == ups)[500:].mean() > 0.98
    shuffled = rng.permutation(ups)
    said = follow(Online(seat()), moments_of(rows), shuffled)
    right = ((said > 0.5) == shuffled).mean()
    assert abs(right - 0.5) < 4.0 * 0.5 / math.sqrt(4_000)
    assert math.log(2.0) - 0.001 < loss(said, shuffled) < math.log(2.0) + 0.005


@pytest.mark.parametrize(("horizon", "told_after", "seems_to_foresee"), [(4, 4, False), (4, 1, True)])
def test_labels_that_overlap_foretell_nothing_unless_they_are_told_too_early(
    horizon: int, told_after: int, seems_to_foresee: bool
) -> None:
    """Directions of a random walk over four bars: told one bar later they leak into the next."""
    rng = np.random.default_rng(3)
    walk = np.cumsum(rng.normal(size=10_004))
    ups = walk[horizon:] > walk[:-horizon]
    slow = np.array([np.convolve(rng.normal(size=10_000 + 99), np.ones(100) / 10.0, "valid") for _ in range(5)]).T
    said = follow(Online(seat(horizon_bars=horizon)), moments_of(slow), ups, horizon=told_after)
    right = ((said > 0.5) == ups)[2_000:].mean()
    # Four neighbours are hardly more than one sample: 2,000 of them.
    assert (right > 0.5 + 4.0 * 0.5 / math.sqrt(2_000)) == seems_to_foresee


def test_after_a_drift_it_is_soon_as_good_as_before() -> None:
    rows, ups = logistic(4_000, 4)
    ups[2_000:] = ~ups[2_000:]
    learner = Online(seat())
    said = follow(learner, moments_of(rows), ups)
    assert loss(said[2_500:], ups[2_500:]) < loss(said[1_000:2_000], ups[1_000:2_000]) + 0.05
    told = learner.figures()
    assert told["alarms"] is not None
    assert told["alarms"] >= 1
    assert told["drifts"] is not None
    assert told["drifts"] >= 5


def test_forecasts_depend_on_the_seed_and_on_nothing_else_that_is_random() -> None:
    rows, ups = logistic(600, 5)
    said = []
    for seed in (1, 1, 2):
        np.random.seed(seed + 40)  # noqa: NPY002  (the global state that nothing may depend on)
        said.append(follow(Online(seat(seed=seed)), moments_of(rows), ups).tolist())
    assert said[0] == said[1] != said[2]


# --- what it does not know --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", [0, 2, 4])
def test_an_unknown_feature_makes_it_abstain_and_teaches_nothing(column: int) -> None:
    rows, ups = logistic(300, 6)
    rows[250, column] = math.nan
    learner = Online(seat())
    moments = moments_of(rows)
    follow(learner, moments[:250], ups)
    learner.learn_one(Sample(moments[249], 0.5, None, True, 0.0))
    before = learner.figures(), learner.show()
    assert learner.predict_proba_one(moments[250]) is None
    learner.learn_one(Sample(moments[250], None, None, True, 0.0))
    assert (learner.figures(), learner.show()) == before


def test_holes_in_the_features_do_not_disturb_what_else_is_learnt() -> None:
    """As if these bars had not been: all other forecasts are the same, bit for bit."""
    rows, ups = logistic(500, 7)
    holes = np.zeros(500, dtype=bool)
    holes[[3, 4, 77, 200, 201, 202, 499]] = True
    broken = rows.copy()
    broken[holes, 1] = math.nan
    said = follow(Online(seat()), moments_of(broken), ups)
    assert (np.isnan(said) == holes).all()
    whole = follow(Online(seat()), moments_of(rows[~holes]), ups[~holes])
    assert (said[~holes] == whole).all()


def test_outcomes_that_are_lost_do_not_block_it() -> None:
    rows, ups = logistic(400, 8)
    learner, moments = Online(seat(horizon_bars=4)), moments_of(rows)
    said: list[float | None] = []
    taught = 0
    for t, now in enumerate(moments):
        if t >= 4 and t % 7:
            learner.learn_one(Sample(moments[t - 4], said[t - 4], None, bool(ups[t - 4]), 0.0))
            taught += 1
        said.append(learner.predict_proba_one(now))
    assert None not in said
    assert learner.show()["samples"] == taught


def test_inputs_are_not_changed() -> None:
    rows, ups = logistic(200, 9)
    kept = rows.copy()
    moments = [Moment((t + 1) * 60_000, BAR, row, True) for t, row in enumerate(rows)]  # these could be written to
    follow(Online(seat()), moments, ups)
    assert (rows == kept).all()


# --- what it tells ----------------------------------------------------------------------------------------------------


def test_what_it_shows_is_plain_json_with_the_names_of_columns() -> None:
    rows, ups = logistic(1_500, 10)
    learner = Online(seat())
    follow(learner, moments_of(rows), ups)
    told = json.loads(json.dumps(learner.show()))
    assert set(told["linear"]["coefficients"]) <= {f"column_{k}" for k in range(5)}
    assert told["linear"]["used"] == len(told["linear"]["coefficients"]) == 5
    sizes = [abs(value) for value in told["linear"]["coefficients"].values()]
    assert sizes == sorted(sizes, reverse=True)
    assert len(told["trees"]) == 10
    assert all(tree["asks"][0].startswith("column_") for tree in told["trees"] if tree["leaves"] > 1)
    assert sum(told["weights"].values()) == pytest.approx(1.0)
    figures = learner.figures()
    assert figures["n_trees"] is not None
    assert figures["n_trees"] >= 10.0
    assert sum(figures[f"weight_{name}"] or 0.0 for name in MEMBERS) == pytest.approx(1.0)
    assert figures["nodes"] == sum(2 * tree["leaves"] - 1 for tree in told["trees"] if not tree["background"]) or any(
        tree["background"] for tree in told["trees"]
    )


def test_it_begins_knowing_nothing() -> None:
    learner = Online(seat())
    assert learner.figures()["loss"] is None
    assert learner.predict_proba_one(moments_of(np.zeros((1, 5)))[0]) == pytest.approx(0.5)
    assert json.dumps(learner.show())


# --- the stack --------------------------------------------------------------------------------------------------------


def test_the_stacked_regression_is_a_newton_step_on_every_sample() -> None:
    """Against plain linear algebra: the same coefficients from the same precision, to the last digits."""
    rng = np.random.default_rng(11)
    stack, horizon, memory, prior = Stack(2), 2, 5_000.0, 50.0
    theta, precision = np.array([1.0, 0.0, 0.0]), prior * np.eye(3)
    for t in range(1, 400):
        linear, forest = rng.uniform(0.05, 0.95, 2).tolist()
        stack.mix(t, linear, forest)
        up = bool(rng.random() < 0.3 * linear + 0.7 * forest)
        stack.weigh(t, up)
        u = np.array([math.log(linear / (1 - linear)), math.log(forest / (1 - forest)), 1.0])
        p = 1.0 / (1.0 + math.exp(-(theta @ u)))
        fade = 1.0 / (horizon * memory)
        precision = precision + p * (1 - p) * np.outer(u, u) / horizon + fade * (prior * np.eye(3) - precision)
        theta = theta + np.linalg.solve(precision, (up - p) * u) / horizon
        assert stack.coefficients["both"] == pytest.approx(theta.tolist(), abs=1e-9)
    assert theta[1] > 0.3


def test_the_forecast_is_weighed_by_fixed_share_of_what_was_said() -> None:
    rng = np.random.default_rng(12)
    stack, share = Stack(), np.full(4, 0.25)
    for t in range(1, 300):
        linear, forest = rng.uniform(0.05, 0.95, 2).tolist()
        mixed = stack.mix(t, linear, forest)
        said = stack.state()["book"][10:, 2:6][stack.state()["book"][10:, 0] == t][0].copy()
        assert said[0] == pytest.approx(linear)
        assert mixed == pytest.approx(share @ said, abs=1e-12)
        up = bool(rng.random() < linear)
        assert stack.weigh(t, up)
        likely = share * (said if up else 1.0 - said)
        share = (1.0 - 1.0 / 4_000.0) * likely / likely.sum() + 1.0 / 4_000.0 / 4.0
        assert list(stack.weights.values()) == pytest.approx(share.tolist(), abs=1e-12)
    assert stack.weights["linear"] > 0.5


def test_what_was_not_forecast_is_not_weighed() -> None:
    stack = Stack()
    stack.mix(5, 0.6, 0.4)
    before = stack.state()["book"][:10].tobytes()
    assert not stack.weigh(4, True)
    assert stack.state()["book"][:10].tobytes() == before
    assert stack.weigh(5, True)


# --- state ------------------------------------------------------------------------------------------------------------


def test_a_state_that_does_not_fit_is_refused_and_changes_nothing() -> None:
    rows, ups = logistic(500, 13)
    learner = Online(seat())
    follow(learner, moments_of(rows), ups)
    before = digest(learner)
    with pytest.raises(LearnerError, match="other columns"):
        learner.restore(Online(seat(6)).state())
    with pytest.raises(LearnerError, match=r"'book' is float64 of shape \(7, 8\), not float64 of \(4, 8\)"):
        learner.restore(Online(seat(horizon_bars=4)).state())
    state = stored(learner.state())
    with pytest.raises(LearnerError, match="'leaves' is float64"):
        learner.restore({**state, "forest.leaves": state["forest.leaves"][:-1]})
    with pytest.raises(LearnerError, match="'windows' is float32"):
        learner.restore({**state, "forest.windows": state["forest.windows"].astype(np.float32)})
    with pytest.raises(LearnerError, match="'book' is object"):
        learner.restore({key: value for key, value in state.items() if key != "stack.book"})
    state["forest.trees"][0, 0] = 99.0
    with pytest.raises(LearnerError):
        learner.restore({**state, "linear.table": np.zeros_like(state["linear.table"])})
    assert digest(learner) == before


def test_its_state_is_arrays_of_numbers_and_bounded() -> None:
    """What it knows of the default columns takes the same room from the first bar on."""
    rng = np.random.default_rng(14)
    learner = Online(seat(131))
    moments, ups = moments_of(rng.normal(size=(3_000, 131))), rng.random(3_000) < 0.5
    sizes = []
    for part in (slice(0, 1), slice(1, 3_000)):
        follow(learner, moments[part], ups[part])
        state = learner.state()
        assert all(isinstance(value, str) or value.dtype == np.float64 for value in state.values())
        sizes.append(sum(np.asarray(value).nbytes for value in state.values()))
    assert sizes[0] == sizes[1] < 1_500_000


# --- real bars --------------------------------------------------------------------------------------------------------


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize("horizon", [1, 4])
def test_on_a_real_year_it_says_more_than_the_base_rate(shared_data: Path, horizon: int) -> None:
    """Paired over blocks of a week: the gain over saying a half lies above 0 by far."""
    import polars as pl

    frame = pl.read_parquet(shared_data / "market" / "crypto" / "BTCUSDT_spot_15m_2024.parquet")
    bars = Bars.from_frame(frame, symbol="BTCUSDT", timeframe="15m")
    spec = FeatureSpec("15m", higher_timeframes=("1h", "4h"))
    rows = FeatureEngine(spec).batch(bars)
    learner = Online(Seat(symbol="BTCUSDT", timeframe="15m", horizon_bars=horizon, columns=spec.names, fee=0.0, seed=1))
    ups = np.append(bars.close[horizon:] > bars.close[:-horizon], [False] * horizon)
    said = follow(learner, moments_of(rows), ups, horizon=horizon)[:-horizon]
    gain = math.log(2.0) + np.log(np.where(ups[:-horizon], said, 1.0 - said))
    gain = gain[np.isfinite(gain)]
    weeks = gain[: len(gain) // 672 * 672].reshape(-1, 672).mean(axis=1)
    assert len(gain) > 30_000
    assert weeks.mean() - 2.0 * weeks.std(ddof=1) / math.sqrt(len(weeks)) > 0.0
