"""`kalibre hub ...`: the learners that never stop, started, watched and steered."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kalibre.cli._help import Verb, Verbs
from kalibre.cli._hub_steering import verbs as steering
from kalibre.cli._hub_watching import verbs as watching
from kalibre.cli.base import (
    ConfigOption,
    JsonOption,
    SymbolsOption,
    TimeframeOption,
    TimerangeOption,
    emit,
    opened_log,
    settings_of,
)
from kalibre.core.errors import UsageError

if TYPE_CHECKING:
    pass

app = typer.Typer()
hub = typer.Typer(cls=Verbs, no_args_is_help=True, help="Learners that never stop: start, watch and steer them.")
app.add_typer(hub, name="hub")


@hub.command(cls=Verb)
def up(
    symbol: SymbolsOption = None,
    timeframe: TimeframeOption = None,
    replay: Annotated[
        Path | None, typer.Option("--replay", help="Play a stored history instead of the market.")
    ] = None,
    speed: Annotated[str, typer.Option("--speed", help="Of a replay: max, 60x or 1x the market's speed.")] = "max",
    folder: Annotated[Path | None, typer.Option("--folder", help="Home of a replay; default: in home/replay.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Of the page; 0 takes a free one.")] = None,
    once: Annotated[bool, typer.Option("--once", help="End when a replay has been played and read.")] = False,
    learners: Annotated[
        bool, typer.Option("--learners/--no-learners", help="Without them each runs by itself: hub worker NAME.")
    ] = True,
    config: ConfigOption = None,
) -> None:
    """Start everything: ingest, learners, ensemble, scorer, jobs, alerts, server and page."""
    from kalibre.hub.replays import environment_of, replay_settings
    from kalibre.hub.up import up as run

    settings = settings_of(config, symbols=symbol, timeframe=timeframe)
    if port is not None:
        settings = settings.model_copy(update={"api": settings.api.model_copy(update={"port": port})})
    if replay is not None:
        settings = replay_settings(settings, replay, speed=speed, folder=folder)
    elif once:
        raise UsageError("--once ends with a replay, and the market does not end: add --replay FILE")
    environment = environment_of(settings, ["market"])
    environment["KALIBRE_API__PORT"] = str(settings.api.port)
    run(settings, config=config, environment=environment, once=once, learners=learners, say=say)


_ANNOUNCED = "kalibre-hub "


def say(name: str, line: str) -> None:
    """Show what a worker says: where the page is as such, the rest with its name."""
    if line.startswith(_ANNOUNCED):
        told = json.loads(line.removeprefix(_ANNOUNCED))
        sys.stderr.write(
            f"the hub runs; its page: {told['address']}\nlog in once at: {told['login']}\nstop with Ctrl-C\n"
        )
    else:
        sys.stderr.write(f"{name}: {line}\n")
    sys.stderr.flush()


@hub.command(cls=Verb)
def worker(
    name: Annotated[str, typer.Argument(help="ingest, learners, judges, jobs, outbox, api, or one projection.")],
    config: ConfigOption = None,
) -> None:
    """Run one worker: what the supervisor, PM2, systemd and compose start."""
    from kalibre.hub.services import niceness
    from kalibre.hub.worker_process import adopt

    settings = settings_of(config)
    with adopt(name, settings.home / "run", nice=niceness(name, settings)) as process:
        if name == "api":
            from kalibre.api.serve import serve
            from kalibre.hub.services import announce

            serve(settings, announce=lambda line: None, beat=process.beat, login=announce)
            return
        from kalibre.hub.services import run_worker

        run_worker(name, settings, process)


@hub.command(cls=Verb)
def login(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Print a fresh address that logs you in to the page once, within an hour; the server goes on undisturbed."""
    from kalibre.api.logins import Logins, address_of, logins_dir
    from kalibre.api.sessions import LOGIN_PATH
    from kalibre.core.clock import SystemClock
    from kalibre.hub.up import run_dir

    settings = settings_of(config)
    address = address_of(run_dir(settings))
    told = f"{address}{LOGIN_PATH}?token={Logins(logins_dir(settings.home), SystemClock()).new()}"
    emit({"address": address, "login": told}, as_json=as_json, show=lambda console: console.print(told, markup=False))


@hub.command(cls=Verb)
def export(
    what: Annotated[Literal["predictions", "metrics", "training"], typer.Argument(help="What to write.")],
    path: Annotated[Path, typer.Argument(help="File to write: .jsonl or .parquet.")],
    timerange: TimerangeOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Write forecasts with their outcomes, performance or training history for any time range."""
    from kalibre.core.clock import parse_timerange
    from kalibre.hub.exports import export as write

    settings = settings_of(config)
    start_ms, end_ms = parse_timerange(timerange) if timerange else (None, None)
    form = path.suffix.lstrip(".")
    if form not in ("jsonl", "parquet"):
        raise UsageError(f"{str(path)!r} is neither .jsonl nor .parquet: name one of these")
    with opened_log(settings) as log:
        rows = write(log, what, form, path, start_ms=start_ms, end_ms=end_ms)
    emit(
        {"rows": rows, "path": path},
        as_json=as_json,
        show=lambda console: console.print(f"wrote {rows:,} rows to {path}", markup=False),
    )


hub.registered_commands.extend([*watching.registered_commands, *steering.registered_commands])
