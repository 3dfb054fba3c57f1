"""Fast sweep: 2,000 threshold pairs over a year of real 15-minute bars, beside vectorbt in its own environment.

Same scores (of a model fitted on the first half), thresholds and costs; signals of one bar fill at the next bar's open,
everything in and everything out. Each contender is a process of its own, so that its peak memory is its own; they run
in turns. vectorbt runs twice: in portions of 50 pairs, where it is fastest, and of 500, which is nearer to the one call
it is made for (all 2,000 at once take it over 8 GB). Bars: at least 300 times the faster one's pairs per second on one
thread, at most 15 % of the memory of portions of 500, every figure of every pair reconciled. Besides: what memory the
sweep itself adds, and how speed depends on the scores' autocorrelation and on the limits (no peer).

    python -m benchmarks.sweep [--quick] [--json]
"""

from __future__ import annotations

import benchmarks._single_thread  # noqa: F401  # isort: skip

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks._sweep_workers import BARS_PER_YEAR, FIGURES

from kalibre.core.bars import Bars
from kalibre.core.settings import CostSettings, ModelSettings, RiskSettings
from kalibre.evaluation.sweep import sweep, threshold_grid
from kalibre.features.engine import FeatureEngine, FeatureSpec
from kalibre.models.gradient_boosting import GradientBoosting
from kalibre.sources.simulated import Simulated

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT.parent / "shared" / "data" / "market" / "crypto" / "BTCUSDT_spot_15m_2024.parquet"
PEER = ROOT / ".venv-vectorbt"
SPEED, MEMORY = 300.0, 0.15
TOLERANCE = {"sharpe": 1e-8, "max_drawdown": 1e-9, "total_return": 1e-9, "n_trades": 0.0, "win_rate": 1e-12}


def market() -> Bars:
    """Return the year of real bars, or a simulated one where the shared data is absent."""
    if not FILE.is_file():
        return next(Simulated(n_bars=34_945).history("SIM", "15m"))
    import polars as pl

    return Bars.from_frame(pl.read_parquet(FILE), symbol="BTCUSDT", timeframe="15m")


def model_scores(bars: Bars) -> Any:
    """Return the scores that a model fitted on the first half gives every bar; NaN before the features' warm-up."""
    values = FeatureEngine(FeatureSpec(bars.timeframe)).batch(bars)
    engine_columns = FeatureSpec(bars.timeframe).names
    y = np.append(bars.close[4:] > bars.close[:-4], np.zeros(4)).astype(np.float64)
    known, half = np.flatnonzero(np.isfinite(values).all(axis=1)), len(bars) // 2
    fit, stop = known[known < half - 4_000], known[(known >= half - 3_990) & (known < half)]
    model = GradientBoosting.fit(
        *(values[fit], y[fit]),
        stop_features=values[stop],
        stop_y=y[stop],
        settings=ModelSettings(rounds=100),
        columns=engine_columns,
    )
    score = np.full(len(bars), np.nan)
    score[known] = model.predict_proba(values[known])
    return score


def autocorrelated(n: int, memory: float) -> Any:
    """Return the scores of a first-order autoregression."""
    noise = np.random.default_rng(7).normal(size=n)
    for t in range(1, n):
        noise[t] = memory * noise[t - 1] + np.sqrt(1 - memory * memory) * noise[t]
    return 1 / (1 + np.exp(-0.2 * noise))


