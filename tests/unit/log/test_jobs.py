"""The table of jobs: one commit for result and state, leases, zombies, kills at every place, on both storages."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.fakes.postgres import Postgres, binaries_or_skip

from kalibre.core.clock import ManualClock
from kalibre.core.errors import KalibreError, LeaseLostError, LogError, SettingsError, UsageError
from kalibre.core.events import Event, Tick, new_event
from kalibre.core.hub_events import Job
from kalibre.log import failpoints, open_log
from kalibre.log.jobs import JobRow, Jobs
from kalibre.log.protocol import EventLog

LEASE_MS = 1_000


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
    return ManualClock(5_000)


@pytest.fixture
def log(url: str, clock: ManualClock) -> Iterator[EventLog]:
    with open_log(url, clock=clock) as opened:
        yield opened


@pytest.fixture
def jobs(log: EventLog) -> Jobs:
    return Jobs(log)


def gave(number: int, *, time: int = 7) -> list[Event]:
    return [new_event(f"result-{number}", time, Tick(now_ms=number))]


def claimed(jobs: Jobs, now_ms: int, owner: str = "w") -> JobRow:
    job = jobs.claim(now_ms, owner, LEASE_MS)
    assert job is not None
    return job


def story(log: EventLog, key: str | None = None) -> list[tuple[str, int]]:
    told = [event.payload for event in log.read(kinds={"job"}, key=key)]
    return [(job.state, job.attempt) for job in told if isinstance(job, Job)]


def test_a_job_goes_its_way_and_the_log_tells_it(log: EventLog, jobs: Jobs) -> None:
    jobs.enqueue("export", "a|1", {"what": "predictions", "days": [1, 2]}, due_ms=100)
    assert jobs.claim(99, "w", LEASE_MS) is None
    job = claimed(jobs, 100)
    assert (job.state, job.attempt, job.owner, job.lease_until_ms) == ("running", 1, "w", 1_100)
    assert job.payload == {"what": "predictions", "days": [1, 2]}
    assert job.began_ms == 5_000  # by the log's clock
    (stored,) = jobs.complete(job, gave(1), result={"rows": "3"})
    assert stored.writer == "export"
    assert story(log, "export|a|1") == [("queued", 0), ("running", 1), ("done", 1)]
    done = log.latest("job")
    assert done is not None
    assert (done.writer, done.event_time, done.key) == ("jobs", 100, "export|a|1")
    assert isinstance(done.payload, Job)
    assert done.payload.result == {"rows": "3"}
    assert jobs.claim(10_000, "w", LEASE_MS) is None
    assert jobs.counts() == {"done": 1}


def test_a_key_is_enqueued_once_and_the_first_word_stands(log: EventLog, jobs: Jobs) -> None:
    first = jobs.enqueue("export", "k", {"n": 1}, due_ms=1)
    assert jobs.enqueue("export", "k", {"n": 2}, due_ms=2) == first
    other = jobs.enqueue("retrain", "k", {"n": 2}, due_ms=2)
    assert other.id != first.id
    jobs.complete(claimed(jobs, 10), [])
    assert jobs.enqueue("export", "k", {"n": 3}, due_ms=3).state == "done"
    assert jobs.skip("export", "k", "too late", due_ms=3).state == "done"
    assert story(log, "export|k") == [("queued", 0), ("running", 1), ("done", 1)]


def test_the_oldest_due_job_comes_first_and_only_of_the_names_asked_for(jobs: Jobs) -> None:
    for name, key, due_ms in (("b", "late", 300), ("a", "early", 100), ("b", "middle", 200)):
        jobs.enqueue(name, key, due_ms=due_ms)
    assert jobs.next_ready_ms() == 100
    assert jobs.next_ready_ms({"b"}) == 200
    assert jobs.next_ready_ms({"c"}) is None
    assert jobs.claim(1_000, "w", LEASE_MS, names=set()) is None
    taken = [jobs.claim(1_000, "w", LEASE_MS, names={"b"}) for _ in range(3)]
    assert [job and job.key for job in taken] == ["middle", "late", None]
    assert claimed(jobs, 1_000).key == "early"
    assert [job.key for job in jobs.rows(limit=2)] == ["middle", "early"]
    assert [job.key for job in jobs.rows(states={"done"})] == []


def test_a_renewed_lease_holds_and_one_that_ran_out_is_taken_over(log: EventLog, jobs: Jobs) -> None:
    jobs.enqueue("a", "k", due_ms=0)
    first = claimed(jobs, 0, "first")
    jobs.renew(first, 5_000)
    assert jobs.claim(4_999, "second", LEASE_MS) is None
    second = claimed(jobs, 5_000, "second")
    assert (second.id, second.attempt) == (first.id, 2)
    assert "attempt 1 was killed half way (first let its lease run out)" in second.error
    assert second.began_ms == first.began_ms
    with pytest.raises(LeaseLostError, match="attempt 1 by first, is running, attempt 2 by second"):
        jobs.renew(first, 9_000)


def test_a_zombie_commits_nothing(log: EventLog, jobs: Jobs) -> None:
    jobs.enqueue("a", "k", due_ms=0)
    zombie = claimed(jobs, 0)
    heir = claimed(jobs, LEASE_MS)  # of the same name: only the attempt tells them apart
    for act in (
        lambda: jobs.complete(zombie, gave(1)),
        lambda: jobs.fail(zombie, "late", 5_000),
        lambda: jobs.release(zombie),
    ):
        head = log.head()
        with pytest.raises(LeaseLostError, match="is not stored"):
            act()
        assert log.head() == head
    jobs.complete(heir, gave(2))
    with pytest.raises(LeaseLostError, match="is done, attempt 2"):
        jobs.complete(zombie, gave(1))
    assert [event.key for event in log.read(kinds={"tick"})] == ["result-2"]


def test_a_commit_of_unknown_outcome_may_be_tried_again(log: EventLog, jobs: Jobs) -> None:
    jobs.enqueue("a", "k", due_ms=0)
    job = claimed(jobs, 0)
    first = jobs.complete(job, gave(1))
    head = log.head()
    assert jobs.complete(job, gave(1)) == first
    assert log.head() == head


def test_who_is_late_but_was_not_replaced_may_finish(jobs: Jobs) -> None:
    jobs.enqueue("a", "k", due_ms=0)
    job = claimed(jobs, 0)
    assert jobs.next_ready_ms() == LEASE_MS
    jobs.complete(job, [])  # whatever the time is: nobody took it over
    assert jobs.counts() == {"done": 1}


def test_attempts_are_bounded_failures_and_kills_alike(log: EventLog, jobs: Jobs) -> None:
    jobs.enqueue("a", "k", due_ms=0, max_attempts=3)
    waiting = jobs.fail(claimed(jobs, 0), "no network\0", retry_at_ms=500)
    assert (waiting.state, waiting.ready_ms, waiting.error) == ("queued", 500, "no network?")
    assert jobs.claim(499, "w", LEASE_MS) is None
    claimed(jobs, 500)  # and is killed
    claimed(jobs, 1_500)  # and is killed again: that was the third
    assert jobs.claim(2_499, "w", LEASE_MS) is None
    assert jobs.claim(2_500, "w", LEASE_MS) is None
    assert story(log) == [("queued", 0), ("running", 1), ("queued", 1), ("running", 2), ("running", 3), ("failed", 3)]
    failed = jobs.get("a", "k")
    assert failed is not None
    assert "attempt 3 was killed half way" in failed.error


@pytest.mark.parametrize(("max_attempts", "retry_at_ms"), [(1, 100), (3, None)])
def test_the_last_failure_is_final(jobs: Jobs, max_attempts: int, retry_at_ms: int | None) -> None:
    jobs.enqueue("a", "k", due_ms=0, max_attempts=max_attempts)
    assert jobs.fail(claimed(jobs, 0), "broken", retry_at_ms).state == "failed"
    assert jobs.claim(10_000, "w", LEASE_MS) is None


def test_handing_back_costs_no_attempt(log: EventLog, jobs: Jobs) -> None:
    jobs.enqueue("a", "k", due_ms=0, max_attempts=1)
    for _ in range(3):
        zombie = claimed(jobs, 0)
        jobs.release(zombie)
    job = claimed(jobs, 0)
    with pytest.raises(LeaseLostError):
        jobs.complete(zombie, gave(1))
    jobs.complete(job, [])
    assert story(log)[-1] == ("done", 4)


def test_of_one_schedule_only_the_newest_that_waits_runs(log: EventLog, jobs: Jobs) -> None:
    for due_ms in (100, 200, 300, 9_000):
        jobs.enqueue("a", f"at {due_ms}", due_ms=due_ms, schedule="hourly")
    jobs.enqueue("a", "by hand", due_ms=50)
    assert claimed(jobs, 400).key == "by hand"
    assert claimed(jobs, 400).key == "at 300"
    assert jobs.claim(400, "w", LEASE_MS) is None  # the one at 9000 is not due
    assert jobs.counts() == {"queued": 1, "running": 2, "skipped": 2}
    skipped = [event for event in log.read(kinds={"job"}) if isinstance(event.payload, Job)]
    assert "a later run of hourly is due" in [event.payload.detail for event in skipped if event.key == "a|at 100"][-1]


def test_jobs_are_committed_with_who_asks_for_them(log: EventLog, jobs: Jobs) -> None:
    def ask_and_fail() -> None:
        with log.transaction() as transaction:
            jobs.enqueue("a", "k", due_ms=0, transaction=transaction)
            jobs.set_seen_ms("hourly", 7, transaction)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ask_and_fail()
    assert jobs.get("a", "k") is None
    with log.transaction() as transaction:
        assert jobs.seen_ms("hourly", transaction) is None
        jobs.enqueue("a", "k", due_ms=0, transaction=transaction)
        jobs.skip("a", "other", "the hub was off", due_ms=1, transaction=transaction)
        jobs.set_seen_ms("hourly", 7, transaction)
        jobs.set_seen_ms("hourly", 8, transaction)
        assert jobs.seen_ms("hourly", transaction) == 8
    assert jobs.counts() == {"queued": 1, "skipped": 1}


def test_what_cannot_be_a_job_is_refused_by_name(jobs: Jobs) -> None:
    for name, key in (("", "k"), ("a|b", "k"), ("a", " "), ("a", "line\nbreak")):
        with pytest.raises(UsageError, match="cannot be used: write it in printable characters"):
            jobs.enqueue(name, key, due_ms=0)
    with pytest.raises(UsageError, match=r"payload .*object.* is no JSON"):
        jobs.enqueue("a", "k", {"x": object()}, due_ms=0)
    with pytest.raises(UsageError, match="with 0 attempts"):
        jobs.enqueue("a", "k", due_ms=0, max_attempts=0)
    with pytest.raises(LogError, match="keeps no jobs"):
        Jobs(object())  # type: ignore[arg-type]
    assert jobs.counts() == {}


def test_only_asking_takes_no_write_lock(log: EventLog, jobs: Jobs) -> None:
    jobs.counts()
    with log.transaction():  # another `Jobs` of this log, as the page makes one for every look
        assert Jobs(log).counts() == {}
        assert Jobs(log).claim(0, "w", LEASE_MS) is None


# --- processes that die -----------------------------------------------------------------------------------------------


def in_child(work: Callable[[], None]) -> int:
    """Run something in a forked process; return 0, the signal that ended it as a negative number, or 1."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except LeaseLostError:
            code = 3
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def lives_through(url: str, now_ms: int, place: str = "") -> int:
    """Enqueue, claim, work and complete in a process of its own, which dies at a place if one is named."""

    def work() -> None:
        failpoints.arm(place)
        with open_log(url) as log:
            jobs = Jobs(log)
            jobs.enqueue("a", "k", {"n": 1}, due_ms=0, max_attempts=9)
            job = jobs.claim(now_ms, f"process {os.getpid()}", LEASE_MS)
            if job is not None and place == "jobs.fail":
                jobs.fail(job, "broken", now_ms)
            elif job is not None:
                jobs.complete(job, [*gave(1), *gave(2)])

    return in_child(work)


