"""The jobs of a hub under torture: cheap, the same at every attempt, and telling of which attempt they are."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from benchmarks._fault_hub_inputs import JOB, TIMEFRAME
from tests.fakes.models import STEP_MS

from kalibre.core.errors import HubError
from kalibre.core.events import BarClosed, Event, ModelTrained, new_event, series_key
from kalibre.hub.job_context import JobContext
from kalibre.log.jobs import JobRow, Jobs


class Rushing:
    """A clock that runs a hundred times as fast: a lease of half a minute is over in a third of a second."""

    def now_ms(self) -> int:
        """Return the time, UTC milliseconds times a hundred."""
        return time.time_ns() // 10_000


class Tireless(Jobs):
    """Jobs that may be begun as often as it takes: three times, as usual, is less than they are killed here."""

    def enqueue(self, *args: Any, **more: Any) -> JobRow:
        """Enqueue a job, once."""
        return super().enqueue(*args, **{**more, "max_attempts": 1_000_000})


class Summary:
    """A job: a summary of bars that closed so long before it was due that whatever comes of them has come."""

    name: ClassVar[str] = JOB

    def run(self, payload: Mapping[str, Any], context: JobContext) -> list[Event]:
        """Return it. Every fourth job fails at its first attempt."""
        job = context.job
        if job.attempt == 1 and sum(job.key.encode()) % 4 == 0:
            raise HubError("planned: the first attempt fails")
        end_ms, bars = job.due_ms - 16 * STEP_MS, int(payload["bars"])
        key, start_ms = series_key(str(payload["symbol"]), TIMEFRAME), end_ms - bars * STEP_MS
        found = context.log.read(kinds={"bar"}, key=key, start_ms=start_ms, end_ms=end_ms, newest_revision=True)
        closes = {event.event_time: event.payload.close for event in found if isinstance(event.payload, BarClosed)}
        for _ in range(4):  # a while in which it can be killed, or frozen for longer than its lease
            time.sleep(0.001)
            context.check()
        values = np.array([closes[time] for time in sorted(closes)])
        # Which attempt it was is part of what is said: two results of one job would be two contents.
        figures = {"n": float(len(values)), "sum": float(values.sum()), "attempt": float(job.attempt)}
        return [new_event(f"{JOB}|{job.key}", job.due_ms, ModelTrained(model=job.key, digest="", metrics=figures))]
