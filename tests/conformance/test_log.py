"""One suite over every storage of the log: what SQLite does, PostgreSQL does, to the last bit."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fakes.postgres import Postgres, binaries_or_skip

from kalibre.core.clock import ManualClock
from kalibre.core.errors import DeterminismError, LogError, LogLockedError, SettingsError
from kalibre.core.events import BarClosed, Event, Forecast, Kill, Tick, new_event
from kalibre.log import open_log
from kalibre.log.protocol import EventLog, Progress

KEY = "BTCUSDT|15m"


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
    return ManualClock(1_000)


@pytest.fixture
def log(url: str, clock: ManualClock) -> Iterator[EventLog]:
    with open_log(url, clock=clock) as opened:
        yield opened


def bar(time: int, close: float = 2.0, *, key: str = KEY, provenance: str = "received") -> Event:
    payload = BarClosed(open_time=time, open=2.0, high=9.0, low=1.0, close=close, volume=1.0)
    return new_event(key, time, payload, provenance=provenance)


def tick(time: int) -> Event:
    return new_event("clock", time, Tick(now_ms=time))


def test_positions_are_one_two_three_and_events_come_back_as_they_were(log: EventLog, clock: ManualClock) -> None:
    stored = log.append([bar(0), bar(10)], writer="source")
    clock.set(2_000)
    stored += log.append([tick(5)], writer="ticker")
    assert [event.seq for event in stored] == [1, 2, 3]
    assert [event.recorded_at for event in stored] == [1_000, 1_000, 2_000]
    assert log.read() == stored
    assert stored[0].provenance == "received"
    assert stored[2].writer == "ticker"
    assert log.head() == 3


def test_the_same_content_again_is_stored_once(log: EventLog) -> None:
    first = log.append([bar(0), bar(10)], writer="source")
    again = log.append([bar(10, provenance="backfilled"), bar(0), bar(20), bar(20)], writer="other")
    assert [event.seq for event in again] == [2, 1, 3, 3]
    assert again[0] == first[1]
    assert log.head() == 3


def test_other_content_is_the_next_revision(log: EventLog) -> None:
    log.append([bar(0)], writer="source")
    revised = log.append([bar(0, close=3.0), bar(0, close=4.0), bar(0, close=3.0)], writer="source")
    assert [(event.seq, event.revision) for event in revised] == [(2, 1), (3, 2), (2, 1)]
    assert log.append([bar(0)], writer="source")[0].seq == 1
    newest = log.read(newest_revision=True)
    assert [event.payload.close for event in newest] == [4.0]
    assert [event.revision for event in log.read(kinds={"bar"})] == [0, 1, 2]


def test_a_correction_that_is_taken_back_is_a_revision_of_what_is_current(log: EventLog) -> None:
    log.append([bar(1, 2.0)], writer="s")
    log.append([bar(1, 3.0)], writer="s", conflict="current")
    (again,) = log.append([bar(1, 3.0)], writer="s", conflict="current")
    assert (again.revision, log.head()) == (1, 2)
    (redelivered,) = log.append([bar(1, 2.0)], writer="s")
    assert (redelivered.revision, log.head()) == (0, 2)
    (back,) = log.append([bar(1, 2.0)], writer="s", conflict="current")
    assert (back.revision, back.seq) == (2, 3)
    (newest,) = log.read(kinds={"bar"}, newest_revision=True)
    assert newest == back


def test_a_projection_may_not_say_something_else(log: EventLog) -> None:
    log.append([bar(0)], writer="p", conflict="refuse")
    assert log.append([bar(0)], writer="p", conflict="refuse")[0].seq == 1
    with pytest.raises(DeterminismError, match=r"close=2\.0.*close=7\.0"):
        log.append([bar(10), bar(0, close=7.0)], writer="p", conflict="refuse")
    assert log.head() == 1  # nothing of the batch was kept
    revised = new_event(KEY, 0, bar(0, close=7.0).payload, revision=1)
    assert log.append([revised], writer="p", conflict="refuse")[0].revision == 1
    with pytest.raises(LogError, match="'overwrite' is unknown"):
        log.append([bar(0)], writer="p", conflict="overwrite")  # type: ignore[arg-type]


def test_reads_filter_by_everything_they_say(log: EventLog, clock: ManualClock) -> None:
    other = "THYAO|1d"
    log.append([bar(0), bar(10), tick(10), bar(0, key=other)], writer="a")
    clock.set(5_000)
    log.append([bar(0, close=3.0), bar(20), bar(10, key=other)], writer="b")

    def seqs(**filters: object) -> list[int]:
        return [event.seq for event in log.read(**filters)]  # type: ignore[arg-type]

    assert seqs(kinds={"tick"}) == [3]
    assert seqs(kinds={"tick", "bar"}, after=2, upto=5) == [3, 4, 5]
    assert seqs(key=other) == [4, 7]
    assert seqs(kinds=["bar"], key=KEY, start_ms=10, end_ms=20) == [2]
    assert seqs(start_ms=10) == [2, 3, 6, 7]
    assert seqs(writer="b", kinds={"bar"}) == [5, 6, 7]
    assert seqs(as_of=4_999) == [1, 2, 3, 4]
    assert seqs(as_of=4_999, newest_revision=True, kinds={"bar"}, key=KEY) == [1, 2]
    assert seqs(newest_revision=True, kinds={"bar"}, key=KEY) == [2, 5, 6]
    assert seqs(newest_revision=True, upto=4, key=KEY) == [1, 2]
    assert seqs(limit=2) == [1, 2]
    assert seqs(limit=2, descending=True) == [7, 6]
    assert seqs(kinds={"bar"}, limit=1, after=2) == [4]
    assert seqs(kinds=()) == []
    assert seqs(kinds={"fill"}) == []


def test_rare_kinds_are_found_among_many(log: EventLog) -> None:
    log.append([bar(time) for time in range(500)], writer="a")
    log.append([tick(1)], writer="a")
    log.append([bar(time, key="X|1m") for time in range(500)], writer="a")
    assert [event.seq for event in log.read(kinds={"tick"})] == [501]
    assert [event.seq for event in log.read(kinds={"tick"}, limit=5, after=100)] == [501]
    assert [event.seq for event in log.read(key="X|1m", limit=2)] == [502, 503]
    assert [event.seq for event in log.read(kinds={"bar"}, limit=2, descending=True)] == [1001, 1000]


def test_the_latest_is_by_position_or_by_event_time(log: EventLog, clock: ManualClock) -> None:
    assert log.latest("bar") is None
    log.append([bar(20), bar(10)], writer="a")
    clock.set(9_000)
    log.append([bar(20, close=3.0), bar(5), tick(1)], writer="a")
    latest, newest, earlier = log.latest("bar"), log.latest("bar", by="event_time"), log.latest("bar", as_of=1_000)
    assert latest is not None
    assert newest is not None
    assert earlier is not None
    assert (latest.seq, newest.seq, earlier.seq) == (4, 3, 2)
    by_time = log.latest("bar", as_of=1_000, by="event_time")
    assert by_time is not None
    assert by_time.seq == 1
    assert log.latest("bar", key="THYAO|1d") is None
    assert log.last_position({"bar", "tick"}) == 5
    assert log.last_position({"bar"}, key=KEY) == 4
    assert log.last_position(()) == 0
    # Every revision counts, and what is known already does not count again.
    assert log.counts({"bar", "tick", "kill"}) == {("bar", KEY): 4, ("tick", tick(1).key): 1}
    log.append([bar(20, close=3.0)], writer="a")
    assert log.counts({"bar"}) == {("bar", KEY): 4}
    assert log.counts(()) == {}


def test_a_transaction_is_all_or_nothing(log: EventLog) -> None:
    def break_off() -> None:
        with log.transaction() as transaction:
            transaction.append([bar(0), tick(0)], writer="p")
            transaction.set_offset("p", 7)
            assert transaction.head() == 2
            assert [event.kind for event in transaction.read()] == ["bar", "tick"]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    assert log.head() == 0
    assert log.read(kinds={"bar"}) == []
    assert log.progress("p") is None
    with log.transaction() as transaction:
        transaction.append([tick(1)], writer="p")  # the number that the lost stream had is free again
        transaction.append([bar(1)], writer="p")
        transaction.set_offset("p", 2)
        assert transaction.offset("p") == 2
    assert [event.kind for event in log.read()] == ["tick", "bar"]
    assert log.check() == []
    with open_log(log.url) as fresh:  # nothing but the storage to go by
        assert fresh.read() == log.read()
        assert fresh.check() == []


def test_progress_is_kept_with_its_version(log: EventLog) -> None:
    progress = Progress(seq=3, version="v2", libraries="numpy 9", since=2, rebuilt=1)
    with log.transaction() as transaction:
        transaction.set_progress("p", progress)
        transaction.set_offset("p", 9)
        transaction.set_offset("q", 1)
    assert log.progress("p") == Progress(seq=9, version="v2", libraries="numpy 9", since=2, rebuilt=1)
    assert log.progress("q") == Progress(seq=1)


def test_what_cannot_be_stored_is_refused_whole(log: EventLog) -> None:
    cases = {
        "kind must be 'tick'": Event(kind="bar", key=KEY, event_time=0, payload=Tick(now_ms=0)),
        "UTC milliseconds": tick(2**70),
        "printable": bar(0, key="a\x00b"),
        "NaN or infinity": bar(0, close=float("nan")),
    }
    for words, event in cases.items():
        with pytest.raises(LogError, match=words):
            log.append([bar(1), event], writer="p")
    with pytest.raises(LogError):
        log.append([bar(1)], writer="a \ud800 surrogate")
    with pytest.raises(LogError, match=r"bits|range"):
        log.append([bar(1)], writer="p", recorded_at_ms=2**80)
    assert log.head() == 0
    assert log.append([], writer="p") == []
    assert log.append([bar(1)], writer="p")[0].seq == 1


def test_the_storage_itself_refuses_to_change_the_past(log: EventLog) -> None:
    log.append([bar(0)], writer="p")
    for statement in ("UPDATE events SET writer = 'x'", "DELETE FROM events"):
        with pytest.raises(LogError, match="append-only"), log.transaction() as transaction:
            transaction.run(statement)  # type: ignore[attr-defined]
    assert log.read()[0].writer == "p"


def test_a_log_is_not_carried_across_a_fork(log: EventLog) -> None:
    log.append([bar(0)], writer="p")
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            log.head()
            said = "it answered"
        except LogError as error:
            said = str(error)
        os.write(write_end, said.encode())
        os._exit(0)
    os.close(write_end)
    os.waitpid(child, 0)
    with os.fdopen(read_end) as stream:
        assert "call open_log after it" in stream.read()
    assert log.append([bar(1)], writer="p")[0].seq == 2


def test_a_closed_log_says_so(url: str) -> None:
    log = open_log(url)
    log.close()
    with pytest.raises(LogError, match="closed"):
        log.head()


def test_a_second_opening_reads_what_the_first_wrote(url: str, log: EventLog) -> None:
    log.append([bar(0), tick(0)], writer="p")
    with open_log(url) as other:
        assert other.read() == log.read()
        other.append([bar(1, key="NEW|1m")], writer="q")
    assert [event.key for event in log.read(after=2)] == ["NEW|1m"]
    assert log.sync() == 3


def test_a_held_lock_is_named_after_the_stated_patience(url: str, log: EventLog) -> None:
    with open_log(url, patience_s=0.05) as other, log.transaction() as transaction:
        transaction.append([bar(0)], writer="p")
        with pytest.raises(LogLockedError, match="more than"):
            other.append([bar(1)], writer="q")
        assert other.head() == 0
        with pytest.raises(LogError, match="inside a transaction"):
            log.append([bar(2)], writer="p")
    assert log.head() == 1


def in_threads(count: int, work: Callable[[int], None]) -> None:
    failed: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def test_many_threads_and_connections_leave_no_hole(url: str, log: EventLog) -> None:
    def write(number: int) -> None:
        with open_log(url) as own:
            for time in range(15):
                (own if time % 2 else log).append([bar(time, key=f"S{number}|1m"), tick(time)], writer=f"w{number}")

    in_threads(6, write)
    events = log.read()
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert len(events) == 6 * 15 + 15  # every series' bars, each tick once
    assert log.check() == []


def test_wait_returns_when_somebody_commits_and_when_nobody_does(url: str, log: EventLog) -> None:
    assert log.wait(0, 0.01) == 0
    waiting = threading.Event()
    seen: list[int] = []

    def should_stop() -> bool:
        waiting.set()
        return False

    thread = threading.Thread(target=lambda: seen.append(log.wait(0, 60.0, should_stop)))
    thread.start()
    assert waiting.wait(60)
    with open_log(url) as other:
        other.append([bar(0)], writer="p")
    thread.join(60)
    assert seen == [1]
    assert log.wait(1, 60.0, lambda: True) == 1


def test_every_thread_that_waits_is_woken_by_one_commit(log: EventLog) -> None:
    found: list[int] = []
    ready = threading.Barrier(5)

    def wait() -> None:
        ready.wait()
        found.append(log.wait(0, 60.0))

    threads = [threading.Thread(target=wait) for _ in range(4)]
    for thread in threads:
        thread.start()
    ready.wait()
    log.append([tick(1)], writer="s")
    for thread in threads:
        thread.join(20.0)
    assert found == [1, 1, 1, 1]


def test_a_kill_is_durable_and_found(log: EventLog) -> None:
    log.append([new_event("kill", 5, Kill(engaged=True, by="test"))], writer="cli")
    log.append([bar(0)], writer="p")
    latest = log.latest("kill")
    assert latest is not None
    assert latest.payload == Kill(engaged=True, by="test")


def test_damage_is_found_by_check(log: EventLog) -> None:
    log.append([bar(0), tick(0)], writer="p")
    assert log.check() == []
    with log.transaction() as transaction:
        transaction.run("UPDATE streams SET events = 5 WHERE kind = 'bar'")  # type: ignore[attr-defined]
    assert "1 events up to 1, recorded as 5" in log.check()[0]


def test_unknown_addresses_are_quoted() -> None:
    for address in ("mysql://x", "sqlite:///", "sqlite:///a?mode=ro", "log.sqlite"):
        with pytest.raises(SettingsError, match="log address"):
            open_log(address)


closes = st.sampled_from([2.0, 3.0, 4.0])
batches = st.lists(
    st.lists(st.tuples(st.sampled_from(["A|1m", "B|1m"]), st.integers(0, 3), closes), max_size=6), max_size=5
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches)
def test_it_stores_what_a_plain_list_would(
    url_factory: Callable[[], str], said: list[list[tuple[str, int, float]]]
) -> None:
    """The oracle: a list in memory that follows the rules of identity and revision."""
    kept: list[tuple[str, int, int, float]] = []
    with open_log(url_factory()) as log:
        for batch in said:
            expected = []
            for key, time, close in batch:
                slot = [row for row in kept if row[:2] == (key, time)]
                row = next((row for row in slot if row[3] == close), None)
                if row is None:
                    row = (key, time, len(slot), close)
                    kept.append(row)
                expected.append(kept.index(row) + 1)
            events = log.append([bar(time, close, key=key) for key, time, close in batch], writer="s")
            assert [event.seq for event in events] == expected
        assert [(e.key, e.event_time, e.revision, e.payload.close) for e in log.read()] == kept
        newest = {row[:2]: row for row in kept}
        assert {(e.key, e.event_time, e.revision, e.payload.close) for e in log.read(newest_revision=True)} == set(
            newest.values()
        )
        assert log.check() == []


@pytest.fixture(params=["sqlite", "postgres"])
def url_factory(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    numbers = iter(range(10_000))
    if request.param == "sqlite":
        return lambda: f"sqlite:///{tmp_path / f'{next(numbers)}.sqlite'}"
    return request.getfixturevalue("server").new_database


def test_floats_and_text_keep_every_bit(log: EventLog) -> None:
    model = 'şğü \U0001f4c8 "quoted" \\ line\nbreak'
    payload = Forecast(model=model, role="champion", horizon_bars=4, score=-0.0, p_up=5e-324)
    log.append(
        [
            new_event(KEY, 0, payload),
            new_event(KEY, 1, Forecast(model="", role="", horizon_bars=1, score=1 / 3, p_up=None)),
        ],
        writer="p",
    )
    first, second = (event.payload for event in log.read())
    assert first == payload
    assert str(first.score) == "-0.0"
    assert second.score == 1 / 3
