"""What online_learning.py learns from: planted streams that drift, River's generators, and real bars."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "market" / "crypto"
REAL = "BTCUSDT_spot_15m_2024"


def logistic(seed: int, n: int, drift: int | None = None, *, columns: int = 20) -> tuple[Any, Any]:
    """Return rows and outcomes of a logistic truth that turns around at `drift`."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, columns))
    truth = rows @ (rng.normal(size=columns) * 3.0 / math.sqrt(columns))
    if drift is not None:
        truth[drift:] *= -1.0
    return rows, rng.random(n) < 1.0 / (1.0 + np.exp(-truth))


def _generated(made: Any, n: int) -> tuple[Any, Any]:
    pairs = [([float(value) for value in x.values()], bool(y)) for x, y in made.take(n)]
    return np.array([row for row, _ in pairs]), np.array([up for _, up in pairs])


def _concepts(name: str, seed: int) -> tuple[Any, Any]:
    """Return two of River's generators: before the drift, and after."""
    from river.datasets import synth

    other = seed + 1_000
    match name:
        case "sea":
            return synth.SEA(variant=0, noise=0.05, seed=seed), synth.SEA(variant=3, noise=0.05, seed=other)
        case "agrawal":
            return (
                synth.Agrawal(classification_function=4, seed=seed),
                synth.Agrawal(classification_function=6, seed=other),
            )
        case "hyperplane":
            one, two = (
                synth.Hyperplane(n_features=10, n_drift_features=0, seed=s, noise_percentage=0.05)
                for s in (seed, other)
            )
            return one, two
        case _:
            return synth.Sine(classification_function=0, seed=seed), synth.Sine(classification_function=1, seed=other)


def planted(name: str, seed: int, n: int, drift: int | None) -> tuple[Any, Any]:
    """Return rows and outcomes of a stream whose truth changes at once at `drift` (None: never)."""
    if name == "logistic":
        return logistic(seed, n, drift)
    before, after = _concepts(name, seed)
    if drift is None:
        return _generated(before, n)
    one, two = _generated(before, drift), _generated(after, n - drift)
    return np.vstack([one[0], two[0]]), np.concatenate([one[1], two[1]])


def real_bars() -> tuple[Any, Any] | None:
    """Return the default features of a real year whose rows are all known, and whether the next close was higher."""
    if not FOLDER.is_dir():
        return None
    import polars as pl

    from kalibre.core.bars import Bars
    from kalibre.features.engine import FeatureEngine, FeatureSpec

    bars = Bars.from_frame(pl.read_parquet(FOLDER / f"{REAL}.parquet"), symbol="BTCUSDT", timeframe="15m")
    rows = FeatureEngine(FeatureSpec("15m", higher_timeframes=("1h", "4h"))).batch(bars)[:-1]
    known = np.isfinite(rows).all(axis=1)
    return np.ascontiguousarray(rows[known]), (bars.close[1:] > bars.close[:-1])[known]
