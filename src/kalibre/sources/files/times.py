"""Times as people write them: epochs, ISO, `dd.mm.yyyy`. Whether the day or the month comes first is proved."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import SourceFormatError, UsageError
from kalibre.sources.base import epoch_to_ms
from kalibre.sources.files.table import Table

if TYPE_CHECKING:
    import polars as pl

_CLOCK = r"(?:[\sT,]+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?)?\s*(Z|UTC|GMT|[+-]\d{2}:?\d{2})?$"
_EPOCH = r"^\d{9,19}$"
_YEAR_FIRST = r"^(\d{4})[-./](\d{1,2})[-./](\d{1,2})" + _CLOCK
_YEAR_LAST = r"^(\d{1,2})[-./](\d{1,2})[-./](\d{4})" + _CLOCK
_COMPACT = r"^(\d{4})(\d{2})(\d{2})" + _CLOCK
_PARTS = ("a", "b", "c", "hour", "minute", "second", "fraction", "offset")
ORDERS = ("dmy", "mdy")
Days = NDArray[np.int64]


def parse_times(table: Table, name: str, *, timezone: str = "UTC", date_order: str = "") -> NDArray[np.int64]:
    """Read the column that says when each bar opened.

    Parameters
    ----------
    table, name
        The table and the heading of the column.
    timezone
        Of times that name none. A date without a time of day is that day's session and is kept as midnight UTC.
    date_order
        `dmy` or `mdy`; empty: proved from the column.

    Returns
    -------
    UTC milliseconds, int64, shape (n_rows,).

    Raises
    ------
    SourceFormatError
        If a cell is no time, a day does not exist, or nothing decides between day and month; the line is quoted.
    UsageError
        If the zone or the order is unknown.
    """
    import polars as pl

    if timezone not in available_timezones():
        raise UsageError(f"timezone {timezone!r} is unknown: write for example UTC or Europe/Istanbul")
    if date_order not in {"", *ORDERS}:
        raise UsageError(f"date_order {date_order!r} is unknown: write dmy or mdy, or leave it empty")
    column = table.frame[name]
    if (missing := column.is_null().arg_true()).len():
        raise SourceFormatError(f"{name!r} is empty ({table.quote(int(missing[0]))}): a bar needs its time")
    if column.dtype == pl.Date:
        return column.cast(pl.Datetime("ms")).dt.epoch("ms").to_numpy()
    if isinstance(column.dtype, pl.Datetime):
        local = column.cast(pl.Datetime("ms", column.dtype.time_zone))
        if column.dtype.time_zone is None and not (local.dt.epoch("ms") % 86_400_000 == 0).all():
            local = _localise(table, name, local, timezone)
        return local.dt.epoch("ms").to_numpy()
    if column.dtype.is_numeric():
        return epoch_to_ms(column.cast(pl.Int64).to_numpy())
    if column.dtype != pl.String:
        raise SourceFormatError(f"{table.where}: column {name!r} holds {column.dtype}, not times")
    return _parse_text(table, name, timezone, date_order)


def _parse_text(table: Table, name: str, timezone: str, date_order: str) -> NDArray[np.int64]:
    import polars as pl

    column = table.frame[name]
    for pattern in (_COMPACT, _EPOCH, _YEAR_FIRST, _YEAR_LAST):
        if column[:1].str.contains(pattern)[0] and column.str.contains(pattern).all():
            break
    else:
        known = column.str.contains(f"{_EPOCH}|{_COMPACT}|{_YEAR_FIRST}|{_YEAR_LAST}")
        odd = (~known).arg_true()
        row = int(odd[0]) if odd.len() else len(column) - 1
        raise SourceFormatError(
            f"{column[row]!r} in {name!r} is no time in the form of the others ({table.quote(row)}): write for example "
            "2025-06-30 10:00, 30.06.2025 or milliseconds since 1970"
        )
    if pattern == _EPOCH:
        return epoch_to_ms(column.cast(pl.Int64).to_numpy())
    parts = column.str.extract_groups(pattern).struct.rename_fields(list(_PARTS)).struct.unnest()
    a, b, c = (parts[key].cast(pl.Int64).to_numpy() for key in "abc")
    if pattern == _YEAR_LAST:
        order = date_order or _prove_order(table, name, a, b, c)
        a, b, c = (c, b, a) if order == "dmy" else (c, a, b)
    days = _days(a, b, c)
    clock_ms, sound = _clock(parts)
    if (at := np.flatnonzero((days == _NO_DAY) | ~sound)).size:
        row = int(at[0])
        raise SourceFormatError(f"{column[row]!r} in {name!r} does not exist ({table.quote(row)}): mend that line")
    times = days * 86_400_000 + clock_ms
    offsets = parts["offset"]
    if offsets.null_count() == 0:
        return times - _offset_ms(offsets)
    if offsets.null_count() < len(offsets):
        row = int(offsets.is_null().arg_true()[0])
        raise SourceFormatError(f"{column[row]!r} in {name!r} names no zone, others do ({table.quote(row)})")
    if parts["hour"].null_count() == len(parts):
        return times
    local = pl.Series(times).cast(pl.Datetime("ms"))
    return _localise(table, name, local, timezone).dt.epoch("ms").to_numpy()


_NO_DAY = np.iinfo(np.int64).min


def _days(year: Days, month: Days, day: Days) -> Days:
    """Return days since 1970, `_NO_DAY` where that day does not exist."""
    safe = np.clip(month, 1, 12)
    first = ((year - 1970) * 12 + safe - 1).astype("datetime64[M]")
    length = ((first + 1).astype("datetime64[D]") - first.astype("datetime64[D]")).astype(np.int64)
    exists = (month == safe) & (day >= 1) & (day <= length)
    days: Days = np.where(exists, first.astype("datetime64[D]").astype(np.int64) + day - 1, _NO_DAY)
    return days


def _clock(parts: pl.DataFrame) -> tuple[Days, NDArray[np.bool_]]:
    """Return the milliseconds since midnight and whether that time of day exists."""
    import polars as pl

    hour, minute, second = (parts[key].cast(pl.Int64).fill_null(0).to_numpy() for key in ("hour", "minute", "second"))
    fraction = parts["fraction"].fill_null("").str.pad_end(3, "0").str.slice(0, 3).cast(pl.Int64).to_numpy()
    return ((hour * 60 + minute) * 60 + second) * 1_000 + fraction, (hour < 24) & (minute < 60) & (second < 60)


def _offset_ms(offsets: pl.Series) -> Days:
    import polars as pl

    digits = offsets.str.replace(":", "", literal=True)
    named = digits.str.contains(r"^[+-]\d{4}$")
    value = pl.select(pl.when(named).then(digits.str.slice(1)).otherwise(pl.lit("0000"))).to_series().cast(pl.Int64)
    minutes: Days = (value // 100 * 60 + value % 100).to_numpy()
    return np.where(digits.str.starts_with("-").to_numpy(), -minutes, minutes) * 60_000


def _prove_order(table: Table, name: str, first: Days, second: Days, year: Days) -> str:
    column = table.frame[name]
    over_first, over_second = np.flatnonzero(first > 12), np.flatnonzero(second > 12)
    if over_first.size and over_second.size:
        a, b = int(over_first[0]), int(over_second[0])
        raise SourceFormatError(
            f"dates are written in two orders: {column[a]!r} has the day first, {column[b]!r} the month "
            f"({table.quote(a)}; {table.quote(b)}): mend the file or split it"
        )
    if over_first.size or over_second.size:
        return "dmy" if over_first.size else "mdy"
    if np.array_equal(first, second):
        return "dmy"
    # Every number could be a month. A file is in order of time, so a reading that is not cannot be right. That bars are
    # one timeframe apart proves nothing: a month of days read the other way is a year of months.
    readings = {"dmy": _days(year, second, first), "mdy": _days(year, first, second)}
    in_order = {key: bool((np.diff(d) >= 0).all() or (np.diff(d) <= 0).all()) for key, d in readings.items()}
    if in_order["dmy"] != in_order["mdy"]:
        return "dmy" if in_order["dmy"] else "mdy"
    row = int(np.flatnonzero(first != second)[0])
    raise SourceFormatError(
        f"{column[row]!r} in {name!r} can be read with the day or the month first, and nothing in the file decides "
        f"({table.quote(row)}): say which with the option date_order = 'dmy' or date_order = 'mdy'"
    )


def _localise(table: Table, name: str, local: pl.Series, timezone: str) -> pl.Series:
    import polars as pl

    try:
        return local.dt.replace_time_zone(str(ZoneInfo(timezone)), ambiguous="raise", non_existent="raise")
    except pl.exceptions.ComputeError as error:
        raise SourceFormatError(
            f"{table.where}: {name!r} holds a time that {timezone} has twice or not at all, where clocks are changed "
            f"({str(error).splitlines()[0]}): write the times in UTC"
        ) from error
