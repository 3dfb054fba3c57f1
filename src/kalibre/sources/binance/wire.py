"""Binance's wire format: klines as arrays and as stream events, funding rates."""

from __future__ import annotations

import json
import math
from typing import Any

from kalibre.core.bars import Bar
from kalibre.core.errors import SourceFormatError


def parse_json(body: bytes | str, *, what: str) -> Any:
    """Read JSON.

    Raises
    ------
    SourceFormatError
        If it is none; the message quotes how it begins.
    """
    try:
        return json.loads(body)
    except ValueError as error:
        raise SourceFormatError(f"Binance's {what} is no JSON ({error}); it begins with {body[:80]!r}") from error


def parse_row(row: Any) -> Bar:
    """Read one kline of `/api/v3/klines` or `/fapi/v1/klines`: an array of twelve, prices as text.

    Raises
    ------
    SourceFormatError
        If it is not of that form; the message quotes it.
    """
    try:
        return _bar(row[0], [row[i] for i in (1, 2, 3, 4, 5, 7, 8, 9)])
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise SourceFormatError(f"Binance sent {row!r:.200}, which is no kline: {error}") from error


def parse_rate(row: Any) -> tuple[int, float]:
    """Read one row of `/fapi/v1/fundingRate`: when it was settled, UTC ms, and the rate, which is written as text.

    Raises
    ------
    SourceFormatError
        If it is not of that form; the message quotes it.
    """
    try:
        time, rate = row["fundingTime"], float(row["fundingRate"])
        if isinstance(time, bool) or not isinstance(time, int):
            raise ValueError(f"time {time!r} is no integer")
        return time, rate
    except (TypeError, ValueError, KeyError) as error:
        raise SourceFormatError(f"Binance sent {row!r:.200}, which is no funding rate: {error!r}") from error


def parse_event(message: Any) -> tuple[str, str, Bar, bool, int] | None:
    """Read one event of a kline stream.

    Returns
    -------
    Symbol, interval, bar, whether it is final, and the exchange's time; None for events of another kind.

    Raises
    ------
    SourceFormatError
        If it says that it is a kline and is none; the message quotes it.
    """
    event = message.get("data", message) if isinstance(message, dict) else None
    if not isinstance(event, dict) or event.get("e") != "kline":
        return None
    try:
        kline = event["k"]
        bar = _bar(kline["t"], [kline[key] for key in ("o", "h", "l", "c", "v", "q", "n", "V")])
        return str(kline["s"]), str(kline["i"]), bar, kline["x"] is True, int(event["E"])
    except (TypeError, ValueError, KeyError) as error:
        raise SourceFormatError(f"Binance sent {event!r:.300}, which is no kline event: {error!r}") from error


def _bar(open_time: Any, values: list[Any]) -> Bar:
    if not isinstance(open_time, int):
        raise ValueError(f"time {open_time!r} is no integer")
    numbers = [float(value) for value in values]
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"{values!r} holds what is no number")
    keys = ("open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_volume")
    return Bar(open_time=open_time, **dict(zip(keys, numbers, strict=True)))
