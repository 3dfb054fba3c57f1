"""What becomes of an alert: the rules one by one, then the laws that hold for any alerts in any order."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalibre.alerts.dispatch import HOUR_MS, MOST_HELD, MOST_TROUBLES, RANK, Level, Outgoing, Rules, State, empty, step
from kalibre.core.events import Event
from kalibre.core.hub_events import Alert

MINUTE = 60_000
NOON = 1_704_056_400_000 + 12 * HOUR_MS  # 2024-01-01 12:00 in Istanbul
NIGHT = NOON + 12 * HOUR_MS
QUIET = Rules(minimum_level="info", quiet_minutes=(23 * 60, 7 * 60))


def alert(key: str = "disk", level: Level = "warning", *, over: bool = False, at: int = NOON, seq: int = 1) -> Event:
    content = Alert(level=level, title=f"{key} {level}", cause="c", consequence="q", mend="m", recovered=over)
    return Event(kind="alert", key=key, event_time=at, payload=content, seq=seq)


class Teller:
    """Carries the state through steps, by way of JSON, and keeps what left."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.state: State = empty()
        self.left: list[tuple[int, Outgoing]] = []
        self.reason = ""

    def __call__(self, now_ms: int, event: Event | None = None) -> str | None:
        before = json.dumps(self.state)
        done = step(self.state, now_ms, self.rules, event)
        assert json.dumps(self.state) == before, "a step changes the state that it was given"
        self.state = json.loads(json.dumps(done.state))
        self.left += [(now_ms, one) for one in done.messages]
        self.reason = done.reason
        return done.action

    @property
    def told(self) -> list[list[tuple[str, str, bool]]]:
        return [[(note["key"], note["level"], note["recovered"]) for note in one.notes] for _, one in self.left]


def test_a_trouble_is_told_once_within_the_window_and_then_with_the_number_that_came() -> None:
    tell = Teller(Rules())
    actions = [tell(NOON + minute * MINUTE, alert()) for minute in (0, 1, 59, 60)]
    assert actions == ["send", "drop", "drop", "send"]
    assert [one.notes[0]["times"] for _, one in tell.left] == [1, 3]


def test_what_grows_worse_is_told_at_once_and_what_grows_milder_is_not() -> None:
    tell = Teller(Rules())
    assert tell(NOON, alert(level="warning")) == "send"
    assert tell(NOON + 1, alert(level="critical")) == "send"
    assert tell(NOON + 2, alert(level="warning")) == "drop"


@pytest.mark.parametrize("level", ["info", "warning"])
def test_below_the_minimum_nothing_is_told_nor_that_it_is_over(level: Level) -> None:
    tell = Teller(Rules(minimum_level="critical"))
    assert tell(NOON, alert(level=level)) == "drop"
    assert tell(NOON + 1, alert(over=True)) == "drop"
    assert tell.left == []


def test_recovered_is_told_once_and_its_trouble_anew_afterwards() -> None:
    tell = Teller(Rules())
    assert tell(NOON, alert(over=True)) == "drop", "nobody was told of a trouble"
    actions = [
        tell(NOON + n, event) for n, event in enumerate([alert(), alert(over=True), alert(over=True), alert()], start=1)
    ]
    assert actions == ["send", "send", "drop", "send"]
    assert tell.told[1] == [("disk", "warning", True)], "a recovery has the level of its trouble"


def test_quiet_hours_hold_all_that_is_not_critical_for_one_digest() -> None:
    tell = Teller(QUIET)
    assert tell(NIGHT, alert("a")) == "hold"
    assert tell(NIGHT + MINUTE, alert("b", "critical")) == "send"
    assert tell(NIGHT + 2 * MINUTE, alert("c", "info")) == "hold"
    assert tell(NIGHT + 7 * HOUR_MS - 1) is None
    assert tell.told == [[("b", "critical", False)]]
    tell(NIGHT + 7 * HOUR_MS)
    assert tell.told[1:] == [[("a", "warning", False), ("c", "info", False)]]
    assert tell.state["held"] == []


