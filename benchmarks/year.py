"""A year of real bars: features, walk-forward, 2,000 threshold pairs and a verdict in under 60 s and 1.5 GB."""

from __future__ import annotations

from benchmarks._studies import SHARED, arguments, finish  # isort: skip  (sets the threads before numpy is imported)

import resource
import statistics
import time

import numpy as np
import polars as pl

from kalibre.core.bars import Bars
from kalibre.core.settings import Settings
from kalibre.evaluation.study import run_study
from kalibre.sources.simulated import Simulated

FILE = SHARED / "BTCUSDT_spot_15m_2024.parquet"


def main() -> int:
    """Run the study and print time, memory and verdict."""
    options = arguments(__doc__ or "", runs=3).parse_args()
    if FILE.is_file():
        bars, name = Bars.from_frame(pl.read_parquet(FILE), symbol="BTCUSDT", timeframe="15m"), FILE.stem
    else:
        bars, name = next(Simulated(n_bars=34_945).history("SIM", "15m")), "a simulated year (../shared/data is absent)"
    if options.quick:
        bars = bars[-12_000:]
    seconds = []
    for _ in range(1 if options.quick else options.runs):
        began = time.perf_counter()
        result = run_study(bars, Settings(), created_at_ms=0)
        seconds.append(time.perf_counter() - began)
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    pairs = int(np.prod(result.thresholds.sharpe.shape))
    row = {
        "history": name,
        "bars": len(bars),
        "columns": len(result.columns),
        "folds": len(result.folds),
        "pairs": pairs,
        "first_seconds": seconds[0],
        "median_seconds": statistics.median(seconds),
        "peak_gb": peak_gb,
        "stages": dict(result.seconds),
        "qualifies": result.qualifies,
        "gates": [gate.as_dict() for gate in result.gates],
    }
    if not options.json:
        print(f"{name}: {len(bars):,} bars, {len(result.columns)} columns, {len(result.folds)} folds, {pairs} pairs")
        print(
            f"first run {seconds[0]:.1f} s, median of {len(seconds)} runs {statistics.median(seconds):.1f} s, "
            f"peak {peak_gb:.2f} GB"
        )
        print("stages: " + ", ".join(f"{stage} {took:.1f} s" for stage, took in result.seconds.items()))
        print("verdict: " + ("qualifies" if result.qualifies else "nothing qualifies"))
        for gate in result.gates:
            print(f"  {'pass' if gate.passed else 'FAIL'}  {gate.explanation}")
        for window in (result.walk_forward, result.final):
            if window is not None:
                print(f"{window.name}: AUC {window.forecast.auc:.4f} ECE {window.forecast.ece:.4f} {window.trading}")
                for dummy in window.dummies:
                    print(f"  {dummy}")
        print(result.significance)
    bars_met = {
        "60+ columns": len(result.columns) >= 60,
        "2,000 pairs": pairs >= 2000,
        "under 60 s (slowest run)": max(seconds) < 60,
        "under 1.5 GB": peak_gb < 1.5,
    }
    return finish(row, bars_met, as_json=options.json, judged=not options.quick)


if __name__ == "__main__":
    raise SystemExit(main())
