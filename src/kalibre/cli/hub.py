"""`kalibre hub ...`: the learners that never stop, started, watched and steered."""

from __future__ import annotations

import json
import sys
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kalibre.cli._help import Verb, Verbs
from kalibre.cli.base import (
    EXIT_DEGRADED,
    ConfigOption,
    JsonOption,
    SymbolOption,
    SymbolsOption,
    TimeframeOption,
    TimerangeOption,
    emit,
    opened_log,
    settings_of,
)
from kalibre.core.errors import HubError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from kalibre.core.settings import Settings

app = typer.Typer()
hub = typer.Typer(cls=Verbs, no_args_is_help=True, help="Learners that never stop: start, watch and steer them.")
app.add_typer(hub, name="hub")

LearnerArgument = Annotated[str, typer.Argument(help="A learner: its file in learners/.")]
ReasonArgument = Annotated[str, typer.Argument(help="Why; recorded.")]


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
    run(settings, config=config, environment=environment, once=once, say=say)


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
    from kalibre.hub.worker_process import adopt

    settings = settings_of(config)
    with adopt(name, settings.home / "run") as process:
        if name == "api":
            from kalibre.api.serve import serve
            from kalibre.hub.services import announce

            serve(settings, announce=lambda line: None, beat=process.beat, login=announce)
            return
        from kalibre.hub.services import run_worker

        run_worker(name, settings, process)


# --- watching ---------------------------------------------------------------------------------------------------------


