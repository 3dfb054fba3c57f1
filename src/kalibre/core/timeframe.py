"""Timeframes by their usual names (`1m`, `15m`, `1h`, `4h`, `1d`) and their length in milliseconds."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from kalibre.core.errors import BarError

_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}

DAY_MS = _UNIT_MS["d"]


@cache
def timeframe_ms(timeframe: str) -> int:
    """Return the length of a bar in milliseconds.

    Parameters
    ----------
    timeframe
        A count and a unit of `s`, `m`, `h`, `d` or `w`.

    Raises
    ------
    BarError
        If the text is not of that form; the message quotes it.

    Examples
    --------
    >>> timeframe_ms("15m")
    900000
    """
    unit = _UNIT_MS.get(timeframe[-1:])
    count = timeframe[:-1]
    if unit is None or not (count.isascii() and count.isdigit()) or int(count) < 1:
        raise BarError(
            f"timeframe {timeframe!r} is not a count and one of s, m, h, d, w: write for example 15m, 1h or 1d"
        )
    return int(count) * unit


def is_multiple(higher: str, base: str) -> bool:
    """Say whether bars of `higher` are made of a whole number of bars of `base`."""
    return timeframe_ms(higher) % timeframe_ms(base) == 0


def timeframes_above(base: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return the timeframes that are longer than `base`, so that one default list suits bars of any timeframe.

    Examples
    --------
    >>> timeframes_above("1h", ("15m", "1h", "4h"))
    ('4h',)
    """
    return tuple(name for name in names if timeframe_ms(name) > timeframe_ms(base))
