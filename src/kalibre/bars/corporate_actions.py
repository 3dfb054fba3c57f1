"""Splits and bonus issues that a source has not adjusted for: found by their traces, and undone by their factors.

A split of factor f divides the price by f overnight and multiplies the shares traded by f. Three traces are weighed as
log likelihood ratios (natural units, so 3 means 20 to 1) against an ordinary night:

- *price*: the move from the last close to the open lies near -log f for a factor that companies use. How near is
  judged by how this series moves overnight (robust scale, Student's t tails: 3 degrees of freedom).
- *limit*: where an exchange limits a day's move (Borsa Istanbul: 10 %), a close beyond it from one session to the next
  is no trade's doing. A longer pause allows the limit once more for each session missed.
- *volume*: shares traded after it against before, beside -log f of the price.

Without a limit (New York, crypto) a crash is possible. Then only plain ratios are believed (3:2, whole numbers and
their inverses), and a fourth trace is weighed: a split's day is calm, and as much money is traded as before.

Dividends on Borsa Istanbul lower the price too, by less than the limit in nearly all cases; they are not looked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kalibre.bars.calendars import BIST_LIMIT, LIMIT_TOLERANCE, Calendar, beyond_limit
from kalibre.core.bars import Bars
from kalibre.core.errors import BarError
from kalibre.core.events import CorporateAction
from kalibre.core.timeframe import DAY_MS, timeframe_ms

BEFORE, AFTER = 20, 3
"""Bars of context: at least 5 and up to 20 before, exactly 3 after (so that later bars never change a finding)."""
MIN_BEFORE = 5

_SURE = 2.5
"""Log odds from which an action is confirmed."""
_LIMIT_BROKEN = 6.0
"""What breaks a limit in real sets is an action or a fault, hardly ever a trade."""
_PLAIN = frozenset({*map(float, range(2, 21)), 25.0, 30.0, 40.0, 50.0, 100.0, 1.5, *(1 / n for n in range(2, 51))})
"""Factors believed where no limit forbids a crash."""


class DatedAction(NamedTuple):
    """A corporate action and the open time of the first bar after it, UTC milliseconds."""

    event_time: int
    action: CorporateAction


def usual_factors() -> dict[float, float]:
    """Return factors that companies use, each with the log of its prior weight; below 1 are reverse splits.

    Whole numbers are commonest; halves and thirds (3:2, 4:3, 5:4) follow; bonus issues come in tenths of the capital,
    and 15 % is the smallest that a night hardly ever hides within a limit of 10 %.
    """
    weights: dict[Fraction, float] = {}
    for n in [*range(2, 21), 25, 30, 40, 50, 100]:
        weights[Fraction(n)] = 0.0
    for p, q in [
        (3, 2),
        (5, 2),
        (7, 2),
        (4, 3),
        (5, 3),
        (5, 4),
        (6, 5),
        (7, 5),
        (8, 5),
        (9, 5),
        (7, 4),
        (7, 3),
        (8, 3),
    ]:
        weights.setdefault(Fraction(p, q), -1.0)
    weights[Fraction(23, 20)] = -2.5
    for tenths in range(12, 120):
        weights.setdefault(Fraction(tenths, 10), -2.5)
    for n in [2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50, 100]:
        weights[Fraction(1, n)] = -1.0
    weights[Fraction(2, 3)] = -2.0
    return {float(factor): weight for factor, weight in weights.items()}


@dataclass(frozen=True)
class _Evidence:
    factor: float
    price: float
    limit: float  # the limit broken, or the day's calm
    volume: float
    log_prior: float

    @property
    def total(self) -> float:
        return self.price + self.limit + self.volume + self.log_prior


def detect(
    bars: Bars, *, daily_limit: float | None = BIST_LIMIT, calendar: Calendar | None = None
) -> list[DatedAction]:
    """Find splits, bonus issues and reverse splits in daily bars.

    Parameters
    ----------
    bars
        Daily bars as they were traded, not adjusted, oldest first.
    daily_limit
        The exchange's limit on a session's move, as a fraction; None if there is none.
    calendar
        Tells how many sessions lie between two bars, as each allows the limit once more; by default all days but
        weekends count, so that a split after a long feast may stay unseen.

    Returns
    -------
    Actions by time. `confirmed` where the traces leave no doubt (2.5 in log odds, and beyond what a session may move),
    `detected` where a move breaks the limit but is no usual factor (rights issues, repaired prices): a person decides.

    Raises
    ------
    BarError
        If the bars are not daily.
    """
    if timeframe_ms(bars.timeframe) != DAY_MS:
        raise BarError(f"{bars.symbol} has {bars.timeframe} bars: corporate actions are looked for in daily ones (1d)")
    n = len(bars)
    if n < MIN_BEFORE + AFTER:
        return []
    overnight = np.zeros(n)
    overnight[1:] = np.log(bars.open[1:] / bars.close[:-1])
    move = np.zeros(n)
    move[1:] = np.log(bars.close[1:] / bars.close[:-1])
    between = _sessions_between(bars.open_time, calendar)
    smallest = math.log(1.3) if daily_limit is None else -math.log1p(-daily_limit) * 1.04
    found: list[DatedAction] = []
    factors = usual_factors()
    for t in np.flatnonzero((np.abs(overnight) > smallest) | (np.abs(move) > smallest)):
        if t < MIN_BEFORE or t + AFTER > n:
            continue
        evidence = _weigh(_night(bars, overnight, move, int(t), int(between[t])), daily_limit, factors)
        if evidence is not None:
            found.append(DatedAction(int(bars.open_time[t]), _conclude(bars, overnight, move, int(t), evidence)))
    return found


def _sessions_between(open_time: NDArray[np.int64], calendar: Calendar | None) -> NDArray[np.int64]:
    between = np.ones(len(open_time), dtype=np.int64)
    if calendar is not None:
        sessions = calendar.expected_opens("1d", int(open_time[0]), int(open_time[-1]) + 1)
        between[1:] = np.diff(np.searchsorted(sessions, open_time))
    else:
        day = (open_time // DAY_MS).astype("datetime64[D]")
        between[1:] = np.busday_count(day[:-1], day[1:])
    return np.maximum(between, 1)


def _log_t3(x: float, scale: float) -> float:
    """Log density of Student's t with 3 degrees of freedom."""
    z = x / scale
    return math.log(2 / (math.pi * math.sqrt(3) * scale)) - 2 * math.log1p(z * z / 3)


