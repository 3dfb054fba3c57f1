"""From drift to a challenger: an alarm about the champion queues one training, however often it is delivered."""

from __future__ import annotations

from kalibre.core.clock import Clock, SystemClock
from kalibre.core.events import Event
from kalibre.core.hub_events import Drift
from kalibre.core.settings import Settings
from kalibre.log.jobs import Jobs
from kalibre.log.protocol import EventLog

RETRAIN = "retrain"


class Retraining:
    """Queues what drift asks for; a receiver of an outbox.

    A day has one training of a series at most: several tests give alarm at the same trouble.
    """

    def __init__(self, log: EventLog, settings: Settings, *, clock: Clock | None = None) -> None:
        self._jobs = Jobs(log)
        self._enabled = settings.hub.retrain_on_drift
        self._clock = clock or SystemClock()

    def deliver(self, event: Event) -> None:
        """Queue a training, if this alarm asks for one.

        Raises
        ------
        LogError
            If the table of jobs cannot be written now.
        """
        drift = event.payload
        if not self._enabled or not isinstance(drift, Drift) or drift.action != RETRAIN:
            return
        symbol = event.key.partition("|")[0]
        day = event.event_time // 86_400_000
        payload = {"symbol": symbol, "by": "drift", "reason": f"{drift.test} at {event.key}: {drift.detail}"}
        self._jobs.enqueue(
            RETRAIN, f"drift|{symbol}|{day}", payload, due_ms=self._clock.now_ms(), schedule=f"drift {symbol}"
        )
