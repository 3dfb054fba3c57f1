"""Funding on paper: each rate once, by the bar that it is settled in, or late by who held the position then."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace
from tests.fakes.models import START_MS, STEP_MS, bar_events, random_bars, small_bundle
from tests.fakes.trading import (
    Models,
    assert_equal_to_backtest,
    backtested,
    funding,
    newest,
    projection,
    promotion,
)

from kalibre.bars.funding import funding_by_bar
from kalibre.core.bars import Bars
from kalibre.core.events import Event
from kalibre.features.engine import FeatureSpec
from kalibre.log.replay import copy_state
from kalibre.models.bundle import ModelBundle
from kalibre.trading.funding import FundingRates
from kalibre.trading.paper import PaperProjection

COLUMNS = ("roc_10", "realised_volatility_20", "range_relative", "roc_3")
EIGHT_HOURS_MS = 32 * STEP_MS


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return small_bundle(columns=COLUMNS, entry_threshold=0.6, exit_threshold=0.5)


@pytest.fixture(scope="module")
def bars() -> Bars:
    return random_bars(400, seed=9)


def fresh(bundle: ModelBundle) -> PaperProjection:
    models = Models()
    models.add(bundle)
    return projection(models, FeatureSpec("15m", columns=COLUMNS))


def play(paper: PaperProjection, events: list[Event]) -> list[Event]:
    return [emitted for event in events for emitted in paper.apply(event)]


def settlements(bars: Bars) -> list[tuple[int, float]]:
    """Return dear rates, every eight hours and two in one bar now and then."""
    dice = np.random.default_rng(3)
    times = [*range(START_MS, int(bars.close_time[-1]) + 1, EIGHT_HOURS_MS), START_MS + 200 * STEP_MS + 7_000]
    return sorted((time, float(dice.normal(0.002, 0.002))) for time in times)


def merged(bars: Bars, rates: list[tuple[int, float]], *, stamp_ms: int = 0, late_ms: int = 0) -> list[Event]:
    """Return bars and rates in the order in which they become known, a bar at its close."""
    told = [(time + late_ms, 0, funding(time + stamp_ms, rate)) for time, rate in rates]
    told += [(event.event_time + STEP_MS, 1, event) for event in bar_events(bars)]
    return [event for _, _, event in sorted(told, key=lambda one: one[:2])]


def column(bars: Bars, rates: list[tuple[int, float]]) -> np.ndarray:  # type: ignore[type-arg]
    return funding_by_bar(rates, bars)


@pytest.mark.parametrize("stamp_ms", [0, 1, 999])
@pytest.mark.parametrize("known", ["at its time", "long before"])
def test_in_time_it_is_the_backtest_with_the_same_column(
    bundle: ModelBundle, bars: Bars, stamp_ms: int, known: str
) -> None:
    rates = settlements(bars)
    run = backtested(bundle, bars, funding=column(bars, rates))
    free = backtested(bundle, bars)
    assert run.cash[-1] < free.cash[-1] - 20, "the rates matter"
    late_ms = 0 if known == "at its time" else -(10**10)
    emitted = play(fresh(bundle), [promotion(bundle), *merged(bars, rates, stamp_ms=stamp_ms, late_ms=late_ms)])
    assert_equal_to_backtest(emitted, bars, run)
    with pytest.raises(AssertionError):
        assert_equal_to_backtest(emitted, bars, free)


def test_in_a_hole_the_next_bar_pays(bundle: ModelBundle, bars: Bars) -> None:
    keep = np.ones(len(bars), dtype=bool)
    keep[150:250] = False
    holed, rates = bars[keep], settlements(bars)
    run = backtested(bundle, holed, funding=column(holed, rates))
    emitted = play(fresh(bundle), [promotion(bundle), *merged(holed, rates)])
    assert_equal_to_backtest(emitted, holed, run)


def test_a_rate_that_is_told_twice_is_charged_once(bundle: ModelBundle, bars: Bars) -> None:
    rates = settlements(bars)
    twice = [*merged(bars, rates), *(funding(time + 3, rate) for time, rate in rates)]
    told = sorted(twice, key=lambda one: one.event_time + (STEP_MS if one.kind == "bar" else 0))
    emitted = play(fresh(bundle), [promotion(bundle), *told])
    assert_equal_to_backtest(emitted, bars, backtested(bundle, bars, funding=column(bars, rates)))


def test_a_paper_that_charges_a_rate_twice_is_seen(
    bundle: ModelBundle, bars: Bars, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plant: a settlement is known by its stamp, not by its second."""
    monkeypatch.setattr("kalibre.trading.funding._SECOND_MS", 1)
    with pytest.raises(AssertionError):
        test_a_rate_that_is_told_twice_is_charged_once(bundle, bars)


