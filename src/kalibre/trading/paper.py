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
from typing import Any, Literal, NamedTuple

from kalibre.bars.timeline import Change
from kalibre.core import events as said
from kalibre.core.bars import Bar
from kalibre.core.events import Event, Payload, series_key
from kalibre.core.protocols import State
from kalibre.core.settings import CostSettings, RiskSettings, Settings
from kalibre.core.timeframe import timeframes_above
from kalibre.features.engine import FeatureEngine, FeatureSpec
from kalibre.models.bundle import load_bundle
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
from kalibre.trading.failures import FailureRecord, Failures, failures_of
from kalibre.trading.outcomes import ExpectedOpens, outcome
from kalibre.trading.policy import ACTIONS, ENTRY, EXIT, HOLD, Policy, confidence, explain
from kalibre.trading.series import LoadModel, SeriesState
from kalibre.trading.statements import (
    Say,
    doubt_of,
    forecast_of,
    say_event,
    say_filled,
    say_unable,
    say_withdrawn,
)

ROLES: tuple[Literal["champion"], Literal["challenger"]] = ("champion", "challenger")
_HISTORY_BARS = 3_000
_NOBODY = Policy(entry_threshold=1.0, exit_threshold=0.0)
"""Stands in where there is no model: without a forecast it is never asked."""
_ANEW = "the shadow's ledger begins anew: what it held came through a corporate action that nobody decided on"


