"""A million bars through the hub: no process may grow by more than 1 MB per 100,000 bars."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from benchmarks._hub_runs import beats, running

_BAR_MB = 1.0
_SETTLED = 0.3
"""Share of the bars after which all that is kept has been allocated: windows are full, buffers have their size."""
_STEP_MS = 60_000


def _bars(path: Path, n: int) -> None:
    random = np.random.default_rng(7)
    close = 100.0 * np.exp(np.cumsum(random.normal(0.0, 5e-4, n)))
    open_ = np.concatenate([[100.0], close[:-1]])
    spread = np.abs(random.normal(0.0, 3e-4, (2, n)))
    frame = pl.DataFrame(
        {
            "open_time": 1_600_000_020_000 // _STEP_MS * _STEP_MS + np.arange(n) * _STEP_MS,
            "open": open_,
            "high": np.maximum(open_, close) * (1.0 + spread[0]),
            "low": np.minimum(open_, close) * (1.0 - spread[1]),
            "close": close,
            "volume": random.gamma(2.0, 10.0, n),
        }
    )
    frame.write_parquet(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=int, default=1_000_000)
    chosen = parser.parse_args()
    rows: list[tuple[float, str, float]] = []
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "WALK_1m.parquet"
        _bars(path, chosen.bars)
        began = time.monotonic()
        with running(path, ["WALK"], "1m", home=Path(name) / "home", once=True) as hub:
            while not hub.ended():
                done = hub.bars("WALK|1m")
                rows += [(float(done), worker, beat.rss_bytes / 1_048_576) for worker, beat in beats(hub.home)]
                time.sleep(2.0)
        took = time.monotonic() - began
    print(f"{chosen.bars:,} bars in {took / 60:.1f} minutes\n")
    print(f"{'process':<12}{'at 30 %, MB':>13}{'at the end, MB':>16}{'MB per 100,000 bars':>22}")
    worst = -np.inf
    for worker in sorted({worker for _, worker, _ in rows}):
        series = np.array([(done, rss) for done, one, rss in rows if one == worker and done >= _SETTLED * chosen.bars])
        if len(series) < 10 or np.ptp(series[:, 0]) == 0:
            continue
        slope = 1e5 * float(np.polyfit(series[:, 0], series[:, 1], 1)[0])
        worst = max(worst, slope)
        print(f"{worker:<12}{series[0, 1]:>13.0f}{series[-1, 1]:>16.0f}{slope:>22.2f}")
    good = worst <= _BAR_MB
    print(f"\n{'holds ' if good else 'MISSED'} steepest {worst:.2f} MB per 100,000 bars (bar: <= {_BAR_MB:g})")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
