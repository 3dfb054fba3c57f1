"""The regime learner: what it sees of a bar, what it finds in planted markets, and that nothing makes it fall over."""

from __future__ import annotations

import math
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from kalibre.core.bars import Bar, Bars
from kalibre.core.errors import LearnerError
from kalibre.core.learning import Annotator, Moment, Note, Seat
from kalibre.features.engine import FeatureEngine, FeatureSpec
from kalibre.learners import _hmm as hmm
from kalibre.learners import _regime_fit as fit
from kalibre.learners import _regime_names as names
from kalibre.learners.regime import FIRST_LEARNT, LEARNER, REFIT_EVERY, WINDOW, Regime

COLUMNS = Regime.columns or ()
SEAT = Seat(symbol="X", timeframe="1m", horizon_bars=1, columns=COLUMNS, fee=0.0, seed=1)
MINUTE = 60_000
ONE = fit.Scale(1e-8, 1.0)


class Market(NamedTuple):
    """A planted market: its closes, and the state behind each bar, calm and rising first."""

    moments: list[Moment]
    state: Any


def planted(n: int, seed: int, *, drift: Any = (0.0, 0.0, 0.0), volatility: Any = (1.0, 2.0, 4.0)) -> Market:
    """Return Brownian bars of a Markov chain of three states that last for 50 bars; drift per volatility of a bar."""
    rng = np.random.default_rng(seed)
    moves = np.full((3, 3), 0.01) + np.eye(3) * 0.97
    state = np.zeros(n, dtype=np.int64)
    for t in range(1, n):
        state[t] = rng.choice(3, p=moves[state[t - 1]])
    size = 1e-3 * np.asarray(volatility)[state]
    # Ticks, and between them the exact extremes of a Brownian bridge: high and low are those of the whole path.
    part = size[:, None] / np.sqrt(20)
    ticks = rng.normal(size=(n, 20)) * part + (size * np.asarray(drift)[state] / 20)[:, None]
    path = np.hstack([np.zeros((n, 1)), ticks.cumsum(axis=1)])
    ends, moved = path[:, :-1] + path[:, 1:], path[:, :-1] - path[:, 1:]
    over, under = (np.sqrt(moved**2 - 2.0 * part**2 * np.log(rng.random((n, 20)))) for _ in range(2))
    high, low, end = ((ends + over) / 2.0).max(axis=1), ((ends - under) / 2.0).min(axis=1), path[:, -1]
    begin = 100.0 * np.exp(end.cumsum() - end)
    bars = [
        Bar(open_time=t * MINUTE, open=start, high=start * up, low=start * down, close=start * last, volume=1.0)
        for t, (start, up, down, last) in enumerate(zip(begin, np.exp(high), np.exp(low), np.exp(end), strict=True))
    ]
    return Market([moment(bar, before) for bar, before in zip(bars, [None, *bars[:-1]], strict=True)], state)


def moment(bar: Bar, before: Bar | None, *, log_return: float | None = None) -> Moment:
    if log_return is None:
        log_return = math.nan if before is None else math.log(bar.close / before.close)
    row = np.array([log_return])
    row.flags.writeable = False
    return Moment(bar.open_time + MINUTE, bar, row, before is not None)


def follow(moments: list[Moment], learner: Regime | None = None) -> tuple[Regime, list[Note | None]]:
    learner = learner or Regime(SEAT)
    return learner, [learner.annotate(one) for one in moments]


def scale_of(bars: Any) -> fit.Scale:
    scale = fit.scale_of(bars)
    assert scale is not None
    return scale


def likeliest(notes: list[Note | None]) -> Any:
    return np.array([-1 if one is None else int(np.argmax([one.values[f"p_{k}"] for k in range(3)])) for one in notes])


def test_the_file_is_a_part() -> None:
    assert LEARNER is Regime
    assert isinstance(Regime(SEAT), Annotator)
    assert Regime.name == "regime"
    with pytest.raises(LearnerError, match="log_return_1"):
        Regime(Seat(symbol="X", timeframe="1m", horizon_bars=1, columns=("rsi_14",), fee=0.0, seed=1))


