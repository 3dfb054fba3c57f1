"""Feature engine beside TA-Lib in one run: a batch of 60 columns over 1M bars, and one new bar.

    python -m benchmarks.features_speed [--quick] [--json]

Both sides compute the same 60 columns on the same float64 arrays and keep all of them; TA-Lib computes functions of
several outputs once. Runs are interleaved, medians are compared. For the new bar, TA-Lib's peer is `talib.stream` on
a window as long as its own unstable period needs (300 bars). No fastmath on our side; one thread on both.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import talib
from benchmarks.features_right import simulated_bars
from talib import stream

from kalibre.core.bars import Bars
from kalibre.features.engine import FeatureEngine, FeatureSpec

BATCH_BAR, BATCH_GOAL, STEP_BAR = 1.2, 3.0, 5.0
STREAM_WINDOW = 300

Call = tuple[tuple[str, ...], str, tuple[str, ...], tuple[Any, ...]]
"""Our columns, TA-Lib's function, its inputs and its parameters."""

_C, _HL, _HLC, _HLCV = ("close",), ("high", "low"), ("high", "low", "close"), ("high", "low", "close", "volume")
CALLS: tuple[Call, ...] = (
    *(((f"sma_{n}",), "SMA", _C, (n,)) for n in (5, 10, 30, 50, 100)),
    *(((f"ema_{n}",), "EMA", _C, (n,)) for n in (9, 12, 26, 50, 100)),
    *(((f"wma_{n}",), "WMA", _C, (n,)) for n in (10, 20, 50)),
    (("macd_12_26", "macd_signal_12_26_9", "macd_histogram_12_26_9"), "MACD", _C, (12, 26, 9)),
    (("adx_14",), "ADX", _HLC, (14,)),
    (("plus_di_14",), "PLUS_DI", _HLC, (14,)),
    (("minus_di_14",), "MINUS_DI", _HLC, (14,)),
    (("aroon_down_14", "aroon_up_14"), "AROON", _HL, (14,)),
    (("sar",), "SAR", _HL, (0.02, 0.2)),
    *(((f"slope_{n}",), "LINEARREG_SLOPE", _C, (n,)) for n in (14, 20)),
    *(((f"change_{n}",), "MOM", _C, (n,)) for n in (5, 10)),
    *(((f"roc_{n}",), "ROC", _C, (n,)) for n in (5, 10, 20)),
    *(((f"rsi_{n}",), "RSI", _C, (n,)) for n in (7, 14, 28)),
    (("stochastic_k_14", "stochastic_d_14"), "STOCH", _HLC, (14, 3, 0, 3, 0)),
    (("stochastic_rsi_k_14", "stochastic_rsi_d_14"), "STOCHRSI", _C, (14, 14, 3, 0)),
    (("cci_20",), "CCI", _HLC, (20,)),
    *(((f"williams_r_{n}",), "WILLR", _HLC, (n,)) for n in (14, 28)),
    (("trix_15",), "TRIX", _C, (15,)),
    (("ultimate_7_14_28",), "ULTOSC", _HLC, (7, 14, 28)),
    (("true_range",), "TRANGE", _HLC, ()),
    (("atr_14",), "ATR", _HLC, (14,)),
    (("natr_14",), "NATR", _HLC, (14,)),
    *(((f"stddev_{n}",), "STDDEV", _C, (n,)) for n in (10, 20)),
    (("bollinger_upper_20", "sma_20", "bollinger_lower_20"), "BBANDS", _C, (20, 2.0, 2.0)),
    *(((f"donchian_upper_{n}",), "MAX", ("high",), (n,)) for n in (20, 50)),
    *(((f"donchian_lower_{n}",), "MIN", ("low",), (n,)) for n in (20, 50)),
    *(((f"efficiency_{n}",), "ER", _C, (n,)) for n in (10, 20)),
    (("obv_change",), "OBV", ("close", "volume"), ()),
    (("ad_change",), "AD", _HLCV, ()),
    (("chaikin_oscillator_3_10",), "ADOSC", _HLCV, (3, 10)),
    (("mfi_14",), "MFI", _HLCV, (14,)),
    (("cmf_20",), "CMF", _HLCV, (20,)),
)
COLUMNS = tuple(name for names, *_ in CALLS for name in names)


