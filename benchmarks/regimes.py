"""Regimes: filtered states of planted markets beside a filter that knows everything, and learning beside hmmlearn.

Accuracy: five planted markets of three states, many seeds. The learner begins knowing nothing; it is judged on the bars
after a learning stretch of 8,192 (half its window), by the likeliest of the probabilities it told at each bar's close.
Beside it: a filter that knows transitions, drifts and volatilities and the exact density of each bar's high, low and
close; the usual model, of log returns alone, learnt from the same stretch; and who always names the most frequent
state. Bar: the knowing filter is right on at most 1 point more of the bars, in every market, on every seed.

Learning: the same bars of a year, beginning and number of Baum-Welch rounds as hmmlearn's GaussianHMM (diagonal
covariances) in its own environment, in turns, CPU-seconds of one thread. Bars: at least 3 times its faster
implementation; per-bar log-likelihood not worse by more than 1e-3. hmmlearn has no online filter to be timed.

Besides: what a year of real 15-minute bars costs (bars: under 40 microseconds each, 3 s a year, CPU), what of a bar
foresees the next one best, how soon a planted change is found, and how often one is where there is none.

    python -m benchmarks.regimes [--quick] [--json]
"""

from __future__ import annotations

import benchmarks._single_thread  # noqa: F401  # isort: skip

import argparse
import json
import math
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks._peers import peer_python
from benchmarks._regime_markets import MARKETS, Market, knowing_filter, moments_of, planted

from kalibre.core.bars import Bars
from kalibre.core.learning import Moment, Seat
from kalibre.features.engine import FeatureEngine, FeatureSpec
from kalibre.learners import _bocpd as bocpd
from kalibre.learners import _hmm as hmm
from kalibre.learners import _regime_fit as fit
from kalibre.learners.regime import HAZARD, Regime
from kalibre.sources.simulated import Simulated

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT.parent / "shared" / "data" / "market" / "crypto" / "BTCUSDT_spot_15m_2024.parquet"
COLUMNS = Regime.columns or ()
LEARNT, JUDGED, SEEDS = 8_192, 12_288, 12
MOST_BEHIND, SPEED, LIKELIHOOD, MOST_US, MOST_S = 0.01, 3.0, 1e-3, 40.0, 3.0
ROUNDS = 20


def learner(timeframe: str = "1m") -> Regime:
    return Regime(Seat(symbol="X", timeframe=timeframe, horizon_bars=1, columns=COLUMNS, fee=0.0, seed=1))


# --- planted markets --------------------------------------------------------------------------------------------------


def accuracies(market: Market, seed: int) -> dict[str, float]:
    """Return how often each was right, on the judged bars; the learner also while it learnt."""
    bars = planted(market, LEARNT + JUDGED, seed)
    regime = learner()
    told, named = (np.full(len(bars.close), -1) for _ in range(2))
    for t, moment in enumerate(moments_of(bars)):
        note = regime.annotate(moment)
        if note is not None:
            told[t] = int(np.argmax([note.values[f"p_{k}"] for k in range(3)]))
            named[t] = int(note.values["state"])
    knowing, judged = knowing_filter(bars, market), slice(LEARNT, None)
    early = slice(1_024, LEARNT)
    right = {
        "knowing": np.mean(knowing[judged] == bars.state[judged]),
        "learner": np.mean(told[judged] == bars.state[judged]),
        "its name": np.mean(named[judged] == bars.state[judged]),
        "returns": usual_model(bars.close, bars.state),
        "most frequent": np.bincount(bars.state[judged]).max() / JUDGED,
        "knowing, early": np.mean(knowing[early] == bars.state[early]),
        "learner, early": np.mean(told[early] == bars.state[early]),
    }
    return {name: float(value) for name, value in right.items()}


def usual_model(returns: Any, state: Any) -> float:
    """Return how often the usual model, of log returns alone, is right; its states are named with hindsight."""
    seen = np.column_stack([returns * 1e3, np.zeros(len(returns)), np.ones(len(returns))])
    model = np.zeros((3, hmm.MODEL_COLUMNS))
    model[:, hmm.START], model[:, hmm.MOVES : hmm.MOVES + 3] = 1 / 3, np.full((3, 3), 0.02) + 0.94 * np.eye(3)
    model[:, hmm.VARIANCE] = np.quantile(seen[:LEARNT, 0] ** 2, (0.4, 0.7, 0.95))
    model[:, hmm.VARIANCE + 1] = 1.0
    model = hmm.fitted(seen[:LEARNT], model, np.array([1e-4, 1.0]), 100)[1]
    told = hmm.log_likelihood(seen, model)[1][LEARNT:].argmax(axis=1)
    return max(float(np.mean(np.array(order)[told] == state[LEARNT:])) for order in permutations(range(3)))