# --- what is seen -----------------------------------------------------------------------------------------------------


def test_volatility_is_garman_and_klass() -> None:
    """Of Brownian bars its mean is the variance; it varies less than the squared return by the 7.4 that they tell."""
    market = planted(40_000, 1, volatility=(1.0, 1.0, 1.0))
    seen = np.array([fit.measured(one.bar, float(one.row[0])) for one in market.moments[1:]])
    assert seen[:, 0].mean() == pytest.approx(1e-6, rel=0.02)
    assert (seen[:, 1] ** 2).mean() == pytest.approx(1e-6, rel=0.03)
    efficiency = ((seen[:, 1] ** 2).std() / (seen[:, 1] ** 2).mean()) ** 2 / (seen[:, 0].std() / seen[:, 0].mean()) ** 2
    assert efficiency == pytest.approx(7.4, rel=0.1)


def test_a_gap_belongs_to_the_bar() -> None:
    """A bar that opens higher than the one before closed has moved since then."""
    bar = Bar(open_time=0, open=1.1, high=1.11, low=1.09, close=1.1, volume=1.0)
    variance, log_return = fit.measured(bar, math.log(1.1))
    assert log_return == math.log(1.1)
    spread = math.log(1.11)
    assert variance == pytest.approx(0.5 * spread**2 - (2 * math.log(2) - 1) * math.log(1.1) ** 2)


def test_no_bar_counts_as_more_than_five_times_as_wild_or_less_than_a_tenth_as_calm() -> None:
    bars = np.array([fit.measured(one.bar, float(one.row[0])) for one in planted(2_000, 1).moments])
    scale = scale_of(bars)
    calm, wild = np.nanquantile(bars[:, 0], (0.2, 0.8))
    assert fit.seen_one(1.0, -5.0, scale)[0] == pytest.approx(0.5 * math.log(25.0 * wild), abs=1e-3)
    assert fit.seen_one(0.0, 0.0, scale) == pytest.approx((0.5 * math.log(calm / 100.0), 0.0, 0.1))
    assert fit.scale_of(np.zeros((5, 2))) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"volume": 0.0},
        {"volume": math.nan},
        {"low": 0.0},
        {"high": math.nan},
        {"high": math.inf},
        {"close": math.nan},
        {"low": 2.0},
    ],
)
def test_of_a_bar_that_is_none_nothing_is_seen(changed: dict[str, float]) -> None:
    bar = Bar(**{"open_time": 0, "open": 1.0, "high": 1.1, "low": 0.9, "close": 1.0, "volume": 1.0, **changed})
    assert np.isnan(fit.measured(bar, 0.0)).all()
    assert np.isnan(fit.measured(Bar(open_time=0, open=1.0, high=1.0, low=1.0, close=1.0, volume=1.0), math.nan)).all()


def test_bars_and_one_bar_are_seen_alike() -> None:
    market = planted(500, 2)
    bars = np.array([fit.measured(one.bar, float(one.row[0])) for one in market.moments])
    scale = scale_of(bars)
    seen = fit.seen_of(bars, scale)
    one_by_one = np.array([fit.seen_one(*row, scale) for row in bars.tolist()])
    assert seen == pytest.approx(one_by_one, rel=1e-12, nan_ok=True)
    assert np.isnan(seen[0]).all()
    typical = np.quantile(bars[1:, 0], 0.2) ** 0.5
    assert np.nanmin(seen[:, 2]) >= 0.1 - 1e-12
    assert scale.typical == pytest.approx(typical)


# --- what is found ----------------------------------------------------------------------------------------------------


