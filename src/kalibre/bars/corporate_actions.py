"""Splits and bonus issues that a source has not adjusted for: found by their traces, and undone by their factors.

A split of factor f divides the price by f overnight and multiplies the shares traded by f. Three traces are weighed as
log likelihood ratios (natural units, so 3 means 20 to 1) against an ordinary night:

- *price*: the move from the last close to the open lies near -log f for a factor that companies use. How near is
  judged by how this series moves overnight (robust scale, Student's t tails: 3 degrees of freedom).
- *limit*: where an exchange limits a day's move (Borsa Istanbul: 10 %), a close beyond it from one session to the next
  is no trade's doing. A longer pause allows the limit once more for each session missed.
- *volume*: shares traded after it against before, beside -log f of the price.

Without a limit (New York, crypto) a crash is possible, so it takes price, volume and a simple ratio together.

Dividends on Borsa Istanbul lower the price too, by less than the limit in nearly all cases; they are not looked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kalibre.core.bars import Bars
from kalibre.core.errors import BarError
from kalibre.core.events import CorporateAction
from kalibre.core.timeframe import DAY_MS, timeframe_ms

BIST_LIMIT = 0.10
"""Largest move of a share on Borsa Istanbul within a session, relative to the last close (base price)."""

BEFORE, AFTER = 20, 3
"""Bars of context: at least 5 and up to 20 before, exactly 3 after (so that later bars never change a finding)."""
_MIN_BEFORE = 5


class DatedAction(NamedTuple):
    """A corporate action and the open time of the first bar after it, UTC milliseconds."""

    event_time: int
    action: CorporateAction


def usual_factors() -> dict[float, float]:
    """Return factors that companies use, each with the log of its prior weight; below 1 are reverse splits.

    Whole numbers are commonest; halves and thirds (3:2, 4:3, 5:4) follow; bonus issues come in tenths of the capital.
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
    limit: float
    volume: float
    log_prior: float
    beyond: float

    @property
    def total(self) -> float:
        return self.price + self.limit + self.volume + self.log_prior


def detect(
    bars: Bars, *, daily_limit: float | None = BIST_LIMIT, sessions_between: NDArray[np.int64] | None = None
) -> list[DatedAction]:
    """Find splits, bonus issues and reverse splits in daily bars.

    Parameters
    ----------
    bars
        Daily bars as they were traded, not adjusted, oldest first.
    daily_limit
        The exchange's limit on a session's move, as a fraction; None if there is none.
    sessions_between
        Shape (n_bars,), sessions from the bar before to this one (1: neighbours, 2: one was missed); by default
        counted from calendar days, weekends left out.

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
    if n < _MIN_BEFORE + AFTER:
        return []
    overnight = np.zeros(n)
    overnight[1:] = np.log(bars.open[1:] / bars.close[:-1])
    move = np.zeros(n)
    move[1:] = np.log(bars.close[1:] / bars.close[:-1])
    between = _sessions_between(bars.open_time) if sessions_between is None else sessions_between
    smallest = math.log(1.15) if daily_limit is None else -math.log1p(-daily_limit) * 1.04
    found: list[DatedAction] = []
    factors = usual_factors()
    for t in np.flatnonzero((np.abs(overnight) > smallest) | (np.abs(move) > smallest)):
        if t < _MIN_BEFORE or t + AFTER > n:
            continue
        evidence = _weigh(bars, overnight, move, int(t), int(between[t]), daily_limit, factors)
        if evidence is not None:
            found.append(DatedAction(int(bars.open_time[t]), _conclude(bars, overnight, move, int(t), evidence)))
    return found


def _sessions_between(open_time: NDArray[np.int64]) -> NDArray[np.int64]:
    day = (open_time // DAY_MS).astype("datetime64[D]")
    between = np.ones(len(day), dtype=np.int64)
    between[1:] = np.maximum(np.busday_count(day[:-1], day[1:]), 1)
    return between


def _log_t3(x: float, scale: float) -> float:
    """Log density of Student's t with 3 degrees of freedom."""
    z = x / scale
    return math.log(2 / (math.pi * math.sqrt(3) * scale)) - 2 * math.log1p(z * z / 3)


