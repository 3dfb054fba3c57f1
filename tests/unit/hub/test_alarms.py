"""Alarms: each trouble is told once with the command that mends it, its end once, and no two share a moment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.command_line import understood

from kalibre.bars.calendars import get_calendar
from kalibre.core import events as said
from kalibre.core.events import Event, new_event
from kalibre.core.hub_events import Alert, Drift
from kalibre.hub.alarms import AlarmsProjection
from kalibre.log import open_log
from kalibre.log.replay import state_digest
from kalibre.log.runner import Runner, refold

STEP_MS = 900_000
KEY = "X|15m"
T0 = 1_704_067_200_000


def alarms(calendar: str = "24/7", symbols: Sequence[str] = ("X",), stale_bars: int = 3) -> AlarmsProjection:
    return AlarmsProjection(
        [(symbol, "15m") for symbol in symbols], stale_bars=stale_bars, calendar=get_calendar(calendar)
    )


def bar(at_ms: int, *, key: str = KEY, revision: int = 0) -> Event:
    payload = said.BarClosed(open_time=at_ms, open=1.0, high=1.0, low=1.0, close=1.0, volume=1.0)
    return new_event(key, at_ms, payload, revision=revision)


def tick(now_ms: int) -> Event:
    return new_event("clock", now_ms, said.Tick(now_ms=now_ms))


def told(one: AlarmsProjection, *events: Event) -> list[tuple[str, int, Alert]]:
    found = [emitted for event in events for emitted in one.apply(event)]
    return [(event.key, event.event_time, event.payload) for event in found if isinstance(event.payload, Alert)]


# --- a market that falls silent ---------------------------------------------------------------------------------------


def test_a_silent_market_is_told_once_and_its_return_once() -> None:
    one = alarms()
    assert told(one, bar(T0), tick(T0 + 5 * STEP_MS)) == []  # three bars and the time of one more
    ((key, at_ms, alert),) = told(one, *(tick(T0 + 5 * STEP_MS + k) for k in (1, 2, 50_000)))
    assert (key, at_ms) == (f"silent|{KEY}", T0 + 5 * STEP_MS + 1)
    assert alert.level == "critical"
    assert alert.cause == "more than 3 bars that the calendar expects did not come"
    assert alert.mend == "kalibre gaps --symbol X --heal"
    ((key, at_ms, alert),) = told(one, bar(T0 + 5 * STEP_MS), bar(T0 + 6 * STEP_MS), tick(T0 + 7 * STEP_MS))
    assert (key, at_ms, alert.recovered, alert.level) == (f"silent|{KEY}", T0 + 6 * STEP_MS, True, "info")
    assert [alert.recovered for *_, alert in told(one, tick(T0 + 99 * STEP_MS))] == [False]


def test_bars_that_are_filled_in_late_are_no_return() -> None:
    one = alarms()
    assert len(told(one, bar(T0), tick(T0 + 20 * STEP_MS))) == 1
    filled = [event for k in range(1, 16) for event in (bar(T0 + k * STEP_MS), tick(T0 + 20 * STEP_MS + k))]
    assert told(one, *filled) == []
    assert [alert.recovered for *_, alert in told(one, bar(T0 + 19 * STEP_MS))] == [True]


def test_each_series_has_a_silence_of_its_own() -> None:
    one = alarms(symbols=("X", "Y"))
    found = told(one, bar(T0), bar(T0, key="Y|15m"), bar(T0 + 4 * STEP_MS), tick(T0 + 6 * STEP_MS))
    assert [key for key, *_ in found] == ["silent|Y|15m"]
    assert told(one, bar(T0 + 5 * STEP_MS, key="Z|15m"), bar(T0, key="Y|15m", revision=1)) == []


def istanbul(*when: int) -> int:
    """Return an hour of Istanbul in UTC milliseconds."""
    return int(datetime(*when, tzinfo=UTC).timestamp() * 1000) - 3 * 3_600_000  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("last", "quiet_until", "loud_at"),
    [
        (istanbul(2024, 1, 4, 17, 45), istanbul(2024, 1, 5, 11, 0), istanbul(2024, 1, 5, 11, 1)),  # a night
        (istanbul(2024, 1, 5, 17, 45), istanbul(2024, 1, 8, 11, 0), istanbul(2024, 1, 8, 11, 1)),  # a weekend
        (istanbul(2024, 4, 9, 12, 15), istanbul(2024, 4, 15, 11, 0), istanbul(2024, 4, 15, 11, 1)),  # a feast
    ],
)
def test_a_closed_market_is_not_silent(last: int, quiet_until: int, loud_at: int) -> None:
    one = alarms("XIST")
    hours = range(last, quiet_until + 1, 1_800_000)
    assert told(one, bar(last), *(tick(at) for at in hours), tick(quiet_until)) == []
    assert len(told(one, tick(loud_at))) == 1


# --- single events ----------------------------------------------------------------------------------------------------

GAP: dict[str, Any] = {"start_ms": T0, "end_ms": T0 + 4 * STEP_MS, "missing_bars": 4}
DRIFT: dict[str, Any] = {"test": "adwin", "statistic": 2.0, "threshold": 1.0, "detail": "worse"}
PROMOTION: dict[str, Any] = {"digest": "d", "previous": None, "by": "ann"}
TROUBLES: list[tuple[Event, str, str, str]] = [
    (new_event(KEY, T0, said.Gap(**GAP, status="hole")), f"gap|{KEY}|{T0}", "warning", "4 bars are missing"),
    (
        new_event(KEY, T0, said.BarQuarantined(raw={}, reasons=("outlier",), detail="9 sigma")),
        f"quarantine|{KEY}",
        "warning",
        "was kept aside",
    ),
    (
        new_event("X", T0, said.CorporateAction(factor=3.0, status="detected", evidence="3:1")),
        f"action|X|{T0}",
        "critical",
        "prices moved by a factor of 3",
    ),
    (new_event("kill", T0, said.Kill(engaged=True, by="ann", reason="fire")), "kill", "critical", "is engaged"),
    (
        new_event(f"{KEY}|champion", T0, said.ModelUnable(model="m1", at="bar", reason="gone")),
        f"model|{KEY}|champion",
        "critical",
        "model m1 cannot act",
    ),
    (
        new_event(f"{KEY}|champion", T0, said.Promotion(model="m2", alias="champion", **PROMOTION)),
        f"promotion|{KEY}|champion",
        "info",
        "m2 takes over",
    ),
    (
        new_event(f"{KEY}|challenger", T0, said.Promotion(model="m2", alias="challenger", **PROMOTION)),
        f"promotion|{KEY}|challenger",
        "info",
        "m2 takes over",
    ),
    (
        new_event(KEY, T0, said.Refusal(model="m3", failed={"auc": "0.49"})),
        f"refusal|{KEY}",
        "info",
        "m3 does not qualify",
    ),
    (
        new_event(f"{KEY}|champion|adwin", T0, Drift(cause="unknown", action="retrain", **DRIFT)),
        f"drift|{KEY}|champion|adwin",
        "warning",
        "drift (adwin)",
    ),
    (
        new_event(f"{KEY}|agents|adwin", T0, Drift(cause="unknown", action="it goes on learning", **DRIFT)),
        f"drift|{KEY}|agents|adwin",
        "warning",
        "drift (adwin)",
    ),
]


@pytest.mark.parametrize(("event", "key", "level", "title"), TROUBLES, ids=[key for _, key, *_ in TROUBLES])
def test_a_trouble_is_told_with_cause_and_consequence(event: Event, key: str, level: str, title: str) -> None:
    ((found, at_ms, alert),) = told(alarms(), event)
    assert (found, at_ms, alert.level) == (key, T0, level)
    assert title in alert.title
    assert alert.cause
    assert alert.consequence
    assert not alert.recovered
    assert bool(alert.mend) == (level != "info" and "agents" not in key)


@pytest.mark.parametrize(
    "event",
    [
        new_event(KEY, T0, said.Gap(**GAP, status="open")),
        new_event(KEY, T0, said.Gap(**GAP, status="healed")),
        new_event(f"{KEY}|champion", T0, said.Promotion(model=None, alias="champion", **PROMOTION)),
        new_event("X", T0, said.CorporateAction(factor=3.0, status="confirmed")),
        new_event("kill", T0, said.Kill(engaged=False, by="ann")),
    ],
)
def test_what_troubles_nobody_is_not_told(event: Event) -> None:
    assert told(alarms(), event) == []


@pytest.mark.parametrize(
    ("trouble", "end"),
    [
        (TROUBLES[0][0], new_event(KEY, T0, said.Gap(**GAP, status="healed"), revision=2)),
        (TROUBLES[2][0], new_event("X", T0, said.CorporateAction(factor=3.0, status="confirmed"), revision=1)),
        (TROUBLES[2][0], new_event("X", T0, said.CorporateAction(factor=3.0, status="rejected"), revision=1)),
        (TROUBLES[3][0], new_event("kill", T0 + 5, said.Kill(engaged=False, by="ann"))),
        (TROUBLES[4][0], TROUBLES[5][0]),
        (
            TROUBLES[4][0],
            new_event(f"{KEY}|champion", T0, said.Promotion(model=None, alias="champion", **PROMOTION)),
        ),
    ],
)
def test_the_end_of_a_trouble_is_told_once(trouble: Event, end: Event) -> None:
    one = alarms()
    ((key, at_ms, _),) = told(one, trouble)
    ends = [found for found in told(one, end) if found[2].recovered]
    assert [(found[0], found[2].level) for found in ends] == [(key, "info")]
    assert ends[0][1] > at_ms
    assert [found for found in told(one, end) if found[2].recovered] == []


def test_a_model_that_cannot_be_loaded_at_its_promotion_is_told_after_the_end_of_the_one_before() -> None:
    """Both fall on the promotion's moment, and are two moments in the log."""
    one = alarms()
    promotion = TROUBLES[5][0]
    unable = new_event(f"{KEY}|champion", T0, said.ModelUnable(model="m2", at="promotion", reason="gone too"))
    found = told(one, TROUBLES[4][0], promotion, unable)
    about = [(at_ms, alert.recovered) for key, at_ms, alert in found if key.startswith("model|")]
    assert about == [(T0, False), (T0 + 1, True), (T0 + 2, False)]


