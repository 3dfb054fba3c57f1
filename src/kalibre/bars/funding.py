"""Funding of perpetual futures: from a source into events, and from events into one column a bar."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np

from kalibre.core.bars import Bars
from kalibre.core.clock import to_text
from kalibre.core.errors import SourceFormatError, UsageError
from kalibre.core.events import Event, Funding, new_event
from kalibre.core.protocols import FloatArray, FundedSource, Source
from kalibre.core.timeframe import DAY_MS
from kalibre.log.protocol import Reader

MAX_RATE = 0.1
"""No exchange settles more at once (Binance caps at 3 %): a larger number is a percentage or a fault."""
_SECOND_MS = 1_000
_USUAL_INTERVAL_MS = 8 * 3_600_000
_SINGLE_REQUESTS = 16

logger = logging.getLogger(__name__)


def fetch_funding(
    log: Reader, source: Source, symbol: str, *, start_ms: int, end_ms: int, refresh: bool = False
) -> list[Event]:
    """Ask a source for the funding rates that the log does not hold yet.

    Settlements are kept to the second: exchanges stamp a settlement of 08:00 some milliseconds late, and a bar that
    closes at 08:00 has to pay it. All rates are checked before the first is returned, so what is bad leaves nothing
    half-written.

    Parameters
    ----------
    log
        What is stored; read only. The caller appends what is returned, in one transaction.
    source
        Any source; one that is no `FundedSource`, or knows of no funding, gives an empty list.
    start_ms, end_ms
        `start_ms <= settlement < end_ms`, UTC milliseconds.
    refresh
        Ask again for what is stored too, so that the source's corrections become revisions.

    Returns
    -------
    `funding` events, oldest first. A stored rate that the source now tells otherwise is among them and announced as a
    warning; the log stores it as the next revision.

    Raises
    ------
    UsageError
        If the range ends before it starts.
    SourceFormatError
        If a rate is no number within `MAX_RATE` of 0, a settlement lies outside the range or before the one ahead of
        it, or one settlement has two rates; the message quotes it.
    SourceError
        Whatever the source raises.
    """
    if end_ms < start_ms:
        raise UsageError(f"the range ends ({end_ms}) before it starts ({start_ms}): put the earlier time first")
    if not isinstance(source, FundedSource):
        return []
    stored: dict[int, list[float]] = {}
    first_ms = start_ms - start_ms % _SECOND_MS
    for event in log.read(kinds={"funding"}, key=symbol, start_ms=first_ms, end_ms=end_ms):
        if isinstance(event.payload, Funding):
            stored.setdefault(event.event_time, []).append(event.payload.rate)
    spans = [(start_ms, end_ms)] if refresh else _unknown_spans(sorted(stored), start_ms, end_ms)
    events: list[Event] = []
    for start, end in spans:
        answer = source.funding(symbol, start_ms=start, end_ms=end)
        for settled_ms, rate in check_rates(answer, start_ms=start, end_ms=end, where=f"{source.name} {symbol}"):
            known = stored.get(settled_ms, ())
            if rate in known:
                continue
            if known:
                logger.warning(
                    "%s %s: the funding rate of %s was %r and is told as %r now; stored as a revision",
                    *(source.name, symbol, to_text(settled_ms), known[-1], rate),
                )
            events.append(new_event(symbol, settled_ms, Funding(rate=rate), provenance="backfilled"))
    return events


def _unknown_spans(known: list[int], start_ms: int, end_ms: int) -> list[tuple[int, int]]:
    """Return what lies before, between and after the known settlements; all of it where that would be many requests."""
    if not known:
        return [(start_ms, end_ms)]
    between = [
        (earlier + _SECOND_MS, later) for earlier, later in pairwise(known) if later - earlier > _USUAL_INTERVAL_MS
    ]
    if len(between) > _SINGLE_REQUESTS:
        return [(start_ms, end_ms)]
    spans = [(start_ms, known[0]), *between, (known[-1] + _SECOND_MS, end_ms)]
    return [(start, end) for start, end in spans if start < end]


def check_rates(
    rates: Iterable[tuple[int, float]], *, start_ms: int, end_ms: int, where: str
) -> Iterator[tuple[int, float]]:
    """Pass sound rates on, settlements kept to the second; the same rate told twice is passed on once.

    Raises
    ------
    SourceFormatError
        See `fetch_funding`.

    Examples
    --------
    >>> list(check_rates([(28_800_001, 1e-4), (57_600_000, -2e-5)], start_ms=0, end_ms=10**8, where="demo"))
    [(28800000, 0.0001), (57600000, -2e-05)]
    >>> list(check_rates([(28_800_001, 0.4)], start_ms=0, end_ms=10**8, where="demo"))
    Traceback (most recent call last):
    kalibre.core.errors.SourceFormatError: demo: funding rate 0.4 of 1970-01-01 10:00 (28800001) ...
    """
    before: tuple[int, float] | None = None
    for time_ms, value in rates:
        rate = _number(value)
        told = f"{where}: funding rate {value!r} of {to_text(time_ms)} ({time_ms})"
        if not (math.isfinite(rate) and abs(rate) <= MAX_RATE):
            raise SourceFormatError(
                f"{told} is no rate between -{MAX_RATE} and {MAX_RATE}: give fractions, 0.0001 for 0.01 %; nothing was "
                "stored"
            )
        if not start_ms <= time_ms < end_ms:
            raise SourceFormatError(
                f"{told} lies outside the range {start_ms} to {end_ms} that was asked for: settlements are UTC "
                "milliseconds; nothing was stored"
            )
        settled_ms = time_ms - time_ms % _SECOND_MS
        if before is not None and settled_ms < before[0]:
            raise SourceFormatError(
                f"{told} comes after the settlement of {to_text(before[0])} ({before[0]}): put the oldest "
                "first; nothing was stored"
            )
        if before is not None and settled_ms == before[0]:
            if rate != before[1]:
                raise SourceFormatError(
                    f"{told} stands beside the rate {before[1]!r} of the same settlement: which of them was charged? "
                    "Keep that one; nothing was stored"
                )
            continue
        before = (settled_ms, rate)
        yield before


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def load_funding(log: Reader, bars: Bars, *, as_of: int | None = None) -> FloatArray | None:
    """Load what a long of one unit of value pays for each bar, from the recorded rates.

    Parameters
    ----------
    log
        Where the rates are.
    bars
        Oldest first.
    as_of
        Only what had been recorded by this wall time, UTC milliseconds.

    Returns
    -------
    Shape (n_bars,): the sum of the rates with `open_time[t] < settlement <= close_time[t]`; what was settled in a hole
    is paid by the next bar. 0 where none was due; None if no recorded rate falls due within the bars.
    """
    due = _due(log, bars, as_of)
    return funding_by_bar(due, bars) if due else None


def missing_funding(log: Reader, bars: Bars, *, as_of: int | None = None) -> list[tuple[int, int]]:
    """Return the stretches of a funded series for which no rate is recorded, so that holding looks free there.

    Returns
    -------
    (start, end), UTC ms: more than a day without a settlement, from the first open to the last close. Empty where no
    rate at all falls due: such a market has no funding.
    """
    due = _due(log, bars, as_of)
    if not due:
        return []
    times = [int(bars.open_time[0]), *(time for time, _ in due), int(bars.close_time[-1])]
    return [(earlier, later) for earlier, later in pairwise(times) if later - earlier > DAY_MS]


def _due(log: Reader, bars: Bars, as_of: int | None) -> list[tuple[int, float]]:
    """Return the recorded (settlement, rate) that the bars have to pay, oldest first."""
    if not len(bars):
        return []
    first_ms, last_ms = int(bars.open_time[0]), int(bars.close_time[-1])
    events = log.read(
        kinds={"funding"},
        key=bars.symbol,
        start_ms=first_ms,
        end_ms=last_ms + _SECOND_MS,
        as_of=as_of,
        newest_revision=True,
    )
    # Whoever wrote them: to the second, and of two in one second what was recorded last, as the paper engine has it.
    rates = {
        event.event_time - event.event_time % _SECOND_MS: event.payload.rate
        for event in events
        if isinstance(event.payload, Funding)
    }
    return sorted((time, rate) for time, rate in rates.items() if first_ms < time <= last_ms)


def funding_by_bar(rates: Iterable[tuple[int, float]], bars: Bars) -> FloatArray:
    """Add rates up by the bar that pays them, see `load_funding`.

    Parameters
    ----------
    rates
        (settlement, rate), none later than the last close; what was settled by the first open is nobody's to pay.

    Returns
    -------
    Shape (n_bars,).

    Examples
    --------
    >>> price = np.ones(3)
    >>> bars = Bars("X", "8h", np.array([0, 28_800_000, 86_400_000]), price, price, price, price, price)
    >>> funding_by_bar([(28_800_000, 0.001), (57_600_000, 0.002), (86_400_000, 0.004)], bars)
    array([0.001, 0.002, 0.004])
    """
    column = np.zeros(len(bars))
    for settled_ms, rate in rates:
        if settled_ms > bars.open_time[0]:
            column[np.searchsorted(bars.close_time, settled_ms)] += rate
    return column