def planted_table(seeds: int) -> tuple[list[dict[str, Any]], bool]:
    rows, holds = [], True
    for market in MARKETS:
        found = [accuracies(market, 1_000 + seed) for seed in range(seeds)]
        behind = np.array([one["knowing"] - one["learner"] for one in found])
        early = np.array([one["knowing, early"] - one["learner, early"] for one in found])
        means = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
        rows.append(
            {
                "market": market.name,
                **means,
                "behind_median": float(np.median(behind)),
                "behind_worst": float(behind.max()),
                "early_median": float(np.median(early)),
                "early_worst": float(early.max()),
            }
        )
        holds &= bool(behind.max() <= MOST_BEHIND)
    return rows, holds


# --- learning beside hmmlearn -----------------------------------------------------------------------------------------


def year() -> Bars:
    """Return the year of real bars, or a simulated one where the shared data is absent."""
    if not FILE.is_file():
        return next(Simulated(n_bars=34_945).history("SIM", "15m"))
    import polars as pl

    return Bars.from_frame(pl.read_parquet(FILE), symbol="BTCUSDT", timeframe="15m")


def moments_of_year(bars: Bars) -> list[Moment]:
    rows = FeatureEngine(FeatureSpec(bars.timeframe, columns=COLUMNS)).batch(bars)
    rows.flags.writeable = False
    follows = np.concatenate(([False], np.diff(bars.open_time) == bars.step_ms))
    every = zip(bars, rows, follows.tolist(), strict=True)
    return [Moment(bar.open_time + bars.step_ms, bar, row, known) for bar, row, known in every]


def measured(moments: list[Moment]) -> Any:
    """Return variance and log return of the bars that have one."""
    found = np.array([fit.measured(one.bar, float(one.row[0])) for one in moments if one.follows])
    return found[~np.isnan(found[:, 0])]


def beside_hmmlearn(moments: list[Moment], turns: int) -> dict[str, Any]:
    """Time so many rounds of Baum-Welch on level and lean of a year, here and there, in turns."""
    bars = measured(moments)
    scale = fit.scale_of(bars)
    assert scale is not None
    seen = fit.seen_of(bars, scale)
    seen[:, 2] = 1.0  # hmmlearn knows no weights
    model = np.zeros((3, hmm.MODEL_COLUMNS))
    model[:, hmm.START], model[:, hmm.MOVES : hmm.MOVES + 3] = 1 / 3, np.full((3, 3), 0.02) + 0.94 * np.eye(3)
    model[:, hmm.MEAN] = np.quantile(seen[:, 0], (1 / 6, 1 / 2, 5 / 6))
    model[:, hmm.VARIANCE : hmm.VARIANCE + 2] = seen[:, :2].var(axis=0)
    floors = np.array([1e-6, 1e-6])
    names = ("scaling", "log")
    ours: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in names}
    likelihood: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        np.savez(
            Path(folder) / "given.npz",
            seen=np.ascontiguousarray(seen[:, :2]),
            start=model[:, hmm.START],
            moves=model[:, hmm.MOVES : hmm.MOVES + 3],
            means=model[:, hmm.MEAN : hmm.MEAN + 2],
            vars=model[:, hmm.VARIANCE : hmm.VARIANCE + 2],
            rounds=ROUNDS,
        )
        command = [str(peer_python("hmmlearn")), str(ROOT / "benchmarks" / "_regime_peer.py"), folder]
        peer = subprocess.Popen(command, stdin=-1, stdout=-1, text=True)
        assert peer.stdin is not None
        assert peer.stdout is not None
        peer.stdout.readline()
        hmm.fitted(seen[:10], model, floors, 1)  # compiled before
        for _ in range(turns):
            began = time.process_time()
            total, _, _ = hmm.fitted(seen, model, floors, ROUNDS)
            ours.append(time.process_time() - began)
            likelihood["kalibre"] = total / len(seen)
            for name in names:
                peer.stdin.write(f"{name}\n")
                peer.stdin.flush()
                answer = json.loads(peer.stdout.readline())
                theirs[name].append(answer["seconds"])
                likelihood[name] = answer["log_likelihood"]
        peer.communicate(timeout=60)
    per_round = 1e9 / ROUNDS / len(seen)
    fastest = min(theirs.values(), key=np.median)
    return {
        "bars": len(seen),
        "ns": {
            "kalibre": np.median(ours) * per_round,
            **{name: np.median(t) * per_round for name, t in theirs.items()},
        },
        "ratio": float(np.median(fastest) / np.median(ours)),
        "log_likelihood": likelihood,
        "worse_by": max(likelihood.values()) - likelihood["kalibre"],
    }


