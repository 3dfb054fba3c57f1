"""The last resort: where the log cannot take the news, people are told past it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from kalibre.core.clock import Clock, SystemClock
from kalibre.core.events import Event, new_event
from kalibre.core.hub_events import Alert, WorkerState
from kalibre.core.settings import Settings

OnState = Callable[[str, WorkerState], None]
_KEY = "log"
_PATIENCE_MS = 1_500
"""Time for which a log may be locked before that is worth an alert."""


class LastResort:
    """Hands transitions on to what records them, and alerts people itself as long as that fails.

    Alerts leave by the log, so one about a full disk would wait in the disk that is full. It is told once for each
    outage, again when `alerts.repeat_after_minutes` have passed, and when the log can be written again.

    Parameters
    ----------
    record
        Records a transition; it raises while it cannot, and is asked again by the supervisor.
    settings
        Who is told, and where the log is.
    send
        Brings an alert to people; it is called in a thread of its own.

    Examples
    --------
    >>> told = []
    >>> resort = LastResort(lambda name, state: None, Settings(), send=lambda event: told.append(event))
    >>> resort("ingest", WorkerState(state="online", pid=1, restarts=0, reason=""))
    >>> told
    []
    """

    def __init__(
        self,
        record: OnState,
        settings: Settings,
        *,
        send: Callable[[Event], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._record, self._settings = record, settings
        self._send = send or self._to_targets
        self._clock = clock or SystemClock()
        self._since_ms: int | None = None
        self._told_ms: int | None = None

    def __call__(self, name: str, state: WorkerState) -> None:
        """Record a transition.

        Raises
        ------
        LogError
            What the recording raised.
        """
        try:
            self._record(name, state)
        except Exception as error:
            self._fails(name, state, error)
            raise
        self._works()

    def _fails(self, name: str, state: WorkerState, error: Exception) -> None:
        now_ms = self._clock.now_ms()
        if self._since_ms is None or now_ms < self._since_ms:
            self._since_ms = now_ms
        repeat_ms = self._settings.alerts.repeat_after_minutes * 60_000
        if now_ms - self._since_ms < _PATIENCE_MS or (self._told_ms is not None and now_ms - self._told_ms < repeat_ms):
            return
        self._told_ms = now_ms
        alert = Alert(
            level="critical",
            title="nothing can be recorded",
            cause=f"{error}; it came up when worker {name} was to be {state.state}",
            consequence="nothing is learnt, ordered or alerted until it can; what was recorded is safe, workers are "
            "tried again by themselves",
            mend="kalibre doctor",
        )
        self._tell(alert, now_ms)

    def _works(self) -> None:
        told, self._since_ms, self._told_ms = self._told_ms, None, None
        if told is None:
            return
        alert = Alert(
            level="info",
            title="the log can be written again",
            cause="the trouble was mended",
            consequence="every worker goes on where it was",
            recovered=True,
        )
        self._tell(alert, self._clock.now_ms())

    def _tell(self, alert: Alert, now_ms: int) -> None:
        event = new_event(_KEY, now_ms, alert)
        threading.Thread(target=self._send, args=(event,), name="kalibre-last-resort", daemon=True).start()

    def _to_targets(self, event: Event) -> None:
        from kalibre.alerts.dispatch import Outgoing, note_of
        from kalibre.alerts.messages import compose
        from kalibre.alerts.send import send_all
        from kalibre.alerts.targets import targets_of

        message = compose(Outgoing((note_of(event),)), self._settings.lang)
        send_all([(target, message) for target in targets_of(self._settings)], self._settings.alerts)
