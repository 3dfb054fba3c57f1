"""What the paper engine says: its events, in shares and prices as they are traded, with reasons in plain words."""

from __future__ import annotations

import math
from collections.abc import Callable

from kalibre.bars.timeline import Timeline
from kalibre.core import events as said
from kalibre.core.clock import to_text
from kalibre.core.events import Event, Payload, new_event
from kalibre.trading.book import Book
from kalibre.trading.engine import BUY, NOTHING, Outcome
from kalibre.trading.failures import At

Say = Callable[[int, Payload], None]
"""Says a payload as of a time."""


def doubt_of(line: Timeline, reach_bars: int, held_since_ms: int | None) -> str:
    """Say why nobody knows what prices mean, and which command decides; empty if they are known."""
    undecided_ms = line.doubt_ms(reach_bars, held_since_ms)
    if undecided_ms is None:
        return ""
    which = f"{line.symbol} {to_text(undecided_ms)[:10]}"
    return (
        f"frozen: a corporate action ({which}) was detected and nobody has decided on it, so nobody knows the scale of "
        f"its prices: run `kalibre actions confirm {which}` or `kalibre actions reject {which}`"
    )


def say_event(emitted: list[Event], key: str, revision: int, time: int, payload: Payload) -> None:
    """Add an event to what is emitted."""
    emitted.append(new_event(key, time, payload, revision=revision))


def say_withdrawn(emitted: list[Event], key: str, order: tuple[int, int] | None, role: str, reason: str) -> None:
    """Say that an order (event time, revision) was taken back, if there was one."""
    if order is not None:
        say_event(emitted, key, order[1], order[0], said.OrderCancelled(role=role, reason=reason))


def say_unable(book: Book, known: str, at: At, time: int, say: Say) -> None:
    """Say once that a model could not be loaded; in replay, what was said then."""
    if book.model_id is not None and (known or not book.told):
        say(time, said.ModelUnable(model=book.model_id, at=at, reason=book.failure))
        book.told = True


def forecast_of(book: Book, role: str, score: float, p_up: float, abstained: str, *, late: bool) -> said.Forecast:
    """Return what a book's model says of a bar, or why it, or nobody, says anything."""
    bundle = book.bundle
    return said.Forecast(
        model=book.model_id or "",
        role=role,
        horizon_bars=1 if bundle is None else bundle.horizon_bars,
        score=None if math.isnan(score) else score,
        p_up=None if math.isnan(p_up) else p_up,
        abstained=abstained or None,
        label="direction" if bundle is None else bundle.label,
        late=late,
    )


def say_filled(done: Outcome, role: str, model: str, open_time: int, scale: float, say: Say) -> None:
    """Say what was filled at this bar's open, if something was, in shares and prices as they are traded."""
    if done.fill_side != NOTHING:
        fill = said.Fill(
            model=model,
            role=role,
            side="buy" if done.fill_side == BUY else "sell",
            quantity=done.fill_quantity * scale,
            price=done.fill_price / scale,
            fee=done.fill_fee,
            order_time=done.order_time,
        )
        say(open_time, fill)
