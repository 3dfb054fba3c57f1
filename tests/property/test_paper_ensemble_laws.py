"""Following the ensemble, at any pace of it: when its word arrives shows in nothing but what a kill has to hold."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.fakes.ensemble_led import delayed, in_step, led_version, told, words_of
from tests.fakes.models import START_MS, random_bars, small_bundle
from tests.fakes.trading import SERIES, STEP_MS, Models, projection, promotion, unquiet

from kalibre.core.events import Automation, BarClosed, Event, Kill, Tick, new_event
from kalibre.features.engine import FeatureSpec
from kalibre.log.replay import copy_state
from kalibre.models.bundle import ModelBundle
from kalibre.trading.inbox import Inbox
from kalibre.trading.paper import PaperProjection

COLUMNS = ("roc_10", "realised_volatility_20", "range_relative", "roc_3")
N_BARS = 150
NO_SHRINKING = tuple(phase for phase in Phase if phase is not Phase.shrink)
VERSION, KEEN = led_version(), led_version(entry_threshold=0.55, exit_threshold=0.4)
MISSING = led_version(created_at_ms=START_MS + 1)
ORDINARY = settings(max_examples=12, deadline=None, phases=NO_SHRINKING, suppress_health_check=[HealthCheck.too_slow])
seeds = st.integers(0, 2**32 - 1)
lags = st.sampled_from([1, 3, 12, 60])


@cache
def bundle() -> ModelBundle:
    return small_bundle(columns=COLUMNS, entry_threshold=0.6, exit_threshold=0.5)


def fresh() -> PaperProjection:
    models = Models()
    for one in (bundle(), VERSION, KEEN):
        models.add(one)
    return projection(models, FeatureSpec("15m", columns=COLUMNS))


def kill(time: int, *, engaged: bool = True, flatten: bool = False) -> Event:
    return new_event("kill", time, Kill(engaged=engaged, by="me", reason="drill" if engaged else "", flatten=flatten))


@cache
def market(seed: int, kills: bool) -> tuple[Event, ...]:
    """Return an unquiet market (late bars, funding, a split, doubts, holes) with corrections, clock and commands."""
    rng = np.random.default_rng(seed)
    holders: list[Any] = [VERSION, VERSION, KEEN, KEEN, bundle(), MISSING, None]
    found: list[Event] = [promotion(VERSION)]
    newest, engaged = -1, False
    for number, event in enumerate(unquiet(random_bars(N_BARS, seed=9))):
        bar, now = event.payload, event.event_time + STEP_MS + number
        if not isinstance(bar, BarClosed) or event.event_time <= newest or rng.random() < 0.02:  # a hole
            found += [event] * (not isinstance(bar, BarClosed) or event.event_time <= newest)
            continue
        newest = event.event_time
        ahead = 5 if rng.random() < 0.02 else 0
        found.append(new_event("clock", now, Tick(now_ms=event.event_time + STEP_MS * (1 + ahead))))
        found.append(event)
        dice = rng.random()
        if dice < 0.1:
            corrected = msgspec.structs.replace(bar, close=(bar.high + bar.low) / 2)
            found.append(new_event(event.key, event.event_time, corrected, revision=1))
        elif dice < 0.16:
            found.append(promotion(holders[int(rng.integers(len(holders)))], time=now))
        elif dice < 0.2:
            found.append(promotion((bundle(), None)[int(rng.integers(2))], "challenger", time=now))
        elif dice < 0.25:
            found.append(new_event("automation", now, Automation(running=bool(rng.random() < 0.8), by="me")))
        elif dice < 0.35 and kills:
            engaged = not engaged
            found.append(kill(now, engaged=engaged, flatten=bool(rng.random() < 0.4)))
    return tuple(found)


def play(log: list[Event], cuts: frozenset[int] = frozenset()) -> list[Event]:
    """Let the engine read a log; at each cut a fresh one goes on from its state."""
    paper, said = fresh(), list[Event]()
    for number, event in enumerate(log):
        if number in cuts:
            again = fresh()
            again.restore(copy_state(paper.state()))
            paper = again
        said += paper.apply(event)
    return said


def late(inputs: tuple[Event, ...], rng: Any, most: int, *, at_kill: int = 10**9) -> list[Event]:
    return delayed(inputs, words_of(inputs), lambda: int(rng.integers(most + 1)), at_kill=at_kill)


def apart(events: list[Event], *kinds: str) -> list[tuple[Any, ...]]:
    """Return what was said of some kinds, by identity and content, in the order of identities."""
    return sorted(told(event for event in events if not kinds or event.kind in kinds))


def without_standing_by(events: list[Event]) -> list[tuple[Any, ...]]:
    """Return what was said, in order, but for what the champion says ahead of its turn."""
    return told(
        event
        for event in events
        if event.kind != "forecast" or "its own forecast stands" not in (event.payload.abstained or "")
    )


def test_the_example_has_everything_in_it() -> None:
    said = [one for n in range(1, 7) for one in play(in_step(market(n, True), words_of(market(n, True))))]
    kinds = {event.kind for event in said}
    assert {"forecast", "signal", "order", "fill", "account", "order_cancelled", "outcome", "model_unable"} <= kinds
    by = {event.payload.model for event in said if event.kind == "fill"}
    assert {VERSION.model_id, bundle().model_id} <= by
    assert any(event.revision for event in said)
    assert any(event.key == f"{SERIES}|challenger" for event in said)


@ORDINARY
@given(seeds, st.integers(1, 6), lags)
def test_no_pace_of_the_ensemble_shows(seed: int, example: int, most: int) -> None:
    """Any lag of its words, restarts anywhere: the same by identity and content, decisions in the same order."""
    rng = np.random.default_rng(seed)
    inputs = market(example, False)
    expected = play(in_step(inputs, words_of(inputs)))
    log = late(inputs, rng, most)
    said = play(log, frozenset(rng.integers(0, len(log), 4).tolist()))
    assert apart(said) == apart(expected)
    assert without_standing_by(said) == without_standing_by(expected)


@ORDINARY
@given(seeds, st.integers(1, 6), lags)
def test_no_pace_shows_where_all_is_decided_before_a_kill(seed: int, example: int, most: int) -> None:
    rng = np.random.default_rng(seed)
    inputs = market(example, True)
    said = play(late(inputs, rng, most, at_kill=0))
    assert apart(said) == apart(play(in_step(inputs, words_of(inputs))))


@ORDINARY
@given(seeds, st.integers(1, 6), lags)
def test_a_kill_that_one_bar_waits_at_changes_no_fill_and_no_account(seed: int, example: int, most: int) -> None:
    """The order of that bar would have been taken back by the very command."""
    rng = np.random.default_rng(seed)
    inputs = market(example, True)
    said = play(late(inputs, rng, most, at_kill=1))
    expected = play(in_step(inputs, words_of(inputs)))
    for kinds in (("fill",), ("account",), ("outcome",), ("forecast",)):
        assert apart(said, *kinds) == apart(expected, *kinds)


def orders_under_kill(log: list[Event]) -> int:
    """Count the orders that are said after an engaging kill was read and before its release."""
    paper, engaged, wrong = fresh(), False, 0
    for event in log:
        emitted = paper.apply(event)
        if isinstance(event.payload, Kill):
            engaged = event.payload.engaged
        wrong += engaged and sum(one.kind == "order" for one in emitted)
    return wrong


@ORDINARY
@given(seeds, st.integers(1, 6), lags)
def test_no_order_follows_a_kill_at_any_pace(seed: int, example: int, most: int) -> None:
    assert orders_under_kill(late(market(example, True), np.random.default_rng(seed), most)) == 0


# --- plants -----------------------------------------------------------------------------------------------------------


def differs(monkeypatch: pytest.MonkeyPatch) -> bool:
    """Say whether the law of paces sees what was planted."""
    inputs = market(1, False)
    rng = np.random.default_rng(3)
    in_time, behind = play(in_step(inputs, words_of(inputs))), play(late(inputs, rng, 12))
    return apart(in_time) != apart(behind)


def test_the_law_holds_without_a_plant(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not differs(monkeypatch)


def test_a_desk_that_decides_by_arrival_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plant: whatever word has come last decides the bar that arrives."""
    monkeypatch.setattr(Inbox, "_has_to_wait", lambda self, event: False)
    assert differs(monkeypatch)


