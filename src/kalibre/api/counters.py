"""What the process counts about itself, for Prometheus."""

from __future__ import annotations

import bisect
import threading
from collections import defaultdict
from collections.abc import Sequence

BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Counters:
    """Counts requests and predictions, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.predictions: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.requests: defaultdict[tuple[str, str, int], int] = defaultdict(int)
        self.duration_counts = [0] * (len(BUCKETS_S) + 1)
        self.duration_sum_s = 0.0

    def prediction(self, symbol: str, signal: str) -> None:
        """Count one answer of predict."""
        with self._lock:
            self.predictions[symbol, signal] += 1

    def request(self, method: str, route: str, status: int, duration_s: float) -> None:
        """Count one request and how long it took."""
        bucket = bisect.bisect_left(BUCKETS_S, duration_s)
        with self._lock:
            self.requests[method, route, status] += 1
            self.duration_counts[bucket] += 1
            self.duration_sum_s += duration_s


class TextCounters:
    """Counts texts read and how long it took, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.texts: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.durations: defaultdict[str, list[float]] = defaultdict(lambda: [0.0] * (len(BUCKETS_S) + 2))
        """Per task: requests of each bucket, then the sum of seconds."""

    def count(self, task: str, outcomes: Sequence[str], seconds: float) -> None:
        """Count one request of a task and the outcome of each of its texts."""
        with self._lock:
            for outcome in outcomes:
                self.texts[task, outcome] += 1
            row = self.durations[task]
            row[bisect.bisect_left(BUCKETS_S, seconds)] += 1
            row[-1] += seconds
