"""The supervisor: keeps workers running, says what becomes of each, and leaves none behind.

One loop waits for what workers write, for their ends, for requests and signals, and looks at each worker four times a
second. What it decides is in `kalibre.hub.watch`; here it is done. Anything may be a worker, as long as it calls
`kalibre.hub.worker_process.adopt` first and beats.
"""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from kalibre.core.hub_events import WorkerState
from kalibre.hub import notify, sessions
from kalibre.hub.child import Child
from kalibre.hub.control import Answer, Ear, Lock, Request
from kalibre.hub.teller import OnState, Teller
from kalibre.hub.watch import ALIVE, Backoff, Sight, Step, Watched, asked, look
from kalibre.hub.worker_spec import WorkerSpec, in_order, may_start, may_stop, next_cron_s

_WEIGH_S = 1.0
_TELL_S = 5.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Supervisor:
    """Runs workers until it is told to stop.

    Parameters
    ----------
    specs
        The workers.
    run_dir
        Folder of heartbeats, words, lock and control socket; one supervisor a folder.
    on_state
        Is told each transition, in order, from a thread of its own; while it raises, it is told again later.
    on_line
        Is told each line that a worker writes, in the loop: it has to be quick.
    backoff
        How failures are answered.
    look_s
        Time between two looks at the workers.
    clock_s, wall_s
        What tells monotonic and Unix time; cron restarts alone go by the latter.

    Raises
    ------
    HubError
        If the workers cannot be ordered; the message quotes them.

    Notes
    -----
    Where `run` is called outside the main thread, that thread must live as long as the workers: Linux kills a child
    with the thread that started it.
    """

    def __init__(
        self,
        specs: Sequence[WorkerSpec],
        *,
        run_dir: Path,
        on_state: OnState,
        on_line: Callable[[str, str], None] | None = None,
        backoff: Backoff | None = None,
        look_s: float = 0.25,
        clock_s: Callable[[], float] = time.monotonic,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._specs = {spec.name: spec for spec in in_order(specs)}
        self._run_dir, self._on_state = run_dir.absolute(), on_state
        self._look_s, self._clock_s, self._wall_s = look_s, clock_s, wall_s
        # A look may come late on a busy machine; what it adds to a silence is held to a few times what is usual.
        longest_look_s = max(4 * look_s, 1.0)
        chosen = backoff or Backoff()
        self._limits = {name: spec.limits(chosen, longest_look_s=longest_look_s) for name, spec in self._specs.items()}
        self._children = {name: Child(spec, self._run_dir, on_line) for name, spec in self._specs.items()}
        self._workers = {name: Watched(due_s=math.inf) for name in self._specs}
        self._pidfds: dict[str, int] = {}
        self._memory: dict[int, int] = {}
        self._cron: dict[str, tuple[float, float]] = {}
        self._weighed_s = -math.inf
        self._looked_s = -math.inf
        self._stop_by = ""
        self._at_once = False
        self._ready = False
        self._waking, self._wake = -1, -1

    @property
    def workers(self) -> Mapping[str, Watched]:
        """Return how each worker stands now."""
        return dict(self._workers)

    def run(self) -> None:
        """Start the workers and stay until SIGINT, SIGTERM, SIGHUP, `stop`, or until all have ended by themselves.

        A second signal kills what has not ended yet.

        Raises
        ------
        HubError
            If another supervisor runs on this folder; the message names its process id.
        """
        with contextlib.ExitStack() as stack:
            lock = Lock(self._run_dir)
            stack.callback(lock.close)
            self._selector = stack.enter_context(selectors.DefaultSelector())
            self._waking, self._wake = os.pipe()
            stack.callback(self._close_pipe)
            os.set_blocking(self._wake, False)
            self._selector.register(self._waking, selectors.EVENT_READ, lambda: os.read(self._waking, 512))
            ear = Ear(self._run_dir, self._selector, self.answer)
            stack.callback(ear.close)
            self._teller = Teller(self._on_state)
            stack.callback(self._teller.close, _TELL_S)
            self._keeper = sessions.Keeper()
            stack.callback(self._keeper.close)
            stack.callback(self._kill_all)
            stack.enter_context(self._signals())
            while not self._done():
                self._turn()

    def stop(self, by: str = "the program that runs it") -> None:
        """Ask for a clean stop, from any thread; asked twice, it kills what has not ended yet."""
        if self._stop_by:
            self._at_once = True
        self._stop_by = self._stop_by or f"the supervisor, which was stopped by {by}"
        # A pipe that is full has woken the loop already; none is there before it runs and after it has ended.
        with contextlib.suppress(OSError):
            os.write(self._wake, b".")

    def answer(self, request: Request) -> Answer:
        """Do what is asked for over the control socket; called in the loop."""
        if request.verb == "status":
            told = [self._status(name) for name in self._specs]
            return Answer(ok=True, detail=f"{len(told)} workers", workers=told)
        name = request.worker
        if name not in self._specs:
            return Answer(ok=False, detail=f"no worker is called {name!r}: choose one of {', '.join(self._specs)}")
        if self._stop_by:
            return Answer(ok=False, detail=f"{name} cannot be asked to {request.verb}: the supervisor is stopping")
        before = self._workers[name].state
        now = self._clock_s()
        self._take(name, asked(self._workers[name], request.verb, request.by, now, self._limits[name]))
        self._looked_s = -math.inf
        return Answer(
            ok=True,
            detail=f"{name} was {before}, is {self._workers[name].state}",
            workers=[self._status(name)],
        )

    # --- the loop -----------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        # Never longer than a look, even where the clock stands still or runs backwards.
        for key, _ in self._selector.select(min(max(self._looked_s + self._look_s - self._clock_s(), 0), self._look_s)):
            key.data()
        now = self._clock_s()
        if 0 <= now - self._looked_s < self._look_s:
            return
        self._looked_s = now
        if not 0 <= now - self._weighed_s < _WEIGH_S:
            self._weighed_s = now
            alive = [child.pid for child in self._children.values() if child.pid]
            self._memory = sessions.memory_bytes(alive) if alive else {}
            self._keeper.look()
            notify.tell("WATCHDOG=1")
        if self._stop_by:
            self._stop_next(now)
        for name in self._specs:
            self._look_at(name, now)
        if not self._ready and all(one.state != "starting" and one.due_s < math.inf for one in self._workers.values()):
            self._ready = notify.tell("READY=1") or True

    def _look_at(self, name: str, now: float) -> None:
        child, watched = self._children[name], self._workers[name]
        if watched.due_s == math.inf and watched.state == "waiting" and may_start(self._specs[name], self._workers):
            watched = replace(watched, due_s=now)
        ending = child.ending() if watched.state in ALIVE else None
        sight = Sight(
            now_s=now,
            beat=child.beat(),
            rss_bytes=self._memory.get(child.pid, 0),
            ending=ending,
            cron_due=self._cron_due(name),
        )
        self._take(name, look(watched, sight, self._limits[name]))
        if ending is not None:
            self._bury(name)

    def _take(self, name: str, step: Step) -> None:
        child = self._children[name]
        self._workers[name] = step.watched
        if step.act == "spawn":
            self._spawn(name)
        elif step.act == "terminate":
            child.signal(signal.SIGTERM)
        elif step.act == "dump":
            child.ask_where()
        elif step.act == "kill":
            child.signal(signal.SIGKILL)
        if step.said is not None:
            state, reason = step.said
            self._teller.tell(
                name, WorkerState(state=state, pid=child.pid, restarts=step.watched.restarts, reason=reason)
            )

    def _spawn(self, name: str) -> None:
        child = self._children[name]
        pid = child.spawn(self._workers[name].restarts)
        if not pid:
            self._looked_s = -math.inf
            return
        self._keeper.add(pid)
        self._selector.register(child.pipe, selectors.EVENT_READ, lambda: self._hear(child))
        # The kernel tells at once that a process has ended; where it cannot, the next look sees it.
        with contextlib.suppress(OSError, AttributeError):
            self._pidfds[name] = os.pidfd_open(pid)
            self._selector.register(self._pidfds[name], selectors.EVENT_READ, lambda: self._ended(name))

    def _hear(self, child: Child) -> None:
        if not child.hear():
            self._selector.unregister(child.pipe)

    def _ended(self, name: str) -> None:
        self._forget_pidfd(name)
        self._looked_s = -math.inf

    def _bury(self, name: str) -> None:
        child = self._children[name]
        self._forget_pidfd(name)
        if child.pid:
            self._keeper.discard(child.pid)
        if child.pipe >= 0:
            with contextlib.suppress(KeyError):
                self._selector.unregister(child.pipe)
        child.bury()

    def _forget_pidfd(self, name: str) -> None:
        pidfd = self._pidfds.pop(name, None)
        if pidfd is not None:
            self._selector.unregister(pidfd)
            os.close(pidfd)

    def _cron_due(self, name: str) -> str:
        expression = self._specs[name].cron_restart
        if expression is None:
            return ""
        wall = self._wall_s()
        due, before = self._cron.get(name, (-math.inf, math.inf))
        # First seen, or set back: what was due by the clock before is not due by this one.
        fires = wall >= before and wall >= due
        if fires or wall < before:
            due = next_cron_s(expression, wall)
        self._cron[name] = (due, wall)
        return expression if fires else ""

    # --- the end ------------------------------------------------------------------------------------------------------

    def _done(self) -> bool:
        workers = self._workers.values()
        if any(one.state != "stopped" for one in workers):
            return False
        return bool(self._stop_by) or all(one.ended_itself for one in workers)

    def _stop_next(self, now: float) -> None:
        for name, spec in reversed(self._specs.items()):
            watched = self._workers[name]
            if self._at_once and watched.state in ALIVE:
                self._workers[name] = replace(watched, state="stopping", then="rest", due_s=now, reason=self._stop_by)
            elif watched.state in ALIVE and may_stop(spec, self._specs.values(), self._workers):
                if not (watched.state == "stopping" and watched.then == "rest"):
                    self._take(name, asked(watched, "stop", self._stop_by, now, self._limits[name]))
            elif watched.state in ("waiting", "error"):
                self._take(name, asked(watched, "stop", self._stop_by, now, self._limits[name]))
        notify.tell("STOPPING=1")

    def _kill_all(self) -> None:
        """Leave nothing behind, whatever ended the loop; after a clean stop there is nothing left."""
        for name, child in reversed(self._children.items()):
            child.signal(signal.SIGKILL)
            child.wait(1.0)
            self._bury(name)
            child.close()

    def _close_pipe(self) -> None:
        waking, wake, self._waking, self._wake = self._waking, self._wake, -1, -1
        os.close(wake)
        os.close(waking)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(number: int, frame: FrameType | None) -> None:
            self.stop(signal.Signals(number).name)

        # Under nohup the terminal's end is ignored, and stays so.
        taken = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        before: dict[int, Any] = {number: signal.signal(number, ask) for number in taken}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _status(self, name: str) -> dict[str, Any]:
        watched, child = self._workers[name], self._children[name]
        beat = child.beat() if child.pid else None
        return {
            "worker": name,
            "state": watched.state,
            "pid": child.pid,
            "restarts": watched.restarts,
            "reason": watched.reason,
            "phase": "" if beat is None else beat.phase,
            "position": 0 if beat is None else beat.position,
            "heartbeat_age_s": None if beat is None else beat.age_s(),
            "rss_bytes": self._memory.get(child.pid, 0),
        }
