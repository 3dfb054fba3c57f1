"""The outbox: side effects leave the house in the log's order, at least once, with the position, and live only.

An outbox follows the log from its own offset, which moves only after what lies before it was delivered. A process that
dies in between delivers again; the position tells the receiver that it knows it already. Nothing from before the outbox
first existed is ever delivered. Where the receiver is away the outbox waits, and nobody else notices.

*Live only*: what nobody could act on any more is passed over and counted. That is an event recorded too long ago when
it is reached; what a rebuild says that its predecessor would have said; a forecast of a bar that was old news; and,
while a stored history is played (recorded ticks far behind the machine's clock), everything that speaks of its times.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from kalibre.core.clock import Clock, SystemClock
from kalibre.core.errors import KalibreError, LogError, LogLockedError, LogUnavailableError, UndeliverableError
from kalibre.core.events import Event, Tick
from kalibre.log.failpoints import failpoint
from kalibre.log.protocol import EventLog, Progress

_PLAYED_FROM_MS = 60_000
"""A recorded tick so far behind the time at which it was recorded is one of a history that is played."""
_COMMIT_AFTER = 5_000
"""Events of other kinds that are passed by before the offset follows: a restart then reads no more than those again."""
_logger = logging.getLogger(__name__)


@dataclass
class Counts:
    """What became of the events since this process began."""

    delivered: int = 0
    passed_over: int = 0
    """Not live any more when they were reached."""
    undeliverable: int = 0
    failures: int = 0
    """Tries that failed, whatever came of the event later."""


class Outbox:
    """Delivers the events of some kinds to one receiver. One process at a time may run an outbox of a name.

    Parameters
    ----------
    log
        What is followed.
    name
        Whose offset it is: another name is another outbox.
    kinds
        The event kinds that are delivered.
    deliver
        Brings one stored event (`seq` is its position) to the receiver. It raises `UndeliverableError` for an event
        that the receiver will never take, and any other `KalibreError` or `OSError` where trying again may help.
    live_only
        Whether what is no longer live is passed over; False delivers everything since the outbox first existed.
    max_age_ms
        Age, by the time of recording, above which an event is no longer live.
    clock
        Tells the age; the machine's by default.
    batch_size
        Events between two commits of the offset: at most so many are delivered again after a kill.
    most_tries
        Tries after which an undeliverable event is passed over, with a warning.
    first_pause_s, longest_pause_s
        Pause after a failed try, doubled at each one that follows it.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from kalibre.core.events import Tick, new_event
    >>> from kalibre.log import open_log
    >>> heard = []
    >>> with TemporaryDirectory() as folder, open_log(f"sqlite:///{folder}/log.sqlite") as log:
    ...     _ = log.append([new_event("clock", 1, Tick(now_ms=1))], writer="before")
    ...     outbox = Outbox(log, "demo", {"tick"}, lambda event: heard.append(event.seq), live_only=False)
    ...     _ = outbox.step(), log.append([new_event("clock", 2, Tick(now_ms=2))], writer="after"), outbox.step()
    >>> heard
    [2]
    """

    def __init__(
        self,
        log: EventLog,
        name: str,
        kinds: Collection[str],
        deliver: Callable[[Event], object],
        *,
        live_only: bool = True,
        max_age_ms: int = 10 * 60_000,
        clock: Clock | None = None,
        batch_size: int = 64,
        most_tries: int = 5,
        first_pause_s: float = 0.25,
        longest_pause_s: float = 60.0,
    ) -> None:
        if not kinds or max_age_ms < 1 or batch_size < 1 or most_tries < 1 or not 0 < first_pause_s <= longest_pause_s:
            raise LogError(
                f"outbox {name!r} cannot run with kinds {sorted(kinds)}, max_age_ms {max_age_ms}, batch_size "
                f"{batch_size}, most_tries {most_tries} and pauses of {first_pause_s} to {longest_pause_s} s: name a "
                "kind, and take numbers above 0"
            )
        self.offset_name = f"outbox:{name}"
        self.counts = Counts()
        self.trouble = ""
        """Why the last try failed; empty if it did not."""
        self._log, self._name, self._kinds, self._deliver = log, name, frozenset(kinds), deliver
        self._live_only, self._max_age_ms, self._clock = live_only, max_age_ms, clock or SystemClock()
        self._batch_size, self._most_tries = batch_size, most_tries
        self._first_pause_s, self._longest_pause_s = first_pause_s, longest_pause_s
        self._committed: int | None = None
        self._passed = self._tried = 0
        self._tries = 0
        self._not_before_s = 0.0

    @property
    def position(self) -> int:
        """How far it has come; what lies behind is delivered or passed over."""
        return self._passed

    def step(self) -> int:
        """Bring out what there is, one batch at most; never waits.

        Returns
        -------
        How many events were delivered or passed over; 0 too while a receiver that is away is given time.

        Raises
        ------
        LogError
            If the log fails, or another process runs the same outbox.
        """
        head = self._log.head()
        if self._committed is None or head < self._passed:  # a copy of the log may have been restored under us
            self._begin()
        if time.monotonic() < self._not_before_s:
            return 0
        events = self._log.read(after=self._passed, upto=head, kinds=self._kinds, limit=self._batch_size)
        played = self._live_only and bool(events) and self._history_is_played()
        done = 0
        for event in events:
            if self._live_only and ((played and _of_the_past(event)) or not self._is_live(event)):
                self.counts.passed_over += 1
                self.trouble = ""
            elif not self._brought(event):
                break
            self._passed, self._tries = event.seq, 0
            done += 1
        if not events:
            self._passed = head
        if done or self._passed - (self._committed or 0) >= _COMMIT_AFTER:
            self._commit()
        return done

    def follow(self, should_stop: Callable[[], bool], poll_s: float = 0.25) -> None:
        """Bring out what comes, until told to stop; a log that is held or restarts is waited for."""
        while not should_stop():
            try:
                if self.step() == 0:
                    self._log.wait(self._log.head() if self.trouble else self._passed, poll_s, should_stop)
            except (LogUnavailableError, LogLockedError) as error:
                _logger.warning("outbox %s waits: %s", self._name, error)

    # --- one event ----------------------------------------------------------------------------------------------------

    def _brought(self, event: Event) -> bool:
        """Deliver an event, or give it up for good; False if it has to be tried again."""
        try:
            failpoint("outbox.deliver")
            self._deliver(event)
            failpoint("outbox.delivered")
        except (KalibreError, OSError) as error:
            self._tries += 1
            self.counts.failures += 1
            if isinstance(error, UndeliverableError) and self._tries >= self._most_tries:
                self.counts.undeliverable += 1
                _logger.warning(
                    "outbox %s passes over %s %s at position %d after %d tries: %s",
                    *(self._name, event.kind, event.key, event.seq, self._tries, error),
                )
                self.trouble = ""
                return True
            if not self.trouble:
                _logger.warning("outbox %s waits at position %d: %s", self._name, event.seq, error)
            self.trouble = str(error)
            pause_s = min(self._first_pause_s * 2.0 ** min(self._tries - 1, 30), self._longest_pause_s)
            self._not_before_s = time.monotonic() + pause_s
            return False
        if self.trouble:
            _logger.warning("outbox %s goes on at position %d after %d tries", self._name, event.seq, self._tries + 1)
        self.trouble = ""
        self.counts.delivered += 1
        return True

    def _is_live(self, event: Event) -> bool:
        if event.provenance == "rebuild" or getattr(event.payload, "late", False):
            return False
        return self._clock.now_ms() - event.recorded_at <= self._max_age_ms

    def _history_is_played(self) -> bool:
        tick = self._log.latest("tick")
        return tick is not None and isinstance(tick.payload, Tick) and _of_the_past(tick)

    # --- the offset ---------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Go on from the recorded offset; the first time, from the head: what is older is none of its business."""
        recorded = self._log.progress(self.offset_name)
        if recorded is None:
            with self._log.transaction() as transaction:
                recorded = transaction.progress(self.offset_name) or Progress(seq=transaction.head())
                transaction.set_progress(self.offset_name, recorded)
        self._committed = self._passed = self._tried = recorded.seq
        self._tries, self._not_before_s = 0, 0.0

    def _commit(self) -> None:
        with self._log.transaction() as transaction:
            recorded = transaction.offset(self.offset_name)
            if recorded not in (self._committed, self._tried):
                before, self._committed = self._committed, None
                raise LogError(
                    f"outbox {self._name!r} is at {recorded}, not at {before}: another process runs it; stop one of "
                    "the two"
                )
            self._tried = self._passed  # should the commit's outcome stay unknown
            transaction.set_offset(self.offset_name, self._passed)
            failpoint("outbox.commit")
        self._committed = self._passed


def _of_the_past(event: Event) -> bool:
    """Say whether an event speaks of a time long before it was recorded."""
    return event.recorded_at - event.event_time > _PLAYED_FROM_MS
