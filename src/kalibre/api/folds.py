"""What the live view folds out of the log: the newest row of features, and where a paper ledger stands."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from kalibre.api.answers import Decided
from kalibre.bars.timeline import Change, Timeline
from kalibre.core.bars import Bar
from kalibre.core.events import Account, Event, Order, OrderCancelled, Signal, series_key
from kalibre.core.protocols import FloatArray
from kalibre.core.timeframe import timeframe_ms

if TYPE_CHECKING:
    from kalibre.api.served import ServedModel
    from kalibre.features.engine import FeatureSpec
    from kalibre.log.protocol import EventLog

_PAGE = 5_000
_KEPT_BARS = 3_000
"""Least number of bars kept, as in the paper engine: what a rewritten past is computed anew from."""

_BEAT_BARS = 500


class FeatureFold:
    """The features of one series at its newest bar, in whatever order the log recorded bars and corporate actions.

    A new bar is one step of the engine, and a correction of the newest takes the step again. What rewrites the past (an
    older bar, a confirmed action) only marks the fold: `settle` computes it anew, once for any number of such events.
    It does so from the bars kept; the paper engine does the same at its next bar, so the next bar computes anew here
    too, from the very same bars.

    Parameters
    ----------
    spec
        The features to compute.
    keep_bars
        Bars kept, at least twice the warm-up; None takes as many as the paper engine keeps.
    """

    def __init__(self, symbol: str, timeframe: str, spec: FeatureSpec, *, keep_bars: int | None = None) -> None:
        from kalibre.features.engine import FeatureEngine

        self.symbol, self.series = symbol, series_key(symbol, timeframe)
        self._step_ms = timeframe_ms(timeframe)
        self._engine = FeatureEngine(spec)
        self._line = Timeline(symbol, timeframe, keep=max(keep_bars or _KEPT_BARS, 2 * self._engine.warmup))
        self._fingerprint = self._engine.fingerprint
        self._before = self._engine.state()
        self._row: FloatArray = np.full(len(self._engine.columns), np.nan)
        self._rewritten = False
        """Whether the row is not what the bars known say."""
        self._anew_at_next = False

    @property
    def as_of_ms(self) -> int | None:
        """Close time of the newest bar taken, UTC ms; None before the first."""
        return None if self._line.last is None else self._line.last.open_time + self._step_ms

    @property
    def doubt_ms(self) -> int | None:
        """Time of the oldest undecided corporate action that the newest row looks back on; None if there is none."""
        return self._line.doubt_ms(int(self._engine.warmup))

    @property
    def n_bars(self) -> int:
        """Bars known, older ones that came later included."""
        return self._line.n_bars

    def read(self, log: EventLog, *, upto: int, beat: Callable[[], None], should_stop: Callable[[], bool]) -> None:
        """Take what the log holds up to a position, at first: newest revisions by time; `beat` is called as it goes on.

        Later the features are the same, but for the last bit, however late a bar came; here they are those of training
        and back-test bit for bit, because they are folded over the same bars from the first one on.
        """
        for event in log.read(kinds={"corporate_action"}, key=self.symbol, upto=upto, newest_revision=True):
            self._line.take(event)
        events: list[Event] = []
        after = 0
        while not should_stop():
            page = log.read(after=after, upto=upto, kinds={"bar"}, key=self.series, newest_revision=True, limit=_PAGE)
            beat()
            events += page
            if len(page) < _PAGE:
                break
            after = page[-1].seq
        events.sort(key=lambda event: event.event_time)
        self._fold(self._taken(events, should_stop), beat)

    def _taken(self, events: list[Event], should_stop: Callable[[], bool]) -> Iterable[Bar]:
        for event in events:
            if should_stop():
                return
            self._line.take(event)
            assert self._line.last is not None
            yield self._line.scaled(self._line.last)

    def take(self, event: Event) -> None:
        """Take a bar of this series or a corporate action of its symbol in."""
        change = self._line.take(event)
        if change is Change.NOTHING:
            return
        if change is Change.REWRITTEN:
            self._rewritten = self._anew_at_next = True
            return
        self._rewritten |= self._anew_at_next
        self._anew_at_next = False
        if not self._rewritten:
            if change is Change.CORRECTED:
                self._engine.restore(self._before)
            assert self._line.last is not None
            self._before = self._engine.state()
            self._row = self._engine.step(self._line.scaled(self._line.last))

    def settle(self, beat: Callable[[], None]) -> None:
        """Compute anew what was rewritten since the last time; `beat` is called as it goes on."""
        if self._rewritten:
            self._fold(self._line.bars(), beat)
            self._rewritten = False

    def _fold(self, bars: Iterable[Bar], beat: Callable[[], None]) -> None:
        self._engine.reset()
        newest: Bar | None = None
        for number, bar in enumerate(bars):
            if newest is not None:
                self._engine.step(newest)
            newest = bar
            if number % _BEAT_BARS == 0:
                beat()
        # The newest bar is a step of its own, so that a correction can still take its place.
        self._before = self._engine.state()
        if newest is not None:
            self._row = self._engine.step(newest)

    def problem(self, model: ServedModel) -> str:
        """Say why the model cannot be asked about the newest bar; empty if it can."""
        if self._fingerprint != model.bundle.feature_fingerprint:
            return (
                f"model {model.model_id} was trained on features {model.bundle.feature_fingerprint[:12]}, this version "
                f"computes {self._fingerprint[:12]}: train and promote again"
            )
        missing = int(self._engine.warmup) + 1 - self.n_bars
        if missing > 0:
            return (
                f"{self.n_bars} bars are in the log, the features need {self._engine.warmup + 1}: ingest {missing} more"
            )
        return ""

    def p_up(self, model: ServedModel) -> float | None:
        """Return the model's calibrated probability at the close of the newest bar; None if a feature is unknown."""
        probability = model.p_up(self._row)
        return None if math.isnan(probability) else probability


class Ledger:
    """Where the paper engine stands with one role of one series, as its recorded events say."""

    def __init__(self) -> None:
        self._order: Order | None = None
        self._order_ms = 0
        self._account: Account | None = None
        self._account_ms = 0
        self._signal: Signal | None = None
        self._signal_ms = 0

    def take(self, event: Event) -> None:
        """Take a signal, order, cancellation or account in."""
        match event.payload:
            case Signal() as signal:
                self._signal, self._signal_ms = signal, event.event_time
            case Order() as order:
                self._order, self._order_ms = order, event.event_time
            case OrderCancelled() if event.event_time == self._order_ms:
                self._order = None
            case Account() as account:
                self._account, self._account_ms = account, event.event_time

    def holding(self, as_of_ms: int | None) -> bool | None:
        """Say whether the ledger is long when the bar closing at `as_of_ms` is decided on; None: there is no ledger.

        An order of the bar before fills at this bar's open, so it counts as done.
        """
        if self._account is None:
            return None
        if self._order is not None and self._order_ms == self._account_ms and self._account_ms != as_of_ms:
            return self._order.side == "buy"
        return self._account.quantity > 0

    @property
    def decided_ms(self) -> int:
        """Close of the newest bar that was decided on, by whichever model; 0 before the first."""
        return self._signal_ms

    def decided(self, as_of_ms: int | None, model_id: str) -> Decided | None:
        """Return the recorded decision on the bar closing at `as_of_ms`, if this model took it."""
        if self._signal is None or self._signal_ms != as_of_ms or self._signal.model != model_id:
            return None
        return Decided(self._signal.action, self._signal.p_up, self._signal.reasons)