def test_it_finds_planted_regimes_and_names_them() -> None:
    market = planted(6_000, 3, drift=(0.4, -0.4, 0.0), volatility=(1.0, 1.0, 3.0))
    learner, notes = follow(market.moments)
    right = likeliest(notes)[3_000:] == market.state[3_000:]
    assert right.mean() > 0.9
    shown = learner.show()
    assert [state["name"] for state in shown["states"]] == ["calm up", "calm down", "storm"]
    assert [state["lasts_bars"] for state in shown["states"]] == pytest.approx([50.0] * 3, rel=0.4)
    assert [state["volatility"] for state in shown["states"]] == pytest.approx([1e-3, 1e-3, 3e-3], rel=0.1)
    assert [state["mean_log_return"] for state in shown["states"]] == pytest.approx([4e-4, -4e-4, 0.0], abs=1e-4)
    assert np.sum(shown["transitions"], axis=1) == pytest.approx(np.ones(3))
    for note in notes[FIRST_LEARNT:]:
        assert note is not None
        assert note.label in names.NAMES
        assert sum(note.values[f"p_{k}"] for k in range(3)) == pytest.approx(1.0)
        assert 0.0 <= note.values["change"] <= 1.0 + 1e-12
    assert {note.label for note in notes[4_000:] if note} == {"calm up", "calm down", "storm"}


def test_the_name_is_of_a_state_it_is_convinced_of() -> None:
    """It follows the likeliest state, but not into every doubt."""
    market = planted(3_000, 4, volatility=(1.0, 1.5, 2.25))
    learner, notes = follow(market.moments)
    shown = [state["name"] for state in learner.show()["states"]]
    assert shown == ["calm", "lively", "storm"]
    spoken = [note for note in notes[2_000:] if note]
    named = np.array([shown.index(note.label) for note in spoken])
    p = np.array([[note.values[f"p_{k}"] for k in range(3)] for note in spoken])
    sure = p.max(axis=1) >= 2 / 3
    assert (named[sure] == p.argmax(axis=1)[sure]).all()
    assert (named[1:] == named[:-1])[~sure[1:]].all()
    assert (np.diff(named) != 0).sum() < (np.diff(p.argmax(axis=1)) != 0).sum()


def test_the_run_tells_when_the_market_changed() -> None:
    calm, wild = planted(700, 5, volatility=(1.0,) * 3), planted(100, 6, volatility=(3.0,) * 3)
    bars = [*calm.moments, *wild.moments[1:]]
    _, notes = follow(bars)
    before, after = notes[699], notes[730]
    assert before is not None
    assert after is not None
    assert before.values["run_length"] == 699.0
    assert before.values["change"] < 0.2
    assert abs(after.values["run_length"] - 31.0) <= 3.0
    found = notes[705]
    assert found is not None
    assert found.values["change"] > 0.9


def test_states_are_not_exchanged_when_it_learns_again() -> None:
    """Of all orders of the new states, the one they are in is nearest to that of the old ones, every time."""
    market = planted(9_000, 7, drift=(0.3, -0.3, 0.0), volatility=(1.0, 1.0, 3.0))
    learner = Regime(SEAT)
    places = slice(hmm.MEAN, hmm.MEAN + 2)
    refits = 0
    for t, one in enumerate(market.moments):
        before = np.array(learner.state()["model"])[:, places]
        learner.annotate(one)
        after = np.asarray(learner.state()["model"])[:, places]
        if t > 1_000 and (before != after).any():  # the first fits are from a few hundred bars
            refits += 1
            away = [np.abs(after[list(order)] - before).sum() for order in permutations(range(3))]
            assert np.argmin(away) == 0
            assert away[0] < 0.5 * min(away[1:])
    assert refits >= 20