def test_every_command_that_mends_is_one() -> None:
    """Each is parsed by the real command line, down to its options."""
    one = alarms()
    found = told(one, *(event for event, *_ in TROUBLES), bar(T0), tick(T0 + 10**9))
    verbs = {understood(alert.mend) for *_, alert in found if alert.mend}
    assert verbs == {"gaps", "actions", "kill", "promote", "hub retrain"}


# --- laws -------------------------------------------------------------------------------------------------------------

kinds = st.sampled_from(["bar", "late", "tick", "far", "gap", "healed", "aside", "action", "decided"])
more = st.sampled_from(["kill", "release", "unable", "promotion", "drift"])


def life(words: list[str]) -> list[Event]:
    """Return a life of these words in which much falls on the same moments; identities are unique, as in a log."""
    now, found, seen = T0, list[Event](), dict[tuple[str, str, int], int]()

    def add(key: str, at_ms: int, payload: said.Payload) -> None:
        revision = seen[payload.kind, key, at_ms] = seen.get((payload.kind, key, at_ms), -1) + 1
        found.append(new_event(key, at_ms, payload, revision=revision))

    for word in words:
        match word:
            case "bar":
                now += STEP_MS
                found.append(bar(now))
            case "late":
                found.append(bar(now - 3 * STEP_MS, revision=len(found)))
            case "tick":
                add("clock", now + STEP_MS, said.Tick(now_ms=now + STEP_MS))
            case "far":
                now += 7 * STEP_MS
                add("clock", now + STEP_MS, said.Tick(now_ms=now + STEP_MS))
            case "gap" | "healed":
                add(KEY, T0, said.Gap(**GAP, status="hole" if word == "gap" else "healed"))
            case "aside":
                add(KEY, now, said.BarQuarantined(raw={}, reasons=("outlier",)))
            case "action" | "decided":
                add("X", T0, said.CorporateAction(factor=2.0, status="detected" if word == "action" else "confirmed"))
            case "kill" | "release":
                add("kill", now, said.Kill(engaged=word == "kill", by="ann"))
            case "unable":
                add(f"{KEY}|champion", now, said.ModelUnable(model="m", at="bar", reason="gone"))
            case "promotion":
                add(f"{KEY}|champion", now, said.Promotion(model="m", alias="champion", **PROMOTION))
            case "drift":
                add(f"{KEY}|champion|adwin", now, Drift(cause="unknown", action="retrain", **DRIFT))
    return found


