"""A past that comes late: features are those of the bars kept, at the next bar, and what was decided stays."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.models import STEP_MS, bar_events, random_bars, small_bundle
from tests.fakes.trading import Models, action, funding, newest, projection, promotion

from kalibre.bars.timeline import Change, Timeline
from kalibre.core.bars import Bars
from kalibre.core.events import Event, Kill, Tick, new_event
from kalibre.features.engine import FeatureEngine, FeatureSpec
from kalibre.log.replay import copy_state, state_digest
from kalibre.models.bundle import ModelBundle
from kalibre.trading.paper import PaperProjection
from kalibre.trading.series import SeriesState

COLUMNS = ("roc_10", "realised_volatility_20", "range_relative", "roc_3")
BUNDLE = small_bundle(columns=COLUMNS, entry_threshold=0.6, exit_threshold=0.5)
RIVAL = small_bundle(seed=2, columns=COLUMNS[:3], entry_threshold=0.55, exit_threshold=0.4)


def fresh(**changes: object) -> PaperProjection:
    models = Models({bundle.model_id: bundle for bundle in (BUNDLE, RIVAL)})
    return projection(models, FeatureSpec("15m", columns=COLUMNS), **changes)


def play(paper: PaperProjection, events: list[Event]) -> list[Event]:
    return [emitted for event in events for emitted in paper.apply(event)]


@pytest.fixture(scope="module")
def bars() -> Bars:
    return random_bars(300, seed=9)


def as_kept(events: list[Event], keep: int) -> dict[int, float]:
    """Return by time what the model says at each bar that was the newest, of the bars known then: the oracle."""
    line, said = Timeline("BTCUSDT", "15m", keep=keep), {}
    for event in events:
        if line.take(event) in (Change.NEXT, Change.CORRECTED):
            said[event.event_time + STEP_MS] = float(predicted(BUNDLE, line.history())[-1])
    return said


def predicted(bundle: ModelBundle, bars: Bars) -> np.ndarray:  # type: ignore[type-arg]
    return bundle.predict(FeatureEngine(bundle.spec).batch(bars))


def test_older_bars_change_the_next_forecast_and_no_decision(bars: Bars) -> None:
    events = bar_events(bars)
    inputs: list[Event] = []
    for number, event in enumerate(events):
        inputs.append(event)
        if number > 5 and number % 4 == 0:
            old = events[number - 3]
            changed = msgspec.structs.replace(old.payload, close=old.payload.low, volume=1.0)
            inputs.append(msgspec.structs.replace(old, payload=changed, revision=1))
    paper = fresh()
    play(paper, [promotion(BUNDLE)])
    said: list[Event] = []
    for event in inputs:
        emitted = paper.apply(event)
        assert not event.revision or not emitted, "what was decided stays"
        said += emitted
    forecasts = {event.event_time: event.payload.p_up for event in newest(said, "forecast")}  # type: ignore[attr-defined]
    expected = as_kept(inputs, 3_000)
    assert forecasts == {time: None if math.isnan(p_up) else p_up for time, p_up in expected.items()}
    undisturbed = newest(play(fresh(), [promotion(BUNDLE), *events]), "forecast")
    assert forecasts != {event.event_time: event.payload.p_up for event in undisturbed}  # type: ignore[attr-defined]


@pytest.mark.parametrize("keep", [80, 3_000])
def test_a_history_that_comes_after_newer_bars_is_read_once(
    bars: Bars, keep: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    events, runs = bar_events(bars), []
    batch = FeatureEngine.batch
    monkeypatch.setattr(FeatureEngine, "batch", lambda self, bars: runs.append(len(bars)) or batch(self, bars))
    inputs = [*events[250:260], *events[:250], *events[260:]]
    paper = fresh(history_bars=keep)
    emitted = play(paper, [promotion(BUNDLE), *inputs[:260]])
    assert not runs
    assert [event.event_time for event in newest(emitted, "signal")] == bars.close_time[250:260].tolist()
    emitted = play(paper, inputs[260:])
    assert runs == [min(keep, 261) - 1] * 2  # features and volatility, once for 250 bars
    monkeypatch.undo()
    p_up = [event.payload.p_up for event in newest(emitted, "forecast")]  # type: ignore[attr-defined]
    assert p_up == list(as_kept(inputs, keep).values())[-40:]
    if keep > 300:
        # Nothing fell out, so it is as if every bar had come in time.
        assert p_up == predicted(BUNDLE, bars)[260:].tolist()


def test_a_correction_after_the_past_was_rewritten_is_decided_on_the_new_past(bars: Bars) -> None:
    events = bar_events(bars)
    wrong = msgspec.structs.replace(events[200].payload, close=events[200].payload.low)
    inputs = [
        *events[:150],
        *events[160:200],
        msgspec.structs.replace(events[200], payload=wrong),
        *events[150:160],
        msgspec.structs.replace(events[200], revision=1),
    ]
    emitted = play(fresh(), [promotion(BUNDLE), *inputs])
    forecast = newest(emitted, "forecast")[-1]
    assert (forecast.event_time, forecast.revision) == (bars.close_time[200], 1)
    assert forecast.payload.p_up == predicted(BUNDLE, bars[:201])[-1]  # type: ignore[attr-defined]


def outcomes(events: list[Event]) -> dict[int, float]:
    return {event.event_time: event.payload.log_return for event in newest(events, "outcome")}  # type: ignore[attr-defined]


@pytest.mark.parametrize("late", [range(20, 30), range(198, 200), range(201, 203), range(197, 204, 2)])
def test_horizons_count_the_bars_that_are_there(bars: Bars, late: range) -> None:
    """Bars missing before a forecast shift its end; those missing after it are part of its horizon."""
    events = bar_events(bars)
    in_time = [event for row, event in enumerate(events[:205]) if row not in late]
    emitted = play(fresh(), [promotion(BUNDLE), *in_time])
    paper = fresh()
    play(paper, [promotion(BUNDLE), *in_time])
    early = outcomes(emitted)
    after = outcomes(play(paper, [*(events[row] for row in late), *events[205:]]))
    close = dict(zip(bars.close_time.tolist(), bars.close.tolist(), strict=True))
    times = bars.close_time.tolist()
    for time in times[195:290]:
        row = times.index(time)
        if row in late or time in early:
            assert time not in after
        else:
            assert after[time] == math.log(close[times[row + 4]] / close[time])


def test_older_bars_than_those_kept_count_for_no_horizon(bars: Bars) -> None:
    events = bar_events(bars)
    inputs = [*events[100:200], *events[:100], *events[200:]]
    late = outcomes(play(fresh(history_bars=60), [promotion(BUNDLE), *inputs]))
    assert late == outcomes(play(fresh(history_bars=60), [promotion(BUNDLE), *events[100:]]))


def test_a_horizon_longer_than_what_is_kept_is_refused(bars: Bars) -> None:
    (signal,) = newest(play(fresh(history_bars=4), [promotion(BUNDLE), *bar_events(bars[:1])]), "signal")
    assert "its horizon of 4 bars is longer than the 4 bars that are kept" in signal.payload.reasons[0]  # type: ignore[attr-defined]


# --- any order --------------------------------------------------------------------------------------------------------

_BARS = random_bars(70, seed=4)


@st.composite
def sessions(draw: st.DrawFn) -> list[Event]:
    """Return a session with everything that may come late, twice, corrected or undecided."""
    events = bar_events(_BARS)
    dice = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    inputs: list[tuple[float, Event]] = []
    for row, event in enumerate(events):
        delay = draw(st.sampled_from([0, 0, 0, 0, 0, 1.5, 6.5, 40.5]))
        inputs.append((row + delay, event))
        if dice.random() < 0.2:
            wrong = msgspec.structs.replace(event.payload, close=event.payload.low)
            inputs.append(
                (row + delay + dice.choice([0.1, 0.4, 3.3]), msgspec.structs.replace(event, payload=wrong, revision=1))
            )
        if dice.random() < 0.1:
            settled = event.event_time + STEP_MS
            came = row + dice.choice([-3.5, -0.5, 0.2, 2.2])
            inputs += [(came, funding(settled, 0.001)), (came + 5, funding(settled, 0.002, revision=1))]
        now = event.event_time + STEP_MS
        inputs.append((row - 0.5, new_event("clock", now, Tick(now_ms=now))))
    for number in range(draw(st.integers(0, 2))):
        row = draw(st.integers(25, 65))
        time, came = int(_BARS.open_time[row]), row + draw(st.sampled_from([-0.2, 0.2, 4.2]))
        inputs.append((came, action(time, 3.0, draw(st.sampled_from(["detected", "confirmed"])))))
        last = draw(st.sampled_from(["confirmed", "rejected", "detected"]))
        inputs.append((came + draw(st.sampled_from([0.3, 5.3])), action(time, 2.0 + number, last, revision=1)))
    engaged = draw(st.integers(20, 90))
    kill = Kill(engaged=True, by="test", flatten=draw(st.booleans()))
    inputs += [
        (engaged, new_event("kill", 1, kill)),
        (engaged + 6, new_event("kill", 2, Kill(engaged=False, by="test"))),
    ]
    inputs.append((draw(st.integers(0, 60)), promotion(RIVAL, "challenger")))
    return [promotion(BUNDLE), *(event for _, event in sorted(inputs, key=lambda one: one[0]))]


@settings(max_examples=25, deadline=None)
@given(sessions())
def test_every_forecast_is_of_what_was_known_in_time_order(inputs: list[Event]) -> None:
    known = [event for event in inputs if event.kind in ("bar", "corporate_action")]
    expected = as_kept(known, 3_000)
    forecasts = newest(play(fresh(), inputs), "forecast")
    assert [event.event_time for event in forecasts] == sorted(expected)
    for event in forecasts:
        if not (event.payload.abstained or "").startswith("frozen"):  # type: ignore[attr-defined]
            p_up = expected[event.event_time]
            assert event.payload.p_up == (None if math.isnan(p_up) else p_up)  # type: ignore[attr-defined]


def test_features_that_are_not_computed_anew_are_seen(bars: Bars, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plant: the past is rewritten and nobody reads it again."""
    monkeypatch.setattr(SeriesState, "_compute_anew", lambda self: setattr(self, "_rewritten", 0))
    with pytest.raises(AssertionError):
        test_older_bars_change_the_next_forecast_and_no_decision(bars)


@settings(max_examples=40, deadline=None)
@given(sessions(), st.lists(st.integers(0, 150), max_size=4))
def test_a_restart_anywhere_changes_nothing(inputs: list[Event], cuts: list[int]) -> None:
    whole = fresh(history_bars=40)
    expected = play(whole, inputs)
    emitted, paper, done = [], fresh(history_bars=40), 0
    for cut in sorted(cuts):
        emitted += play(paper, inputs[done:cut])
        state, done = copy_state(paper.state()), max(done, cut)
        paper = fresh(history_bars=40)
        paper.restore(state)
        assert state_digest(paper.state()) == state_digest(state)
    emitted += play(paper, inputs[done:])
    assert emitted == expected
    assert state_digest(paper.state()) == state_digest(whole.state())