def test_a_desk_that_lets_the_clock_overtake_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plant: a tick counts when it arrives, also for a bar that waits."""
    take = Inbox.take

    def hasty(inbox: Inbox, event: Event) -> list[Event]:
        if isinstance(event.payload, Tick):
            inbox._note(event)
            return inbox._desk.take(event)
        return take(inbox, event)

    monkeypatch.setattr(Inbox, "take", hasty)
    assert differs(monkeypatch)


def test_a_promotion_that_overtakes_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plant: a bar that waits is decided by whoever is promoted meanwhile."""
    take = Inbox.take

    def hasty(inbox: Inbox, event: Event) -> list[Event]:
        if event.kind == "promotion":
            inbox._note(event)
            return inbox._desk.take(event)
        return take(inbox, event)

    monkeypatch.setattr(Inbox, "take", hasty)
    assert differs(monkeypatch)


def test_a_kill_that_only_takes_its_turn_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plant: bars that wait are decided as if the command had not come."""
    append = Inbox._append

    def forgetful(inbox: Inbox, event: Event) -> None:
        append(inbox, event)
        if isinstance(event.payload, Kill) and event.payload.engaged:
            inbox._kills[-1] = msgspec.structs.replace(event.payload, engaged=False)

    monkeypatch.setattr(Inbox, "_append", forgetful)
    found = [orders_under_kill(late(market(n, True), np.random.default_rng(n), 12)) for n in (1, 2, 3)]
    assert any(found)
