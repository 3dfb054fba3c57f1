"""Live bars into the log: order, healing, late and corrected bars, one slow symbol among several, ticks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.fakes.scripted_source import ScriptedSource
from tests.unit.bars.test_checks import STEP, times, walk

from kalibre.bars.history import load_bars
from kalibre.bars.ingest import ingest_history, ingest_live
from kalibre.bars.live import LiveSettings
from kalibre.bars.report import IngestReport
from kalibre.core.clock import ManualClock
from kalibre.core.errors import SourceUnavailableError, UsageError
from kalibre.core.events import Gap
from kalibre.log import open_log
from kalibre.log.protocol import EventLog

SETTINGS = LiveSettings(poll_s=0.005, retry_ms=0, heal_patience_s=5.0, backfill_bars=0)
CLOCK = ManualClock(10**13)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as opened:
        yield opened


def live(
    log: EventLog, source: ScriptedSource, *symbols: str, settings: LiveSettings = SETTINGS, clock: ManualClock = CLOCK
) -> dict[str, IngestReport]:
    running = ingest_live(
        log,
        source,
        symbols or ("X",),
        "15m",
        calendar="24/7",
        clock=clock,
        should_stop=lambda: False,
        settings=settings,
    )
    return asyncio.run(asyncio.wait_for(running, 30))


def stored(log: EventLog, symbol: str = "X") -> list[tuple[int, str]]:
    return [(e.event_time // STEP, e.provenance) for e in log.read(kinds={"bar"}, key=f"{symbol}|15m")]


def start(log: EventLog, n: int = 300, extra: int = 20) -> tuple[ScriptedSource, list]:  # type: ignore[type-arg]
    """Store n bars and return a source that knows more, with the ones to come."""
    bars = walk(n + extra)
    source = ScriptedSource({"X": bars})
    ingest_history(log, source, "X", "15m", calendar="24/7", clock=CLOCK, end_ms=n * STEP)
    source.asked.clear()
    return source, bars[n:]


def test_live_bars_are_received(log: EventLog) -> None:
    source, rest = start(log)
    source.say("X", *rest[:5])
    report = live(log, source)["X"]
    assert source.since == {"X": 299 * STEP}
    assert stored(log)[-5:] == [(300 + i, "received") for i in range(5)]
    assert (report.bars_written, report.bars_known, source.asked) == (5, 0, [])


def test_a_gap_is_healed_before_the_next_bar(log: EventLog) -> None:
    source, rest = start(log)
    source.say("X", rest[0], *rest[4:6])
    report = live(log, source)["X"]
    assert stored(log)[-6:] == [
        (300, "received"),
        (301, "backfilled"),
        (302, "backfilled"),
        (303, "backfilled"),
        (304, "received"),
        (305, "received"),
    ]
    kinds = [(e.kind, getattr(e.payload, "status", "")) for e in log.read(after=300, kinds={"bar", "gap"})]
    assert kinds.index(("gap", "healed")) < kinds.index(("bar", ""), kinds.index(("gap", "healed")))
    assert (report.gaps_found, report.gaps_healed, report.bars_healed) == (1, 1, 3)


def test_a_gap_that_cannot_be_healed_stays_open_then_is_healed_or_a_hole(log: EventLog) -> None:
    source, rest = start(log)
    source.hidden["X", rest[1].open_time] = 2
    source.hidden["X", rest[5].open_time] = 10**6

    async def wait_for_healing() -> None:
        while ("healed", 301) not in gaps(log):
            await asyncio.sleep(0.005)

    def gaps(log: EventLog) -> list[tuple[str, int]]:
        return [(e.payload.status, e.event_time // STEP) for e in log.read(kinds={"gap"}) if isinstance(e.payload, Gap)]

    source.say("X", rest[0], rest[2])
    source.script.append(wait_for_healing)
    source.say("X", *rest[3:5], *rest[6:8])
    live(log, source)
    assert gaps(log) == [("open", 301), ("healed", 301), ("open", 305), ("hole", 305)]
    assert [time for time, _ in stored(log)][-7:] == [
        300,
        302,
        301,
        303,
        304,
        306,
        307,
    ]  # late bars come after newer ones
    assert len(load_bars(log, "X", "15m")) == 307


def test_a_slow_symbol_delays_none(log: EventLog) -> None:
    bars = walk(330)
    source = ScriptedSource({"SLOW": bars, "FAST": bars})
    for symbol in ("SLOW", "FAST"):
        ingest_history(log, source, symbol, "15m", calendar="24/7", clock=CLOCK, end_ms=300 * STEP)
    source.blocked.add("SLOW")

    async def fast_is_through() -> None:
        while len(stored(log, "FAST")) < 310:
            await asyncio.sleep(0.005)
        assert len(stored(log, "SLOW")) == 300  # still waiting for what it missed
        source.released.set()

    source.say("SLOW", bars[303])
    source.say("FAST", *bars[300:310])
    source.script.append(fast_is_through)
    live(log, source, "SLOW", "FAST", settings=patient(heal_patience_s=25.0))
    assert [time for time, _ in stored(log, "SLOW")][-4:] == [300, 301, 302, 303]


def patient(**change: float) -> LiveSettings:
    from dataclasses import replace

    return replace(SETTINGS, **change)  # type: ignore[arg-type]


def test_a_source_that_does_not_answer_costs_patience_not_the_bar(log: EventLog) -> None:
    source, rest = start(log)
    source.blocked.add("X")
    source.say("X", rest[0], rest[3])

    async def release() -> None:
        while stored(log)[-1][0] != 303:
            await asyncio.sleep(0.005)
        source.released.set()

    source.script.append(release)
    report = live(log, source, settings=patient(heal_patience_s=0.05, retries=10**6, retry_ms=10**9))["X"]
    assert any("did not answer" in note for note in report.notes)
    assert [time for time, _ in stored(log)][-4:] == [300, 303, 301, 302]
    assert report.gaps_healed == 1


def test_a_source_that_fails_is_noted(log: EventLog) -> None:
    source, rest = start(log)
    source.down = True
    source.say("X", rest[0], rest[2])
    report = live(log, source)["X"]
    assert [time for time, _ in stored(log)][-2:] == [300, 302]
    assert report.holes == 1
    assert "down" in report.notes[0]


def test_late_bars_duplicates_and_revisions(log: EventLog) -> None:
    source, rest = start(log)
    revised = msgspec.structs.replace(rest[1], volume=12.5)

    async def correct() -> None:
        source.bars["X"][rest[1].open_time] = revised

    source.say("X", *rest[:3], rest[2], rest[0])
    source.script.append(correct)
    source.say("X", revised, rest[3])
    report = live(log, source)["X"]
    assert [time for time, _ in stored(log)][-5:] == [300, 301, 302, 301, 303]
    assert report.bars_revised == 1
    assert load_bars(log, "X", "15m").volume[301] == 12.5
    assert not report.quarantined


def test_what_the_source_does_not_confirm_is_kept_aside(log: EventLog) -> None:
    source, rest = start(log)
    head = msgspec.structs.replace(rest[2], open_time=-5 * STEP)
    lie = msgspec.structs.replace(rest[0], volume=12.5)
    source.say("X", *rest[:3], lie, head, rest[3])
    report = live(log, source)["X"]
    assert report.quarantined == {"unconfirmed_revision": 1, "backward_time": 1}
    assert [time for time, _ in stored(log)][-4:] == [300, 301, 302, 303]


def test_bad_live_bars_are_kept_aside_and_fetched_clean(log: EventLog) -> None:
    source, rest = start(log)
    bad = msgspec.structs.replace(rest[1], close=float("nan"))
    source.say("X", rest[0], bad, times(rest[2], 1e6), *rest[3:7])
    source.say("X", rest[7], timeframe="1h")
    source.say("X", *rest[7:9])
    report = live(log, source)["X"]
    assert report.quarantined == {"not_finite": 1, "price_magnitude": 1, "timeframe_mismatch": 1}
    assert list(load_bars(log, "X", "15m"))[300:] == rest[:9]
    assert report.holes == 0


def test_a_restart_after_a_stop_goes_on(log: EventLog) -> None:
    source, rest = start(log)
    stop = False

    async def ask_to_stop() -> None:
        nonlocal stop
        while stored(log)[-1][0] != 302:
            await asyncio.sleep(0.005)
        stop = True
        await asyncio.Event().wait()

    source.say("X", *rest[:3])
    source.script.append(ask_to_stop)
    running = ingest_live(
        log, source, ["X"], "15m", calendar="24/7", clock=CLOCK, should_stop=lambda: stop, settings=SETTINGS
    )
    asyncio.run(asyncio.wait_for(running, 30))
    assert source.closed
    again = ScriptedSource({"X": walk(320)})
    again.say("X", *rest[3:6])
    live(log, again)
    assert again.since == {"X": 302 * STEP}
    assert list(load_bars(log, "X", "15m"))[300:] == rest[:6]


def test_an_empty_log_is_filled_before_the_first_live_bar(log: EventLog) -> None:
    bars = walk(420)
    source = ScriptedSource({"X": bars[:400]})
    source.say("X", *bars[400:403])
    clock = ManualClock(403 * STEP)
    live(log, source, settings=patient(backfill_bars=100), clock=clock)
    found = stored(log)
    assert [time for time, _ in found] == list(range(found[0][0], 403))
    assert 90 < len(found) < 130
    assert [p for _, p in found][-4:] == ["backfilled", "received", "received", "received"]


def test_the_clock_is_recorded_once_a_span(log: EventLog) -> None:
    source, _ = start(log)
    clock = ManualClock(10**13)

    def advance_to(now_ms: int):  # type: ignore[no-untyped-def]
        async def advance() -> None:
            clock.set(now_ms)
            while not log.read(kinds={"tick"}, start_ms=now_ms // 10_000 * 10_000):
                await asyncio.sleep(0.005)

        return advance

    source.script += [advance_to(10**13), advance_to(10**13 + 25_000), advance_to(10**13 + 29_000)]
    live(log, source, clock=clock)
    source.script = source.script[-1:]
    clock.set(10**13 + 21_000)
    live(log, source, clock=clock)
    assert [event.event_time - 10**13 for event in log.read(kinds={"tick"})] == [0, 20_000]


def test_a_stream_that_fails_says_so_after_storing_what_came(log: EventLog) -> None:
    source, rest = start(log)

    async def fail() -> None:
        raise SourceUnavailableError("gone for good")

    source.say("X", *rest[:2])
    source.script.append(fail)
    with pytest.raises(SourceUnavailableError, match="gone for good"):
        live(log, source)
    assert [time for time, _ in stored(log)][-2:] == [300, 301]


def test_a_symbol_is_needed(log: EventLog) -> None:
    with pytest.raises(UsageError, match="no symbol"):
        asyncio.run(
            ingest_live(log, ScriptedSource({}), [], "15m", calendar="24/7", clock=CLOCK, should_stop=lambda: True)
        )