PLACES = ("jobs.enqueue", "jobs.claim", "jobs.claimed", "jobs.complete", "jobs.completed", "jobs.fail")


@pytest.mark.parametrize("place", PLACES)
def test_killed_at_any_place_it_runs_again_and_its_result_is_committed_once(url: str, place: str) -> None:
    with open_log(url) as log:  # so that the file is there, and no child is the first
        log.head()
    assert lives_through(url, 0, place) == -signal.SIGKILL
    with open_log(url) as log:
        states = [state for state, _ in story(log)]
        results = len(log.read(kinds={"tick"}))
        row = Jobs(log).get("a", "k")
        # The row and what the log tells are one commit, wherever it died.
        assert (states[-1] if states else None) == (row and row.state)
        assert results == (2 if row is not None and row.state == "done" else 0)
    now_ms = 0
    while True:
        with open_log(url) as log:
            row = Jobs(log).get("a", "k")
        if row is not None and row.state == "done":
            break
        now_ms += LEASE_MS
        assert now_ms < 20 * LEASE_MS
        assert lives_through(url, now_ms) == 0
    with open_log(url) as log:
        assert [event.key for event in log.read(kinds={"tick"})] == ["result-1", "result-2"]
        assert [state for state, _ in story(log)].count("done") == 1
        assert log.check() == []


