"""Every column that TA-Lib also has, beside TA-Lib: `|a - b| <= 1e-9 * max(|b|, column sd)` after the warm-up.

    python -m benchmarks.features_right [--quick] [--json]

Bars: BTCUSDT_spot_15m_2024 where ../shared/data is there; simulated ones with jumps, ties and quiet stretches; and the
same with halts, one of them longer than every warm-up. Where prices stand still for very long TA-Lib keeps the quotient
of two averages that have faded, whatever came before: `UNDEFINED` names the few columns and rows left out for that.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import talib
from numpy.typing import NDArray

from kalibre.core.bars import Bars
from kalibre.features.engine import FeatureEngine, FeatureSpec, all_columns

FloatArray = NDArray[np.float64]
TOLERANCE = 1e-9
HALTS = ((2_000, 40), (2_300, 14), (2_500, 40), (3_000, 1_500), (7_000, 100))


def _differences(total: FloatArray) -> FloatArray:
    return np.concatenate([[np.nan], np.diff(total)])


ORACLES: dict[str, Callable[[Bars], FloatArray]] = {
    "sma_10": lambda b: talib.SMA(b.close, 10),
    "sma_20": lambda b: talib.SMA(b.close, 20),
    "sma_50": lambda b: talib.SMA(b.close, 50),
    "sma_distance_20": lambda b: b.close / talib.SMA(b.close, 20) - 1,
    "ema_12": lambda b: talib.EMA(b.close, 12),
    "ema_26": lambda b: talib.EMA(b.close, 26),
    "ema_50": lambda b: talib.EMA(b.close, 50),
    "ema_distance_50": lambda b: b.close / talib.EMA(b.close, 50) - 1,
    "wma_20": lambda b: talib.WMA(b.close, 20),
    "macd_12_26": lambda b: talib.MACD(b.close, 12, 26, 9)[0],
    "macd_signal_12_26_9": lambda b: talib.MACD(b.close, 12, 26, 9)[1],
    "macd_histogram_12_26_9": lambda b: talib.MACD(b.close, 12, 26, 9)[2],
    "adx_14": lambda b: talib.ADX(b.high, b.low, b.close, 14),
    "plus_di_14": lambda b: talib.PLUS_DI(b.high, b.low, b.close, 14),
    "minus_di_14": lambda b: talib.MINUS_DI(b.high, b.low, b.close, 14),
    "aroon_up_14": lambda b: talib.AROON(b.high, b.low, 14)[1],
    "aroon_down_14": lambda b: talib.AROON(b.high, b.low, 14)[0],
    "sar": lambda b: talib.SAR(b.high, b.low, 0.02, 0.2),
    "slope_20": lambda b: talib.LINEARREG_SLOPE(b.close, 20),
    "efficiency_20": lambda b: talib.ER(b.close, 20),
    "change_10": lambda b: talib.MOM(b.close, 10),
    "roc_5": lambda b: talib.ROC(b.close, 5),
    "roc_10": lambda b: talib.ROC(b.close, 10),
    "roc_20": lambda b: talib.ROC(b.close, 20),
    "rsi_7": lambda b: talib.RSI(b.close, 7),
    "rsi_14": lambda b: talib.RSI(b.close, 14),
    "rsi_28": lambda b: talib.RSI(b.close, 28),
    "stochastic_k_14": lambda b: talib.STOCH(b.high, b.low, b.close, 14, 3, 0, 3, 0)[0],
    "stochastic_d_14": lambda b: talib.STOCH(b.high, b.low, b.close, 14, 3, 0, 3, 0)[1],
    "stochastic_rsi_k_14": lambda b: talib.STOCHRSI(b.close, 14, 14, 3, 0)[0],
    "stochastic_rsi_d_14": lambda b: talib.STOCHRSI(b.close, 14, 14, 3, 0)[1],
    "cci_20": lambda b: talib.CCI(b.high, b.low, b.close, 20),
    "williams_r_14": lambda b: talib.WILLR(b.high, b.low, b.close, 14),
    "trix_15": lambda b: talib.TRIX(b.close, 15),
    "ultimate_7_14_28": lambda b: talib.ULTOSC(b.high, b.low, b.close, 7, 14, 28),
    "true_range": lambda b: talib.TRANGE(b.high, b.low, b.close),
    "atr_14": lambda b: talib.ATR(b.high, b.low, b.close, 14),
    "natr_14": lambda b: talib.NATR(b.high, b.low, b.close, 14),
    "stddev_20": lambda b: talib.STDDEV(b.close, 20),
    "bollinger_upper_20": lambda b: talib.BBANDS(b.close, 20, 2.0, 2.0)[0],
    "bollinger_lower_20": lambda b: talib.BBANDS(b.close, 20, 2.0, 2.0)[2],
    "keltner_upper_20": lambda b: talib.KC(b.high, b.low, b.close, 20, 10, 2.0)[0],
    "keltner_lower_20": lambda b: talib.KC(b.high, b.low, b.close, 20, 10, 2.0)[2],
    "donchian_upper_20": lambda b: talib.MAX(b.high, 20),
    "donchian_lower_20": lambda b: talib.MIN(b.low, 20),
    "obv_change": lambda b: _differences(talib.OBV(b.close, b.volume)),
    "ad_change": lambda b: _differences(talib.AD(b.high, b.low, b.close, b.volume)),
    "chaikin_oscillator_3_10": lambda b: talib.ADOSC(b.high, b.low, b.close, b.volume, 3, 10),
    "mfi_14": lambda b: talib.MFI(b.high, b.low, b.close, b.volume, 14),
    "cmf_20": lambda b: talib.CMF(b.high, b.low, b.close, b.volume, 20),
}


UNDEFINED: dict[str, tuple[int, int]] = {
    **{f"rsi_{n}": (6 * n, 0) for n in (7, 14, 28)},
    "plus_di_14": (84, 0),
    "minus_di_14": (84, 0),
    "adx_14": (84, 600),
    "stochastic_rsi_k_14": (13, 18),
    "stochastic_rsi_d_14": (13, 20),
    "efficiency_20": (20, 0),
    "cmf_20": (19, 0),
    "sar": (250, 600),
}
"""After how many still bars TA-Lib's figure says nothing, and how many more it takes from the end of the stillness.

