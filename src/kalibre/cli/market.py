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
    path: Annotated[
        Path | None, typer.Option("--path", help="CSV or Parquet file; with --source replay: plays it.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Then take in each bar as it closes.")] = False,
    live_from: Annotated[
        str | None, typer.Option("--live-from", help="Replay: where the past ends and playing begins, as 20240601.")
    ] = None,
    speed: Annotated[str | None, typer.Option("--speed", help="Replay: max, 60x or 1x the market's speed.")] = None,
    refresh: Annotated[
        bool,
        typer.Option(
            "--refresh",
            help="Read again what is stored, for corrections; so do --path, --timerange and --days without --follow.",
        ),
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Fetch bars, check them, heal gaps, and store what is sound; running it again stores nothing twice."""
    from kalibre.bars.calendars import get_calendar
    from kalibre.bars.ingest import ingest_history
    from kalibre.bars.live import ingest_live
    from kalibre.bars.playing import begin_playing
    from kalibre.bars.report import bar_text
    from kalibre.core.clock import Clock, SystemClock
    from kalibre.core.events import Tick, new_event
    from kalibre.core.protocols import LiveSource, PlayedSource
    from kalibre.core.timeframe import timeframe_ms

    settings = settings_of(config, symbols=symbol, timeframe=timeframe)
    market = settings.market
    feed = _feed(settings, source, path, live_from=live_from, speed=speed)
    if follow and not isinstance(feed, LiveSource):
        raise UsageError(
            f"source {feed.name!r} has no live stream: leave out --follow, or play it with --source replay"
        )
    calendar = get_calendar(market.calendar)
    clock: Clock = SystemClock()
    # Who names bars wants them read, known or not; who follows goes on where the log ends, after any restart.
    named = path is not None or timerange is not None or days is not None
    refresh = refresh or (named and not follow)
    with opened_log(settings) as log:
        if follow and isinstance(feed, PlayedSource):
            clock = feed.clock
            begin_playing(log, feed, market.symbols, market.timeframe)
        if follow:
            # What is back-filled after an outage is old news: the recorded clock says so before the first bar comes.
            now_ms = clock.now_ms()
            log.append([new_event("clock", now_ms, Tick(now_ms=now_ms))], writer="clock")
        with progress(as_json=as_json) as report:
            reports = []
            for name in market.symbols:
                span = _span(feed, name, market.timeframe) if days else None
                newest_ms = clock.now_ms() if span is None else span[1] + timeframe_ms(market.timeframe)
                start_ms, end_ms = time_bounds(timerange, days, newest_ms=newest_ms)
                told = ingest_history(
                    log,
                    feed,
                    name,
                    market.timeframe,
                    calendar=calendar,
                    start_ms=start_ms,
                    end_ms=end_ms,
                    clock=clock,
                    progress=partial(_read, report, name),
                    refresh=refresh,
                    relevance=settings.language.relevance,
                )
                if timerange and not told.bars_read and (span := _span(feed, name, market.timeframe)) is not None:
                    first, last = (bar_text(time, market.timeframe) for time in span)
                    told.notes.append(f"none of its bars lies in {timerange}: the source has {first} to {last}")
                reports.append(told)
        if follow:
            import asyncio

            assert isinstance(feed, LiveSource)
            with stopped_by_signal() as stopped:
                live = ingest_live(
                    log,
                    feed,
                    market.symbols,
                    market.timeframe,
                    calendar=calendar,
                    clock=clock,
                    should_stop=stopped,
                    relevance=settings.language.relevance,
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


def _span(feed: Source, symbol: str, timeframe: str) -> tuple[int, int] | None:
    """Return where a source's bars begin and end; None for one that goes on, as an exchange does."""
    from kalibre.core.protocols import StoredSource

    return feed.span(symbol, timeframe) if isinstance(feed, StoredSource) else None


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
    quarantined: Annotated[
        bool, typer.Option("--quarantined", help="List the bars that were kept aside instead, with reasons and values.")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List missing bars of the stored series and what became of them, or the bars that were kept aside."""
    from kalibre.bars.calendars import get_calendar
    from kalibre.bars.gaps import gap_rows
    from kalibre.bars.ingest import heal_gaps
    from kalibre.bars.report import bar_text
    from kalibre.core.clock import SystemClock

    settings = settings_of(config, symbols=symbol, timeframe=timeframe)
    if quarantined:
        if heal:
            raise UsageError("--heal asks for what is missing and --quarantined lists what was kept aside: give one")
        _list_quarantined(settings, as_json=as_json)
        return
    market, calendar = settings.market, get_calendar(settings.market.calendar)
    rows: list[dict[str, Any]] = []
    elsewhere = 0
    with opened_log(settings) as log:
        for name in market.symbols:
            stored_bars(log, settings, name)
            if heal:
                feed = _feed(settings, source, path)
                weights = settings.language.relevance
                heal_gaps(log, feed, name, market.timeframe, calendar=calendar, clock=SystemClock(), relevance=weights)
            found = gap_rows(log, name, market.timeframe, calendar=calendar)
            rows += [{"symbol": name, **row} for row in found]
            elsewhere += len(gap_rows(log, name, market.timeframe)) - len(found)

    def show(console: Console) -> None:
        from rich.table import Table

        names = ("symbol", "first missing", "until", "bars", "status", "reason")
        table = Table(*names, box=None, padding=(0, 2, 0, 0))
        for row in rows:
            span = (bar_text(row[side], market.timeframe) for side in ("start_ms", "end_ms"))
            table.add_row(row["symbol"], *span, str(row["missing_bars"]), row["status"], row["reason"])
        if rows:
            console.print(table)
        missing = [row["missing_bars"] for row in rows if row["status"] != "healed"]
        console.print(f"{len(missing)} gaps, {sum(missing)} bars missing", markup=False)
        if elsewhere:
            told = f"{elsewhere} more were announced under another calendar; {calendar.name} expects no bar in them"
            console.print(told, markup=False)

    emit({"gaps": rows}, as_json=as_json, show=show)


def _list_quarantined(settings: Settings, *, as_json: bool) -> None:
    from kalibre.bars.quarantine import quarantine_rows

    timeframe = settings.market.timeframe
    with opened_log(settings) as log:
        rows = [
            {"symbol": name, **row} for name in settings.market.symbols for row in quarantine_rows(log, name, timeframe)
        ]

    def show(console: Console) -> None:
        for row in rows:
            values = ", ".join(f"{name} {value}" for name, value in row["raw"].items() if name != "open_time")
            console.print(f"{row['symbol']} {row['start']} Istanbul: {row['said']}\n  {values}", markup=False)
        console.print(f"{len(rows)} bars were kept aside; none was learnt from", markup=False)

    emit({"quarantined": rows}, as_json=as_json, show=show)


def _feed(
    settings: Settings,
    source: str | None,
    path: Path | None,
    *,
    live_from: str | None = None,
    speed: str | None = None,
) -> Source:
    """Open the source that the command line names, else the settings' own with its options."""
    from kalibre.core.clock import parse_time
    from kalibre.sources import open_source

    market = settings.market
    name = source or ("files" if path and market.source != "replay" else market.source)
    own = dict(market.source_options)
    # `--path` names the file; in which dialect, symbol or time zone it is written the settings say.
    options: dict[str, Any] = own if name == market.source else {}
    if name == "replay":
        if market.source != "replay":  # the market of the settings is played, or with --path a file in its dialect
            played = "files" if path else market.source
            inner = {**(own if played == market.source else {}), **({"path": str(path)} if path else {})}
            options = {"source": played, "source_options": inner}
        elif path is not None:
            options = {key: own[key] for key in ("speed", "live_from_ms") if key in own} | {"path": str(path)}
        if live_from is not None:
            options["live_from_ms"] = parse_time(live_from)
        if speed is not None:
            options["speed"] = speed
        return open_source(name, **options)
    for option, value in (("--live-from", live_from), ("--speed", speed)):
        if value is not None:
            raise UsageError(f"{option} {value!r} is for a replay, not for {name!r}: add --source replay")
    if path is not None:
        options["path"] = path
    return open_source(name, **options)


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
    # Bars that know news show it, whether or not models are to see it yet.
    engine = FeatureEngine(feature_spec(bars, settings, news=settings.features.news or bars.news_conf is not None))
    values, columns, warm = engine.batch(bars), engine.columns, engine.warmup_bars.tolist()
    if out_path is not None:
        _write_frame(out_path, bars.open_time, columns, values)
    newest = dict(zip(columns, values[-1].tolist(), strict=True))
    warmup = dict(zip(columns, warm, strict=True))

    def show(console: Console) -> None:
        from rich.table import Table

        table = Table("column", "warm-up, bars", "newest", box=None, padding=(0, 2, 0, 0))
        for name in columns:
            table.add_row(name, f"{warmup[name]:,}", f"{newest[name]:.6g}")
        console.print(table)
        if out_path is not None:
            console.print(f"wrote {out_path}: {len(bars):,} rows", markup=False)
        console.print(f"{len(columns)} columns, {len(bars):,} bars, known from bar {max(warm):,} on", markup=False)

    result = {
        "columns": list(columns),
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