def test_every_place_that_jobs_name_is_one_where_they_were_killed() -> None:
    assert {place for place in failpoints.places() if place.startswith("jobs.")} == {*PLACES, "jobs.worked"}


def test_two_commits_instead_of_one_would_be_caught(url: str) -> None:
    """The planted bug: result first, state after. The net above sees a result without its `done`."""

    def work() -> None:
        with open_log(url) as log:
            jobs = Jobs(log)
            jobs.enqueue("a", "k", due_ms=0)
            assert jobs.claim(0, "w", LEASE_MS) is not None
            log.append(gave(1), writer="a")
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(work) == -signal.SIGKILL
    with open_log(url) as log:
        assert len(log.read(kinds={"tick"})) == 1
        assert story(log)[-1] == ("running", 1)


def test_a_zombie_process_finds_its_job_taken(url: str) -> None:
    read_end, write_end = os.pipe()
    claims = os.pipe()

    def zombie() -> None:
        with open_log(url) as log:
            jobs = Jobs(log)
            jobs.enqueue("a", "k", due_ms=0)
            job = claimed(jobs, 0, "zombie")
            os.write(claims[1], b"x")
            os.read(read_end, 1)  # it sleeps far beyond its lease
            jobs.complete(job, gave(1))

    child = os.fork()
    if child == 0:
        code = 1
        try:
            zombie()
            code = 0
        except LeaseLostError:
            code = 3
        finally:
            os._exit(code)
    os.read(claims[0], 1)
    with open_log(url) as log:
        jobs = Jobs(log)
        jobs.complete(claimed(jobs, LEASE_MS, "heir"), gave(2))
        os.write(write_end, b"x")
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
        assert [event.key for event in log.read(kinds={"tick"})] == ["result-2"]
    for end in (read_end, write_end, *claims):
        os.close(end)


