"""The gate is not fooled: whole studies on 120 markets with nothing to find promote at most one."""

from __future__ import annotations

from benchmarks._studies import SHARED, arguments, finish, run_all, study  # isort: skip  (sets threads before numpy)

import time
from collections import Counter
from typing import Any

import numpy as np
import polars as pl

from kalibre.core.bars import Bars
from kalibre.sources.simulated import Simulated, block_permute

N_BARS = 10_000
KINDS = ("driftless", "drifting", "garch", "permuted")


def null_study(kind: str, seed: int) -> dict[str, Any]:
    """Run one study on one null market."""
    return study(null_bars(kind, seed), kind=kind, seed=seed)


def null_bars(kind: str, seed: int) -> Bars:
    """Make a market in which nothing can be foretold; `permuted` shuffles real bars in blocks of four hours."""
    if kind != "permuted":
        return next(Simulated(kind, seed=seed, n_bars=N_BARS).history("SIM", "15m"))  # type: ignore[arg-type]
    path = SHARED / "BTCUSDT_spot_15m_2024.parquet"
    real = Bars.from_frame(pl.read_parquet(path), symbol="BTCUSDT", timeframe="15m")
    first = int(np.random.default_rng(seed).integers(0, len(real) - N_BARS))
    return block_permute(real[first : first + N_BARS], block_bars=16, seed=seed)


def main() -> int:
    """Run every null and count what got through."""
    options = arguments(__doc__ or "", each=30).parse_args()
    each = 2 if options.quick else options.each
    kinds = [kind for kind in KINDS if kind != "permuted" or SHARED.is_dir()]
    began = time.perf_counter()
    rows = list(run_all(null_study, [(kind, seed) for seed in range(each) for kind in kinds], options.workers))
    minutes = (time.perf_counter() - began) / 60
    promoted = [row for row in rows if row["promoted"]]
    if not options.json:
        if len(kinds) < len(KINDS):
            print("../shared/data is absent: no permuted real returns")
        print(f"{'market':<10} {'studies':>7} {'promoted':>8} {'AUC':>6} {'Sharpe':>7} {'hold':>6} {'DSR>.95':>7}")
        for kind in kinds:
            mine = [row for row in rows if row["kind"] == kind]
            median = {name: float(np.median([row[name] for row in mine])) for name in ("auc", "sharpe", "hold_sharpe")}
            print(
                f"{kind:<10} {len(mine):>7} {sum(row['promoted'] for row in mine):>8} {median['auc']:>6.3f} "
                f"{median['sharpe']:>7.2f} {median['hold_sharpe']:>6.2f} {sum(row['dsr'] >= 0.95 for row in mine):>7}"
            )
        passed = Counter(
            gate for row in rows for gate in {"log_loss", "auc", "dsr", "sharpe", "dummies"} - set(row["failed"])
        )
        print("gates that a null passed: " + ", ".join(f"{gate} {n}" for gate, n in passed.most_common()))
        print(f"{len(rows)} studies of {N_BARS:,} bars in {minutes:.1f} min, {len(promoted)} promoted")
        for row in promoted:
            print(f"  promoted: {row}")
    bars = {"at most 1 promoted": len(promoted) <= 1, "under 15 min": minutes < 15}
    return finish(rows, bars, as_json=options.json, judged=not options.quick and each * len(kinds) >= 120)


if __name__ == "__main__":
    raise SystemExit(main())