@dataclass(frozen=True)
class _Night:
    """What is known about one night: its move, what this series usually does, and what volume did."""

    overnight: float
    move: float
    scale: float
    between: int
    rise: float | None
    wildness: float
    """Log of the day's range beside the usual one."""


def _night(bars: Bars, overnight: NDArray[np.float64], move: NDArray[np.float64], t: int, between: int) -> _Night:
    before = slice(max(t - BEFORE, 1), t)
    scale = max(1.4826 * float(np.median(np.abs(overnight[before]))), 0.004)
    scale = max(scale, 0.35 * 1.4826 * float(np.median(np.abs(move[before])))) * math.sqrt(min(between, 5))
    ranges = np.log(bars.high / bars.low)
    wildness = math.log(max(float(ranges[t]), 1e-4) / max(float(np.median(ranges[before])), 1e-4))
    return _Night(float(overnight[t]), float(move[t]), scale, between, _volume_rise(bars, t), wildness)


def _weigh(night: _Night, daily_limit: float | None, factors: dict[float, float]) -> _Evidence | None:
    """Return the best explanation of a move by a factor; None where an ordinary night explains it."""
    if daily_limit is None:
        best = _best(night, factors, _weigh_free)
        return best if best is not None and best.total >= _SURE else None
    up, down = math.log1p(daily_limit) * night.between, math.log1p(-daily_limit) * night.between
    if beyond_limit(night.overnight, night.move, night.between, daily_limit) <= LIMIT_TOLERANCE * night.between:
        return None
    # What remains of the day's move must not itself break the limit.
    possible = {f: w for f, w in factors.items() if down - 0.004 <= night.move + math.log(f) <= up + 0.004}
    best = _best(night, possible, _weigh_limited)
    if best is not None and best.total >= _SURE:
        return best
    return None if night.between > 1 else _Evidence(math.exp(-night.overnight), 0.0, _LIMIT_BROKEN, 0.0, -math.inf)


def _best(
    night: _Night, factors: dict[float, float], weigh: Callable[[_Night, float, float], _Evidence | None]
) -> _Evidence | None:
    candidates = (weigh(night, factor, log_prior) for factor, log_prior in factors.items())
    return max((one for one in candidates if one is not None), key=lambda one: one.total, default=None)


def _weigh_limited(night: _Night, factor: float, log_prior: float) -> _Evidence | None:
    shift = math.log(factor)
    rest = night.overnight + shift
    if 0.5 < factor < 1 and abs(rest) > max(3 * night.scale, 0.03):
        return None  # so small a reverse split is rare; a source's repaired price looks much like it
    volume = 0.0
    if night.rise is not None:
        # Volume swings by a factor of two from day to day: weak evidence each way, capped.
        volume = max(min((night.rise**2 - (night.rise - shift) ** 2) / (2 * 0.8**2), 4.0), -4.0)
    price = _log_t3(rest, night.scale) - _log_t3(night.overnight, night.scale)
    return _Evidence(factor, price, _LIMIT_BROKEN, volume, log_prior)