class PaperProjection:
    """Follows champion and challenger of every series over the log, and trades on paper what they say.

    Decisions are taken at a bar's close, when the bar arrives. Nothing is ordered while the kill switch is engaged,
    trading is stopped, or the bar is more than `risk.stale_bars` bars old by the newest tick. A model that is missing
    or damaged makes the policy hold, with the reason, until it is promoted again: that it could not be loaded is
    recorded, and what is recorded counts in replay. A correction of the newest bar that comes before the next bar is
    decided again, and what follows from it carries the bar's revision; what is older changes features, and nothing that
    was decided.

    Ledgers run in the series' scale (`kalibre.bars.timeline`), so a split does not touch them; fills and accounts are
    said in shares and prices as they are traded. While a corporate action is detected and undecided, nothing is
    ordered, carried or forecast, until it lies further back than features look and the champion holds nothing from
    before it; a challenger that does begins anew then, being judged by its ledger only.
    Funding is paid by the bar that it is settled in; a rate that comes later is paid at the next bar by whoever held
    the position at the settlement.

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
    recorded_failures
        Reads why models could not be loaded, as recorded (`model_unable`): in replay they are not loaded either.
    """

    name = "paper"
    reads = frozenset({"bar", "corporate_action", "funding", "tick", "kill", "automation", "promotion"})

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
        recorded_failures: Callable[[], Failures] = dict,
    ) -> None:
        self._failures = FailureRecord(recorded_failures)
        self._costs, self._risk, self._calendar = costs, risk, calendar
        self._kill = said.Kill(engaged=False, by="")
        self._automation = said.Automation(running=True, by="")
        self._now_ms = 0
        self._series: dict[str, SeriesState] = {}
        self._of_symbol: dict[str, list[SeriesState]] = {}
        for symbol, timeframe in series:
            key = series_key(symbol, timeframe)
            spec = (specs or {}).get(key) or FeatureSpec(timeframe)
            self._series[key] = followed = SeriesState(
                key, symbol, timeframe, risk=risk, spec=spec, load_model=load_model, history_bars=history_bars
            )
            self._of_symbol.setdefault(symbol, []).append(followed)
        self._apply: dict[type[Payload], Callable[[Event, Any], list[Event]]] = {
            said.BarClosed: self._bar,
            said.CorporateAction: self._acted,
            said.Funding: self._funded,
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
                reason = f"kill switch engaged by {kill.by}"
                say_withdrawn(cancelled, f"{series.key}|{role}", book.withdraw(), role, reason)
                if kill.flatten and book.ledger[QUANTITY] > 0 and book.flatten_ms is None:
                    book.flatten_ms = event.event_time
                book.place_flatten()
        return cancelled

    def _promoted(self, event: Event, promotion: said.Promotion) -> list[Event]:
        series = self._series.get(event.key.rpartition("|")[0])
        if series is None:
            return []
        role, emitted = promotion.alias, list[Event]()
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
        for series in self._of_symbol.get(event.key, ()):
            series.take(event)
        return []

    def _funded(self, event: Event, funding: said.Funding) -> list[Event]:
        for series in self._of_symbol.get(event.key, ()):
            series.fund(event.event_time, funding.rate)
        return []

    # --- bars ---------------------------------------------------------------------------------------------------------

    def _bar(self, event: Event, closed: said.BarClosed) -> list[Event]:
        series = self._series.get(event.key)
        change = Change.NOTHING if series is None else series.take(event)
        if series is None or change not in (Change.NEXT, Change.CORRECTED):
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
        doubt = doubt_of(series.line, series.reach_bars, series.books["champion"].held_since_ms)
        turn = _Turn(series, bar, volatility, doubt, () if doubt and not stays else series.stood_still())
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
        close_time = turn.bar.open_time + turn.series.step_ms
        if book.bundle is not None or role == "champion":
            late = self._late_bars(close_time, turn.series.step_ms) > self._risk.stale_bars
            say(close_time, forecast_of(book, role, math.nan, math.nan, turn.doubt, late=late))
        if book.model_id is None:
            return
        reasons = (turn.doubt, book.problem) if book.problem else (turn.doubt,)
        signal = said.Signal(model=book.model_id, role=role, action="HOLD", p_up=None, confidence=None, reasons=reasons)
        say(close_time, signal)

    def _trade(self, turn: _Turn, role: str, book: Book, say: Say) -> Outcome:
        """Carry one role over one bar and say what happened, in the order it happened."""
        series, bar = turn.series, turn.bar
        close_time, model = bar.open_time + series.step_ms, book.model_id or ""
        score, p_up, abstained = self._forecast(series, book)
        held = self._held(close_time, series.step_ms) or turn.doubt
        bundle, policy = book.bundle, book.policy or _NOBODY
        unknown = role == "challenger" and not turn.doubt and series.line.doubt_ms(0, book.held_since_ms) is not None
        if unknown:
            book.begin_anew(new_ledger(self._risk))
        horizon = bundle.horizon_bars if bundle is not None else 1
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
        for time, became in self._outcomes(series, book, bar):
            say(time, became)
        known = None if math.isnan(p_up) else p_up
        if bundle is not None or role == "champion":  # who weighs the champion's word beside others waits for it
            old_news = self._late_bars(close_time, series.step_ms) > self._risk.stale_bars
            say(close_time, forecast_of(book, role, score, p_up, abstained, late=old_news))
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

    def _forecast(self, series: SeriesState, book: Book) -> tuple[float, float, str]:
        """Return score, p_up and, where there is none, why."""
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

    def _held(self, close_time: int, step_ms: int) -> str:
        """Say what keeps the policy from ordering; empty if nothing does."""
        if self._kill.engaged:
            return f"the kill switch is engaged by {self._kill.by}: {self._kill.reason or 'no reason given'}"
        if not self._automation.running:
            return f"paper trading was stopped by {self._automation.by}"
        late_bars = self._late_bars(close_time, step_ms)
        if late_bars > self._risk.stale_bars:
            limit = self._risk.stale_bars
            return f"stale: the bar is {late_bars:.1f} bars old by the recorded clock, more than {limit}"
        return ""

    def _late_bars(self, close_time: int, step_ms: int) -> float:
        return (self._now_ms - close_time) / step_ms

    def _outcomes(self, series: SeriesState, book: Book, bar: Bar) -> list[tuple[int, said.Outcome]]:
        """Return what became of the forecasts whose horizon this bar closes, with their times."""
        waiting = book.open_forecasts
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
        self._failures.forget()
        for key, series in self._series.items():
            series.restore(
                {name.removeprefix(f"{key}/"): value for name, value in state.items() if name.startswith(f"{key}/")}
            )


class _Turn(NamedTuple):
    """One bar as both roles meet it, in the series' scale."""

    series: SeriesState
    bar: Bar
    volatility: float
    doubt: str
    """Why nobody knows what its prices mean; empty if they are known."""
    past: Sequence[Bar]
    """Bars before it at which the ledgers stood still."""


@cache
def _code_digest() -> str:
    """Return the digest of the code between a row of features and an event."""
    here = Path(__file__).parent
    folders = (here, here.parent / "models", here.parent / "labels")
    files = [
        *(file for folder in folders for file in sorted(folder.glob("*.py"))),
        here.parent / "bars" / "timeline.py",
    ]
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
        recorded_failures=partial(failures_of, settings),
    )
