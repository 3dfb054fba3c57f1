"""Bars: one closed bar (`Bar`, what the log stores) and a series of them (`Bars`, what the maths reads)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, overload

import msgspec
import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import BarError
from kalibre.core.timeframe import timeframe_ms

if TYPE_CHECKING:
    import polars as pl

REQUIRED = ("open_time", "open", "high", "low", "close", "volume")
OPTIONAL = ("quote_volume", "trades", "taker_buy_volume")
NEWS = ("news_impact", "news_conf")
"""What the log knew of headlines when a bar was recorded; no source of bars tells it. Unknown is no news: 0."""


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """One closed bar; `open_time` in UTC milliseconds, prices in quote currency, `volume` in base units.

    `news_impact` in [-1, 1] and `news_conf` in [0, 1] are what was known of headlines at its close; None for no news.
    """

    open_time: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float | None = None
    trades: float | None = None
    taker_buy_volume: float | None = None
    news_impact: float | None = None
    news_conf: float | None = None


@dataclass(frozen=True)
class Bars:
    """A series of closed bars of one symbol and timeframe, oldest first.

    All arrays have shape (n_bars,); `open_time` is int64 UTC milliseconds, the rest float64. The three optional
    columns are None where the source does not know them, those of news where there was none. A `Bars` promises nothing
    about its content: `check` does.

    Examples
    --------
    >>> bars = Bars.from_rows("X", "1h", [Bar(open_time=0, open=1, high=2, low=1, close=2, volume=3)])
    >>> len(bars), bars.close_time.tolist()
    (1, [3600000])
    """

    symbol: str
    timeframe: str
    open_time: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]
    quote_volume: NDArray[np.float64] | None = None
    trades: NDArray[np.float64] | None = None
    taker_buy_volume: NDArray[np.float64] | None = None
    news_impact: NDArray[np.float64] | None = None
    news_conf: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        """Bring every column to its type and refuse columns of different lengths."""
        object.__setattr__(self, "open_time", np.ascontiguousarray(self.open_time, dtype=np.int64))
        for name in (*REQUIRED[1:], *OPTIONAL, *NEWS):
            column = getattr(self, name)
            if column is not None:
                object.__setattr__(self, name, np.ascontiguousarray(column, dtype=np.float64))
        shapes = {f.name: getattr(self, f.name).shape for f in self._columns()}
        if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
            raise BarError(
                f"columns of {self.symbol} {self.timeframe} differ in shape: {shapes}; pass equally long ones"
            )

    def _columns(self) -> list[Any]:
        return [f for f in fields(self)[2:] if getattr(self, f.name) is not None]

    def __len__(self) -> int:
        """Return the number of bars."""
        return len(self.open_time)

    @overload
    def __getitem__(self, index: int) -> Bar: ...
    @overload
    def __getitem__(self, index: slice | NDArray[Any]) -> Bars: ...
    def __getitem__(self, index: int | slice | NDArray[Any]) -> Bar | Bars:
        """Return one bar, or the bars of a slice, mask or index array."""
        if isinstance(index, int | np.integer):
            row = {f.name: getattr(self, f.name)[index].item() for f in self._columns()}
            return Bar(**row)
        return replace(self, **{f.name: getattr(self, f.name)[index] for f in self._columns()})

    def __iter__(self) -> Iterator[Bar]:
        """Yield the bars one by one."""
        names = [f.name for f in self._columns()]
        for row in zip(*(getattr(self, name).tolist() for name in names), strict=True):
            yield Bar(**dict(zip(names, row, strict=True)))

    @property
    def step_ms(self) -> int:
        """Length of one bar in milliseconds."""
        return timeframe_ms(self.timeframe)

    @property
    def close_time(self) -> NDArray[np.int64]:
        """When each bar closed and became known: `open_time` plus one bar, UTC milliseconds, shape (n_bars,)."""
        closed: NDArray[np.int64] = self.open_time + self.step_ms
        return closed

    @classmethod
    def from_rows(cls, symbol: str, timeframe: str, rows: Sequence[Bar]) -> Bars:
        """Build a series from single bars; an optional column that any bar lacks is None."""
        columns: dict[str, Any] = {name: [getattr(row, name) for row in rows] for name in REQUIRED}
        for name in OPTIONAL:
            values = [getattr(row, name) for row in rows]
            columns[name] = values if rows and None not in values else None
        columns |= {name: news_column([getattr(row, name) for row in rows]) for name in NEWS}
        return cls(symbol=symbol, timeframe=timeframe, **columns)

    @classmethod
    def from_frame(cls, frame: pl.DataFrame, *, symbol: str, timeframe: str) -> Bars:
        """Build a series from a polars frame with the house's column names; `open_time` integer ms or a datetime.

        Raises
        ------
        BarError
            If a required column is missing; the message names it and what is there.
        """
        missing = [name for name in REQUIRED if name not in frame.columns]
        if missing:
            raise BarError(
                f"columns {missing} are missing, the frame has {frame.columns}: rename them to {list(REQUIRED)}"
            )
        import polars as pl

        time = frame["open_time"]
        if time.dtype.is_temporal():
            time = time.cast(pl.Datetime("ms")).dt.epoch("ms")
        columns: dict[str, Any] = {"open_time": time.cast(pl.Int64).to_numpy()}
        for name in (*REQUIRED[1:], *OPTIONAL, *NEWS):
            columns[name] = frame[name].cast(pl.Float64).to_numpy() if name in frame.columns else None
        return cls(symbol=symbol, timeframe=timeframe, **columns)

    def to_frame(self) -> pl.DataFrame:
        """Return the series as a polars frame with the house's column names."""
        import polars as pl

        return pl.DataFrame({f.name: getattr(self, f.name) for f in self._columns()})

    def between(self, start_ms: int | None, end_ms: int | None) -> Bars:
        """Return the bars with `start_ms <= open_time < end_ms`; None leaves that side open."""
        keep = np.ones(len(self), dtype=bool)
        if start_ms is not None:
            keep &= self.open_time >= start_ms
        if end_ms is not None:
            keep &= self.open_time < end_ms
        return self[keep]

    def check(self) -> None:
        """Refuse a series whose times do not rise or whose prices are no prices.

        Raises
        ------
        BarError
            With the index, the time and the offending value.
        """
        step = np.diff(self.open_time)
        if (bad := np.flatnonzero(step <= 0)).size:
            i = int(bad[0]) + 1
            raise BarError(
                f"{self.symbol}: open_time {self.open_time[i]} at row {i} does not come after {self.open_time[i - 1]}: "
                "sort the bars and drop duplicates"
            )
        if (bad := np.flatnonzero(self.open_time % self.step_ms != 0)).size and self.step_ms <= 3_600_000:
            i = int(bad[0])
            raise BarError(
                f"{self.symbol}: open_time {self.open_time[i]} at row {i} is not on the {self.timeframe} grid"
            )
        prices = np.stack([self.open, self.high, self.low, self.close])
        wrong = ~np.isfinite(prices).all(axis=0) | (prices <= 0).any(axis=0)
        wrong |= (self.high < prices.max(axis=0)) | (self.low > prices.min(axis=0))
        wrong |= ~np.isfinite(self.volume) | (self.volume < 0)
        if (bad := np.flatnonzero(wrong)).size:
            i = int(bad[0])
            raise BarError(
                f"{self.symbol}: row {i} is no bar: {self[i]}; ingest it through the checks, which quarantine it"
            )


