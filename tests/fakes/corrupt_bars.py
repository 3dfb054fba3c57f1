"""A feed that is wrong on purpose: every kind of corrupt bar, planted into sound series, with the verdict it deserves.

`plant` interleaves corrupt deliveries with the sound ones. `play` drives a `BarChecker` through them as live ingest
does: a bar that gets `verify` is looked up in the truth, as ingest asks the source.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from kalibre.bars.calendars import Calendar
from kalibre.bars.checks import BarChecker
from kalibre.core.bars import Bar

NAN, INF = float("nan"), float("inf")


@dataclass(frozen=True)
class Delivery:
    """One bar as it arrives. `kind` is empty for a sound one; `code` is the reason that it must be quarantined for
    (or two: a wrong time may hit one that is known, or one whose own bar is missing).

    `code` `duplicate` or `accept` means that nothing is to be quarantined; `instead` that the sound bar of that time
    does not come (the corrupt one took its place).
    """

    bar: Bar
    kind: str = ""
    code: str = ""
    now_ms: int = 0
    symbol: str | None = None
    timeframe: str | None = None


Corruption = Callable[[Bar, Bar, int, np.random.Generator], Bar]


def _with(**change: Callable[[Bar], float]) -> Corruption:
    def corrupt(bar: Bar, before: Bar, step: int, rng: np.random.Generator) -> Bar:
        return msgspec.structs.replace(bar, **{name: make(bar) for name, make in change.items()})

    return corrupt


def _field(value: float, *names: str) -> Corruption:
    def corrupt(bar: Bar, before: Bar, step: int, rng: np.random.Generator) -> Bar:
        return msgspec.structs.replace(bar, **{str(rng.choice(names)): value})

    return corrupt


def _scaled(factor: Callable[[np.random.Generator], float]) -> Corruption:
    def corrupt(bar: Bar, before: Bar, step: int, rng: np.random.Generator) -> Bar:
        f = factor(rng)
        prices = {name: getattr(bar, name) * f for name in ("open", "high", "low", "close")}
        quote = None if bar.quote_volume is None else bar.quote_volume * f
        return msgspec.structs.replace(bar, **prices, quote_volume=quote)

    return corrupt


def _sign(rng: np.random.Generator, low: float, high: float) -> float:
    size = rng.uniform(low, high)
    return float(np.exp(size if rng.random() < 0.5 else -size))


def _close_spike(bar: Bar, before: Bar, step: int, rng: np.random.Generator) -> Bar:
    close = bar.close * _sign(rng, 0.35, 2.0)
    return msgspec.structs.replace(
        bar, close=close, high=max(bar.high, close), low=min(bar.low, close), quote_volume=None
    )


def _open_spike(bar: Bar, before: Bar, step: int, rng: np.random.Generator) -> Bar:
    # Short of what would be a wick too: the reason is then the open's.
    price = bar.open * _sign(rng, 0.35, 0.6)
    return msgspec.structs.replace(bar, open=price, high=max(bar.high, price), low=min(bar.low, price))


def _wick(bar: Bar, before: Bar, step: int, rng: np.random.Generator) -> Bar:
    if rng.random() < 0.5:
        return msgspec.structs.replace(bar, high=bar.high * float(np.exp(rng.uniform(1.5, 4.0))))
    return msgspec.structs.replace(bar, low=bar.low * float(np.exp(-rng.uniform(1.5, 4.0))))


def _shifted(steps: Callable[[np.random.Generator, int], int]) -> Corruption:
    def corrupt(bar: Bar, before: Bar, step: int, rng: np.random.Generator) -> Bar:
        return msgspec.structs.replace(bar, open_time=bar.open_time + steps(rng, step))

    return corrupt


def _swapped(bar: Bar, before: Bar, step: int, rng: np.random.Generator) -> Bar:
    high, low = max(bar.high, bar.low * 1.001), bar.low
    middle = (high + low) / 2
    return msgspec.structs.replace(bar, high=low, low=high, open=middle, close=middle)


def _same(bar: Bar, before: Bar, step: int, rng: np.random.Generator) -> Bar:
    return bar


def _revised(bar: Bar, before: Bar, step: int, rng: np.random.Generator) -> Bar:
    return msgspec.structs.replace(
        before, close=(before.high + before.low) / 2, volume=before.volume * 1.25, quote_volume=None
    )


EXTRA: dict[str, tuple[str, Corruption]] = {
    "NaN": ("not_finite", _field(NAN, "open", "high", "low", "close", "volume")),
    "infinity": ("not_finite", _field(INF, "open", "high", "close", "volume")),
    "zero price": ("price_not_positive", _field(0.0, "open", "high", "low", "close")),
    "negative price": ("price_not_positive", _field(-1.0, "open", "high", "low", "close")),
    "high below low": ("high_below_low", _swapped),
    "open outside": ("open_outside_range", _with(open=lambda bar: bar.high * 1.01)),
    "close outside": ("close_outside_range", _with(close=lambda bar: bar.low * 0.99)),
    "negative volume": ("volume_negative", _field(-5.0, "volume")),
    "quote volume": ("quote_volume_mismatch", _with(quote_volume=lambda bar: bar.volume * bar.close * 1000)),
    "taker volume": ("taker_volume_mismatch", _with(taker_buy_volume=lambda bar: bar.volume * 1.5 + 1)),
    "trades": ("trades_mismatch", _with(trades=lambda bar: 0.0 if bar.volume > 0 else 5.0)),
    "future": ("future_time", _shifted(lambda rng, step: step * int(rng.integers(2, 5000)))),
    "not closed": ("not_closed", _same),
    "off grid": ("off_grid", _shifted(lambda rng, step: int(rng.integers(1, step)) - step)),
    "1e6-fold price of one field": ("price_magnitude", _with(high=lambda bar: bar.high * 1e6)),
    "wick": ("wick", _wick),
    "open spike": ("spike", _open_spike),
    "other symbol": ("symbol_mismatch", _same),
    "other timeframe": ("timeframe_mismatch", _same),
    "backward, unknown time": ("backward_time", _shifted(lambda rng, step: -step * int(rng.integers(10**6, 10**7)))),
    "backward, known time": (
        "unconfirmed_revision|backward_time",
        _shifted(lambda rng, step: -step * int(rng.integers(2, 250))),
    ),
    "revision nobody confirms": ("unconfirmed_revision", _revised),
    "duplicate": ("duplicate", _same),
}
"""Corrupt bars that come beside the sound one."""

INSTEAD: dict[str, tuple[str, Corruption]] = {
    "spike of the whole bar": ("spike", _scaled(lambda rng: _sign(rng, 0.35, 3.0))),
    "spike of the close": ("spike", _close_spike),
    "1e6-fold price": ("price_magnitude", _scaled(lambda rng: 1e6 if rng.random() < 0.5 else 1e-6)),
}
"""Corrupt bars that take the sound one's place, and are found out by the bar after."""


