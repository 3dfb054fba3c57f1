"""`kalibre news ...`: headlines scored, recorded, and judged for whether they help."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kalibre.cli._help import Verb, Verbs
from kalibre.cli._texts import scored_by, texts_of
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
    stored_bars,
)
from kalibre.core.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from kalibre.core.settings import Settings
    from kalibre.language.headlines.cache import CacheStats, ScoreCache
    from kalibre.language.headlines.score import Score

app = typer.Typer()
news = typer.Typer(cls=Verbs, no_args_is_help=True, help="Headlines: score and record them, and see whether they help.")
app.add_typer(news, name="news")

ScorerModel = Annotated[
    str | None,
    typer.Option("--model", "-m", help="builtin:fast, builtin:encoder, a folder, or a hub id; default: the settings'."),
]

_NAMES = {"text": ("title", "headline", "baslik", "başlık"), "published": ("date", "time", "tarih", "datetime")}


@news.command(cls=Verb)
def score(
    texts: Annotated[list[str] | None, typer.Argument(help="Headlines, each in quotes.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="CSV, JSON lines (text, published, source) or plain lines.")
    ] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Put headlines and scores into the log; each needs `published`.")
    ] = False,
    trained_until: Annotated[
        str, typer.Option("--trained-until", help="Date of the newest text that an endpoint's model learnt from.")
    ] = "",
    model: ScorerModel = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Score headlines: asset, impact, horizon and confidence, or why there is no score."""
    from kalibre.language.headlines.scoring import scored, scorer_of

    settings = scored_by(settings_of(config), model)
    rows = [{"text": text, "published": "", "source": "", "url": ""} for text in texts_of(texts)]
    if file is not None:
        from kalibre.language.rows import read_rows

        rows += read_rows(file, ("text",), ("published", "source", "url"), also=_NAMES)
    if not rows:
        raise UsageError('there is no headline: give one in quotes, or a file with --file, as in news score "..."')
    with progress(as_json=as_json) as report:
        results = scored(
            [row["text"] for row in rows],
            universe=settings.language.universe or None,
            scorer=scorer_of(settings),
            cache=_cache(settings),
            on_batch=lambda done, total: report("headlines", done, total),
        )
    stored = _record(settings, rows, results, trained_until) if record else None

    def show(console: Console) -> None:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, padding=(0, 2, 0, 0))
        for name in ("asset", "impact", "horizon", "confidence", "reused", "headline"):
            table.add_column(name, justify="right" if name in {"impact", "confidence"} else "left")
        for row, (one, reuse) in zip(rows, results, strict=True):
            said = _row(one)
            table.add_row(
                *said, reuse or "-", Text(row["text"][:100] + (f"  ({one.abstained})" if one.abstained else ""))
            )
        console.print(table)
        if stored is not None:
            console.print(f"recorded {stored['headlines']} headlines and {stored['scores']} scores", markup=False)
            if stored["scores"]:
                console.print("bars to come know them; bars already stored: `kalibre news join`", markup=False)

    found = [
        {"text": row["text"], **_plain(one), "reused": reuse} for row, (one, reuse) in zip(rows, results, strict=True)
    ]
    emit({"results": found, "recorded": stored}, as_json=as_json, show=show)


