"""What the live view folds out of the log: the newest row of features, and where a paper ledger stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kalibre.api.answers import Action
from kalibre.core.bars import OPTIONAL, Bar, Bars
from kalibre.core.events import Account, BarClosed, Event, Order, OrderCancelled, Signal
from kalibre.core.protocols import FloatArray
from kalibre.core.timeframe import timeframe_ms

if TYPE_CHECKING:
    from kalibre.api.served import ServedModel
    from kalibre.features.engine import FeatureSpec
    from kalibre.log.protocol import EventLog

_PAGE = 5_000


class FeatureFold:
    """The features of one series, fed bar by bar in the order of the log.

    As in the paper engine, a correction of the newest bar takes its place, and anything about older bars changes
    nothing: what was decided on them stays.
    """

    def __init__(self, series: str, symbol: str, timeframe: str, spec: FeatureSpec) -> None:
        from kalibre.features.engine import FeatureEngine

        self.series = series
        self._symbol = symbol
        self._timeframe = timeframe
        self._step_ms = timeframe_ms(timeframe)
        self._engine = FeatureEngine(spec)
        self._fingerprint = self._engine.fingerprint
        self._last: Bar | None = None
        self._before = self._engine.state()
        self._row: FloatArray = np.full(len(self._engine.columns), np.nan)
        self.n_bars = 0

    @property
    def as_of_ms(self) -> int | None:
        """Close time of the newest bar taken, UTC ms; None before the first."""
        return None if self._last is None else self._last.open_time + self._step_ms

    def read(self, log: EventLog, *, upto: int, beat: Callable[[], None], should_stop: Callable[[], bool]) -> None:
        """Take every bar that the log holds up to a position, at first; `beat` is called as it goes on."""
        after = 0
        rows: list[Bar] = []
        while not should_stop():
            events = log.read(after=after, upto=upto, kinds={"bar"}, key=self.series, limit=_PAGE)
            beat()
            for event in events:
                if isinstance(event.payload, BarClosed):
                    bar = _bar(event.payload)
                    if not rows or bar.open_time > rows[-1].open_time:
                        rows.append(bar)
                    elif bar.open_time == rows[-1].open_time:
                        rows[-1] = bar
            if len(events) < _PAGE:
                break
            after = events[-1].seq
        if rows:
            # All but the newest in one go; the newest as a step, so that a correction can still take its place.
            if len(rows) > 1:
                self._engine.batch(_series(self._symbol, self._timeframe, rows[:-1]))
                self.n_bars = len(rows) - 1
            self._step(rows[-1])

    def take(self, payload: BarClosed) -> None:
        """Take one bar in, if it is newer than the last or corrects it."""
        bar, last = _bar(payload), self._last
        if last is None or bar.open_time > last.open_time:
            self._step(bar)
        elif bar.open_time == last.open_time and bar != last:
            self._engine.restore(self._before)
            self.n_bars -= 1
            self._step(bar)

    def _step(self, bar: Bar) -> None:
        self._before = self._engine.state()
        self._row = self._engine.step(bar)
        self._last = bar
        self.n_bars += 1

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

    def p_up(self, model: ServedModel) -> float:
        """Return the model's calibrated probability at the close of the newest bar."""
        return model.p_up(self._row)


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

    def decided(self, as_of_ms: int | None, model_id: str) -> tuple[Action, tuple[str, ...]] | None:
        """Return the recorded decision on the bar closing at `as_of_ms`, if this model took it."""
        if self._signal is None or self._signal_ms != as_of_ms or self._signal.model != model_id:
            return None
        return self._signal.action, self._signal.reasons


def _series(symbol: str, timeframe: str, rows: list[Bar]) -> Bars:
    """Build a series in which an optional value that one bar lacks is NaN in that bar only, as it is step by step."""
    optional: dict[str, Any] = {}
    for name in OPTIONAL:
        values = [getattr(row, name) for row in rows]
        if any(value is not None for value in values):
            optional[name] = np.array([np.nan if value is None else value for value in values])
    return replace(Bars.from_rows(symbol, timeframe, rows), **optional)


def _bar(payload: BarClosed) -> Bar:
    return Bar(
        open_time=payload.open_time,
        open=payload.open,
        high=payload.high,
        low=payload.low,
        close=payload.close,
        volume=payload.volume,
        quote_volume=payload.quote_volume,
        trades=payload.trades,
        taker_buy_volume=payload.taker_buy_volume,
    )
