"""Live bars into the log: each symbol on its own, gaps healed before the next bar where they can be, ticks beside."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from kalibre.bars.action_search import WRITER
from kalibre.bars.bar_news import hear
from kalibre.bars.calendars import Calendar, get_calendar
from kalibre.bars.checks import Verdict
from kalibre.bars.live_funding import FundingWatch
from kalibre.bars.report import IngestReport
from kalibre.bars.series import SeriesIngest, place, refill, write
from kalibre.core.bars import Bar
from kalibre.core.clock import Clock
from kalibre.core.errors import SourceError, UsageError
from kalibre.core.events import Event, Gap, Tick, new_event
from kalibre.core.protocols import LiveSource, PlayedSource, SourceBar
from kalibre.log.protocol import EventLog

_logger = logging.getLogger(__name__)
_QUEUE = 4096


@dataclass(frozen=True)
class LiveSettings:
    """How patient live ingest is."""

    tick_ms: int = 10_000
    """A tick is recorded whenever the clock enters another span of this length."""
    heal_patience_s: float = 10.0
    """How long a symbol waits for the source to fill a gap before its next bar is stored without; later attempts, and
    so very long gaps, are given six times as much."""
    retry_ms: int = 60_000
    """Pause between two attempts at a gap that the source could not fill."""
    retries: int = 3
    """Attempts after which an open gap is announced as a hole."""
    backfill_bars: int = 500
    """Bars fetched before the first live one where the log has none of a series yet."""
    poll_s: float = 0.1
    """How often the clock and `should_stop` are looked at."""


@dataclass
class _OpenGap:
    gap: Gap
    tries: int
    due_ms: int


@dataclass
class _Symbol:
    """One symbol's way: its own queue and worker, so that none waits for another."""

    log: EventLog
    series: SeriesIngest
    clock: Clock
    settings: LiveSettings
    report: IngestReport
    queue: asyncio.Queue[SourceBar | None] = field(default_factory=lambda: asyncio.Queue(_QUEUE))
    open_gaps: list[_OpenGap] = field(default_factory=list)
    stopping: bool = False
    funding: FundingWatch = field(init=False)

    def __post_init__(self) -> None:
        """Watch the funding beside the bars."""
        series, patience_s = self.series, self.settings.heal_patience_s
        self.funding = FundingWatch(self.log, series.source, series.symbol, patience_s, notes=self.report.notes)

    async def run(self) -> None:
        """Take bars from the queue until it is closed by None."""
        for event in self.log.read(kinds={"gap"}, key=self.series.key, newest_revision=True):
            if isinstance(event.payload, Gap) and event.payload.status == "open":
                self.open_gaps.append(_OpenGap(event.payload, 0, 0))
        await self._fill_before_first()
        while True:
            try:
                item = await asyncio.wait_for(self.queue.get(), self.settings.poll_s if self.open_gaps else None)
            except TimeoutError:
                await self._retry_gaps()
                continue
            if item is None or self.stopping:
                break
            self.report.bars_read += 1
            await self._take(item)
            await self._retry_gaps()
            self.queue.task_done()
        if not self.stopping:  # the stream is over: what is open now stays a hole
            await self._retry_gaps(final=True)
        self.report.held = tuple(bar.open_time for bar in self.series.checker.held)
        self.report.no_trade = self.series.no_trade

    async def _fill_before_first(self) -> None:
        series, bars = self.series, self.settings.backfill_bars
        if series.cursor is not None or bars <= 0:
            return
        now_ms = self.clock.now_ms()
        start = series.reach_back(now_ms, bars)
        fetched = await self._fetch(start, now_ms)
        events: list[Event] = []
        for bar in sorted(fetched or [], key=lambda one: one.open_time):
            events += series.judge(bar, "backfilled", now_ms=now_ms, trusted=True)[0]
        accepted = [event.event_time for event in events if event.kind == "bar"]
        if accepted:
            self._store(await self._settled(min(accepted), max(accepted)))
        self._store(events + series.account(accepted))

    async def _settled(self, first_open: int, last_open: int) -> list[Event]:
        """Return the funding that bars about to be stored have to pay."""
        series = self.series
        from_ms = first_open if series.cursor is None else series.calendar.bar_end(series.timeframe, series.cursor)
        return await self.funding.settled(from_ms, series.calendar.bar_end(series.timeframe, last_open))

    async def _take(self, item: SourceBar) -> None:
        bar, series = item.bar, self.series
        now_ms = self.clock.now_ms()
        codes, detail = series.checker.faults(bar, now_ms, item.symbol, item.timeframe)
        if codes:
            series.refuse(bar.open_time, codes)
            self._store([series.quarantine_event(bar, codes, detail, item.provenance)])
            return
        self._store(await self._settled(bar.open_time, bar.open_time))
        events: list[Event] = []
        healed: list[int] = []
        missing = series.missing_before(bar.open_time)
        if missing.size:
            for one in await self._fetch(int(missing[0]), int(missing[-1]) + 1) or []:
                healed.append(one.open_time)
                events += series.judge(one, "backfilled", now_ms=now_ms, trusted=True)[0]
        follow, doubtful = series.judge(
            bar, item.provenance, now_ms=self.clock.now_ms(), trusted=item.provenance != "received"
        )
        events += follow
        for verdict in doubtful:
            events += await self._verify(verdict, item.provenance)
        accepted = [event.event_time for event in events if event.kind == "bar"]
        gaps = series.account(accepted, healed=healed, final=False)
        for event in gaps:
            if isinstance(event.payload, Gap) and event.payload.status == "open":
                self._remember(event.payload)
        healed_starts = {e.event_time for e in gaps if isinstance(e.payload, Gap) and e.payload.status == "healed"}
        self.open_gaps = [one for one in self.open_gaps if one.gap.start_ms not in healed_starts]
        self._store(sorted(events + gaps, key=place))

    def _remember(self, gap: Gap) -> None:
        due = self.clock.now_ms() + self.settings.retry_ms
        self.open_gaps = [one for one in self.open_gaps if one.gap.start_ms != gap.start_ms]
        self.open_gaps.append(_OpenGap(gap, 0, due))

    async def _verify(self, verdict: Verdict, provenance: str) -> list[Event]:
        """Ask the source for the time of a bar that claims to be older or corrected, and believe what it says."""
        series, claimed = self.series, verdict.bar
        fetched = await self._fetch(claimed.open_time, claimed.open_time + 1)
        truth = next(iter(fetched or []), None)
        events: list[Event] = []
        if truth is not None:
            as_came = provenance if truth == claimed else "backfilled"
            events += series.judge(truth, as_came, now_ms=self.clock.now_ms(), trusted=True)[0]
        if truth != claimed:
            code = "backward_time" if series.stored(claimed.open_time) is None else "unconfirmed_revision"
            said = "could not be asked" if fetched is None else f"says {truth}"
            detail = f"{series.symbol} {series.timeframe}: {claimed}, but {series.source.name} {said}"
            events.append(series.quarantine_event(claimed, (code,), detail, provenance))
        elif any(event.kind == "bar" for event in events):
            for gap in self.open_gaps:  # perhaps the bar that one of them waited for
                if gap.gap.start_ms <= claimed.open_time < gap.gap.end_ms:
                    gap.due_ms = 0
        return events

    async def _retry_gaps(self, *, final: bool = False) -> None:
        for one in list(self.open_gaps):
            if not final and self.clock.now_ms() < one.due_ms:
                continue
            one.tries += 1
            one.due_ms = self.clock.now_ms() + self.settings.retry_ms
            last_try = final or one.tries >= self.settings.retries
            gap = one.gap
            fetched = await self._fetch(gap.start_ms, gap.end_ms, patience=6.0)  # only this symbol waits
            events = refill(self.series, gap, fetched or [], self.clock.now_ms(), last_try=last_try)
            self._store(events)
            if last_try or any(isinstance(e.payload, Gap) for e in events):
                self.open_gaps.remove(one)

    async def _fetch(self, start_ms: int, end_ms: int, *, patience: float = 1.0) -> list[Bar] | None:
        """Ask the source in a thread; None where it fails or takes too long, which is announced, not fatal."""
        series, patience_s = self.series, patience * self.settings.heal_patience_s
        try:
            return await asyncio.wait_for(asyncio.to_thread(series.fetch, start_ms, end_ms), patience_s)
        except TimeoutError:
            note = f"{series.source.name} did not answer within {patience_s:g} s"
        except SourceError as error:
            note = str(error)
        _logger.warning("%s %s: no bars for %d to %d: %s", series.symbol, series.timeframe, start_ms, end_ms, note)
        self.report.notes.append(note)
        return None

    def _store(self, events: list[Event]) -> None:
        write(self.log, events, self.clock, self.report, self.series)


