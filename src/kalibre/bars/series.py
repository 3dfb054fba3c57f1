"""One series on its way into the log: judged, its gaps found, all turned into events. It writes nothing itself."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

import msgspec
import numpy as np
from numpy.typing import NDArray

from kalibre.bars.action_search import WRITER, ActionSearch
from kalibre.bars.bar_news import KnownNews, stamped
from kalibre.bars.calendars import Calendar
from kalibre.bars.checks import WINDOW, BarChecker, Verdict
from kalibre.bars.gaps import group_missing
from kalibre.bars.history import bar_of, load_actions
from kalibre.bars.news import relevance_of
from kalibre.bars.reasons import raw_text
from kalibre.bars.report import IngestReport
from kalibre.core.bars import Bar, without_news
from kalibre.core.clock import Clock, to_text
from kalibre.core.events import BarClosed, BarQuarantined, CorporateAction, Event, Gap, new_event, series_key
from kalibre.core.protocols import Source
from kalibre.core.timeframe import timeframe_ms
from kalibre.log.failpoints import failpoint
from kalibre.log.protocol import Conflict, EventLog, Reader

_logger = logging.getLogger(__name__)


class SeriesIngest:
    """Judge the bars of a series and say which events follow.

    Parameters
    ----------
    log
        Read for what is already known; never written here.
    source
        Asked for missing bars and for the truth of doubtful ones.
    before_ms
        Begin as if bars from this time on were unknown; None begins after the newest bar.
    relevance
        Weight of each asset whose headlines matter for the symbol; None takes what its market suggests.
    """

    def __init__(
        self,
        log: Reader,
        source: Source,
        symbol: str,
        timeframe: str,
        calendar: Calendar,
        *,
        before_ms: int | None = None,
        relevance: Mapping[str, float] | None = None,
    ) -> None:
        self.log, self.source, self.calendar = log, source, calendar
        self.symbol, self.timeframe = symbol, timeframe
        self.key = series_key(symbol, timeframe)
        self.checker = BarChecker(symbol, timeframe, calendar, known=self.stored, scaled_by=self._scaled_by)
        self.checker.prime(self._last_stored(before_ms))
        last = self.checker.last
        self.cursor: int | None = None if last is None else last.open_time
        """Open time of the newest bar whose neighbours before it are accounted for."""
        self.actions = ActionSearch(symbol, timeframe, calendar, ahead=before_ms is None)
        """What looks for corporate actions among the bars that are written."""
        self.news = KnownNews(relevance or relevance_of(symbol, calendar.name))
        self.no_trade = 0
        self._why: dict[int, str] = {}
        self._waiting: dict[int, str] = {}  # provenance of bars held back

    def stored(self, open_time: int) -> Bar | None:
        """Return what the log has for a time: the newest revision."""
        events = self.log.read(
            kinds={"bar"}, key=self.key, start_ms=open_time, end_ms=open_time + 1, newest_revision=True
        )
        return without_news(bar_of(events[-1])) if events else None

    def _scaled_by(self, after_ms: int, upto_ms: int) -> float:
        actions = load_actions(self.log, self.symbol)
        return math.prod(one.action.factor for one in actions if after_ms < one.event_time <= upto_ms)

    def _last_stored(self, before_ms: int | None) -> list[Bar]:
        newest = self.log.latest("bar", key=self.key, by="event_time")
        if newest is None:
            return []
        end = newest.event_time + 1 if before_ms is None else min(before_ms, newest.event_time + 1)
        reach = WINDOW + 1
        while True:  # farther and farther back, until the window is full or the log has no more
            expected = self.reach_back(end, reach)
            events = self.log.read(kinds={"bar"}, key=self.key, start_ms=expected, end_ms=end, newest_revision=True)
            times = {event.event_time: event for event in events}
            if len(times) > WINDOW or reach > 64 * WINDOW:
                return [without_news(bar_of(times[time])) for time in sorted(times)[-WINDOW - 1 :]]
            reach *= 4

    def close_of(self, open_time: int) -> int:
        """Return when the bar that opened then was over."""
        return self.calendar.bar_end(self.timeframe, open_time)

    def reach_back(self, end_ms: int, bars: int) -> int:
        """Return a time that lies about so many bars before another, by the calendar's yearly count."""
        year_ms = 365 * 86_400_000
        return end_ms - int(bars / self.calendar.bars_per_year(self.timeframe) * year_ms * 1.1) - 1

    # --- judging -------------------------------------------------------------------------------------------------

    def judge(self, bar: Bar, provenance: str, *, now_ms: int, trusted: bool) -> tuple[list[Event], list[Verdict]]:
        """Judge one bar; return the events that follow, and the verdicts that need the source (`verify`)."""
        events: list[Event] = []
        doubtful: list[Verdict] = []
        self._waiting[bar.open_time] = provenance
        for verdict in self.checker.judge(bar, now_ms=now_ms, trusted=trusted):
            self._follow(verdict, provenance, events, doubtful)
        return events, doubtful

    def finish(self) -> list[Event]:
        """Settle what can be settled at the end of a history."""
        events: list[Event] = []
        for verdict in self.checker.finish():
            self._follow(verdict, "backfilled", events, [])
        return events

    def confirm_by_stored(self, from_ms: int, now_ms: int) -> list[Event]:
        """Settle what is held at the end of older bars by those that follow from a time on and are stored already."""
        if not self.checker.held:
            return []
        end_ms = from_ms + 30 * timeframe_ms(self.timeframe)
        stored = self.log.read(kinds={"bar"}, key=self.key, start_ms=from_ms, end_ms=end_ms, newest_revision=True)
        events: list[Event] = []
        for event in sorted(stored, key=lambda one: one.event_time):
            if self.checker.held:
                events += self.judge(without_news(bar_of(event)), event.provenance, now_ms=now_ms, trusted=True)[0]
        return events

    def _follow(self, verdict: Verdict, provenance: str, events: list[Event], doubtful: list[Verdict]) -> None:
        bar = verdict.bar
        if verdict.action in {"accept", "revise"}:
            came_as = self._waiting.pop(bar.open_time, provenance)
            self._why.pop(bar.open_time, None)
            events.append(self.bar_event(bar, came_as))
        elif verdict.action == "quarantine":
            self._waiting.pop(bar.open_time, None)
            self.refuse(bar.open_time, verdict.reasons)
            events.append(self.quarantine_event(bar, verdict.reasons, verdict.detail, provenance))
        elif verdict.action == "no_trade":
            self._waiting.pop(bar.open_time, None)
            self._why[bar.open_time] = "no trade"
            self.no_trade += 1
        elif verdict.action == "verify":
            doubtful.append(verdict)

    def refuse(self, open_time: int, codes: tuple[str, ...]) -> None:
        """Remember why a time may stay without a bar."""
        self._why[open_time] = f"quarantined: {', '.join(codes)}"

    def bar_event(self, bar: Bar, provenance: str) -> Event:
        """Return the event of an accepted bar."""
        return new_event(self.key, bar.open_time, BarClosed.of(bar), provenance=provenance)

    def quarantine_event(self, bar: Bar, reasons: tuple[str, ...], detail: str, provenance: str) -> Event:
        """Return the event of a bar that is kept aside, as it came."""
        payload = BarQuarantined(raw=raw_text(bar), reasons=reasons, detail=detail)
        return new_event(self.key, bar.open_time, payload, provenance=provenance)

    # --- gaps ----------------------------------------------------------------------------------------------------

    def missing_before(self, open_time: int, there: Iterable[int] = ()) -> NDArray[np.int64]:
        """Return expected open times after the newest bar (held ones included) and before `open_time`."""
        held = self.checker.held
        start = held[-1].open_time if held else self.cursor
        if start is None or open_time <= start:
            return np.empty(0, dtype=np.int64)
        expected = self.calendar.expected_opens(self.timeframe, start + 1, open_time)
        return np.setdiff1d(expected, np.fromiter(there, dtype=np.int64))

    def not_stored(self, open_time: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of some times, rising, that the log has no bar for."""
        if not len(open_time):
            return open_time
        start_ms, end_ms = int(open_time[0]), int(open_time[-1]) + 1
        events = self.log.read(kinds={"bar"}, key=self.key, start_ms=start_ms, end_ms=end_ms)
        return np.setdiff1d(open_time, np.array([event.event_time for event in events], dtype=np.int64))

    def fetch(self, start_ms: int, end_ms: int) -> list[Bar]:
        """Ask the source for a range; bars outside it, which some sources add, are left out."""
        chunks = self.source.history(self.symbol, self.timeframe, start_ms=start_ms, end_ms=end_ms)
        return [bar for chunk in chunks for bar in chunk if start_ms <= bar.open_time < end_ms]

    def account(
        self, accepted: Sequence[int], *, until_ms: int | None = None, healed: Sequence[int] = (), final: bool = True
    ) -> list[Event]:
        """Move the cursor over newly accepted bars and announce what is missing between them.

        Parameters
        ----------
        accepted
            Open times accepted now, in any order.
        until_ms
            Open time of a later bar that is known already; what is missing before it counts too.
        healed
            Times that were missing at first and were fetched: announced as found and healed.
        final
            True: what is missing is a hole. False: the gap stays open, to be asked for again.
        """
        times = sorted(accepted)
        start = self.cursor if self.cursor is not None else (times[0] if times else None)
        ends = [*times[-1:], *([until_ms] if until_ms is not None else [])]
        if start is None or not ends:
            return []
        end = max(ends)
        expected = self.calendar.expected_opens(self.timeframe, start + 1, end)
        there = np.array(times, dtype=np.int64)
        # A source that is read again may lack what another one had: the log has it, so it is no hole.
        missing = self.not_stored(np.setdiff1d(expected, there))
        events: list[Event] = []
        repaired = np.intersect1d(np.array(healed, dtype=np.int64), there)
        for gap in group_missing(repaired, self.calendar, self.timeframe):
            events.extend(self.gap_events(gap, "healed", "the source had them when asked again"))
        for gap in self._by_reason(missing):
            events.extend(self.gap_events(gap, "hole" if final else "open", gap.reason))
        if times:
            self.cursor = max(times[-1], start)
        for time in [time for time in self._why if time < end]:
            del self._why[time]
        return events

    def _by_reason(self, missing: NDArray[np.int64]) -> list[Gap]:
        """Join neighbours that are missing for one reason."""
        runs: list[Gap] = []
        reasons = np.array([self._why.get(int(time), "the source has no bar") for time in missing], dtype=object)
        for reason in dict.fromkeys(reasons.tolist()):
            runs.extend(group_missing(missing[reasons == reason], self.calendar, self.timeframe, reason=reason))
        return sorted(runs, key=lambda gap: gap.start_ms)

    def gap_events(self, gap: Gap, status: str, reason: str) -> list[Event]:
        """Return the announcement of a gap, and what became of it if that is known."""
        found = Gap(start_ms=gap.start_ms, end_ms=gap.end_ms, missing_bars=gap.missing_bars, status="open")
        events = [new_event(self.key, gap.start_ms, found)]
        if status == "healed":
            events.append(new_event(self.key, gap.start_ms, _with(found, "healed", reason)))
        elif status == "hole":
            events.append(new_event(self.key, gap.start_ms, _with(found, "hole", reason)))
        return events


def write(
    log: EventLog, events: list[Event], clock: Clock, report: IngestReport, series: SeriesIngest | None = None
) -> list[Event]:
    """Store events in one transaction; count those that were new.

    Bars of `series` are stamped with the news known at their close, and corporate actions stored before the bars that
    they explain.
    """
    if not events:
        return []
    with log.transaction() as transaction:
        before = transaction.head()
        if series is not None:
            events = stamped(transaction, events, series.key, series.close_of, series.news)
            events = series.actions.explain(transaction, events)
        stored: list[Event] = []
        now_ms = clock.now_ms()
        for is_bar, some in groupby(events, lambda event: event.kind == "bar"):
            # A bar was judged beside the newest revision: a correction that is taken back is a correction too.
            conflict: Conflict = "current" if is_bar else "revise"
            stored += transaction.append(some, writer=WRITER, conflict=conflict, recorded_at_ms=now_ms)
            failpoint("series.write")
    failpoint("series.written")
    _tell(stored, before, report)
    return stored


def settle(log: EventLog, actions: ActionSearch, clock: Clock, report: IngestReport) -> None:
    """Store the corporate actions that are owed for bars stored before."""
    if not actions.settle(log):
        return
    with log.transaction() as transaction:  # looked for once more: nobody decides about them in between
        before = transaction.head()
        stored = transaction.append(actions.settle(transaction), writer=WRITER, recorded_at_ms=clock.now_ms())
    _tell(stored, before, report)


def _tell(stored: list[Event], before: int, report: IngestReport) -> None:
    report.count(stored, before)
    newest = {event.event_time: event for event in stored if event.kind == "corporate_action" and event.seq > before}
    for event in newest.values():
        if isinstance(event.payload, CorporateAction) and event.payload.status == "detected":
            _logger.warning(
                "%s: prices from %s on stand in an unknown scale (%s): trading holds until it is decided, "
                "see `kalibre actions list --symbol %s`",
                *(event.key, to_text(event.event_time), event.payload.evidence, event.key),
            )


def place(event: Event) -> tuple[int, int]:
    """Order of events in the log: by time, a gap before the bar after it, its healing after the bars that healed it."""
    if isinstance(event.payload, Gap):
        return (event.payload.end_ms, 0) if event.payload.status == "healed" else (event.event_time, -1)
    return event.event_time, 1


def refill(
    series: SeriesIngest, gap: Gap, fetched: Sequence[Bar], now_ms: int, *, last_try: bool = True
) -> list[Event]:
    """Return the events that follow from what was fetched for a gap, the gap's next revision included."""
    events: list[Event] = []
    for bar in sorted(fetched, key=lambda one: one.open_time):
        events += series.judge(bar, "backfilled", now_ms=now_ms, trusted=True)[0]
    events += series.confirm_by_stored(gap.end_ms, now_ms)
    expected = series.calendar.expected_opens(series.timeframe, gap.start_ms, gap.end_ms)
    there = {event.event_time for event in events if event.kind == "bar"}
    there |= {
        event.event_time
        for event in series.log.read(kinds={"bar"}, key=series.key, start_ms=gap.start_ms, end_ms=gap.end_ms)
    }
    left = [int(time) for time in expected if int(time) not in there]
    if not left:
        events.append(series.gap_events(gap, "healed", "the source had them when asked again")[1])
    elif last_try:
        reason = gap.reason if gap.status == "hole" and len(left) == gap.missing_bars else f"{len(left)} still missing"
        events.append(series.gap_events(gap, "hole", reason or "the source has no bar")[1])
    return events


def _with(gap: Gap, status: str, reason: str) -> Gap:
    return msgspec.structs.replace(gap, status=status, reason=reason)