@settings(max_examples=150, deadline=None)
@given(st.lists(kinds | more, max_size=60), st.integers(0, 60))
def test_no_two_alerts_are_one_and_an_end_follows_a_trouble(words: list[str], cut: int) -> None:
    events = life(words)
    one, found = alarms(), list[Event]()
    for k, event in enumerate(events):
        if k == cut:
            other = alarms()
            other.restore(one.state())
            assert state_digest(other.state()) == state_digest(one.state())
            one = other
        found += one.apply(event)
    assert len({event.identity for event in found}) == len(found)
    whole = alarms()
    assert [emitted for event in events for emitted in whole.apply(event)] == found
    is_open: dict[str, bool] = {}
    for event in found:
        alert: Any = event.payload
        if alert.recovered:
            assert is_open.get(event.key), "the end of what nobody was told of"
        is_open[event.key] = not alert.recovered
    silences = [event.payload.recovered for event in found if event.key.startswith("silent|")]  # type: ignore[attr-defined]
    assert silences == [k % 2 == 1 for k in range(len(silences))]  # told once, its end once


def test_a_real_log_takes_them_all_and_tells_them_again(tmp_path: Path) -> None:
    words = ["bar", "far", "bar", "tick", "unable", "promotion", "unable", "gap", "healed", "far", "bar", "late"] * 20
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as log:
        for event in life(words):
            log.append([event], writer="source", conflict="refuse")
        Runner(log, alarms(), snapshots_dir=None, batch_size=3).catch_up()
        report = refold(log, alarms())
        assert report.equal, report.differences
        assert report.emissions == len(log.read(kinds={"alert"})) > 60


def test_what_it_remembers_is_bounded() -> None:
    one = alarms()
    for k in range(3_000):
        hole = said.Gap(start_ms=T0 + k, end_ms=T0 + k + 1, missing_bars=1, status="hole")
        assert len(one.apply(new_event(KEY, T0 + k, hole))) == 1
    assert len(str(one.state())) < 100_000
    healed = said.Gap(start_ms=T0 + 2_999, end_ms=T0 + 3_000, missing_bars=1, status="healed")
    assert len(one.apply(new_event(KEY, T0 + 2_999, healed, revision=1))) == 1
