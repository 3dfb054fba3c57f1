"""What a person says about corporate actions: list them, confirm, reject, add one that was announced or missed.

A decision is the next revision of the action, on the disk before it is answered. Its writer is `person:NAME`, by which
the search knows that it must not touch it, and its evidence says who, when, and what was known before.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date as Date  # noqa: N812
from typing import Any, Literal

from kalibre.bars.action_search import WRITER
from kalibre.bars.calendars import Calendar, session_start
from kalibre.core.clock import to_text
from kalibre.core.errors import UsageError
from kalibre.core.events import CorporateAction, Event, new_event, series_key
from kalibre.core.timeframe import DAY_MS
from kalibre.log.protocol import EventLog, Reader

PERSON = "person:"
"""How the writer of a person's decision begins."""
_TIMEFRAMES = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "1d")
_EPOCH = Date(1970, 1, 1).toordinal()


@dataclass(frozen=True)
class Decided:
    """A decision as it was stored, and what follows from it."""

    action: dict[str, Any]
    """See `action_rows`."""
    follows: tuple[str, ...]
    """What to do now, in sentences."""


def action_rows(log: Reader, symbol: str | None = None) -> list[dict[str, Any]]:
    """Return the newest word on every corporate action, by symbol and time: what `kalibre actions list` prints.

    Each row has `symbol`, `date` (Istanbul), `event_time`, `factor`, `status`, `by` (a person's name, `kalibre`, or
    empty while nobody has decided), `said` (Istanbul), `revision` and `evidence`.
    """
    events = log.read(kinds={"corporate_action"}, key=symbol, newest_revision=True)
    return [_row(event) for event in sorted(events, key=lambda event: (event.key, event.event_time))]


def _row(event: Event) -> dict[str, Any]:
    action = event.payload
    assert isinstance(action, CorporateAction)
    person = event.writer.removeprefix(PERSON)
    found = "kalibre" if action.status != "detected" else ""
    return {
        "symbol": event.key,
        "date": to_text(event.event_time)[:10],
        "event_time": event.event_time,
        "factor": action.factor,
        "status": action.status,
        "by": found if event.writer == WRITER else person,
        "said": to_text(event.recorded_at),
        "revision": event.revision,
        "evidence": action.evidence,
    }


def decide_action(
    log: EventLog,
    symbol: str,
    date: str,
    status: Literal["confirmed", "rejected"],
    *,
    factor: float | None = None,
    by: str,
    now_ms: int,
) -> Decided:
    """Confirm or reject a recorded action.

    Parameters
    ----------
    date
        Its day in Istanbul, `2024-08-01`.
    factor
        What prices before it are to be divided by; by default the recorded one.
    by
        Who decides.
    now_ms
        When, UTC milliseconds.

    Raises
    ------
    UsageError
        If the symbol has no action, none on that day, or the factor cannot be one; the message quotes it and lists
        what there is.
    """
    day = _day(date)
    if factor is not None:
        check_factor(factor)
    with log.transaction(durable=True) as transaction:
        events = transaction.read(kinds={"corporate_action"}, newest_revision=True)
        of_symbol = [event for event in events if event.key == symbol]
        if not of_symbol:
            raise UsageError(f"{symbol!r} has no corporate action recorded; {_there_are(events)}")
        found = [event for event in of_symbol if to_text(event.event_time)[:10] == day.isoformat()]
        if not found:
            raise UsageError(
                f"{symbol} has no corporate action on {date!r}; {_there_are(of_symbol)}. One that was missed or "
                f"announced is added by `kalibre actions add {symbol} {day} --factor F`"
            )
        before = found[-1].payload
        assert isinstance(before, CorporateAction)
        chosen = before.factor if factor is None else factor
        told = f"{status} by {by} on {to_text(now_ms)} (Istanbul) with factor {chosen:.6g}; before: {before.evidence}"
        word = _unsaid(transaction, found[-1], CorporateAction(factor=chosen, status=status, evidence=told))
        event = new_event(symbol, found[-1].event_time, word)
        [stored] = transaction.append([event], writer=f"{PERSON}{by}", recorded_at_ms=now_ms)
        touched = _has_bars_since(transaction, symbol, event.event_time)
    return Decided(_row(stored), _follows(symbol, day.isoformat(), before, word, touched=touched))


