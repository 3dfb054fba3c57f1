"""The quarantine: a state machine per series that judges each bar as it comes, and learns only from sound ones.

A bar must first be a bar (`reasons.bar_faults`), of this series, closed, and on the calendar's grid. Then its price is
compared with the last sound one, on a robust scale: 1.4826 times the median of the last 256 absolute log returns. Four
jumps are suspicious:

- a *gap*: the open is more than 12 scales (at least 1 %, at most 35 %) from the last close, times the square root of
  how many bars ago that was. Over all the real sets the widest gap of a crypto market is 3.2 scales: a market does not
  move without trading.
- a *leap*: the close is more than 30 scales (3 % to 28 %) from the last close, though traded all the way.
- an *open* that gaps like the first, in a bar that itself closes back where it came from.
- a *wick*: high or low more than 200 scales (at least 28 %, at most 2.7-fold) beyond open, close and last close. The
  widest real one has 86 scales, the deepest 21 %.

Where an exchange limits a session's move (Borsa Istanbul: 10 %), a session that opens and goes on beyond it is a gap of
any size. A wick or such an open is a fault by itself. A bar that gaps or leaps is held back: if the next bar opens back
where the price was before, the one held was a spike and is quarantined; if the market goes on from the new level (one
bar after a leap, two after a gap), it is a level shift, and what was held is released. So nothing is quarantined for
ever, and no real bar of a crash is lost. Until 32 returns are known, only moves beyond a doubling or halving are
suspicious.

A bar at or before the newest one is a duplicate, a revision or late. A live stream's word is not enough for the last
two (a wrong time looks just like them): the verdict `verify` asks the caller to ask the source again for that time.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from kalibre.bars.calendars import Calendar, beyond_limit, breaks_limit, daily_limit, sessions_between
from kalibre.bars.reasons import bar_faults, describe, in_order
from kalibre.core.bars import Bar
from kalibre.core.timeframe import DAY_MS, timeframe_ms

Action = Literal["accept", "revise", "duplicate", "hold", "verify", "no_trade", "quarantine"]

WINDOW = 256
"""Returns that the robust scale looks back on."""
MIN_HISTORY = 32
"""Returns needed before the scale counts."""

_GAP, _MIN_GAP, _MAX_GAP = 12.0, 0.01, 0.3
_LEAP, _MIN_LEAP, _MAX_LEAP = 30.0, 0.03, 0.25
_WICK, _MIN_WICK, _MAX_WICK = 200.0, 0.25, 1.0
_COLD = math.log(2.0)
_MIN_SCALE = 1e-4
_MAGNITUDE = math.log(1000.0)
_PATIENCE = 8


@dataclass(frozen=True)
class CheckSettings:
    """What the checks of one series tolerate."""

    clock_tolerance_ms: int = 2_000
    """How far the exchange's clock may run ahead of ours."""
    confirm_bars: int = 2
    """Bars that must follow a gap on the new level before it is believed."""


@dataclass(frozen=True)
class Verdict:
    """What becomes of one bar.

    `accept`: store it, the state has moved on. `revise`: store it in place of a known one. `duplicate`: nothing to do.
    `hold`: wait, a later verdict on this bar will come. `verify`: ask the source for this time again. `no_trade`: a
    filler of the source where nothing was traded, to be announced as a hole. `quarantine`: keep it aside, with why.
    """

    bar: Bar
    action: Action
    reasons: tuple[str, ...] = ()
    detail: str = ""