def test_the_order_of_states_does_not_depend_on_where_learning_began() -> None:
    market = planted(2_000, 8, drift=(0.4, -0.4, 0.0), volatility=(1.0, 1.0, 3.0))
    bars = np.array([fit.measured(one.bar, float(one.row[0])) for one in market.moments])
    scale = scale_of(bars)
    seen = fit.seen_of(bars, scale)
    model = fit.fresh(seen, scale, np.random.default_rng(1)).model
    for order in permutations(range(3)):
        turned = model[list(order)].copy()
        turned[:, hmm.MOVES : hmm.MOVES + 3] = turned[:, hmm.MOVES + np.array(order)]
        found = fit.bettered(seen, scale, turned, 5)
        straight = fit.bettered(seen, scale, model, 5)
        assert found.model == pytest.approx(straight.model, rel=1e-7, abs=1e-9)
        assert found.belief == pytest.approx(straight.belief, abs=1e-9)
    seeds = [fit.fresh(seen, scale, np.random.default_rng(seed)).model for seed in range(2, 6)]
    for other in seeds:
        assert other[:, hmm.MOVES : hmm.HELD] == pytest.approx(model[:, hmm.MOVES : hmm.HELD], abs=0.02)


def test_several_beginnings_find_what_one_may_miss() -> None:
    market = planted(4_000, 9, drift=(0.4, -0.4, 0.0), volatility=(1.0, 1.0, 3.0))
    bars = np.array([fit.measured(one.bar, float(one.row[0])) for one in market.moments])
    scale = scale_of(bars)
    seen = fit.seen_of(bars, scale)
    alone = [fit.bettered(seen, scale, one, 110) for one in fit._beginnings(seen, np.random.default_rng(1))]
    found = [one.log_likelihood for one in alone]
    assert min(found) < max(found) - 10.0  # the planted failure: some beginnings lead nowhere
    assert fit.fresh(seen, scale, np.random.default_rng(1)).log_likelihood > max(found) - 0.5


# --- names ------------------------------------------------------------------------------------------------------------


def model_of(levels: Any, leans: Any, held: float = 1_000.0) -> Any:
    model = np.zeros((3, hmm.MODEL_COLUMNS))
    model[:, hmm.MEAN], model[:, hmm.VARIANCE], model[:, hmm.VARIANCE + 1] = levels, 0.09, 0.7
    model[:, hmm.MEAN + 1], model[:, hmm.HELD] = np.asarray(leans) / np.exp(np.asarray(levels)) * ONE.typical, held
    return model


def named(marks: Any) -> list[str]:
    return [names.name(marks, k) for k in range(3)]


@pytest.mark.parametrize(
    ("levels", "leans", "expected"),
    [
        ((-7.0, -6.5, -6.0), (0.0, 0.0, 0.0), ["calm", "lively", "storm"]),
        ((-7.0, -7.0, -6.0), (0.3, -0.3, 0.0), ["calm up", "calm down", "storm"]),
        ((-7.0, -6.1, -6.0), (0.0, 0.3, -0.3), ["calm", "storm up", "storm down"]),
        ((-7.0, -6.9, -6.85), (0.3, 0.0, -0.3), ["calm up", "calm", "calm down"]),
        ((-7.0, -7.0, -7.0), (0.0, 0.0, 0.0), ["calm", "calm", "calm"]),
    ],
)
def test_names_follow_from_the_model(levels: Any, leans: Any, expected: list[str]) -> None:
    assert named(names.marked(model_of(levels, leans), ONE, names.unnamed())) == expected


def test_a_direction_has_to_be_beyond_chance() -> None:
    few = names.marked(model_of((-7.0, -6.5, -6.0), (0.1, 0.0, 0.0), held=100.0), ONE, names.unnamed())
    many = names.marked(model_of((-7.0, -6.5, -6.0), (0.1, 0.0, 0.0), held=3_000.0), ONE, names.unnamed())
    assert named(few)[0] == "calm"
    assert named(many)[0] == "calm up"


def test_a_name_does_not_come_and_go_at_a_boundary() -> None:
    marks = names.marked(model_of((-7.0, -6.68, -6.0), (0.0,) * 3), ONE, names.unnamed())
    assert named(marks)[1] == "calm"
    for level in (-6.65, -6.68, -6.64, -6.69):  # the boundary is at -6.667
        marks = names.marked(model_of((-7.0, level, -6.0), (0.0,) * 3), ONE, marks)
        assert named(marks)[1] == "calm"
    marks = names.marked(model_of((-7.0, -6.6, -6.0), (0.0,) * 3), ONE, marks)
    assert named(marks)[1] == "lively"
    marks = names.marked(model_of((-7.0, -6.69, -6.0), (0.0,) * 3), ONE, marks)
    assert named(marks)[1] == "lively"
    marks = names.marked(model_of((-7.0, -6.75, -6.0), (0.0,) * 3), ONE, marks)
    assert named(marks)[1] == "calm"