@hub.command(cls=Verb)
def status(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show workers with the age of their heartbeats, and how far each projection has read; exit code 3 if one fails."""
    from kalibre.hub.roster import roster
    from kalibre.hub.up import behind, readers, run_dir

    settings = settings_of(config)
    workers = [
        {
            "worker": seen.name,
            "phase": seen.beat.phase,
            "age_s": round(seen.age_s, 1),
            "pid": seen.beat.pid,
            "restarts": seen.beat.restarts,
            "memory_mb": round(seen.beat.rss_bytes / 1_048_576),
            "cpu_s": round(seen.beat.cpu_s, 1),
        }
        for seen in roster(run_dir(settings))
    ]
    with opened_log(settings) as log:
        reading = readers(settings)
        late = behind(log, reading)
        places = [
            {
                "projection": name,
                "position": progress.seq if (progress := log.progress(name)) else 0,
                "behind": late.get(name, 0),
            }
            for name in reading
        ]
        head = log.head()
    silent = [row["worker"] for row in workers if row["phase"] != "stopped" and float(str(row["age_s"])) > 30]

    def show(console: Console) -> None:
        from rich.table import Table

        for rows in (workers, places):
            table = Table(*(rows[0] if rows else ()), box=None, padding=(0, 2, 0, 0))
            for row in rows:
                table.add_row(*map(str, row.values()))
            if rows:
                console.print(table)
                console.print()
        if not workers:
            console.print("no worker has run in this home: start the hub with `kalibre hub up`")
        console.print(f"{head:,} events in the log")

    emit({"workers": workers, "projections": places, "head": head, "silent": silent}, as_json=as_json, show=show)
    if silent or not workers:
        raise typer.Exit(EXIT_DEGRADED)


@hub.command(cls=Verb)
def show(
    learner: LearnerArgument, symbol: SymbolOption = None, as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Show what a learner has learnt so far, from its newest snapshot."""
    from kalibre.hub.looks import learnt

    settings = settings_of(config, symbols=[symbol] if symbol else None)
    found = learnt(settings, learner)

    def print_it(console: Console) -> None:
        for key, told in found["series"].items():
            console.print(f"[bold]{learner}[/bold] on {key}, as of {told['as_of'] or 'no bar'}")
            for name, value in told["figures"].items():
                console.print(f"  {name}: {'unknown' if value is None else format(value, '.6g')}", markup=False)
            _print_learnt(console, told["learnt"])

    emit(found, as_json=as_json, show=print_it)


def _print_learnt(console: Console, told: dict[str, Any]) -> None:
    """Print what a learner shows: a list of rows as a table, everything else as it is."""
    from rich.table import Table

    for name, value in told.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            table = Table(*value[0], title=name, title_justify="left", box=None, padding=(0, 2, 0, 0))
            for row in value:
                table.add_row(*(format(cell, ".4g") if isinstance(cell, float) else str(cell) for cell in row.values()))
            console.print(table)
        else:
            console.print(f"  {name}: {value}", markup=False)


@hub.command(cls=Verb)
def league(symbol: SymbolOption = None, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show the league: each forecaster beside dummies that know nothing."""
    import msgspec

    from kalibre.core.clock import to_text
    from kalibre.core.events import series_key
    from kalibre.core.hub_events import League

    settings = settings_of(config, symbols=[symbol] if symbol else None)
    tables = {}
    with opened_log(settings) as log:
        for name in settings.market.symbols:
            found = log.latest("league", key=series_key(name, settings.market.timeframe), by="event_time")
            if found is not None and isinstance(found.payload, League):
                tables[name] = {"as_of_ms": found.event_time, **msgspec.to_builtins(found.payload)}

    def print_it(console: Console) -> None:
        from rich.table import Table

        if not tables:
            console.print("nobody has been judged yet: the first table comes when forecasts have matured")
        for name, told in tables.items():
            title = f"{name}, newest {told['window']:,} forecasts, as of {to_text(told['as_of_ms'])} Istanbul"
            table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
            for column in ("forecaster", "n", "log-loss", "accuracy", "ECE", "edge (95 %), 1e-4", "marginal, 1e-4", ""):
                table.add_column(column, justify="left" if column in ("forecaster", "") else "right")
            for row in told["rows"]:
                table.add_row(*_standing(row))
            console.print(table)

    emit({"league": tables}, as_json=as_json, show=print_it)


def _standing(row: dict[str, Any]) -> tuple[str, ...]:
    def told(value: float | None, form: str) -> str:
        return "–" if value is None else format(value, form)

    edge = "–"
    if row["edge"] is not None:
        edge = " ".join(
            (told(1e4 * row["edge"], "+.1f"), f"({1e4 * row['edge_low']:+.1f} to {1e4 * row['edge_high']:+.1f})")
        )
    marginal = None if row["marginal"] is None else 1e4 * row["marginal"]
    kind = "dummy" if row["dummy"] else "benched" if row["benched"] else ""
    return (
        row["name"],
        f"{row['n']:,}",
        *(told(row[name], ".4f") for name in ("log_loss", "accuracy", "ece")),
        edge,
        told(marginal, "+.2f"),
        kind,
    )


@hub.command(cls=Verb)
def checkpoints(learner: LearnerArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List a learner's checkpoints, newest first."""
    from kalibre.core.clock import to_text
    from kalibre.hub.checkpoints import checkpoints_of

    settings = settings_of(config)
    _known(settings, learner)
    rows = [
        {
            "digest": one.digest,
            "position": one.about.position,
            "made": to_text(one.made_ms),
            "bytes": one.size_bytes,
            "pinned": one.pinned,
        }
        for one in checkpoints_of(settings, learner).all()
    ]

    def print_it(console: Console) -> None:
        from rich.table import Table

        table = Table("checkpoint", "position", "made, Istanbul", "size", "", box=None, padding=(0, 2, 0, 0))
        for row in rows:
            size = f"{int(str(row['bytes'])) / 1024:,.0f} kB"
            pinned = "pinned" if row["pinned"] else ""
            table.add_row(str(row["digest"])[:12], f"{row['position']:,}", str(row["made"]), size, pinned)
        console.print(table if rows else f"{learner} has none yet: ask for one with `kalibre hub checkpoint {learner}`")

    emit({"checkpoints": rows}, as_json=as_json, show=print_it)


# --- steering ---------------------------------------------------------------------------------------------------------


def _known(settings: Settings, learner: str) -> None:
    from kalibre.learners.base import enabled_learners

    names = enabled_learners(settings)
    if learner not in names:
        raise HubError(f"learner {learner!r} is not in this hub: choose one of {', '.join(names)}")


def _command(
    learner: str,
    verb: Literal["pause", "resume", "reset", "restore", "checkpoint"],
    reason: str,
    *,
    checkpoint: str,
    as_json: bool,
    config: Path | None,
) -> None:
    from kalibre.hub.commands import record_command

    settings = settings_of(config)
    _known(settings, learner)
    with opened_log(settings) as log:
        event = record_command(log, settings, learner, verb, by=getuser(), reason=reason, checkpoint=checkpoint)
    told = {"learner": learner, "verb": verb, "position": event.seq, "checkpoint": event.payload.checkpoint}  # type: ignore[attr-defined]
    words = f"recorded at {event.seq:,}: {verb} {learner}; it is obeyed at its place among the bars"
    emit(told, as_json=as_json, show=lambda console: console.print(words, markup=False))


@hub.command(cls=Verb)
def pause(
    learner: LearnerArgument, reason: ReasonArgument = "", as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Let a learner neither learn nor forecast until it is resumed."""
    _command(learner, "pause", reason, checkpoint="", as_json=as_json, config=config)


@hub.command(cls=Verb)
def resume(
    learner: LearnerArgument, reason: ReasonArgument = "", as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Let a learner that was paused go on."""
    _command(learner, "resume", reason, checkpoint="", as_json=as_json, config=config)


@hub.command(cls=Verb)
def reset(
    learner: LearnerArgument, reason: ReasonArgument = "", as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Let a learner begin anew, knowing nothing."""
    _command(learner, "reset", reason, checkpoint="", as_json=as_json, config=config)


@hub.command(cls=Verb)
def restore(
    learner: LearnerArgument,
    checkpoint: Annotated[str, typer.Argument(help="Its digest, the first signs of it, or latest.")],
    reason: ReasonArgument = "",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Let a learner go on from a checkpoint; what it learnt since is skipped, and the checkpoint is kept for good."""
    _command(learner, "restore", reason, checkpoint=checkpoint, as_json=as_json, config=config)


@hub.command(cls=Verb)
def checkpoint(
    learner: LearnerArgument, reason: ReasonArgument = "", as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Let the worker of a learner lay down a checkpoint now."""
    _command(learner, "checkpoint", reason, checkpoint="", as_json=as_json, config=config)


@hub.command(cls=Verb)
def retrain(
    symbol: SymbolOption = None,
    reason: ReasonArgument = "asked for",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Queue the training of a challenger; the gates judge it."""
    from kalibre.core.clock import SystemClock
    from kalibre.log.jobs import Jobs

    settings = settings_of(config, symbols=[symbol] if symbol else None)
    now_ms = SystemClock().now_ms()
    rows = []
    with opened_log(settings) as log:
        for name in settings.market.symbols:
            payload = {"symbol": name, "by": getuser(), "reason": reason}
            rows.append(Jobs(log).enqueue("retrain", f"{name}|{now_ms}", payload, due_ms=now_ms).key)
    words = f"queued: {', '.join(rows)}; `kalibre hub status` shows whether a worker for jobs runs"
    emit({"jobs": rows}, as_json=as_json, show=lambda console: console.print(words, markup=False))


def _supervised(verb: Literal["start", "stop", "restart"], name: str, *, as_json: bool, config: Path | None) -> None:
    from kalibre.hub.control import Request, ask
    from kalibre.hub.up import run_dir

    answer = ask(run_dir(settings_of(config)), Request(verb=verb, worker=name, by=getuser()))
    if not answer.ok:
        raise HubError(answer.detail)
    emit({"detail": answer.detail}, as_json=as_json, show=lambda console: console.print(answer.detail, markup=False))


WorkerArgument = Annotated[str, typer.Argument(help="A worker, as `kalibre hub status` names it.")]


@hub.command(cls=Verb)
def restart(name: WorkerArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Start a worker anew."""
    _supervised("restart", name, as_json=as_json, config=config)


@hub.command(cls=Verb)
def stop(name: WorkerArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Stop a worker until it is started again."""
    _supervised("stop", name, as_json=as_json, config=config)


@hub.command(cls=Verb)
def start(name: WorkerArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Start a worker that was stopped."""
    _supervised("start", name, as_json=as_json, config=config)


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