async def ingest_live(
    log: EventLog,
    source: LiveSource,
    symbols: Sequence[str],
    timeframe: str,
    *,
    calendar: Calendar | str,
    clock: Clock,
    should_stop: Callable[[], bool],
    settings: LiveSettings | None = None,
    relevance: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[str, IngestReport]:
    """Write live bars, gaps and ticks until the stream ends or `should_stop` says so.

    Each symbol has a worker of its own: while one waits for missing bars, the others go on. Before a bar is stored,
    what is missing before it is fetched from `source.history` and stored first (`backfilled`); where the source cannot,
    the gap is announced (`open`), tried again, and in the end called a hole. Funding that the bar has to pay is stored
    before it too, where the source tells it in time. A bar that claims to be late or corrected
    is believed when the source, asked for that time, says the same. A late bar comes after newer ones in the log.

    Parameters
    ----------
    log, source
        Where to and where from. The stream back-fills from the newest stored bar; where there is none, this does.
    symbols, timeframe
        The series.
    calendar
        A calendar or its name, for all symbols.
    clock
        Tells which bars are over, and gives the ticks. Where it is the source's own (a replay), each bar is stored, and
        its close recorded as a tick before it, ere the next one is asked for: no bar is behind the recorded time.
    should_stop
        Looked at every `poll_s`; the bar in hand is finished, the rest is read again at the next start.
    relevance
        By symbol, the weight of each asset whose headlines the bars are stamped with; else what the market suggests.

    Returns
    -------
    A report for each symbol.

    Raises
    ------
    UsageError
        If no symbol is given.
    SourceError, LogError
        If the stream or the log fails for good; what was stored stays, and the next start goes on from there.
    """
    if not symbols:
        raise UsageError("no symbol was given to ingest: name at least one, for example BTCUSDT")
    options = settings or LiveSettings()
    hear(log, source)
    market = get_calendar(calendar) if isinstance(calendar, str) else calendar
    ways = {}
    for symbol in dict.fromkeys(symbols):
        weights = (relevance or {}).get(symbol)
        series = SeriesIngest(log, source, symbol, timeframe, market, relevance=weights)
        ways[symbol] = _Symbol(log, series, clock, options, IngestReport(symbol, timeframe, source.name))
    since = {symbol: way.series.cursor for symbol, way in ways.items() if way.series.cursor is not None}
    workers = [asyncio.create_task(way.run(), name=f"ingest {symbol}") for symbol, way in ways.items()]
    ticks = _Ticks(log, clock, options.tick_ms, played=isinstance(source, PlayedSource) and source.clock is clock)
    reader = asyncio.create_task(_read(source, ways, timeframe, since, ticks))
    ticker = asyncio.create_task(_tick(ticks, options.poll_s))
    try:
        while not reader.done() and not should_stop():
            _raise_failed(workers)
            await asyncio.wait([reader, ticker, *workers], timeout=options.poll_s, return_when=asyncio.FIRST_EXCEPTION)
            _raise_failed([ticker])
        stopped = not reader.done()
        reader.cancel()
        results = await asyncio.gather(reader, return_exceptions=True)
        for way in ways.values():
            way.stopping = stopped
        await asyncio.gather(*workers, *(_close(way.queue, discard=stopped) for way in ways.values()))
        if not stopped and isinstance(results[0], Exception):
            raise results[0]
    finally:
        for task in (reader, ticker, *workers):
            task.cancel()
        await asyncio.gather(reader, ticker, *workers, return_exceptions=True)
    return {symbol: way.report for symbol, way in ways.items()}


def _raise_failed(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            raise error


async def _close(queue: asyncio.Queue[SourceBar | None], *, discard: bool) -> None:
    while discard and not queue.empty():
        queue.get_nowait()
    await queue.put(None)


async def _read(
    source: LiveSource, ways: dict[str, _Symbol], timeframe: str, since: dict[str, int], ticks: _Ticks
) -> None:
    stream = source.stream(list(ways), timeframe, since_ms=since)
    try:
        async for item in stream:
            if item.symbol in ways:
                if ticks.played:
                    ticks.record()
                await ways[item.symbol].queue.put(item)
                if ticks.played:  # asked for the next bar, the source moves its clock on
                    await ways[item.symbol].queue.join()
            else:
                _logger.warning("%s sent a bar of %s, which was not asked for", source.name, item.symbol)
    finally:  # an asynchronous generator keeps its connections until it is closed
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()


@dataclass
class _Ticks:
    """Records the clock whenever it has entered another span; the same span is the same event."""

    log: EventLog
    clock: Clock
    tick_ms: int
    played: bool
    last_ms: int | None = None

    def record(self) -> None:
        now_ms = self.clock.now_ms() // self.tick_ms * self.tick_ms
        if now_ms == self.last_ms:
            return
        self.last_ms = now_ms
        # A played tick is recorded at the machine's time: how far the two are apart tells readers what is a replay.
        recorded_at_ms = None if self.played else self.clock.now_ms()
        self.log.append([new_event("clock", now_ms, Tick(now_ms=now_ms))], writer=WRITER, recorded_at_ms=recorded_at_ms)


async def _tick(ticks: _Ticks, poll_s: float) -> None:
    while True:
        ticks.record()
        await asyncio.sleep(poll_s)
