"""News on bars: what the log's headline scores said at a bar's close is written with the bar, and never altered after.

A bar is stamped once, in the transaction that stores it, with the scores whose event time is not later than its close;
so live, replay, recovery and back-test read one number, whatever order headlines and bars were recorded in afterwards.
A score whose scorer may have learnt from later texts than the headline stamps nothing: it would know the future.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from kalibre.bars.action_search import WRITER
from kalibre.bars.calendars import Calendar
from kalibre.bars.news import LONGEST_MS, news_rows
from kalibre.core.clock import Clock
from kalibre.core.events import BarClosed, Event, new_event, series_key
from kalibre.core.protocols import FloatArray, HeardSource
from kalibre.core.text_events import HeadlineScore
from kalibre.log.protocol import EventLog, Reader

WRITER_OF_NEWS = "news"
_KIND = "headline_score"
_CHUNK = 5_000


def knows_no_future(event_time: int, score: HeadlineScore) -> bool:
    """Say whether a score's scorer learnt only from texts that were there when the score counts from.

    Examples
    --------
    >>> said = {"asset": "THYAO", "impact": 0.5, "confidence": 0.8, "horizon": "daily"}
    >>> score = HeadlineScore(headline="h", story="s", model="m", trained_until_ms=1_000, **said)
    >>> knows_no_future(999, score), knows_no_future(1_000, score)
    (False, True)
    """
    return score.trained_until_ms is not None and score.trained_until_ms <= event_time


def hear(log: EventLog, source: object) -> None:
    """Bring in what a source's own log knew of headlines, so that its bars are stamped here as they were there."""
    if isinstance(source, HeardSource) and (told := source.headlines()):
        log.append(told, writer=WRITER_OF_NEWS)


class KnownNews:
    """What the log's scores say of one symbol at given closes; each score is read once, however often it is asked.

    Parameters
    ----------
    relevance
        Weight of each asset whose headlines matter, see `NewsFeatures`.
    """

    def __init__(self, relevance: Mapping[str, float]) -> None:
        self._relevance = dict(relevance)
        self._scores: dict[tuple[str, int], HeadlineScore] = {}
        self._from_ms: int | None = None
        self._position = 0

    def rows(self, log: Reader, closes: Sequence[int]) -> FloatArray:
        """Return `news_impact` and `news_conf` at each close, shape (n, 2); `closes` rise, UTC milliseconds."""
        if not len(closes) or not (newest := log.last_position({_KIND})):
            return np.zeros((len(closes), 2))
        from_ms = closes[0] - LONGEST_MS
        if self._from_ms is None or from_ms < self._from_ms:
            self._scores, self._position, self._from_ms = {}, 0, from_ms
        if newest > self._position:
            self._read(log, newest)
        # What is older touches no later bar; whoever asks for older ones has it read again.
        self._scores = {place: score for place, score in self._scores.items() if place[1] >= from_ms}
        self._from_ms = from_ms
        used = [(when, score) for (_, when), score in self._scores.items() if when <= closes[-1]]
        return news_rows(used, np.asarray(closes, dtype=np.int64), self._relevance)

    def _read(self, log: Reader, newest: int) -> None:
        for event in log.read(after=self._position, upto=newest, kinds={_KIND}, start_ms=self._from_ms):
            score = event.payload
            if not isinstance(score, HeadlineScore) or score.asset not in self._relevance:
                continue
            if knows_no_future(event.event_time, score):
                self._scores[event.key, event.event_time] = score
            else:
                self._scores.pop((event.key, event.event_time), None)
        self._position = newest


def stamped(
    log: Reader, events: Sequence[Event], key: str, close_of: Callable[[int], int], news: KnownNews | None
) -> list[Event]:
    """Return events about to be stored, each bar with its news: what is stored already, or else what is known now.

    Parameters
    ----------
    log
        The transaction that will store them.
    events
        In the order in which they will be stored; all but bars are returned as they are.
    key
        The series of the bars.
    close_of
        Returns when the bar that opened at a time was over.
    news
        None stamps nothing new, and still keeps what is stored.
    """
    times = sorted({event.event_time for event in events if event.kind == "bar"})
    if not times:
        return list(events)
    stored = {
        event.event_time: event.payload
        for event in log.read(kinds={"bar"}, key=key, start_ms=times[0], end_ms=times[-1] + 1, newest_revision=True)
    }
    said = dict.fromkeys(times, (0.0, 0.0))
    if news is not None and (fresh := [time for time in times if time not in stored]):
        rows = news.rows(log, [close_of(time) for time in fresh])
        said |= dict(zip(fresh, map(tuple, rows.tolist()), strict=True))

    def told(event: Event) -> Event:
        bar, known = event.payload, stored.get(event.event_time)
        if not isinstance(bar, BarClosed):
            return event
        if isinstance(known, BarClosed):
            bar = msgspec.structs.replace(bar, news_impact=known.news_impact, news_conf=known.news_conf)
        else:
            bar = _with(bar, said[event.event_time])
        return msgspec.structs.replace(event, payload=bar)

    return [told(event) for event in events]


@dataclass(frozen=True)
class Joined:
    """What `join_news` did: bars looked at, bars whose news changed, and scores that knew the future."""

    bars: int
    changed: int
    refused_scores: int


def join_news(
    log: EventLog,
    symbol: str,
    timeframe: str,
    *,
    relevance: Mapping[str, float],
    calendar: Calendar,
    clock: Clock,
    start_ms: int | None = None,
    end_ms: int | None = None,
) -> Joined:
    """Stamp stored bars anew with the scores that the log has by now: for an archive recorded after its bars.

    A bar whose news changes gets a revision; what was forecast on it stays said.

    Parameters
    ----------
    relevance
        Weight of each asset whose headlines matter, see `NewsFeatures`.
    calendar
        When bars are over.
    start_ms, end_ms
        Range `[start_ms, end_ms)` of open times, UTC milliseconds; None leaves a side open.
    """
    key, news = series_key(symbol, timeframe), KnownNews(relevance)
    events = log.read(kinds={"bar"}, key=key, start_ms=start_ms, end_ms=end_ms, newest_revision=True)
    times = sorted(event.event_time for event in events)
    changed = 0
    for place in range(0, len(times), _CHUNK):
        part = times[place : place + _CHUNK]
        with log.transaction() as transaction:
            bars = transaction.read(kinds={"bar"}, key=key, start_ms=part[0], end_ms=part[-1] + 1, newest_revision=True)
            bars.sort(key=lambda event: event.event_time)
            rows = news.rows(transaction, [calendar.bar_end(timeframe, event.event_time) for event in bars])
            revised = []
            for event, row in zip(bars, rows.tolist(), strict=True):
                assert isinstance(event.payload, BarClosed)
                payload = _with(event.payload, row)
                if payload != event.payload:
                    revised.append(new_event(key, event.event_time, payload, provenance=event.provenance))
            transaction.append(revised, writer=WRITER, conflict="current", recorded_at_ms=clock.now_ms())
            changed += len(revised)
    refused = sum(
        isinstance(score := event.payload, HeadlineScore)
        and score.asset in relevance
        and not knows_no_future(event.event_time, score)
        for event in log.read(kinds={_KIND}, newest_revision=True)
    )
    return Joined(bars=len(times), changed=changed, refused_scores=refused)


def _with(bar: BarClosed, row: Sequence[float]) -> BarClosed:
    impact, conf = row
    if conf <= 0:
        return msgspec.structs.replace(bar, news_impact=msgspec.UNSET, news_conf=msgspec.UNSET)
    return msgspec.structs.replace(bar, news_impact=impact, news_conf=conf)