class BarChecker:
    """Judge the bars of one series, in the order in which they come.

    The state depends only on the last 257 accepted bars and on those held back. A bar that is quarantined leaves it
    bit for bit as if that bar had never come.

    Parameters
    ----------
    symbol, timeframe
        The series.
    calendar
        When bars of this market open.
    known
        Looks up a stored bar by its open time, for bars older than what the state remembers.
    scaled_by
        Tells by what corporate actions that are known already divide prices after one open time and up to another.

    Examples
    --------
    >>> from kalibre.bars.calendars import get_calendar
    >>> checker = BarChecker("X", "1h", get_calendar("24/7"))
    >>> bar = Bar(open_time=0, open=2.0, high=1.0, low=1.0, close=1.0, volume=0.0)
    >>> [(verdict.action, verdict.reasons) for verdict in checker.judge(bar, now_ms=3_600_000)]
    [('quarantine', ('open_outside_range',))]
    """

    def __init__(
        self,
        symbol: str,
        timeframe: str,
        calendar: Calendar,
        *,
        settings: CheckSettings | None = None,
        known: Callable[[int], Bar | None] | None = None,
        scaled_by: Callable[[int, int], float] | None = None,
    ) -> None:
        self.symbol = symbol
        self.timeframe = timeframe
        self.calendar = calendar
        self.settings = settings or CheckSettings()
        self._known, self._scaled_by = known, scaled_by
        self._step = timeframe_ms(timeframe)
        self._limit = daily_limit(calendar)
        self._recent: OrderedDict[int, Bar] = OrderedDict()
        self._returns: list[float] = []  # sorted absolute log returns of the recent bars
        self._held: list[Bar] = []
        self._held_needs = 0
        self._rival: list[Bar] = []  # opened far from the last close and from what is held
        self._refused = 0

    # --- state ---------------------------------------------------------------------------------------------------

    def prime(self, bars: Iterable[Bar]) -> None:
        """Take on bars that were judged before, oldest first: the last 257 of the log put the checker where it was."""
        for bar in bars:
            self._push(bar)

    def state(self) -> dict[str, tuple[tuple[float | int | None, ...], ...] | tuple[float, ...]]:
        """Return everything that later verdicts depend on, comparable with ==."""
        return {
            "recent": tuple(_values(bar) for bar in self._recent.values()),
            "returns": tuple(self._returns),
            "held": tuple(_values(bar) for bar in self._held),
            "rival": tuple(_values(bar) for bar in self._rival),
            "needs": (float(self._held_needs), float(self._refused)),
        }

    @property
    def last(self) -> Bar | None:
        """The newest accepted bar."""
        return next(reversed(self._recent.values()), None)

    @property
    def held(self) -> tuple[Bar, ...]:
        """Bars that wait for confirmation, oldest first."""
        return (*self._held, *self._rival)

    @property
    def scale(self) -> float | None:
        """Robust size of a log return, None until enough are known."""
        return _scale(self._returns) if len(self._returns) >= MIN_HISTORY else None

    def _push(self, bar: Bar) -> None:
        self._refused = 0
        if self._recent:
            newest = next(reversed(self._recent.values()))
            insort(self._returns, abs(math.log(bar.close / newest.close)))
        self._recent[bar.open_time] = bar
        if len(self._recent) > WINDOW + 1:
            _, oldest = self._recent.popitem(last=False)
            size = abs(math.log(next(iter(self._recent.values())).close / oldest.close))
            del self._returns[bisect_left(self._returns, size)]

    # --- judging -------------------------------------------------------------------------------------------------

    def judge(
        self, bar: Bar, *, now_ms: int, trusted: bool = False, symbol: str | None = None, timeframe: str | None = None
    ) -> list[Verdict]:
        """Judge one bar; verdicts on bars held back before come first.

        Parameters
        ----------
        bar
            As the source delivered it.
        now_ms
            The recorded clock.
        trusted
            True for a source's answer to a question about this time: a revision or late bar is then believed, if it
            is near what is known. False for a live stream, where such a bar gets `verify`.
        symbol, timeframe
            What the source says the bar belongs to, where it says so.

        Returns
        -------
        At least the verdict on this bar, as the last one.
        """
        codes, detail = self.faults(bar, now_ms, symbol, timeframe)
        if codes:
            return [Verdict(bar, "quarantine", codes, detail)]
        bar = in_order(bar)
        last = self.last
        if last is not None and bar.open_time <= last.open_time:
            return [self._judge_older(bar, trusted=trusted)]
        if self._held and bar.open_time <= max(held.open_time for held in self.held):
            if any(held == bar for held in self.held):
                return [Verdict(bar, "duplicate")]
            return self._judge_again_with(bar) if trusted else [Verdict(bar, "verify")]
        if bar.volume == 0 and bar.high == bar.low and self.calendar.name != "24/7":
            return [Verdict(bar, "no_trade", detail="no volume and one price: the source filled in the last one")]
        return self._judge_price(bar)

    def finish(self) -> list[Verdict]:
        """Settle what can be settled at the end of a history: a very first bar, which nothing speaks against.

        Other bars held back stay so; they are asked for again when more of the history is there.
        """
        return [] if self._recent or not self._held or self._rival else self._release()

    def faults(
        self, bar: Bar, now_ms: int, symbol: str | None = None, timeframe: str | None = None
    ) -> tuple[tuple[str, ...], str]:
        """Return what is wrong with a bar whatever its price: the codes, and a sentence that quotes it."""
        codes = list(bar_faults(bar))
        if symbol is not None and symbol != self.symbol:
            codes.append("symbol_mismatch")
        if timeframe is not None and timeframe != self.timeframe:
            codes.append("timeframe_mismatch")
        tolerance = self.settings.clock_tolerance_ms
        if bar.open_time > now_ms + tolerance:
            codes.append("future_time")
        elif self.calendar.bar_end(self.timeframe, bar.open_time) > now_ms + tolerance:
            codes.append("not_closed")
        if not self.calendar.allows(self.timeframe, bar.open_time):
            step = min(self._step, DAY_MS)
            on_grid = bar.open_time % step == 0 if self.calendar.name != "24/7" else False
            codes.append("outside_session" if on_grid else "off_grid")
        if not codes:
            return (), ""
        return tuple(codes), f"{self.symbol} {self.timeframe}: {describe(tuple(codes))}: {bar}"

    def _judge_again_with(self, bar: Bar) -> list[Verdict]:
        """Put a late or corrected bar among those held back and judge them anew, in their order."""
        waiting, self._held, self._rival, self._held_needs = self.held, [], [], 0
        verdicts: list[Verdict] = []
        for one in sorted([bar, *waiting], key=lambda each: each.open_time):
            if one is not bar and one.open_time == bar.open_time:
                verdicts.append(Verdict(one, "quarantine", ("duplicate_conflict",), f"the source says {bar}"))
            else:
                verdicts += self._judge_price(one)
        return verdicts

    def _judge_older(self, bar: Bar, *, trusted: bool) -> Verdict:
        known = self._recent.get(bar.open_time)
        if known is None and self._known is not None:
            known = self._known(bar.open_time)
        if known == bar:
            return Verdict(bar, "duplicate")
        if not trusted:
            return Verdict(bar, "verify")
        limit = revision_limit(self.scale)
        if known is not None and is_far(bar, known, limit):
            return Verdict(bar, "quarantine", ("revision_jump",), f"was {known}, now {bar}")
        if known is None and not self._fits_between(bar, limit):
            before = self._neighbour(bar.open_time)
            assert before is not None
            return Verdict(bar, "quarantine", ("spike",), f"opens at {bar.open} after a close of {before.close}")
        self._replace(bar)
        return Verdict(bar, "accept" if known is None else "revise")

    def _neighbour(self, open_time: int) -> Bar | None:
        return next((b for t, b in reversed(self._recent.items()) if t < open_time), None)

    def _fits_between(self, bar: Bar, limit: float) -> bool:
        """Say whether a late bar goes on from the one before it or into the one after: a split may lie on one side."""
        before = self._neighbour(bar.open_time)
        if before is None:
            return True
        distance = (bar.open_time - before.open_time) / self._step
        if abs(math.log(bar.open / before.close)) <= limit * math.sqrt(distance):
            return True
        after = next((b for t, b in self._recent.items() if t > bar.open_time), None)
        if after is None:
            return False
        distance = (after.open_time - bar.open_time) / self._step
        return abs(math.log(after.open / bar.close)) <= limit * math.sqrt(distance)

    def _replace(self, bar: Bar) -> None:
        """Put a late or corrected bar in its place, as if it had come in time."""
        if not self._recent or bar.open_time < next(iter(self._recent)):
            return
        bars = sorted({**self._recent, bar.open_time: bar}.values(), key=lambda one: one.open_time)
        self._recent.clear()
        self._returns.clear()
        self.prime(bars)

    # --- prices --------------------------------------------------------------------------------------------------

    def _limits(self, distance: float) -> tuple[float, float, float]:
        """Return the widest gap, leap and wick believed at once, in log price, `distance` bars after the last one."""
        scale = self.scale
        if scale is None:
            return _COLD, _COLD, _MAX_WICK
        root = math.sqrt(max(distance, 1.0))
        gap = min(max(_GAP * scale, _MIN_GAP), _MAX_GAP)
        leap = min(max(_LEAP * scale, _MIN_LEAP), _MAX_LEAP)
        return gap * root, leap * root, min(max(_WICK * scale, _MIN_WICK), _MAX_WICK)

    def _judge_price(self, bar: Bar) -> list[Verdict]:
        if self._held:
            return self._judge_after_held(bar)
        last = self.last
        if last is None:  # the very first: it is believed when a second one agrees
            self._held, self._held_needs = [bar], 1
            return [Verdict(bar, "hold")]
        verdict, needs = self._suspect(bar, last, last.close)
        if verdict is not None or needs:
            factor = 1.0 if self._scaled_by is None else self._scaled_by(last.open_time, bar.open_time)
            if factor != 1.0:  # a known corporate action lies between them: what is left once it is undone?
                verdict, needs = self._suspect(bar, last, last.close / factor)
        if verdict is not None:
            return [verdict]
        if needs:
            self._held, self._held_needs = [bar], needs
            return [Verdict(bar, "hold")]
        self._push(bar)
        return [Verdict(bar, "accept")]

    def _suspect(self, bar: Bar, last: Bar, base: float) -> tuple[Verdict | None, int]:
        """Compare a bar with a price before it: a verdict if it is wrong by itself, else how many must confirm it."""
        gap, leap = abs(math.log(bar.open / base)), abs(math.log(bar.close / base))
        body_high, body_low = max(bar.open, bar.close, base), min(bar.open, bar.close, base)
        wick = max(math.log(bar.high / body_high), math.log(body_low / bar.low))
        if gap <= _MIN_GAP and leap <= _MIN_LEAP and wick <= _MIN_WICK:  # nearly every bar: no scale needed
            return None, 0
        gap_limit, leap_limit, wick_limit = self._limits((bar.open_time - last.open_time) / self._step)
        if wick > wick_limit:
            tip = bar.high if bar.high / body_high > body_low / bar.low else bar.low
            code = "price_magnitude" if wick > _MAGNITUDE else "wick"
            return Verdict(bar, "quarantine", (code,), f"{tip} beside a body of {body_low} to {body_high}"), 0
        if gap > gap_limit and leap < min(gap_limit, gap / 2):
            told = f"open {bar.open}, close {bar.close}, but {base} before"
            return Verdict(bar, "quarantine", (_spike_code(gap),), told), 0
        if gap > gap_limit or self._breaks_limit(last.open_time, base, bar):
            return None, self.settings.confirm_bars
        return None, int(leap > leap_limit)

    def _breaks_limit(self, before_ms: int, base: float, bar: Bar) -> bool:
        """Say whether a session opens and goes on beyond what the exchange allows after a close."""
        if self._limit is None:
            return False
        sessions = sessions_between(self.calendar, before_ms, bar.open_time)
        overnight, move = math.log(bar.open / base), math.log(bar.close / base)
        return sessions > 0 and breaks_limit(overnight, move, sessions, self._limit)

    def _goes_on(self, bar: Bar) -> bool:
        """Say whether the exchange allows this bar after those held, though not those after the last sound one."""
        last, held = self.last, self._held[0]
        if self._limit is None or last is None or not self._breaks_limit(last.open_time, last.close, held):
            return False
        sessions = max(sessions_between(self.calendar, self._held[-1].open_time, bar.open_time), 1)
        away = math.log(bar.open / self._held[-1].close)
        return beyond_limit(away, away, sessions, self._limit) <= 0

    def _judge_after_held(self, bar: Bar) -> list[Verdict]:
        """Ask which level the market went on from: the one held, a rival that came later, or the one before."""
        last, newest = self.last, self._held[-1]
        away, limit = abs(math.log(bar.open / newest.close)), self._limits(1.0)[0]
        if away > limit and abs(math.log(bar.close / newest.close)) < min(limit, away / 2):
            # Only its open is elsewhere: it must not decide over what is held.
            return [Verdict(bar, "quarantine", (_spike_code(away),), f"open {bar.open}, but {newest.close} before")]
        levels: list[tuple[float, str]] = []
        for name, at in (("held", self._held[-1]), ("rival", self._rival[-1] if self._rival else None), ("back", last)):
            if at is not None:
                apart = abs(math.log(bar.open / at.close))
                if apart <= self._limits((bar.open_time - at.open_time) / self._step)[0]:
                    levels.append((apart, name))
        level = "held" if self._goes_on(bar) and not self._rival else min(levels, default=(0.0, "none"))[1]
        if level == "none":
            return self._take_rival(bar)
        if level == "back":
            return [*self._drop([*self._held, *self._rival], bar), *self._judge_price(bar)]
        verdicts = []
        if level == "rival":
            verdicts = self._drop(self._held, bar)
            self._held, self._rival, self._held_needs = self._rival, [], self.settings.confirm_bars if last else 1
        elif self._rival:
            verdicts = self._drop(self._rival, bar)
        if len(self._held) < self._held_needs:
            self._held.append(bar)
            return [*verdicts, Verdict(bar, "hold")]
        return [*verdicts, *self._release(), *self._judge_price(bar)]

    def _take_rival(self, bar: Bar) -> list[Verdict]:
        verdicts = []
        if self._rival and self.last is None:  # a start whose bars disagree: the oldest had its chance
            verdicts = self._drop(self._held, bar)
            self._held, self._rival = self._rival, []
        elif self._rival:
            verdicts = self._drop(self._rival, bar)
        self._rival = [bar]
        self._refused += len(verdicts)
        if self._refused >= _PATIENCE:  # not one of these follows from another: forget the scale and begin anew
            self._recent.clear()
            self._returns.clear()
        return [*verdicts, Verdict(bar, "hold")]

    def _release(self) -> list[Verdict]:
        released, self._held, self._held_needs = self._held, [], 0
        self._push(released[0])
        verdicts = [Verdict(released[0], "accept", detail="held back until confirmed")]
        for bar in released[1:]:
            verdicts.extend(self._judge_price(bar))
        return verdicts

    def _drop(self, bars: list[Bar], following: Bar) -> list[Verdict]:
        verdicts = []
        for bar in list(bars):
            size = max(abs(math.log(x / following.open)) for x in (bar.open, bar.close))
            detail = f"close {bar.close}, but the next bar opens at {following.open}"
            if self.last is not None:
                detail = f"close {self.last.close} before, {detail}"
            verdicts.append(Verdict(bar, "quarantine", (_spike_code(size),), detail))
        if bars is not self._rival:
            self._held, self._held_needs = [], 0
        self._rival = []
        return verdicts