# --- besides ----------------------------------------------------------------------------------------------------------


def cost(moments: list[Moment]) -> dict[str, float]:
    """Follow the year once, after a short run that loads the kernels; CPU."""
    warm = learner()
    for moment in moments[:300]:
        warm.annotate(moment)
    regime, switches, label, longest = learner("15m"), 0, "", 0.0
    began = last = time.process_time()
    for moment in moments:
        note = regime.annotate(moment)
        now = time.process_time()
        longest, last = max(longest, now - last), now
        if note is not None and note.label != label:
            label, switches = note.label, switches + 1
    seconds = last - began
    return {
        "seconds": seconds,
        "us_per_bar": seconds / len(moments) * 1e6,
        "longest_ms": longest * 1e3,
        "names_changed_per_100": 100.0 * switches / len(moments),
    }


def foresight(moments: list[Moment]) -> dict[str, float]:
    """Return how well the filter foresees the next bar's level, in nats a bar, by what it sees of bars.

    Learnt from the first half, told of the second; how level spreads in a state is from the filtered first half.
    """
    known = [one for one in moments if one.follows and not math.isnan(fit.measured(one.bar, float(one.row[0]))[0])]
    bars = measured(known)
    scale = fit.scale_of(bars)
    assert scale is not None
    level, lean, weight = fit.seen_of(bars, scale).T
    volume = np.log([one.bar.volume for one in known])
    usual = np.empty_like(volume)
    mean = volume[0]
    for t, value in enumerate(volume):
        usual[t], mean = mean, mean + (value - mean) / 500.0
    ones, half = np.ones(len(bars)), len(bars) // 2
    span = np.array([math.log(max(one.bar.high / one.bar.low, 1.0 + 1e-6)) for one in known])
    chosen = {
        "level and lean (chosen)": (level, lean, weight),
        "range and lean": (np.log(span), lean, weight),
        "level and relative volume": (level, volume - usual, ones),
        "squared return": (np.log(bars[:, 1] ** 2 + scale.least), 0.0 * ones, ones),
    }
    found = {}
    for name, columns in chosen.items():
        seen = np.ascontiguousarray(np.column_stack(columns))
        model = np.zeros((3, hmm.MODEL_COLUMNS))
        model[:, hmm.START], model[:, hmm.MOVES : hmm.MOVES + 3] = 1 / 3, np.full((3, 3), 0.02) + 0.94 * np.eye(3)
        model[:, hmm.MEAN] = np.quantile(seen[:half, 0], (1 / 6, 1 / 2, 5 / 6))
        model[:, hmm.VARIANCE : hmm.VARIANCE + 2] = np.maximum(seen[:half, :2].var(axis=0), 0.04)
        model = hmm.fitted(seen[:half], model, np.array([0.01, 0.04]), 100)[1]
        filtered = hmm.log_likelihood(seen, model)[1]
        ahead = filtered[:-1] @ model[:, hmm.MOVES : hmm.MOVES + 3]
        p, after = filtered[:half], level[1:]
        centre = p.T @ level[:half] / p.sum(axis=0)
        spread = (p * (level[:half, None] - centre) ** 2).sum(axis=0) / p.sum(axis=0)
        density = np.exp(-0.5 * (after[:, None] - centre) ** 2 / spread) / np.sqrt(2.0 * np.pi * spread)
        found[name] = float(np.log((ahead * density).sum(axis=1))[half:].mean())
    return found


