"""The desk of one series: what follows from each event for champion and challenger, once its turn has come.

Events are applied in the order in which they are given; who gives them decides whether one has to wait
(`kalibre.trading.inbox`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import msgspec

from kalibre.bars.timeline import Change
from kalibre.core import events as said
from kalibre.core.bars import Bar
from kalibre.core.events import Event, Payload
from kalibre.core.hub_events import EnsembleForecast
from kalibre.core.settings import CostSettings, RiskSettings
from kalibre.models.ensemble_version import is_ensemble
from kalibre.trading.book import Book, OpenForecast
from kalibre.trading.engine import (
    CASH,
    EQUITY,
    NOTHING,
    PENDING,
    PENDING_FRACTION,
    QUANTITY,
    SELL,
    Outcome,
    new_ledger,
    terms,
)
from kalibre.trading.ensemble_word import NO_CHALLENGER, read_word
from kalibre.trading.failures import FailureRecord
from kalibre.trading.outcomes import ExpectedOpens, outcome
from kalibre.trading.policy import ACTIONS, ENTRY, EXIT, HOLD, Policy, confidence, explain
from kalibre.trading.series import SeriesState
from kalibre.trading.statements import (
    Say,
    doubt_of,
    forecast_of,
    say_event,
    say_filled,
    say_unable,
    say_withdrawn,
)

CHAMPION = "champion"
_NOBODY = Policy(entry_threshold=1.0, exit_threshold=0.0)
"""Stands in where there is no model: without a forecast it is never asked."""
_ANEW = "the shadow's ledger begins anew: what it held came through a corporate action that nobody decided on"


class Desk:
    """Decides on the bars of one series and keeps its books.

    Parameters
    ----------
    series
        Bars, features and books.
    failures
        Why models could not be loaded, as recorded.
    costs, risk, calendar
        As of the paper engine.
    """

    def __init__(
        self,
        series: SeriesState,
        failures: FailureRecord,
        *,
        costs: CostSettings,
        risk: RiskSettings,
        calendar: ExpectedOpens | None,
    ) -> None:
        self.series = series
        self.now_ms = 0
        """The newest tick whose turn has come."""
        self._failures = failures
        self._costs, self._risk, self._calendar = costs, risk, calendar
        self._kill = said.Kill(engaged=False, by="")
        self._automation = said.Automation(running=True, by="")
        self._apply: dict[type[Payload], Callable[[Event, Any], list[Event]]] = {
            said.BarClosed: self.decide,
            said.CorporateAction: self._acted,
            said.Funding: self._funded,
            said.Tick: self._tick,
            said.Kill: self._killed,
            said.Automation: self._started,
            said.Promotion: self._promoted,
        }

    def take(self, event: Event) -> list[Event]:
        """Take one event in and return what follows from it, in order; a bar without a word of the ensemble."""
        return self._apply[type(event.payload)](event, event.payload)

    @property
    def champion(self) -> str | None:
        """Id of the model that the policy follows."""
        return self.series.books[CHAMPION].model_id

    @property
    def newest_ms(self) -> int:
        """Open time of the newest bar whose turn has come; -1 before the first."""
        last = self.series.line.last
        return -1 if last is None else last.open_time

    # --- commands and the clock ---------------------------------------------------------------------------------------

    def _tick(self, event: Event, tick: said.Tick) -> list[Event]:
        self.now_ms = max(self.now_ms, tick.now_ms)
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
        for role, book in self.series.books.items():
            reason = f"kill switch engaged by {kill.by}"
            say_withdrawn(cancelled, f"{self.series.key}|{role}", book.withdraw(), role, reason)
            if kill.flatten and book.ledger[QUANTITY] > 0 and book.flatten_ms is None:
                book.flatten_ms = event.event_time
            book.place_flatten()
        return cancelled

    def _promoted(self, event: Event, promotion: said.Promotion) -> list[Event]:
        series, role, emitted = self.series, promotion.alias, list[Event]()
        if role == "challenger" and promotion.model != series.books[role].model_id:
            withdrawn = series.books[role].withdraw()
            say_withdrawn(emitted, event.key, withdrawn, role, "another challenger takes over")
        known = self._failures.reason(event.key, event.event_time, event.revision, "promotion", promotion.model)
        series.appoint(role, promotion.model, promotion.digest, failure=known)
        say = partial(say_event, emitted, event.key, event.revision)
        say_unable(series.books[role], known, "promotion", event.event_time, say)
        return emitted

    # --- what moves prices and cash -----------------------------------------------------------------------------------

    def _acted(self, event: Event, action: said.CorporateAction) -> list[Event]:
        self.series.take(event)
        return []

    def _funded(self, event: Event, funding: said.Funding) -> list[Event]:
        self.series.fund(event.event_time, funding.rate)
        return []

    # --- bars ---------------------------------------------------------------------------------------------------------

    def decide(
        self,
        event: Event,
        closed: said.BarClosed,
        word: EnsembleForecast | None = None,
        coming: said.Kill | None = None,
    ) -> list[Event]:
        """Take a bar in and return what follows from it.

        Parameters
        ----------
        event, closed
            The bar.
        word
            What the ensemble said of it; heard only while the ensemble is champion.
        coming
            A command that engages the kill switch and came while the bar waited for that word: its own turn is later,
            but nothing may be ordered any more.
        """
        series = self.series
        change = series.take(event)
        if change not in (Change.NEXT, Change.CORRECTED):
            return []
        decided = {role: book.order for role, book in series.books.items() if change is Change.CORRECTED}
        # What filled at a bar stays filled when the bar is corrected, also where its scale has come into doubt since.
        stays = change is Change.CORRECTED and not series.frozen
        emitted: list[Event] = []
        for role, book in series.books.items():
            key, time = f"{series.key}|{role}", closed.open_time + series.step_ms
            known = self._failures.reason(key, time, event.revision, "bar", book.model_id)
            if known:
                series.fail(role, known)
            say_unable(book, known, "bar", time, partial(say_event, emitted, key, event.revision))
        frozen = series.frozen
        bar, volatility = series.advance(change)
        doubt = doubt_of(series.line, series.reach_bars, series.books[CHAMPION].held_since_ms)
        past = () if doubt and not stays else series.stood_still()
        kill = self._kill if self._kill.engaged or coming is None else coming
        close_time = bar.open_time + series.step_ms
        late_bars = (self.now_ms - close_time) / series.step_ms
        held = self._held(late_bars, kill) or doubt
        turn = _Turn(bar, close_time, volatility, late_bars > self._risk.stale_bars, held, doubt, past, word)
        for role, book in series.books.items():
            if role == "challenger" and book.model_id is None:
                continue
            key = f"{series.key}|{role}"
            say = partial(say_event, emitted, key, event.revision)
            if change is Change.CORRECTED and frozen:
                book.withdraw()  # it was taken back when the bar first came, and has been said to be
            before = book.order
            if doubt and not stays:
                say_withdrawn(emitted, key, book.withdraw(), role, doubt)
                self._stand_still(turn, role, book, say)
            elif self._trade(turn, role, book, say).cancelled:
                reason = "the next bar opened too late: a purchase does not wait across a hole"
                say_withdrawn(emitted, key, before, role, reason)
            if book.ledger[PENDING] == NOTHING:
                say_withdrawn(emitted, key, decided.get(role), role, "the bar it was decided on was corrected")
            elif book.order != before:
                book.ordered_revision = event.revision
        if doubt and not stays:
            series.frozen = True
        else:
            series.carried(bar)
        return emitted

    def _stand_still(self, turn: _Turn, role: str, book: Book, say: Say) -> None:
        """Decide nothing and carry nothing: nobody knows what a price of this bar means."""
        close_time = turn.close_time
        if (book.bundle is not None or role == CHAMPION) and not _is_led(role, book):
            say(close_time, forecast_of(book, role, math.nan, math.nan, turn.doubt, late=turn.late))
        if book.model_id is None:
            return
        reasons = (turn.doubt, book.problem) if book.problem else (turn.doubt,)
        signal = said.Signal(model=book.model_id, role=role, action="HOLD", p_up=None, confidence=None, reasons=reasons)
        say(close_time, signal)

    def _trade(self, turn: _Turn, role: str, book: Book, say: Say) -> Outcome:
        """Carry one role over one bar and say what happened, in the order it happened."""
        series, bar = self.series, turn.bar
        close_time, held, model = turn.close_time, turn.held, book.model_id or ""
        score, p_up, abstained = self._forecast(turn, role, book)
        bundle, policy = book.bundle, book.policy or _NOBODY
        unknown = role == "challenger" and not turn.doubt and series.line.doubt_ms(0, book.held_since_ms) is not None
        if unknown:
            book.begin_anew(new_ledger(self._risk))
        horizon = book.horizon_bars
        conditions = terms(policy, self._costs, self._risk, horizon_bars=horizon, step_ms=series.step_ms)
        before_ms = series.carried_ms
        for late, rate in series.late_funding():
            book.pay_late(late, rate)
        for past in turn.past:
            rate = series.funding(past, before_ms)
            book.mark(conditions, past, series.line.scale(past.open_time), before_ms, rate)
            before_ms = past.open_time
        scale = series.line.scale(bar.open_time)
        done = book.carry(
            *(conditions, bar, scale, before_ms),
            p_up=p_up,
            volatility=turn.volatility,
            funding=series.funding(bar, before_ms),
            may_order=not held,
        )
        say_filled(done, role, model, bar.open_time, scale, say)
        led = _is_led(role, book)
        if led:
            # Who weighs forecasts counts on hearing what became of one before the next is said, and under the ensemble
            # the next is said before the bar's turn comes: the others tell what became of these bars.
            book.open_forecasts = ()
        for time, became in self._outcomes(book, bar):
            say(time, became)
        known = None if math.isnan(p_up) else p_up
        if (
            bundle is not None or role == CHAMPION
        ) and not led:  # who weighs the champion's word beside others waits for it
            say(close_time, forecast_of(book, role, score, p_up, abstained, late=turn.late))
        if bundle is not None and known is not None:
            due = series.n_next + horizon
            opened = OpenForecast(bar.open_time, bar.close, known, model, horizon, due, bundle.label)
            book.open_forecasts = (*book.open_forecasts, opened)
        reason = explain(done.reason, known, policy, daily_loss=self._risk.daily_loss, note=held or abstained)
        vacant = book.model_id is None
        if not vacant or book.vacancy != abstained or done.action != HOLD:
            signal = said.Signal(
                model=model,
                role=role,
                action=ACTIONS[done.action],
                p_up=known,
                confidence=None if known is None else confidence(known),
                reasons=(reason, *((abstained,) if held and abstained else ()), *((_ANEW,) if unknown else ())),
            )
            say(close_time, signal)
        book.vacancy = abstained if vacant else ""
        if done.action in (ENTRY, EXIT):
            side: Literal["buy", "sell"] = "buy" if done.action == ENTRY else "sell"
            fraction = float(book.ledger[PENDING_FRACTION])
            say(close_time, said.Order(model=model, role=role, side=side, fraction=fraction, reason=reason))
        if done.fill_side == SELL:
            book.flatten_ms = None
        book.place_flatten()
        if not vacant or book.traded:
            ledger = book.ledger
            account = said.Account(
                role=role,
                cash=float(ledger[CASH]),
                quantity=float(ledger[QUANTITY]) * scale,
                equity=float(ledger[EQUITY]),
            )
            say(close_time, account)
        return done

    def _forecast(self, turn: _Turn, role: str, book: Book) -> tuple[float, float, str]:
        """Return score, p_up and, where there is none, why."""
        series = self.series
        if book.version is not None:
            if role != CHAMPION:
                return math.nan, math.nan, NO_CHALLENGER
            return read_word(book.version, turn.word)
        if book.bundle is None:
            vacant = f"no model is promoted for {series.key}: nothing has qualified, so the policy holds"
            return math.nan, math.nan, book.problem or vacant
        score, p_up = series.forecast(book)
        if not math.isnan(p_up):
            return score, p_up, ""
        needed, come = series.warmup(book) + 1, series.line.n_bars
        if come < needed:
            return score, p_up, f"the features need {needed} bars, {come} have come"
        return score, p_up, "a feature is unknown at this bar"

    def _held(self, late_bars: float, kill: said.Kill) -> str:
        """Say what keeps the policy from ordering; empty if nothing does."""
        if kill.engaged:
            return f"the kill switch is engaged by {kill.by}: {kill.reason or 'no reason given'}"
        if not self._automation.running:
            return f"paper trading was stopped by {self._automation.by}"
        if late_bars > self._risk.stale_bars:
            limit = self._risk.stale_bars
            return f"stale: the bar is {late_bars:.1f} bars old by the recorded clock, more than {limit}"
        return ""

    def _outcomes(self, book: Book, bar: Bar) -> list[tuple[int, said.Outcome]]:
        """Return what became of the forecasts whose horizon this bar closes, with their times."""
        series, waiting = self.series, book.open_forecasts
        if all(one.due > series.n_next for one in waiting):
            return []
        book.open_forecasts = tuple(one for one in waiting if one.due > series.n_next)
        found = [
            (
                one.open_time + series.step_ms,
                outcome(
                    *(one, series.line, bar),
                    late=one.due < series.n_next,
                    calendar=self._calendar,
                    step_ms=series.step_ms,
                ),
            )
            for one in waiting
            if one.due <= series.n_next
        ]
        return [(time, became) for time, became in found if became is not None]

    # --- state --------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return everything that later emissions depend on, by names without the series."""
        kill, automation = self._kill, self._automation
        return {
            "kill": _encode([kill.engaged, kill.by, kill.reason, kill.flatten]),
            "automation": _encode([automation.running, automation.by]),
            "now_ms": self.now_ms,
            **self.series.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take on a state returned by `state`; models are loaded again, by id and digest."""
        engaged, by, reason, flatten = msgspec.json.decode(state["kill"])
        self._kill = said.Kill(engaged=engaged, by=by, reason=reason, flatten=flatten)
        running, by = msgspec.json.decode(state["automation"])
        self._automation = said.Automation(running=running, by=by)
        self.now_ms = int(state["now_ms"])
        self.series.restore(state)


class _Turn(NamedTuple):
    """One bar as both roles meet it, in the series' scale."""

    bar: Bar
    close_time: int
    volatility: float
    late: bool
    """Whether it was old news by the recorded clock."""
    held: str
    """What keeps the policy from ordering; empty if nothing does."""
    doubt: str
    """Why nobody knows what its prices mean; empty if they are known."""
    past: Sequence[Bar]
    """Bars before it at which the ledgers stood still."""
    word: EnsembleForecast | None
    """What the ensemble said of it, where that is heard."""


def _is_led(role: str, book: Book) -> bool:
    """Say whether a book is the champion's and the ensemble's: its forecast was said when the bar came."""
    return book.bundle is None and role == CHAMPION and is_ensemble(book.model_id)


def _encode(value: Any) -> str:
    return msgspec.json.encode(value).decode()
