"""A thousand requests a second, on schedule, while the hub learns at full replay speed: p99 < 20 ms, no error."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from benchmarks._http_load import ask_once, open_loop
from benchmarks._hub_runs import running

_CRYPTO = Path(__file__).resolve().parents[2] / "shared" / "data" / "market" / "crypto"
_FOUR = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT")
_P99_MS, _PER_S = 20.0, 1_000


def _message(port: int, path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    if not _CRYPTO.is_dir():
        print("real data not found: ../shared/data is absent; nothing was measured")
        return 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "bars"
        folder.mkdir()
        for symbol in _FOUR:
            source = _CRYPTO / f"{symbol}_perp_15m_365d_to_2025-06.parquet"
            pl.read_parquet(source).write_parquet(folder / f"{symbol}_15m.parquet")
        with running(folder, list(_FOUR), "15m", home=Path(name) / "home") as hub:
            before = _learnt(hub.get("/hub/state"))
            while before < 1_000:  # everything has started, and learners are at it
                time.sleep(0.2)
                before = _learnt(hub.get("/hub/state"))
            message = _message(hub.port, "/ml/predict?symbol=BTCUSDT")
            ask_once(hub.port, message)
            began = time.monotonic()
            latencies = open_loop(hub.port, message, per_s=_PER_S, seconds=chosen.seconds, connections=64)
            took = time.monotonic() - began
            after = _learnt(hub.get("/hub/state"))
    p50, p99, p999 = np.percentile(latencies, [50, 99, 99.9])
    learnt = (after - before) / took
    if chosen.json:
        print(json.dumps({"p50_ms": p50, "p99_ms": p99, "p999_ms": p999, "events_per_s": learnt}))
    print(f"{len(latencies):,} requests, {_PER_S:,} a second for {chosen.seconds:.0f} s, open loop, 0 errors")
    print(f"latency from the scheduled time: p50 {p50:.2f} ms, p99 {p99:.2f} ms, p99.9 {p999:.2f} ms")
    print(f"meanwhile the hub wrote {learnt:,.0f} events a second (four symbols, every learner)")
    holds = {
        f"p99 {p99:.1f} ms (bar: < {_P99_MS:.0f})": p99 < _P99_MS,
        "the hub was learning all the time": learnt > 100,
    }
    for words, good in holds.items():
        print(f"{'holds ' if good else 'MISSED'} {words}")
    return 0 if all(holds.values()) else 1


def _learnt(state: bytes) -> int:
    return int(json.loads(state)["seq"])


if __name__ == "__main__":
    raise SystemExit(main())
