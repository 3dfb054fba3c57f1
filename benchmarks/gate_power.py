"""The gate sees an edge: a strong one every time, and the smallest it sees nine times in ten."""

from __future__ import annotations

from benchmarks._studies import arguments, finish, run_all, study  # isort: skip  (sets the threads before numpy)

import time
from collections import Counter
from typing import Any

import numpy as np

from kalibre.sources.simulated import Simulated

YEAR_BARS = 35_040
STRONG = 0.65
LADDER = {1: (0.56, 0.57, 0.58, 0.60), 2: (0.55, 0.56, 0.57, 0.58), 4: (0.55, 0.56, 0.57)}
"""Oracle AUCs by years of history: around where each length's power goes from poor to good."""
POWER = 0.9


def edge_study(auc: float, years: int, seed: int) -> dict[str, Any]:
    """Run one study on one market with a planted edge."""
    market = Simulated("edge", auc=auc, seed=seed, n_bars=years * YEAR_BARS)
    bars = market.simulate("SIM", "15m")[0]
    return study(bars, auc_planted=auc, years=years, seed=seed, oracle_sharpe=market.oracle().sharpe)


def main() -> int:
    """Run the strong edge and the ladder, print the power curve."""
    parser = arguments(__doc__ or "", seeds=20)
    parser.add_argument("--years", type=int, action="append", choices=LADDER, help="only this rung; may be repeated")
    options = parser.parse_args()
    seeds = 2 if options.quick else options.seeds
    ladder = {1: (0.55,)} if options.quick else {years: LADDER[years] for years in options.years or LADDER}
    jobs = [
        (auc, years, seed) for years in sorted(ladder, reverse=True) for auc in ladder[years] for seed in range(seeds)
    ]
    jobs += [(STRONG, 1, seed) for seed in range(seeds)]
    began = time.perf_counter()
    rows = list(run_all(edge_study, jobs, options.workers))
    strong = [row for row in rows if row["auc_planted"] == STRONG]
    median = {name: float(np.median([row[name] for row in strong])) for name in ("auc", "sharpe", "drawdown", "ece")}
    smallest = {years: _smallest(rows, years) for years in sorted(ladder)}
    if not options.json:
        print("years  oracle AUC  oracle Sharpe  studies  promoted   AUC  Sharpe  drawdown   ECE  refused most by")
        for years, auc in sorted({(row["years"], row["auc_planted"]) for row in rows}):
            _print(years, auc, [row for row in rows if (row["years"], row["auc_planted"]) == (years, auc)])
        for years, edge in smallest.items():
            seen = f"oracle AUC {edge:.3f}" if edge else "none of the ladder"
            print(f"smallest edge promoted at least {POWER:.0%} of the time on {years} year(s): {seen}")
        print(f"{len(rows)} studies in {(time.perf_counter() - began) / 60:.1f} min")
    bars = {
        f"strong edge promoted {seeds} of {seeds}": all(row["promoted"] for row in strong),
        "median AUC > 0.60": median["auc"] > 0.60,
        "median Sharpe > 1.2": median["sharpe"] > 1.2,
        "median drawdown < 15 %": median["drawdown"] < 0.15,
        "median ECE <= 0.05": median["ece"] <= 0.05,
    }
    return finish(rows, bars, as_json=options.json, judged=not options.quick)


def _print(years: int, auc: float, rows: list[dict[str, Any]]) -> None:
    middle = {name: float(np.median([row[name] for row in rows])) for name in ("auc", "sharpe", "drawdown", "ece")}
    refused = Counter(gate for row in rows for gate in row["failed"])
    print(
        f"{years:>5}  {auc:>10.3f}  {rows[0]['oracle_sharpe']:>13.2f}  {len(rows):>7}  "
        f"{sum(row['promoted'] for row in rows):>8}  {middle['auc']:.3f}  {middle['sharpe']:>5.2f}  "
        f"{middle['drawdown']:>8.3f}  {middle['ece']:.3f}  "
        + ", ".join(f"{gate} {count}" for gate, count in refused.most_common(4))
    )


def _smallest(rows: list[dict[str, Any]], years: int) -> float | None:
    """Return the smallest edge from which on every larger one of the ladder was seen with the power asked for."""
    edges = sorted({row["auc_planted"] for row in rows if row["years"] == years}, reverse=True)
    found = None
    for edge in edges:
        mine = [row["promoted"] for row in rows if (row["years"], row["auc_planted"]) == (years, edge)]
        if np.mean(mine) < POWER:
            break
        found = edge
    return found


if __name__ == "__main__":
    raise SystemExit(main())