@news.command(cls=Verb)
def cache(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show how many headlines the cache has answered, exact repetitions and near-duplicates apart."""
    stats: CacheStats = _cache(settings_of(config)).stats()

    def show(console: Console) -> None:
        rate = "-" if stats.hit_rate is None else f"{stats.hit_rate:.1%}"
        console.print(
            f"{stats.lookups:,} lookups: {stats.exact_hits:,} exact hits, {stats.near_hits:,} near hits, "
            f"{stats.misses:,} misses; hit rate {rate}; {stats.entries:,} entries",
            markup=False,
        )

    emit({**asdict(stats), "hit_rate": stats.hit_rate}, as_json=as_json, show=show)


@news.command(cls=Verb)
def join(
    symbol: SymbolsOption = None,
    timeframe: TimeframeOption = None,
    timerange: TimerangeOption = None,
    days: DaysOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Write what recorded headlines said by then on bars that were stored before them."""
    from kalibre.bars.bar_news import join_news
    from kalibre.bars.calendars import get_calendar
    from kalibre.bars.news import relevance_for
    from kalibre.core.clock import SystemClock

    settings = settings_of(config, symbols=symbol, timeframe=timeframe)
    calendar, rows = get_calendar(settings.market.calendar), []
    with opened_log(settings) as log:
        for name in settings.market.symbols:
            bars = stored_bars(log, settings, name, timerange=timerange, days=days)
            done = join_news(
                log,
                name,
                settings.market.timeframe,
                relevance=relevance_for(settings, name),
                calendar=calendar,
                clock=SystemClock(),
                start_ms=int(bars.open_time[0]),
                end_ms=int(bars.open_time[-1]) + 1,
            )
            rows.append({"symbol": name, **asdict(done)})

    def show(console: Console) -> None:
        for row in rows:
            console.print(f"{row['symbol']}: news of {row['changed']:,} of {row['bars']:,} bars written", markup=False)
            if row["refused_scores"]:
                console.print(
                    f"  {row['refused_scores']:,} scores left out: their scorer learnt from texts that are newer than "
                    "the headline, or does not say from which; train one on labels dated before (`kalibre nlp train "
                    "sentiment FILE --until DATE`) and score the archive with it",
                    markup=False,
                )

    emit({"series": rows}, as_json=as_json, show=show)


@news.command(cls=Verb)
def backtest(
    symbol: SymbolOption = None,
    timeframe: TimeframeOption = None,
    timerange: TimerangeOption = None,
    days: DaysOption = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Headlines (text, published) to score now; default: the log's.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels", help="Dated labels (text, label, date): a scorer is trained on those before the window."
        ),
    ] = None,
    placebos: Annotated[int, typer.Option("--placebos", min=0, max=999, help="Turns of the news in time.")] = 19,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Say whether headlines help to forecast: helps, hurts, or cannot tell."""
    from kalibre.bars.calendars import get_calendar
    from kalibre.bars.news import relevance_for
    from kalibre.language.headlines.backtest import news_backtest
    from kalibre.language.headlines.history import dated_scores

    settings = settings_of(config, symbols=[symbol] if symbol else None, timeframe=timeframe)
    chosen = settings.market.symbols[0]
    calendar = get_calendar(settings.market.calendar)
    relevance = relevance_for(settings, chosen)
    with opened_log(settings) as log, progress(as_json=as_json):
        bars = stored_bars(log, settings, chosen, timerange=timerange, days=days)
        scores = dated_scores(log, settings, file=file, labels=labels, calendar=calendar)
        found = news_backtest(
            bars,
            scores.scores,
            settings,
            calendar,
            relevance=relevance,
            trained_until_ms=scores.trained_until_ms,
            placebos=placebos,
        )

    def show(console: Console) -> None:
        from rich.text import Text

        style = {"helps": "green bold", "hurts": "red bold"}.get(found.verdict, "yellow bold")
        console.print(Text(f"{chosen} {bars.timeframe}: {found.verdict}", style=style))
        console.print(found.reason, markup=False)
        console.print(
            f"{found.n_headlines:,} headlines, {found.n_stories:,} stories, news known on {found.coverage:.1%} of "
            f"{len(bars):,} bars; scored by {scores.model}",
            markup=False,
        )
        if found.gain is not None:
            console.print(
                f"log-loss without news {found.log_loss_without:.5f}, with news {found.log_loss_with:.5f}, on "
                f"{found.n_forecasts:,} forecasts out of sample",
                markup=False,
            )

    emit(
        {"symbol": chosen, "timeframe": bars.timeframe, "model": scores.model, **asdict(found)},
        as_json=as_json,
        show=show,
    )


def _cache(settings: Settings) -> ScoreCache:
    from kalibre.language.headlines.cache import ScoreCache

    return ScoreCache(settings.home / "language" / "headlines.sqlite")


def _record(settings: Settings, rows: list[dict[str, str]], results: list[Any], trained: str) -> dict[str, int]:
    from kalibre.bars.calendars import get_calendar
    from kalibre.language.headlines.history import trained_until
    from kalibre.language.headlines.publication import known_ms
    from kalibre.language.headlines.recording import Published, record

    if (missing := next((row["text"] for row in rows if not row["published"]), None)) is not None:
        raise UsageError(f"{missing[:60]!r} says no `published`: what is recorded needs its time; add that column")
    told = [Published(row["text"], row["published"], row["source"] or "file", row["url"]) for row in rows]
    calendar = get_calendar(settings.market.calendar)
    until = known_ms(trained, get_calendar("24/7")) if trained else trained_until(settings)
    with opened_log(settings) as log:
        stored = record(log, told, results, calendar=calendar, trained_until_ms=until)
    return {"headlines": stored.headlines, "scores": stored.scores}


def _row(one: Score) -> tuple[str, str, str, str]:
    if one.impact is None or one.confidence is None:
        return "-", "-", "-", "-"
    return one.asset or "-", f"{one.impact:+.2f}", one.horizon or "-", f"{one.confidence:.2f}"


def _plain(one: Score) -> dict[str, Any]:
    return {
        "asset": one.asset,
        "impact": one.impact,
        "horizon": one.horizon,
        "confidence": one.confidence,
        "also": [{"asset": other.asset, "impact": other.impact} for other in one.also],
        "language": one.language,
        "abstained": one.abstained,
        "model": one.model,
    }