def _weigh_free(night: _Night, factor: float, log_prior: float) -> _Evidence | None:
    """Weigh a factor against a crash or rally of that size, which nothing forbids here.

    Such a night may end anywhere, takes volume up about five-fold and makes the day wild; after a split the day is calm
    and the money traded is what it was. Actions are taken to be five times as frequent as such nights.
    """
    shift = math.log(factor)
    rest = night.overnight + shift
    if factor not in _PLAIN or abs(rest) > 3 * night.scale:
        return None
    anywhere = math.log(1.25 / 5)
    price = _log_t3(rest, night.scale) - max(_log_t3(night.overnight, night.scale), anywhere)
    volume = 0.0
    if night.rise is not None:
        crash = min(night.rise**2, (night.rise - math.log(5)) ** 2)
        volume = max(min((crash - (night.rise - shift) ** 2) / (2 * 0.8**2), 4.0), -4.0)
    calm = _log_normal(night.wildness, 0.1, 0.5) - _log_normal(night.wildness, 1.0, 0.6)
    return _Evidence(factor, price, max(min(calm, 3.0), -6.0), volume, log_prior)


def _log_normal(x: float, mean: float, sd: float) -> float:
    return -0.5 * ((x - mean) / sd) ** 2 - math.log(sd)


def _volume_rise(bars: Bars, t: int) -> float | None:
    before, after = bars.volume[max(t - BEFORE, 0) : t], bars.volume[t : t + AFTER]
    before, after = before[before > 0], after[after > 0]
    if len(before) < MIN_BEFORE or len(after) < 2:
        return None
    return float(np.median(np.log(after)) - np.median(np.log(before)))


def _conclude(
    bars: Bars, overnight: NDArray[np.float64], move: NDArray[np.float64], t: int, evidence: _Evidence
) -> CorporateAction:
    # An upward jump is a reverse split only if it is one beyond doubt: faults of a source jump upwards too.
    sure = evidence.total >= _SURE and (evidence.factor >= 1.15 or evidence.factor <= 2 / 3)
    rise = _volume_rise(bars, t)
    told = [
        f"open {math.exp(overnight[t]):.4f}, close {math.exp(move[t]):.4f} of the last close {bars.close[t - 1]:.6g}",
        f"factor {Fraction(evidence.factor).limit_denominator(100)}"
        if sure
        else f"no usual factor; the open says {evidence.factor:.4g}",
        f"price {evidence.price:+.1f}, day {evidence.limit:+.1f}, volume {evidence.volume:+.1f} in log odds",
    ]
    if rise is not None:
        told.append(f"volume x{math.exp(rise):.2f}")
    return CorporateAction(
        factor=float(evidence.factor), status="confirmed" if sure else "detected", evidence="; ".join(told)
    )


def adjust(bars: Bars, actions: Sequence[DatedAction], *, as_of_ms: int | None = None, forward: bool = False) -> Bars:
    """Undo corporate actions: one scale of prices and volumes throughout.

    Parameters
    ----------
    bars
        Bars as they were traded.
    actions
        Those to undo, whatever their status; an action later than the last bar is not known yet and is left out.
    as_of_ms
        Only actions with `event_time <= as_of_ms`; by default the last bar's open time.
    forward
        False: prices *before* an action are divided by its factor (volumes multiplied), so the newest prices are the
        real ones. True: prices from an action on are multiplied instead, so that no bar ever known has to change,
        which is what a series that grows live needs.

    Returns
    -------
    The adjusted series; quote volume and trades stay, being money and counts.
    """
    if not len(bars) or not actions:
        return bars
    known_to = int(bars.open_time[-1]) if as_of_ms is None else min(as_of_ms, int(bars.open_time[-1]))
    known = [one for one in sorted(actions, key=lambda one: one.event_time) if one.event_time <= known_to]
    # Forward and backward each have one order of products: `Timeline` computes the same forward scale, bit for bit.
    scale = np.ones(len(bars))
    for event_time, action in known:
        scale[bars.open_time >= event_time if forward else bars.open_time < event_time] *= action.factor
    price, volume = (np.multiply, np.divide) if forward else (np.divide, np.multiply)
    taker = bars.taker_buy_volume
    return replace(
        bars,
        **{name: price(getattr(bars, name), scale) for name in ("open", "high", "low", "close")},
        volume=volume(bars.volume, scale),
        taker_buy_volume=None if taker is None else volume(taker, scale),
    )
