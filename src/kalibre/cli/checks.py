"""`kalibre verify | doctor`: is everything as it should be, and if not, what mends it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kalibre.cli.base import (
    EXIT_DEGRADED,
    EXIT_FAILED,
    ConfigOption,
    DaysOption,
    JsonOption,
    SymbolOption,
    TimeframeOption,
    TimerangeOption,
    emit,
    opened_log,
    progress,
    settings_of,
    stored_bars,
)
from kalibre.core.errors import KalibreError, LogError, SettingsError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from kalibre.core.bars import Bars
    from kalibre.core.protocols import FloatArray
    from kalibre.core.settings import Settings
    from kalibre.evaluation.pipeline import Pipeline
    from kalibre.models.bundle import ModelBundle

app = typer.Typer()


@app.command()
def verify(
    what: Annotated[Literal["features", "log", "state"], typer.Argument(help="What to verify.")],
    symbol: SymbolOption = None,
    timeframe: TimeframeOption = None,
    timerange: TimerangeOption = None,
    days: DaysOption = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="features: also score, p_up and signal of this stored model.")
    ] = None,
    function: Annotated[
        str | None, typer.Option("--function", help="Yours: package.module:name, from Bars to a dict of columns.")
    ] = None,
    projection: Annotated[
        str | None, typer.Option("--of", help="state: a learner, ensemble, scorer, ... of the hub, or all.")
    ] = None,
    warmup: Annotated[int, typer.Option("--warmup", min=0, help="Bars of warm-up of the columns of --function.")] = 0,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Prove that bars to signals see no future, that the log is whole, or that replay gives what was recorded."""
    settings = settings_of(config, symbols=[symbol] if symbol else None, timeframe=timeframe)
    if model is not None and (what != "features" or function is not None):
        other = "--function" if what == "features" else f"`kalibre verify {what}`"
        raise UsageError(f"--model {model!r} does not go with {other}: it names what `kalibre verify features` proves")
    if what == "features":
        bundle = None if model is None else _bundle(settings, model, symbol, timeframe)
        series = (symbol or settings.market.symbols[0], None) if bundle is None else (bundle.symbol, bundle.timeframe)
        with opened_log(settings) as log:
            bars = stored_bars(log, settings, series[0], timeframe=series[1], timerange=timerange, days=days)
        _verify_features(settings, bars, bundle, function, warmup, as_json=as_json)
    elif what == "log":
        with opened_log(settings) as log:
            damage = log.check()
            head = log.head()
        result = {"events": head, "damage": damage}
        emit(result, as_json=as_json, show=lambda console: console.print(_lines(head, damage), markup=False))
        if damage:
            raise typer.Exit(EXIT_FAILED)
    elif projection is None:
        _verify_state(settings, as_json=as_json)
    else:
        _verify_learnt(settings, projection, as_json=as_json)


def _lines(head: int, damage: list[str]) -> str:
    return "\n".join([f"{head:,} events", *damage] if damage else [f"{head:,} events, no damage"])


def _bundle(settings: Settings, model: str, symbol: str | None, timeframe: str | None) -> ModelBundle:
    from kalibre.models.bundle import load_bundle

    bundle = load_bundle(settings.models_dir, model)
    for option, given, own in (("symbol", symbol, bundle.symbol), ("timeframe", timeframe, bundle.timeframe)):
        if given not in (None, own):
            raise UsageError(f"--{option} {given!r}: model {model!r} was trained on {own!r}; leave --{option} out")
    return bundle


def _verify_features(
    settings: Settings, bars: Bars, bundle: ModelBundle | None, function: str | None, warmup: int, *, as_json: bool
) -> None:
    from kalibre.evaluation.pipeline import verify_pipeline
    from kalibre.evaluation.verification import verify

    with progress(as_json=as_json) as report:
        if function is None:
            found = verify_pipeline(bars, _pipeline(settings, bars, bundle), progress=report)
        else:
            columns = _guarded(_imported(function), function)
            found = verify(columns, bars, warmup=dict.fromkeys(columns(bars), warmup), progress=report)
    result = {"model": None if bundle is None else bundle.model_id, **found.as_dict()}
    emit(result, as_json=as_json, show=lambda console: console.print(str(found), markup=False))
    if not found.clean:
        raise typer.Exit(EXIT_FAILED)


def _pipeline(settings: Settings, bars: Bars, bundle: ModelBundle | None) -> Pipeline:
    """Return a stored model's pipeline, or what the settings alone say: features, volatility and labels."""
    from kalibre.bars.calendars import get_calendar
    from kalibre.evaluation.materials import feature_spec, make_label, named_label
    from kalibre.evaluation.pipeline import Pipeline
    from kalibre.features.engine import FeatureEngine

    calendar = get_calendar(settings.market.calendar)
    if bundle is None:
        return Pipeline(FeatureEngine(feature_spec(bars, settings)), make_label(settings, calendar))
    return Pipeline.of_bundle(bundle, named_label(bundle.label, bundle.horizon_bars, calendar))


def _imported(name: str) -> Callable[[Bars], Mapping[str, FloatArray]]:
    """Import `package.module:name`; the current folder counts, as it does for `python -m`."""
    module, _, attribute = name.partition(":")
    sys.path.insert(0, "")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"--function {name!r} cannot be imported: {error}; write it as package.module:name") from error
    if not callable(found):
        raise UsageError(f"--function {name!r} is a {type(found).__name__}, not a function from Bars to columns")
    function: Callable[[Bars], Mapping[str, FloatArray]] = found
    return function


