"""One forward scale: a loaded history is what a timeline says bar by bar, bit for bit, whichever way it is loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kalibre.bars.corporate_actions import DatedAction, adjust
from kalibre.bars.history import load_actions, load_bars, undecided_actions
from kalibre.bars.timeline import Timeline
from kalibre.core.bars import Bar, Bars
from kalibre.core.events import BarClosed, CorporateAction, new_event
from kalibre.log import open_log

HOUR = 3_600_000
STATUS = st.sampled_from(["confirmed", "detected", "rejected"])
FACTORS = st.one_of(st.sampled_from([3.0, 1.15, 10.8, 1 / 3, 0.1]), st.floats(0.01, 100.0))
ACTIONS = st.lists(st.tuples(st.integers(-3, 30), FACTORS, STATUS), max_size=6, unique_by=lambda one: one[0])


def walk(n: int, seed: int) -> list[Bar]:
    rng = np.random.default_rng(seed)
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.01, n)))
    return [
        Bar(
            open_time=i * HOUR, open=float(c) * 0.999, high=float(c) * 1.01, low=float(c) * 0.99, close=float(c),
            volume=float(rng.uniform(1, 9)), taker_buy_volume=float(rng.uniform(0, 1)),
        )
        for i, c in enumerate(close)
    ]  # fmt: skip


def event_of(bar: Bar):  # type: ignore[no-untyped-def]
    return new_event("X|1h", bar.open_time, BarClosed.of(bar))


@given(ACTIONS, st.randoms(use_true_random=False), st.integers(0, 99))
def test_a_loaded_history_is_the_timeline_bit_for_bit(actions, order, seed) -> None:  # type: ignore[no-untyped-def]
    rows = walk(24, seed)
    dated = [DatedAction(i * HOUR, CorporateAction(factor=f, status=s)) for i, f, s in actions]
    line = Timeline("X", "1h", keep=100)
    events = [event_of(bar) for bar in rows] + [new_event("X", time, one) for time, one in dated]
    order.shuffle(events)
    for event in events:
        line.take(event)
    confirmed = [one for one in dated if one.action.status == "confirmed"]
    order.shuffle(confirmed)
    assert list(adjust(Bars.from_rows("X", "1h", rows), confirmed, forward=True)) == line.bars()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ACTIONS, st.integers(0, 20))
def test_what_load_bars_reads_is_the_timeline_for_any_range_and_way(tmp_path: Path, actions, first) -> None:  # type: ignore[no-untyped-def]
    rows = walk(24, 5)
    line = Timeline("X", "1h", keep=100)
    with open_log("sqlite:///:memory:") as log:
        events = [new_event("X", i * HOUR, CorporateAction(factor=f, status=s)) for i, f, s in actions]
        for event in log.append([*events, *map(event_of, rows)], writer="test"):
            line.take(event)
        wanted = line.bars()
        assert list(load_bars(log, "X", "1h")) == wanted
        assert list(load_bars(log, "X", "1h", mirror_dir=tmp_path / "mirror")) == wanted
        # The scale counts from the first bar of the series: a range has the same prices as the whole.
        assert list(load_bars(log, "X", "1h", start_ms=first * HOUR)) == wanted[first:]
        assert list(load_bars(log, "X", "1h", end_ms=(first + 1) * HOUR)) == wanted[: first + 1]
        assert list(load_bars(log, "X", "1h", adjusted=False)) == rows
        waiting = [i * HOUR for i, _, status in sorted(actions) if status == "detected"]
        assert [one.event_time for one in undecided_actions(log, "X")] == waiting


def test_backward_prices_end_at_those_traded(tmp_path: Path) -> None:
    rows = walk(10, 1)
    with open_log("sqlite:///:memory:") as log:
        log.append(map(event_of, rows), writer="test")
        log.append([new_event("X", 4 * HOUR, CorporateAction(factor=4.0, status="confirmed"))], writer="test")
        assert len(load_actions(log, "X")) == 1
        back = load_bars(log, "X", "1h", backward=True)
        assert (back.close[3], back.close[4]) == (rows[3].close / 4.0, rows[4].close)
        assert back.volume[3] == rows[3].volume * 4.0
        forward = load_bars(log, "X", "1h")
        assert (forward.close[3], forward.close[4]) == (rows[3].close, rows[4].close * 4.0)
        np.testing.assert_allclose(forward.close / back.close, 4.0, rtol=1e-15)


def test_a_scale_that_rounds_otherwise_is_caught() -> None:
    """The planted failure: dividing by the inverse is the same scale on paper and another one in bits."""
    rows = walk(24, 3)
    factors = [(4, 3.0), (9, 1.15), (15, 10.8)]
    line = Timeline("X", "1h", keep=100)
    inverse = np.ones(24)
    for bar in rows:
        line.take(event_of(bar))
    for i, factor in factors:
        line.take(new_event("X", i * HOUR, CorporateAction(factor=factor, status="confirmed")))
        inverse[i:] /= factor
    close = np.array([bar.close for bar in rows]) / inverse
    wanted = np.array([bar.close for bar in line.bars()])
    np.testing.assert_allclose(close, wanted, rtol=1e-14)
    with pytest.raises(AssertionError):
        np.testing.assert_array_equal(close, wanted)
