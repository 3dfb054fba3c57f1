"""No future, no skew: verify every feature column over a year of real bars, and catch every planted leak.

    python -m benchmarks.verify_features [--quick] [--json]

Bars: BTCUSDT_spot_15m_2024 where ../shared/data is there, else simulated ones.
"""

from __future__ import annotations

import argparse
import json
import time

from benchmarks.features_right import real_bars, simulated_bars
from tests.fakes.leaks import HONEST, LEAKS

from kalibre.evaluation.verification import verify, verify_features
from kalibre.features.engine import FeatureSpec, all_columns


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer bars and cuts")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    bars = real_bars()
    label = "BTCUSDT_spot_15m_2024" if bars is not None else "simulated (../shared/data is absent)"
    if bars is None:
        bars = simulated_bars(34_945)
    if options.quick:
        bars = bars[:12_000]
    specs = {
        "default, 1h and 4h": FeatureSpec("15m", ("1h", "4h")),
        "scaled over 500 rows": FeatureSpec("15m", ("1h", "4h"), scale_window=500),
        "every column": FeatureSpec("15m", columns=all_columns()),
        "recursive on 1h": FeatureSpec(
            "15m", columns=("rsi_14@1h", "adx_14@1h", "macd_relative_12_26@1h", "natr_14@1h")
        ),
    }
    rows = []
    for name, spec in specs.items():
        start = time.perf_counter()
        report = verify_features(bars, spec, cuts=24 if options.quick else 64)
        rows.append({"spec": name, "seconds": time.perf_counter() - start, **report.as_dict(), "text": str(report)})
    short = simulated_bars(1_200, seed=3)
    leaks = {}
    for name, (function, warmup, kinds) in LEAKS.items():
        found = verify(function, short, warmup={name: warmup}, cuts=30, altered_cuts=8, starts=3)
        verdict = found.columns[name]
        caught = {kind for kind in ("rewritten", "mismatched", "start_dependent") if getattr(verdict, kind)}
        leaks[name] = {"caught": sorted(caught), "as_planted": caught == kinds}
    spared = {
        name: verify(function, short, warmup={name: warmup}, cuts=30, altered_cuts=8, starts=3).clean
        for name, (function, warmup) in HONEST.items()
    }
    clean = all(row["clean"] for row in rows)
    caught_all = all(leak["as_planted"] for leak in leaks.values())
    passed = clean and caught_all and all(spared.values())
    if options.json:
        kept = [{key: row[key] for key in row if key not in ("columns", "text")} for row in rows]
        print(json.dumps({"bars": label, "specs": kept, "leaks": leaks, "honest_spared": spared, "pass": passed}))
        return 0 if passed else 1
    print(f"{label}, {len(bars):,} bars")
    for row in rows:
        print(
            f"  {row['spec']:22s} {row['n_columns']:4d} columns: {row['rewritten']} rewritten, "
            f"{row['mismatched']} mismatched, {row['start_dependent']} start-dependent "
            f"({row['cuts']} cuts, {row['alterations']} altered futures, "
            f"{row['starts']} other histories, {row['seconds']:.1f} s)"
        )
        if not row["clean"]:
            print(row["text"])
    for name, leak in leaks.items():
        print(f"  leak {name:26s} {'caught: ' + ', '.join(leak['caught']) if leak['caught'] else 'MISSED'}")
    for name, clean_twin in spared.items():
        print(f"  twin {name:26s} {'clean' if clean_twin else 'WRONGLY ACCUSED'}")
    print(f"{'PASS' if clean else 'FAIL'}: 0 rewritten, 0 mismatched, 0 start-dependent")
    told = caught_all and all(spared.values())
    print(f"{'PASS' if told else 'FAIL'}: every planted leak caught, no honest twin accused")
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