def test_a_corrected_bar_pays_what_is_known_by_then(bundle: ModelBundle, bars: Bars) -> None:
    rates = settlements(bars)
    due = dict(rates)
    inputs: list[Event] = []
    for event in bar_events(bars):
        wrong = replace(event.payload, close=event.payload.low)
        inputs.append(replace(event, payload=wrong))
        if (close := event.event_time + STEP_MS) in due:
            inputs += [funding(close, -1e-3), funding(close, due[close], revision=1)]
        inputs.append(replace(event, revision=1))
    expected = [(time, rate) for time, rate in rates if time % STEP_MS == 0]
    emitted = play(fresh(bundle), [promotion(bundle), *inputs])
    assert_equal_to_backtest(emitted, bars, backtested(bundle, bars, funding=column(bars, expected)))


# --- late -------------------------------------------------------------------------------------------------------------


def cash_of(emitted: list[Event]) -> np.ndarray:  # type: ignore[type-arg]
    return np.array([one.payload.cash for one in newest(emitted, "account")])  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def run(bundle: ModelBundle, bars: Bars):  # type: ignore[no-untyped-def]
    return backtested(bundle, bars)


def with_late(bars: Bars, row: int, lag: int, *rates: float) -> list[Event]:
    """Return bars, and rates settled at a row's close that come that many bars later, one revision each."""
    events, time = bar_events(bars), int(bars.close_time[row])
    late = [funding(time, rate, revision=number) for number, rate in enumerate(rates)]
    return [*events[: row + 1 + lag], *late, *events[row + 1 + lag :]]


def rows(run, *, held: bool, next_held: bool) -> int:  # type: ignore[no-untyped-def]
    """Return a row at whose close something is held or not, and at the next one."""
    is_held = run.quantity > 0
    return int(np.flatnonzero((is_held[:-1] == held) & (is_held[1:] == next_held))[5])


@pytest.mark.parametrize("lag", [0, 3])
@pytest.mark.parametrize("next_held", [True, False])
def test_late_it_is_paid_by_who_held_the_position_then(
    bundle: ModelBundle,
    bars: Bars,
    run,
    lag: int,
    next_held: bool,  # type: ignore[no-untyped-def]
) -> None:
    """Also by one who sold at the very next open."""
    row = rows(run, held=True, next_held=next_held)
    emitted = play(fresh(bundle), [promotion(bundle), *with_late(bars, row, lag, 0.001)])
    paid = run.cash - cash_of(emitted)
    assert not paid[: row + 1 + lag].any()
    assert paid[row + 1 + lag] == pytest.approx(0.001 * run.quantity[row] * bars.close[row], rel=1e-6)


@pytest.mark.parametrize("next_held", [True, False])
def test_late_it_is_paid_by_nobody_if_nobody_held(bundle: ModelBundle, bars: Bars, run, next_held: bool) -> None:  # type: ignore[no-untyped-def]
    row = rows(run, held=False, next_held=next_held)
    emitted = play(fresh(bundle), [promotion(bundle), *with_late(bars, row, 2, 0.001)])
    assert np.array_equal(run.cash, cash_of(emitted))


def test_a_revised_rate_is_charged_the_difference(bundle: ModelBundle, bars: Bars, run) -> None:  # type: ignore[no-untyped-def]
    row = rows(run, held=True, next_held=True)
    time, value = int(bars.close_time[row]), run.quantity[row] * bars.close[row]
    events = bar_events(bars)
    inputs = [*events[:row], funding(time, 0.001), *events[row : row + 2], funding(time, 0.003, revision=1)]
    paid = run.cash[: row + 3] - cash_of(play(fresh(bundle), [promotion(bundle), *inputs, *events[row + 2 : row + 3]]))
    assert paid[row : row + 3] == pytest.approx([0.001 * value, 0.001 * value, 0.003 * value], rel=1e-6)


def test_what_is_owed_outlives_a_restart(bundle: ModelBundle, bars: Bars, run) -> None:  # type: ignore[no-untyped-def]
    row = rows(run, held=True, next_held=True)
    inputs = with_late(bars, row, 1, 0.001)
    whole = play(fresh(bundle), [promotion(bundle), *inputs])
    first, second = fresh(bundle), fresh(bundle)
    head = play(first, [promotion(bundle), *inputs[: row + 3]])
    second.restore(copy_state(first.state()))
    assert head + play(second, inputs[row + 3 :]) == whole


def test_rates_of_before_the_first_bar_are_nobodys(bundle: ModelBundle, bars: Bars, run) -> None:  # type: ignore[no-untyped-def]
    old = [funding(START_MS - hours * 3_600_000, 0.01) for hours in (48, 8, 0)]
    events = bar_events(bars)
    emitted = play(fresh(bundle), [promotion(bundle), *old[:2], *events[:200], old[2], *old[:1], *events[200:]])
    assert np.array_equal(run.cash, cash_of(emitted))


def test_rates_are_forgotten_with_their_bars() -> None:
    rates = FundingRates()
    for hour in range(100):
        rates.take(hour * 3_600_000 + 4, 0.001)
    rates.forget(97 * 3_600_000)
    assert rates.state()["rates"].tolist() == [[98 * 3_600_000, 0.001], [99 * 3_600_000, 0.001]]
