"""One role of a series: who holds it, its ledger, its positions, and its forecasts that have not matured.

Prices and quantities are in the series' scale (`kalibre.bars.timeline`). A split changes nothing there; a scale that
turns out otherwise than it was traded in does: then the records kept here say what the ledger would hold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np

from kalibre.bars.timeline import Timeline
from kalibre.core.bars import Bar
from kalibre.core.protocols import FloatArray
from kalibre.models.bundle import ModelBundle
from kalibre.models.ensemble_version import EnsembleVersion
from kalibre.trading.engine import (
    BUY,
    CASH,
    DAY,
    DAY_BASE,
    EQUITY,
    NOTHING,
    PENDING,
    PENDING_FRACTION,
    PENDING_TIME,
    QUANTITY,
    SELL,
    Outcome,
    Terms,
    step,
)
from kalibre.trading.policy import Policy

_ENTERED, _LEFT, _QUANTITY, _SCALE = range(4)
_POSITIONS = 64
"""Positions remembered: a funding rate that comes later than so many trades is charged to nobody."""


class OpenForecast(NamedTuple):
    """A forecast that waits for its outcome."""

    open_time: int
    close: float
    p_up: float
    model: str
    horizon_bars: int
    due: int
    """Number of next bars after which it matures, counted as `SeriesState.n_next` counts them."""
    label: str


class Moment(NamedTuple):
    """What a bar changes of a book, so that it can be taken back."""

    ledger: FloatArray
    positions: FloatArray
    open_forecasts: tuple[OpenForecast, ...]
    base: tuple[int, float]
    vacancy: str
    ordered_revision: int

    def state(self) -> dict[str, Any]:
        """Return it by names."""
        rest = msgspec.json.encode([self.open_forecasts, self.base, self.vacancy, self.ordered_revision]).decode()
        return {"ledger": self.ledger, "positions": self.positions, "rest": rest}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Moment:
        """Read it back from `state`."""
        forecasts, (base_ms, base_cash), vacancy, ordered_revision = json.loads(state["rest"])
        return cls(
            np.array(state["ledger"]),
            np.array(state["positions"]),
            tuple(OpenForecast(*row) for row in forecasts),
            (base_ms, base_cash),
            vacancy,
            ordered_revision,
        )


@dataclass
class Book:
    """A role's ledger and what has to be known beside it."""

    ledger: FloatArray
    model_id: str | None = None
    digest: str | None = None
    bundle: ModelBundle | None = None
    version: EnsembleVersion | None = None
    """The ensemble as it was judged, where it holds the role: its forecasts are recorded, not computed."""
    policy: Policy | None = None
    problem: str = ""
    """Why the model cannot act; empty if it can."""
    failure: str = ""
    """Why the model could not be loaded: it is not tried again before the next promotion."""
    told: bool = True
    """Whether the failure has been said."""
    flatten_ms: int | None = None
    """Time of the kill command that asked to sell and has not been served yet."""
    open_forecasts: tuple[OpenForecast, ...] = ()
    """Forecasts whose horizon has not passed, oldest first."""
    vacancy: str = ""
    """What was said last about there being no model."""
    ordered_revision: int = 0
    """Revision of the order that was given last: its cancellation carries the same."""
    positions: FloatArray = field(default_factory=lambda: np.empty((0, 4)))
    """Opened at, closed at (infinity: open), quantity, and the scale that it was bought in; oldest first."""
    base: tuple[int, float] = (-1, 0.0)
    """Bar (open time; -1: none) and cash that the day's base was valued at."""

    @property
    def horizon_bars(self) -> int:
        """Return the horizon that its forecasts are about; 1 where nobody makes any."""
        holder = self.bundle or self.version
        return 1 if holder is None else holder.horizon_bars

    @property
    def traded(self) -> bool:
        """Whether this ledger ever held anything."""
        return len(self.positions) > 0

    def moment(self) -> Moment:
        """Return what a bar is about to change; only the ledger changes in place."""
        kept = (self.positions, self.open_forecasts, self.base, self.vacancy, self.ordered_revision)
        return Moment(self.ledger.copy(), *kept)

    def go_back(self, moment: Moment) -> None:
        """Take on what `moment` returned."""
        self.ledger = moment.ledger.copy()
        _, self.positions, self.open_forecasts, self.base, self.vacancy, self.ordered_revision = moment

    def begin_anew(self, ledger: FloatArray) -> None:
        """Take another ledger; who holds the role and what was forecast stays."""
        self.ledger, self.positions, self.base, self.flatten_ms = ledger, np.empty((0, 4)), (-1, 0.0), None

    # --- orders -------------------------------------------------------------------------------------------------------

    @property
    def order(self) -> tuple[int, int] | None:
        """Event time and revision of the pending order; None if none is, or a kill command asked: that is no order."""
        pending = self.ledger[PENDING] != NOTHING and self.flatten_ms is None
        return (int(self.ledger[PENDING_TIME]), self.ordered_revision) if pending else None

    def withdraw(self) -> tuple[int, int] | None:
        """Take a pending order back and return its event time and revision; None if there is none."""
        order = self.order
        if order is not None:
            self.ledger[PENDING], self.ledger[PENDING_FRACTION] = NOTHING, 0.0
        return order

    def place_flatten(self) -> None:
        """Let the sale that a kill command asked for stand for the next open."""
        if self.flatten_ms is None:
            return
        if self.ledger[QUANTITY] > 0:
            self.ledger[PENDING], self.ledger[PENDING_FRACTION] = SELL, 1.0
            self.ledger[PENDING_TIME] = self.flatten_ms
        else:
            self.flatten_ms = None

    # --- bars ---------------------------------------------------------------------------------------------------------

    def carry(
        self,
        terms: Terms,
        bar: Bar,
        scale: float,
        before_ms: int,
        *,
        p_up: float,
        volatility: float,
        funding: float,
        may_order: bool,
    ) -> Outcome:
        """Carry the ledger over a bar (in the series' scale) and note what it bought, sold and started the day with.

        Parameters
        ----------
        before_ms
            Open time of the bar that it was carried over before; -1 if there was none.
        """
        ledger = self.ledger
        day, cash = ledger[DAY], ledger[CASH]
        done = step(ledger, terms, bar.open_time, bar.open, bar.close, p_up, volatility, funding, may_order)
        if ledger[DAY] != day:
            self.base = (before_ms, float(cash))
        if done.fill_side == BUY:
            bought = [[bar.open_time, np.inf, done.fill_quantity, scale]]
            self.positions = np.concatenate([self.positions, bought])[-_POSITIONS:]
        elif done.fill_side == SELL:
            self.positions = self.positions.copy()
            self.positions[-1, _LEFT] = bar.open_time
        return done

    def mark(self, terms: Terms, bar: Bar, scale: float, before_ms: int, funding: float) -> None:
        """Value the account at a bar at which nothing was traded, whatever is waiting to be."""
        pending, self.ledger[PENDING] = self.ledger[PENDING], NOTHING
        self.carry(terms, bar, scale, before_ms, p_up=np.nan, volatility=np.nan, funding=funding, may_order=False)
        self.ledger[PENDING] = pending

    @property
    def held_since_ms(self) -> int | None:
        """Open time of the bar at which what is held was bought; None if nothing is."""
        return int(self.positions[-1, _ENTERED]) if self.ledger[QUANTITY] > 0 and len(self.positions) else None

    def held(self, open_time: int) -> float:
        """Return the quantity held at the close of the bar that opened then."""
        for entered, left, quantity, _ in self.positions.tolist():
            if entered <= open_time < left:
                return float(quantity)
        return 0.0

    def pay_late(self, bar: Bar, rate: float) -> None:
        """Pay a funding rate that was due at a bar gone by (in the series' scale), if something was held there."""
        self.ledger[CASH] -= self.held(bar.open_time) * bar.close * rate

    def rescale(self, line: Timeline, carried_ms: int) -> None:
        """Hold what would be held if the scale had been known: shares bought in another scale are so many more or less.

        A position from before the action keeps its quantity, as prices there keep their scale. The account's value and
        the day's base are taken anew, so that a new scale is no loss. What was bought and sold stays as it was.
        """
        if len(self.positions):
            self.positions = self.positions.copy()
            scale = np.array([line.scale(int(entered)) for entered in self.positions[:, _ENTERED]])
            self.positions[:, _QUANTITY] *= self.positions[:, _SCALE] / scale
            self.positions[:, _SCALE] = scale
        ledger = self.ledger
        if ledger[QUANTITY] > 0:
            ledger[QUANTITY] = self.positions[-1, _QUANTITY]
        last, (base_ms, base_cash) = line.find(carried_ms), self.base
        if last is not None:
            ledger[EQUITY] = ledger[CASH] + ledger[QUANTITY] * last.close
        if base_ms >= 0:
            base = line.find(base_ms)
            # A base older than the bars kept cannot be valued: the day begins anew.
            ledger[DAY_BASE] = ledger[EQUITY] if base is None else base_cash + self.held(base_ms) * base.close