@pytest.mark.parametrize(
    ("quiet", "hour", "minute", "is_quiet"),
    [
        ((23 * 60, 7 * 60), 22, 59, False),
        ((23 * 60, 7 * 60), 23, 0, True),
        ((23 * 60, 7 * 60), 6, 59, True),
        ((23 * 60, 7 * 60), 7, 0, False),
        ((13 * 60, 14 * 60 + 30), 14, 29, True),
        ((13 * 60, 14 * 60 + 30), 14, 30, False),
        (None, 3, 0, False),
    ],
)
def test_quiet_hours_are_istanbuls(quiet: tuple[int, int] | None, hour: int, minute: int, is_quiet: bool) -> None:
    midnight = NOON - 12 * HOUR_MS
    assert Rules(quiet_minutes=quiet).quiet_at(midnight + hour * HOUR_MS + minute * MINUTE) is is_quiet


def test_a_trouble_that_ends_while_it_waits_is_told_as_over_and_not_a_second_time() -> None:
    tell = Teller(QUIET)
    tell(NIGHT, alert())
    assert tell(NIGHT + MINUTE, alert(over=True, at=NIGHT + MINUTE)) == "coalesce"
    assert tell(NIGHT + 2 * MINUTE, alert()) == "drop"  # it came back: the same note waits again
    assert tell(NIGHT + 3 * MINUTE, alert(over=True, at=NIGHT + 3 * MINUTE)) == "coalesce"
    tell(NIGHT + 8 * HOUR_MS)
    (note,) = tell.left[0][1].notes
    assert (note["times"], note["over_ms"], note["recovered"]) == (2, NIGHT + 3 * MINUTE, False)
    assert len(tell.left) == 1


def test_whoever_was_woken_is_told_that_it_is_over() -> None:
    tell = Teller(QUIET)
    tell(NIGHT, alert(level="critical"))
    tell(NIGHT + 2 * HOUR_MS, alert(level="warning"))  # milder, told again after the window: it waits
    assert tell(NIGHT + 3 * HOUR_MS, alert(level="info", over=True)) == "send"
    assert tell.told == [[("disk", "critical", False)], [("disk", "critical", True)]]


def test_a_recovery_waits_in_quiet_hours_if_its_trouble_was_not_critical() -> None:
    tell = Teller(QUIET)
    tell(NOON, alert())
    assert tell(NIGHT, alert(over=True)) == "hold"
    tell(NIGHT + 8 * HOUR_MS)
    assert tell.told == [[("disk", "warning", False)], [("disk", "warning", True)]]


def test_chatter_cannot_use_up_the_room_of_what_is_critical() -> None:
    tell = Teller(Rules(per_hour=4))
    actions = [tell(NOON + n, alert(f"k{n}")) for n in range(5)]
    assert actions == ["send"] * 3 + ["coalesce"] * 2
    assert tell(NOON + 5, alert("fire", "critical")) == "send"
    assert tell(NOON + 6, alert("flood", "critical")) == "coalesce", "the rate holds for all"
    tell(NOON + HOUR_MS)
    assert tell.told[-1] == [("k3", "warning", False), ("k4", "warning", False), ("flood", "critical", False)]


def test_one_message_an_hour_is_a_rate_too() -> None:
    tell = Teller(Rules(per_hour=1))
    assert [tell(NOON + n, alert(f"k{n}")) for n in range(3)] == ["send", "coalesce", "coalesce"]
    tell(NOON + HOUR_MS)
    assert len(tell.told[-1]) == 2


def test_a_clock_set_back_silences_nobody_for_longer_than_an_hour() -> None:
    tell = Teller(Rules(per_hour=1, window_ms=10 * MINUTE))
    tell(NOON + 100 * HOUR_MS, alert())
    assert tell(NOON, alert()) == "drop"  # counts as of now
    assert tell(NOON + HOUR_MS, alert()) == "send"


def test_what_waits_is_bounded_and_the_rest_is_counted() -> None:
    tell = Teller(QUIET)
    state = empty()
    for n in range(MOST_HELD + 7):
        state = step(state, NIGHT, QUIET, alert(f"k{n}")).state
    state = step(state, NIGHT, QUIET, alert("k501", over=True)).state  # one of those that were only counted
    assert len(state["held"]) == MOST_HELD
    tell.state = state
    tell(NIGHT + 8 * HOUR_MS)
    (digest,) = (one for _, one in tell.left)
    assert len(digest.notes) == MOST_HELD
    assert digest.left_out == {"warning": 7}
    assert tell.state["left_out"] == {}