def plant(
    bars: Sequence[Bar], step: int, rng: np.random.Generator, *, count: int, kinds: Sequence[str] | None = None
) -> list[Delivery]:
    """Interleave about `count` corrupt deliveries with a sound series, none before the 300th bar.

    Two in three bars may get one; bars around a replaced one are left alone, as is a revision's or late bar's
    neighbourhood, so that each corruption is answered for by itself.
    """
    chosen = list(kinds if kinds is not None else [*EXTRA, *INSTEAD, "late", "mixed timeframe"])
    room = np.arange(300, len(bars) - 8, 3)
    places = set(rng.choice(room, size=min(count, len(room)), replace=False).tolist())
    feed: list[Delivery] = []
    turn, swapped = 0, False
    for i, bar in enumerate(bars):
        now = bar.open_time + step
        if swapped:
            swapped = False
            continue
        if i not in places:
            feed.append(Delivery(bar, now_ms=now))
            continue
        kind = chosen[turn % len(chosen)]
        turn += 1
        if kind == "late":
            feed.append(Delivery(bars[i + 1], now_ms=now + step))
            feed.append(Delivery(bar, kind, "accept", now_ms=now + step))
            swapped = True
        elif kind == "mixed timeframe":
            hour = _merged(bars[i - 4 : i])
            feed.append(Delivery(bar, now_ms=now))
            feed.append(Delivery(hour, kind, "unconfirmed_revision", now_ms=now))
        elif kind in INSTEAD:
            code, corrupt = INSTEAD[kind]
            feed.append(Delivery(corrupt(bar, bars[i - 1], step, rng), kind, code, now_ms=now))
        else:
            feed.extend(_beside(bars, i, kind, step, rng))
    return feed


def _beside(bars: Sequence[Bar], i: int, kind: str, step: int, rng: np.random.Generator) -> list[Delivery]:
    bar, now = bars[i], bars[i].open_time + step
    code, corrupt = EXTRA[kind]
    wrong = corrupt(bar, bars[i - 1], step, rng)
    when = bar.open_time + step // 2 if kind == "not closed" else now
    symbol = "OTHER" if kind == "other symbol" else None
    timeframe = "7m" if kind == "other timeframe" else None
    delivery = Delivery(wrong, kind, code, now_ms=when, symbol=symbol, timeframe=timeframe)
    sound = Delivery(bar, now_ms=now)
    return [sound, delivery] if kind in {"duplicate", "future"} else [delivery, sound]


