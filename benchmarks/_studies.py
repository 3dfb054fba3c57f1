"""Whole studies by the dozen: a pool of single-threaded processes, one study a job, one row of figures a study."""

from __future__ import annotations

import benchmarks._single_thread  # noqa: F401  # isort: skip

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from kalibre.core.bars import Bars
from kalibre.core.settings import Settings

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "market" / "crypto"


def arguments(description: str, **defaults: int) -> argparse.ArgumentParser:
    """Return the flags that every study benchmark knows."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a small share of it, to see that it runs; judges nothing")
    parser.add_argument("--json", action="store_true", help="figures as JSON on standard output")
    parser.add_argument("--workers", type=int, default=2, help="processes at once")
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    return parser


def study(bars: Bars, **labels: Any) -> dict[str, Any]:
    """Run the default study on some bars, remembering nothing, and return its figures as one row."""
    from kalibre.evaluation.study import run_study

    began = time.perf_counter()
    result = run_study(bars, Settings(), created_at_ms=0)
    pooled, final = result.walk_forward, result.final
    return {
        **labels,
        "promoted": result.qualifies,
        "failed": [gate.name for gate in result.failed],
        "auc": pooled.forecast.auc,
        "ece": pooled.forecast.ece,
        "sharpe": pooled.trading.sharpe,
        "drawdown": pooled.trading.max_drawdown,
        "trades": pooled.trading.n_trades,
        "dsr": result.significance.dsr,
        "pbo": result.significance.pbo,
        "final_auc": final.forecast.auc if final else None,
        "final_ece": final.forecast.ece if final else None,
        "final_sharpe": final.trading.sharpe if final else None,
        "hold_sharpe": next(d.trading.sharpe for d in pooled.dummies if d.name == "buy_and_hold" and d.trading),
        "seconds": time.perf_counter() - began,
    }


def run_all(
    job: Callable[..., dict[str, Any]], jobs: Iterable[tuple[Any, ...]], workers: int
) -> Iterator[dict[str, Any]]:
    """Run jobs in processes of their own and yield their rows as they come, with a word of progress."""
    waiting = list(jobs)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(job, *one) for one in waiting]
        for done, future in enumerate(as_completed(futures), start=1):
            row = future.result()
            print(f"\r{done}/{len(waiting)}", end="" if done < len(waiting) else "\n", file=sys.stderr, flush=True)
            yield row


def finish(rows: Any, bars: dict[str, bool], *, as_json: bool, judged: bool) -> int:
    """Print PASS or FAIL a bar (or the rows as JSON) and return the exit code."""
    if as_json:
        print(json.dumps({"machine": machine(), "rows": rows, "bars": bars}, indent=1))
    else:
        print(machine())
        for bar, held in bars.items():
            print(f"{'PASS' if held else 'FAIL'}  {bar}" if judged else f"seen  {bar}: {held} (--quick judges nothing)")
    return 0 if not judged or all(bars.values()) else 1


def machine() -> str:
    """Say when and on what this ran."""
    cores = len(os.sched_getaffinity(0))
    now = f"{datetime.now(tz=UTC):%Y-%m-%d %H:%M} UTC"
    return f"{now}, {cores} cores, {platform.machine()}, Python {platform.python_version()}"