# --- bars that tell nothing -------------------------------------------------------------------------------------------


def unchanged_but_for_time(learner: Regime, one: Moment) -> None:
    """Assert that a bar moves the belief by the transitions alone, and the run not at all."""
    state = learner.state()
    belief, model = np.array(state["belief"])[0], np.array(state["model"])
    runs = np.array(state["runs"])
    note = learner.annotate(one)
    assert (note is None) == bool(np.isnan(one.row).all()), "where the bar's own return is unknown it says nothing"
    after = np.array(learner.state()["belief"])[0].tolist()
    assert after == pytest.approx(belief @ model[:, hmm.MOVES : hmm.MOVES + 3], abs=1e-12)
    assert np.asarray(learner.state()["runs"]).tobytes() == runs.tobytes()


def test_after_a_hole_and_without_trade_only_time_passes() -> None:
    market = planted(600, 10)
    learner, _ = follow(market.moments[:590])
    one = market.moments[590]
    unchanged_but_for_time(learner, one._replace(follows=False))
    still = Bar(open_time=one.bar.open_time, open=1.0, high=1.0, low=1.0, close=1.0, volume=0.0)
    unchanged_but_for_time(learner, moment(still, one.bar, log_return=0.0))
    unchanged_but_for_time(learner, moment(one.bar, one.bar, log_return=math.nan))
    before = np.array(learner.state()["belief"])[0]
    learner.annotate(market.moments[591])
    assert np.abs(np.asarray(learner.state()["belief"])[0] - before).max() > 1e-6  # and a true bar does tell


def test_it_learns_over_holes_and_bars_without_trade() -> None:
    market = planted(4_000, 11)
    rng = np.random.default_rng(1)
    moments = [one._replace(follows=one.follows and bool(rng.random() > 0.2)) for one in market.moments]
    _, notes = follow(moments)
    assert (likeliest(notes)[2_000:] == market.state[2_000:]).mean() > 0.85


@pytest.mark.parametrize("volume", [0.0, 1.0])
def test_a_market_in_which_nothing_moves_has_no_regime(volume: float) -> None:
    bars = [Bar(open_time=t * MINUTE, open=1.0, high=1.0, low=1.0, close=1.0, volume=volume) for t in range(600)]
    learner, notes = follow([moment(bar, bars[0], log_return=0.0) for bar in bars])
    assert set(notes) == {None}
    assert learner.show()["states"] == []
    assert learner.figures()["log_likelihood"] is None
    market = planted(FIRST_LEARNT, 12)
    assert follow(market.moments, learner)[1][-1] is not None  # and one as soon as it moves


def test_a_market_of_ticks_and_of_one_size_does_not_break_it() -> None:
    rng = np.random.default_rng(13)
    for sizes in ([0.0, 0.0, 0.0, 1.0], [1.0]):
        bars, price = [], 100.0
        for t in range(1_000):
            move = 0.01 * float(rng.choice(sizes)) * (1 if t % 2 else -1)
            high, low = max(price, price + move), min(price, price + move)
            bars.append(Bar(open_time=t * MINUTE, open=price, high=high, low=low, close=price + move, volume=1.0))
            price += move
        learner, notes = follow([moment(bar, before) for bar, before in zip(bars, [None, *bars[:-1]], strict=True)])
        spoken = [note for note in notes if note]
        assert len(spoken) == 1_000 - FIRST_LEARNT + 1
        assert all(math.isfinite(value) for note in spoken for value in note.values.values())
        assert np.isfinite(np.asarray(learner.state()["model"])).all()


