"""`kalibre ingest | gaps | features`: from the market into the log, and what is in it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kalibre.cli.base import (
    ConfigOption,
    DaysOption,
    JsonOption,
    SymbolOption,
    SymbolsOption,
    TimeframeOption,
    TimerangeOption,
    emit,
    opened_log,
    progress,
    settings_of,
    stopped_by_signal,
    stored_bars,
    time_bounds,
)
from kalibre.core.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console

    from kalibre.core.protocols import FloatArray, Source
    from kalibre.core.settings import Settings

app = typer.Typer()


@app.command()
def ingest(
    symbol: SymbolsOption = None,
    timeframe: TimeframeOption = None,
    timerange: TimerangeOption = None,
    days: DaysOption = None,
    source: Annotated[str | None, typer.Option("--source", help="A file of sources/; default: the settings'.")] = None,
    path: Annotated[Path | None, typer.Option("--path", help="CSV or Parquet file, for --source files.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Then take in each bar as it closes.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Fetch bars, check them, heal gaps, and store what is sound; running it again stores nothing twice."""
    from kalibre.bars.calendars import get_calendar
    from kalibre.bars.ingest import ingest_history
    from kalibre.bars.live import ingest_live
    from kalibre.core.clock import SystemClock
    from kalibre.core.events import Tick, new_event

    settings = settings_of(config, symbols=symbol, timeframe=timeframe)
    market, clock = settings.market, SystemClock()
    feed = _feed(settings, source, path)
    calendar = get_calendar(market.calendar)
    start_ms, end_ms = time_bounds(timerange, days, newest_ms=clock.now_ms())
    with opened_log(settings) as log:
        if follow:
            # What is back-filled after an outage is old news: the recorded clock says so before the first bar comes.
            now_ms = clock.now_ms()
            log.append([new_event("clock", now_ms, Tick(now_ms=now_ms))], writer="clock")
        with progress(as_json=as_json) as report:
            reports = [
                ingest_history(
                    log,
                    feed,
                    name,
                    market.timeframe,
                    calendar=calendar,
                    start_ms=start_ms,
                    end_ms=end_ms,
                    clock=clock,
                    progress=partial(_read, report, name),
                )
                for name in market.symbols
            ]
        if follow:
            import asyncio

            from kalibre.core.protocols import LiveSource

            if not isinstance(feed, LiveSource):
                raise UsageError(
                    f"source {feed.name!r} has no live stream: leave out --follow, or use binance or replay"
                )
            with stopped_by_signal() as stopped:
                live = ingest_live(
                    log, feed, market.symbols, market.timeframe, calendar=calendar, clock=clock, should_stop=stopped
                )
                reports.extend(asyncio.run(live).values())

    def show(console: Console) -> None:
        from rich.table import Table

        for one in reports:
            table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
            for row in one.rows():
                table.add_row(*row)
            console.print(table)

    emit({"reports": [one.as_dict() for one in reports]}, as_json=as_json, show=show)


def _read(report: Callable[[str, int, int], None], symbol: str, done: int, newest_ms: int) -> None:
    # How many bars a source will deliver is not known before it has: the bar shows what came so far.
    report(f"ingest {symbol}", done, done)


