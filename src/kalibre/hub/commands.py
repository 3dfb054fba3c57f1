"""What people tell learners, recorded: each word has a time of its own, and a checkpoint that is named is kept."""

from __future__ import annotations

from typing import Literal

from kalibre.core.clock import Clock, SystemClock
from kalibre.core.events import Event, new_event
from kalibre.core.hub_events import Command
from kalibre.core.settings import Settings
from kalibre.hub.checkpoints import checkpoints_of
from kalibre.log.failpoints import failpoint
from kalibre.log.protocol import EventLog

Verb = Literal["pause", "resume", "reset", "restore", "checkpoint"]


def record_command(
    log: EventLog,
    settings: Settings,
    learner: str,
    verb: Verb,
    *,
    by: str,
    reason: str = "",
    checkpoint: str = "",
    clock: Clock | None = None,
) -> Event:
    """Record a command to a learner and return it as stored.

    A checkpoint is looked up (by digest, its first signs, or `latest`), read to be sure that it can be, and pinned,
    before anything is recorded.

    Raises
    ------
    HubError
        If the checkpoint is not there or several fit.
    SnapshotError
        If it is damaged.
    """
    digest = ""
    if verb == "restore":
        kept = checkpoints_of(settings, learner)
        digest = kept.resolve(checkpoint).digest
        kept.load(digest)
        kept.pin(digest)
        failpoint("commands.pinned")
    now_ms = (clock or SystemClock()).now_ms()
    with log.transaction(durable=True) as transaction:
        before = transaction.latest("command", key=learner, by="event_time")
        at_ms = now_ms if before is None else max(now_ms, before.event_time + 1)
        payload = Command(verb=verb, by=by, reason=reason, checkpoint=digest)
        recorded = transaction.append([new_event(learner, at_ms, payload)], writer="command")[0]
        failpoint("commands.record")
        return recorded
