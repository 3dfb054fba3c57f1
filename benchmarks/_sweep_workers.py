"""Workers of `benchmarks.sweep`: one process for each contender, so that speed and peak memory are each one's own.

    python benchmarks/_sweep_workers.py vectorbt|kalibre FOLDER [pairs at once, or threads]

A line on standard input starts a run; the answer is a line of JSON. The figures lie in FOLDER afterwards.
"""

import gc
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FEE, SLIPPAGE, CASH, BARS_PER_YEAR = 4e-4, 1e-4, 10_000.0, 35_040.0
FIGURES = ("sharpe", "max_drawdown", "total_return", "n_trades", "win_rate")


def vectorbt(given: Any, at_once: int) -> Callable[[], dict[str, Any]]:
    """Return vectorbt's sweep: signals of one bar fill at the open of the next, all cash in and all out."""
    import pandas as pd
    import vectorbt as vbt

    index = pd.to_datetime(given["open_time"], unit="ms")
    close, opens = pd.Series(given["close"], index=index), pd.Series(given["open"], index=index)
    score, entries, exits = given["score"], given["entries"], given["exits"]

    def run(n_bars: int = len(index), n_pairs: int = len(entries)) -> dict[str, Any]:
        parts = []
        for start in range(0, n_pairs, at_once):
            chosen = slice(start, min(start + at_once, n_pairs))
            buy, sell = np.zeros((2, n_bars, chosen.stop - start), dtype=bool)
            buy[1:] = score[: n_bars - 1, None] >= entries[None, chosen]
            sell[1:] = score[: n_bars - 1, None] <= exits[None, chosen]
            account = vbt.Portfolio.from_signals(
                close[:n_bars],
                pd.DataFrame(buy, index=index[:n_bars]),
                pd.DataFrame(sell, index=index[:n_bars]),
                price=opens[:n_bars],
                fees=FEE,
                slippage=SLIPPAGE,
                init_cash=CASH,
                freq="15min",
            )
            trades = account.trades.closed
            parts.append(
                {
                    "sharpe": account.sharpe_ratio().to_numpy(),
                    "max_drawdown": -account.max_drawdown().to_numpy(),
                    "total_return": account.total_return().to_numpy(),
                    "n_trades": trades.count().to_numpy(),
                    "win_rate": trades.win_rate().to_numpy(),
                }
            )
            # A portfolio holds itself in cycles: without this the portions would add up.
            del account, trades, buy, sell
            gc.collect()
        return {name: np.concatenate([part[name] for part in parts]) for name in FIGURES}

    run(500, 4)  # compile everything
    return run


def kalibre(given: Any, threads: int) -> Callable[[], dict[str, Any]]:
    """Return Kalibre's sweep over the same bars, with limits that are off."""
    from kalibre.core.bars import Bars
    from kalibre.core.settings import CostSettings, RiskSettings
    from kalibre.evaluation.sweep import sweep

    columns = {name: given[name] for name in ("open_time", "open", "high", "low", "close", "volume")}
    bars = Bars(symbol="BTCUSDT", timeframe="15m", **columns)
    costs = CostSettings(fee_bps=FEE * 1e4, slippage_bps=SLIPPAGE * 1e4)
    risk = RiskSettings(initial_cash=CASH, max_exposure=1, risk_per_trade=1, daily_loss=1)
    score, entries, exits, calm = given["score"], given["entries"], given["exits"], np.full(len(bars), 1e-3)

    def run(n_bars: int = len(bars), n_pairs: int = len(entries)) -> dict[str, Any]:
        shown = (bars[:n_bars], score[:n_bars], calm[:n_bars]) if n_bars < len(bars) else (bars, score, calm)
        swept = sweep(
            *(*shown, entries[:n_pairs], exits[:n_pairs], costs, risk),
            bars_per_year=BARS_PER_YEAR,
            horizon_bars=4,
            threads=threads,
        )
        return {name: getattr(swept, name) for name in FIGURES}

    run(500, 4)  # compile everything
    return run


def peak_mb() -> float:
    """Return this program's peak resident memory; `getrusage` alone would count what its parent held at the fork."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Answer each line with the seconds of a run and the peak memory so far."""
    name, folder, option = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    with np.load(folder / "given.npz") as file:
        given = {key: file[key] for key in file.files}
    run = {"vectorbt": vectorbt, "kalibre": kalibre}[name](given, option)
    warm = peak_mb()
    print("ready", flush=True)
    figures: dict[str, Any] = {}
    for _ in sys.stdin:
        began = time.perf_counter()
        figures = run()
        seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, "peak_mb": peak_mb(), "grown_mb": peak_mb() - warm}), flush=True)
    np.savez(folder / f"{name}.npz", **figures)


if __name__ == "__main__":
    main()
