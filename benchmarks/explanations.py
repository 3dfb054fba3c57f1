"""Exact TreeSHAP beside shap's TreeExplainer: the same models, the same rows, one thread each, in one run.

Real features of a year of 15-minute bars; labels planted so that there is much to explain. shap runs in an environment
of its own, twice: as it comes, where it asks LightGBM for the contributions, and by its own C extension. Explainers are
made before the clock starts; contenders take turns, medians count. Bars: at least as fast as the faster one, on 1 row
and on 1,000, for stumps (the house's models) and for 31 leaves; what each column adds equal to theirs within 1e-9; all
of it with the bias the model's log-odds within 1e-6, also for 200 leaves. Besides: the time of a note, words included.

    python -m benchmarks.explanations [--quick] [--json]
"""

from __future__ import annotations

import benchmarks._single_thread  # noqa: F401  # isort: skip

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT.parent / "shared" / "data" / "market" / "crypto" / "BTCUSDT_spot_15m_2024.parquet"
LEAVES, ROWS = (2, 31), (1, 1_000)
EQUAL, ADDITIVE = 1e-9, 1e-6
DEEP = 200


def timed(explain: Callable[[Any], Any], rows: Any, seconds: float) -> float:
    """Return the seconds of one call, the mean over as many as fit into about `seconds`."""
    began = time.perf_counter()
    calls = 0
    while calls == 0 or time.perf_counter() - began < seconds:
        explain(rows)
        calls += 1
    return (time.perf_counter() - began) / calls


# --- the peer, in its own environment ---------------------------------------------------------------------------------


def peer(folder: Path) -> None:
    """Answer each line `LEAVES ROWS SECONDS own|lightgbm` with the seconds of a call."""
    import lightgbm
    import shap

    rows = np.load(folder / "rows.npy")
    explainers = {}
    for leaves in LEAVES:
        booster = lightgbm.Booster(model_file=str(folder / f"{leaves}.txt"))
        explainers[leaves, "lightgbm"] = shap.TreeExplainer(booster)
        explainers[leaves, "own"] = shap.TreeExplainer(booster)
        explainers[leaves, "own"].model.model_type = "internal"  # what makes it not ask LightGBM
        for kind in ("lightgbm", "own"):
            explained = np.asarray(explainers[leaves, kind].shap_values(rows[: max(ROWS)]))
            np.save(folder / f"{leaves}-{kind}.npy", explained)
    print(f"shap {shap.__version__}, lightgbm {lightgbm.__version__}", flush=True)
    for line in sys.stdin:
        leaves, n, seconds, kind = line.split()
        print(timed(explainers[int(leaves), kind].shap_values, rows[: int(n)], float(seconds)), flush=True)


class Peer:
    """shap in a process of its own."""

    def __init__(self, folder: Path) -> None:
        import lightgbm
        from benchmarks._peers import peer_python

        python = peer_python("shap==0.51.0", f"lightgbm=={lightgbm.__version__}")
        self._process = subprocess.Popen(
            [str(python), "-W", "ignore", "-m", "benchmarks.explanations", "--peer", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            text=True,
        )
        self.versions = self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._process.args} ended with {self._process.wait()}")
        return line.strip()

    def seconds(self, leaves: int, n: int, seconds: float, kind: str) -> float:
        """Return the seconds of a call."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{leaves} {n} {seconds} {kind}\n")
        self._process.stdin.flush()
        return float(self._answer())

    def end(self) -> None:
        """Let it go."""
        self._process.communicate(timeout=60)


# --- the house --------------------------------------------------------------------------------------------------------


def market() -> tuple[Any, tuple[str, ...], Any]:
    """Return rows of real features, their names, and labels that depend on some of them, alone and together."""
    from kalibre.core.bars import Bars
    from kalibre.features.engine import FeatureEngine, FeatureSpec
    from kalibre.sources.simulated import Simulated

    if FILE.is_file():
        import polars as pl

        bars = Bars.from_frame(pl.read_parquet(FILE), symbol="BTCUSDT", timeframe="15m")
    else:
        bars = next(Simulated(n_bars=34_945).history("SIM", "15m"))
    engine = FeatureEngine(FeatureSpec("15m"))
    rows = engine.batch(bars)
    rows = rows[np.isfinite(rows).all(axis=1)]
    spread = (rows - rows.mean(axis=0)) / np.maximum(rows.std(axis=0), 1e-12)
    some = spread[:, :: len(engine.columns) // 9]
    truth = some[:, 0] + some[:, 1] * some[:, 2] + np.abs(some[:, 3]) - some[:, 4] * (some[:, 5] > 0)
    noise = np.random.default_rng(7).logistic(size=len(rows))
    return rows, engine.columns, (truth + noise > np.median(truth)).astype(np.float64)


def fitted(rows: Any, y: Any, columns: tuple[str, ...], leaves: int, rounds: int) -> Any:
    """Return a model of the house."""
    from kalibre.core.settings import ModelSettings
    from kalibre.models.gradient_boosting import GradientBoosting

    settings = ModelSettings(leaves=leaves, rounds=rounds, early_stopping_rounds=rounds, min_samples_leaf=50)
    half, three = len(rows) // 2, 3 * len(rows) // 4
    return GradientBoosting.fit(
        *(rows[:half], y[:half]),
        stop_features=rows[half:three],
        stop_y=y[half:three],
        settings=settings,
        columns=columns,
    )


def additive(model: Any, shap: Any, rows: Any) -> float:
    """Return the largest difference of bias and contributions from the model's log-odds."""
    values, _ = shap.explain(rows)
    p = model.predict_proba(rows)
    return float(np.abs(values.sum(axis=1) + shap.bias - (np.log(p) - np.log1p(-p))).max())


