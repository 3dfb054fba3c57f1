"""Laws of jobs and of the schedule: whatever workers do, in whatever order, whatever the clock says."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kalibre.core.errors import LeaseLostError
from kalibre.core.events import Tick, new_event
from kalibre.core.hub_events import Job
from kalibre.hub.schedule import Schedule, due, next_due
from kalibre.log import open_log
from kalibre.log.jobs import JobRow, Jobs

LEASE_MS = 10
KEYS = ("a", "b", "c")
WORKERS = ("one", "two")


class Workers(RuleBasedStateMachine):
    """Two workers that claim, renew, finish, fail, hand back and forget, and a clock that moves both ways.

    The model beside it knows one thing only: which attempt of a job was begun last, and whether the job is over.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="kalibre-jobs-"))
        self.log = open_log(f"sqlite:///{self.folder / 'log.sqlite'}")
        self.jobs = Jobs(self.log)
        self.now_ms = 1_000
        self.held: list[JobRow] = []
        self.newest: dict[str, int] = {}
        self.over: dict[str, str] = {}
        self.number = 0

    def teardown(self) -> None:
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @initialize(key=st.sampled_from(KEYS))
    def begin(self, key: str) -> None:
        self.enqueue(key, 3)

    @rule(key=st.sampled_from(KEYS), most=st.integers(1, 3))
    def enqueue(self, key: str, most: int) -> None:
        before = self.jobs.get("j", key)
        row = self.jobs.enqueue("j", key, due_ms=self.now_ms, max_attempts=most)
        assert before is None or row == before

    @rule(by_ms=st.sampled_from([-25, 1, 5, 11, 30]))
    def move_the_clock(self, by_ms: int) -> None:
        self.now_ms = max(1_000, self.now_ms + by_ms)

    @rule(owner=st.sampled_from(WORKERS))
    def claim(self, owner: str) -> None:
        row = self.jobs.claim(self.now_ms, owner, LEASE_MS)
        for key in KEYS:  # a lease that ran out at the last attempt ends a job at the next look
            known = self.jobs.get("j", key)
            if known is not None and known.state == "failed":
                self.over.setdefault(key, "failed")
        if row is not None:
            assert row.key not in self.over
            assert row.attempt == self.newest.get(row.key, 0) + 1 <= row.max_attempts
            self.newest[row.key] = row.attempt
            self.held.append(row)

    def _is_its_own(self, row: JobRow) -> bool:
        now = self.jobs.get("j", row.key)
        assert now is not None
        return row.key not in self.over and now.state == "running" and self.newest[row.key] == row.attempt

    def _act(self, row: JobRow, act: Any) -> bool:
        own, head = self._is_its_own(row), self.log.head()
        try:
            act()
        except LeaseLostError:
            assert not own
            assert self.log.head() == head, "a zombie has stored something"
            return False
        assert own
        return True

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 99))
    def renew(self, which: int) -> None:
        row = self.held[which % len(self.held)]
        self._act(row, lambda: self.jobs.renew(row, self.now_ms + LEASE_MS))

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 99))
    def complete(self, which: int) -> None:
        row = self.held[which % len(self.held)]
        if self.over.get(row.key) == f"done {row.attempt}":  # again, as after a commit of unknown outcome
            head = self.log.head()
            self.jobs.complete(row, [])
            assert self.log.head() == head
            return
        self.number += 1
        result = [new_event(f"{row.key}", self.number, Tick(now_ms=row.attempt))]
        if self._act(row, lambda: self.jobs.complete(row, result)):
            self.over[row.key] = f"done {row.attempt}"

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 99), pause_ms=st.sampled_from([None, 0, 20]))
    def fail(self, which: int, pause_ms: int | None) -> None:
        row = self.held[which % len(self.held)]
        retry_at_ms = None if pause_ms is None else self.now_ms + pause_ms
        if self._act(row, lambda: self.jobs.fail(row, "broken", retry_at_ms)) and (
            pause_ms is None or row.attempt >= row.max_attempts
        ):
            self.over[row.key] = "failed"

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 99))
    def release(self, which: int) -> None:
        row = self.held[which % len(self.held)]
        self._act(row, lambda: self.jobs.release(row))

    @invariant()
    def the_log_tells_what_the_rows_say(self) -> None:
        told: dict[str, Job] = {}
        finished: dict[str, int] = {}
        for event in self.log.read(kinds={"job"}):
            assert isinstance(event.payload, Job)
            told[event.key] = event.payload
            finished[event.key] = finished.get(event.key, 0) + (event.payload.state == "done")
        rows = {f"j|{row.key}": row for row in self.jobs.rows()}
        assert {key: (job.state, job.attempt) for key, job in told.items()} == {
            key: (row.state, row.attempt) for key, row in rows.items()
        }
        assert all(count <= 1 for count in finished.values())

    @invariant()
    def a_job_has_one_result_if_it_is_done_and_none_before(self) -> None:
        results = [event.key for event in self.log.read(kinds={"tick"})]
        assert sorted(results) == sorted(key for key, end in self.over.items() if end.startswith("done"))