An RSI, DI or ADX becomes 0 here once its averages weigh the last movement by less than a thousandth (6.9 windows), so
that it does not depend on where the history began; TA-Lib keeps RSI and DI until a sum is below 1e-14, the ADX for
ever. The stochastic RSI of a level RSI and the money flow where nothing was traded are 0 here, in TA-Lib one rounding
error over another; no way travelled over no path is 0 here, there 1. Two SARs do not meet while nothing moves.
"""


def simulated_bars(n: int = 50_000, *, seed: int = 7) -> Bars:
    """Return bars whose volatility clusters, on a coarse price grid (ties), with quiet stretches and jumps."""
    rng = np.random.default_rng(seed)
    volatility = 0.002 * np.exp(np.convolve(rng.normal(size=n + 200), 0.98 ** np.arange(200), "valid")[:n] / 5)
    returns = volatility * rng.standard_normal(n)
    returns[rng.integers(0, n, n // 5_000)] *= 20
    returns[rng.random(n) < 0.05] = 0.0
    close = np.round(1_000 * np.exp(np.cumsum(returns)), 2)
    open_ = np.concatenate([[1_000.0], close[:-1]])
    reach = volatility * close
    high = np.round(np.maximum(open_, close) + reach * rng.exponential(0.5, n), 2)
    low = np.round(np.maximum(np.minimum(open_, close) - reach * rng.exponential(0.5, n), 0.01), 2)
    flat = rng.random(n) < 0.01
    high[flat] = low[flat] = open_[flat] = close[flat]
    volume = np.round(np.exp(rng.normal(3, 1, n)), 3)
    volume[rng.random(n) < 0.01] = 0.0
    time = np.arange(n, dtype=np.int64) * 900_000
    return Bars("SIM", "15m", time, open_, np.maximum(high, open_), np.minimum(low, open_), close, volume)


def still_bars(n: int = 50_000, *, seed: int = 9, halts: tuple[tuple[int, int], ...] = HALTS) -> Bars:
    """Return simulated bars that are halted now and then: at row so many, for so many bars, at the last close."""
    bars = simulated_bars(n, seed=seed)
    for start, length in halts:
        held = slice(start, start + length)
        for name in ("open", "high", "low", "close"):
            getattr(bars, name)[held] = bars.close[start - 1]
        bars.volume[held] = 0.0
    return bars


def still_for(close: FloatArray) -> NDArray[np.int64]:
    """Return for how many bars each close has been the same as the one before.

    Examples
    --------
    >>> still_for(np.array([1.0, 1.0, 1.0, 2.0])).tolist()
    [0, 1, 2, 0]
    """
    row = np.arange(len(close))
    moved = np.concatenate([[True], close[1:] != close[:-1]])
    return row - np.maximum.accumulate(np.where(moved, row, 0))


def _undefined(name: str, bars: Bars) -> NDArray[np.bool_]:
    """Say which rows of a column have no meaning in TA-Lib."""
    least, after = UNDEFINED.get(name, (len(bars), 0))
    there = still_for(bars.close) >= least
    since = np.arange(len(bars)) - np.maximum.accumulate(np.where(there, np.arange(len(bars)), -after - 1))
    return since <= after


def real_bars() -> Bars | None:
    """Return a year of real bars, or None where the shared data is absent."""
    import polars as pl

    path = Path(__file__).resolve().parents[2] / "shared/data/market/crypto/BTCUSDT_spot_15m_2024.parquet"
    if not path.is_file():
        return None
    return Bars.from_frame(pl.read_parquet(path), symbol="BTCUSDT", timeframe="15m")


def compare(bars: Bars) -> dict[str, dict[str, float]]:
    """Return, by column, the worst `|a - b| / max(|b|, sd)` after the warm-up and how many rows were compared."""
    engine = FeatureEngine(FeatureSpec(bars.timeframe, columns=all_columns()))
    values = engine.batch(bars)
    found = {}
    for name, oracle in ORACLES.items():
        place = engine.columns.index(name)
        theirs = oracle(bars)
        ours = values[:, place]
        start = max(int(engine.warmup_bars[place]), int(np.flatnonzero(np.isfinite(theirs))[0]))
        there = ~_undefined(name, bars)
        there[:start] = False
        a, b = ours[there], theirs[there]
        scale = np.maximum(np.abs(b), b.std())
        worst = np.abs(a - b) / scale
        found[name] = {
            "worst": float(np.max(worst)) if np.isfinite(worst).all() else float("inf"),
            "rows": len(a),
            "over": int(np.sum(~(worst <= TOLERANCE))),
            "first": int(np.flatnonzero(there)[~(worst <= TOLERANCE)][0]) if (~(worst <= TOLERANCE)).any() else -1,
        }
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer simulated bars")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    n = 10_000 if options.quick else 50_000
    sets = {"simulated": simulated_bars(n), "halted": still_bars(n)}
    real = real_bars()
    if real is not None:
        sets["BTCUSDT_spot_15m_2024"] = real
    results = {label: compare(bars) for label, bars in sets.items()}
    passed = all(row["over"] == 0 for rows in results.values() for row in rows.values())
    if options.json:
        print(json.dumps({"tolerance": TOLERANCE, "talib": talib.__version__, "results": results, "pass": passed}))
    else:
        for label, rows in results.items():
            print(f"{label}: worst |a - b| / max(|b|, sd), TA-Lib {talib.__version__}")
            for name, row in rows.items():
                verdict = "ok" if row["over"] == 0 else f"{row['over']} rows over {TOLERANCE:g}, first {row['first']}"
                print(f"  {name:26s} {row['worst']:9.1e}  {row['rows']:7d} rows  {verdict}")
        if real is None:
            print("real bars not found: ../shared/data is absent")
        left_out = ", ".join(f"{name} after {least}" for name, (least, _) in UNDEFINED.items())
        print(f"left out where TA-Lib has no figure (after so many still bars): {left_out}")
        print(f"{'PASS' if passed else 'FAIL'}: {len(ORACLES)} columns equal TA-Lib within {TOLERANCE:g}")
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
