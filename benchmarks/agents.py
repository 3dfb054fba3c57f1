"""The panel of agents: its regret on real bars, what fixed share is worth after a switch, and its time per bar.

Regret is counted from what was said alone: for every member of the panel, over the samples it was awake for, the
panel's log-loss less its own. Bars: on every real file and for every lane (as many as the horizon has bars; one at a
horizon of 1) the worst regret is at most ln N; after a planted switch of the best agent the panel and its tracker have
less log-loss than plain weights over the very same forecasts, over 20 markets, with 95 % intervals; under 40
microseconds of CPU a bar. Beside them: plain weights, the plain mean of who is awake, the base rate, the coin.

    python -m benchmarks.agents [--quick] [--json]
"""

from __future__ import annotations

import benchmarks._single_thread  # noqa: F401  # isort: skip

import argparse
import json
import math
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from kalibre.core.bars import Bar, Bars
from kalibre.core.learning import Moment, Sample, Seat
from kalibre.features.engine import FeatureEngine, FeatureSpec
from kalibre.learners.agents import MEMBERS, Agents

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "market" / "crypto"
FILES = {
    "BTCUSDT_spot_15m_2024": "15m",
    "BTCUSDT_spot_1h_2017_2024": "1h",
    "ETHUSDT_perp_30m_1095d_to_2025-06": "30m",
    "SOLUSDT_perp_15m_365d_to_2025-06": "15m",
    "BNBUSDT_perp_15m_365d_to_2025-06": "15m",
}
COLUMNS = Agents.columns or ()
HORIZONS = (1, 4)
LN_N = math.log(len(MEMBERS))
MOST_US = 40.0
BAR = Bar(open_time=0, open=1.0, high=1.0, low=1.0, close=1.0, volume=1.0)


class Course(NamedTuple):
    """What was said and happened on the samples that matured: NaN for who slept."""

    said: Any
    mixed: Any
    up: Any
    us_per_bar: float


def follow(moments: list[Moment], went_up: Any, horizon: int) -> Course:
    """Run the panel over closes as the hub does; `went_up` of a close is told `horizon` bars later."""
    panel = Agents(Seat(symbol="X", timeframe="1m", horizon_bars=horizon, columns=COLUMNS, fee=0.0, seed=1))
    scores: list[float | None] = []
    said = np.full((len(moments), len(MEMBERS)), np.nan)
    spent = 0.0
    for t, moment in enumerate(moments):
        began = time.thread_time()
        if t >= horizon:
            panel.learn_one(Sample(moments[t - horizon], scores[t - horizon], None, bool(went_up[t - horizon]), 0.0))
        scores.append(panel.predict_proba_one(moment))
        spent += time.thread_time() - began if t > 2 * horizon else 0.0  # without compiling
        said[t] = [math.nan if row["last"] is None else row["last"] for row in panel.show()["agents"]]
    mixed = np.array([math.nan if p is None else p for p in scores])[: len(moments) - horizon]
    matured = slice(0, len(mixed))
    return Course(said[matured], mixed, np.asarray(went_up)[matured] > 0.5, spent / len(moments) * 1e6)


def losses(p: Any, up: Any) -> Any:
    return -np.log(np.where(up if p.ndim == 1 else up[:, None], p, 1.0 - p))


def plain_weights(said: Any, up: Any, horizon: int) -> Any:
    """Return what plain Bayes weights over the same forecasts say, on lanes: no tracker, no share."""
    logs = np.zeros((horizon, said.shape[1]))
    mixed = np.full(len(said), np.nan)
    t = -1
    for now, row in enumerate(said):
        awake = np.isfinite(row)
        if not awake.any():
            continue
        t += 1
        lane = logs[t % horizon]
        weight = np.exp(lane[awake] - lane.max())
        mixed[now] = (weight * row[awake]).sum() / weight.sum()
        gave, seen = (row[awake], mixed[now]) if up[now] else (1.0 - row[awake], 1.0 - mixed[now])
        lane[awake] += np.log(gave / seen)
    return mixed


def real(name: str, timeframe: str, horizon: int) -> dict[str, Any]:
    """Judge one file: regret of each lane against its best member, and everybody's log-loss."""
    import polars as pl

    frame = pl.read_parquet(FOLDER / f"{name}.parquet")
    bars = Bars.from_frame(frame, symbol="X", timeframe=timeframe)
    values = FeatureEngine(FeatureSpec(timeframe, columns=COLUMNS)).batch(bars)
    values.flags.writeable = False
    step = int(np.diff(bars.open_time).min())
    moments = [Moment(int(at) + step, BAR, row, True) for at, row in zip(bars.open_time, values, strict=True)]
    went_up = np.zeros(len(bars))
    went_up[:-horizon] = bars.close[horizon:] > bars.close[:-horizon]
    said, mixed, up, us = follow(moments, went_up, horizon)
    spoke = np.isfinite(mixed)
    # The lane of a sample: its place among those that were forecast, as the horizon never has holes here.
    lane = np.where(spoke, (np.cumsum(spoke) - 1) % horizon, -1)
    over = losses(mixed, up)[:, None] - losses(said, up)
    regret = np.array([np.nansum(over[lane == k], axis=0) for k in range(horizon)])
    own = np.nansum(losses(said, up) - math.log(2.0), axis=0)
    best = int(np.argmin(own[:-1]))
    mean = np.nanmean(np.where(np.isfinite(said[spoke, :-1]), said[spoke, :-1], np.nan), axis=1)
    rate = MEMBERS.index("base_rate")
    n = int(spoke.sum())
    plain = plain_weights(said[:, :-1], up, horizon)
    return {
        "file": name,
        "horizon": horizon,
        "samples": n,
        "panel": float(np.nansum(losses(mixed, up))) / n,
        "plain weights": float(np.nansum(losses(plain, up))) / n,
        "mean": float(losses(mean, up[spoke]).sum()) / n,
        "base rate": float(np.nansum(losses(said[:, rate], up))) / n,
        "coin": math.log(2.0),
        "best": MEMBERS[best],
        "best_gain": -float(own[best]),
        "gain": n * math.log(2.0) - float(np.nansum(losses(mixed, up))),
        "worst_lane": float(regret.max()),
        "regret": float(regret.sum(axis=0).max()),
        "us_per_bar": us,
    }