def note_us(model: Any, rows: Any) -> float:
    """Return the microseconds that the learner takes for a bar, words included."""
    from kalibre.core.bars import Bar
    from kalibre.core.events import Promotion, new_event
    from kalibre.core.learning import Moment, Seat
    from kalibre.core.settings import CostSettings, RiskSettings
    from kalibre.features.engine import FeatureEngine, FeatureSpec
    from kalibre.learners.explain import Explain
    from kalibre.models.bundle import ModelBundle
    from kalibre.models.calibrator import Calibrator

    spec = FeatureSpec("15m")
    bundle = ModelBundle(
        symbol="X",
        timeframe="15m",
        spec=spec,
        feature_fingerprint=FeatureEngine(spec).fingerprint,
        classifier=model,
        calibrator=Calibrator("identity"),
        entry_threshold=0.6,
        exit_threshold=0.4,
        horizon_bars=4,
        costs=CostSettings(),
        risk=RiskSettings(),
        created_at_ms=0,
    )
    seat = Seat(
        symbol="X", timeframe="15m", horizon_bars=4, columns=spec.names, fee=0.0, seed=1, load_model=lambda *_: bundle
    )
    learner = Explain(seat)
    told = Promotion(model=bundle.model_id, digest=bundle.digest, alias="champion", previous=None, by="benchmark")
    learner.take(new_event("X|15m|champion", 0, told))
    bar = Bar(open_time=0, open=1.0, high=1.0, low=1.0, close=1.0, volume=1.0)
    moments = [Moment(900_000 * t, bar, row, True) for t, row in enumerate(rows[:2_000], 1)]
    began = time.thread_time()
    for moment in moments:
        learner.annotate(moment)
    return (time.thread_time() - began) / len(moments) * 1e6


def main() -> int:
    """Print the table; 0 if every bar holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short turn; judges nothing")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peer", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        peer(options.peer)
        return 0
    from kalibre.learners._treeshap import TreeShap

    turns, seconds = (1, 0.05) if options.quick else (7, 0.25)
    rows, columns, y = market()
    models = {leaves: fitted(rows, y, columns, leaves, 200) for leaves in LEAVES}
    explainers = {leaves: TreeShap(model) for leaves, model in models.items()}
    last = np.ascontiguousarray(rows[-max(ROWS) :])
    table: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "rows.npy", last)
        for leaves, model in models.items():
            (folder / f"{leaves}.txt").write_text(model.text)
        other = Peer(folder)
        differences = {
            (leaves, kind): float(np.abs(np.load(folder / f"{leaves}-{kind}.npy") - shap.explain(last)[0]).max())
            for leaves, shap in explainers.items()
            for kind in ("lightgbm", "own")
        }
        for leaves in LEAVES:
            for n in ROWS:
                some = last[:n]
                explainers[leaves].explain(some)
                took: dict[str, list[float]] = {"kalibre": [], "lightgbm": [], "own": []}
                for _ in range(turns):
                    took["kalibre"].append(timed(explainers[leaves].explain, some, seconds))
                    for kind in ("lightgbm", "own"):
                        took[kind].append(other.seconds(leaves, n, seconds, kind))
                medians = {kind: statistics.median(values) for kind, values in took.items()}
                row = {"leaves": leaves, "rows": n, "trees": models[leaves].best_round, **medians}
                table.append({**row, "times": min(medians["lightgbm"], medians["own"]) / medians["kalibre"]})
        other.end()
    deep = fitted(rows, y, columns, DEEP, 20)
    gaps = {leaves: additive(models[leaves], explainers[leaves], rows) for leaves in LEAVES}
    gaps[DEEP] = additive(deep, TreeShap(deep), rows)
    notes = {leaves: note_us(model, rows) for leaves, model in models.items()}
    worst = max(differences.values())
    judged = {
        **{
            f"{row['leaves']} leaves, {row['rows']:,} rows: {row['times']:.1f} times as fast, at least 1": row["times"]
            >= 1
            for row in table
        },
        f"equal to shap within {EQUAL:.0e}: {worst:.1e}": worst <= EQUAL,
        f"additive within {ADDITIVE:.0e}: {max(gaps.values()):.1e}": max(gaps.values()) <= ADDITIVE,
    }
    if options.json:
        print(json.dumps({"rows": table, "gaps": gaps, "note_us": notes, "bars": judged}, indent=1))
        return 0 if options.quick or all(judged.values()) else 1
    print(f"{platform.machine()}, Python {platform.python_version()}, {datetime.now(tz=UTC):%Y-%m-%d}")
    print(f"{other.versions}; {len(columns)} columns, one thread\n")
    print(
        f"{'leaves':>6} {'trees':>5} {'rows':>6} {'kalibre us':>11} {'shap us':>11} {'shap, own us':>13} {'times':>6}"
    )
    for row in table:
        us = [row[kind] * 1e6 for kind in ("kalibre", "lightgbm", "own")]
        print(
            f"{row['leaves']:>6} {row['trees']:>5} {row['rows']:>6,} {us[0]:>11,.1f} {us[1]:>11,.1f} {us[2]:>13,.1f}",
            end="",
        )
        print(f" {row['times']:>6.1f}")
    told = ", ".join(f"{leaves} leaves {us:.0f} us" for leaves, us in notes.items())
    print(f"\na note of the learner, words and importance included: {told}")
    print("largest gap of the sum: " + ", ".join(f"{leaves} leaves {gap:.1e}" for leaves, gap in gaps.items()) + "\n")
    for bar, passed in judged.items():
        print(f"{'PASS' if passed else 'FAIL'}  {bar}")
    return 0 if options.quick or all(judged.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