Workers.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestWorkers = Workers.TestCase


# --- the schedule -----------------------------------------------------------------------------------------------------

ZONES = ("Europe/Istanbul", "Europe/Berlin", "America/New_York", "UTC")
minutes = st.sampled_from(["*", "0", "30", "*/15", "7,37", "5-9"])
hours = st.sampled_from(["*", "0", "2", "3", "*/6", "1-3"])
days = st.sampled_from(["*", "1", "28-31"])
weekdays = st.sampled_from(["*", "0", "1-5"])
crons = st.builds(lambda *fields: " ".join(fields), minutes, hours, days, st.just("*"), weekdays)
# From 2014 on: Istanbul still changed its clocks, and stopped in 2016.
moments = st.integers(1_388_534_400, 1_767_225_600).map(lambda seconds: seconds * 1000)
steps = st.lists(st.integers(1, 40 * 3_600_000), min_size=1, max_size=6)


@settings(max_examples=150, deadline=None)
@given(cron=crons, zone=st.sampled_from(ZONES), start=moments, steps=steps)
def test_many_looks_are_worth_one(cron: str, zone: str, start: int, steps: list[int]) -> None:
    schedule = Schedule(name="s", cron=cron, job="j", missed="all", zone=zone, most_missed=100_000)
    times = [start]
    for step in steps:
        times.append(times[-1] + step)
    whole = due(schedule, times[0], times[-1])
    parts = [run for first, last in itertools.pairwise(times) for run in due(schedule, first, last)]
    assert parts == list(whole)
    assert [run.due_ms for run in whole] == sorted({run.due_ms for run in whole})
    assert len({run.key for run in whole}) == len(whole)
    assert all(times[0] < run.due_ms <= times[-1] for run in whole)
    first = next_due(schedule, start)
    assert first is not None
    assert (first <= times[-1]) == bool(whole)
    assert not whole or whole[0].due_ms == first


@settings(max_examples=100, deadline=None)
@given(cron=crons, zone=st.sampled_from(ZONES), start=moments, hours_on=st.integers(1, 50), most=st.integers(1, 9))
def test_no_policy_asks_for_what_all_would_not(cron: str, zone: str, start: int, hours_on: int, most: int) -> None:
    end = start + hours_on * 3_600_000
    runs = {}
    for missed in ("skip", "once", "all"):
        schedule = Schedule(name="s", cron=cron, job="j", missed=missed, zone=zone, grace_ms=600_000, most_missed=most)
        runs[missed] = {run.due_ms for run in due(schedule, start, end) if not run.skipped}
    every = Schedule(name="s", cron=cron, job="j", missed="all", zone=zone, most_missed=100_000)
    everything = [run.due_ms for run in due(every, start, end)]
    assert runs["all"] == set(everything[-most:])
    assert runs["skip"] == {time for time in everything if end - time <= 600_000}
    assert runs["once"] == (runs["skip"] or set(everything[-1:]))


def _matches(field: str, value: int) -> bool:
    """Read one field of the expressions above, by itself."""
    if field == "*":
        return True
    if field.startswith("*/"):
        return value % int(field[2:]) == 0
    if "-" in field:
        first, last = map(int, field.split("-"))
        return first <= value <= last
    return value in map(int, field.split(","))


@settings(max_examples=80, deadline=None)
@given(cron=crons, start=moments)
def test_minute_by_minute_the_expression_says_the_same(cron: str, start: int) -> None:
    """Against an oracle of our own: every minute of two days asked by itself, in Istanbul as it is since 2016."""
    start = max(start, 1_483_228_800_000)
    schedule = Schedule(name="s", cron=cron, job="j", missed="all", most_missed=100_000)
    minute, hour, day, _, weekday = cron.split()
    expected = []
    for time in range(start // 60_000 * 60_000, start + 2 * 86_400_000, 60_000):
        there = datetime.fromtimestamp(time / 1000, tz=UTC).astimezone(ZoneInfo("Europe/Istanbul"))
        on_day = [_matches(day, there.day), _matches(weekday, there.isoweekday() % 7)]
        # Debian's cron: where both are named, either will do.
        fits = all(on_day) if day == "*" or weekday == "*" else any(on_day)
        if time > start and fits and _matches(minute, there.minute) and _matches(hour, there.hour):
            expected.append(time)
    assert [run.due_ms for run in due(schedule, start, start + 2 * 86_400_000 - 1)] == expected