def talib_batch(bars: Bars) -> list[Any]:
    """Compute every column by TA-Lib and keep it."""
    kept: list[Any] = []
    for _, function, inputs, parameters in CALLS:
        kept.append(getattr(talib, function)(*(getattr(bars, name) for name in inputs), *parameters))
    return kept


def talib_step(bars: Bars) -> list[Any]:
    """Compute the newest value of every column by TA-Lib's stream interface."""
    return [
        getattr(stream, function)(*(getattr(bars, name) for name in inputs), *parameters)
        for _, function, inputs, parameters in CALLS
    ]


def timed(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    kept = function()
    took = time.perf_counter() - start
    del kept
    return took


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the bars, fewer runs")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    n, runs = (100_000, 3) if options.quick else (1_000_000, 7)
    bars = simulated_bars(n)
    start = time.perf_counter()
    engine = FeatureEngine(FeatureSpec("15m", columns=COLUMNS))
    loaded = time.perf_counter() - start
    model = FeatureEngine(FeatureSpec("15m"))
    ours, theirs, whole = [], [], []
    for run in range(runs + 1):
        pair = (timed(lambda: engine.batch(bars)), timed(lambda: talib_batch(bars)), timed(lambda: model.batch(bars)))
        if run:
            for kept, took in zip((ours, theirs, whole), pair, strict=True):
                kept.append(took)
    new, window = list(bars[n - 2_000 :]), bars[n - STREAM_WINDOW :]
    steps, streams = [], []
    for _ in range(runs):
        engine.batch(bars[: n - 2_000])
        steps.append(timed(lambda: [engine.step(bar) for bar in new]) / len(new))
        streams.append(timed(lambda: [talib_step(window) for _ in range(50)]) / 50)
    batch, peer, step, streamed = (statistics.median(x) for x in (ours, theirs, steps, streams))
    result = {
        "machine": platform.processor() or platform.machine(),
        "bars": n,
        "columns": len(COLUMNS),
        "engine_ready_s": loaded,
        "batch_s": batch,
        "talib_batch_s": peer,
        "batch_ratio": peer / batch,
        "default_set_columns": len(model.columns),
        "default_set_s": statistics.median(whole),
        "step_us": step * 1e6,
        "talib_stream_us": streamed * 1e6,
        "step_ratio": streamed / step,
    }
    passed = result["batch_ratio"] >= BATCH_BAR and result["step_ratio"] >= STEP_BAR
    if options.json:
        print(json.dumps({**result, "pass": passed}))
        return 0 if passed else 1
    print(f"{len(COLUMNS)} columns, medians of {runs} interleaved runs, one thread; engine ready in {loaded:.2f} s")
    print(f"{'':34s}{'kalibre':>12s}{'TA-Lib':>12s}{'ratio':>8s}")
    print(f"{f'batch over {n:,} bars, s':34s}{batch:12.3f}{peer:12.3f}{peer / batch:8.2f}")
    print(f"{'one new bar, us':34s}{step * 1e6:12.2f}{streamed * 1e6:12.2f}{streamed / step:8.1f}")
    print(f"{f'default set, {len(model.columns)} columns, s':34s}{result['default_set_s']:12.3f}")
    for label, ratio, bar in (("batch", result["batch_ratio"], BATCH_BAR), ("new bar", result["step_ratio"], STEP_BAR)):
        print(f"{'PASS' if ratio >= bar else 'FAIL'}: {label} {ratio:.2f}x TA-Lib, bar {bar}x")
    print(f"{'reached' if result['batch_ratio'] >= BATCH_GOAL else 'not reached'}: goal of {BATCH_GOAL}x in batch")
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
