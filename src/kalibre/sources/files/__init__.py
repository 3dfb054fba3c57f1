"""Bars from CSV, Parquet and Arrow files, whatever their dialect; the Turkish one (`48,06M`, `30.06.2025`) too.

Nothing is guessed. Delimiter and encoding are told from the bytes; the decimal mark, and whether the day or the month
comes first, have to be *proved* by the cells, and a file that proves neither is refused with the option that decides.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kalibre.core.bars import OPTIONAL, REQUIRED, Bars, concat
from kalibre.core.clock import Clock, SystemClock
from kalibre.core.errors import SourceError, UnknownSymbolError, UsageError
from kalibre.core.timeframe import timeframe_ms
from kalibre.sources.base import check_range, check_step, chunks, map_columns, plain, span_of, without_open_bar
from kalibre.sources.files.numbers import find_decimal, parse_numbers
from kalibre.sources.files.rates import funding_files, is_funding_file, joined, read_rates
from kalibre.sources.files.table import SUFFIXES, Table, read_table
from kalibre.sources.files.times import parse_times

if TYPE_CHECKING:
    import polars as pl

logger = logging.getLogger(__name__)
_DIALECTS: Mapping[str, tuple[str, str]] = {"": ("", ""), "tr": (",", "dmy"), "en": (".", "")}


class Files:
    """Bars from a file, or from every fitting file of a folder.

    Parameters
    ----------
    path
        A `.csv`, `.txt`, `.tsv`, `.parquet`, `.feather` or `.arrow` file; or a folder of files whose names begin with
        the symbol, such as `BTCUSDT-15m-2024-01.csv` (several of one series are joined).
    symbol
        The symbol a file without a symbol column is of. Empty: the capitals its name begins with (`THYAO_daily.csv`,
        `BTC_USDT-5m.feather`), or, if it does not begin with capitals, whatever symbol is asked for.
    dialect
        `tr` (decimal comma, day first), `en` (decimal point), or empty: proved from the file.
    decimal, date_order, encoding
        `,` or `.`; `dmy` or `mdy`; for example `cp1254`. Empty: proved from the file.
    timezone
        Of times that name none.
    columns
        Heading by house name, for headings that are not known by themselves: `{"close": "Uzlaşma"}`.
    symbol_column
        Heading that holds the symbol.
    funding_path
        Funding rates of a perpetual future: a file, or a folder of files whose names begin with the symbol and say
        `funding`, such as `BTCUSDT-fundingRate-2025-01.csv`. Headings `time` (or `open_time`, `calc_time`, ...) and
        `funding_rate`; fractions, 0.0001 for 0.01 %.
    funding_columns
        Heading by `time`, `funding_rate` and `symbol`, for those that are not known by themselves.
    clock
        Tells which bar is still open, so that it is left out.

    Raises
    ------
    UsageError
        If `path` or `funding_path` is not there or an option has no known value.

    Examples
    --------
    >>> import tempfile
    >>> rows = "Tarih;Son;Açılış;Yüksek;Düşük;Hac.", "30.06.2025;283,5;269,25;284,0;268,5;48,06M"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "THYAO.csv").write_text(chr(10).join(rows))
    ...     bar = next(Files(path=folder).history("THYAO", "1d"))[0]
    >>> bar.open, bar.close, bar.volume
    (269.25, 283.5, 48060000.0)
    """

    name: ClassVar[str] = "files"

    def __init__(
        self,
        *,
        path: str | Path,
        symbol: str = "",
        dialect: str = "",
        decimal: str = "",
        date_order: str = "",
        timezone: str = "UTC",
        encoding: str = "",
        columns: Mapping[str, str] | None = None,
        symbol_column: str | None = None,
        funding_path: str | Path = "",
        funding_columns: Mapping[str, str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._path = Path(path)
        if not self._path.exists():
            raise UsageError(
                f"path {str(path)!r} is not there: give the path of a file of bars, or of a folder of them"
            )
        self._funding_path = Path(funding_path) if funding_path else None
        if self._funding_path is not None and not self._funding_path.exists():
            raise UsageError(
                f"funding_path {str(funding_path)!r} is not there: give the path of a file of funding rates, or of a "
                "folder of them"
            )
        if dialect not in _DIALECTS:
            raise UsageError(f"dialect {dialect!r} is unknown: write tr or en, or leave it empty")
        if decimal not in {"", ".", ","}:
            raise UsageError(f"decimal {decimal!r} is no decimal mark: write '.' or ',', or leave it empty")
        self._symbol = symbol
        self._decimal = decimal or _DIALECTS[dialect][0]
        self._date_order = date_order or _DIALECTS[dialect][1]
        self._timezone = timezone
        self._encoding = encoding
        self._columns = columns
        self._symbol_column = symbol_column
        self._funding_columns = funding_columns
        self._clock = clock or SystemClock()
        self._tables: dict[Path, tuple[tuple[int, int], Table]] = {}

    def history(
        self, symbol: str, timeframe: str, *, start_ms: int | None = None, end_ms: int | None = None
    ) -> Iterator[Bars]:
        """Yield closed bars with `start_ms <= open_time < end_ms` in chunks, oldest first.

        Raises
        ------
        UnknownSymbolError
            If no file holds the symbol; the message lists what there is.
        SourceFormatError
            If a file is no table of bars, or of another timeframe; the message quotes the line.
        """
        timeframe_ms(timeframe)
        check_range(start_ms, end_ms)
        parts = [self._read(path, symbol, timeframe) for path in self._files_of(symbol, timeframe)]
        bars = concat(parts)
        order = np.arange(len(bars))[::-1] if len(bars) and bool((np.diff(bars.open_time) <= 0).all()) else None
        bars = bars[np.argsort(bars.open_time, kind="stable") if order is None else order]
        bars = without_open_bar(bars, self._clock.now_ms())
        yield from chunks(bars.between(start_ms, end_ms))

    def span(self, symbol: str, timeframe: str) -> tuple[int, int] | None:
        """Return the open times of the first and the last bar; None if there is no bar."""
        return span_of(self.history(symbol, timeframe))

    def funding(self, symbol: str, *, start_ms: int, end_ms: int) -> Iterator[tuple[int, float]]:
        """Yield (settlement, rate) with `start_ms <= settlement < end_ms`, oldest first; nothing without a file.

        Raises
        ------
        SourceFormatError
            If a file is no table of funding rates; the message quotes the line.
        """
        if self._funding_path is None:
            return
        check_range(start_ms, end_ms)
        there = funding_files(self._funding_path)
        owned = [path for path in there if (_symbol_of(path) or _bare(symbol)) == _bare(symbol)]
        if not owned:
            logger.warning(
                "no funding rates of %s in %s: it holds %s",
                *(symbol, self._funding_path, ", ".join(path.name for path in there[:20]) or "no file of them"),
            )
        parts = [
            read_rates(
                path,
                symbol,
                decimal=self._decimal,
                date_order=self._date_order,
                timezone=self._timezone,
                encoding=self._encoding,
                columns=self._funding_columns,
            )
            for path in owned
        ]
        yield from ((time, rate) for time, rate in joined(parts) if start_ms <= time < end_ms)

    def _files_of(self, symbol: str, timeframe: str) -> list[Path]:
        if self._path.is_file():
            return [self._path]
        try:
            there = sorted(path for path in self._path.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
        except OSError as error:
            raise SourceError(f"folder {str(self._path)!r} cannot be read: {error.strerror or error}") from error
        there = [path for path in there if not is_funding_file(path)]
        owned = [path for path in there if _symbol_of(path) == _bare(symbol)]
        fitting = [path for path in owned if timeframe in re.split(r"[^0-9A-Za-z]+", path.stem)]
        if not owned:
            listed = ", ".join(sorted({_symbol_of(path) or path.name for path in there})[:20]) or "no file of bars"
            raise UnknownSymbolError(f"symbol {symbol!r} has no file in {str(self._path)!r}: it holds {listed}")
        return fitting or owned

    def _read(self, path: Path, symbol: str, timeframe: str) -> Bars:
        table = self._table(path)
        found = map_columns(table.frame.columns, self._columns, where=table.where, symbol_column=self._symbol_column)
        table = self._of_symbol(table, found.get("symbol"), path, symbol)
        numeric = [name for name in (*REQUIRED[1:], *OPTIONAL) if name in found]
        written = [found[name] for name in numeric if _is_text(table.frame[found[name]])]
        decimal = self._decimal or (find_decimal(table, written) if written else ".")
        columns: dict[str, Any] = {name: parse_numbers(table, found[name], decimal).to_numpy() for name in numeric}
        time_heading, table = _time_column(table, found["open_time"])
        columns["open_time"] = parse_times(table, time_heading, timezone=self._timezone, date_order=self._date_order)
        check_step(columns["open_time"], timeframe, where=table.where)
        return Bars(symbol=symbol, timeframe=timeframe, **columns)

    def _table(self, path: Path) -> Table:
        """Read a file once; again only when it has changed."""
        try:
            stat = path.stat()
        except OSError as error:
            raise SourceError(
                f"file {str(path)!r} cannot be read: {error.strerror or error}; check the path"
            ) from error
        stamp = (stat.st_mtime_ns, stat.st_size)
        if self._tables.get(path, (None,))[0] != stamp:
            self._tables[path] = (stamp, read_table(path, encoding=self._encoding, columns=self._columns))
        return self._tables[path][1]

    def _of_symbol(self, table: Table, heading: str | None, path: Path, symbol: str) -> Table:
        """Return the rows of a symbol, or say that the file is of another one."""
        import polars as pl

        if heading is None:
            owner = self._symbol or _symbol_of(path)
            if owner and _bare(owner) != _bare(symbol):
                raise UnknownSymbolError(
                    f"symbol {symbol!r} is not in {path.name!r}, which is of {owner}: ask for {owner}, or say "
                    f"symbol = {symbol!r} if the name misleads"
                )
            return table
        keep = table.frame[heading].cast(pl.String) == symbol
        if not keep.any():
            listed = table.frame[heading].unique().sort().to_list()
            more = f" and {len(listed) - 20} more" if len(listed) > 20 else ""
            raise UnknownSymbolError(
                f"symbol {symbol!r} is not in {path.name!r}: it holds {', '.join(map(str, listed[:20]))}{more}"
            )
        return table.where_true(keep)


def _bare(symbol: str) -> str:
    return re.sub(r"[^0-9A-Z]", "", symbol.upper())


def _symbol_of(path: Path) -> str:
    """Return the capitals that a file's name begins with: `BTC_USDT-5m` is of BTCUSDT, `bars` of nobody."""
    words = re.split(r"[^0-9A-Za-z]+", path.stem)
    capitals = []
    for word in words:
        if not re.fullmatch(r"[A-Z][0-9A-Z]+", word):
            break
        capitals.append(word)
    return "".join(capitals)


def _is_text(column: pl.Series) -> bool:
    import polars as pl

    return column.dtype == pl.String


def _time_column(table: Table, heading: str) -> tuple[str, Table]:
    """Join a date and a time of day that stand in two columns (MetaTrader, `Tarih` and `Saat`)."""
    import polars as pl

    if plain(heading) not in {"date", "tarih"} or not _is_text(table.frame[heading]):
        return heading, table
    clocks = [name for name in table.frame.columns if plain(name) in {"time", "saat"} and name != heading]
    if not clocks or not table.frame[clocks[0]].str.contains(r"^\d{1,2}:\d{2}").all():
        return heading, table
    joined = table.frame.with_columns(pl.concat_str([heading, clocks[0]], separator=" ").alias(heading))
    return heading, Table(where=table.where, frame=joined, lines=table.lines, line_numbers=table.line_numbers)


SOURCE = Files