def revision_limit(scale: float | None) -> float:
    """Return how far, in log price, a correction may lie from the bar that it corrects."""
    return max(_GAP * (scale or _COLD / _GAP), _MIN_GAP)


def is_far(bar: Bar, known: Bar, limit: float) -> bool:
    """Say whether a price of a bar is further from that of the known bar than a correction may be, in log price."""
    pairs = zip((bar.open, bar.high, bar.low, bar.close), (known.open, known.high, known.low, known.close), strict=True)
    return any(abs(math.log(new / old)) > limit for new, old in pairs)


def robust_scale(closes: Sequence[float]) -> float | None:
    """Return the size of a log return between neighbouring closes as the checker measures it; None of too few."""
    returns = sorted(abs(math.log(b / a)) for a, b in pairwise(closes))
    return _scale(returns) if len(returns) >= MIN_HISTORY else None


def _scale(returns: Sequence[float]) -> float:
    n = len(returns)
    median = 0.5 * (returns[(n - 1) // 2] + returns[n // 2])
    # A market that seldom trades has a median of zero; its mean still tells how far it moves.
    return max(1.4826 * median, 0.5 * math.fsum(returns) / n, _MIN_SCALE)


def _spike_code(size: float) -> str:
    return "price_magnitude" if size > _MAGNITUDE else "spike"


def _values(bar: Bar) -> tuple[float | int | None, ...]:
    return (
        bar.open_time,
        bar.open,
        bar.high,
        bar.low,
        bar.close,
        bar.volume,
        bar.quote_volume,
        bar.trades,
        bar.taker_buy_volume,
    )
