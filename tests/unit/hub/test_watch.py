"""What the supervisor decides, case by case; the laws are in tests/property/test_supervisor_laws.py."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kalibre.core.errors import HubError
from kalibre.hub.watch import Backoff, Ending, Limits, Sight, Watched, asked, diagnosis, look, quoted
from kalibre.hub.worker_process import ONLINE, Beat
from kalibre.hub.worker_spec import WorkerSpec, in_order, next_cron_s

LIMITS = Limits(backoff=Backoff(failures=3, window_s=100.0, cool_down_s=50.0))


def beat(count: int, phase: str = ONLINE) -> Beat:
    return Beat(
        pid=7, count=count, beat_ns=0, started_ns=0, position=42, restarts=0, rss_bytes=0, cpu_s=0.0, phase=phase
    )


def online() -> Watched:
    started = look(Watched(), Sight(now_s=0.0), LIMITS).watched
    return look(started, Sight(now_s=0.5, beat=beat(1)), LIMITS).watched


def test_a_life_is_told_from_start_to_error() -> None:
    step = look(Watched(), Sight(now_s=0.0), LIMITS)
    assert (step.act, step.said) == ("spawn", ("starting", "started"))
    step = look(step.watched, Sight(now_s=1.5, beat=beat(1)), LIMITS)
    assert step.said == ("online", "first heartbeat after 1.5 s")
    told = []
    now, watched = 2.0, step.watched
    for _ in range(3):
        step = look(watched, Sight(now_s=now, ending=Ending(code=1, words=("KeyError: 'x'",))), LIMITS)
        told.append(step.said)
        now = step.watched.due_s
        watched = look(step.watched, Sight(now_s=now), LIMITS).watched
    crash = "ended with exit code 1; last words: KeyError: 'x'; tried again in"
    assert told == [
        ("restarting", f"{crash} 0.25 s"),
        ("restarting", f"{crash} 0.5 s"),
        ("error", f"failed 3 times within 100 seconds, last: {crash} 50 s"),
    ]
    assert watched.state == "starting", "after the cool-down it is tried once more"
    step = look(watched, Sight(now_s=now + 1, ending=Ending(code=-11)), LIMITS)
    assert step.said is not None
    assert step.said[0] == "error", "and goes back to error at its first failure"
    assert "SIGSEGV" in step.said[1]


def test_a_person_who_starts_it_again_forgives_what_was() -> None:
    failed = replace(online(), state="error", due_s=1e9, failures=(1.0, 2.0, 3.0))
    step = asked(failed, "restart", "ada", 4.0, LIMITS)
    assert look(step.watched, Sight(now_s=4.0), LIMITS).act == "spawn"
    assert step.watched.failures == ()


def test_stop_and_start_mean_what_they_say_in_every_state() -> None:
    running = online()
    stopping = asked(running, "stop", "ada", 1.0, LIMITS)
    assert (stopping.act, stopping.said) == ("terminate", None)
    stopped = look(stopping.watched, Sight(now_s=2.0, ending=Ending(code=0)), LIMITS)
    assert stopped.said == ("stopped", "stopped by ada")
    assert look(stopped.watched, Sight(now_s=1e9), LIMITS).act == "nothing", "it stays stopped"
    assert asked(stopped.watched, "stop", "ada", 3.0, LIMITS).said is None, "said once"
    regretted = asked(stopping.watched, "start", "bob", 1.5, LIMITS)
    again = look(regretted.watched, Sight(now_s=2.0, ending=Ending(code=0)), LIMITS).watched
    assert look(again, Sight(now_s=2.0), LIMITS).act == "spawn"
    assert asked(running, "start", "ada", 1.0, LIMITS) == (running, "nothing", None)
    deaf = look(stopping.watched, Sight(now_s=1.0 + LIMITS.grace_s), LIMITS)
    assert deaf.act == "kill"


def test_asking_again_buys_a_hung_worker_no_time() -> None:
    hung = look(replace(online(), silent_s=LIMITS.heartbeat_s), Sight(now_s=1.0, beat=beat(1)), LIMITS)
    assert hung.act == "dump"
    asked_again = asked(hung.watched, "stop", "ada", 1.0, LIMITS)
    assert look(asked_again.watched, Sight(now_s=1.5), LIMITS).act == "kill"


def test_a_timetable_starts_it_again_without_counting_a_failure() -> None:
    step = look(online(), Sight(now_s=1.0, beat=beat(2), cron_due="0 3 * * *"), LIMITS)
    assert step.act == "terminate"
    assert step.said == ("restarting", "restarted by its timetable (0 3 * * *)")
    ended = look(step.watched, Sight(now_s=2.0, ending=Ending(code=0)), LIMITS).watched
    assert (ended.state, ended.due_s, ended.failures) == ("waiting", 2.0, ())


def test_a_worker_that_may_end_ends() -> None:
    once = replace(LIMITS, restart="on_failure")
    ended = look(online(), Sight(now_s=1.0, ending=Ending(code=0)), once)
    assert (ended.watched.state, ended.watched.ended_itself) == ("stopped", True)
    failed = look(online(), Sight(now_s=1.0, ending=Ending(code=1)), once)
    assert failed.watched.state == "waiting"
    always = look(online(), Sight(now_s=1.0, ending=Ending(code=0)), LIMITS)
    assert always.said is not None
    assert always.said[0] == "restarting", "one that is to run always has no reason to end"


def test_reading_the_log_again_has_the_longer_limit() -> None:
    limits = replace(LIMITS, heartbeat_s=1.0, starting_s=100.0)
    watched = look(online(), Sight(now_s=1.0, beat=beat(2, "recovering")), limits).watched
    for now in range(2, 12):
        step = look(watched, Sight(now_s=float(now), beat=beat(2, "recovering")), limits)
        assert step.act == "nothing"
        watched = step.watched
    assert look(watched, Sight(now_s=12.0, beat=beat(3)), limits).act == "nothing"


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ("OSError: [Errno 28] No space left on device", "disk full"),
        ("sqlite3.OperationalError: database or disk is full", "disk full"),
        ("OSError: [Errno 27] File too large", "disk full"),
        ("OSError: [Errno 122] Disk quota exceeded", "disk full"),
        ("OSError: [Errno 98] Address already in use", "port taken"),
        ("kalibre: cannot listen on 127.0.0.1:8617: another program listens there: stop it", "port taken"),
        ("worker 'online' already runs as process 4711", "already running"),
    ],
)
def test_what_cannot_run_is_in_error_at_once_and_tried_again_ever_later(words: str, cause: str) -> None:
    watched, now, delays = online(), 1.0, []
    for _ in range(4):
        step = look(watched, Sight(now_s=now, ending=Ending(code=1, words=(words,))), LIMITS)
        assert step.said is not None
        assert (step.said[0], step.said[1].startswith(f"{cause}: ")) == ("error", True)
        delays.append(step.watched.due_s - now)
        now = step.watched.due_s
        watched = look(step.watched, Sight(now_s=now), LIMITS).watched
    assert delays == [2.0, 4.0, 8.0, 16.0]


def test_a_cause_is_read_only_from_a_failure() -> None:
    assert diagnosis(Ending(code=0, words=("No space left on device, cleaned up",)))[1] is False
    assert diagnosis(Ending(code=-9, words=("Address already in use",)))[1] is False


def test_the_innermost_frames_of_a_hang_are_quoted() -> None:
    dump = """
    something before
    Thread 0x00007f1 (most recent call first):
      File "beside.py", line 9 in other

    Current thread 0x00007f2 (most recent call first):
      File "inner.py", line 1 in wait
      File "middle.py", line 2 in learn
      File "outer.py", line 3 in main
      File "script.py", line 4 in <module>
    """.splitlines()
    assert quoted(dump) == (
        'hung in File "inner.py", line 1 in wait | File "middle.py", line 2 in learn | File "outer.py", line 3 in main'
    )
    assert quoted(["", "a", "b", " ", "c", "d"]) == "b | c | d"
    long = quoted(["x" * 5_000 + "the end"])
    assert len(long) < 600
    assert long.endswith("the end")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            '{"login": "http://127.0.0.1:1/login?token=2u55YmZ4Oi3bHV6W_g"}',
            '{"login": "http://127.0.0.1:1/login?token=..."}',
        ),
        ("  X-API-Key: abc-def_ghi", "X-API-Key: ..."),
        ('{"password": "hunter2", "a": 1}', '{"password": "...", "a": 1}'),
        (
            "cannot reach postgresql://kalibre:hunter2@db/kalibre now",
            "cannot reach postgresql://kalibre:...@db/kalibre now",
        ),
        (
            "KeyError: 'x' at 12:30 of http://127.0.0.1:8617/docs",
            "KeyError: 'x' at 12:30 of http://127.0.0.1:8617/docs",
        ),
    ],
)
def test_no_secret_is_quoted(line: str, told: str) -> None:
    assert quoted([line]) == told


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "Not/A name"}, "Not/A name"),
        ({"command": []}, "no command"),
        ({"nice": -5}, "nice -5"),
        ({"heartbeat_limit_s": 0.0}, "heartbeat_limit_s is 0.0"),
        ({"heartbeat_limit_s": float("nan")}, "heartbeat_limit_s is nan"),
        ({"memory_limit_bytes": 0}, "memory_limit_bytes is 0"),
        ({"cron_restart": "every day"}, "every day"),
    ],
)
def test_a_worker_that_cannot_be_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(HubError, match=said):
        WorkerSpec(**{"name": "a", "command": ["x"], **change})  # type: ignore[arg-type]


def test_workers_that_cannot_be_ordered_are_refused() -> None:
    a, b = (WorkerSpec(name=n, command=["x"], start_after=(m,)) for n, m in (("a", "b"), ("b", "a")))
    with pytest.raises(HubError, match="in a circle"):
        in_order([a, b])
    with pytest.raises(HubError, match="starts after 'b': there is only a"):
        in_order([a])
    with pytest.raises(HubError, match="two workers are called 'c'"):
        in_order([WorkerSpec(name="c", command=["x"])] * 2)


def test_a_timetable_is_read_in_utc() -> None:
    assert next_cron_s("30 2 * * *", 86_400.0) == 86_400.0 + 2.5 * 3_600
