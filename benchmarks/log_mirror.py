"""A million bars: from the Parquet mirror into polars, beside the same rows read out of the log's SQLite file.

Bar: "a million bars load into polars in well under a second" from the mirror, its sha256 checked on the way.
Peers, in the same run: `polars.read_database` on the SQLite file (JSON still packed), the log's own `read` (typed
events), and `polars.read_parquet` on the mirror's file without any check.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from kalibre.core.events import BarClosed, new_event
from kalibre.log import open_log
from kalibre.log.mirror import Mirror

BAR_S = 0.8


def fill(url: str, n: int) -> float:
    """Append n bars in batches and return events per second."""
    generator = np.random.default_rng(7)
    close = 100 * np.exp(np.cumsum(generator.normal(0, 1e-3, n)))
    spent = 0.0
    with open_log(url) as log:
        for start in range(0, n, 10_000):
            events = [
                new_event(
                    "BTCUSDT|1m",
                    i * 60_000,
                    BarClosed(
                        open_time=i * 60_000,
                        open=price,
                        high=price * 1.001,
                        low=price * 0.999,
                        close=price,
                        volume=1.0 + i % 97,
                    ),
                )
                for i, price in enumerate(close[start : start + 10_000].tolist(), start=start)
            ]
            begun = time.perf_counter()
            log.append(events, writer="benchmark")
            spent += time.perf_counter() - begun
    return n / spent


def measure(contenders: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Time the contenders in turns and return medians, in seconds."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, load in contenders.items():
            begun = time.perf_counter()
            load()
            times[name].append(time.perf_counter() - begun)
    return {name: statistics.median(found) for name, found in times.items()}


def rows_of(path: Path) -> pl.DataFrame:
    with sqlite3.connect(path) as connection:
        sql = "SELECT seq, event_time, revision, recorded_at, content FROM events ORDER BY seq"
        frame = pl.read_database(sql, connection)
    connection.close()
    return frame


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100,000 bars, one repeat")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    n, repeats = (100_000, 1) if chosen.quick else (1_000_000, 3)
    with tempfile.TemporaryDirectory(prefix="kalibre-mirror-") as folder:
        path = Path(folder) / "log.sqlite"
        appended = fill(f"sqlite:///{path}", n)
        with open_log(f"sqlite:///{path}") as log:
            mirror = Mirror(log, Path(folder) / "mirror")
            begun = time.perf_counter()
            mirror.bars("BTCUSDT", "1m")
            built = time.perf_counter() - begun
            part = next((Path(folder) / "mirror").glob("*/part-*.parquet"))
            found = measure(
                {
                    "mirror, checked": lambda: mirror.frame("BTCUSDT", "1m"),
                    "read_parquet, unchecked": lambda: pl.read_parquet(part),
                    "polars from SQLite, packed": lambda: rows_of(path),
                    "log.read, typed events": lambda: log.read(kinds=("bar",)),
                },
                repeats,
            )
            size_mb = part.stat().st_size / 2**20
    bar_s = BAR_S * n / 1_000_000
    held = found["mirror, checked"] < bar_s
    if chosen.json:
        print(json.dumps({"bars": n, "seconds": found, "built_s": built, "appended_per_s": appended, "pass": held}))
    else:
        print(f"{n:,} bars; appended {appended:,.0f} events/s; mirror built in {built:.2f} s, {size_mb:.0f} MiB")
        for name, seconds in found.items():
            print(f"  {name:<28}{seconds * 1e3:>10.1f} ms{n / seconds / 1e6:>10.1f} M bars/s")
        print(f"{'PASS' if held else 'FAIL'} mirror {found['mirror, checked']:.3f} s < {bar_s:.2f} s")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
