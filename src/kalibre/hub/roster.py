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


def main(arguments: list[str] | None = None) -> int:
    """Say whether a worker has beaten lately, for a container's health check: exit code 0 if it has, else 1.

    Examples
    --------
    >>> main(["no-such-worker", "--run-dir", "no-such-folder"])
    no-such-worker has never beaten
    1
    """
    import argparse
    import os
    import sys

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("worker")
    parser.add_argument("--limit-s", type=float, default=120.0, help="oldest beat of a worker that is well")
    parser.add_argument("--run-dir", type=Path, default=Path(os.environ.get("KALIBRE_HOME", "kalibre_home")) / "run")
    options = parser.parse_args(arguments)
    seen = next((one for one in roster(options.run_dir) if one.name == options.worker), None)
    well = seen is not None and not seen.stopped and seen.age_s <= options.limit_s
    told = "has never beaten" if seen is None else f"{seen.beat.phase}, last beat {seen.age_s:.1f} s ago"
    sys.stdout.write(f"{options.worker} {told}\n")
    return 0 if well else 1


if __name__ == "__main__":
    raise SystemExit(main())
