"""Calibrated: the over-confident model fails, the perfect one passes, and the error's own error is known.

Forecasts are drawn from a market in which the true probability has a closed form, with labels that overlap (horizon 4)
or not (horizon 1). Beside the house's debiased error stand the two that are usually computed on the same forecasts:
ten or fifteen bins of equal width (Naeini et al. 2015, Guo et al. 2017; what torchmetrics and netcal report by default)
and as many bins of equal mass as the house uses, both with the noise left in.
"""

from __future__ import annotations

from benchmarks._studies import SHARED, arguments, finish, run_all  # isort: skip  (sets the threads before numpy is imported)

from collections import defaultdict
from typing import Any

import numpy as np
from tests.fakes.overlapping import over_confident, perfect_forecasts

from kalibre.evaluation.calibration import calibration_error

SIZES = (1_000, 2_000, 3_500, 7_000, 17_500, 35_000)
HORIZONS = (1, 4)
PLANTED = 3.0
"""Log-odds three times too large: what boosting without early stopping does."""
MODELS = {"perfect": 1.0, "over-confident": PLANTED, "slightly so": 1.5}
BAR = 0.05


def equal_width(p: np.ndarray, y: np.ndarray, bins: int = 15) -> float:
    """Return the usual expected calibration error: bins of equal width, noise left in."""
    number = np.minimum((p * bins).astype(int), bins - 1)
    weight = np.bincount(number, minlength=bins)
    gap = np.abs(np.bincount(number, y, bins) - np.bincount(number, p, bins))
    return float(gap[weight > 0].sum() / len(p))


def job(horizon: int, n: int, model: str, seeds: int) -> dict[str, Any]:
    """Measure one kind of model at one length over many seeds."""
    rows = []
    for seed in range(seeds):
        p, y = perfect_forecasts(n, horizon_bars=horizon, edge=0.15, seed=seed)
        forecast = over_confident(p, MODELS[model])
        result = calibration_error(forecast, y, horizon_bars=horizon, seed=seed, resamples=500)
        truth = float(np.abs(forecast - p).mean())
        rows.append((truth, result.ece, result.ece_plain, equal_width(forecast, y), *result.band, result.n_bins))
    truth, ece, plain, width, low, high, bins = np.array(rows).T
    return {
        "horizon": horizon,
        "n": n,
        "model": model,
        "bins": int(bins[0]),
        "true": float(truth.mean()),
        "debiased": float(ece.mean()),
        "bias": float((ece - truth).mean()),
        "plain_mass": float(plain.mean()),
        "plain_width": float(width.mean()),
        "band_low": float(low.mean()),
        "band_high": float(high.mean()),
        "above_band": float((ece > high).mean()),
        "passes": float((ece <= BAR).mean()),
        "plain_passes": float((plain <= BAR).mean()),
    }


def real_bars() -> dict[str, Any] | None:
    """Return the error and band that a study reports on the real year; None where the data is absent."""
    path = SHARED / "BTCUSDT_spot_15m_2024.parquet"
    if not path.is_file():
        return None
    import polars as pl

    from kalibre.core.bars import Bars
    from kalibre.core.settings import Settings
    from kalibre.evaluation.study import run_study

    bars = Bars.from_frame(pl.read_parquet(path), symbol="BTCUSDT", timeframe="15m")
    forecast = run_study(bars, Settings(), created_at_ms=0).walk_forward.forecast
    return {"ece": forecast.ece, "band": list(forecast.ece_band), "samples": forecast.n_samples}


def main() -> int:
    """Run it, print the table and judge the bars."""
    options = arguments(__doc__ or "", seeds=100).parse_args()
    seeds = 10 if options.quick else options.seeds
    jobs = [
        (horizon, n, model, seeds) for model in MODELS for horizon in HORIZONS for n in SIZES if n // horizon >= 400
    ]
    rows = sorted(run_all(job, jobs, options.workers), key=lambda row: (row["model"], row["horizon"], row["n"]))
    real = None if options.quick else real_bars()
    if not options.json:
        print(
            f"{seeds} seeds a row; debiased, plain and true errors are means over seeds; passes = share with <= {BAR}"
        )
        print(
            "model           h       n bins    true debiased    bias  plain(mass) plain(width)  band 5-95 %"
            "    above  passes"
        )
        for row in rows:
            print(
                f"{row['model']:<14} {row['horizon']:>2} {row['n']:>7} {row['bins']:>4} {row['true']:>7.4f}"
                f" {row['debiased']:>8.4f} {row['bias']:>+7.4f} {row['plain_mass']:>12.4f} {row['plain_width']:>12.4f}"
                f"  {row['band_low']:.4f}-{row['band_high']:.4f} {row['above_band']:>7.3f} {row['passes']:>7.3f}"
            )
        if real is not None:
            low, high = real["band"]
            print(f"real bars, BTCUSDT 15m 2024, walk-forward: ECE {real['ece']:.4f}, band {low:.4f} - {high:.4f}")
    by_model: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_model[row["model"]].append(row)
    perfect, planted = by_model["perfect"], by_model["over-confident"]
    # One in twenty perfect models lies above a 95 % band; three standard errors over the seeds are allowed on top.
    allowed = 0.05 + 3 * (0.05 * 0.95 / seeds) ** 0.5
    passes, above = (min(r["passes"] for r in perfect), max(r["above_band"] for r in perfect))
    bars = {
        f"perfect model passes (ECE <= {BAR}) in at least 99 % at every length": passes >= 0.99,
        f"perfect model is above its 95 % band in at most {allowed:.1%} at every length": above <= allowed,
        f"planted over-confident model fails (ECE > {BAR}) in at least 95 % at every length": (
            max(r["passes"] for r in planted) <= 0.05
        ),
        "planted over-confident model is above the band in at least 99 % at every length": (
            min(r["above_band"] for r in planted) >= 0.99
        ),
        "the debiased error's bias is at most .012 everywhere": max(abs(r["bias"]) for r in rows) <= 0.012,
    }
    return finish({"table": rows, "real_bars": real}, bars, as_json=options.json, judged=not options.quick)


if __name__ == "__main__":
    raise SystemExit(main())
