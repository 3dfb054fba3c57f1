"""Ingest, interrupted in every way: what is left goes on to the content of an ingest that was not."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.fakes.exchange import FakeExchange
from tests.fakes.exchange_listener import random_market
from tests.unit.bars.test_action_search import rough

from kalibre.bars.history import load_bars
from kalibre.bars.ingest import Progress, ingest_history, ingest_live
from kalibre.bars.live import LiveSettings
from kalibre.bars.report import IngestReport
from kalibre.core.bars import Bars
from kalibre.core.clock import Clock, ManualClock
from kalibre.core.errors import LogError, LogLockedError
from kalibre.core.events import encode_payload
from kalibre.log import open_log
from kalibre.log.protocol import EventLog
from kalibre.sources import open_source

ROOT = Path(__file__).resolve().parents[2]
MINUTE = 60_000
START = 1_704_067_200_000

SCRIPT = """
import resource, signal, sys
from kalibre.log import open_log
from tests.end_to_end.test_ingest import ingest

# A test run in the background of a shell hands down that SIGINT is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
url, limit, stay_at, market = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]


def progress(read, last):
    print(read, flush=True)
    if stay_at and read >= stay_at:
        sys.stdin.readline()  # never to the end before the signal comes, however slow its sender is


if limit:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
with open_log(url) as log:
    ingest(log, market, progress=progress)
print("done", flush=True)
"""


def faulty_market() -> Bars:
    """Return a market with holes, spikes, a level shift and a bar that is none."""
    bars = random_market("X", 4_000, start_ms=START)
    rows = list(bars)
    scale = np.ones(len(rows))
    scale[2_500:] = 0.5
    scale[[700, 1_900]] = [1e6, 1.5]
    rows = [
        msgspec.structs.replace(
            bar,
            **{name: getattr(bar, name) * f for name in ("open", "high", "low", "close")},
            quote_volume=None,
            taker_buy_volume=None,
            trades=None,
        )
        for bar, f in zip(rows, scale, strict=True)
    ]
    rows[1_200] = msgspec.structs.replace(rows[1_200], close=float("nan"))
    del rows[3_000:3_007]
    return Bars.from_rows("X", "1m", rows)


class in_chunks:  # noqa: N801
    """A source that hands out a series in pieces."""

    name = "pieces"

    def __init__(self, bars: Bars, size: int = 250) -> None:
        self._bars, self._size = bars, size

    def history(self, symbol, timeframe, *, start_ms=None, end_ms=None):  # type: ignore[no-untyped-def]
        part = self._bars.between(start_ms, end_ms)
        for i in range(0, len(part), self._size):
            yield part[i : i + self._size]


def ingest(log: EventLog, market: str = "faulty", progress: Progress | None = None) -> IngestReport:
    """Ingest the faulty market, or a share of Borsa Istanbul with splits, in pieces of three sessions."""
    clock = ManualClock(10**13)
    if market == "faulty":
        source = in_chunks(faulty_market())
        return ingest_history(log, source, "X", "1m", calendar="24/7", clock=clock, progress=progress)
    source = in_chunks(Bars.from_rows("X", "1h", rough("1h")), 24)
    return ingest_history(log, source, "X", "1h", calendar="XIST", clock=clock, progress=progress)


def content(url: str) -> list[tuple[object, bytes]]:
    with open_log(url) as log:
        assert log.check() == []
        return sorted((event.identity, encode_payload(event.payload)) for event in log.read())


def whole(tmp_path: Path) -> list[tuple[object, bytes]]:
    url = f"sqlite:///{tmp_path / 'whole.sqlite'}"
    with open_log(url) as log:
        report = ingest(log)
    assert (report.bars_written, report.holes, report.bars_in_holes) == (3_990, 4, 10)
    assert report.quarantined == {"price_magnitude": 1, "spike": 1, "not_finite": 1}
    return content(url)


def resume(url: str) -> None:
    with open_log(url) as log:
        ingest(log)


def start(url: str, *, limit: int = 0, stay_at: int = 0, market: str = "faulty") -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    command = [sys.executable, "-c", SCRIPT, url, str(limit), str(stay_at), market]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("kind", "after"), [("SIGTERM", 500), ("SIGINT", 1_250), ("SIGKILL", 2_500), ("SIGKILL", 2_750)]
)
def test_a_signal_in_the_middle(tmp_path: Path, kind: str, after: int) -> None:
    url = f"sqlite:///{tmp_path / 'log.sqlite'}"
    process = start(url, stay_at=after + 500)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= after:
            break
    process.send_signal(getattr(signal, kind))
    process.communicate(timeout=60)
    assert process.returncode != 0
    with open_log(url) as log:
        assert 0 < len(load_bars(log, "X", "1m")) < 3_990
    resume(url)
    assert content(url) == whole(tmp_path)


@pytest.mark.fault
@pytest.mark.parametrize(("sessions", "status"), [(30, None), (33, "detected"), (36, "confirmed")])
def test_a_kill_around_a_split_ends_in_the_same_actions(tmp_path: Path, sessions: int, status: str | None) -> None:
    """Killed before the split of session 30, while it waits to be judged, and once it is."""
    url = f"sqlite:///{tmp_path / 'log.sqlite'}"
    process = start(url, stay_at=8 * sessions, market="split")
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 8 * sessions:
            break
    process.kill()
    process.communicate(timeout=60)
    with open_log(url) as log:
        actions = [event.payload for event in log.read(kinds={"corporate_action"}, newest_revision=True)]
        assert [one.status for one in actions] == ([] if status is None else [status])  # type: ignore[attr-defined]
        ingest(log, "split")
    whole = f"sqlite:///{tmp_path / 'whole.sqlite'}"
    with open_log(whole) as log:
        ingest(log, "split")
    assert content(url) == content(whole)


@pytest.mark.fault
def test_a_full_disk(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'log.sqlite'}"
    process = start(url, limit=400_000)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "LogError" in errors or "LogUnavailableError" in errors, errors
    resume(url)
    assert content(url) == whole(tmp_path)


@pytest.mark.fault
def test_a_locked_log(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    url = f"sqlite:///{path}"
    with open_log(url, patience_s=0.2) as log:
        blocker = sqlite3.connect(path, isolation_level=None)

        def lock_in_the_middle(read: int, last: int) -> None:
            if read == 1_000:
                blocker.execute("BEGIN IMMEDIATE")

        with pytest.raises(LogLockedError) as refused:
            ingest(log, progress=lock_in_the_middle)
        assert isinstance(refused.value, LogError)
        blocker.execute("ROLLBACK")
        blocker.close()
        stored = len(load_bars(log, "X", "1m"))
    assert stored == 999  # 1,000 but the spike
    resume(url)
    assert content(url) == whole(tmp_path)


class ExchangeClock:
    """The exchange's own time, so that bars are over when it says so."""

    def __init__(self, exchange: FakeExchange) -> None:
        self._exchange = exchange

    def now_ms(self) -> int:
        return self._exchange.now_ms


