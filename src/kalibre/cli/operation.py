"""`kalibre paper | serve | predict | kill`: the way of a bar while it happens."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from kalibre.cli.base import (
    EXIT_KILLED,
    ConfigOption,
    JsonOption,
    SymbolOption,
    SymbolsOption,
    TimeframeOption,
    emit,
    opened_log,
    settings_of,
    stopped_by_signal,
)
from kalibre.core.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer()


@app.command()
def paper(
    symbol: SymbolsOption = None,
    timeframe: TimeframeOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay and take each new bar as it comes.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Trade on paper what the log holds: forecasts, signals, orders, fills, for champion and challenger."""
    from kalibre.log.runner import Runner
    from kalibre.trading.paper import paper_projection

    settings = settings_of(config, symbols=symbol, timeframe=timeframe)
    with opened_log(settings) as log, stopped_by_signal() as stopped:
        runner = Runner(
            log,
            paper_projection(settings),
            snapshots_dir=settings.snapshots_dir,
            batch_size=settings.log.batch_size,
            snapshot_every_events=settings.log.snapshot_every_events,
            kill_file=settings.kill_file,
        )
        runner.recover()
        runner.follow(stopped) if follow else runner.catch_up()
        from kalibre.registry.standing import ledgers, waiting

        rows, waits = ledgers(log, settings), waiting(log, settings)

    def show(console: Console) -> None:
        from rich.table import Table

        for row in waits:
            console.print(
                f"{row['series']}: {row['bars']:,} bars wait for the word of the ensemble, which is champion; it "
                "speaks in the hub: kalibre hub up",
                markup=False,
            )
        if not rows:
            console.print("nothing was traded yet: train a model, then ingest later bars")
            return
        table = Table(box=None, padding=(0, 2, 0, 0))
        for name in ("series", "role", "model", "equity", "held", "fills", "as of"):
            table.add_column(name, overflow="fold")  # a model's id is what other verbs want typed: never cut
        for row in rows:
            table.add_row(
                *(row["series"], row["role"], row["model"] or "-", f"{row['equity']:,.2f}", f"{row['held']:.6g}"),
                *(str(row["fills"]), f"{row['as_of']} Istanbul"),
            )
        console.print(table)

    emit({"ledgers": rows, "waiting": waits}, as_json=as_json, show=show)


@app.command()
def serve(
    port: Annotated[int | None, typer.Option("--port", help="0 takes a free one; default: the settings'.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Answer over HTTP: health, predictions, model status, kill switch, metrics, events."""
    from kalibre.api.serve import serve as run

    settings = settings_of(config)
    if port is not None:
        if not 0 <= port <= 65_535:
            raise UsageError(f"--port {port} is no port: give 1 to 65535, or 0 for a free one")
        settings = settings.model_copy(update={"api": settings.api.model_copy(update={"port": port})})
    run(settings, as_json=as_json)


@app.command()
def predict(
    symbol: SymbolOption = None,
    timeframe: TimeframeOption = None,
    shadow: Annotated[bool, typer.Option("--shadow", help="Also what the challenger would say.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Say what the champion makes of the newest stored bar, as the server would."""
    import msgspec

    from kalibre.api.service import predict_once

    settings = settings_of(config, symbols=[symbol] if symbol else None, timeframe=timeframe)
    answer = msgspec.to_builtins(predict_once(settings, settings.market.symbols[0], shadow=shadow))

    def show(console: Console) -> None:
        p_up = "unknown" if answer["p_up"] is None else f"{answer['p_up']:.3f}"
        at = "no bar" if answer["as_of"] is None else f"as of {answer['as_of']}"
        console.print(f"{answer['symbol']}: {answer['signal']}, p_up {p_up}, {at}", markup=False)
        for reason in answer["reasons"]:
            console.print(f"  {reason}", markup=False)
        other = answer.get("challenger")
        if other is not None:
            p_up = "unknown" if other["p_up"] is None else f"{other['p_up']:.3f}"
            console.print(f"  challenger {other['model']}: {other['signal']}, p_up {p_up}", markup=False)
        elif shadow:
            console.print("  no challenger: nothing runs in shadow", markup=False)

    emit(answer, as_json=as_json, show=show)


@app.command()
def kill(
    reason: Annotated[str, typer.Argument(help="Why; recorded.")] = "",
    release: Annotated[bool, typer.Option("--release", help="Let trading go on.")] = False,
    flatten: Annotated[bool, typer.Option("--flatten", help="Also sell what is held, at the next open.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Only ask; exit code 4 if it is engaged.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Stop all orders at once; works with the server down. Positions are kept unless --flatten."""
    from dataclasses import asdict

    from kalibre.core.clock import SystemClock, to_text
    from kalibre.trading.kill_switch import KillSwitch, pull

    _check_kill(reason, release=release, flatten=flatten, status=status)
    settings = settings_of(config)
    person, clock = getpass.getuser(), SystemClock()
    if release or status:
        with opened_log(settings) as log:
            switch = KillSwitch(log, settings.kill_file, clock)
            state = switch.release(by=person) if release else switch.state()
    else:
        state = pull(lambda: opened_log(settings), settings.kill_file, clock, by=person, reason=reason, flatten=flatten)

    def show(console: Console) -> None:
        since = "" if state.since_ms is None else f" since {to_text(state.since_ms)} (Istanbul time)"
        if not state.engaged:
            console.print(f"released{since}: the policy decides", markup=False)
            return
        kept = "what is held is sold at the next open" if state.flatten else "positions are kept"
        why = f": {state.reason}" if state.reason else ""
        console.print(f"engaged by {state.by}{since}{why}\nnothing is ordered, {kept}", markup=False)
        if state.file_present:
            console.print(f"the kill file is there: rm {settings.kill_file} before a release", markup=False)

    emit({**asdict(state), "file": settings.kill_file}, as_json=as_json, show=show)
    if status and state.engaged:
        raise typer.Exit(EXIT_KILLED)


def _check_kill(reason: str, *, release: bool, flatten: bool, status: bool) -> None:
    """Refuse words that contradict each other: none may be passed over where orders are at stake."""
    if release and status:
        raise UsageError("--status only asks and --release lets trading go on: give one")
    asked = "--status" if status else "--release"
    if flatten and (release or status):
        raise UsageError(
            f"--flatten sells what is held when the switch is engaged, {asked} does not engage it: leave one out"
        )
    if reason and (release or status):
        raise UsageError(f"{asked} records no reason ({reason!r}): leave it out, or engage without {asked}")
