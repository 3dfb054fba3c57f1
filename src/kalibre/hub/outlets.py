"""What follows from the log elsewhere: alerts to people, forecasts to other programs, trainings that drift asks for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from kalibre.core.errors import KalibreError, LogLockedError, LogUnavailableError
from kalibre.core.settings import Settings
from kalibre.hub.retraining import Retraining
from kalibre.hub.waits import WaitsWatch
from kalibre.hub.worker_process import WorkerProcess
from kalibre.log.outbox import Outbox
from kalibre.log.protocol import EventLog

_PAUSE_S = 0.1
_PUMP_S = 5.0
_LOOK_S = 30.0
_ALERT_AGE_MS = 24 * 3_600_000
"""A trouble is worth telling also to who was not to be reached for hours; a forecast is not."""
_logger = logging.getLogger(__name__)


def deliver(log: EventLog, settings: Settings, process: WorkerProcess) -> None:
    """Deliver until told to stop. Where a target is away, its outbox waits and learning goes on."""
    from kalibre.alerts.deliver import Dispatcher
    from kalibre.alerts.memory import memory_path

    dispatcher = Dispatcher(settings, memory_path(settings))
    outboxes = [Outbox(log, "alerts", frozenset({"alert"}), dispatcher.deliver, max_age_ms=_ALERT_AGE_MS)]
    outboxes.append(Outbox(log, "retraining", frozenset({"drift"}), Retraining(log, settings).deliver))
    closing: list[Callable[[], None]] = []
    if settings.hub.redis_url:
        from kalibre.log.redis_mirror import KINDS, RedisMirror

        mirror = RedisMirror(settings.hub.redis_url, log)
        closing.append(mirror.close)
        outboxes.append(Outbox(log, "redis", KINDS, mirror.deliver))
    waits = WaitsWatch(log, settings)
    pumped_s = looked_s = 0.0
    try:
        while not process.should_stop():
            head, moved = log.head(), 0
            for outbox in outboxes:
                try:
                    moved += outbox.step()
                except (LogUnavailableError, LogLockedError) as error:
                    _logger.warning("the outbox waits: %s", error)
            process.beat(head)
            if time.monotonic() - pumped_s > _PUMP_S:
                pumped_s = time.monotonic()
                _pump(dispatcher.pump)
            if time.monotonic() - looked_s > _LOOK_S:
                looked_s = time.monotonic()
                _pump(waits.look)
            if not moved:
                log.wait(head, _PAUSE_S, process.should_stop)
    finally:
        for close in closing:
            close()


def _pump(pump: Callable[[], object]) -> None:
    """Do what is done now and then; what fails is done again at its next turn."""
    try:
        pump()
    except KalibreError as error:
        _logger.warning("%s", error)