def _guarded(
    function: Callable[[Bars], Mapping[str, FloatArray]], name: str
) -> Callable[[Bars], Mapping[str, FloatArray]]:
    """Return the user's function such that whatever goes wrong in it is told as its own, with its line."""
    import numpy as np

    def asked(bars: Bars) -> Mapping[str, FloatArray]:
        try:
            found: Any = function(bars)
        except KalibreError:
            raise
        except Exception as error:  # it is not our code: anything may come out of it
            raise UsageError(
                f"--function {name!r} failed on {len(bars):,} bars: {type(error).__name__}: {error}{_place(error)}; it "
                "is called with shorter histories too, and has to answer NaN where it does not know"
            ) from error
        if not isinstance(found, Mapping):
            raise UsageError(
                f"--function {name!r} returned a {type(found).__name__}: it has to return columns by name, for example "
                '{"gap": bars.open / bars.close}'
            )
        columns: dict[str, FloatArray] = {}
        for column, values in found.items():
            try:
                columns[str(column)] = np.asarray(values, dtype=np.float64)
            except (TypeError, ValueError) as error:
                raise UsageError(f"--function {name!r}: column {column!r} is no array of numbers: {error}") from error
        return columns

    return asked


def _place(error: BaseException) -> str:
    """Return the file and line where an error came up."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def _verify_state(settings: Settings, *, as_json: bool) -> None:
    import msgspec

    from kalibre.log.runner import refold
    from kalibre.trading.paper import paper_projection

    with opened_log(settings) as log:
        projection = paper_projection(settings)
        read = log.progress(projection.name)
        if read is None:
            raise LogError(
                "the paper engine has never read this log, so nothing is recorded that a replay could be held against: "
                "run `kalibre paper` first, then `kalibre verify state` again"
            )
        if read.version != projection.version:
            raise LogError(
                f"the paper engine read this log as version {read.version} of code and settings, this is version "
                f"{projection.version}: run `kalibre paper`, which reads it anew, then `kalibre verify state` again"
            )
        found = refold(log, projection)

    def show(console: Console) -> None:
        equal = "yes" if found.equal else "no"
        console.print(f"recorded equals replay: {equal} ({found.events_read:,} events read)", markup=False)
        for difference in found.differences:
            console.print(f"  {difference}", markup=False)

    emit({"equal": found.equal, **msgspec.structs.asdict(found)}, as_json=as_json, show=show)
    if not found.equal:
        raise typer.Exit(EXIT_FAILED)


def _verify_learnt(settings: Settings, name: str, *, as_json: bool) -> None:
    import msgspec

    from kalibre.hub.rebuild import rebuild
    from kalibre.hub.worker import projections

    with opened_log(settings) as log, progress(as_json=as_json) as report:
        chosen = [one for one in projections(settings) if log.progress(one)] if name == "all" else [name]
        found = [rebuild(log, settings, one, progress=report) for one in chosen]
    equal = all(one.equal for one in found)

    def show(console: Console) -> None:
        for one in found:
            told = f"{one.events_read:,} events read, {one.emissions:,} emitted, {one.states} stored states compared"
            console.print(
                f"{one.projection}: learned state equals replay: {'yes' if one.equal else 'no'} ({told})\n"
                f"  state at {one.position:,}: sha256 {one.digest}",
                markup=False,
            )
            for difference in one.differences:
                console.print(f"  {difference}", markup=False)

    emit({"equal": equal, "projections": [msgspec.to_builtins(one) for one in found]}, as_json=as_json, show=show)
    if not equal:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def doctor(
    mend: Annotated[bool, typer.Option("--mend", help="First bring MLflow's aliases in line with the log.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Say what is wrong, and the command that mends it; exit code 3 if something is degraded, 1 if broken."""
    from kalibre.api.auth import check_bind
    from kalibre.hub.findings import hub_findings
    from kalibre.registry.doctor import Finding, examine
    from kalibre.registry.promotion import reconcile
    from kalibre.registry.store import Registry

    settings = settings_of(config)
    if mend:
        with opened_log(settings) as log:
            for symbol in settings.market.symbols:
                reconcile(log, Registry(settings), settings, symbol)
    findings = [*examine(settings), *hub_findings(settings)]
    try:
        check_bind(settings.api)
    except SettingsError as error:
        findings.append(Finding("server", "broken", str(error), "set [api] as it says: kalibre serve refuses to start"))
    worst = max((finding.level for finding in findings), default="ok", key=("ok", "degraded", "broken").index)

    def show(console: Console) -> None:
        from rich.table import Table
        from rich.text import Text

        colours = {"ok": "green", "degraded": "yellow", "broken": "red bold"}
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for finding in findings:
            advice = Text(f"\n{finding.mend}", style="bold") if finding.mend else Text()
            table.add_row(Text(finding.level, colours[finding.level]), finding.part, Text(finding.found) + advice)
        console.print(table)

    result = {"level": worst, "findings": [finding.as_dict() for finding in findings]}
    emit(result, as_json=as_json, show=show)
    if worst != "ok":
        raise typer.Exit(EXIT_FAILED if worst == "broken" else EXIT_DEGRADED)