def peer_python() -> Path:
    """Return vectorbt's own interpreter; made on the first run."""
    python = PEER / "bin" / "python"
    if not (PEER / "installed").is_file():
        print(f"making {PEER.name} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(PEER)], check=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "vectorbt", "plotly<6"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (PEER / "installed").touch()
    return python


class Worker:
    """A contender in a process of its own."""

    def __init__(self, python: Path, name: str, folder: Path, option: int) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "ignore"}
        command = [str(python), str(ROOT / "benchmarks" / "_sweep_workers.py"), name, str(folder), str(option)]
        self._process = subprocess.Popen(
            command, stdin=-1, stdout=-1, stderr=subprocess.DEVNULL, env=environment, text=True
        )
        self._answer()
        self.seconds: list[float] = []
        self.peak_mb = self.grown_mb = 0.0

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._process.args} ended with {self._process.wait()}")
        return line

    def run(self) -> None:
        """Sweep once."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        answer = json.loads(self._answer())
        self.seconds.append(answer["seconds"])
        self.peak_mb, self.grown_mb = answer["peak_mb"], answer["grown_mb"]

    def end(self) -> None:
        """Let it write its figures and go."""
        self._process.communicate(timeout=120)


def alone(bars: Bars, n_pairs: int) -> list[dict[str, Any]]:
    """Time the sweep on scores of different memory, and with limits on."""
    rows = []
    calm = np.full(len(bars), 2e-3)
    free = RiskSettings(max_exposure=1, risk_per_trade=1, daily_loss=1)
    settings = {
        "all in, no limit": free,
        "sized, no limit": free.model_copy(update={"risk_per_trade": 2e-3}),
        "default limits": RiskSettings(),
    }
    for memory in (0.0, 0.5, 0.9, 0.98):
        score = autocorrelated(len(bars), memory)
        entries, exits = threshold_grid(score, n_pairs)
        for name, risk in settings.items():
            seconds = []
            for _ in range(4):
                began = time.perf_counter()
                swept = sweep(
                    *(bars, score, calm, entries, exits, CostSettings(), risk),
                    bars_per_year=BARS_PER_YEAR,
                    horizon_bars=4,
                )
                seconds.append(time.perf_counter() - began)
            pairs = len(entries) / statistics.median(seconds[1:])
            rows.append({"memory": memory, "risk": name, "pairs_per_s": pairs, "trades": float(swept.n_trades.mean())})
    return rows


def reconcile(folder: Path) -> dict[str, float]:
    """Return the largest difference of each figure over all pairs; undefined on both sides counts as equal."""
    with np.load(folder / "vectorbt.npz") as theirs, np.load(folder / "kalibre.npz") as ours:
        differences = {}
        for name in FIGURES:
            # A pair without a trade has no win rate, one that never moves no Sharpe: vectorbt says NaN, Kalibre 0.
            a, b = np.nan_to_num(theirs[name].astype(np.float64)), ours[name].astype(np.float64)
            differences[name] = float(np.max(np.abs(a - b) / np.maximum(1.0, np.abs(a))))
    return differences


def main() -> int:
    """Run the contenders in turns and print their table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="200 pairs, one turn; judges nothing")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    bars, n_pairs, turns = market(), 200 if options.quick else 2_000, 1 if options.quick else 3
    score = model_scores(bars)
    entries, exits = threshold_grid(score, n_pairs)
    known = score[np.isfinite(score)]
    memory = float(np.corrcoef(known[1:], known[:-1])[0, 1])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        columns = {key: getattr(bars, key) for key in ("open_time", "open", "high", "low", "close", "volume")}
        np.savez(folder / "given.npz", score=score, entries=entries, exits=exits, **columns)
        workers = {
            "vectorbt, 50 at once": Worker(peer_python(), "vectorbt", folder, 50),
            "vectorbt, 500 at once": Worker(peer_python(), "vectorbt", folder, 500),
            "kalibre, 1 thread": Worker(Path(sys.executable), "kalibre", folder, 1),
            "kalibre, 2 threads": Worker(Path(sys.executable), "kalibre", folder, 2),
        }
        for _ in range(turns):
            for contender, worker in workers.items():
                for _ in range(1 if contender.startswith("vectorbt") else 7):
                    worker.run()
        for worker in workers.values():
            worker.end()
        differences = reconcile(folder)
    rows = {
        contender: {
            "pairs_per_s": len(entries) / statistics.median(worker.seconds),
            "peak_mb": worker.peak_mb,
            "grown_mb": worker.grown_mb,
        }
        for contender, worker in workers.items()
    }
    peers, one = [rows[name] for name in rows if name.startswith("vectorbt")], rows["kalibre, 1 thread"]
    faster = one["pairs_per_s"] / max(peer["pairs_per_s"] for peer in peers)
    lighter = one["peak_mb"] / rows["vectorbt, 500 at once"]["peak_mb"]
    reconciled = all(differences[figure] <= TOLERANCE[figure] for figure in FIGURES)
    judged = {
        f"at least {SPEED:.0f}x vectorbt's pairs/s, at its fastest: {faster:,.0f}x": faster >= SPEED,
        f"at most {MEMORY:.0%} of its memory, 500 pairs at once: {lighter:.1%}": lighter <= MEMORY,
        f"reconciled, all {len(entries):,} pairs": reconciled,
    }
    besides = alone(bars, n_pairs)
    if options.json:
        print(json.dumps({"rows": rows, "differences": differences, "besides": besides, "bars": judged}, indent=1))
    else:
        print(f"{platform.machine()}, Python {platform.python_version()}, {datetime.now(tz=UTC):%Y-%m-%d}")
        print(f"{len(bars):,} bars, {len(entries):,} pairs, scores of a model, autocorrelation {memory:.2f}\n")
        print(f"{'':<22} {'pairs/s':>9} {'peak MB':>8} {'of it, by the sweep':>20}")
        for contender, row in rows.items():
            print(f"{contender:<22} {row['pairs_per_s']:>9,.0f} {row['peak_mb']:>8,.0f} {row['grown_mb']:>20,.0f}")
        print(
            "\nlargest difference of a pair: " + ", ".join(f"{key} {value:.1e}" for key, value in differences.items())
        )
        print("\nscores of an autoregression, one thread, no peer\n")
        print(f"{'memory':>6} {'trades a pair':>13}  {'risk':<18} {'pairs/s':>9}")
        for row in besides:
            print(f"{row['memory']:>6.2f} {row['trades']:>13,.0f}  {row['risk']:<18} {row['pairs_per_s']:>9,.0f}")
        print()
        for bar, passed in judged.items():
            print(f"{'PASS' if passed else 'FAIL'}  {bar}")
    return 0 if options.quick or all(judged.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