def test_workers_that_race_never_share_a_job(url: str) -> None:
    """Six processes that begin at once, on a log whose tables are not there yet either."""
    with open_log(url) as log:
        log.head()
    ready, start = os.pipe(), os.pipe()
    n_jobs, n_workers = 40, 6

    def race(number: int) -> None:
        with open_log(url, patience_s=60) as log:
            jobs = Jobs(log)
            for job in range(n_jobs):  # all of them enqueue all
                jobs.enqueue("a", f"{job}", due_ms=job)
            os.write(ready[1], b"x")
            os.read(start[0], 1)
            while job_row := jobs.claim(10**6, f"worker {number}", 10**9):
                time.sleep(0.002)  # work, during which the others look for some
                jobs.complete(job_row, [new_event(f"done-{job_row.key}", number, Tick(now_ms=number))])

    children = []
    for number in range(n_workers):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                race(number)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    for _ in children:
        os.read(ready[0], 1)
    os.write(start[1], b"x" * n_workers)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * n_workers
    for end in (*ready, *start):
        os.close(end)
    with open_log(url) as log:
        done = [event.key for event in log.read(kinds={"tick"})]
        assert sorted(done) == sorted(f"done-{job}" for job in range(n_jobs))
        assert len({event.event_time for event in log.read(kinds={"tick"})}) > 1, "one worker did it all: no race"
        told = [event.payload for event in log.read(kinds={"job"}) if isinstance(event.payload, Job)]
        assert [job.state for job in told].count("running") == n_jobs
        assert {job.attempt for job in told if job.state == "running"} == {1}


# --- the places themselves --------------------------------------------------------------------------------------------


def test_a_place_is_counted_and_nothing_else_kills() -> None:
    def work() -> None:
        failpoints.arm("jobs.claim:3")
        for _ in range(2):
            failpoints.failpoint("jobs.claim")
        for _ in range(9):
            failpoints.failpoint("jobs.claimed")
        os.write(pipe[1], b"alive")
        failpoints.failpoint("jobs.claim")
        os.write(pipe[1], b" too long")

    pipe = os.pipe()
    assert in_child(work) == -signal.SIGKILL
    os.close(pipe[1])
    with os.fdopen(pipe[0]) as said:
        assert said.read() == "alive"


@pytest.mark.parametrize("text", ["nowhere", "jobs.claim:", "jobs.claim:x", "jobs.claim:-1"])
def test_a_place_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=f"KALIBRE_FAILPOINT '{text}'"):
        failpoints.arm(text)


def test_the_environment_arms_a_process_at_its_start(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "from kalibre.log import open_log; from kalibre.log.jobs import Jobs\n"
        f"Jobs(open_log('sqlite:///{tmp_path / 'log.sqlite'}')).enqueue('a', 'k', due_ms=0)"
    )
    for place, expected in (("jobs.enqueue", -signal.SIGKILL), ("jobs.enqueue:2", 0)):
        environment = {**os.environ, failpoints.VARIABLE: place}
        assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == expected


def test_errors_of_jobs_are_of_the_house() -> None:
    assert issubclass(LeaseLostError, KalibreError)
