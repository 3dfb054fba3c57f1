"""What sources share: headings and what they mean, ranges, chunks, and the check of the timeframe."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from kalibre.core.bars import OPTIONAL, REQUIRED, Bars
from kalibre.core.errors import SourceFormatError, UsageError
from kalibre.core.timeframe import timeframe_ms

CHUNK_BARS = 10_000
"""Bars of one chunk of `history`; a caller commits chunk by chunk, so a chunk is what an interruption can cost."""

HEADINGS: Mapping[str, tuple[str, ...]] = {
    "open_time": ("opentime", "unix", "timestamp", "datetime", "tarihsaat", "date", "tarih", "time", "zaman", "ts"),
    "open": ("open", "openprice", "acilis", "acilisfiyati", "o"),
    "high": ("high", "highprice", "yuksek", "enyuksek", "h"),
    "low": ("low", "lowprice", "dusuk", "endusuk", "l"),
    "close": ("close", "closeprice", "kapanis", "kapanisfiyati", "simdi", "son", "last", "price", "c"),
    "volume": ("volume", "vol", "hacim", "hac", "tickvol", "basevolume", "v"),
    "quote_volume": ("quotevolume", "quoteassetvolume", "qav", "q"),
    "trades": ("trades", "numberoftrades", "numtrades", "tradecount", "tradescount", "count", "n"),
    "taker_buy_volume": ("takerbuyvolume", "takerbuybaseassetvolume", "takerbuybase", "takerbuybasevolume", "tbbav"),
    "symbol": ("symbol", "ticker", "sembol", "hisse", "kod", "code", "pair"),
}
"""Headings by what they mean, as `plain` writes them, the surest first: investing.com (Turkish and English), Binance
Vision, Freqtrade, MetaTrader, Yahoo and CryptoDataDownload."""

RATE_HEADINGS: Mapping[str, tuple[str, ...]] = {
    "time": ("fundingtime", "calctime", "settlement", "settled", *HEADINGS["open_time"]),
    "funding_rate": ("fundingrate", "lastfundingrate", "rate", "fonlamaorani", "fonlama"),
    "symbol": HEADINGS["symbol"],
}
"""Headings of funding rates, likewise: Binance's API, Binance Vision, ccxt."""

_FOLD = str.maketrans("çğıöşüâîûÇĞİIÖŞÜÂÎÛ", "cgiosuaiucgiiosuaiu")


def plain(heading: str) -> str:
    """Write a heading without case, accents, blanks and signs, so that `Açılış` and `ACILIS` are one.

    Examples
    --------
    >>> plain("Açılış"), plain("<TICKVOL>"), plain("taker_buy_base_asset_volume"), plain("İŞLEM")
    ('acilis', 'tickvol', 'takerbuybaseassetvolume', 'islem')
    """
    return re.sub(r"[^a-z0-9%]", "", heading.translate(_FOLD).lower())


def map_columns(
    headings: Sequence[str], columns: Mapping[str, str] | None = None, *, where: str, symbol_column: str | None = None
) -> dict[str, str]:
    """Find which heading holds which column of a bar.

    Parameters
    ----------
    headings
        Headings as the source writes them.
    columns
        Heading by house name, for those that are not known by themselves; wins over what is known.
    where
        What the headings belong to, for the message.
    symbol_column
        Heading that holds the symbol.

    Returns
    -------
    Heading by house name: the six required ones, and the optional ones and `symbol` where found.

    Raises
    ------
    SourceFormatError
        If a required column is not found; the message lists what is there and shows how to name it.
    UsageError
        If `columns` names an unknown column, or a heading that is not there.
    """
    named = dict(columns or {})
    if symbol_column is not None:
        named["symbol"] = symbol_column
    known = [*REQUIRED, *OPTIONAL, "symbol"]
    for name, heading in named.items():
        if name not in known:
            raise UsageError(f"columns: {name!r} is no column of a bar: name some of {', '.join(known)}")
        if heading not in headings:
            raise UsageError(f"columns: {where} has no {heading!r} (for {name}): choose among {list(headings)}")
    plains: dict[str, str] = {}
    for heading in headings:
        plains.setdefault(plain(heading), heading)
    found = dict(named)
    for name, spellings in HEADINGS.items():
        if name not in found:
            match = next((plains[spelling] for spelling in spellings if spelling in plains), None)
            if match is not None and match not in named.values():
                found[name] = match
    missing = [name for name in REQUIRED if name not in found]
    if missing:
        raise SourceFormatError(
            f"{where} has no column for {', '.join(missing)}; it has {list(headings)}: say which it is with the option "
            f"columns = {{{missing[0]} = 'heading'}}"
        )
    return found