def _merged(bars: Sequence[Bar]) -> Bar:
    return Bar(
        open_time=bars[0].open_time,
        open=bars[0].open,
        high=max(bar.high for bar in bars),
        low=min(bar.low for bar in bars),
        close=bars[-1].close,
        volume=sum(bar.volume for bar in bars),
    )


@dataclass
class Outcome:
    """What a checker made of a feed."""

    planted: Counter[str] = field(default_factory=Counter)
    caught: Counter[str] = field(default_factory=Counter)
    other_reason: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    state_changed: Counter[str] = field(default_factory=Counter)
    sound: int = 0
    sound_accepted: int = 0
    sound_lost: list[Bar] = field(default_factory=list)

    def merge(self, other: Outcome) -> None:
        """Add another outcome to this one."""
        for name in ("planted", "caught", "other_reason", "missed", "state_changed"):
            getattr(self, name).update(getattr(other, name))
        self.sound += other.sound
        self.sound_accepted += other.sound_accepted
        self.sound_lost += other.sound_lost


def play(feed: Sequence[Delivery], symbol: str, timeframe: str, calendar: Calendar) -> Outcome:
    """Drive a checker through a feed, and beside it one that never sees the corrupt bars; compare their states.

    The states are compared after each corrupt bar that is refused at once, and, where one had to be held back, as soon
    as nothing is held any more.
    """
    sound = {d.bar.open_time: d.bar for d in feed if not d.kind or d.code == "accept"}
    checker = BarChecker(symbol, timeframe, calendar, known=None)
    control = BarChecker(symbol, timeframe, calendar, known=None)
    outcome = Outcome()
    waiting: dict[Bar, Delivery] = {}
    settled: dict[int, str] = {}
    for delivery in feed:
        bad = bool(delivery.kind) and delivery.code != "accept"
        if bad:
            outcome.planted[delivery.kind] += 1
            waiting[delivery.bar] = delivery
        else:
            outcome.sound += 1
            if delivery.kind:
                outcome.planted[delivery.kind] += 1
            _deliver(control, delivery, sound)
        verdicts = _deliver(checker, delivery, sound)
        for bar, action, reasons in verdicts:
            _settle(bar, action, reasons, waiting, outcome, settled)
        worth_a_look = delivery.kind or any(action == "quarantine" for _, action, _ in verdicts)
        if worth_a_look and not checker.held and not control.held and checker.state() != control.state():
            outcome.state_changed[delivery.kind or "sound"] += 1
    for bar in waiting.values():
        outcome.missed[bar.kind] += 1
    outcome.state_changed["at the end"] += checker.state() != control.state()
    outcome.state_changed = +outcome.state_changed
    outcome.sound_accepted = sum(settled.get(time) == "accept" for time in sound)
    held = {bar.open_time for bar in checker.held}
    outcome.sound_lost = [bar for time, bar in sound.items() if settled.get(time) != "accept" and time not in held]
    outcome.sound_accepted += sum(time in held for time in sound)
    return outcome


def _settle(
    bar: Bar,
    action: str,
    reasons: tuple[str, ...],
    waiting: dict[Bar, Delivery],
    outcome: Outcome,
    settled: dict[int, str],
) -> None:
    planted = waiting.get(bar)
    if planted is None:
        if action in {"accept", "revise"}:
            settled[bar.open_time] = "accept"
        return
    if action in {"hold"}:
        return
    del waiting[bar]
    if action == planted.code or (action == "quarantine" and set(planted.code.split("|")) & set(reasons)):
        outcome.caught[planted.kind] += 1
    elif action == "quarantine":
        outcome.other_reason[f"{planted.kind}: {', '.join(reasons)}"] += 1
    else:
        outcome.missed[planted.kind] += 1


def _deliver(checker: BarChecker, delivery: Delivery, truth: dict[int, Bar]) -> list[tuple[Bar, str, tuple[str, ...]]]:
    """Judge one bar; ask the truth where the verdict is `verify`, as live ingest asks the source."""
    results: list[tuple[Bar, str, tuple[str, ...]]] = []
    verdicts = checker.judge(delivery.bar, now_ms=delivery.now_ms, symbol=delivery.symbol, timeframe=delivery.timeframe)
    for verdict in verdicts:
        if verdict.action != "verify":
            results.append((verdict.bar, verdict.action, verdict.reasons))
            continue
        true = truth.get(verdict.bar.open_time)
        if true == verdict.bar:
            judged = checker.judge(true, now_ms=delivery.now_ms, trusted=True)
            results += [(one.bar, one.action, one.reasons) for one in judged]
        else:
            code = "backward_time" if true is None else "unconfirmed_revision"
            results.append((verdict.bar, "quarantine", (code,)))
    return results
