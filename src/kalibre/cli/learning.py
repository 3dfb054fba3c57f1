"""`kalibre train | calibrate | backtest | report`: from stored bars to a judged model, and what is known about it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kalibre.cli.base import (
    ConfigOption,
    DaysOption,
    JsonOption,
    ModelOption,
    SymbolOption,
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
    from rich.table import Table

app = typer.Typer()
_STYLES = {"passed": "green", "failed": "red bold"}
_FIGURES = (
    *(("return", "total_return", "{:.1%}"), ("sharpe", "sharpe", "{:.2f}"), ("max_drawdown", "max_drawdown", "{:.1%}")),
    *(("win_rate", "win_rate", "{:.1%}"), ("trades", "n_trades", "{:,}"), ("exposure", "exposure", "{:.1%}")),
    ("turnover", "turnover", "{:.1f}"),
)
"""Word, name and form of each figure of a backtest."""


@app.command()
def train(
    symbol: SymbolOption = None,
    timeframe: TimeframeOption = None,
    timerange: TimerangeOption = None,
    days: DaysOption = None,
    explore: Annotated[
        bool, typer.Option("--explore", help="Keep the final window unseen: judge on the walk-forward only.")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Train, calibrate and judge a model on stored bars; it is stored, promoting it is another command."""
    settings = settings_of(config, symbols=[symbol] if symbol else None, timeframe=timeframe)
    chosen = settings.market.symbols[0]
    from kalibre.registry.candidates import train_candidate
    from kalibre.registry.promotion import promote
    from kalibre.registry.store import Registry

    with opened_log(settings) as log, progress(as_json=as_json) as report:
        bars = stored_bars(log, settings, chosen, timerange=timerange, days=days)
        candidate = train_candidate(log, bars, settings, final=not explore, progress=report)
        study = candidate.study
        if not study["qualifies"] and not explore:
            # What does not qualify runs in shadow, on a ledger of its own; the policy does not follow it.
            note = "did not qualify"
            registry = Registry(settings)
            promote(log, registry, settings, study["model_id"], note=note, by="train", alias="challenger")

    from kalibre.evaluation.materials import feature_spec
    from kalibre.evaluation.study import bars_to_qualify, few_bars
    from kalibre.features.engine import FeatureEngine

    horizon, warmup = study["horizon_bars"], FeatureEngine(feature_spec(bars, settings)).warmup

    def show(console: Console) -> None:
        show_verdict(console, study, lang=settings.lang)
        if len(bars) < bars_to_qualify(horizon, warmup):
            console.print(few_bars(bars, horizon, warmup), markup=False)
        console.print(f"model  {study['model_id']}", markup=False)
        console.print(f"next   kalibre report --model {study['model_id']}", markup=False)
        if study["qualifies"]:
            console.print(f'       kalibre promote {study["model_id"]} "why you trust it"', markup=False)

    emit(study_summary(study), as_json=as_json, show=show)


def study_summary(study: Mapping[str, Any]) -> dict[str, Any]:
    """Return a study without its sweep and curves, which only pictures need."""
    summary = {key: value for key, value in study.items() if key not in {"thresholds", "walk_forward", "final"}}
    for window in ("walk_forward", "final"):
        figures = study[window]
        summary[window] = figures and {key: value for key, value in figures.items() if key != "curve"}
    return summary


def show_verdict(console: Console, study: Mapping[str, Any], *, lang: str) -> None:
    """Print the verdict and every gate with its figure."""
    from rich.text import Text

    from kalibre.evaluation.report import verdict

    console.print(Text(f"{study['symbol']} {study['timeframe']}: {verdict(study, lang)}", style="bold"))
    console.print(gate_table(study, lang=lang))


def gate_table(study: Mapping[str, Any], *, lang: str) -> Table:
    """Return every gate of a study as a table."""
    from rich.table import Table
    from rich.text import Text

    from kalibre.evaluation.report_words import WORDS

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for gate in study["gates"]:
        word = "passed" if gate["passed"] else "failed"
        mark = Text(WORDS[lang][word], style=_STYLES[word])
        table.add_row(mark, gate["name"], Text(gate["explanation_tr" if lang == "tr" else "explanation"]))
    return table


