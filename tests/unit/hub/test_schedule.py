"""The schedule: what two recorded times make due, on days when the clock jumps, and what became of missed runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from kalibre.core.errors import LogError, SettingsError
from kalibre.core.events import Event, Tick, new_event
from kalibre.core.settings import HubSettings, MarketSettings, Settings
from kalibre.hub.schedule import Run, Schedule, due, next_due
from kalibre.hub.scheduler import OFFSET, Scheduler, schedules_of
from kalibre.log import failpoints, open_log
from kalibre.log.jobs import Jobs
from kalibre.log.protocol import EventLog

HOUR_MS, DAY_MS = 3_600_000, 86_400_000


def at(text: str, zone: str = "UTC", *, fold: int = 0) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp() * 1000)


def every(cron: str, **more: Any) -> Schedule:
    return Schedule(**{"name": "s", "cron": cron, "job": "retrain", "missed": "all"} | more)


def times(runs: tuple[Run, ...]) -> list[str]:
    return [run.key.partition("@")[2] for run in runs if not run.skipped]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as opened:
        yield opened


# --- what is due ------------------------------------------------------------------------------------------------------


def test_the_end_of_the_window_counts_and_its_start_does_not() -> None:
    hourly = every("0 * * * *")
    ten = at("2024-03-01 10:00")
    assert times(due(hourly, ten - 1, ten)) == ["2024-03-01T10:00Z"]
    assert due(hourly, ten, ten + HOUR_MS - 1) == ()
    assert times(due(hourly, ten, ten + 2 * HOUR_MS)) == ["2024-03-01T11:00Z", "2024-03-01T12:00Z"]
    assert due(hourly, ten, ten) == due(hourly, ten + 5, ten) == ()
    assert next_due(hourly, ten) == ten + HOUR_MS
    assert next_due(hourly, ten - 1) == ten


def test_istanbul_has_had_one_time_since_2016_and_two_before() -> None:
    morning = every("30 3 * * *")
    summer, winter = due(morning, at("2015-07-01"), at("2015-07-02")), due(morning, at("2015-12-01"), at("2015-12-02"))
    assert (times(summer), times(winter)) == (["2015-07-01T00:30Z"], ["2015-12-01T01:30Z"])
    for month in (1, 7):
        assert times(due(morning, at(f"2024-0{month}-01"), at(f"2024-0{month}-02"))) == [f"2024-0{month}-01T00:30Z"]


@pytest.mark.parametrize(
    ("zone", "day", "expected"),
    [
        # The clock leaves 02:00 to 03:00 out: half past two runs when it has jumped.
        ("Europe/Berlin", "2024-03-31", "2024-03-31T01:00Z"),
        # The clock shows half past two twice in Berlin: it runs the first time only. In New York that is half past one.
        ("Europe/Berlin", "2024-10-27", "2024-10-27T00:30Z"),
        ("America/New_York", "2024-03-10", "2024-03-10T07:00Z"),
        ("America/New_York", "2024-11-03", "2024-11-03T07:30Z"),
    ],
)
def test_a_fixed_time_runs_once_on_a_day_when_the_clock_jumps(zone: str, day: str, expected: str) -> None:
    nightly = every("30 2 * * *", zone=zone)
    start = at(f"{day} 00:00", zone)
    whole = due(nightly, start - 1, start + 26 * HOUR_MS)
    assert times(whole)[0] == expected
    assert len([time for time in times(whole) if time.startswith(day)]) == 1
    steps = [due(nightly, time, time + 60_000) for time in range(start - 1, start + 26 * HOUR_MS - 1, 60_000)]
    assert [run for runs in steps for run in runs] == list(whole), "minute by minute the same as in one look"


def test_istanbuls_own_jumps_were_met_too() -> None:
    nightly = every("30 3 * * *")
    for day, expected in (("2015-03-29", "2015-03-29T01:00Z"), ("2015-11-08", "2015-11-08T00:30Z")):
        start = at(f"{day} 00:00", "Europe/Istanbul")
        assert times(due(nightly, start - 1, start + 23 * HOUR_MS)) == [expected]


def test_every_quarter_of_an_hour_goes_on_through_the_jumps() -> None:
    quarters = every("*/15 * * * *", zone="Europe/Berlin")
    for day, hours in (("2024-03-31", 23), ("2024-10-27", 25)):
        start = at(f"{day} 00:00", "Europe/Berlin")
        end = at(f"{day} 23:59", "Europe/Berlin", fold=1)
        assert len(due(quarters, start - 1, end)) == 4 * hours


def test_missed_runs_are_skipped_made_up_once_or_all() -> None:
    last, now = at("2024-03-01 00:30"), at("2024-03-01 05:40")  # five full hours, the newest 40 minutes ago
    skip, once, everything = (due(every("0 * * * *", missed=policy), last, now) for policy in ("skip", "once", "all"))
    assert times(skip) == []
    assert skip[0].key == "s@2024-03-01T05:00Z"
    assert skip[0].skipped == "5 runs from 2024-03-01 04:00 to 2024-03-01 08:00 were missed"
    assert times(once) == ["2024-03-01T05:00Z"]
    assert once[0].skipped == "4 runs from 2024-03-01 04:00 to 2024-03-01 07:00 were missed"
    assert times(everything) == [f"2024-03-01T0{hour}:00Z" for hour in range(1, 6)]
    assert all(not run.skipped for run in everything)


def test_one_that_is_on_time_makes_up_for_those_before() -> None:
    last, now = at("2024-03-01 02:30"), at("2024-03-01 05:10")  # the newest is ten minutes old: within the grace
    for policy in ("skip", "once"):
        runs = due(every("0 * * * *", missed=policy), last, now)
        assert times(runs) == ["2024-03-01T05:00Z"]
        assert runs[0].skipped == "2 runs from 2024-03-01 06:00 to 2024-03-01 07:00 were missed"


def test_a_year_without_a_tick_is_no_year_of_work() -> None:
    last, now = at("2023-01-01"), at("2024-01-01")
    runs = due(every("* * * * *"), last, now)
    assert len(times(runs)) == 100  # the newest of half a million
    assert times(runs)[-1] == "2024-01-01T00:00Z"
    assert runs[0].skipped.startswith("more than ")
    rare = every("0 0 29 2 *", missed="once")
    assert times(due(rare, at("2021-01-01"), at("2027-01-01"))) == ["2024-02-28T21:00Z"]


@pytest.mark.parametrize("cron", ["* * * *", "0 0 * * * *", "61 * * * *", "0 0 30 2 *", "", "a b c d e"])
def test_an_expression_that_cannot_be_read_is_quoted(cron: str) -> None:
    with pytest.raises(SettingsError) as caught:
        every(cron)
    assert repr(cron) in str(caught.value)


def test_other_nonsense_is_quoted_too() -> None:
    with pytest.raises(SettingsError, match="zone 'Europe/Atlantis' is unknown"):
        every("0 0 * * *", zone="Europe/Atlantis")
    for wrong in ({"missed": "never"}, {"grace_ms": -1}, {"grace_ms": DAY_MS + 1}, {"most_missed": 0}):
        with pytest.raises(SettingsError, match="cannot be used: choose skip, once or all"):
            every("0 0 * * *", **wrong)


# --- into the table ---------------------------------------------------------------------------------------------------


def tick(time: int) -> Event:
    return new_event("clock", time, Tick(now_ms=time))


def fed(log: EventLog, scheduler: Scheduler, moments: list[int], *, at_once: int = 1) -> None:
    scheduler.step()
    for first in range(0, len(moments), at_once):
        log.append([tick(time) for time in moments[first : first + at_once]], writer="ingest")
        while scheduler.step():
            pass


def waiting(log: EventLog) -> list[tuple[str, int, str]]:
    return [(job.key, job.due_ms, job.state) for job in reversed(Jobs(log).rows(limit=1_000))]


START = at("2024-03-01 00:00")
TICKS = [*range(START, START + 5 * HOUR_MS, 600_000), *range(START + 30 * HOUR_MS, START + 33 * HOUR_MS, 600_000)]
SCHEDULES = (
    every("0 * * * *", name="hourly", missed="once"),
    every("20 */2 * * *", name="all", missed="all"),
    every("40 * * * *", name="skip", missed="skip"),
)


def test_a_log_read_again_asks_for_the_same_jobs_whatever_the_batches(tmp_path: Path) -> None:
    found = []
    for at_once, batch_size in ((1, 500), (7, 3), (1_000, 1_000)):
        with open_log(f"sqlite:///{tmp_path / f'{at_once}.sqlite'}") as log:
            fed(log, Scheduler(log, SCHEDULES, batch_size=batch_size), TICKS, at_once=at_once)
            found.append(waiting(log))
            head = log.head()
            with log.transaction() as transaction:  # from the start once more: every key is known
                transaction.set_offset(OFFSET, 0)
            again = Scheduler(log, SCHEDULES)
            assert again.step() > 0
            assert log.head() == head
            assert waiting(log) == found[0]
    assert found[0] == found[1] == found[2]
    states = [state for _, _, state in found[0]]
    assert states.count("skipped") == 2  # of `hourly` and of `skip`, one for all that the gap swallowed
    assert len([key for key, _, _ in found[0] if key.startswith("all@")]) > 14


def test_nothing_from_before_it_began_is_due(log: EventLog) -> None:
    log.append([tick(time) for time in TICKS], writer="ingest")
    scheduler = Scheduler(log, SCHEDULES)
    assert scheduler.step() == 0  # what lies behind is nobody's business
    fed(log, scheduler, [TICKS[-1] + HOUR_MS])
    assert [key for key, _, _ in waiting(log)] == [  # since the newest tick, which was at 08:50
        "hourly@2024-03-02T09:00Z",
        "all@2024-03-02T09:20Z",
        "skip@2024-03-02T09:40Z",
    ]


def test_a_new_schedule_beside_old_ones_begins_now_and_so_does_one_that_comes_back(log: EventLog) -> None:
    fed(log, Scheduler(log, SCHEDULES[:1]), TICKS[:5])
    fed(log, Scheduler(log, SCHEDULES[:2]), TICKS[5:15])
    assert [key for key, _, _ in waiting(log)] == [
        "hourly@2024-03-01T01:00Z",
        "all@2024-03-01T01:20Z",
        "hourly@2024-03-01T02:00Z",
    ]
    log.append([tick(time) for time in TICKS[15:30]], writer="ingest")  # nobody looks at these
    without = Scheduler(log, ())
    assert without.step() == 0
    before = waiting(log)
    fed(log, Scheduler(log, SCHEDULES[:2]), [])
    assert waiting(log) == before
    fed(log, Scheduler(log, SCHEDULES[:2]), [START + 6 * HOUR_MS])
    assert [(key, state) for key, _, state in waiting(log)][len(before) :] == [  # since 04:50
        ("hourly@2024-03-01T05:00Z", "skipped"),
        ("hourly@2024-03-01T06:00Z", "queued"),
        ("all@2024-03-01T05:20Z", "queued"),
    ]


def test_a_clock_that_jumps_ahead_and_back_doubles_nothing(log: EventLog, caplog: pytest.LogCaptureFixture) -> None:
    scheduler = Scheduler(log, [every("0 * * * *", name="hourly")])
    fed(log, scheduler, [START, START + HOUR_MS, START + 3 * HOUR_MS, START + 2 * HOUR_MS, START + 4 * HOUR_MS])
    assert [key[-6:] for key, _, _ in waiting(log)] == ["01:00Z", "02:00Z", "03:00Z", "04:00Z"]
    far = START + 1_000 * DAY_MS
    fed(log, scheduler, [far, START + 5 * HOUR_MS, START + 6 * HOUR_MS])
    assert "goes back from 2026-11-26" in caplog.text
    assert waiting(log)[-1][0] == "hourly@2024-03-01T06:00Z"  # a clock set wrong once does not stop it for years
    keys = [key for key, _, _ in waiting(log)]
    assert len(set(keys)) == len(keys)


def test_jobs_and_offset_are_one_commit(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'log.sqlite'}"
    with open_log(url) as log:
        Scheduler(log, SCHEDULES).step()
        log.append([tick(time) for time in TICKS], writer="ingest")
        with log.transaction():
            pass
    child = os.fork()
    if child == 0:
        failpoints.arm("schedule.commit:3")
        with open_log(url) as log:
            scheduler = Scheduler(log, SCHEDULES, batch_size=10)
            while scheduler.step():
                pass
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    with open_log(url) as log:
        progress = log.progress(OFFSET)
        assert progress is not None
        assert progress.seq == 20
        scheduler = Scheduler(log, SCHEDULES)
        while scheduler.step():
            pass
        after_kill = waiting(log)
    with open_log(f"sqlite:///{tmp_path / 'undisturbed.sqlite'}") as log:
        fed(log, Scheduler(log, SCHEDULES), TICKS)
        assert after_kill == waiting(log)


def test_a_second_scheduler_is_noticed(log: EventLog) -> None:
    one, other = Scheduler(log, SCHEDULES), Scheduler(log, SCHEDULES)
    one.step()
    other.step()
    log.append([tick(START)], writer="ingest")
    other.step()
    log.append([tick(START + 1)], writer="ingest")
    # It reads on from its own place, and finds the other one's.
    with pytest.raises(LogError, match="the schedule is at 1, not at 0"):
        one.step()
    assert one.step() == 1


def test_names_are_unique(log: EventLog) -> None:
    with pytest.raises(SettingsError, match="share a name"):
        Scheduler(log, [SCHEDULES[0], SCHEDULES[0]])


def test_the_settings_say_when_challengers_are_trained(tmp_path: Path) -> None:
    market = MarketSettings(symbols=("BTCUSDT", "ETHUSDT"))  # type: ignore[call-arg]
    settings = Settings(home=tmp_path, market=market, hub=HubSettings(retrain_cron="0 4 * * 0"))  # type: ignore[call-arg]
    first, second = schedules_of(settings)
    assert (first.name, first.cron, first.job, first.payload["symbol"]) == (
        "retrain BTCUSDT",
        "0 4 * * 0",
        "retrain",
        "BTCUSDT",
    )
    assert second.payload["symbol"] == "ETHUSDT"
    assert schedules_of(Settings(home=tmp_path)) == ()
    assert (
        datetime.fromtimestamp((next_due(first, START) or 0) / 1000, tz=UTC).isoformat() == "2024-03-03T01:00:00+00:00"
    )
