"""What a person should know: alerts that follow from the log, each with its cause and the command that mends it.

Alerts about workers come from the supervisor; these are about the market and the models. Who is told, and how often, is
decided by `kalibre.alerts`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from kalibre.core import events as said
from kalibre.core.clock import to_text
from kalibre.core.events import Event, new_event, series_key
from kalibre.core.hub_events import Alert, Drift
from kalibre.core.protocols import State
from kalibre.core.settings import Settings
from kalibre.core.timeframe import timeframe_ms
from kalibre.trading.outcomes import ExpectedOpens

NAME = "alarms"
_REMEMBERED = 1_000
"""Keys of which it is known when they were told last; the troubles of older ones are no longer said to be over."""


class AlarmsProjection:
    """Says what went wrong with market or models, and when it is over.

    Parameters
    ----------
    series
        (symbol, timeframe) of each series.
    stale_bars
        Expected bars that may fail to come before that is told.
    calendar
        Tells a closed market from one that has fallen silent.
    """

    name = NAME
    reads = frozenset(
        {
            *("bar", "tick", "gap", "quarantine", "corporate_action", "kill", "promotion", "refusal"),
            *("model_unable", "drift"),
        }
    )

    def __init__(self, series: Sequence[tuple[str, str]], *, stale_bars: int, calendar: ExpectedOpens) -> None:
        self._timeframes = {series_key(symbol, timeframe): timeframe for symbol, timeframe in series}
        self._stale_bars, self._calendar = stale_bars, calendar
        self._now_ms = 0
        self._last_open: dict[str, int] = {}
        self._due_ms: dict[str, int] = {}
        self._last: dict[str, int] = {}
        """Event time of the last alert of each key."""
        self._open: set[str] = set()
        """Keys of troubles that were told and are not over."""
        settings = [sorted(self._timeframes), stale_bars, getattr(calendar, "name", None)]
        self.version = sha256((_code_digest() + json.dumps(settings)).encode()).hexdigest()[:16]

    def apply(self, event: Event) -> list[Event]:
        """Take one event in and return the alerts that follow from it."""
        match event.payload:
            case said.BarClosed():
                return self._bar(event)
            case said.Tick(now_ms=now_ms):
                return self._tick(now_ms)
            case said.BarQuarantined():  # one alert a bar, whatever the order of bars
                return [new_event(*_quarantined(event), revision=event.revision)]
        return [told for key, alert in _alerts_of(event) for told in self._tell(key, event.event_time, alert)]

    def _tell(self, key: str, at_ms: int, alert: Alert) -> list[Event]:
        """Say it, a moment later than what was said of the same key before; what was never told is not over."""
        if alert.recovered and key not in self._open:
            return []
        if alert.recovered:
            self._open.discard(key)
        elif alert.level != "info":
            self._open.add(key)
        at_ms = max(at_ms, self._last.get(key, at_ms - 1) + 1)
        self._last[key] = at_ms
        if len(self._last) > _REMEMBERED:
            # By time, not by arrival: what the scorer says comes now before and now after the same bar.
            oldest = min(self._last, key=lambda known: (self._last[known], known))
            del self._last[oldest]
            self._open.discard(oldest)
        return [new_event(key, at_ms, alert)]

    # --- a market that falls silent -----------------------------------------------------------------------------------

    def _bar(self, event: Event) -> list[Event]:
        timeframe = self._timeframes.get(event.key)
        if timeframe is None or event.event_time <= self._last_open.get(event.key, -1):
            return []
        self._last_open[event.key] = event.event_time
        self._due_ms.pop(event.key, None)
        key = f"silent|{event.key}"
        # Bars that are fetched afterwards come late as well: only one in time says that the market speaks again.
        if key not in self._open or self._now_ms > self._due(event.key):
            return []
        alert = Alert(
            level="info",
            title=f"{event.key}: bars come again",
            cause=f"the bar of {to_text(event.event_time)} has come",
            consequence="features are fresh, and the policy decides again",
            recovered=True,
        )
        return self._tell(key, event.event_time + timeframe_ms(timeframe), alert)

    def _tick(self, now_ms: int) -> list[Event]:
        self._now_ms = max(self._now_ms, now_ms)
        emitted = []
        for series, last_open in self._last_open.items():
            key = f"silent|{series}"
            if key in self._open or self._now_ms <= self._due(series):
                continue
            alert = Alert(
                level="critical",
                title=f"{series}: no bar since {to_text(last_open)}",
                cause=f"more than {self._stale_bars} bars that the calendar expects did not come",
                consequence="features are stale: the policy holds, and nothing is learnt",
                mend=f"kalibre gaps --symbol {series.partition('|')[0]} --heal",
            )
            emitted += self._tell(key, self._now_ms, alert)
        return emitted

    def _due(self, series: str) -> int:
        if series not in self._due_ms:
            self._due_ms[series] = self._overdue_ms(series, self._last_open[series])
        return self._due_ms[series]

    def _overdue_ms(self, key: str, last_open: int) -> int:
        """Return when so many expected bars should have closed that something must be wrong."""
        timeframe = self._timeframes[key]
        step_ms, late = timeframe_ms(timeframe), self._stale_bars
        until = last_open + (late + 2) * step_ms + 14 * 86_400_000
        opens = self._calendar.expected_opens(timeframe, last_open + 1, until)
        return int(opens[late]) + step_ms if len(opens) > late else until

    # --- state --------------------------------------------------------------------------------------------------------

    def state(self) -> State:
        """Return everything that later emissions depend on."""
        known = [self._now_ms, self._last_open, self._due_ms, sorted(self._last.items()), sorted(self._open)]
        return {"known": json.dumps(known)}

    def restore(self, state: State) -> None:
        """Take on a state returned by `state`."""
        self._now_ms, self._last_open, self._due_ms, last, opened = json.loads(str(state["known"]))
        self._last, self._open = dict(last), set(opened)


def _alerts_of(event: Event) -> list[tuple[str, Alert]]:
    """Return the alerts that an event is worth, each with its key."""
    found = _about_bars(event) or _about_models(event)
    alerts = [] if found is None else [found]
    payload = event.payload
    if isinstance(payload, said.Promotion):
        over = Alert(
            level="info",
            title=f"{event.key}: {payload.model or 'nobody'} takes the place of the model that could not act",
            cause=f"promoted by {payload.by}",
            consequence="the policy follows it, unless it cannot be loaded either",
            recovered=True,
        )
        alerts.insert(0, (f"model|{event.key}", over))
    return alerts


def _quarantined(event: Event) -> tuple[str, int, Alert]:
    payload: Any = event.payload
    alert = Alert(
        level="warning",
        title=f"{event.key}: the bar of {to_text(event.event_time)} was kept aside",
        cause=", ".join(payload.reasons) + (f": {payload.detail}" if payload.detail else ""),
        consequence="it is in no feature, and no model learns from it",
        mend=f"kalibre gaps --symbol {event.key.partition('|')[0]} --quarantined",
    )
    return f"quarantine|{event.key}", event.event_time, alert


def _about_bars(event: Event) -> tuple[str, Alert] | None:
    payload: Any = event.payload
    symbol = event.key.partition("|")[0]
    match payload:
        case said.Gap(status="hole"):
            return f"gap|{event.key}|{payload.start_ms}", Alert(
                level="warning",
                title=f"{event.key}: {payload.missing_bars} bars are missing since {to_text(payload.start_ms)}",
                cause=payload.reason or "the source does not have them",
                consequence="forecasts that span the hole have no outcome, and nothing is learnt from them",
                mend=f"kalibre gaps --symbol {symbol} --heal",
            )
        case said.Gap(status="healed"):
            return f"gap|{event.key}|{payload.start_ms}", Alert(
                level="info",
                title=f"{event.key}: the {payload.missing_bars} bars since {to_text(payload.start_ms)} have come",
                cause=payload.reason or "the source has them now",
                consequence="features know them from the next bar on",
                recovered=True,
            )
        case said.CorporateAction(status="detected"):
            day = to_text(event.event_time)[:10]
            return f"action|{event.key}|{event.event_time}", Alert(
                level="critical",
                title=f"{event.key}: prices moved by a factor of {payload.factor:.4g} on {day}",
                cause=payload.evidence or "a split or the like that nobody has decided on",
                consequence="the series is frozen: no forecast, no order, until a person decides",
                mend=f"kalibre actions confirm {event.key} {day}",
            )
        case said.CorporateAction():
            return f"action|{event.key}|{event.event_time}", Alert(
                level="info",
                title=f"{event.key}: the action of {to_text(event.event_time)[:10]} is {payload.status}",
                cause="a person decided",
                consequence="forecasts and orders go on",
                recovered=True,
            )
    return None


def _about_models(event: Event) -> tuple[str, Alert] | None:
    payload: Any = event.payload
    symbol = event.key.partition("|")[0]
    match payload:
        case said.Kill(engaged=engaged):
            return "kill", Alert(
                level="info" if not engaged else "critical",
                title="the kill switch is released" if not engaged else "the kill switch is engaged",
                cause=f"by {payload.by}" + (f": {payload.reason}" if payload.reason else ""),
                consequence="the policy decides again" if not engaged else "nothing is ordered",
                mend="" if not engaged else "kalibre kill --release",
                recovered=not engaged,
            )
        case said.ModelUnable():
            return f"model|{event.key}", Alert(
                level="critical",
                title=f"{event.key}: model {payload.model} cannot act",
                cause=payload.reason,
                consequence="the policy holds until a model is promoted",
                mend=f'kalibre promote {payload.model} "it is there again"',
            )
        case said.Promotion(model=str(model)):
            return f"promotion|{event.key}", Alert(
                level="info",
                title=f"{event.key}: {model} takes over",
                cause=f"promoted by {payload.by}" + (f": {payload.note}" if payload.note else ""),
                consequence="it is followed from the next bar on"
                if payload.alias == "champion"
                else "it trades on paper beside the champion, from the next bar on",
            )
        case said.Refusal():
            return f"refusal|{event.key}", Alert(
                level="info",
                title=f"{event.key}: {payload.model} does not qualify",
                cause="; ".join(f"{gate} {figure}" for gate, figure in sorted(payload.failed.items())),
                consequence="the champion stays",
            )
        case Drift():
            return f"drift|{event.key}", Alert(
                level="warning",
                title=f"{event.key}: drift ({payload.test})",
                cause=f"{payload.detail}; just before it: {payload.cause}",
                consequence=payload.action,
                mend=f"kalibre hub retrain --symbol {symbol}" if payload.action == "retrain" else "",
            )
    return None


@cache
def _code_digest() -> str:
    return sha256(Path(__file__).read_bytes()).hexdigest()


def alarms_projection(settings: Settings) -> AlarmsProjection:
    """Make the alarms that the settings describe."""
    from kalibre.bars.calendars import get_calendar

    market = settings.market
    return AlarmsProjection(
        [(symbol, market.timeframe) for symbol in market.symbols],
        stale_bars=settings.risk.stale_bars,
        calendar=get_calendar(market.calendar),
    )