def changes(seeds: int) -> list[dict[str, Any]]:
    """Return after how many bars the likeliest run is that of a planted change, and how often it is cut by chance."""
    within, between = np.array([0.08, 0.75]), np.array([0.25, 0.075])

    def follow(seen: Any) -> Any:
        runs = bocpd.new_runs(64)
        bocpd.expect(runs, np.zeros(2), within, between)
        return np.array([bocpd.update(runs, *row, HAZARD, 1e-6, 20.0)[1] for row in seen.tolist()])

    rows = []
    for name, shift in {"volatility x 2": (math.log(2), 0), "x 1.5": (math.log(1.5), 0), "x 1.25": (0.223, 0)}.items():
        delays = []
        for seed in range(seeds):
            seen = np.random.default_rng(seed).normal(size=(1_000, 2)) * np.sqrt(within)
            seen[500:] += shift
            near = np.abs(follow(seen)[500:] - np.arange(1, 501)) <= 10
            delays.append(float(near.argmax() + 1) if near.any() else math.inf)
        rows.append({"change": name, "median": float(np.median(delays)), "worst": max(delays)})
    cuts = [
        np.diff(follow(np.random.default_rng(99 + k).normal(size=(3_000, 2)) * np.sqrt(within))) for k in range(seeds)
    ]
    alarms = float(np.mean([(cut[100:] < 0).mean() for cut in cuts]) * 1_000)
    rows.append({"change": "none: cuts in 1,000 bars", "median": alarms, "worst": math.nan})
    return rows


def main() -> int:
    """Print the tables; 0 if every bar holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two seeds, two turns; judges nothing")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    seeds, turns = (2, 2) if options.quick else (SEEDS, 7)
    bars = year()
    moments = moments_of_year(bars)
    rows, near = planted_table(seeds)
    timing, spent = beside_hmmlearn(moments, turns), cost(moments)
    judged = {
        f"within {100 * MOST_BEHIND:.0f} point of who knows everything, every seed": near,
        f"at least {SPEED:.0f} times hmmlearn's faster": timing["ratio"] >= SPEED,
        f"log-likelihood not worse by more than {LIKELIHOOD}": timing["worse_by"] <= LIKELIHOOD,
        f"under {MOST_US:.0f} us a bar and {MOST_S:.0f} s a year": spent["us_per_bar"] < MOST_US
        and spent["seconds"] < MOST_S,
    }
    besides = {"foresight": foresight(moments), "changes": changes(seeds)}
    failed = not all(judged.values()) and not options.quick
    if options.json:
        print(json.dumps({"planted": rows, "hmmlearn": timing, "cost": spent, **besides, "pass": judged}))
        return int(failed)
    print(f"{datetime.now(tz=UTC):%Y-%m-%d %H:%M} UTC, {platform.machine()}, Python {platform.python_version()}")
    print(f"\n{seeds} seeds, {LEARNT:,} bars learnt, {JUDGED:,} judged; points behind who knows everything")
    heads = ("knows all", "learner", "its name", "returns", "frequent", "median", "worst", "early", "worst")
    print(f"{'planted market':32s}" + "".join(f"{head:>10s}" for head in heads))
    for row in rows:
        right = (row[name] for name in ("knowing", "learner", "its name", "returns", "most frequent"))
        behind = (row[name] for name in ("behind_median", "behind_worst", "early_median", "early_worst"))
        line = "".join(f"{100 * value:10.2f}" for value in (*right, *behind))
        print(f"{row['market']:32s}{line}")
    print(f"\n{ROUNDS} rounds of Baum-Welch on {timing['bars']:,} bars of {bars.symbol}, one thread, CPU")
    print(f"{'':28s}{'kalibre':>14s}{'scaling':>14s}{'log':>14s}")
    print(f"{'ns per bar and round':28s}" + "".join(f"{value:14.1f}" for value in timing["ns"].values()))
    print(f"{'log-likelihood per bar':28s}" + "".join(f"{value:14.9f}" for value in timing["log_likelihood"].values()))
    print(
        f"\na year of {len(moments):,} bars: {spent['seconds']:.2f} s, {spent['us_per_bar']:.1f} us a bar, the longest "
        f"{spent['longest_ms']:.0f} ms; its name changes {spent['names_changed_per_100']:.1f} times in 100 bars"
    )
    print("\nhow well the next bar's level is foreseen on the second half, nats a bar, by what the filter sees")
    for name, value in besides["foresight"].items():
        print(f"{name:32s}{value:10.4f}")
    print(f"\nbars until a planted change is found, {seeds} seeds{'':10s}median     worst")
    for row in besides["changes"]:
        print(f"{row['change']:40s}{row['median']:10.1f}{row['worst']:10.1f}")
    print()
    for claim, holds in judged.items():
        print(f"{'PASS' if holds else 'FAIL'}: {claim}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