@app.command()
def gaps(
    symbol: SymbolsOption = None,
    timeframe: TimeframeOption = None,
    heal: Annotated[bool, typer.Option("--heal", help="Ask the source again for what is still missing.")] = False,
    source: Annotated[str | None, typer.Option("--source", help="A file of sources/; default: the settings'.")] = None,
    path: Annotated[Path | None, typer.Option("--path", help="CSV or Parquet file, for --source files.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List missing bars of the stored series, and what became of them."""
    from kalibre.bars.calendars import get_calendar
    from kalibre.bars.gaps import gap_rows
    from kalibre.bars.ingest import heal_gaps
    from kalibre.core.clock import SystemClock

    settings = settings_of(config, symbols=symbol, timeframe=timeframe)
    market, calendar = settings.market, get_calendar(settings.market.calendar)
    rows: list[dict[str, Any]] = []
    with opened_log(settings) as log:
        for name in market.symbols:
            stored_bars(log, settings, name)
            if heal:
                feed = _feed(settings, source, path)
                heal_gaps(log, feed, name, market.timeframe, calendar=calendar, clock=SystemClock())
            rows += [{"symbol": name, **row} for row in gap_rows(log, name, market.timeframe)]

    def show(console: Console) -> None:
        from rich.table import Table

        names = ("symbol", "start", "end", "missing_bars", "status", "reason")
        table = Table(*(name.replace("_", " ") for name in names), box=None, padding=(0, 2, 0, 0))
        for row in rows:
            table.add_row(*(str(row[name]) for name in names))
        console.print(table)
        missing = [row["missing_bars"] for row in rows if row["status"] != "healed"]
        console.print(f"{len(missing)} gaps, {sum(missing)} bars missing (Istanbul time)", markup=False)

    emit({"gaps": rows}, as_json=as_json, show=show)


def _feed(settings: Settings, source: str | None, path: Path | None) -> Source:
    """Open the source that the command line names, else the settings' own with its options."""
    from kalibre.sources import open_source

    market = settings.market
    options = dict(market.source_options) if source in (None, market.source) and path is None else {}
    if path is not None:
        options["path"] = path
    return open_source(source or ("files" if path else market.source), **options)


@app.command()
def features(
    symbol: SymbolOption = None,
    timeframe: TimeframeOption = None,
    timerange: TimerangeOption = None,
    days: DaysOption = None,
    out_path: Annotated[Path | None, typer.Option("--out", help="Write all rows to a .parquet or .csv file.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show the feature columns with their warm-up and newest value, or write all rows to a file."""
    from kalibre.evaluation.study import feature_spec
    from kalibre.features.engine import FeatureEngine

    settings = settings_of(config, symbols=[symbol] if symbol else None, timeframe=timeframe)
    with opened_log(settings) as log:
        bars = stored_bars(log, settings, settings.market.symbols[0], timerange=timerange, days=days)
    engine = FeatureEngine(feature_spec(bars, settings))
    values = engine.batch(bars)
    if out_path is not None:
        _write_frame(out_path, bars.open_time, engine.columns, values)
    newest = dict(zip(engine.columns, values[-1].tolist(), strict=True))
    warmup = dict(zip(engine.columns, engine.warmup_bars.tolist(), strict=True))

    def show(console: Console) -> None:
        from rich.table import Table

        table = Table("column", "warm-up, bars", "newest", box=None, padding=(0, 2, 0, 0))
        for name in engine.columns:
            table.add_row(name, f"{warmup[name]:,}", f"{newest[name]:.6g}")
        console.print(table)
        console.print(
            f"{len(engine.columns)} columns, {len(bars):,} bars, known from bar {engine.warmup:,} on", markup=False
        )

    result = {
        "columns": list(engine.columns),
        "warmup_bars": warmup,
        "newest": newest,
        "bars": len(bars),
        "out": out_path,
    }
    emit(result, as_json=as_json, show=show)


def _write_frame(path: Path, open_time: NDArray[np.int64], columns: tuple[str, ...], values: FloatArray) -> None:
    import polars as pl

    if path.suffix not in {".parquet", ".csv"}:
        raise UsageError(f"--out {str(path)!r} is neither .parquet nor .csv: name one of these")
    frame = pl.DataFrame({"open_time": open_time}).hstack(pl.DataFrame(values, schema=list(columns)))
    temporary = path.with_name(path.name + ".part")
    try:
        if path.suffix == ".parquet":
            frame.write_parquet(temporary)
        else:
            frame.write_csv(temporary)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UsageError(f"--out {str(path)!r} cannot be written: {error}; choose another path") from error
