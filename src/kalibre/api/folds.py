"""What the live view folds out of the log: the newest row of features, and where a paper ledger stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kalibre.api.answers import Action
from kalibre.core.bars import OPTIONAL, Bar, Bars
from kalibre.core.events import BarClosed, Event, Order, OrderCancelled, Signal
from kalibre.core.protocols import FloatArray
from kalibre.core.timeframe import timeframe_ms

if TYPE_CHECKING:
    from kalibre.api.served import ServedModel
    from kalibre.features.engine import FeatureSpec
    from kalibre.log.protocol import EventLog

_PAGE = 5_000


class FeatureFold:
    """The features of one series, fed bar by bar in the order of the log.

    A bar that is not newer than the last one taken (a correction, a late back-fill) changes nothing: the paper engine,
    which decides on the same fold, cannot take a decision back either.
    """

    def __init__(self, series: str, symbol: str, timeframe: str, spec: FeatureSpec) -> None:
        from kalibre.features.engine import FeatureEngine

        self.series = series
        self._symbol = symbol
        self._timeframe = timeframe
        self._step_ms = timeframe_ms(timeframe)
        self._engine = FeatureEngine(spec)
        self._fingerprint = self._engine.fingerprint
        self._last_open_ms: int | None = None
        self._row: FloatArray = np.full(len(self._engine.columns), np.nan)
        self.n_bars = 0

    @property
    def as_of_ms(self) -> int | None:
        """Close time of the newest bar taken, UTC ms; None before the first."""
        return None if self._last_open_ms is None else self._last_open_ms + self._step_ms

    def read(self, log: EventLog, *, upto: int, beat: Callable[[], None], should_stop: Callable[[], bool]) -> None:
        """Take every bar that the log holds up to a position, in one batch."""
        after = 0
        newer: list[Bar] = []
        last: int | None = None
        while not should_stop():
            events = log.read(after=after, upto=upto, kinds={"bar"}, key=self.series, limit=_PAGE)
            beat()
            for event in events:
                if isinstance(event.payload, BarClosed) and (last is None or event.payload.open_time > last):
                    newer.append(_bar(event.payload))
                    last = event.payload.open_time
            if len(events) < _PAGE:
                break
            after = events[-1].seq
        if newer:
            self._row = self._engine.batch(_series(self._symbol, self._timeframe, newer))[-1].copy()
            self._last_open_ms = last
            self.n_bars = len(newer)

    def take(self, bar: BarClosed) -> None:
        """Take one bar, if it is newer than the last."""
        if self._last_open_ms is None or bar.open_time > self._last_open_ms:
            self._row = self._engine.step(_bar(bar))
            self._last_open_ms = bar.open_time
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
        self._cancelled = False
        self._signal: Signal | None = None
        self._signal_ms = 0

    def take(self, event: Event) -> None:
        """Take a signal, order or cancellation in; an account only shows that there is a ledger."""
        match event.payload:
            case Signal() as signal:
                self._signal, self._signal_ms = signal, event.event_time
            case Order() as order:
                self._order, self._order_ms, self._cancelled = order, event.event_time, False
            case OrderCancelled() if event.event_time == self._order_ms:
                self._cancelled = True

    def holding(self, as_of_ms: int | None) -> bool:
        """Say whether the ledger is long when the bar closing at `as_of_ms` is decided on.

        An order fills at the open of the bar after the one that decided it, so the last order before this close tells.
        """
        if self._order is None or as_of_ms is None or self._order_ms >= as_of_ms:
            # The order of this very bar fills later: before it, the ledger stood on the other side.
            return self._order is not None and self._order_ms == as_of_ms and self._order.side == "sell"
        return (self._order.side == "buy") != self._cancelled

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