def binance(exchange: FakeExchange):  # type: ignore[no-untyped-def]
    quick = {"backoff_s": 0.01, "backoff_cap_s": 0.05, "stall_after_s": 30, "ping_every_s": 30, "seed": 1}
    return open_source(
        "binance", rest_url=exchange.rest_url, ws_url=exchange.ws_url, confirm_after_s=0.02, timeout_s=2, **quick
    )


async def until(condition, timeout_s: float = 30.0) -> None:  # type: ignore[no-untyped-def]
    limit = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        await asyncio.sleep(0.01)


def test_a_session_with_an_exchange_that_drops_and_corrects(tmp_path: Path) -> None:
    """Two symbols over Binance's wire, connections lost, a bar corrected: the log holds what the exchange holds."""
    markets = {symbol: random_market(symbol, 60, start_ms=START) for symbol in ("BTCUSDT", "ETHUSDT")}

    async def session() -> None:
        async with FakeExchange(markets, now_ms=START + 20 * MINUTE) as exchange:
            clock: Clock = ExchangeClock(exchange)
            stop = False
            with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as log:
                source = binance(exchange)
                for symbol in markets:
                    await asyncio.to_thread(
                        ingest_history, log, source, symbol, "1m", calendar="24/7", clock=clock, start_ms=START
                    )
                running = asyncio.create_task(
                    ingest_live(
                        log,
                        source,
                        list(markets),
                        "1m",
                        calendar="24/7",
                        clock=clock,
                        should_stop=lambda: stop,
                        settings=LiveSettings(poll_s=0.02, tick_ms=MINUTE),
                    )
                )

                def known(symbol: str, n: int) -> bool:
                    return len(load_bars(log, symbol, "1m")) >= n

                await exchange.wait_for(lambda: exchange.open_streams == 1)
                await exchange.advance_to(START + 25 * MINUTE)
                await until(lambda: all(known(symbol, 25) for symbol in markets))
                exchange.drop_connections()
                await exchange.advance_to(START + 32 * MINUTE)
                await until(lambda: all(known(symbol, 32) for symbol in markets))
                await exchange.correct("BTCUSDT", START + 30 * MINUTE, volume=123.0, quote_volume=123.0 * 1e9)
                corrected = await exchange.correct("ETHUSDT", START + 30 * MINUTE, trades=7.0)
                await exchange.advance_to(START + 34 * MINUTE)
                await until(lambda: all(known(symbol, 34) for symbol in markets))
                await until(lambda: log.read(kinds={"quarantine"}))
                await until(lambda: load_bars(log, "ETHUSDT", "1m")[30] == corrected)
                stop = True
                reports = await asyncio.wait_for(running, 30)
                for symbol in markets:
                    stored = load_bars(log, symbol, "1m")
                    closed = exchange.closed(symbol)
                    differ = np.flatnonzero((stored.close != closed.close) | (stored.volume != closed.volume))
                    assert len(stored) == 34
                    # The absurd correction of BTC is kept aside, everything else is as the exchange has it.
                    assert differ.tolist() == ([30] if symbol == "BTCUSDT" else [])
                    opens = [e.event_time for e in log.read(kinds={"bar"}, key=f"{symbol}|1m") if not e.revision]
                    assert opens == sorted(opens)
                assert reports["BTCUSDT"].quarantined["quote_volume_mismatch"] >= 1
                assert reports["ETHUSDT"].bars_revised == 1
                ticks = [event.event_time for event in log.read(kinds={"tick"})]
                assert ticks[-1] == START + 34 * MINUTE
                provenances = {event.provenance for event in log.read(kinds={"bar"})}
                assert provenances == {"received", "backfilled"}

    asyncio.run(session())
