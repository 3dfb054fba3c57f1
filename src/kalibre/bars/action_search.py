"""Corporate actions found as bars come in: each is written before the bar that it explains, wherever it can be known.

Looked at are sessions: a daily bar is one, intraday bars are joined. For each session whose first bar opens beyond the
exchange's daily limit two revisions of a `corporate_action` follow, in whatever pieces the bars come:

1. `detected`, before that bar, with the factor that its open suggests: it cannot be judged yet.
2. What `detect` says once three whole sessions are known: `confirmed`, `detected` (a person decides) or `rejected`.

The checker holds such a bar back until two more confirm it. Of daily bars the three come together then, and so both
revisions stand before the bar. Of intraday bars the second revision comes three sessions later. Where no limit exists
only the finding is written, as soon as it is known.

The event's time is the start of the session (`session_start`), so that it lies before the session's daily bar and its
first intraday one, and behind all of the session before. Who was first has the word: another series of the symbol
adds nothing but a finding that is still owed. What a person wrote is never touched.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec
import numpy as np

from kalibre.bars.calendars import Calendar, breaks_limit, daily_limit, session_start, sessions_between
from kalibre.bars.corporate_actions import AFTER, BEFORE, MIN_BEFORE, detect
from kalibre.core.bars import Bar, Bars
from kalibre.core.clock import to_text
from kalibre.core.events import BarClosed, CorporateAction, Event, new_event, series_key
from kalibre.core.timeframe import DAY_MS, timeframe_ms
from kalibre.log.protocol import Reader

_logger = logging.getLogger(__name__)

WRITER = "ingest"
"""Who writes what is found; an action whose newest revision has another writer was decided by a person."""
PROVISIONAL = "not judged yet"

_CONTEXT = BEFORE + AFTER + 6
_LONGEST_MS = 20 * 365 * DAY_MS


@dataclass
class Session:
    """What is known of one session of a series."""

    day: int
    first: Bar
    """Its first bar: what it opens with."""
    last_time: int
    high: float
    low: float
    close: float
    volume: float

    def add(self, bar: Bar) -> None:
        """Take the next bar of the session."""
        self.last_time, self.close = bar.open_time, bar.close
        self.high, self.low = max(self.high, bar.high), min(self.low, bar.low)
        self.volume += bar.volume


class ActionSearch:
    """Find the corporate actions of one series, bar by bar.

    Parameters
    ----------
    symbol, timeframe
        The series; daily or shorter, else nothing is looked for.
    calendar
        Its market's; nothing is looked for where there are no sessions (24/7, forex).
    ahead
        True: a bar that comes late is judged with those after it, at once. False: only once nothing is missing between
        them, which a history that is read from its beginning needs to end the same in whatever pieces it came.
    """

    def __init__(self, symbol: str, timeframe: str, calendar: Calendar, *, ahead: bool = True) -> None:
        self.symbol, self.timeframe, self.calendar, self.ahead = symbol, timeframe, calendar, ahead
        self.active = calendar.name not in {"24/7", "forex"} and timeframe_ms(timeframe) <= DAY_MS
        self._key = series_key(symbol, timeframe)
        self._daily = timeframe_ms(timeframe) == DAY_MS
        self._limit = daily_limit(calendar)
        self._doubted: set[int] = set()  # told once
        self._newest: list[Session] = []  # the last sessions of the series, where it is known to end with them

    def explain(self, log: Reader, events: Sequence[Event]) -> list[Event]:
        """Return events about to be stored, with the corporate actions that follow from the bars among them.

        Parameters
        ----------
        log
            What is stored so far: a transaction, so that nobody decides about an action in between.
        events
            In the order in which they are to be stored; `place` puts the actions into it.
        """
        rows = {event.event_time: event.payload.bar() for event in events if isinstance(event.payload, BarClosed)}
        if not self.active or not rows:
            return list(events)
        first = min(rows)
        stored = log.latest("bar", key=self._key, by="event_time")
        grows = stored is None or first > stored.event_time
        if grows and stored is not None and self._newest and self._newest[-1].last_time == stored.event_time:
            before = self._newest[-1].day
            sessions = self._join(sorted(rows.items()), self._newest)
            if sessions[-1].day == before:  # the session goes on: nothing more is known of any
                return list(events)
        else:
            sessions = self._load(log, rows, grows=grows)
        days = np.array([session.day for session in sessions])
        changed = self.calendar.session_date(np.array([first, max(rows)], dtype=np.int64)).tolist()
        begin = int(np.searchsorted(days, changed[0])) - AFTER
        end = int(np.searchsorted(days, changed[1])) + 1 + (0 if grows else MIN_BEFORE)
        found = self._judge(log, sessions, max(begin, 1), min(end, len(sessions)))
        self._newest = sessions[-_CONTEXT:] if grows else []
        return _placed(events, found)

    def settle(self, log: Reader) -> list[Event]:
        """Look through all that is stored of the series; return what is owed, nothing if all was found before."""
        if not self.active:
            return []
        events = log.read(kinds={"bar"}, key=self._key, newest_revision=True)
        rows = {event.event_time: event.payload.bar() for event in events if isinstance(event.payload, BarClosed)}
        sessions = self._join(sorted(rows.items()), [])
        return self._judge(log, sessions, 1, len(sessions))

    # --- sessions -----------------------------------------------------------------------------------------------------

    def _join(self, rows: Sequence[tuple[int, Bar]], before: Iterable[Session]) -> list[Session]:
        """Join bars, oldest first, into sessions that go on from others."""
        sessions = list(before)
        days = self.calendar.session_date(np.array([time for time, _ in rows], dtype=np.int64)).tolist()
        for day, (time, bar) in zip(days, rows, strict=True):
            if sessions and sessions[-1].day == day:
                sessions[-1].add(bar)
            else:
                sessions.append(Session(day, bar, time, bar.high, bar.low, bar.close, bar.volume))
        return sessions

    def _load(self, log: Reader, rows: dict[int, Bar], *, grows: bool) -> list[Session]:
        """Load the sessions around new bars: enough before them, and after them where that may be looked at."""
        first, last = min(rows), max(rows)
        session_ms = 365 * DAY_MS / self.calendar.bars_per_year("1d")
        end = last + 1
        if not grows and (self.ahead or self._next_is_stored(log, last)):
            end += int((AFTER + MIN_BEFORE + 6) * session_ms * 2)
        reach = int(_CONTEXT * session_ms * 1.5)
        while True:  # farther back, until there are enough sessions or the series begins
            everything = reach > _LONGEST_MS
            events = log.read(
                kinds={"bar"},
                key=self._key,
                start_ms=None if everything else first - reach,
                end_ms=end,
                newest_revision=True,
            )
            known = {event.event_time: event.payload.bar() for event in events if isinstance(event.payload, BarClosed)}
            sessions = self._join(sorted({**known, **rows}.items()), [])
            day = int(self.calendar.session_date(np.array([first], dtype=np.int64))[0])
            if everything or sum(session.day < day for session in sessions) >= _CONTEXT:
                return sessions
            reach *= 6

    def _next_is_stored(self, log: Reader, open_time: int) -> bool:
        expected = self.calendar.expected_opens(self.timeframe, open_time + 1, open_time + 14 * DAY_MS)
        if not expected.size:
            return False
        time = int(expected[0])
        return bool(log.read(kinds={"bar"}, key=self._key, start_ms=time, end_ms=time + 1, limit=1))

    # --- judging ------------------------------------------------------------------------------------------------------

    def _judge(self, log: Reader, sessions: Sequence[Session], begin: int, end: int) -> list[Event]:
        """Return the revisions owed for sessions `begin` to `end - 1`."""
        if begin >= end:
            return []
        # The last session of intraday bars may go on: its volume is not known before the next one opens.
        whole = len(sessions) if self._daily else len(sessions) - 1
        findings = self._findings(sessions[:whole])
        starts = [session_start(self.calendar, session.day) for session in sessions[begin - 1 : end]]
        known: dict[int, list[Event]] = defaultdict(list)
        for event in log.read(
            kinds={"corporate_action"}, key=self.symbol, start_ms=starts[0] + 1, end_ms=starts[-1] + 1
        ):
            known[event.event_time].append(event)
        events: list[Event] = []
        for i, (before, start) in enumerate(pairwise(starts), begin):
            if any(before < time < start and _status(known[time]) != "rejected" for time in known):
                continue  # somebody dated it to a day without a session: it explains this one's open already
            if start in known:
                self._doubt(known[start][-1], sessions[i - 1], sessions[i])
            suspicion = self._suspect(sessions[i - 1], sessions[i])
            finding = findings.get(sessions[i].day)
            judged = i + AFTER <= whole
            if judged and finding is None and suspicion is not None:
                finding = self._left_over(sessions, i, suspicion)
            owed = self._owed(known.get(start, []), suspicion, finding, judged=judged)
            events += [new_event(self.symbol, start, action) for action in owed]
        return events

    def _findings(self, sessions: Sequence[Session]) -> dict[int, CorporateAction]:
        bars = Bars.from_rows(
            self.symbol,
            "1d",
            [
                Bar(open_time=one.day * DAY_MS, open=one.first.open, high=one.high, low=one.low, close=one.close,
                    volume=one.volume)
                for one in sessions
            ],
        )  # fmt: skip
        found = detect(bars, daily_limit=self._limit, calendar=self.calendar)
        return {one.event_time // DAY_MS: self._told(one.action) for one in found}

    def _told(self, action: CorporateAction) -> CorporateAction:
        return msgspec.structs.replace(action, evidence=f"{self.timeframe} bars: {action.evidence}")

    def _suspect(self, before: Session, session: Session) -> CorporateAction | None:
        """Return what the first bar of a session beyond the limit suggests, from nothing but it and the last close."""
        if self._limit is None:
            return None
        bar = session.first
        overnight, move = math.log(bar.open / before.close), math.log(bar.close / before.close)
        between = max(sessions_between(self.calendar, before.last_time, bar.open_time), 1)
        if not breaks_limit(overnight, move, between, self._limit):
            return None
        told = (
            f"open {math.exp(overnight):.4f} of the last close {before.close:.6g}, beyond the limit of "
            f"{self._limit:.0%} a session ({between} since); the open says {math.exp(-overnight):.4g}; {PROVISIONAL}: "
            f"that takes {AFTER} sessions"
        )
        return self._told(CorporateAction(factor=math.exp(-overnight), status="detected", evidence=told))

    def _doubt(self, event: Event, before: Session, session: Session) -> None:
        """Warn of a person's action that the prices do not show: it would tear the series apart."""
        action, limit = event.payload, self._limit
        if event.writer == WRITER or limit is None or not isinstance(action, CorporateAction):
            return
        if action.status == "confirmed" and event.event_time not in self._doubted:
            bar, undone = session.first, math.log(action.factor / before.close)
            between = max(sessions_between(self.calendar, before.last_time, bar.open_time), 1)
            if breaks_limit(math.log(bar.open) + undone, math.log(bar.close) + undone, between, limit):
                self._doubted.add(event.event_time)
                day = to_text(event.event_time)[:10]
                _logger.warning(
                    "%s: the corporate action of %s has factor %g (%s), but the session opens at %.4f of the last "
                    "close: `kalibre actions confirm %s %s --factor F` corrects it, `kalibre actions reject %s %s` "
                    "takes it back",
                    *(self.symbol, day, action.factor, action.evidence, bar.open / before.close),
                    *(self.symbol, day, self.symbol, day),
                )

    def _left_over(self, sessions: Sequence[Session], i: int, suspicion: CorporateAction) -> CorporateAction:
        """Say why what looked like an action is none, or why a person has to decide."""
        if i < MIN_BEFORE:
            told = f"only {i} session(s) are known before it, too few to judge by: a person decides"
            return self._told(msgspec.structs.replace(suspicion, evidence=told))
        before, session = sessions[i - 1], sessions[i]
        between = sessions_between(self.calendar, before.last_time, session.first.open_time)
        told = f"the session closed at {session.close / before.close:.4f} of the last close"
        if between > 1:
            told += f", {between} sessions after it: such a pause allows the limit {between} times, and no usual factor"
            told += " explains the rest"
        else:
            told += ", within the limit: a trade's doing"
        return self._told(msgspec.structs.replace(suspicion, status="rejected", evidence=told))

    def _owed(
        self, known: list[Event], suspicion: CorporateAction | None, finding: CorporateAction | None, *, judged: bool
    ) -> list[CorporateAction]:
        """Return the next revisions of an action, given those that are stored."""
        if not known:
            return [action for action in (suspicion, finding) if action is not None]
        newest = known[-1].payload
        assert isinstance(newest, CorporateAction)
        if known[-1].writer != WRITER:
            return []
        pending = newest.status == "detected" and PROVISIONAL in newest.evidence
        own = newest.evidence.startswith(f"{self.timeframe} bars: ")
        if not (own or (pending and finding is not None)):
            return []
        if finding is None:
            if newest.status == "rejected" or suspicion is not None or not (judged or pending):
                return []
            told = "bars that came or changed later show no move beyond the limit here any more"
            finding = self._told(CorporateAction(factor=newest.factor, status="rejected", evidence=told))
        elif not pending and (finding.status, finding.factor) == (newest.status, newest.factor):
            return []
        while any(event.payload == finding for event in known):  # the log would take it for the old revision
            finding = msgspec.structs.replace(finding, evidence=f"{finding.evidence}; once more")
        return [finding]


def _status(revisions: Sequence[Event]) -> str:
    payload = revisions[-1].payload
    return payload.status if isinstance(payload, CorporateAction) else ""


def _placed(events: Sequence[Event], found: Sequence[Event]) -> list[Event]:
    """Put each action before the first bar at or after its time; all else keeps its order."""
    placed = list(events)
    for action in found:
        at = (i for i, one in enumerate(placed) if one.kind == "bar" and one.event_time >= action.event_time)
        placed.insert(next(at, len(placed)), action)
    return placed
