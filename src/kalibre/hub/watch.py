"""What the supervisor decides: pure functions of what it saw, so that their laws can be tested without a process.

A worker is `waiting` to be started, `starting`, `online`, `stopping`, in `error` or `stopped`. Each look at it takes
what was seen (`Sight`) and returns the worker as it is now, what is to be done, and what is to be said about it.
Failures within a window decide both how long it waits (each time twice as long) and when it is given up for a while
(the breaker).

Silence is counted look by look: a look adds to it what passed since the look before, and never more than
`longest_look_s`. So neither a clock that jumps nor a machine that was frozen as a whole makes a healthy worker look
hung.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from kalibre.core.clock import span_text
from kalibre.hub.worker_process import Beat

State = Literal["waiting", "starting", "online", "stopping", "error", "stopped"]
Said = Literal["starting", "online", "restarting", "error", "stopped"]
Act = Literal["nothing", "spawn", "terminate", "dump", "kill"]
Verb = Literal["start", "stop", "restart"]
Then = Literal["failed", "again", "rest"]

ALIVE: frozenset[State] = frozenset({"starting", "online", "stopping"})
"""States in which there is a process."""

_DUMP_S = 0.3
_HOG = 2.0
_KEPT_FAILURES = 64
_QUOTED = 480


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """How failures are answered; the same for every worker.

    After the k-th failure within `window_s` a worker waits `first_s` times 2 to the power k - 1, at most `longest_s`.
    The `failures`-th opens the breaker: it is in error, and is tried again after `cool_down_s`. What cannot run (a port
    is taken, the disk is full, a setting is wrong) is in error at once, and tried again after `refused_s`, doubling.
    """

    first_s: float = 0.25
    longest_s: float = 30.0
    failures: int = 5
    window_s: float = 900.0
    cool_down_s: float = 600.0
    refused_s: float = 2.0

    def delay_s(self, k: int) -> float:
        """Return how long a worker waits after its k-th failure in the window, from 1 on."""
        return min(self.first_s * 2.0 ** min(k - 1, 60), self.longest_s)

    def refused_delay_s(self, k: int) -> float:
        """Return how long one waits that cannot run."""
        return min(self.refused_s * 2.0 ** min(k - 1, 60), self.cool_down_s)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one worker may do before it is stopped."""

    heartbeat_s: float = 30.0
    starting_s: float = 180.0
    memory_bytes: int | None = None
    grace_s: float = 10.0
    longest_look_s: float = 1.0
    restart: Literal["always", "on_failure"] = "always"
    backoff: Backoff = field(default_factory=Backoff)


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a process ended: its exit code (below 0 the signal that killed it) and the last lines that it wrote."""

    code: int
    words: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What one look saw of a worker, at `now_s` of a monotonic clock."""

    now_s: float
    beat: Beat | None = None
    rss_bytes: int = 0
    ending: Ending | None = None
    cron_due: str = ""


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A worker as the supervisor knows it.

    `due_s` is when it may be started (waiting, error) or when patience with it ends (stopping); `then` is what follows
    once it has ended. `heard` is the mark of the newest beat, `silent_s` how long there was none.
    """

    state: State = "waiting"
    due_s: float = 0.0
    then: Then = "failed"
    reason: str = ""
    failures: tuple[float, ...] = ()
    spawns: int = 0
    spawned_s: float = 0.0
    looked_s: float = 0.0
    heard: tuple[int, int] | None = None
    silent_s: float = 0.0
    ended_itself: bool = False

    @property
    def restarts(self) -> int:
        """Return how often it was started again."""
        return max(self.spawns - 1, 0)


class Step(NamedTuple):
    """The worker as it is now, what is to be done to its process, and the transition that is to be reported."""

    watched: Watched
    act: Act = "nothing"
    said: tuple[Said, str] | None = None


def look(watched: Watched, sight: Sight, limits: Limits) -> Step:
    """Judge what was seen of a worker."""
    now = sight.now_s
    if watched.state in ("waiting", "error"):
        return _spawned(watched, sight) if now >= watched.due_s else Step(watched)
    if watched.state == "stopped":
        return Step(watched)
    if sight.ending is not None:
        return _ended(watched, now, sight.ending, limits)
    if watched.state == "stopping":
        return Step(watched, "kill" if now >= watched.due_s else "nothing")
    return _judged(watched, sight, limits)


def asked(watched: Watched, verb: Verb, by: str, now_s: float, limits: Limits) -> Step:
    """Do what a person (or the supervisor itself, when it ends) asks; old failures are then forgiven."""
    alive = watched.state in ALIVE
    fresh = replace(watched, failures=(), ended_itself=False)
    if verb == "stop":
        reason = f"stopped by {by}"
        if alive:
            return _ending(fresh, now_s, "rest", reason, limits)
        return Step(replace(fresh, state="stopped", reason=reason), said=_unless(watched, "stopped", reason))
    if not alive:
        return Step(replace(fresh, state="waiting", due_s=now_s, reason=f"{verb}ed by {by}"))
    if verb == "restart":
        reason = f"restarted by {by}"
        step = _ending(fresh, now_s, "again", reason, limits)
        return step._replace(said=("restarting", reason))
    if watched.state == "stopping":
        return Step(replace(fresh, then="again", reason=f"started by {by}"))
    return Step(watched)


def diagnosis(ending: Ending) -> tuple[str, bool]:
    """Say in words how a process ended, and whether it cannot run as things are: then haste is of no use.

    Examples
    --------
    >>> diagnosis(Ending(code=1, words=("OSError: [Errno 28] No space left on device",)))
    ('disk full: ended with exit code 1; last words: OSError: [Errno 28] No space left on device', True)
    >>> diagnosis(Ending(code=-9))
    ('killed by SIGKILL (from outside, or because memory ran out)', False)
    """
    if ending.code < 0:
        name = signal.Signals(-ending.code).name if -ending.code in set(signal.Signals) else f"signal {-ending.code}"
        told = f"killed by {name}" + (" (from outside, or because memory ran out)" if name == "SIGKILL" else "")
    else:
        told = f"ended with exit code {ending.code}" if ending.code else "ended by itself (exit code 0)"
    words = quoted(ending.words)
    # What ended itself well did not fail over a line that it wrote on the way.
    cause = next((cause for cause, sign in _CAUSES.items() if ending.code > 0 and sign.search(words)), "")
    told = f"{cause}: {told}" if cause else told
    return (f"{told}; last words: {words}" if words else told), bool(cause) or ending.code in _REFUSED


_REFUSED = frozenset({2, 126, 127})
"""Exit codes of what was asked for something that cannot be done, or is no program."""

_CAUSES = {
    "disk full": re.compile(r"No space left on device|disk is full|disk quota exceeded|File too large", re.IGNORECASE),
    "port taken": re.compile(r"Address already in use|another program listens there", re.IGNORECASE),
    "already running": re.compile(r"already runs as (?:another )?process", re.IGNORECASE),
}


# What is quoted goes into the log for good, and to whoever is alerted.
_SECRET = re.compile(
    r"((?:token|key|password|passwd|secret)[\"']?\s*[=:]\s*[\"']?)[^\s&\"']+|(//[^\s:/@]*:)[^\s/@]+(?=@)", re.IGNORECASE
)


def quoted(words: Sequence[str]) -> str:
    """Return the lines worth quoting: the last three, or the innermost frames where a trace was dumped.

    Passwords, keys and login tokens are left out.

    Examples
    --------
    >>> quoted(["Fatal", "Current thread 0x1 (most recent call first):", '  File "a.py", line 3 in wait', "  File b"])
    'hung in File "a.py", line 3 in wait | File b'
    """
    lines = [_SECRET.sub(r"\1\2...", line.strip()) for line in words if line.strip()]
    dumps = [at for at, line in enumerate(lines) if re.match(r"(Current t|T)hread 0x[0-9a-f]+.*call first", line)]
    if dumps:
        frames = [line for line in lines[dumps[-1] + 1 : dumps[-1] + 4] if line.startswith("File ")]
        return _cut("hung in " + " | ".join(frames)) if frames else ""
    return _cut(" | ".join(lines[-3:]))


def _cut(text: str) -> str:
    # The end of an error says more than its beginning.
    return text if len(text) <= _QUOTED else "... " + text[-_QUOTED:]


def _spawned(watched: Watched, sight: Sight) -> Step:
    now, again = sight.now_s, watched.spawns > 0
    begun = replace(
        watched,
        state="starting",
        due_s=0.0,
        spawns=watched.spawns + 1,
        spawned_s=now,
        looked_s=now,
        silent_s=0.0,
        # A file may lie there from the process before: only what differs from it is a sign of life.
        heard=sight.beat.mark if sight.beat is not None else None,
        ended_itself=False,
    )
    return Step(begun, "spawn", ("starting", (watched.reason or "started again") if again else "started"))


def _judged(watched: Watched, sight: Sight, limits: Limits) -> Step:
    now, beat = sight.now_s, sight.beat
    new = beat is not None and beat.mark != watched.heard
    said: tuple[Said, str] | None = None
    if new and beat is not None and not beat.slow and watched.state == "starting":
        watched = replace(watched, state="online", reason="")
        said = ("online", f"first heartbeat after {now - watched.spawned_s:.1f} s")
    slow = watched.state == "starting" or (beat is not None and beat.slow)
    limit = limits.starting_s if slow else limits.heartbeat_s
    # However short the limit, it takes several looks in a row without a beat.
    passed = min(max(now - watched.looked_s, 0.0), limits.longest_look_s, limit / 4)
    watched = replace(
        watched,
        looked_s=now,
        silent_s=0.0 if new else watched.silent_s + passed,
        heard=beat.mark if beat is not None and new else watched.heard,
    )
    if watched.silent_s > limit:
        phase = "" if beat is None else f" (phase {beat.phase}, position {beat.position})"
        reason = f"no heartbeat for {watched.silent_s:.1f} s{phase}, the limit is {limit:g} s"
        return Step(replace(watched, state="stopping", due_s=now + _DUMP_S, then="failed", reason=reason), "dump", said)
    if limits.memory_bytes is not None and sight.rss_bytes > limits.memory_bytes:
        reason = f"{sight.rss_bytes / 1e6:,.0f} MB of memory, the limit is {limits.memory_bytes / 1e6:,.0f} MB"
        step = _ending(watched, now, "failed", reason, limits)
        # One that grows this fast may take the machine with it before it has said goodbye.
        return step._replace(act="kill", said=said) if sight.rss_bytes > _HOG * limits.memory_bytes else step
    if sight.cron_due and watched.state == "online":
        reason = f"restarted by its timetable ({sight.cron_due})"
        return _ending(watched, now, "again", reason, limits)._replace(said=("restarting", reason))
    return Step(watched, said=said)


def _ending(watched: Watched, now: float, then: Then, reason: str, limits: Limits) -> Step:
    if watched.state == "stopping":
        # It has had its signal; a process that hangs gets no new patience by being asked again.
        return Step(replace(watched, then=then, reason=reason))
    return Step(replace(watched, state="stopping", due_s=now + limits.grace_s, then=then, reason=reason), "terminate")


def _ended(watched: Watched, now: float, ending: Ending, limits: Limits) -> Step:
    if watched.state == "stopping":
        if watched.then == "rest":
            return Step(replace(watched, state="stopped"), said=("stopped", watched.reason))
        if watched.then == "again":
            return Step(replace(watched, state="waiting", due_s=now))
        words = quoted(ending.words)
        return _failed(watched, now, f"{watched.reason}; {words}" if words else watched.reason, False, limits)
    reason, refused = diagnosis(ending)
    if ending.code == 0 and limits.restart == "on_failure":
        return Step(
            replace(watched, state="stopped", reason=reason, ended_itself=True), said=("stopped", "ended: all is done")
        )
    return _failed(watched, now, reason, refused, limits)


def _failed(watched: Watched, now: float, reason: str, refused: bool, limits: Limits) -> Step:
    backoff = limits.backoff
    failures = (*(at for at in watched.failures if at > now - backoff.window_s), now)[-_KEPT_FAILURES:]
    k = len(failures)
    state: State = "waiting"
    if refused:
        state, delay = "error", backoff.refused_delay_s(k)
    elif k >= backoff.failures:
        state, delay = "error", backoff.cool_down_s
        reason = f"failed {k} times within {span_text(backoff.window_s)}, last: {reason}"
    else:
        delay = backoff.delay_s(k)
    said: Said = "error" if state == "error" else "restarting"
    told = f"{reason}; tried again in {span_text(delay) if delay >= 60 else f'{delay:g} s'}"
    failed = replace(watched, state=state, due_s=now + delay, failures=failures, reason=f"again after: {reason}")
    return Step(failed, said=(said, told))


def _unless(watched: Watched, said: Said, reason: str) -> tuple[Said, str] | None:
    return None if watched.state == said else (said, reason)
