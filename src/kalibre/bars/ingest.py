"""From a source through the checks into the log: a history in chunks, or live. Run again, it writes nothing again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from kalibre.bars.bar_news import hear
from kalibre.bars.calendars import Calendar, get_calendar
from kalibre.bars.funding import fetch_funding
from kalibre.bars.gaps import closed_market
from kalibre.bars.live import ingest_live
from kalibre.bars.live_funding import LEEWAY_MS
from kalibre.bars.report import IngestReport, bar_text
from kalibre.bars.reread import beside_stored
from kalibre.bars.series import SeriesIngest, place, refill, settle, write
from kalibre.core.bars import Bar, Bars
from kalibre.core.clock import Clock
from kalibre.core.errors import UsageError
from kalibre.core.events import Event, Gap, series_key
from kalibre.core.protocols import FundedSource, Source
from kalibre.core.timeframe import DAY_MS, timeframe_ms
from kalibre.log.protocol import EventLog, Reader

__all__ = ["Progress", "heal_gaps", "ingest_history", "ingest_live"]

Progress = Callable[[int, int], None]
"""Called after each chunk with the bars read so far and the open time of the last one, UTC milliseconds."""

_SINGLE_REQUESTS = 16
_BEGINNING = -DAY_MS * 36_500


def ingest_history(
    log: EventLog,
    source: Source,
    symbol: str,
    timeframe: str,
    *,
    calendar: Calendar | str,
    clock: Clock,
    start_ms: int | None = None,
    end_ms: int | None = None,
    progress: Progress | None = None,
    refresh: bool = False,
    heal: bool = True,
    relevance: Mapping[str, Mapping[str, float]] | None = None,
) -> IngestReport:
    """Bring a history into the log: chunk by chunk, each in one transaction, going on where an earlier run ended.

    What is missing within the history is asked for once more, then announced as a hole. Bars of an exchange, daily or
    shorter, are searched for corporate actions, each stored before the bar that it explains (`action_search`). An
    interrupted run (signal, full disk, locked log) leaves whole chunks; the same call completes it to the same content.
    What the source knows of funding is stored after the bars.

    Parameters
    ----------
    log, source
        Where to and where from.
    calendar
        A calendar or its name.
    clock
        Tells which bars are over.
    start_ms, end_ms
        Range `[start_ms, end_ms)` of open times, UTC milliseconds; by default all that the source has.
    refresh
        Read again what the log has already, so that the source's corrections become revisions, and what it lacked
        before heals.
    heal
        Ask the source again for missing bars.
    relevance
        By symbol, the weight of each asset whose headlines the bars are stamped with; else what the market suggests.

    Returns
    -------
    What was newly written, and why bars were kept aside.

    Raises
    ------
    UsageError
        If the range ends before it starts.
    SourceError, LogError
        From source and log; nothing is half-written.
    """
    if start_ms is not None and end_ms is not None and end_ms <= start_ms:
        raise UsageError(f"the range ends at {end_ms}, not after its start {start_ms}: put the earlier time first")
    market = get_calendar(calendar) if isinstance(calendar, str) else calendar
    report = IngestReport(symbol, timeframe, source.name)
    hear(log, source)
    if not refresh:
        report.notes += _passed_over(log, symbol, timeframe, start_ms, end_ms)
    for start, end, until in _ranges(log, symbol, timeframe, start_ms, end_ms, refresh=refresh):
        before = start if start is not None else _BEGINNING
        series = SeriesIngest(
            log, source, symbol, timeframe, market, before_ms=before, relevance=(relevance or {}).get(symbol)
        )
        for chunk in source.history(symbol, timeframe, start_ms=start, end_ms=end):
            report.bars_read += len(chunk)
            if len(chunk):
                _ingest_chunk(log, series, chunk, clock, report, heal=heal, refresh=refresh)
            if progress is not None and len(chunk):
                progress(report.bars_read, int(chunk.open_time[-1]))
        # What follows the range, if the log has it, speaks for the last bars; read again, it is not judged again.
        follows = end if refresh else until
        closing = [] if follows is None else series.confirm_by_stored(follows, clock.now_ms())
        closing += series.finish()
        accepted = [event.event_time for event in closing if event.kind == "bar"]
        closing += series.account(
            [time for time in accepted if not refresh or follows is None or time < follows], until_ms=until
        )
        write(log, closing, clock, report, series)
        report.held = tuple(bar.open_time for bar in series.checker.held)
        report.no_trade += series.no_trade
        if refresh:
            write(log, _healed(series, start, end), clock, report)
        if refresh or until is not None or timeframe_ms(timeframe) == DAY_MS:
            settle(log, series.actions, clock, report)
    _ingest_funding(log, source, symbol, timeframe, clock, report, start_ms, end_ms, refresh=refresh)
    if market.name == "24/7" and report.holes and (name := closed_market(log, symbol, timeframe)):
        calendar_of = f'market.calendar = "{name}"' if name != "an exchange" else "market.calendar (XNYS, XIST, forex)"
        report.notes.append(
            f"these holes are when the market of {symbol} is closed, as {name} is, and the calendar says 24/7: set "
            f"{calendar_of}, or features and labels take nights and weekends for missing bars"
        )
    return report


def _ingest_funding(
    log: EventLog,
    source: Source,
    symbol: str,
    timeframe: str,
    clock: Clock,
    report: IngestReport,
    start_ms: int | None,
    end_ms: int | None,
    *,
    refresh: bool,
) -> None:
    """Store the funding that the stored bars of the range have to pay, as far as the source knows it."""
    newest = log.latest("bar", key=series_key(symbol, timeframe), by="event_time")
    if newest is None or not isinstance(source, FundedSource):
        return
    first = _oldest_time(log, series_key(symbol, timeframe), newest.event_time)
    last = newest.event_time + timeframe_ms(timeframe)
    first = first if start_ms is None else max(first, start_ms)
    last = last if end_ms is None else min(last, end_ms)
    if first < last:
        rates = fetch_funding(log, source, symbol, start_ms=first + 1, end_ms=last + LEEWAY_MS, refresh=refresh)
        write(log, rates, clock, report)


def _ranges(
    log: Reader, symbol: str, timeframe: str, start_ms: int | None, end_ms: int | None, *, refresh: bool
) -> Iterator[tuple[int | None, int | None, int | None]]:
    """Yield what is still to be read as (start, end, open time of the known bar that follows)."""
    newest = log.latest("bar", key=series_key(symbol, timeframe), by="event_time")
    if newest is None:
        yield start_ms, end_ms, None
        return
    if refresh:  # a range that begins later than the log ends is read from there on: what lies between is no hole
        yield None if start_ms is None else min(start_ms, newest.event_time + 1), end_ms, None
        return
    oldest = _oldest_time(log, series_key(symbol, timeframe), newest.event_time)
    if start_ms is not None and start_ms < oldest:
        yield start_ms, min(oldest, end_ms or oldest), oldest if end_ms is None or end_ms >= oldest else None
    if end_ms is None or end_ms > newest.event_time + 1:
        yield newest.event_time + 1, end_ms, None


def _passed_over(log: Reader, symbol: str, timeframe: str, start_ms: int | None, end_ms: int | None) -> list[str]:
    """Say which bars of the range are not read again because the log has them, and how they are."""
    newest = log.latest("bar", key=series_key(symbol, timeframe), by="event_time")
    if newest is None:
        return []
    first = max(_oldest_time(log, series_key(symbol, timeframe), newest.event_time), start_ms or _BEGINNING)
    last = newest.event_time if end_ms is None else min(newest.event_time, end_ms - 1)
    if last < first:
        return []
    return [
        f"what the log has from {bar_text(first, timeframe)} to {bar_text(last, timeframe)} was not read again; "
        "--refresh reads it again, so that corrections become revisions"
    ]


def _healed(series: SeriesIngest, start_ms: int | None, end_ms: int | None) -> list[Event]:
    """Announce as healed the gaps of a range whose bars have all come since."""
    events: list[Event] = []
    for event in series.log.read(kinds={"gap"}, key=series.key, end_ms=end_ms, newest_revision=True):
        gap = event.payload
        if not isinstance(gap, Gap) or gap.status == "healed" or (start_ms is not None and gap.end_ms <= start_ms):
            continue
        expected = series.calendar.expected_opens(series.timeframe, gap.start_ms, gap.end_ms)
        if len(expected) and not len(series.not_stored(expected)):
            events.append(series.gap_events(gap, "healed", "the source had them when it was read again")[1])
    return events


def _oldest_time(log: Reader, key: str, newest: int) -> int:
    """Find the earliest open time of a series by halving: the log orders by position, not by time."""
    low, high = _BEGINNING, newest
    while low < high:
        middle = (low + high) // 2
        if log.read(kinds={"bar"}, key=key, end_ms=middle + 1, limit=1):
            high = middle
        else:
            low = middle + 1
    return low


def _ingest_chunk(
    log: EventLog,
    series: SeriesIngest,
    chunk: Bars,
    clock: Clock,
    report: IngestReport,
    *,
    heal: bool,
    refresh: bool,
) -> None:
    rows = sorted(chunk, key=lambda bar: bar.open_time)
    fetched = _missing_rows(series, rows) if heal else {}
    if fetched:
        rows = sorted([*rows, *fetched.values()], key=lambda bar: bar.open_time)
    events: list[Event] = []
    if refresh:
        rows, events = beside_stored(series, rows)
    seen: dict[int, Bar] = {}
    now_ms = clock.now_ms()
    for bar in rows:
        earlier = seen.setdefault(bar.open_time, bar)
        if earlier is not bar:
            if earlier != bar:
                detail = f"{series.symbol} {series.timeframe}: {bar} beside {earlier}"
                events.append(series.quarantine_event(bar, ("duplicate_conflict",), detail, "backfilled"))
            continue
        events += series.judge(bar, "backfilled", now_ms=now_ms, trusted=True)[0]
    accepted = [event.event_time for event in events if event.kind == "bar"]
    gaps = series.account(accepted, healed=list(fetched))
    write(log, sorted(events + gaps, key=place), clock, report, series)


def _missing_rows(series: SeriesIngest, rows: Sequence[Bar]) -> dict[int, Bar]:
    """Ask the source again for what its answer left out; in one go where there are many gaps."""
    times = [bar.open_time for bar in rows]
    cursor = series.cursor if series.cursor is not None else times[0]
    if series.checker.held:  # they are there, and what lacked before them was asked for when they came
        cursor = max(cursor, series.checker.held[-1].open_time)
    if times[-1] <= cursor:
        return {}
    expected = series.calendar.expected_opens(series.timeframe, cursor + 1, times[-1])
    missing = sorted(set(expected.tolist()) - set(times))
    if not missing:
        return {}
    step = timeframe_ms(series.timeframe)
    runs = [[missing[0], missing[0]]]
    for time in missing[1:]:
        if time - runs[-1][1] <= step:
            runs[-1][1] = time
        else:
            runs.append([time, time])
    if len(runs) > _SINGLE_REQUESTS:
        runs = [[missing[0], missing[-1]]]
    wanted = set(missing)
    return {bar.open_time: bar for a, b in runs for bar in series.fetch(a, b + 1) if bar.open_time in wanted}


def heal_gaps(
    log: EventLog,
    source: Source,
    symbol: str,
    timeframe: str,
    *,
    calendar: Calendar | str,
    clock: Clock,
    relevance: Mapping[str, Mapping[str, float]] | None = None,
) -> IngestReport:
    """Ask the source again for every gap that is open or a hole, and store what it has by now.

    Returns
    -------
    What was healed. A gap healed in part is announced anew for what is left of it.
    """
    market = get_calendar(calendar) if isinstance(calendar, str) else calendar
    report = IngestReport(symbol, timeframe, source.name)
    key = series_key(symbol, timeframe)
    for event in log.read(kinds={"gap"}, key=key, newest_revision=True):
        gap = event.payload
        if not isinstance(gap, Gap) or gap.status == "healed":
            continue
        series = SeriesIngest(
            log, source, symbol, timeframe, market, before_ms=gap.start_ms, relevance=(relevance or {}).get(symbol)
        )
        fetched = series.fetch(gap.start_ms, gap.end_ms)
        series.actions.ahead = True  # this gap may never be closed: judge what is there by what follows it
        write(log, refill(series, gap, fetched, clock.now_ms()), clock, report, series)
    return report