@app.command()
def report(
    model: ModelOption = None,
    symbol: SymbolOption = None,
    folder: Annotated[Path | None, typer.Option("--folder", help="Where to write; default: reports in home.")] = None,
    lang: Annotated[str | None, typer.Option("--lang", help="en or tr; default: the settings'.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Write the report of a model: one HTML file and its pictures."""
    from kalibre.evaluation.report import write_report
    from kalibre.registry.candidates import load_study, model_of

    settings = settings_of(config, symbols=[symbol] if symbol else None)
    with opened_log(settings) as log:
        chosen = model or model_of(log, settings)
    study = load_study(settings, chosen)
    path = write_report([study], folder or settings.home / "reports" / chosen, lang=lang or settings.lang)
    emit(
        {"model": chosen, "report": path}, as_json=as_json, show=lambda console: console.print(str(path), markup=False)
    )


@app.command()
def backtest(
    model: ModelOption = None,
    symbol: SymbolOption = None,
    timerange: TimerangeOption = None,
    days: DaysOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Trade a stored model on stored bars; says which of them it had learnt from."""
    from kalibre.bars.funding import load_funding, missing_funding
    from kalibre.models.bundle import load_bundle
    from kalibre.registry.candidates import backtest_bundle, load_study, model_of

    settings = settings_of(config, symbols=[symbol] if symbol else None)
    with opened_log(settings) as log:
        chosen = model or model_of(log, settings)
        bundle = load_bundle(settings.models_dir, chosen)
        bars = stored_bars(
            log, settings, symbol or bundle.symbol, timeframe=bundle.timeframe, timerange=timerange, days=days
        )
        funding, missing = load_funding(log, bars), missing_funding(log, bars)
        study = load_study(settings, chosen)
        outcome = backtest_bundle(
            bundle,
            bars,
            calendar=settings.market.calendar,
            study=study,
            log=log,
            funding=funding,
            funding_missing=missing,
        )

    later = bars.open_time[bars.close_time > study["end_ms"]]

    def show(console: Console) -> None:
        _show_backtest(console, outcome, later_ms=int(later[0]) if len(later) else None, lang=settings.lang)

    emit(outcome, as_json=as_json, show=show)


def _show_backtest(console: Console, outcome: Mapping[str, Any], *, later_ms: int | None, lang: str) -> None:
    """Print the figures beside buy and hold, and before them whether they can prove anything."""
    from rich.table import Table

    from kalibre.core.clock import to_text
    from kalibre.evaluation.report_words import WORDS

    words, bars, seen = WORDS[lang], outcome["bars"], outcome["bars_seen_by_its_study"]
    told = "out_of_sample" if not seen else "in_sample" if later_ms is None else "partly_in_sample"
    later = "" if later_ms is None else to_text(later_ms)
    console.print(outcome["model"], markup=False)
    console.print(words[told].format(bars=f"{bars:,}", seen=f"{seen:,}", later=later), markup=False)
    hold = outcome["buy_and_hold"]
    table = Table("", words["model"], words["buy_and_hold"], box=None, padding=(0, 2, 0, 0))
    for word, name, form in _FIGURES:
        table.add_row(words[word], *(_cell(one, name, form) for one in (outcome, hold)))
    console.print(table)
    funding = outcome["funding"]
    if funding["bars_due"]:
        console.print(f"{words['funding']}: {funding['paid']:,.2f} ({funding['bars_charged']}/{funding['bars_due']})")
    if funding["note"]:
        console.print(f"{words['funding']}: {funding['note']}", markup=False)


def _cell(figures: Mapping[str, Any], name: str, form: str) -> str:
    # A share of no trades is no share.
    return "-" if name == "win_rate" and not figures["n_trades"] else form.format(figures[name])


@app.command()
def calibrate(
    model: ModelOption = None,
    symbol: SymbolOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Check a model's calibration on bars later than its own, and store a recalibrated version."""
    from kalibre.models.bundle import load_bundle
    from kalibre.registry.candidates import load_study, model_of
    from kalibre.registry.recalibration import recalibrate

    settings = settings_of(config, symbols=[symbol] if symbol else None)
    with opened_log(settings) as log:
        chosen = model or model_of(log, settings)
        bundle = load_bundle(settings.models_dir, chosen)
        if symbol is not None and symbol != bundle.symbol:
            raise UsageError(f"model {chosen!r} was trained on {bundle.symbol}, not on {symbol!r}: leave --symbol out")
        bars = stored_bars(log, settings, bundle.symbol, timeframe=bundle.timeframe)
        outcome = recalibrate(log, bundle, bars, settings, study=load_study(settings, chosen))

    def show(console: Console) -> None:
        before, after = outcome["before"], outcome["after"]
        console.print(
            f"on {outcome['n_samples']:,} later forecasts\n"
            f"ECE before  {before['ece']:.4f}  (band {before['band'][0]:.4f} - {before['band'][1]:.4f})\n"
            f"ECE after   {after['ece']:.4f}  (band {after['band'][0]:.4f} - {after['band'][1]:.4f})\n"
            f"stored as   {outcome['model']}: run it in shadow by `kalibre promote ID NOTE --challenger`",
            markup=False,
        )

    emit(outcome, as_json=as_json, show=show)
