"""Funding beside the bars: before the bar that pays it where the source tells it in time, never at another's cost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event as Flag

import pytest
from tests.fakes.scripted_source import ScriptedSource
from tests.unit.bars.test_checks import STEP, walk
from tests.unit.bars.test_ingest_live import CLOCK, SETTINGS

from kalibre.bars.funding import load_funding
from kalibre.bars.history import load_bars
from kalibre.bars.ingest import ingest_history, ingest_live
from kalibre.bars.report import IngestReport
from kalibre.core.bars import Bar
from kalibre.core.errors import SourceUnavailableError
from kalibre.log import open_log
from kalibre.log.protocol import EventLog

EIGHT_H = 28_800_000
BARS_A_RATE = EIGHT_H // STEP


class FundedScript(ScriptedSource):
    """A scripted source that also tells funding: settlement `i` has the rate `i / 1e4`, none as long as it is late."""

    def __init__(self, bars: Mapping[str, Sequence[Bar]]) -> None:
        super().__init__(bars)
        self.asks: list[tuple[str, int, int]] = []
        self.late: dict[int, int] = {}
        self.failing: set[str] = set()
        self.stuck: set[str] = set()
        self.unstuck = Flag()

    def funding(self, symbol: str, *, start_ms: int, end_ms: int) -> Iterator[tuple[int, float]]:
        self.asks.append((symbol, start_ms, end_ms))
        if symbol in self.failing:
            raise SourceUnavailableError("scripted: no funding, as the test said")
        if symbol in self.stuck and not self.unstuck.wait(30):
            raise SourceUnavailableError("scripted: never released")
        for i in range(-(-start_ms // EIGHT_H), -(-end_ms // EIGHT_H)):
            if self.late.get(i, 0):
                self.late[i] -= 1
            else:
                yield i * EIGHT_H + 3, i / 1e4


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as opened:
        yield opened


def start(log: EventLog, *symbols: str, n: int = 5 * BARS_A_RATE - 2) -> tuple[FundedScript, list[Bar]]:
    bars = walk(8 * BARS_A_RATE)
    source = FundedScript(dict.fromkeys(symbols or ("X",), bars))
    for symbol in symbols or ("X",):
        ingest_history(log, source, symbol, "15m", calendar="24/7", clock=CLOCK, end_ms=n * STEP)
    source.asks.clear()
    return source, bars[n:]


def live(log: EventLog, source: FundedScript, *symbols: str, patience_s: float = 5.0) -> dict[str, IngestReport]:
    running = ingest_live(
        log, source, symbols or ("X",), "15m", calendar="24/7", clock=CLOCK, should_stop=lambda: False,
        settings=replace(SETTINGS, heal_patience_s=patience_s),
    )  # fmt: skip
    return asyncio.run(asyncio.wait_for(running, 60))


def order(log: EventLog, symbol: str = "X", after: int = 0) -> list[str]:
    """Bars by number and rates by the number of the settlement, in the order of the log."""
    told = []
    for event in log.read(after=after, kinds={"bar", "funding"}):
        if event.key == f"{symbol}|15m":
            told.append(f"bar {event.event_time // STEP}")
        elif event.key == symbol:
            told.append(f"rate {event.event_time // EIGHT_H}")
    return told


def test_a_history_brings_its_funding_once_and_after_the_bars(log: EventLog) -> None:
    source, _ = start(log)
    assert order(log)[-5:] == ["bar 157", "rate 1", "rate 2", "rate 3", "rate 4"]
    column = load_funding(log, load_bars(log, "X", "15m"))
    assert column is not None
    assert [i for i, rate in enumerate(column) if rate] == [i * BARS_A_RATE - 1 for i in range(1, 5)]
    head = log.head()
    again = ingest_history(log, source, "X", "15m", calendar="24/7", clock=CLOCK, end_ms=158 * STEP)
    assert again.wrote_nothing
    assert log.head() == head


def test_bars_that_were_stored_before_their_source_told_funding_get_it_later(log: EventLog) -> None:
    bars = walk(4 * BARS_A_RATE)
    ingest_history(log, ScriptedSource({"X": bars}), "X", "15m", calendar="24/7", clock=CLOCK)
    assert log.latest("funding") is None
    report = ingest_history(log, FundedScript({"X": bars}), "X", "15m", calendar="24/7", clock=CLOCK)
    assert (report.funding_rates, report.bars_written) == (4, 0)
    assert dict(report.rows())["funding"] == "4 settlements"


def test_a_rate_is_stored_before_the_bar_that_pays_it(log: EventLog) -> None:
    source, rest = start(log)
    head = log.head()
    source.say("X", *rest[: BARS_A_RATE + 3])
    report = live(log, source)["X"]
    told = order(log, after=head)
    assert told[:4] == ["bar 158", "rate 5", "bar 159", "bar 160"]
    assert told[told.index("rate 6") + 1] == "bar 191"  # the bar that closes at the settlement
    assert report.funding_rates == 2
    full_hours = sum((158 + i + 1) % 4 == 0 for i in range(BARS_A_RATE + 3))
    assert len(source.asks) <= full_hours + 1, "it is asked for at full hours only"


def test_a_rate_that_is_late_is_waited_for_with_patience(log: EventLog) -> None:
    source, rest = start(log)
    head = log.head()
    source.late[5] = 3
    source.say("X", *rest[:3])
    report = live(log, source, patience_s=2.0)["X"]
    assert order(log, after=head) == ["bar 158", "rate 5", "bar 159", "bar 160"]
    assert report.notes == []


def test_a_rate_that_is_too_late_costs_patience_once_and_comes_at_the_next_bar(log: EventLog) -> None:
    source, rest = start(log)
    head = log.head()
    source.late[5] = 10**6

    async def told_at_last() -> None:
        while "bar 161" not in order(log):
            await asyncio.sleep(0.005)
        source.late[5] = 0

    source.say("X", *rest[:4])
    source.script.append(told_at_last)
    source.say("X", *rest[4:7])
    report = live(log, source, patience_s=0.3)["X"]
    assert order(log, after=head) == [
        *("bar 158", "bar 159", "bar 160", "bar 161", "rate 5", "bar 162", "bar 163", "bar 164"),
    ]
    assert len(report.notes) == 1
    assert "not told in time" in report.notes[0]


def test_a_source_that_fails_costs_no_bar_and_a_restart_asks_for_what_is_owed(log: EventLog) -> None:
    source, rest = start(log)
    head = log.head()
    source.failing.add("X")
    source.say("X", *rest[:6])
    report = live(log, source, patience_s=0.3)["X"]
    assert order(log, after=head) == [f"bar {158 + i}" for i in range(6)]
    assert any("as the test said" in note for note in report.notes)
    again = FundedScript({"X": walk(8 * BARS_A_RATE)})
    again.say("X", *rest[6:8])
    live(log, again)
    assert order(log, after=head)[6:] == ["rate 5", "bar 164", "bar 165"]


def test_a_symbol_whose_funding_hangs_delays_none(log: EventLog) -> None:
    source, rest = start(log, "SLOW", "FAST")
    source.stuck.add("SLOW")

    async def fast_is_through() -> None:
        while len(order(log, "FAST")) < 158 + 4 + 6 + 1:
            await asyncio.sleep(0.005)
        assert order(log, "SLOW")[-1] == "bar 158" or "rate" in order(log, "SLOW")[-1]
        source.unstuck.set()

    source.say("SLOW", *rest[:3])
    source.say("FAST", *rest[:6])
    source.script.append(fast_is_through)
    live(log, source, "SLOW", "FAST", patience_s=25.0)
    assert order(log, "SLOW")[-4:] == ["bar 158", "rate 5", "bar 159", "bar 160"]


def test_a_source_without_funding_is_never_asked(log: EventLog) -> None:
    bars = walk(330)
    source = ScriptedSource({"X": bars})
    ingest_history(log, source, "X", "15m", calendar="24/7", clock=CLOCK, end_ms=300 * STEP)
    source.say("X", *bars[300:305])
    running = ingest_live(
        log, source, ["X"], "15m", calendar="24/7", clock=CLOCK, should_stop=lambda: False, settings=SETTINGS
    )
    asyncio.run(asyncio.wait_for(running, 30))
    assert log.latest("funding") is None