def test_what_is_critical_waits_for_room_and_not_for_the_morning() -> None:
    tell = Teller(Rules(quiet_minutes=QUIET.quiet_minutes, per_hour=1))
    tell(NIGHT, alert("a"))
    tell(NIGHT, alert("fire", "critical"))
    assert tell(NIGHT + MINUTE, alert("flood", "critical")) == "coalesce"
    tell(NIGHT + HOUR_MS)
    assert tell.told == [[("fire", "critical", False)], [("flood", "critical", False)]]
    tell(NIGHT + 8 * HOUR_MS)
    assert tell.told[2:] == [[("a", "warning", False)]], "the night's digest still holds the others"


def test_a_digest_counts_as_telling() -> None:
    tell = Teller(QUIET)
    tell(NIGHT, alert())
    morning = NIGHT + 7 * HOUR_MS
    tell(morning)
    assert tell(morning + MINUTE, alert()) == "drop", "it was told a minute ago"
    assert tell(morning + 2 * MINUTE, alert(over=True)) == "send", "it was told, so its end is told"


def test_a_recovery_that_a_waiting_note_tells_is_not_told_twice() -> None:
    tell = Teller(QUIET)
    tell(NOON, alert())
    assert tell(NIGHT, alert()) == "hold"
    assert tell(NIGHT + MINUTE, alert(over=True, at=NIGHT + MINUTE)) == "hold"
    tell(NIGHT + 8 * HOUR_MS)
    assert tell.told[1:] == [[("disk", "warning", False)]]
    assert tell.left[1][1].notes[0]["over_ms"] == NIGHT + MINUTE


def test_what_is_critical_is_kept_however_much_waits() -> None:
    rules = Rules(quiet_minutes=QUIET.quiet_minutes, per_hour=1)
    state = step(empty(), NIGHT, rules, alert("fire", "critical")).state
    for n in range(MOST_HELD + 1):
        state = step(state, NIGHT, rules, alert(f"k{n}")).state
    state = step(state, NIGHT, rules, alert("flood", "critical")).state
    assert state["held"][-1]["key"] == "flood"
    done = step(state, NIGHT + HOUR_MS, rules)
    assert [[note["key"] for note in one.notes] for one in done.messages] == [["flood"]]
    assert done.messages[0].left_out == {}, "those that were only counted are told in the morning"
    assert done.state["left_out"] == {"warning": 1}


def test_open_troubles_are_bounded_the_mildest_go_first() -> None:
    state = empty()
    told: Any = {"told_ms": NOON, "sent": True, "repeats": 0}
    for n in range(MOST_TROUBLES + 10):
        level: Level = "critical" if n < 10 else "warning"
        state["troubles"][f"k{n}"] = {**told, "level": level, "worst": level}
    kept = step(state, NOON, Rules()).state["troubles"]
    assert len(kept) == MOST_TROUBLES
    assert all(f"k{n}" in kept for n in range(10))


# --- laws -----------------------------------------------------------------------------------------------------------

KEYS = st.sampled_from("abc")
LEVELS = st.sampled_from(["info", "warning", "critical"])
STEPS = st.lists(
    st.tuples(
        st.integers(0, 2 * MINUTE) | st.integers(0, 50 * MINUTE) | st.integers(0, 5 * HOUR_MS),  # that pass
        st.none() | st.tuples(KEYS, LEVELS, st.booleans()),
    ),
    max_size=60,
)
RULES = st.builds(
    Rules,
    minimum_level=LEVELS,
    quiet_minutes=st.none() | st.just((23 * 60, 7 * 60)) | st.just((9 * 60, 11 * 60)),
    per_hour=st.integers(1, 6),
    window_ms=st.sampled_from([MINUTE, HOUR_MS, 5 * HOUR_MS]),
)


BEGINNINGS = st.sampled_from([NOON, NIGHT])


def run(rules: Rules, began: int, steps: list[tuple[int, tuple[str, Level, bool] | None]]) -> tuple[Teller, list[Any]]:
    """Play steps with a tick every ten minutes, then two silent days.

    Returns who told, and (time, key, level, over, action, seq) of each event.
    """
    tell, now, events = Teller(rules), began, []
    for seq, (passed, said) in enumerate(steps, start=1):
        for at in range(now + 10 * MINUTE, now + passed, 10 * MINUTE):
            tell(at)
        now += passed
        if said is None:
            tell(now)
        else:
            key, level, over = said
            events.append((now, *said, tell(now, alert(key, level, over=over, at=now, seq=seq)), seq))
    for _ in range(2 * 24 * 6):
        now += 10 * MINUTE
        tell(now)
    return tell, events


