"""Paper trading, live: the trading engine as a projection of the log.

It reads bars, the recorded clock and commands, and says what follows: forecast, outcome, signal, order, fill, account,
for the champion (whose ledger is the account) and the challenger (in shadow, with a ledger of its own). The arithmetic
is `kalibre.trading.engine.step`, the same that the backtest runs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from kalibre.core import events as said
from kalibre.core.bars import Bar
from kalibre.core.events import Event, Payload, new_event, series_key
from kalibre.core.protocols import State
from kalibre.core.settings import CostSettings, RiskSettings, Settings
from kalibre.core.timeframe import timeframes_above
from kalibre.features.engine import FeatureEngine, FeatureSpec
from kalibre.models.bundle import load_bundle
from kalibre.trading.engine import (
    BUY,
    CASH,
    EQUITY,
    NOTHING,
    PENDING,
    PENDING_FRACTION,
    PENDING_TIME,
    QUANTITY,
    SELL,
    Outcome,
    step,
    terms,
)
from kalibre.trading.policy import ACTIONS, ENTRY, EXIT, Policy, confidence, explain
from kalibre.trading.series import Book, LoadModel, OpenForecast, SeriesState

ROLES: tuple[Literal["champion"], Literal["challenger"]] = ("champion", "challenger")
_HISTORY_BARS = 3_000
_BAR_FIELDS = Bar.__struct_fields__
_NOBODY = Policy(entry_threshold=1.0, exit_threshold=0.0)
"""Stands in where there is no model: without a forecast it is never asked."""


class ExpectedOpens(Protocol):
    """The part of a calendar that tells a hole from a night."""

    def expected_opens(self, timeframe: str, start_ms: int, end_ms: int) -> NDArray[np.int64]:
        """Return the expected open times with `start_ms <= open_time < end_ms`, UTC milliseconds."""
        ...


class PaperProjection:
    """Follows champion and challenger of every series over the log, and trades on paper what they say.

    Decisions are taken at a bar's close, when the bar arrives. Nothing is ordered while the kill switch is engaged,
    trading is stopped, or the bar is more than `risk.stale_bars` bars old by the newest tick. A model that is missing
    or damaged makes the policy hold, with the reason. A correction of the newest bar that comes before the next bar is
    decided again, and what follows from it carries the bar's revision; anything about older bars changes nothing.

    Parameters
    ----------
    series
        (symbol, timeframe) of each series to follow.
    load_model
        Loads a bundle by id and digest.
    specs
        By series key, the features to compute from the first bar on; the default columns where not named. A model with
        other features is fed with the newest `history_bars` bars when it is promoted.
    calendar
        Tells a hole from a night: an outcome whose horizon spans a hole is none. None counts bars.
    """

    name = "paper"
    reads = frozenset({"bar", "tick", "kill", "automation", "promotion"})

    def __init__(
        self,
        series: Sequence[tuple[str, str]],
        *,
        costs: CostSettings,
        risk: RiskSettings,
        load_model: LoadModel,
        specs: Mapping[str, FeatureSpec] | None = None,
        calendar: ExpectedOpens | None = None,
        history_bars: int = _HISTORY_BARS,
    ) -> None:
        self._costs, self._risk, self._calendar = costs, risk, calendar
        self._kill = said.Kill(engaged=False, by="")
        self._automation = said.Automation(running=True, by="")
        self._now_ms = 0
        self._series: dict[str, SeriesState] = {}
        for symbol, timeframe in series:
            key = series_key(symbol, timeframe)
            spec = (specs or {}).get(key) or FeatureSpec(timeframe)
            self._series[key] = SeriesState(
                key, symbol, timeframe, risk=risk, spec=spec, load_model=load_model, history_bars=history_bars
            )
        self._apply: dict[type[Payload], Callable[[Event, Any], list[Event]]] = {
            said.BarClosed: self._bar,
            said.Tick: self._tick,
            said.Kill: self._killed,
            said.Automation: self._started,
            said.Promotion: self._promoted,
        }
        prints = {key: state.fingerprints() for key, state in self._series.items()}
        settings = [costs.model_dump(), risk.model_dump(), getattr(calendar, "name", None), history_bars, prints]
        self.version = sha256((_code_digest() + json.dumps(settings, sort_keys=True)).encode()).hexdigest()[:16]

    def apply(self, event: Event) -> list[Event]:
        """Take one event in and return what follows from it, in order."""
        return self._apply[type(event.payload)](event, event.payload)

    # --- commands and the clock ---------------------------------------------------------------------------------------

    def _tick(self, event: Event, tick: said.Tick) -> list[Event]:
        self._now_ms = max(self._now_ms, tick.now_ms)
        return []

    def _started(self, event: Event, automation: said.Automation) -> list[Event]:
        self._automation = automation
        return []

    def _killed(self, event: Event, kill: said.Kill) -> list[Event]:
        """Cancel what is pending; with flatten, sell at the next open: the command itself is the order."""
        self._kill = kill
        if not kill.engaged:
            return []
        cancelled: list[Event] = []
        for series in self._series.values():
            for role, book in series.books.items():
                cancelled += _cancel(f"{series.key}|{role}", role, book, f"kill switch engaged by {kill.by}")
                if kill.flatten and book.ledger[QUANTITY] > 0 and book.flatten_ms is None:
                    book.flatten_ms = event.event_time
                _place_flatten(book)
        return cancelled

    def _promoted(self, event: Event, promotion: said.Promotion) -> list[Event]:
        series = self._series.get(event.key.rpartition("|")[0])
        if series is None:
            return []
        role, cancelled = promotion.alias, list[Event]()
        if role == "challenger" and promotion.model != series.books[role].model_id:
            cancelled = _cancel(f"{series.key}|{role}", role, series.books[role], "another challenger takes over")
        series.appoint(role, promotion.model, promotion.digest)
        return cancelled

    # --- bars ---------------------------------------------------------------------------------------------------------

    def _bar(self, event: Event, closed: said.BarClosed) -> list[Event]:
        series = self._series.get(event.key)
        if series is None:
            return []
        bar = Bar(**{name: getattr(closed, name) for name in _BAR_FIELDS})
        last, withdrawn = series.last, dict[str, int]()
        if last is not None:
            if bar.open_time < last.open_time or bar == last:
                return []
            if bar.open_time == last.open_time:
                withdrawn = {
                    role: int(book.ledger[PENDING_TIME])
                    for role, book in series.books.items()
                    if book.ledger[PENDING] != NOTHING and book.flatten_ms is None
                }
        volatility = series.take(bar)
        emitted: list[Event] = []
        for role, book in series.books.items():
            if role == "challenger" and book.model_id is None:
                continue
            say = partial(_say, emitted, f"{series.key}|{role}", event.revision)
            self._trade(series, role, book, bar, volatility, say)
            if role in withdrawn and book.ledger[PENDING] == NOTHING:
                say(withdrawn[role], said.OrderCancelled(role=role, reason="the bar it was decided on was corrected"))
        return emitted

    def _trade(
        self,
        series: SeriesState,
        role: str,
        book: Book,
        bar: Bar,
        volatility: float,
        say: Callable[[int, Payload], None],
    ) -> None:
        """Carry one role over one bar and say what happened, in the order it happened."""
        close_time, model = bar.open_time + series.step_ms, book.model_id or ""
        score, p_up, abstained = self._forecast(series, book)
        held = self._held(close_time, series.step_ms)
        bundle, policy = book.bundle, book.policy or _NOBODY
        horizon = bundle.horizon_bars if bundle is not None else 1
        conditions = terms(policy, self._costs, self._risk, horizon_bars=horizon, step_ms=series.step_ms)
        done = step(book.ledger, conditions, bar.open_time, bar.open, bar.close, p_up, volatility, 0.0, not held)
        _say_settled(done, role, model, bar.open_time, say)
        for time, outcome in self._outcomes(series, book, bar):
            say(time, outcome)
        known = None if math.isnan(p_up) else p_up
        if bundle is not None:
            forecast = said.Forecast(
                model=model,
                role=role,
                horizon_bars=horizon,
                score=None if math.isnan(score) else score,
                p_up=known,
                abstained=abstained or None,
            )
            say(close_time, forecast)
            if known is not None:
                due = series.n_bars + horizon
                book.open_forecasts.append(OpenForecast(bar.open_time, bar.close, known, model, horizon, due))
        reason = explain(done.reason, known, policy, daily_loss=self._risk.daily_loss, note=held or abstained)
        signal = said.Signal(
            model=model,
            role=role,
            action=ACTIONS[done.action],
            p_up=known,
            confidence=None if known is None else confidence(known),
            reasons=(reason, abstained) if held and abstained else (reason,),
        )
        say(close_time, signal)
        if done.action in (ENTRY, EXIT):
            side: Literal["buy", "sell"] = "buy" if done.action == ENTRY else "sell"
            fraction = float(book.ledger[PENDING_FRACTION])
            say(close_time, said.Order(model=model, role=role, side=side, fraction=fraction, reason=reason))
        if done.fill_side == SELL:
            book.flatten_ms = None
        _place_flatten(book)
        ledger = book.ledger
        account = said.Account(
            role=role, cash=float(ledger[CASH]), quantity=float(ledger[QUANTITY]), equity=float(ledger[EQUITY])
        )
        say(close_time, account)

    def _forecast(self, series: SeriesState, book: Book) -> tuple[float, float, str]:
        """Return score, p_up and, where there is none, why."""
        if book.bundle is None:
            vacant = f"no model is promoted for {series.key}: nothing has qualified, so the policy holds"
            return math.nan, math.nan, book.problem or vacant
        score, p_up = series.forecast(book)
        if not math.isnan(p_up):
            return score, p_up, ""
        needed = series.warmup(book) + 1
        if series.n_bars < needed:
            return score, p_up, f"the features need {needed} bars, {series.n_bars} have come"
        return score, p_up, "a feature is unknown at this bar"

    def _held(self, close_time: int, step_ms: int) -> str:
        """Say what keeps the policy from ordering; empty if nothing does."""
        if self._kill.engaged:
            return f"the kill switch is engaged by {self._kill.by}: {self._kill.reason or 'no reason given'}"
        if not self._automation.running:
            return f"paper trading was stopped by {self._automation.by}"
        late_bars = (self._now_ms - close_time) / step_ms
        if late_bars > self._risk.stale_bars:
            limit = self._risk.stale_bars
            return f"stale: the bar is {late_bars:.1f} bars old by the recorded clock, more than {limit}"
        return ""

    def _outcomes(self, series: SeriesState, book: Book, bar: Bar) -> list[tuple[int, said.Outcome]]:
        """Return what became of the forecasts whose horizon this bar closes, with their times."""
        due = [row for row in book.open_forecasts if row.due <= series.n_bars]
        book.open_forecasts = [row for row in book.open_forecasts if row.due > series.n_bars]
        return [
            (
                row.open_time + series.step_ms,
                said.Outcome(
                    model=row.model,
                    p_up=row.p_up,
                    went_up=bar.close > row.close,
                    log_return=math.log(bar.close / row.close),
                ),
            )
            for row in due
            if self._whole(series, row.open_time, bar.open_time, row.horizon_bars)
        ]

    def _whole(self, series: SeriesState, start_ms: int, end_ms: int, horizon: int) -> bool:
        """Say whether no bar is missing between two bars that came `horizon` bars apart."""
        if self._calendar is None or end_ms - start_ms == horizon * series.step_ms:
            return True
        return len(self._calendar.expected_opens(series.timeframe, start_ms, end_ms)) <= horizon

    # --- state --------------------------------------------------------------------------------------------------------

    def state(self) -> State:
        """Return everything that later emissions depend on."""
        state: dict[str, Any] = {
            "kill": json.dumps([self._kill.engaged, self._kill.by, self._kill.reason, self._kill.flatten]),
            "automation": json.dumps([self._automation.running, self._automation.by]),
            "now_ms": self._now_ms,
        }
        for key, series in self._series.items():
            state |= {f"{key}/{name}": value for name, value in series.state().items()}
        return state

    def restore(self, state: State) -> None:
        """Take on a state returned by `state`; models are loaded again, by id and digest."""
        engaged, by, reason, flatten = json.loads(str(state["kill"]))
        self._kill = said.Kill(engaged=engaged, by=by, reason=reason, flatten=flatten)
        running, by = json.loads(str(state["automation"]))
        self._automation = said.Automation(running=running, by=by)
        now_ms = state["now_ms"]
        assert isinstance(now_ms, int)
        self._now_ms = now_ms
        for key, series in self._series.items():
            series.restore(
                {name.removeprefix(f"{key}/"): value for name, value in state.items() if name.startswith(f"{key}/")}
            )


def _say(emitted: list[Event], key: str, revision: int, time: int, payload: Payload) -> None:
    emitted.append(new_event(key, time, payload, revision=revision))


def _say_settled(done: Outcome, role: str, model: str, open_time: int, say: Callable[[int, Payload], None]) -> None:
    """Say what became, at this bar's open, of what was pending."""
    if done.cancelled:
        reason = "the next bar opened too late: a purchase does not wait across a hole"
        say(done.order_time, said.OrderCancelled(role=role, reason=reason))
    elif done.fill_side != NOTHING:
        fill = said.Fill(
            model=model,
            role=role,
            side="buy" if done.fill_side == BUY else "sell",
            quantity=done.fill_quantity,
            price=done.fill_price,
            fee=done.fill_fee,
            order_time=done.order_time,
        )
        say(open_time, fill)