def map_rate_columns(
    headings: Sequence[str], columns: Mapping[str, str] | None = None, *, where: str
) -> dict[str, str]:
    """Find which heading holds the settlement (`time`), which the `funding_rate`, and which the `symbol` if any.

    Parameters
    ----------
    headings
        Headings as the source writes them.
    columns
        Heading by these names, for those that are not known by themselves; wins over what is known.
    where
        What the headings belong to, for the message.

    Raises
    ------
    SourceFormatError
        If time or rate is not found; the message lists what is there.
    UsageError
        If `columns` names an unknown column, or a heading that is not there.
    """
    named = dict(columns or {})
    for name, heading in named.items():
        if name not in RATE_HEADINGS:
            raise UsageError(f"funding columns: {name!r} is none of them: name some of {', '.join(RATE_HEADINGS)}")
        if heading not in headings:
            raise UsageError(f"funding columns: {where} has no {heading!r} (for {name}): choose among {list(headings)}")
    plains: dict[str, str] = {}
    for heading in headings:
        plains.setdefault(plain(heading), heading)
    found = dict(named)
    for name, spellings in RATE_HEADINGS.items():
        match = next((plains[spelling] for spelling in spellings if spelling in plains), None)
        if name not in found and match is not None and match not in named.values():
            found[name] = match
    if missing := [name for name in ("time", "funding_rate") if name not in found]:
        raise SourceFormatError(
            f"{where} has no column for {' and '.join(missing)}; it has {list(headings)}: name the columns time and "
            "funding_rate, or say which they are"
        )
    return found


def epoch_unit(first: int) -> int:
    """Return how many of an integer time's units make a second: seconds, milli-, micro- or nanoseconds by size.

    Binance Vision changed from milli- to microseconds with 2025, so a source cannot know but by looking.

    Examples
    --------
    >>> epoch_unit(1_704_067_200), epoch_unit(1_735_689_600_000_000)
    (1, 1000000)
    """
    size = abs(first)
    return next((unit for limit, unit in ((1e11, 1), (1e14, 1_000), (1e17, 1_000_000)) if size < limit), 1_000_000_000)


def epoch_to_ms(times: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bring integer times of any usual unit to milliseconds; each value by its own size, as files may mix units."""
    size = np.abs(times)
    result = times.copy()
    result[size < 10**11] *= 1_000
    result[(size >= 10**14) & (size < 10**17)] //= 1_000
    result[size >= 10**17] //= 1_000_000
    return result


def check_step(times: NDArray[np.int64], timeframe: str, *, where: str) -> None:
    """Refuse bars that are not of the asked timeframe.

    Raises
    ------
    SourceFormatError
        If neither the most frequent distance of neighbours nor the least is one bar; the message says what is. (The
        least serves thinly traded markets, where most neighbours are several bars apart.)
    """
    steps = np.abs(np.diff(times))
    values, counts = np.unique(steps[steps > 0], return_counts=True)
    if len(times) <= 2 or not values.size:
        return
    step = int(values[np.argmax(counts)])
    if timeframe_ms(timeframe) not in {step, int(values[0])}:
        units = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000))
        told = next((f"{step // ms}{unit}" for unit, ms in units if step % ms == 0), f"{step} ms")
        raise SourceFormatError(
            f"{where} holds bars {told} apart, not {timeframe}: ask for {told}, and resample if you need {timeframe}"
        )


def check_range(start_ms: int | None, end_ms: int | None) -> None:
    """Refuse a range that ends before it starts.

    Raises
    ------
    UsageError
        With both ends.
    """
    if start_ms is not None and end_ms is not None and end_ms < start_ms:
        raise UsageError(f"the range ends ({end_ms}) before it starts ({start_ms}): put the earlier time first")


def chunks(bars: Bars, size: int = CHUNK_BARS) -> Iterator[Bars]:
    """Yield a series in pieces of at most `size` bars; nothing where there are none."""
    for start in range(0, len(bars), size):
        yield bars[start : start + size]


def span_of(history: Iterable[Bars]) -> tuple[int, int] | None:
    """Return the open times of the first and the last bar of a history; None if there is no bar."""
    ends = [(int(chunk.open_time.min()), int(chunk.open_time.max())) for chunk in history if len(chunk)]
    return (min(first for first, _ in ends), max(last for _, last in ends)) if ends else None


def without_open_bar(bars: Bars, now_ms: int) -> Bars:
    """Leave out the bar that is still being made at `now_ms`.

    A bar that only begins later is passed on: a time in the future is a fault for the checks to quarantine, not for a
    source to hide.
    """
    return bars[(bars.close_time <= now_ms) | (bars.open_time > now_ms)]
