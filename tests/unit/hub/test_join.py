"""The join: bars in the order of time, complete once everyone who is waited for has spoken, whoever came first."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kalibre.core.events import Forecast, Outcome
from kalibre.core.hub_events import Bench, EnsembleForecast
from kalibre.hub.join import Join, Said, Truth, complete_bars


def forecast(p_up: float | None = 0.6, **changes: Any) -> Forecast:
    told: dict[str, Any] = {"model": "m", "role": "", "horizon_bars": 4, "score": p_up, "p_up": p_up}
    return Forecast(**{**told, "abstained": None if p_up is not None else "it sleeps", **changes})


def outcome(*, up: bool = True, told_ms: int = 5) -> Outcome:
    return Outcome(model="m", p_up=0.6, went_up=up, log_return=0.01, told_ms=told_ms)


def bench(*, benched: bool = True) -> Bench:
    return Bench(benched=benched, by="test", reason="")


def closes(join: Join) -> list[int]:
    return [bar.close_ms for bar in complete_bars(join)]


@pytest.fixture
def join() -> Join:
    return Join(["b", "a"], horizon_bars=4)


def test_a_bar_is_complete_once_everyone_has_spoken(join: Join) -> None:
    join.take_forecast("a", 1, forecast())
    join.take_forecast("a", 2, forecast(None))
    assert join.first_waiting() is None
    assert join.missing() == {"b": 1}
    join.take_forecast("b", 2, forecast())
    assert closes(join) == []  # the older one first
    join.take_forecast("b", 1, forecast(0.4))
    found = list(complete_bars(join))
    assert [bar.close_ms for bar in found] == [1, 2]
    assert found[0].said == {"a": Said(0.6, "m", "", False), "b": Said(0.4, "m", "", False)}
    assert found[1].said["a"] == Said(None, "m", "it sleeps", False)
    assert join.missing() == {}
    assert join.done_ms == 2


def test_what_is_said_twice_or_afterwards_or_by_strangers_counts_for_nothing(join: Join) -> None:
    join.take_forecast("stranger", 1, forecast())
    join.take_forecast("a", 1, forecast(0.1))
    join.take_forecast("a", 1, forecast(0.9))
    join.take_forecast("b", 1, forecast())
    (bar,) = complete_bars(join)
    assert set(bar.said) == {"a", "b"}
    assert bar.said["a"].p_up == 0.1
    join.take_forecast("a", 1, forecast())
    assert join.missing() == {}


def test_a_bar_that_nobody_took_up_stays_for_the_next_time(join: Join) -> None:
    for name in ("a", "b"):
        for close in (1, 2):
            join.take_forecast(name, close, forecast())
    for bar in complete_bars(join):
        assert bar.close_ms == 1
        break
    assert closes(join) == [1, 2]


@pytest.mark.parametrize("changes", [{"horizon_bars": 8}, {"label": "triple_barrier"}])
def test_who_foresees_something_else_is_silent_and_tells_no_truth(join: Join, changes: dict[str, Any]) -> None:
    join.take_forecast("a", 1, forecast(**changes))
    join.take_forecast("b", 1, forecast())
    (bar,) = complete_bars(join)
    assert bar.said["a"].p_up is None
    assert bar.said["a"].abstained.startswith("it foresees ")
    join.take_outcome("a", 1, outcome(up=False, told_ms=3))
    assert join.truth(1, by_ms=9) is None
    join.take_outcome("b", 1, outcome(told_ms=5))
    assert join.truth(1, by_ms=9) == Truth(True, 0.01, 5)
    join.take_bench("a", 2, bench())
    join.take_forecast("b", 2, forecast())
    assert closes(join) == [2]
    join.take_forecast("a", 2, forecast(**changes))  # released and late: its outcome is of something else all the same
    join.take_bench("a", 3, bench(benched=False))
    join.take_outcome("a", 2, outcome(up=False, told_ms=4))
    assert join.truth(2, by_ms=9) is None


def test_a_truth_counts_from_the_bar_at_which_it_was_told(join: Join) -> None:
    join.take_outcome("b", 1, outcome(up=False, told_ms=5))
    join.take_outcome("a", 1, outcome(told_ms=7))
    join.take_outcome("stranger", 1, outcome(told_ms=1))
    assert join.truth(1, by_ms=4) is None
    assert join.truth(1, by_ms=5) == Truth(False, 0.01, 5)
    assert join.truth(1, by_ms=7) == Truth(True, 0.01, 7)  # the first by name, who has told it by then
    join.take_outcome("a", 2, outcome(told_ms=0))
    assert join.truth(2, by_ms=9) is None  # it does not say when
    join.forget(2)
    assert join.truth(1, by_ms=9) is None


def test_nobody_waits_for_who_is_released(join: Join) -> None:
    for close in (1, 2, 3, 4):
        join.take_forecast("a", close, forecast())
    join.take_forecast("b", 1, forecast())
    join.take_bench("b", 2, bench())
    join.take_bench("b", 4, bench(benched=False))
    assert [join.is_released("b", close) for close in (1, 2, 3, 4, 5)] == [False, True, True, False, False]
    found = list(complete_bars(join))
    assert [(bar.close_ms, sorted(bar.said), bar.released) for bar in found] == [
        (1, ["a", "b"], ()),
        (2, ["a"], ("b",)),
        (3, ["a"], ("b",)),
    ]
    assert join.missing() == {"b": 4}
    join.take_forecast("b", 3, forecast())  # late, of a bar that it was released from
    assert closes(join) == []
    join.take_forecast("b", 4, forecast())
    assert closes(join) == [4]


def test_the_word_of_who_is_released_is_left_out_where_it_comes(join: Join) -> None:
    join.take_bench("b", 1, bench())
    join.take_forecast("b", 1, forecast())
    join.take_forecast("a", 1, forecast())
    (bar,) = complete_bars(join)
    assert bar.said == {"a": Said(0.6, "m", "", False)}
    join.take_outcome("b", 1, outcome())
    assert join.truth(1, by_ms=9) is None


def test_the_last_word_at_a_moment_holds(join: Join) -> None:
    join.take_bench("b", 3, bench(benched=False))
    join.take_bench("b", 3, bench())
    assert join.is_released("b", 3)
    assert not join.is_released("b", 2)


def test_others_are_joined_as_well() -> None:
    join = Join(["a", "ensemble", "regime"], horizon_bars=4)
    join.take_forecast("a", 1, forecast())
    whole = EnsembleForecast(horizon_bars=4, score=0.5, p_up=None, weights={}, abstained="not yet")
    join.take_forecast("ensemble", 1, whole)
    assert join.first_waiting() is None
    join.take_context("regime", 1, "storm")
    join.take_context("stranger", 1, "calm")
    (bar,) = complete_bars(join)
    assert bar.said["ensemble"] == Said(None, "", "not yet", False)
    assert bar.said["regime"].model == "storm"


def test_a_state_comes_back_and_says_the_same_in_every_order_of_arrival(join: Join) -> None:
    def fill(one: Join, names: tuple[str, str]) -> None:
        for name in names:
            for close in (3, 5, 7) if name == "a" else (3, 5):
                one.take_forecast(name, close, forecast(0.1 * close))
                one.take_outcome(name, close, outcome(told_ms=close + 4))
        one.take_forecast("b", 9, forecast(horizon_bars=2))
        one.take_bench("b", 40, bench())

    other = Join(["a", "b"], horizon_bars=4)
    fill(join, ("a", "b"))
    fill(other, ("b", "a"))
    assert join.state() == other.state()
    back = Join(["a", "b"], horizon_bars=4)
    back.restore(join.state())
    assert back.state() == join.state()
    json.loads(join.state())
    assert list(complete_bars(back)) == list(complete_bars(join))
    assert back.truth(3, by_ms=7) == join.truth(3, by_ms=7) == Truth(True, 0.01, 7)
    assert back.missing() == join.missing() == {"b": 7}
    back.take_outcome("b", 9, outcome(told_ms=10))
    assert back.truth(9, by_ms=10) is None
    assert back.is_released("b", 40)