def _cancel(key: str, role: str, book: Book, reason: str) -> list[Event]:
    """Take a pending order back; a sale that a kill command asked for is no order and stays."""
    ledger = book.ledger
    if ledger[PENDING] == NOTHING or book.flatten_ms is not None:
        return []
    ledger[PENDING], ledger[PENDING_FRACTION] = NOTHING, 0.0
    return [new_event(key, int(ledger[PENDING_TIME]), said.OrderCancelled(role=role, reason=reason))]


def _place_flatten(book: Book) -> None:
    """Let the sale that a kill command asked for stand for the next open."""
    if book.flatten_ms is None:
        return
    if book.ledger[QUANTITY] > 0:
        book.ledger[PENDING], book.ledger[PENDING_FRACTION] = SELL, 1.0
        book.ledger[PENDING_TIME] = book.flatten_ms
    else:
        book.flatten_ms = None


@cache
def _code_digest() -> str:
    """Return the digest of the code between a row of features and an event."""
    here = Path(__file__).parent
    files = [*sorted(here.glob("*.py")), *sorted((here.parent / "models").glob("*.py"))]
    return sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def paper_projection(settings: Settings) -> PaperProjection:
    """Make the paper engine that the settings describe, with models from the models folder."""
    from kalibre.bars.calendars import get_calendar

    market = settings.market
    spec = FeatureSpec(
        timeframe=market.timeframe,
        higher_timeframes=timeframes_above(market.timeframe, settings.features.higher_timeframes),
        scale_window=settings.features.scale_window,
    )
    return PaperProjection(
        [(symbol, market.timeframe) for symbol in market.symbols],
        costs=settings.costs,
        risk=settings.risk,
        load_model=partial(load_bundle, settings.models_dir),
        specs={series_key(symbol, market.timeframe): spec for symbol in market.symbols},
        calendar=get_calendar(market.calendar),
        # A bundle whose columns are others (taker volume) is fed from the bars kept: they must reach over its warm-up.
        history_bars=max(_HISTORY_BARS, 2 * FeatureEngine(spec).warmup),
    )
