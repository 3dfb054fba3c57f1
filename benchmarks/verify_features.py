"""No future, no skew: verify everything from bars to signals over a year of real bars, and catch every planted leak.

    python -m benchmarks.verify_features [--quick] [--json]

Bars: BTCUSDT_spot_15m_2024 where ../shared/data is there, else simulated ones.
"""

from __future__ import annotations

import argparse
import json
import time

from benchmarks.features_right import real_bars, simulated_bars
from tests.fakes.leaks import HONEST, LEAKS, STAGE_LEAKS
from tests.fakes.models import small_bundle

from kalibre.bars.calendars import get_calendar
from kalibre.core.bars import Bars
from kalibre.core.settings import Settings
from kalibre.dataset.splits import walk_forward
from kalibre.evaluation.materials import feature_spec, named_label, prepare
from kalibre.evaluation.pipeline import Pipeline, signals, verify_features, verify_pipeline
from kalibre.evaluation.verification import VerificationReport, verify
from kalibre.evaluation.walk_forward import Recipe, fit_recipe
from kalibre.features.engine import FeatureEngine, FeatureSpec, all_columns

SHORT_COLUMNS = ("realised_volatility_20", "rsi_14", "log_return_1")


def learnt(bars: Bars, settings: Settings) -> tuple[FeatureEngine, Recipe]:
    """Fit, calibrate and choose thresholds as `kalibre train` does for the bundle."""
    engine = FeatureEngine(feature_spec(bars, settings))
    material, dataset = prepare(bars, engine, settings, get_calendar("24/7"))
    _, last = walk_forward(dataset, settings.model.folds, 0.2)
    return engine, fit_recipe(material, last)


def as_row(name: str, report: VerificationReport, seconds: float) -> dict[str, object]:
    return {"spec": name, "seconds": seconds, **report.as_dict(), "text": str(report)}


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
        rows.append(as_row(name, report, time.perf_counter() - start))
    settings = Settings()
    engine, recipe = learnt(bars, settings)
    for target in ("direction", "triple_barrier"):
        whole = Pipeline(
            engine,
            named_label(target, settings.model.horizon_bars, get_calendar("24/7")),
            score=recipe.classifier.predict_proba,
            calibrate=recipe.calibrator.apply,
            decide=lambda p_up: signals(p_up, recipe.policy),
        )
        start = time.perf_counter()
        report = verify_pipeline(bars, whole, cuts=24 if options.quick else 64)
        rows.append(as_row(f"bars to signals, {target}", report, time.perf_counter() - start))
    short = simulated_bars(1_200, seed=3)
    leaks = {}
    for name, (function, warmup, kinds) in LEAKS.items():
        found = verify(function, short, warmup={name: warmup}, cuts=30, altered_cuts=8, starts=3)
        verdict = found.columns[name]
        caught = {kind for kind in ("rewritten", "mismatched", "start_dependent") if getattr(verdict, kind)}
        leaks[name] = {"caught": sorted(caught), "as_planted": caught == kinds}
    bundle = small_bundle(columns=SHORT_COLUMNS)
    honest = Pipeline.of_bundle(bundle, named_label("direction", bundle.horizon_bars, get_calendar("24/7")))
    for name, (plant, column, allowed) in STAGE_LEAKS.items():
        found = verify_pipeline(short, plant(honest), cuts=30)
        as_planted = column in found.offenders and set(found.offenders) <= allowed
        leaks[name] = {"caught": sorted(found.offenders), "as_planted": as_planted}
    spared = {"bars to signals": verify_pipeline(short, honest, cuts=30).clean} | {
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
            f"  {row['spec']:31s} {row['n_columns']:4d} columns: {row['rewritten']} rewritten, "
            f"{row['mismatched']} mismatched, {row['start_dependent']} start-dependent "
            f"({row['cuts']} cuts, {row['alterations']} altered futures, "
            f"{row['starts']} other histories, {row['seconds']:.1f} s)"
        )
        if not row["clean"]:
            print(row["text"])
    for name, leak in leaks.items():
        print(f"  leak {name:26s} {'caught: ' + ', '.join(leak['caught']) if leak['as_planted'] else 'MISSED'}")
    for name, clean_twin in spared.items():
        print(f"  twin {name:26s} {'clean' if clean_twin else 'WRONGLY ACCUSED'}")
    print(f"{'PASS' if clean else 'FAIL'}: 0 rewritten, 0 mismatched, 0 start-dependent")
    told = caught_all and all(spared.values())
    print(f"{'PASS' if told else 'FAIL'}: every planted leak caught, no honest twin accused")
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
