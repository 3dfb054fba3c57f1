"""One series in time order and in one scale: whatever the order of arrival, the end is the same."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalibre.bars.corporate_actions import DatedAction, adjust
from kalibre.bars.timeline import Change, Timeline, as_bars
from kalibre.core.bars import Bar, Bars
from kalibre.core.events import BarClosed, CorporateAction, Event, new_event

HOUR_MS = 3_600_000
PRICES, MONEY = ("open", "high", "low", "close"), ("quote_volume", "trades")


def bar(hour: int, close: float = 10.0, *, volume: float = 6.0, taker: float | None = None, revision: int = 0) -> Event:
    payload = BarClosed(
        open_time=hour * HOUR_MS,
        open=close,
        high=close * 1.1,
        low=close * 0.9,
        close=close,
        volume=volume,
        quote_volume=close * volume,
        taker_buy_volume=taker,
    )
    return new_event("X|1h", hour * HOUR_MS, payload, revision=revision)


def action(hour: int, factor: float = 3.0, status: str = "confirmed", revision: int = 0) -> Event:
    payload = CorporateAction(factor=factor, status=status)  # type: ignore[arg-type]
    return new_event("X", hour * HOUR_MS, payload, revision=revision)


def line(*events: Event, keep: int = 100) -> Timeline:
    made = Timeline("X", "1h", keep=keep)
    for event in events:
        made.take(event)
    return made


def closes(made: Timeline) -> list[float]:
    return [one.close for one in made.bars()]


# --- what an event means ----------------------------------------------------------------------------------------------


def test_says_what_an_event_means() -> None:
    made = line()
    assert made.take(bar(1)) is Change.NEXT
    assert made.take(bar(3)) is Change.NEXT
    assert made.take(bar(3)) is Change.NOTHING
    assert made.take(bar(3, 11.0, revision=1)) is Change.CORRECTED
    assert made.take(bar(2)) is Change.REWRITTEN
    assert made.take(bar(2, 12.0, revision=1)) is Change.REWRITTEN
    assert made.take(bar(2, 12.0, revision=1)) is Change.NOTHING
    assert made.take(bar(0)) is Change.REWRITTEN
    assert made.n_bars == 4
    assert closes(made) == [10.0, 10.0, 12.0, 11.0]


def test_an_action_rewrites_only_what_it_reaches_and_only_if_it_scales() -> None:
    made = line(bar(1), bar(2))
    assert made.take(action(3)) is Change.NOTHING  # ahead of its bar: that one comes in its scale
    assert made.take(bar(3, 5.0)) is Change.NEXT
    assert made.last is not None
    assert made.last.close == 5.0
    assert made.scaled(made.last).close == 15.0
    assert made.take(action(2, 2.0, "detected")) is Change.NOTHING
    assert made.undecided_ms == 2 * HOUR_MS
    assert made.take(action(2, 2.0, "confirmed", revision=1)) is Change.REWRITTEN
    assert made.undecided_ms is None
    assert closes(made) == [10.0, 20.0, 30.0]
    assert made.take(action(2, 2.0, "rejected", revision=2)) is Change.REWRITTEN
    assert closes(made) == [10.0, 10.0, 15.0]
    assert made.take(action(1, 1.0)) is Change.NOTHING


def test_an_undecided_action_counts_from_its_bar_on_and_the_oldest_is_named() -> None:
    made = line(bar(1), action(2, 2.0, "detected"), action(4, 2.0, "detected"))
    assert made.undecided_ms is None
    made.take(bar(2))
    assert made.undecided_ms == 2 * HOUR_MS
    made.take(action(2, 2.0, "rejected", revision=1))
    assert made.undecided_ms is None
    made.take(bar(4))
    assert made.undecided_ms == 4 * HOUR_MS


def test_a_doubt_matters_while_features_reach_it_or_something_is_held_from_before() -> None:
    made = line(*(bar(hour) for hour in range(10)), action(4, 2.0, "detected"), action(7, 2.0, "detected"))
    assert [made.doubt_ms(reach) for reach in (2, 3, 5, 6)] == [None, 7 * HOUR_MS, 7 * HOUR_MS, 4 * HOUR_MS]
    assert made.doubt_ms(0, 6 * HOUR_MS) == 7 * HOUR_MS
    assert made.doubt_ms(0, 7 * HOUR_MS) is None
    assert made.spans_doubt(3 * HOUR_MS, 4 * HOUR_MS)
    assert not made.spans_doubt(4 * HOUR_MS, 6 * HOUR_MS)


def test_prices_and_shares_scale_but_money_and_counts_do_not() -> None:
    made = line(action(1), bar(1, 10.0, volume=6.0, taker=3.0))
    (scaled,) = made.bars()
    assert (scaled.close, scaled.volume, scaled.taker_buy_volume) == (30.0, 2.0, 1.0)
    assert scaled.quote_volume == 60.0


def test_what_falls_out_is_counted_and_stays_out() -> None:
    made = line(*(bar(hour, 10.0 + hour) for hour in range(0, 50, 2)), keep=3)
    assert closes(made) == [54.0, 56.0, 58.0]
    assert made.n_bars == 25
    assert made.take(bar(1)) is Change.NOTHING
    assert made.take(bar(2, 99.0, revision=1)) is Change.NOTHING
    assert made.n_bars == 26  # the revised one was counted when it came
    assert made.take(bar(47, 1.0)) is Change.REWRITTEN
    assert closes(made) == [56.0, 1.0, 58.0]


def test_looks_up_by_time() -> None:
    made = line(bar(1, 1.0), bar(3, 3.0), bar(5, 5.0), action(3))
    assert [one.close for one in made.since(HOUR_MS)] == [9.0, 15.0]
    assert [made.after(hour * HOUR_MS) for hour in (0, 1, 2, 5, 6)] == [3, 2, 2, 0, 0]
    found = made.find(3 * HOUR_MS)
    assert found is not None
    assert found.close == 9.0
    assert made.find(4 * HOUR_MS) is None
    assert made.find(9 * HOUR_MS) is None


def test_history_is_the_bars_as_columns() -> None:
    made = line(bar(1, taker=1.0), bar(2), action(2), bar(4, taker=2.0))
    for newest in (True, False):
        rows = made.bars() if newest else made.bars()[:-1]
        assert_same(made.history(newest=newest), as_bars("X", "1h", rows))
    assert made.history().trades is None
    assert len(line().history()) == 0


def assert_same(one: Bars, other: Bars) -> None:
    for name in Bar.__struct_fields__:
        ours, theirs = getattr(one, name), getattr(other, name)
        assert (ours is None) == (theirs is None), name
        assert ours is None or (np.array_equal(ours, theirs, equal_nan=True) and ours.dtype == theirs.dtype), name


# --- laws -------------------------------------------------------------------------------------------------------------


@st.composite
def histories(draw: Callable) -> tuple[list[Event], int]:  # type: ignore[type-arg]
    """Return bars with corrections, actions with second thoughts (oldest revision first), and how many to keep."""
    price = st.floats(0.5, 2_000, allow_nan=False)
    events: list[Event] = []
    for hour in draw(st.lists(st.integers(0, 40), unique=True, min_size=1, max_size=25)):
        values = draw(st.lists(price, min_size=1, max_size=3, unique=True))
        events += [bar(hour, close, taker=draw(st.none() | price), revision=n) for n, close in enumerate(values)]
    statuses = st.sampled_from(["detected", "confirmed", "rejected"])
    for hour in draw(st.lists(st.integers(-5, 45), unique=True, max_size=4)):
        factor = draw(st.sampled_from([2.0, 3.0, 1.2, 1 / 3, 10.0]))
        said = draw(st.lists(statuses, min_size=1, max_size=3))
        events += [action(hour, factor, status, revision=n) for n, status in enumerate(said)]
    return events, draw(st.sampled_from([1, 2, 7, 100]))


def in_time_order(events: list[Event]) -> list[Event]:
    newest: dict[tuple[str, int], Event] = {}
    for event in sorted(events, key=lambda one: one.revision):
        newest[event.kind, event.event_time] = event
    return sorted(newest.values(), key=lambda one: (one.event_time, one.kind == "bar"))


def shuffled(events: list[Event], dice: np.random.Generator) -> list[Event]:
    """Return any order in which no revision comes before the one that it revises."""
    mixed = [events[place] for place in dice.permutation(len(events))]
    queues: dict[tuple[str, int], list[Event]] = {}
    for event in sorted(events, key=lambda one: one.revision):
        queues.setdefault((event.kind, event.event_time), []).append(event)
    return [queues[event.kind, event.event_time].pop(0) for event in mixed]


@settings(max_examples=150, deadline=None)
@given(histories(), st.integers(0, 2**32 - 1))
def test_any_order_of_arrival_ends_in_the_same(history: tuple[list[Event], int], seed: int) -> None:
    events, keep = history
    sorted_line = line(*in_time_order(events), keep=keep)
    mixed_line = line(*shuffled(events, np.random.default_rng(seed)), keep=keep)
    assert mixed_line.bars() == sorted_line.bars()
    assert mixed_line.n_bars == sorted_line.n_bars == len({one.event_time for one in events if one.kind == "bar"})
    assert mixed_line.undecided_ms == sorted_line.undecided_ms
    assert mixed_line.last == sorted_line.last
    for event in events:
        assert mixed_line.scale(event.event_time) == sorted_line.scale(event.event_time)
    state, other = mixed_line.state(), sorted_line.state()
    assert np.array_equal(state.pop("rows"), other.pop("rows"), equal_nan=True)
    assert state == other


@settings(max_examples=150, deadline=None)
@given(histories(), st.integers(0, 2**32 - 1))
def test_equals_the_whole_series_adjusted_forward(history: tuple[list[Event], int], seed: int) -> None:
    events, keep = history
    newest = in_time_order(events)
    traded = line(*(event for event in newest if event.kind == "bar")).history()
    actions = [
        DatedAction(event.event_time, event.payload)
        for event in newest
        if isinstance(event.payload, CorporateAction) and event.payload.status == "confirmed"
    ]
    whole = adjust(traded, actions, forward=True)
    kept = line(*shuffled(events, np.random.default_rng(seed)), keep=keep).bars()
    # Bit for bit, and as one bar knows it: an optional value that only this bar lacks is none.
    assert_same(as_bars("X", "1h", kept), _trimmed(whole[-keep:]))


def _trimmed(bars: Bars) -> Bars:
    from dataclasses import replace

    taker = bars.taker_buy_volume
    return replace(bars, taker_buy_volume=None if taker is None or np.isnan(taker).all() else taker)


@settings(max_examples=100, deadline=None)
@given(histories(), st.integers(0, 2**32 - 1))
def test_goes_on_from_its_state(history: tuple[list[Event], int], seed: int) -> None:
    events, keep = history
    arrivals = shuffled(events, np.random.default_rng(seed))
    cut = seed % (len(arrivals) + 1)
    first = line(*arrivals[:cut], keep=keep)
    second = Timeline("X", "1h", keep=keep)
    second.restore({name: np.array(v) if isinstance(v, np.ndarray) else v for name, v in first.state().items()})
    for event in arrivals[cut:]:
        assert first.take(event) is second.take(event)
        assert (first.bars(), first.last, first.undecided_ms) == (second.bars(), second.last, second.undecided_ms)
    assert first.state()["rows"].tobytes() == second.state()["rows"].tobytes()


def test_a_series_that_forgets_the_order_of_time_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plant: late bars are appended where they came."""
    monkeypatch.setattr(Timeline, "_insert", lambda self, place, row: self._append(Bar(**_values(row))))
    made, other = line(bar(1, 1.0), bar(3, 3.0), bar(2, 2.0)), line(bar(1, 1.0), bar(2, 2.0), bar(3, 3.0))
    assert made.bars() != other.bars()


def _values(row: np.ndarray) -> dict[str, float | int | None]:  # type: ignore[type-arg]
    named = dict(zip(Bar.__struct_fields__, row.tolist(), strict=True))
    return {name: int(v) if name == "open_time" else None if np.isnan(v) else v for name, v in named.items()}


def test_the_state_is_no_copy_and_never_more_than_what_is_kept() -> None:
    made = line(*(bar(hour) for hour in range(1_000)), keep=50)
    rows = made.state()["rows"]
    assert rows.shape == (50, len(Bar.__struct_fields__))
    assert np.shares_memory(rows, made.state()["rows"])
    made.take(msgspec.structs.replace(bar(999, 5.0), revision=1))
    assert rows[-1, 4] == 5.0
