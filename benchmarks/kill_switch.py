"""The kill switch: how long a busy paper engine takes from the command to its last order, by event and by file.

A paper engine and a hammer of bars run in processes of their own, no API is alive, and the switch is pulled from a
third. Bar: never an order behind the `kill` event. Measured: wall time from the call to the kill event, and to the last
order that was still committed (before the event).

    python -m benchmarks.kill_switch [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import benchmarks._single_thread  # noqa: F401
import numpy as np
from tests.fakes.kill_hammer import Stop, hammering, pull, wait_for_orders

from kalibre.log.protocol import EventLog


def last_order_ms(log: EventLog, stop: Stop) -> int | None:
    """Wall time of the last order committed before a kill event but after the call; None if there was none."""
    orders = log.read(kinds={"order"}, upto=stop.kill_seq, limit=1, descending=True)
    return orders[0].recorded_at if orders and orders[0].recorded_at >= stop.called_ms else None


def main() -> int:
    """Pull the switch many times and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few pulls")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    pulls = 6 if options.quick else 60
    rows, behind = [], 0
    with tempfile.TemporaryDirectory() as folder, hammering(f"sqlite:///{folder}/log.sqlite", Path(folder)) as log:
        for number in range(pulls):
            wait_for_orders(log, log.head(), 40)
            stop = pull(log, Path(folder), "event" if number % 2 else "file")
            last = last_order_ms(log, stop)
            under = log.read(after=stop.kill_seq, upto=stop.release_seq, kinds={"order"})
            behind += len(under)
            rows.append(
                {
                    "way": stop.way,
                    "event_ms": stop.stored_ms - stop.called_ms,
                    "last_order_ms": 0 if last is None else last - stop.called_ms,
                    "decided_meanwhile": len(log.read(after=stop.kill_seq, upto=stop.release_seq, kinds={"signal"})),
                }
            )
        n_orders, n_signals = len(log.read(kinds={"order"})), len(log.read(kinds={"signal"}))
        recorded = [event.recorded_at for event in log.read(kinds={"signal"})]
    rate = n_signals / max((recorded[-1] - recorded[0]) / 1000, 1e-3)
    figures = {}
    for way in ("event", "file"):
        for name in ("event_ms", "last_order_ms"):
            values = [row[name] for row in rows if row["way"] == way]
            figures[f"{way} {name}"] = [float(np.percentile(values, q)) for q in (50, 90, 99, 100)]
    held = sum(row["decided_meanwhile"] for row in rows)
    bars = {"no order behind a kill": behind == 0}
    if options.json:
        print(json.dumps({"rows": rows, "figures": figures, "orders": n_orders, "rate": rate, "bars": bars}, indent=1))
    else:
        now = f"{datetime.now(tz=UTC):%Y-%m-%d}"
        print(f"{platform.machine()}, Python {platform.python_version()}, {now}; {pulls} pulls, {rate:,.0f} bars/s,")
        print(f"{n_orders:,} orders in all, {held:,} bars decided under the kill, {behind} orders behind one\n")
        print(f"{'pulled by':<8} {'milliseconds from the call to':<34} {'median':>7} {'p90':>6} {'p99':>6} {'max':>6}")
        for key, values in figures.items():
            way, name = key.split()
            what = "the kill event" if name == "event_ms" else "the last order (0: none after it)"
            print(f"{way:<8} {what:<34} {values[0]:>8.0f} " + " ".join(f"{value:>6.0f}" for value in values[1:]))
        print()
        for bar, passed in bars.items():
            print(f"{'PASS' if passed else 'FAIL'}  {bar}: {behind} of {n_orders:,}")
    return 0 if all(bars.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
