"""Laws of what the supervisor decides, over lives of workers that Hypothesis makes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from kalibre.hub.watch import ALIVE, Backoff, Ending, Limits, Sight, Step, Verb, Watched, asked, look
from kalibre.hub.worker_process import ONLINE, STARTING, Beat
from kalibre.hub.worker_spec import WorkerSpec, in_order, may_start, may_stop

LIMITS = Limits(heartbeat_s=5.0, starting_s=20.0, memory_bytes=1_000, grace_s=2.0)
LOOK_S = 0.25


def beat(count: int, phase: str = ONLINE, pid: int = 7) -> Beat:
    return Beat(
        pid=pid, count=count, beat_ns=0, started_ns=0, position=count, restarts=0, rss_bytes=0, cpu_s=0.0, phase=phase
    )


backoffs = st.builds(
    Backoff,
    first_s=st.floats(0.1, 2),
    longest_s=st.floats(2, 60),
    failures=st.integers(1, 7),
    window_s=st.floats(10, 1_000),
    cool_down_s=st.floats(60, 2_000),
    refused_s=st.floats(0.5, 10),
)
endings = st.sampled_from(
    [
        Ending(code=-9),
        Ending(code=1, words=("ValueError: planted",)),
        Ending(code=2, words=("no such setting",)),
        Ending(code=1, words=("OSError: [Errno 28] No space left on device",)),
        Ending(code=0),
    ]
)


def lived(draws: list[tuple[float, Ending]], limits: Limits) -> Iterator[tuple[float, Step]]:
    """Let a worker live so long and end so, again and again; yield each step with its time."""
    now, watched, count = 0.0, Watched(), 0
    for seconds, ending in draws:
        while watched.state not in ALIVE:
            step = look(watched, Sight(now_s=now), limits)
            yield now, step
            watched = step.watched
            now += LOOK_S
        end = now + seconds
        while now < end:
            count += 1
            step = look(watched, Sight(now_s=now, beat=beat(count)), limits)
            yield now, step
            watched = step.watched
            now += LOOK_S
        step = look(watched, Sight(now_s=now, beat=beat(count), ending=ending), limits)
        yield now, step
        watched = step.watched
        now += LOOK_S


lives = st.lists(st.tuples(st.floats(0, 40), endings), min_size=1, max_size=12)


@given(lives, backoffs)
@settings(max_examples=100, deadline=None)
def test_no_worker_is_started_before_its_backoff_is_over(life: list[tuple[float, Ending]], backoff: Backoff) -> None:
    failed: list[float] = []
    refused = False
    for now, step in lived(life, replace(LIMITS, backoff=backoff)):
        if step.said is not None and step.said[0] in ("restarting", "error"):
            failed.append(now)
            refused = any(word in step.said[1] for word in ("disk full", "exit code 2"))
        elif step.act == "spawn" and failed:
            k = sum(at > failed[-1] - backoff.window_s for at in failed)
            if refused:
                least = min(backoff.refused_s * 2 ** (k - 1), backoff.cool_down_s)
            else:
                least = min(backoff.first_s * 2 ** (k - 1), backoff.longest_s)
                least = backoff.cool_down_s if k >= backoff.failures else least
            assert now - failed[-1] >= least - 1e-9
            # And not much later either: a worker that may run, runs.
            assert now - failed[-1] <= least + 2 * LOOK_S


@given(lives, backoffs)
@settings(max_examples=100, deadline=None)
def test_the_breaker_opens_at_the_nth_failure_in_the_window_and_never_before(
    life: list[tuple[float, Ending]], backoff: Backoff
) -> None:
    crashes = [(seconds, ending) for seconds, ending in life if ending.code in (-9, 0) or "planted" in str(ending)]
    failed: list[float] = []
    for now, step in lived(crashes, replace(LIMITS, backoff=backoff)):
        if step.said is None or step.said[0] not in ("restarting", "error"):
            continue
        failed.append(now)
        within = sum(at > now - backoff.window_s for at in failed)
        assert (step.said[0] == "error") == (within >= backoff.failures)
        assert (step.watched.state == "error") == (step.said[0] == "error")


@given(
    st.lists(st.floats(-3_600, 7_200) | st.floats(0, 0.3), min_size=1, max_size=200),
    st.sampled_from([STARTING, ONLINE]),
)
@settings(max_examples=100, deadline=None)
def test_a_healthy_worker_is_never_touched_whatever_the_clock_does(steps: list[float], phase: str) -> None:
    watched, now = look(Watched(), Sight(now_s=0.0), LIMITS).watched, 0.0
    for count, passed in enumerate(steps, start=1):
        now += passed
        step = look(watched, Sight(now_s=now, beat=beat(count, phase), rss_bytes=1_000), LIMITS)
        assert step.act == "nothing"
        watched = step.watched
    assert watched.state == ("starting" if phase == STARTING else "online")


@given(st.integers(0, 3), st.floats(60, 100_000), st.sampled_from([-1.0, 1.0]))
def test_a_jump_of_the_clock_makes_no_silence(quiet_looks: int, jump_s: float, direction: float) -> None:
    """Even if the worker did not happen to beat in the very look in which the clock jumps."""
    watched = look(Watched(), Sight(now_s=0.0), LIMITS).watched
    watched = look(watched, Sight(now_s=0.1, beat=beat(1)), LIMITS).watched
    now = 0.1
    for number in range(quiet_looks + 1):
        now += direction * jump_s if number == 0 else LOOK_S
        step = look(watched, Sight(now_s=now, beat=beat(1)), LIMITS)
        assert (step.act, step.watched.state) == ("nothing", "online")
        watched = step.watched


@given(st.floats(0.01, 1.0), st.integers(0, 50), st.booleans())
@settings(max_examples=100, deadline=None)
def test_a_hang_is_always_found_and_always_in_time(look_s: float, healthy: int, starting: bool) -> None:
    watched, now = look(Watched(), Sight(now_s=0.0), LIMITS).watched, 0.0
    phase, limit = (STARTING, LIMITS.starting_s) if starting else (ONLINE, LIMITS.heartbeat_s)
    for count in range(1, healthy + 2):
        now += look_s
        watched = look(watched, Sight(now_s=now, beat=beat(count, phase)), LIMITS).watched
    silent_since, acts = now, []
    while now < silent_since + limit + 3 * look_s + 1.0:
        now += look_s
        step = look(watched, Sight(now_s=now, beat=beat(healthy + 1, phase)), LIMITS)
        watched = step.watched
        if step.act != "nothing":
            acts.append((step.act, now - silent_since))
    assert [act for act, _ in acts[:2]] == ["dump", "kill"]
    assert limit < acts[0][1] <= limit + 2 * look_s + 1e-6


@given(st.integers(1_001, 2_000), st.booleans())
def test_memory_above_the_limit_ends_a_worker_and_twice_as_much_at_once(rss: int, twice: bool) -> None:
    watched = look(Watched(), Sight(now_s=0.0), LIMITS).watched
    step = look(watched, Sight(now_s=0.2, beat=beat(1), rss_bytes=rss + 1_000 * twice), LIMITS)
    assert (step.act, step.watched.state) == ("kill" if twice else "terminate", "stopping")
    if not twice:
        late = look(step.watched, Sight(now_s=0.2 + LIMITS.grace_s, beat=beat(2), rss_bytes=1), LIMITS)
        assert late.act == "kill"
    ended = look(step.watched, Sight(now_s=0.4, ending=Ending(code=0)), LIMITS)
    assert ended.said is not None
    assert ended.said[0] == "restarting"
    assert "MB of memory" in ended.said[1]


verbs = st.sampled_from(["start", "stop", "restart"])
happenings = st.one_of(
    verbs,
    endings,
    st.sampled_from(["beat", "silence", "hog", "cron"]),
)


@given(st.lists(st.tuples(happenings, st.floats(0, 30)), max_size=60), backoffs)
@settings(max_examples=200, deadline=None)
def test_there_is_never_more_than_one_process_and_what_is_said_is_so(
    happened: list[tuple[str | Ending, float]], backoff: Backoff
) -> None:
    """Whatever happens in whatever order: spawned only where nothing runs, signalled only where something does."""
    limits = replace(LIMITS, backoff=backoff)
    watched, now, alive = Watched(), 0.0, False
    for count, (what, passed) in enumerate(happened, start=1):
        now += passed
        if what in ("start", "stop", "restart"):
            verb: Verb = what  # type: ignore[assignment]
            step = asked(watched, verb, "a test", now, limits)
        else:
            ending = what if isinstance(what, Ending) and alive else None
            step = look(
                watched,
                Sight(
                    now_s=now,
                    beat=None if what == "silence" else beat(count),
                    rss_bytes=5_000 if what == "hog" else 0,
                    ending=ending,
                    cron_due="0 3 * * *" if what == "cron" else "",
                ),
                limits,
            )
            if ending is not None:
                alive = False
        if step.act == "spawn":
            assert not alive
            alive = True
        elif step.act != "nothing":
            assert alive
        watched = step.watched
        assert (watched.state in ALIVE) == alive
        if step.said is not None:
            expected = {"starting": {"starting"}, "online": {"online", "stopping"}, "error": {"error"}}
            expected |= {"restarting": {"waiting", "stopping"}, "stopped": {"stopped"}}
            assert watched.state in expected[step.said[0]]
            assert step.said[1]


@given(st.lists(st.lists(st.integers(0, 30), max_size=3), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_all_start_in_order_and_all_stop_in_reverse(befores: list[list[int]], random: object) -> None:
    """Over any graph without circles: nobody starts before those it needs, nobody stops before those that need it."""
    specs = [
        WorkerSpec(
            name=f"w{at}", command=["x"], start_after=tuple(f"w{b % at}" for b in sorted(set(before))) if at else ()
        )
        for at, before in enumerate(befores)
    ]
    ordered = in_order(reversed(specs))
    place = {spec.name: at for at, spec in enumerate(ordered)}
    assert all(place[before] < place[spec.name] for spec in specs for before in spec.start_after)
    workers = {spec.name: Watched() for spec in specs}
    started: list[str] = []
    while len(started) < len(specs):
        ready = [s.name for s in specs if s.name not in started and may_start(s, workers)]
        assert ready, "somebody can always start"
        for name in ready:
            workers[name] = Watched(state="online", spawns=1)
        started += ready
    stopped: list[str] = []
    while len(stopped) < len(specs):
        ready = [s.name for s in specs if s.name not in stopped and may_stop(s, specs, workers)]
        assert ready, "somebody can always stop"
        for name in ready:
            assert not any(name in s.start_after and s.name not in stopped for s in specs)
        for name in ready:
            workers[name] = Watched(state="stopped")
        stopped += ready
