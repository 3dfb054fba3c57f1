"""The dispatcher: takes alert events in the log's order, decides, remembers, and brings each message to each target.

A message is written down before it is sent and crossed out after: a process that dies in between sends it again (at
least once), and an event that comes twice is decided once, by its position. A target that fails keeps its own queue and
its own patience; the others do not notice. What is critical stays in a queue until its target takes it.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from kalibre.alerts.dispatch import Outgoing, Rules, step
from kalibre.alerts.memory import Waiting, healthy, load_memory, save_memory
from kalibre.alerts.messages import Message, compose
from kalibre.alerts.send import PATIENCE_S, Result, send_all
from kalibre.alerts.targets import targets_of
from kalibre.core.clock import Clock, SystemClock
from kalibre.core.events import Event
from kalibre.core.hub_events import Alert
from kalibre.core.settings import Settings

MOST_WAITING = 200
"""Messages that one target may still have to get."""
OLDEST_MS = 24 * 3_600_000
"""After a day nobody needs to be told any more what was not critical."""
_FIRST_PAUSE_MS = 15_000
_LONGEST_PAUSE_MS = 15 * 60_000
_WRONG_PAUSE_MS = 60 * 60_000
_REFUSED_PAUSE_MS = 60_000
_MOST_REFUSALS = 3

_logger = logging.getLogger(__name__)


class Dispatcher:
    """Brings alerts to people.

    One process at a time may use a memory file. `deliver` and `pump` return when everything that could be sent was sent
    or failed; they raise nothing for a target that fails.

    Parameters
    ----------
    settings
        Who is told, when, how often, and in which language.
    path
        The memory file; it is made when there is something to remember.
    clock
        What tells the time, for quiet hours and rate.
    patience_s
        Seconds after which a target that has not answered counts as failed.
    """

    def __init__(
        self, settings: Settings, path: Path, clock: Clock | None = None, *, patience_s: float = PATIENCE_S
    ) -> None:
        self._settings = settings
        self._rules = Rules.of(settings.alerts)
        self._path = path
        self._clock = clock or SystemClock()
        self._patience_s = patience_s
        self._targets = {target.name: target for target in targets_of(settings)}
        self._memory = load_memory(path)
        self._lock = threading.Lock()
        for book in (self._memory["waiting"], self._memory["health"]):
            for name in set(book) - set(self._targets):  # taken out of the settings meanwhile
                del book[name]

    @property
    def position(self) -> int:
        """Position of the newest event that was decided."""
        return self._memory["position"]

    def deliver(self, event: Event) -> None:
        """Take an event; one whose position was taken before, or which is no alert, changes nothing.

        Parameters
        ----------
        event
            A stored event: `seq` is its position in the log.
        """
        with self._lock:
            if not isinstance(event.payload, Alert) or self._knows(event):
                return
            now_ms = self._clock.now_ms()
            self._memory["position"] = event.seq
            self._memory["newest_ms"] = max(self._memory["newest_ms"], event.event_time)
            if self._targets:  # else nobody was told, and what nobody was told is no duplicate later
                self._decide(now_ms, event)
            self._save()
            self._drain(now_ms)

    def pump(self) -> None:
        """Send what has become due: digests, what waited for room, what failed before. To be called every few seconds.

        It costs next to nothing where nothing waits.
        """
        with self._lock:
            now_ms = self._clock.now_ms()
            if self._memory["state"]["held"] and self._decide(now_ms):
                self._save()
            self._drain(now_ms)

    def _knows(self, event: Event) -> bool:
        # A log that was begun anew counts from 1 again, and its alerts are younger than all that the memory knows: they
        # must not be taken for old ones until the new log has grown as long as the one before.
        return event.seq <= self._memory["position"] and event.event_time <= self._memory["newest_ms"]

    def _decide(self, now_ms: int, event: Event | None = None) -> bool:
        """Decide, and put what leaves into every target's queue; say whether anything leaves."""
        done = step(self._memory["state"], now_ms, self._rules, event)
        self._memory["state"] = done.state
        for outgoing in done.messages:
            self._enqueue(outgoing, now_ms)
        return bool(done.messages)

    def _enqueue(self, outgoing: Outgoing, now_ms: int) -> None:
        message = compose(outgoing, self._settings.lang)
        for name in self._targets:
            queue = self._memory["waiting"].setdefault(name, [])
            queue.append(
                {
                    "title": message.title,
                    "body": message.body,
                    "level": message.level,
                    "recovered": message.recovered,
                    "since_ms": now_ms,
                    "refusals": 0,
                }
            )
            if len(queue) > MOST_WAITING:
                mild = next((one for one in queue if one["level"] != "critical"), queue[0])
                self._lose(name, mild, f"{MOST_WAITING} messages wait already")
            if message.level == "critical" and name in self._memory["health"]:
                self._memory["health"][name]["next_ms"] = 0  # worth another try at once

    def _drain(self, now_ms: int) -> None:
        """Send the first of each queue at once, then the next ones, until all are empty or have to be patient."""
        health = self._memory["health"]
        for name, queue in self._memory["waiting"].items():
            for old in [one for one in queue if one["level"] != "critical" and one["since_ms"] < now_ms - OLDEST_MS]:
                self._lose(name, old, "it is a day old")
        while True:
            due = [
                (self._targets[name], queue[0])
                for name, queue in self._memory["waiting"].items()
                # A clock that was set back must not hold a target for longer than its longest pause.
                if queue and not now_ms < health.get(name, healthy())["next_ms"] <= now_ms + _WRONG_PAUSE_MS
            ]
            if not due:
                return
            pairs = [
                (target, Message(one["title"], one["body"], one["level"], one["recovered"])) for target, one in due
            ]
            results = send_all(pairs, self._settings.alerts, patience_s=self._patience_s)
            for (_, message), result in zip(due, results, strict=True):
                self._record(message, result, now_ms)
            self._save()

    def _record(self, message: Waiting, result: Result, now_ms: int) -> None:
        name = result.target
        health = self._memory["health"].setdefault(name, healthy())
        if result.verdict == "sent":
            self._memory["waiting"][name].remove(message)
            health["delivered_ms"], health["delivered"] = now_ms, health["delivered"] + 1
            health["failures"], health["next_ms"], health["verdict"], health["detail"] = 0, 0, "", ""
            return
        if health["detail"] != result.detail:
            _logger.warning("%s", result.detail)
        health["failed_ms"], health["failures"] = now_ms, health["failures"] + 1
        health["verdict"], health["detail"] = result.verdict, result.detail
        pauses = {
            "wrong": _WRONG_PAUSE_MS,
            "refused": _REFUSED_PAUSE_MS,
            "later": min(_FIRST_PAUSE_MS << min(health["failures"] - 1, 10), _LONGEST_PAUSE_MS),
        }
        health["next_ms"] = now_ms + pauses[result.verdict]
        if result.verdict == "refused":
            message["refusals"] += 1
            if message["refusals"] >= _MOST_REFUSALS:  # one message that a target cannot take must not stop the rest
                self._lose(name, message, f"refused {_MOST_REFUSALS} times")

    def _lose(self, name: str, message: Waiting, why: str) -> None:
        """Give up a message for one target, and say so."""
        self._memory["waiting"][name].remove(message)
        self._memory["health"].setdefault(name, healthy())["lost"] += 1
        _logger.warning("%s does not get %r: %s", name, message["title"], why)

    def _save(self) -> None:
        try:
            save_memory(self._path, self._memory)
        except OSError as error:  # a full disk is what an alert may be about: it has to leave all the same
            _logger.warning("%s cannot be written (%s); alerts go on without it", self._path, error)
