"""What becomes of workers, written into the log: their states, alerts about them, and who is not waited for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from kalibre.core.clock import Clock, SystemClock
from kalibre.core.events import Event, new_event, series_key
from kalibre.core.hub_events import Alert, Bench, WorkerState
from kalibre.core.settings import Settings
from kalibre.learners.base import enabled_learners
from kalibre.log.protocol import EventLog, Transaction

WRITER = "supervisor"


class Chronicle:
    """Is told each transition of a worker, and records it.

    A worker in `error` is no longer waited for: what it forecasts, or adds as context, is released from the bar after
    its last word on. Once it is online again it is waited for from the bar after the newest one on.

    Parameters
    ----------
    settings
        Which series there are.
    members
        Returns the projections that a worker runs; none for a service.
    open_log
        Opens the log, at the first transition: where it cannot be opened the supervisor tells it again later.
    """

    def __init__(
        self,
        settings: Settings,
        members: Callable[[str], Sequence[str]],
        open_log: Callable[[], EventLog],
        *,
        clock: Clock | None = None,
    ) -> None:
        self._settings, self._members, self._open_log = settings, members, open_log
        self._clock = clock or SystemClock()
        self._log: EventLog | None = None

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def __call__(self, name: str, state: WorkerState) -> None:
        """Record a transition.

        Raises
        ------
        LogError
            If the log cannot be written now.
        """
        if self._log is None:
            self._log = self._open_log()
        now_ms = self._clock.now_ms()
        with self._log.transaction() as transaction:
            before = transaction.latest("worker", key=name)
            # Two transitions within a millisecond are two events.
            at_ms = now_ms if before is None else max(now_ms, before.event_time + 1)
            events = [new_event(name, at_ms, state), *self._alerts(transaction, name, state, at_ms)]
            if state.state == "error":
                events += self._release(transaction, name, state.reason)
            elif state.state == "online":
                events += self._await_again(transaction, name)
            transaction.append(events, writer=WRITER)

    def _alerts(self, transaction: Transaction, name: str, state: WorkerState, at_ms: int) -> list[Event]:
        key = f"worker|{name}"
        if state.state in ("restarting", "error"):
            failed = state.state == "error"
            consequence = "it is started again by itself"
            if failed:
                consequence = "what it does is left undone; the others go on without it"
            alert = Alert(
                level="critical" if failed else "warning",
                title=f"worker {name}: {state.state}",
                cause=state.reason or "it ended",
                consequence=consequence,
                mend=f"kalibre hub restart {name}" if failed else "",
            )
            return [new_event(key, at_ms, alert)]
        if state.state == "online" and _is_open(transaction, key):
            alert = Alert(
                level="info",
                title=f"worker {name} is online again",
                cause=f"it was started again ({state.restarts} times in all)",
                consequence="it goes on where it was",
                recovered=True,
            )
            return [new_event(key, at_ms, alert)]
        return []

    def _spoken_for(self, name: str) -> list[str]:
        """Return whose word is missed where a worker does not run."""
        learners = set(enabled_learners(self._settings))
        voices = {"paper": "champion"}
        return [voices.get(one, one) for one in self._members(name) if one in learners or one in voices]

    def _series(self) -> list[str]:
        market = self._settings.market
        return [series_key(symbol, market.timeframe) for symbol in market.symbols]

    def _release(self, transaction: Transaction, name: str, reason: str) -> list[Event]:
        events = []
        for voice in self._spoken_for(name):
            from_ms = min(self._last_word(transaction, f"{series}|{voice}") for series in self._series()) + 1
            newest = transaction.latest("bench", key=voice)
            if newest is not None:  # what was said of it before holds up to then; it may not have spoken since
                from_ms = max(from_ms, newest.event_time)
            bench = Bench(benched=True, by=WRITER, reason=reason or "its worker is in error")
            events.append(new_event(voice, from_ms, bench))
        return events

    def _last_word(self, transaction: Transaction, key: str) -> int:
        """Return the close of the newest bar of which it spoke; -1 where it never did."""
        found = [transaction.latest(kind, key=key, by="event_time") for kind in ("forecast", "annotation")]
        return max((event.event_time for event in found if event is not None), default=-1)

    def _await_again(self, transaction: Transaction, name: str) -> list[Event]:
        events = []
        for voice in self._spoken_for(name):
            newest = transaction.latest("bench", key=voice)
            if newest is None or not isinstance(newest.payload, Bench) or not newest.payload.benched:
                continue
            # From the ensemble's newest bar on: what it went past without it stays so, and nothing later is lost.
            done = [transaction.latest("ensemble", key=f"{key}|ensemble", by="event_time") for key in self._series()]
            from_ms = max([newest.event_time + 1, *(one.event_time + 1 for one in done if one is not None)])
            events.append(new_event(voice, from_ms, Bench(benched=False, by=WRITER, reason="its worker is back")))
        return events


def _is_open(transaction: Transaction, key: str) -> bool:
    """Say whether a trouble was told, by this supervisor or the one before, and is not over."""
    last = transaction.latest("alert", key=key)
    return last is not None and isinstance(last.payload, Alert) and not last.payload.recovered


def to_stderr(line: str) -> None:
    """Tell a person who looks on."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
