"""Bad input: at least 10,000 corrupt bars of every kind, planted into real and simulated series.

Bar: every one is quarantined with a right reason, the state is bit for bit as if it had never come, and no sound bar is
lost. Besides, without a bar: how small a spike is still seen, by its size in robust scales.

    python -m benchmarks.bad_bars [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import benchmarks._single_thread  # noqa: F401
import msgspec
import numpy as np
from tests.fakes.corrupt_bars import Delivery, Outcome, plant, play

from kalibre.bars.calendars import get_calendar
from kalibre.bars.checks import BarChecker
from kalibre.core.bars import Bars
from kalibre.core.timeframe import timeframe_ms
from kalibre.sources import open_source

MARKET = Path(__file__).resolve().parents[1] / ".." / "shared" / "data" / "market" / "crypto"


def series(quick: bool) -> list[Bars]:
    import polars as pl

    found = []
    files = [
        "BTCUSDT_spot_15m_2024",
        "BTCUSDT_spot_1h_2017_2024",
        "SOLUSDT_perp_15m_365d_to_2025-06",
        "ETHUSDT_spot_5m_2024-12_taker",
        "BTCUSDT_spot_1m_2024-12",
    ]
    for file in files[: 2 if quick else None]:
        path = MARKET / f"{file}.parquet"
        if path.is_file():
            frame = pl.read_parquet(path)
            if "taker_buy_base" in frame.columns:
                frame = frame.rename({"taker_buy_base": "taker_buy_volume"})
            symbol, _, timeframe = file.split("_")[:3]
            found.append(Bars.from_frame(frame, symbol=symbol, timeframe=timeframe))
    for market in ("driftless", "garch"):
        source = open_source("simulated", market=market)
        chunks = list(source.history(market.upper(), "15m"))
        found.append(chunks[0][: 6_000 if quick else 20_000])
    return found


def spike_ladder(bars: Bars, rng: np.random.Generator, trials: int) -> dict[str, float]:
    """Share of spikes of the whole bar that are quarantined, by their size in robust scales."""
    rows, step = list(bars), timeframe_ms(bars.timeframe)
    shares = {}
    for size in (5, 8, 10, 12, 15, 20, 40):
        caught = 0
        for _ in range(trials):
            at = int(rng.integers(300, len(rows) - 4))
            checker = BarChecker(bars.symbol, bars.timeframe, get_calendar("24/7"))
            checker.prime(rows[at - 257 : at])
            scale = checker.scale
            assert scale is not None
            factor = float(np.exp(size * scale * rng.choice([-1, 1])))
            prices = {name: getattr(rows[at], name) * factor for name in ("open", "high", "low", "close")}
            spike = msgspec.structs.replace(rows[at], **prices, quote_volume=None)
            feed = [Delivery(spike), *map(Delivery, rows[at + 1 : at + 4])]
            verdicts = [
                verdict
                for delivery in feed
                for verdict in checker.judge(delivery.bar, now_ms=delivery.bar.open_time + step)
            ]
            caught += any(v.action == "quarantine" and v.bar == spike for v in verdicts)
        shares[f"{size} scales"] = caught / trials
    return shares


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rng = np.random.default_rng(7)
    total, started, judged = Outcome(), time.perf_counter(), 0
    for bars in series(options.quick):
        feed = plant(list(bars), bars.step_ms, rng, count=1_000 if options.quick else 2_000)
        judged += len(feed)
        total.merge(play(feed, bars.symbol, bars.timeframe, get_calendar("24/7")))
    seconds = time.perf_counter() - started
    ladder = spike_ladder(series(True)[0], rng, 50 if options.quick else 300)
    planted = total.planted.total() - total.planted["late"]
    holds = (
        planted >= (1_000 if options.quick else 10_000)
        and total.caught.total() == planted
        and not total.state_changed
        and not total.sound_lost
    )
    figures = {
        "planted": planted,
        "caught": total.caught.total(),
        "other_reason": dict(total.other_reason),
        "missed": dict(total.missed),
        "state_changed": dict(total.state_changed),
        "sound": total.sound,
        "sound_lost": len(total.sound_lost),
        "by_kind": {kind: [total.caught[kind], count] for kind, count in sorted(total.planted.items())},
        "smallest_spike": ladder,
        "judged": judged,
        "seconds": round(seconds, 2),
        "pass": holds,
    }
    if options.json:
        print(json.dumps(figures, indent=1))
        return 0 if holds else 1
    print(f"{datetime.now(tz=UTC):%Y-%m-%d %H:%M} UTC, {platform.machine()}, Python {platform.python_version()}")
    print(f"{'kind':32}{'planted':>9}{'right reason':>14}")
    for kind, count in sorted(total.planted.items()):
        told = "accepted" if kind == "late" else f"{total.caught[kind]:,}"
        print(f"{kind:32}{count:>9,}{told:>14}")
    print(f"{'all corrupt bars':32}{planted:>9,}{total.caught.total():>14,}")
    print(f"other reason: {dict(total.other_reason) or 'none'}; missed: {dict(total.missed) or 'none'}")
    print(f"state changed by a corrupt bar: {total.state_changed.total()} times")
    print(f"sound bars: {total.sound:,}, lost: {len(total.sound_lost)}")
    print("spikes of the whole bar that are seen, by size: " + ", ".join(f"{k} {v:.0%}" for k, v in ladder.items()))
    print(f"{judged:,} bars judged twice (and states compared) in {seconds:.1f} s")
    print(f"{'PASS' if holds else 'FAIL'}: each corrupt bar quarantined by name, states unchanged, no sound bar lost")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
