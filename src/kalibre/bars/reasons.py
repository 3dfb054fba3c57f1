"""Why a bar is kept aside: one stable code and one sentence each, and the checks that a bar alone can answer."""

from __future__ import annotations

import math

import msgspec

from kalibre.core.bars import OPTIONAL, REQUIRED, Bar

REASONS: dict[str, str] = {
    "not_finite": "a value is NaN or infinite",
    "price_not_positive": "a price is zero or negative",
    "high_below_low": "the high is below the low",
    "open_outside_range": "the open lies outside low to high",
    "close_outside_range": "the close lies outside low to high",
    "volume_negative": "a volume or count is negative",
    "quote_volume_mismatch": "quote volume divided by volume lies outside low to high",
    "taker_volume_mismatch": "takers bought more than was traded",
    "trades_mismatch": "volume without trades, or trades without volume",
    "symbol_mismatch": "the bar belongs to another symbol",
    "timeframe_mismatch": "the bar belongs to another timeframe",
    "future_time": "the bar opens in the future of the recorded clock",
    "not_closed": "the bar is not over yet by the recorded clock",
    "off_grid": "the open time is not on the grid of the timeframe",
    "outside_session": "the market has no session then",
    "backward_time": "an older time that the source does not confirm when asked again",
    "unconfirmed_revision": "a known bar with other content that the source does not confirm when asked again",
    "duplicate_conflict": "two different bars for one time, of which the other counts",
    "revision_jump": "the correction is too far from the bar that it corrects",
    "spike": "the price jumped away and came back without trading between",
    "price_magnitude": "a spike of more than a thousand-fold: a wrong unit or a misplaced decimal point",
    "wick": "the high or low is absurdly far from open and close",
}
"""Stable codes (the log stores them) and what they mean."""

ROUNDING = 1e-9
"""Relative: adjusted prices may put a close this far above its high; such a bar is brought in order, not refused."""

_VWAP_TOLERANCE = 1e-4


def bar_faults(bar: Bar) -> tuple[str, ...]:
    """Return the code of everything that is wrong with a bar by itself, in the order of `REASONS`.

    Examples
    --------
    >>> bar_faults(Bar(open_time=0, open=1.0, high=0.5, low=1.0, close=float("nan"), volume=-1.0))
    ('not_finite', 'high_below_low', 'open_outside_range', 'volume_negative')
    """
    o, h, low, c, v = bar.open, bar.high, bar.low, bar.close, bar.volume
    quote, trades, taker = bar.quote_volume, bar.trades, bar.taker_buy_volume
    # The common case first: one pass of comparisons, false for NaN, settles a sound bar.
    if (
        0.0 < low <= o <= h < math.inf
        and low <= c <= h
        and 0.0 <= v < math.inf
        and quote is None
        and trades is None
        and taker is None
    ):
        return ()
    faults = []
    extras = [x for x in (quote, trades, taker) if x is not None]
    if not all(map(math.isfinite, (o, h, low, c, v, *extras))):
        faults.append("not_finite")
    if o <= 0 or h <= 0 or low <= 0 or c <= 0:
        faults.append("price_not_positive")
    slack = 1.0 + ROUNDING
    if h * slack < low:
        faults.append("high_below_low")
    if o > h * slack or o * slack < low:
        faults.append("open_outside_range")
    if c > h * slack or c * slack < low:
        faults.append("close_outside_range")
    if v < 0 or any(x < 0 for x in extras):
        faults.append("volume_negative")
    if not faults:
        faults.extend(_volume_faults(bar))
    return tuple(faults)


def _volume_faults(bar: Bar) -> list[str]:
    faults = []
    if bar.quote_volume is not None:
        if bar.volume == 0:
            wrong = bar.quote_volume != 0
        else:
            price = bar.quote_volume / bar.volume
            wrong = not bar.low * (1 - _VWAP_TOLERANCE) <= price <= bar.high * (1 + _VWAP_TOLERANCE)
        if wrong:
            faults.append("quote_volume_mismatch")
    if bar.taker_buy_volume is not None and bar.taker_buy_volume > bar.volume * (1 + ROUNDING):
        faults.append("taker_volume_mismatch")
    if bar.trades is not None and (bar.trades > 0) != (bar.volume > 0):
        faults.append("trades_mismatch")
    return faults


def in_order(bar: Bar) -> Bar:
    """Return the bar with high and low widened to open and close where rounding had put these outside."""
    high = max(bar.open, bar.high, bar.low, bar.close)
    low = min(bar.open, bar.high, bar.low, bar.close)
    if high == bar.high and low == bar.low:
        return bar
    return msgspec.structs.replace(bar, high=high, low=low)


def raw_text(bar: Bar) -> dict[str, str]:
    """Return a bar as text, as the quarantine keeps it: NaN and infinity have no place in JSON numbers."""
    values = {name: getattr(bar, name) for name in (*REQUIRED, *OPTIONAL)}
    return {name: repr(value) for name, value in values.items() if value is not None}


def describe(codes: tuple[str, ...]) -> str:
    """Return the sentences of some codes.

    Examples
    --------
    >>> describe(("off_grid",))
    'the open time is not on the grid of the timeframe'
    """
    return "; ".join(REASONS[code] for code in codes)