def add_action(
    log: EventLog,
    symbol: str,
    date: str,
    factor: float,
    *,
    calendar: Calendar,
    known: Iterable[str] = (),
    by: str,
    now_ms: int,
) -> Decided:
    """Record a confirmed action that was announced beforehand or missed.

    Parameters
    ----------
    date
        First session after it, `2024-08-01`.
    factor
        What prices before it are to be divided by: 3 for a 3:1 split, 1.15 for a bonus issue of 15 %.
    calendar
        The market's: the day must have a session, so that daily and shorter bars change their scale together.
    known
        Symbols that need no stored bar to be believed: those of the settings.

    Raises
    ------
    UsageError
        If the symbol is unknown, the day has no session or an action already, or the factor cannot be one.
    """
    day = _day(date)
    check_factor(factor)
    number = day.toordinal() - _EPOCH
    if calendar.name not in {"24/7", "forex"}:
        opens = calendar.expected_opens("1d", number * DAY_MS, (number + 30) * DAY_MS)
        if not opens.size or int(opens[0]) != number * DAY_MS:
            after = f"the next one is {to_text(int(opens[0]))[:10]}" if opens.size else "nor has the month after it"
            raise UsageError(f"{date!r} is no session of {calendar.name}, {after}: name the first session after it")
    event_time = session_start(calendar, number)
    with log.transaction(durable=True) as transaction:
        events = transaction.read(kinds={"corporate_action"}, newest_revision=True)
        check_symbol(transaction, symbol, known)
        there = [event for event in events if event.key == symbol and event.event_time == event_time]
        if there:
            raise UsageError(
                f"{symbol} has an action on {date!r} already: {_there_are(there)}. Change it by "
                f"`kalibre actions confirm {symbol} {day} --factor {factor:g}`"
            )
        word = CorporateAction(
            factor=factor, status="confirmed", evidence=f"added by {by} on {to_text(now_ms)} (Istanbul)"
        )
        event = new_event(symbol, event_time, word)
        [stored] = transaction.append([event], writer=f"{PERSON}{by}", recorded_at_ms=now_ms)
        touched = _has_bars_since(transaction, symbol, event_time)
    return Decided(_row(stored), _follows(symbol, day.isoformat(), None, word, touched=touched))


def check_symbol(log: Reader, symbol: str, known: Iterable[str]) -> None:
    """Refuse a symbol that is neither among those known nor has a bar or an action in the log; lists those."""
    listed = {*known, *(event.key for event in log.read(kinds={"corporate_action"}, newest_revision=True))}
    if symbol not in listed and not _has_bars_since(log, symbol, None):
        there = ", ".join(sorted(listed)) or "none"
        raise UsageError(
            f"symbol {symbol!r} is unknown: the log holds no bar of it; known are {there}. Ingest it first, or name "
            "it in market.symbols of kalibre.toml"
        )


def check_factor(factor: float) -> None:
    """Refuse what cannot be an action's factor.

    Examples
    --------
    >>> check_factor(1.0)
    Traceback (most recent call last):
    kalibre.core.errors.UsageError: factor 1.0 is no corporate action: ...
    """
    if not math.isfinite(factor) or factor <= 0 or factor == 1:
        raise UsageError(
            f"factor {factor!r} is no corporate action: give what prices before it are to be divided by, above 0 and "
            "not 1: 3 for a 3:1 split, 1.15 for a bonus issue of 15 %, 0.1 for a reverse split of 1:10"
        )


def _day(text: str) -> Date:
    try:
        return Date.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"date {text!r} is none: write it as 2024-08-01, the day in Istanbul") from error


def _there_are(events: list[Event]) -> str:
    if not events:
        return "the log holds none of any symbol"
    rows = [_row(event) for event in sorted(events, key=lambda event: (event.key, event.event_time))]
    told = [f"{row['symbol']} {row['date']} {row['status']} factor {row['factor']:g}" for row in rows[-20:]]
    more = f" (and {len(rows) - 20} earlier)" if len(rows) > 20 else ""
    return f"there are: {', '.join(told)}{more}"


def _unsaid(log: Reader, event: Event, word: CorporateAction) -> CorporateAction:
    """Return the word, told apart from earlier revisions: the log would take it for the same one."""
    known = log.read(kinds={"corporate_action"}, key=event.key, start_ms=event.event_time, end_ms=event.event_time + 1)
    while any(one.payload == word for one in known):
        word = CorporateAction(factor=word.factor, status=word.status, evidence=f"once more {word.evidence}")
    return word


def _has_bars_since(log: Reader, symbol: str, start_ms: int | None) -> bool:
    keys = [series_key(symbol, timeframe) for timeframe in _TIMEFRAMES]
    return any(log.read(kinds={"bar"}, key=key, start_ms=start_ms, limit=1) for key in keys)


def _follows(
    symbol: str, day: str, before: CorporateAction | None, word: CorporateAction, *, touched: bool
) -> tuple[str, ...]:
    was = before.factor if before is not None and before.status == "confirmed" else 1.0
    now = word.factor if word.status == "confirmed" else 1.0
    told = []
    if was == now:
        told.append(f"Prices of {symbol} stay in the scale they had: no model has to be trained again.")
    elif touched:
        told.append(
            f"Prices of {symbol} from {day} on are multiplied by {now:g} (before: {was:g}). Models trained before on "
            f"bars from that day on saw another series: train them again by `kalibre train --symbol {symbol}`."
        )
    else:
        told.append(f"Prices of {symbol} from {day} on will be multiplied by {now:g}: no stored bar changes.")
    if before is not None and before.status == "detected":
        told.append("Paper and server hold this symbol no longer on its account, from its next bar on.")
    return tuple(told)