@settings(max_examples=250, deadline=None)
@given(RULES, BEGINNINGS, STEPS)
def test_laws(rules: Rules, began: int, steps: list[tuple[int, tuple[str, Level, bool] | None]]) -> None:
    tell, events = run(rules, began, steps)
    by_seq = {event[-1]: event for event in events}

    # Never more than the rate, in any hour whatever.
    times = [at for at, _ in tell.left]
    assert all(later - first >= HOUR_MS for first, later in zip(times, times[rules.per_hour :], strict=False))

    # All that was held or held back leaves, once; nothing stays behind, and nothing was invented.
    assert tell.state["held"] == []
    sent = Counter(note["seq"] for _, one in tell.left for note in one.notes)
    assert all(count == 1 for count in sent.values())
    for _, key, _, over, action, seq in events:
        if action in {"send", "hold"} or (action == "coalesce" and not over):
            told_with = [n for _, one in tell.left for n in one.notes if n["key"] == key and (over or n["seq"] == seq)]
            assert told_with, (key, action, seq)
        if action == "drop":
            assert seq not in sent

    # Quiet hours: what leaves is critical.
    assert all(one.level == "critical" for at, one in tell.left if rules.quiet_at(at))

    # A recovery follows a telling of its trouble that no recovery has followed yet; the same for one that is `over`.
    open_since: dict[str, bool] = {}
    for _, one in tell.left:
        for note in one.notes:
            if note["recovered"]:
                assert open_since.get(note["key"]), "a recovery without its trouble"
            open_since[note["key"]] = not note["recovered"]

    # Nothing below the minimum is told.
    assert all(
        RANK[by_seq[note["seq"]][2]] >= RANK[rules.minimum_level]
        for _, one in tell.left
        for note in one.notes
        if not note["recovered"]
    )


@settings(max_examples=250, deadline=None)
@given(RULES, BEGINNINGS, STEPS)
def test_what_is_critical_is_never_lost(
    rules: Rules, began: int, steps: list[tuple[int, tuple[str, Level, bool] | None]]
) -> None:
    tell, events = run(rules, began, steps)
    told = [(at, note["key"], note["level"]) for at, one in tell.left for note in one.notes if not note["recovered"]]
    for now, key, level, over, action, _ in events:
        if level == "critical" and not over:
            # Sent at once, sent later, or a duplicate of one that was told within the window before or still will be.
            tellings = [at for at, other, as_level in told if (other, as_level) == (key, "critical")]
            assert any(at >= now or now - at < rules.window_ms for at in tellings), (now, key, action)
            if action == "send":
                assert now in tellings
            if action == "coalesce":  # and it does not wait for the end of quiet hours: an hour makes room
                assert any(now <= at <= now + HOUR_MS + 10 * MINUTE for at in tellings)


@settings(max_examples=250, deadline=None)
@given(RULES, BEGINNINGS, STEPS)
def test_a_duplicate_is_never_sent_within_the_window(
    rules: Rules, began: int, steps: list[tuple[int, tuple[str, Level, bool] | None]]
) -> None:
    tell, events = run(rules, began, steps)
    ends = [(now, key) for now, key, _, over, action, _ in events if over and action != "drop"]
    for key in "abc":
        tellings = [
            (at, note)
            for at, one in tell.left
            for note in one.notes
            if note["key"] == key and not note["recovered"] and note["over_ms"] is None
        ]
        for (first, before), (then, after) in pairwise(tellings):
            same = before["level"] == after["level"]
            ended = any(other == key and before["time_ms"] <= at <= then for at, other in ends)
            if same and not ended:
                assert then - first >= rules.window_ms, (key, first, then)


def test_the_laws_would_see_a_rate_that_is_not_kept() -> None:
    tell = Teller(Rules(per_hour=2))
    for n in range(3):
        tell.state["sent_ms"] = []  # planted: what was sent is forgotten
        tell(NOON + n, alert(f"k{n}", "critical"))
    times = [at for at, _ in tell.left]
    assert not all(later - first >= HOUR_MS for first, later in zip(times, times[2:], strict=False))
