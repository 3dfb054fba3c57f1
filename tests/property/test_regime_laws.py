"""Laws of the regime learner: a restart that nobody notices, a past that no later bar changes, bars of any size."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kalibre.core.bars import Bar
from kalibre.core.learning import Moment, Note, Seat
from kalibre.learners import _bocpd as bocpd
from kalibre.learners import _hmm as hmm
from kalibre.learners import _regime_fit as fit
from kalibre.learners import _regime_names as names
from kalibre.learners.regime import FIRST_LEARNT, Regime

COLUMNS = Regime.columns or ()
N = FIRST_LEARNT + 90
FINITE = {"allow_nan": False, "allow_infinity": False}


def regime_of(seed: int) -> Regime:
    return Regime(Seat(symbol="X", timeframe="1m", horizon_bars=1, columns=COLUMNS, fee=0.0, seed=seed))


def moments_of(seed: int, n: int = N, *, broken: float = 0.1) -> list[Moment]:
    """Return closes of a market whose volatility jumps, with holes, bars without trade, and returns unknown."""
    rng = np.random.default_rng(seed)
    size = 10.0 ** rng.uniform(-5, -1) * np.repeat(np.exp(rng.normal(size=n // 20 + 1)), 20)[:n]
    ticks = (rng.normal(size=(n, 8)) + 0.2 * rng.normal()) * size[:, None]
    paths = np.exp(np.hstack([np.zeros((n, 1)), ticks.cumsum(axis=1)]))
    start, moments = 100.0, []
    for t, path in enumerate(paths.tolist()):
        bar = Bar(
            open_time=t * 60_000,
            open=start,
            high=start * max(path),
            low=start * min(path),
            close=start * path[-1],
            volume=float(rng.random() >= broken / 3),
        )
        row = np.array([math.nan if rng.random() < broken / 3 else math.log(bar.close / start)])
        row.flags.writeable = False
        moments.append(Moment(bar.open_time + 60_000, bar, row, t > 0 and bool(rng.random() >= broken / 3)))
        start = bar.close
    return moments


def stored(state: Any) -> dict[str, Any]:
    """Return a state as it comes back from a file: copies."""
    return {key: np.array(value) for key, value in state.items()}


def said(learner: Regime, moments: list[Moment]) -> list[Note | None]:
    return [learner.annotate(one) for one in moments]


@given(st.integers(0, 10_000), st.integers(0, N))
@settings(max_examples=25, deadline=None)
def test_a_restart_at_any_bar_changes_no_bit(seed: int, at: int) -> None:
    moments = moments_of(seed)
    whole, begun, resumed = regime_of(seed), regime_of(seed), regime_of(seed)
    expected = said(whole, moments)
    first = said(begun, moments[:at])
    kept = stored(begun.state())
    said(begun, moments[at:])  # what was stored does not go on with the learner
    resumed.restore(kept)
    assert first + said(resumed, moments[at:]) == expected
    assert resumed.show() == whole.show()
    assert resumed.figures() == whole.figures()
    for key, value in whole.state().items():
        assert np.asarray(value).tobytes() == np.asarray(resumed.state()[key]).tobytes()


@given(st.integers(0, 10_000), st.integers(FIRST_LEARNT, N - 1), st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_what_was_said_of_a_bar_knows_nothing_later(seed: int, at: int, other: int) -> None:
    """The bars after `at` are others: nothing up to it changes."""
    moments, elsewhere = moments_of(seed), moments_of(other + 20_000)
    altered = moments[: at + 1] + elsewhere[at + 1 :]
    expected, found = said(regime_of(1), moments), said(regime_of(1), altered)
    assert found[: at + 1] == expected[: at + 1]
    assert (found[at] is None) == math.isnan(moments[at].row[0])
    if at < N - 20:  # and they do matter to what is said of themselves
        assert found[at + 1 :] != expected[at + 1 :]


@given(st.integers(0, 10_000), st.floats(0.0, 0.9))
@settings(max_examples=25, deadline=None)
def test_whatever_the_bars_it_says_probabilities_and_a_known_name(seed: int, broken: float) -> None:
    learner = regime_of(seed)
    for note in said(learner, moments_of(seed, broken=broken)):
        if note is not None:
            p = [note.values[f"p_{k}"] for k in range(hmm.N_STATES)]
            assert all(0.0 <= one <= 1.0 for one in p)
            assert math.isclose(sum(p), 1.0, abs_tol=1e-9)
            assert note.label in names.NAMES
            assert note.values["run_length"] >= 0.0
            assert note.values["expected_run_length"] >= 0.0
            assert -1e-9 <= note.values["change"] <= 1.0 + 1e-9
    model = np.asarray(learner.state()["model"])
    if learner.show()["states"]:
        assert np.isfinite(model).all()
        order = fit.canonical(model, learner._scale)
        assert order.tolist() == [0, 1, 2]


number = st.floats(-1e150, 1e150, **FINITE)


@given(st.lists(st.tuples(number, number), min_size=1, max_size=60))
@settings(max_examples=100, deadline=None)
def test_no_number_breaks_filter_or_run_lengths(rows: list[tuple[float, float]]) -> None:
    model = np.zeros((3, hmm.MODEL_COLUMNS))
    model[:, hmm.MOVES : hmm.MOVES + 3] = np.full((3, 3), 0.02) + 0.94 * np.eye(3)
    model[:, hmm.MEAN], model[:, hmm.VARIANCE : hmm.VARIANCE + 2] = (-1.0, 0.0, 1.0), 0.1
    belief, runs = np.full((2, 3), 1 / 3), bocpd.new_runs(8)
    bocpd.expect(runs, np.zeros(2), np.ones(2), np.ones(2))
    for first, second in rows:
        hmm.step(model, belief, first, second, 1.0)
        assert np.isfinite(belief[0]).all()
        assert math.isclose(belief[0].sum(), 1.0, abs_tol=1e-9)
        _, length, expected, recent = bocpd.update(runs, first, second, 1 / 500, 1e-6, 20.0)
        assert np.isfinite([length, expected, recent]).all()
        n = int(runs[-1, bocpd.LENGTH])
        assert math.isclose(runs[:n, bocpd.LIKELY].sum(), 1.0, abs_tol=1e-9)


@given(st.integers(0, 10_000), st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_learning_never_makes_bars_less_likely(seed: int, rounds: int) -> None:
    rng = np.random.default_rng(seed)
    seen = np.column_stack([rng.standard_t(3, size=(80, 2)), rng.uniform(0.2, 4.0, 80)])
    seen[rng.random(80) < 0.1] = np.nan
    model = np.zeros((3, hmm.MODEL_COLUMNS))
    model[:, hmm.START] = 1 / 3
    model[:, hmm.MOVES : hmm.MOVES + 3] = 0.99 * rng.dirichlet(np.ones(3), size=3) + 0.01 / 3
    model[:, hmm.MEAN : hmm.MEAN + 2] = rng.normal(size=(3, 2))
    model[:, hmm.VARIANCE : hmm.VARIANCE + 2] = rng.uniform(0.05, 3.0, size=(3, 2))
    before, _ = hmm.log_likelihood(seen, model)
    for _ in range(rounds):
        after, model, _ = hmm.fitted(seen, model, fit.FLOORS, 1)
        assert after >= before - 1e-9 * abs(before)
        before = after