def without_news(bar: Bar) -> Bar:
    """Return a bar as its source told it."""
    if bar.news_impact is None and bar.news_conf is None:
        return bar
    return msgspec.structs.replace(bar, news_impact=None, news_conf=None)


def news_column(values: Sequence[float | None]) -> NDArray[np.float64] | None:
    """Return what single bars say of news as a column: 0 where one says nothing, None where none says anything."""
    if all(value is None for value in values):
        return None
    return np.array([0.0 if value is None else value for value in values])


def concat(parts: Sequence[Bars]) -> Bars:
    """Join series of one symbol and timeframe, oldest first.

    An optional column that any part lacks is dropped; where one lacks news, there was none.

    Raises
    ------
    BarError
        If there is nothing to join or symbols or timeframes differ.
    """
    if not parts:
        raise BarError("nothing to join: pass at least one series of bars")
    names = {(part.symbol, part.timeframe) for part in parts}
    if len(names) > 1:
        raise BarError(f"series of different symbols or timeframes cannot be joined: {sorted(names)}")
    first = parts[0]
    columns: dict[str, Any] = {}
    for name in (*REQUIRED, *OPTIONAL):
        values = [getattr(part, name) for part in parts]
        columns[name] = None if any(value is None for value in values) else np.concatenate(values)
    for name in NEWS:
        known = [np.zeros(len(part)) if (one := getattr(part, name)) is None else one for part in parts]
        told = any(getattr(part, name) is not None for part in parts)
        columns[name] = np.concatenate(known) if told else None
    return Bars(symbol=first.symbol, timeframe=first.timeframe, **columns)
