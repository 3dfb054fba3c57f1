"""Who beats in a run folder: the same under every supervisor, and readable by any process of the machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from kalibre.hub.metrics import Sample
from kalibre.hub.worker_process import STOPPED, SUFFIX, Beat, read_beat


class Seen(NamedTuple):
    """A worker that has beaten at some time: its name, its newest beat, and how old that is."""

    name: str
    beat: Beat
    age_s: float

    @property
    def stopped(self) -> bool:
        """Whether it said that it has stopped; one that was killed could not."""
        return self.beat.phase == STOPPED


def roster(run_dir: Path) -> list[Seen]:
    """Return the workers of a run folder, by name."""
    now_ns = time.monotonic_ns()
    beats = ((path.name.removesuffix(SUFFIX), read_beat(path)) for path in sorted(run_dir.glob(f"*{SUFFIX}")))
    return [Seen(name, beat, beat.age_s(now_ns)) for name, beat in beats if beat is not None]


def samples(run_dir: Path) -> Iterator[Sample]:
    """Yield what the heartbeats say as metrics; a worker that was stopped on purpose has none."""
    for seen in roster(run_dir):
        if seen.stopped:
            continue
        labels = {"worker": seen.name}
        yield "kalibre_hub_worker_heartbeat_timestamp_seconds", labels, time.time() - seen.age_s
        yield "kalibre_hub_worker_restarts_total", labels, float(seen.beat.restarts)
        yield "kalibre_hub_worker_rss_bytes", labels, float(seen.beat.rss_bytes)
        yield "kalibre_hub_worker_cpu_seconds_total", labels, seen.beat.cpu_s