def planted(seed: int, n: int, horizon: int) -> Any:
    """Return the log-loss after the best agent changed: of the panel, the tracker and plain weights."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(2 * n, len(COLUMNS))) * 0.02
    for k, name in enumerate(COLUMNS):
        if name.startswith(("rsi", "mfi", "stochastic", "adx", "plus", "minus")):
            values[:, k] = rng.uniform(0.0, 100.0, 2 * n)
        elif name.startswith(("donchian", "bollinger")):
            values[:, k] = rng.uniform(-0.2, 1.2, 2 * n)
        elif name.startswith("realised"):
            values[:, k] = 0.01
    truth = np.where(np.arange(2 * n) < n, values[:, COLUMNS.index("rsi_14")], values[:, COLUMNS.index("mfi_14")])
    went_up = rng.random(2 * n) < np.where(truth < 50.0, 0.7, 0.3)
    values.flags.writeable = False
    moments = [Moment((t + 1) * 60_000, BAR, row, True) for t, row in enumerate(values)]
    said, mixed, up, _ = follow(moments, went_up, horizon)
    plain = plain_weights(said[:, :-1], up, horizon)
    after = slice(n, None)
    return [float(losses(p[after], up[after]).sum()) for p in (mixed, said[:, -1], plain)]


def interval(gains: Any) -> tuple[float, float, float]:
    """Return mean and 95 % interval (Student's t)."""
    half = float(stats.t.ppf(0.975, len(gains) - 1)) * float(np.std(gains, ddof=1)) / math.sqrt(len(gains))
    return float(np.mean(gains)), float(np.mean(gains)) - half, float(np.mean(gains)) + half


def main() -> int:
    """Print the tables; 0 if every bar holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one file, four seeds; judges nothing")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    files = dict(list(FILES.items())[:1]) if options.quick else FILES
    rows = [real(*one, horizon) for one in files.items() for horizon in HORIZONS] if FOLDER.is_dir() else []
    seeds = range(4 if options.quick else 20)
    switches = {h: np.array([planted(seed, 1_500, h) for seed in seeds]) for h in HORIZONS}
    gains = {
        (h, who): interval(table[:, 2] - table[:, k]) for h, table in switches.items() for k, who in enumerate(WHO)
    }
    judged = {
        f"after the switch, horizon {h}: {who} has {mean:.1f} nats less than plain weights [{low:.1f}, {high:.1f}]": (
            low > 0.0
        )
        for (h, who), (mean, low, high) in gains.items()
    }
    if rows:
        worst, us = max(row["worst_lane"] for row in rows), max(row["us_per_bar"] for row in rows)
        judged[f"worst regret of a lane on real bars {worst:.3f}, at most ln {len(MEMBERS)} = {LN_N:.3f}"] = (
            worst <= LN_N
        )
        judged[f"{us:.1f} microseconds of CPU a bar, under {MOST_US:.0f}"] = us < MOST_US
    if options.json:
        told = {str(h): table.tolist() for h, table in switches.items()}
        print(json.dumps({"rows": rows, "switches": told, "bars": judged}, indent=1))
        return 0 if options.quick or all(judged.values()) else 1
    print(f"{platform.machine()}, Python {platform.python_version()}, {datetime.now(tz=UTC):%Y-%m-%d}\n")
    if not rows:
        print("real bars: ../shared/data is absent, nothing measured\n")
    columns = ("panel", "plain weights", "mean", "base rate", "coin")
    print(f"{'log-loss on real bars':<34} {'h':>2} {'samples':>8} " + " ".join(f"{name:>13}" for name in columns))
    for row in rows:
        told = " ".join(f"{row[name]:>13.5f}" for name in columns)
        print(f"{row['file']:<34} {row['horizon']:>2} {row['samples']:>8,} {told}")
    print(f"\n{'in nats':<34} {'h':>2} {'panel over coin':>16} {'best agent over coin':>32} {'regret':>8}", end="")
    print(f" {'worst lane':>10} {'us/bar':>7}")
    for row in rows:
        best = f"{row['best']} {row['best_gain']:.1f}"
        print(f"{row['file']:<34} {row['horizon']:>2} {row['gain']:>16.1f} {best:>32} {row['regret']:>8.2f}", end="")
        print(f" {row['worst_lane']:>10.3f} {row['us_per_bar']:>7.1f}")
    print(f"\nlog-loss after a planted switch, 1,500 samples, mean of {len(seeds)} markets")
    for h, table in switches.items():
        told = ", ".join(f"{who} {loss:.1f}" for who, loss in zip((*WHO, "plain"), table.mean(axis=0), strict=True))
        print(f"  horizon {h}: {told}")
    print()
    for bar, passed in judged.items():
        print(f"{'PASS' if passed else 'FAIL'}  {bar}")
    return 0 if options.quick or all(judged.values()) else 1


WHO = ("panel", "tracker")


if __name__ == "__main__":
    sys.exit(main())