def test_a_crash_is_survived() -> None:
    market = planted(1_000, 14)
    learner, _ = follow(market.moments[:800])
    bar = market.moments[800].bar
    crash = Bar(open_time=bar.open_time, open=bar.open, high=bar.open, low=1e-9, close=2e-9, volume=1.0)
    note = learner.annotate(moment(crash, market.moments[799].bar))
    assert note is not None
    assert note.label == "storm"
    _, notes = follow(market.moments[801:], learner)
    assert all(one and all(math.isfinite(value) for value in one.values.values()) for one in notes)


# --- state ------------------------------------------------------------------------------------------------------------


def test_its_memory_is_bounded_and_the_oldest_bars_are_forgotten() -> None:
    market = planted(WINDOW + 2 * REFIT_EVERY, 15)
    learner, _ = follow(market.moments[:300])
    size = sum(np.asarray(part).nbytes for part in learner.state().values())
    follow(market.moments[300:], learner)
    assert sum(np.asarray(part).nbytes for part in learner.state().values()) == size < 300_000
    newest = learner._newest(len(market.moments))
    expected = [fit.measured(one.bar, float(one.row[0])) for one in market.moments[-WINDOW:]]
    assert newest.tolist() == [list(pair) for pair in expected]


def test_a_state_of_another_form_is_refused_and_changes_nothing() -> None:
    market = planted(300, 16)
    learner, _ = follow(market.moments)
    before = {key: np.array(value) for key, value in learner.state().items()}
    other = {key: np.array(value) + 1 for key, value in before.items()}
    for broken in (
        {**other, "bars": other["bars"][:-1]},
        {**other, "runs": other["runs"].astype(np.float32)},
        {key: value for key, value in other.items() if key != "marks"},
    ):
        with pytest.raises(LearnerError, match="replay the log"):
            learner.restore(broken)
        for key, value in learner.state().items():
            assert np.asarray(value).tobytes() == before[key].tobytes()


def test_figures_are_of_what_was_said_before_the_bar() -> None:
    market = planted(3_000, 17)
    learner, notes = follow(market.moments)
    figures = learner.figures()
    assert figures["log_likelihood"] is not None
    assert -3.0 < figures["log_likelihood"] < 0.0
    assert figures["switches"] is not None
    assert 1.0 < figures["switches"] < 5.0  # states last for 50 bars
    assert notes[-1] is not None
    assert figures["run_length"] == notes[-1].values["expected_run_length"]
    assert figures["fits"] is not None
    assert 10 <= figures["fits"] <= 40


@pytest.mark.real_data
def test_on_real_bars_it_speaks_of_volatility(shared_data: Path) -> None:
    """What it calls a storm moves more in the bar after, not only in the bar itself."""
    import polars as pl

    file = shared_data / "market" / "crypto" / "BTCUSDT_spot_15m_2024.parquet"
    bars = Bars.from_frame(pl.read_parquet(file), symbol="BTCUSDT", timeframe="15m")[:12_000]
    rows = FeatureEngine(FeatureSpec("15m", columns=COLUMNS)).batch(bars)
    follows = np.concatenate(([False], np.diff(bars.open_time) == bars.step_ms))
    moments = [
        Moment(bar.open_time + bars.step_ms, bar, row, bool(known))
        for bar, row, known in zip(bars, rows, follows, strict=True)
    ]
    learner, notes = follow(moments, Regime(seat_of("15m")))
    said = likeliest(notes)[2_000:-1]
    next_move = np.abs(np.diff(np.log(bars.close)))[2_000:]
    calm, lively, storm = (next_move[said == k].mean() for k in range(3))
    assert 1.3 * calm < lively
    assert 1.3 * lively < storm
    assert [state["name"].split()[0] for state in learner.show()["states"]] == ["calm", "lively", "storm"]


def seat_of(timeframe: str) -> Seat:
    return Seat(symbol="X", timeframe=timeframe, horizon_bars=4, columns=COLUMNS, fee=0.0, seed=1)