def _weigh(
    bars: Bars,
    overnight: NDArray[np.float64],
    move: NDArray[np.float64],
    t: int,
    between: int,
    daily_limit: float | None,
    factors: dict[float, float],
) -> _Evidence | None:
    """Return the best explanation of a move by a factor; None where an ordinary night explains it."""
    before = slice(max(t - BEFORE, 1), t)
    scale = max(1.4826 * float(np.median(np.abs(overnight[before]))), 0.004)
    scale = max(scale, 0.35 * 1.4826 * float(np.median(np.abs(move[before])))) * math.sqrt(min(between, 5))
    beyond = 0.0
    limit_evidence = 0.0
    if daily_limit is not None:
        up, down = math.log1p(daily_limit) * between, math.log1p(-daily_limit) * between
        # Open and close must both be out of reach: an open beyond the limit is no proof, a close is.
        high, low = max(overnight[t], move[t]), min(overnight[t], move[t])
        beyond = max(low - up, down - high, 0.0)
        if beyond <= 0.004 * between:
            return None
        limit_evidence = 6.0  # what breaks a limit in real sets is an action or a fault, hardly ever a trade
    ordinary = _log_t3(float(overnight[t]), scale)
    rise = _volume_rise(bars, t)
    best: _Evidence | None = None
    for factor, log_prior in factors.items():
        shift = math.log(factor)
        rest = float(overnight[t]) + shift
        if 0.5 < factor < 1 and abs(rest) > max(3 * scale, 0.03):
            continue  # so small a reverse split is rare; a source's repaired price looks much like it
        if (
            daily_limit is not None
            and not math.log1p(-daily_limit) * between - 0.004
            <= float(move[t]) + shift
            <= math.log1p(daily_limit) * between + 0.004
        ):
            continue  # what remains of the day's move would itself break the limit
        volume = 0.0
        if rise is not None:
            # Volume swings by a factor of two from day to day: weak evidence each way, capped.
            volume = max(min((rise * rise - (rise - shift) ** 2) / (2 * 0.8**2), 4.0), -4.0)
        candidate = _Evidence(factor, _log_t3(rest, scale) - ordinary, limit_evidence, volume, log_prior, beyond)
        if best is None or candidate.total > best.total:
            best = candidate
    if best is None or best.total < 2.5:
        if beyond <= 0 or between > 1:
            return None
        return _Evidence(math.exp(-float(overnight[t])), 0.0, limit_evidence, 0.0, -math.inf, beyond)
    return best


def _volume_rise(bars: Bars, t: int) -> float | None:
    before, after = bars.volume[max(t - BEFORE, 0) : t], bars.volume[t : t + AFTER]
    before, after = before[before > 0], after[after > 0]
    if len(before) < _MIN_BEFORE or len(after) < 2:
        return None
    return float(np.median(np.log(after)) - np.median(np.log(before)))


def _conclude(
    bars: Bars, overnight: NDArray[np.float64], move: NDArray[np.float64], t: int, evidence: _Evidence
) -> CorporateAction:
    # An upward jump is a reverse split only if it is one beyond doubt: faults of a source jump upwards too.
    sure = evidence.total >= 2.5 and (evidence.factor >= 1.15 or evidence.factor <= 2 / 3)
    rise = _volume_rise(bars, t)
    told = [
        f"open {math.exp(overnight[t]):.4f}, close {math.exp(move[t]):.4f} of the last close {bars.close[t - 1]:.6g}",
        f"factor {Fraction(evidence.factor).limit_denominator(100)}"
        if sure
        else f"no usual factor; the open says {evidence.factor:.4g}",
        f"price {evidence.price:+.1f}, limit {evidence.limit:+.1f}, volume {evidence.volume:+.1f} in log odds",
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
    divisor = np.ones(len(bars))
    for event_time, action in actions:
        if event_time > known_to:
            continue
        if forward:
            divisor[bars.open_time >= event_time] /= action.factor
        else:
            divisor[bars.open_time < event_time] *= action.factor
    taker = bars.taker_buy_volume
    return replace(
        bars,
        open=bars.open / divisor,
        high=bars.high / divisor,
        low=bars.low / divisor,
        close=bars.close / divisor,
        volume=bars.volume * divisor,
        taker_buy_volume=None if taker is None else taker * divisor,
    )
