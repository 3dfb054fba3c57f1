"""The outbox: in order, at least once, live only, through kills between delivery and offset, and past poison."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.postgres import Postgres, binaries_or_skip

from kalibre.core.clock import ManualClock
from kalibre.core.errors import DeliveryError, LogError, UndeliverableError
from kalibre.core.events import Event, Forecast, Tick, new_event
from kalibre.core.hub_events import Bench
from kalibre.log import failpoints, open_log
from kalibre.log.outbox import Outbox
from kalibre.log.protocol import EventLog

NOW_MS = 1_700_000_000_000
MINUTE_MS = 60_000


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    postgres = Postgres(binaries_or_skip())
    try:
        postgres.start()
        yield postgres
    finally:
        postgres.stop()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'log.sqlite'}"
    return request.getfixturevalue("server").new_database()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_MS)


@pytest.fixture
def log(url: str, clock: ManualClock) -> Iterator[EventLog]:
    with open_log(url, clock=clock) as opened:
        yield opened


def said(number: int, *, time: int = NOW_MS, **more: Any) -> Event:
    payload = Bench(benched=True, by="test", reason=f"{number}")
    return new_event(f"learner-{number}", time, payload, **more)


def tick(time: int) -> Event:
    return new_event("clock", time, Tick(now_ms=time))


class Receiver:
    """Takes positions down, and fails as it is told to."""

    def __init__(self) -> None:
        self.heard: list[int] = []
        self.fails: list[Exception] = []
        self.tries = 0

    def __call__(self, event: Event) -> None:
        self.tries += 1
        if self.fails:
            raise self.fails.pop(0)
        self.heard.append(event.seq)


def outbox(log: EventLog, receiver: Callable[[Event], object], clock: ManualClock, **more: Any) -> Outbox:
    more = {"first_pause_s": 1e-9, "longest_pause_s": 1e-9, "clock": clock} | more
    return Outbox(log, "test", {"bench"}, receiver, **more)


def drained(box: Outbox, steps: int = 50) -> None:
    for _ in range(steps):
        box.step()


def test_nothing_from_before_it_first_existed_and_then_everything_in_order(log: EventLog, clock: ManualClock) -> None:
    log.append([said(0), said(1)], writer="x")
    receiver = Receiver()
    box = outbox(log, receiver, clock, batch_size=2)
    assert box.step() == 0
    stored = log.append([said(2), tick(NOW_MS), said(3), said(4)], writer="x")
    assert [box.step(), box.step(), box.step()] == [2, 1, 0]
    expected = [event.seq for event in stored if event.kind == "bench"]
    assert receiver.heard == expected
    again = outbox(log, receiver, clock)
    drained(again)
    assert receiver.heard == expected  # a restart delivers nothing twice that was committed
    assert (box.counts.delivered, again.counts.delivered) == (3, 0)
    assert box.position == log.head()


def test_a_receiver_that_is_away_is_waited_for_and_order_is_kept(
    log: EventLog, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Receiver()
    box = outbox(log, receiver, clock)
    box.step()
    first, second = log.append([said(1), said(2)], writer="x")
    receiver.fails = [DeliveryError("Redis is away"), ConnectionResetError("gone"), DeliveryError("still away")]
    assert box.step() == 0
    assert box.trouble == "Redis is away"
    drained(box)
    assert receiver.heard == [first.seq, second.seq]
    assert (box.counts.failures, box.trouble) == (3, "")
    words = [record.getMessage() for record in caplog.records]
    assert len(words) == 2, "told when it begins to wait and when it goes on, not at every try"
    assert f"waits at position {first.seq}: Redis is away" in words[0]
    assert f"goes on at position {first.seq} after 4 tries" in words[1]


def test_pauses_grow_and_a_step_never_waits(log: EventLog, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [100.0]
    monkeypatch.setattr("kalibre.log.outbox.time.monotonic", lambda: now_s[0])
    receiver = Receiver()
    box = outbox(log, receiver, clock, first_pause_s=1.0, longest_pause_s=5.0)
    box.step()
    log.append([said(1)], writer="x")
    receiver.fails = [DeliveryError("away")] * 5
    tried_at = []
    while not receiver.heard:
        before = receiver.tries
        box.step()
        if receiver.tries > before:
            tried_at.append(now_s[0])
        now_s[0] += 0.5
    assert tried_at == [100.0, 101.0, 103.0, 107.0, 112.0, 117.0]  # 1, 2, 4, then never more than 5 seconds


def test_what_no_receiver_will_take_is_passed_over_with_a_warning(
    log: EventLog, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Receiver()
    box = outbox(log, receiver, clock, most_tries=3)
    box.step()
    poison, sound = log.append([said(1), said(2)], writer="x")
    receiver.fails = [UndeliverableError("too large")] * 3
    drained(box)
    assert receiver.heard == [sound.seq]
    assert (box.counts.undeliverable, box.counts.delivered) == (1, 1)
    assert f"passes over bench learner-1 at position {poison.seq} after 3 tries: too large" in caplog.text
    assert box.trouble == ""
    receiver.fails = [UndeliverableError("busy")] * 2  # one that is taken in the end counts anew
    (third,) = log.append([said(3)], writer="x")
    drained(box)
    assert receiver.heard[-1] == third.seq


def test_a_bug_in_the_receiver_is_loud_and_loses_nothing(log: EventLog, clock: ManualClock) -> None:
    receiver = Receiver()
    box = outbox(log, receiver, clock)
    box.step()
    (event,) = log.append([said(1)], writer="x")
    receiver.fails = [ZeroDivisionError()]
    with pytest.raises(ZeroDivisionError):
        box.step()
    drained(outbox(log, receiver, clock))
    assert receiver.heard == [event.seq]


def test_what_is_too_old_when_it_is_reached_is_passed_over_and_counted(log: EventLog, clock: ManualClock) -> None:
    receiver = Receiver()
    box = outbox(log, receiver, clock, max_age_ms=5 * MINUTE_MS)
    box.step()
    log.append([said(1)], writer="x")
    receiver.fails = [DeliveryError("away")]
    box.step()
    clock.set(NOW_MS + 6 * MINUTE_MS)
    (fresh,) = log.append([said(2, time=NOW_MS + 6 * MINUTE_MS)], writer="x")
    drained(box)
    assert receiver.heard == [fresh.seq]
    assert (box.counts.passed_over, box.trouble) == (1, "")
    everything = Receiver()
    with log.transaction() as transaction:
        transaction.set_offset("outbox:test", 0)
    drained(outbox(log, everything, clock, live_only=False))
    assert len(everything.heard) == 2


def test_retold_and_late_words_are_not_live(log: EventLog, clock: ManualClock) -> None:
    receiver = Receiver()
    box = Outbox(log, "test", {"forecast"}, receiver, clock=clock)
    box.step()

    def forecast(number: int, *, late: bool = False, provenance: str = "") -> Event:
        payload = Forecast(model="m", role="r", horizon_bars=4, score=0.5, p_up=0.5, late=late)
        return new_event(f"BTCUSDT|15m|{number}", NOW_MS, payload, provenance=provenance)

    stored = log.append([forecast(1, late=True), forecast(2, provenance="rebuild"), forecast(3)], writer="x")
    drained(box)
    assert receiver.heard == [stored[2].seq]
    assert box.counts.passed_over == 2


def test_a_history_that_is_played_is_not_live_but_what_happens_meanwhile_is(log: EventLog, clock: ManualClock) -> None:
    receiver = Receiver()
    box = outbox(log, receiver, clock)
    box.step()
    then = NOW_MS - 300 * 24 * 60 * MINUTE_MS
    log.append([tick(then), said(1, time=then)], writer="x")  # recorded now, as a replay does
    (crash,) = log.append([said(2, time=NOW_MS)], writer="x")
    drained(box)
    assert receiver.heard == [crash.seq]
    log.append([tick(NOW_MS)], writer="x")  # the clock of the market is the machine's again
    (late_word,) = log.append([said(3, time=NOW_MS - 5 * MINUTE_MS)], writer="x")
    drained(box)
    assert receiver.heard == [crash.seq, late_word.seq]


def test_the_offset_follows_past_other_kinds_without_a_commit_for_each(log: EventLog, clock: ManualClock) -> None:
    box = outbox(log, Receiver(), clock)
    box.step()
    log.append([tick(time) for time in range(1_000)], writer="x")
    drained(box)
    progress = log.progress(box.offset_name)
    assert progress is not None
    assert (progress.seq, box.position) == (0, 1_000)
    log.append([tick(time) for time in range(1_000, 6_000)], writer="x")
    drained(box)
    progress = log.progress(box.offset_name)
    assert progress is not None
    assert progress.seq == 6_000


def test_a_second_process_of_the_same_name_is_noticed(log: EventLog, clock: ManualClock) -> None:
    one, other = (outbox(log, Receiver(), clock) for _ in range(2))
    one.step()
    other.step()
    log.append([said(1)], writer="x")
    other.step()
    log.append([said(2)], writer="x")
    with pytest.raises(LogError, match="another process runs it; stop one of the two"):
        one.step()
    assert one.step() == 1  # it has read the offset anew


def test_settings_that_make_no_sense_are_quoted(log: EventLog, clock: ManualClock) -> None:
    for wrong in ({"batch_size": 0}, {"max_age_ms": -3}, {"first_pause_s": 9.0, "longest_pause_s": 1.0}):
        with pytest.raises(LogError, match="outbox 'test' cannot run with"):
            outbox(log, print, clock, **wrong)
    with pytest.raises(LogError, match=r"kinds \[\]"):
        Outbox(log, "test", set(), print)


# --- processes that die -----------------------------------------------------------------------------------------------


def run_until_killed(url: str, told: int, place: str, **more: Any) -> int:
    """Let an outbox deliver in a process of its own, into a pipe that outlives it; return how it ended."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            failpoints.arm(place)
            with open_log(url) as log:
                receiver = lambda event: os.write(told, f"{event.seq} ".encode())  # noqa: E731
                drained(Outbox(log, "test", {"bench"}, receiver, **more))
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("place", ["outbox.deliver", "outbox.delivered", "outbox.commit"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_kill_at_any_place_delivers_again_and_never_loses(url: str, place: str, batch_size: int) -> None:
    with open_log(url) as log:
        Outbox(log, "test", {"bench"}, print).step()
        now_ms = 10**13  # far from being old
        stored = log.append([said(number) for number in range(7)], writer="x", recorded_at_ms=now_ms)
    expected = [event.seq for event in stored]
    read_end, write_end = os.pipe()
    kills = 0
    for armed in (f"{place}:1", f"{place}:2", f"{place}:3", f"{place}:2", ""):
        code = run_until_killed(url, write_end, armed, batch_size=batch_size)
        kills += code == -signal.SIGKILL
    assert code == 0
    os.close(write_end)
    with os.fdopen(read_end) as stream:
        heard = [int(word) for word in stream.read().split()]
    assert kills >= 2
    assert sorted(set(heard)) == expected
    firsts = [seq for place, seq in enumerate(heard) if seq not in heard[:place]]
    assert firsts == expected, "the first delivery of each is in order"
    if place != "outbox.deliver":
        assert len(heard) > len(expected), "killed between delivery and commit, it is delivered again"
    with open_log(url) as log:
        progress = log.progress("outbox:test")
        assert progress is not None
        assert progress.seq == expected[-1]


def test_every_place_of_the_outbox_is_one_where_it_was_killed() -> None:
    places = {place for place in failpoints.places() if place.startswith("outbox.")}
    assert places == {"outbox.deliver", "outbox.delivered", "outbox.commit"}


def test_the_offset_before_the_delivery_would_lose_one(url: str) -> None:
    """The planted bug: the offset is committed first. A kill in between then loses an event, and the net sees it."""

    class Hasty(Outbox):
        def _brought(self, event: Event) -> bool:
            self._passed = event.seq
            self._commit()
            return super()._brought(event)

    with open_log(url) as log:
        Hasty(log, "test", {"bench"}, print).step()
        (lost, kept) = log.append([said(1), said(2)], writer="x", recorded_at_ms=10**13)
    child = os.fork()
    if child == 0:
        failpoints.arm("outbox.deliver")
        with open_log(url) as log:
            Hasty(log, "test", {"bench"}, print).step()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    receiver = Receiver()
    with open_log(url) as log:
        drained(Hasty(log, "test", {"bench"}, receiver))
    assert receiver.heard == [kept.seq]
    assert lost.seq not in receiver.heard


def test_follow_delivers_what_comes_and_stops_when_told(url: str) -> None:
    stop, told = threading.Event(), threading.Event()
    heard: list[int] = []

    def receive(event: Event) -> None:
        heard.append(event.seq)
        told.set()

    with open_log(url) as log:
        box = Outbox(log, "test", {"bench"}, receive)
        box.step()
        thread = threading.Thread(target=box.follow, args=(stop.is_set, 0.01))
        thread.start()
        (event,) = log.append([said(1)], writer="x", recorded_at_ms=10**13)
        assert told.wait(30)
        stop.set()
        thread.join(30)
        assert not thread.is_alive()
    assert heard == [event.seq]
