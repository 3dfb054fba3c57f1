"""Verbs of `kalibre hub` that only look: status, show, league, checkpoints, jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kalibre.cli._help import Verb
from kalibre.cli.base import (
    EXIT_DEGRADED,
    ConfigOption,
    JsonOption,
    SymbolOption,
    emit,
    opened_log,
    settings_of,
)
from kalibre.core.errors import HubError

if TYPE_CHECKING:
    from rich.console import Console

    from kalibre.core.settings import Settings
    from kalibre.log.jobs import JobRow
    from kalibre.log.protocol import EventLog

verbs = typer.Typer()

LearnerArgument = Annotated[str, typer.Argument(help="A learner: its file in learners/.")]


def check_known(settings: Settings, learner: str) -> None:
    """Refuse a learner that this hub does not run."""
    from kalibre.learners.base import enabled_learners

    names = enabled_learners(settings)
    if learner not in names:
        raise HubError(f"learner {learner!r} is not in this hub: choose one of {', '.join(names)}")


@verbs.command(cls=Verb)
def status(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show workers with the age of their heartbeats, how far each projection has read, and who waits for whom.

    Exit code 3 if a worker fails or is waited for in vain.
    """
    from kalibre.hub.roster import roster
    from kalibre.hub.up import behind, readers, run_dir
    from kalibre.hub.waits import waits

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
        waiting = [{**one._asdict(), "text": one.text} for one in waits(log, settings)]
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
        for wait in waiting:
            mend = f" ({wait['mend']})" if wait["mend"] else ""
            console.print(f"{wait['reader']} of {wait['series']}: {wait['text']}{mend}", markup=False)
        if not workers:
            console.print("no worker has run in this home: start the hub with `kalibre hub up`")
        console.print(f"{head:,} events in the log")

    told = {"workers": workers, "projections": places, "head": head, "silent": silent, "waits": waiting}
    emit(told, as_json=as_json, show=show)
    if silent or not workers or any(wait["mend"] for wait in waiting):
        raise typer.Exit(EXIT_DEGRADED)


@verbs.command(cls=Verb)
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
            table = Table(title=name, title_justify="left", box=None, padding=(0, 2, 0, 0))
            for column, cell in value[0].items():
                # Words fold, names and figures do not: a table of a narrow terminal stays readable.
                table.add_column(column, no_wrap=not (isinstance(cell, str) and " " in cell))
            for row in value:
                table.add_row(*(format(cell, ".4g") if isinstance(cell, float) else str(cell) for cell in row.values()))
            console.print(table)
        else:
            console.print(f"  {name}: {value}", markup=False)


@verbs.command(cls=Verb)
def league(symbol: SymbolOption = None, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show the league: each forecaster beside dummies that know nothing."""
    import msgspec

    from kalibre.core.clock import to_text
    from kalibre.core.events import series_key
    from kalibre.core.hub_events import League
    from kalibre.hub.costs import read_costs

    settings = settings_of(config, symbols=[symbol] if symbol else None)
    costs = read_costs(settings.home / "run")
    tables = {}
    with opened_log(settings) as log:
        for name in settings.market.symbols:
            found = log.latest("league", key=series_key(name, settings.market.timeframe), by="event_time")
            if found is not None and isinstance(found.payload, League):
                table = msgspec.to_builtins(found.payload)
                for row in table["rows"]:  # the champion's model is asked by the paper engine
                    cost = costs.get("paper" if row["name"] == "champion" else row["name"])
                    row |= {"state_bytes": cost and cost.state_bytes, "cpu_s": cost and cost.cpu_s}
                tables[name] = {"as_of_ms": found.event_time, **table}

    def print_it(console: Console) -> None:
        from rich.table import Table

        if not tables:
            console.print("nobody has been judged yet: the first table comes when forecasts have matured")
        for name, told in tables.items():
            title = f"{name}, newest {told['window']:,} forecasts, as of {to_text(told['as_of_ms'])} Istanbul"
            table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
            # What each costs where there is room for it; `--json` tells it always.
            costs_fit = console.width >= 100
            columns = ["forecaster", "n", "loss", "accuracy", "ECE", "edge (95 %)", "marginal", ""]
            columns += ["MB", "CPU s"] if costs_fit else []
            for column in columns:
                table.add_column(column, justify="left" if column in ("forecaster", "") else "right", no_wrap=True)
            for row in told["rows"]:
                table.add_row(*_standing(row)[: len(columns)])
            console.print(table)
        if tables:
            legend = "loss is log-loss; edge and marginal in 1e-4 of it, above 0 is better than the base rate"
            console.print(legend, style="dim")

    emit({"league": tables}, as_json=as_json, show=print_it)


def _standing(row: dict[str, Any]) -> tuple[str, ...]:
    def told(value: float | None, form: str) -> str:
        return "–" if value is None else format(value, form)

    edge = "–"
    if row["edge"] is not None:
        edge = f"{1e4 * row['edge']:+.0f}"
        if row["edge_low"] is not None and row["edge_high"] is not None:
            edge += f" [{1e4 * row['edge_low']:+.0f}, {1e4 * row['edge_high']:+.0f}]"
    marginal = None if row["marginal"] is None else 1e4 * row["marginal"]
    kind = "dummy" if row["dummy"] else "benched" if row["benched"] else ""
    return (
        row["name"],
        f"{row['n']:,}",
        *(told(row[name], ".4f") for name in ("log_loss", "accuracy", "ece")),
        edge,
        told(marginal, "+.2f"),
        kind,
        told(row["state_bytes"] and row["state_bytes"] / 1e6, ".1f"),
        told(row["cpu_s"], ".1f"),
    )


@verbs.command(cls=Verb)
def checkpoints(learner: LearnerArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List a learner's checkpoints, newest first."""
    from kalibre.core.clock import to_text
    from kalibre.hub.checkpoints import checkpoints_of

    settings = settings_of(config)
    check_known(settings, learner)
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


@verbs.command(cls=Verb)
def jobs(
    state: Annotated[
        Literal["queued", "running", "done", "failed", "skipped"] | None,
        typer.Option("--state", help="Only jobs that stand like this."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="So many of the newest.")] = 20,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List the jobs that were queued last, newest first: where each stands, and what was last told of it."""
    from kalibre.log.jobs import Jobs

    settings = settings_of(config)
    with opened_log(settings) as log:
        queue = Jobs(log)
        rows = [_job_told(log, row) for row in queue.rows(states=None if state is None else [state], limit=limit)]
        counts = queue.counts()

    def print_it(console: Console) -> None:
        from rich.markup import escape
        from rich.table import Table

        from kalibre.core.clock import to_text

        table = Table("job", "state", "attempt", "due, Istanbul", "", "last", box=None, padding=(0, 2, 0, 0))
        for row in rows:
            until = ""
            if row["state"] == "running":
                until = f"leased to {row['owner']} until {to_text(row['lease_until_ms'])}"
            elif row["state"] == "queued" and row["ready_ms"] > row["due_ms"]:
                until = f"again from {to_text(row['ready_ms'])}"
            attempt = f"{row['attempt']} of {row['max_attempts']}"
            last = f"{to_text(row['last_at_ms'])}: {row['last']}"
            table.add_row(*map(escape, (row["id"], row["state"], attempt, to_text(row["due_ms"]), until, last)))
        if rows:
            console.print(table)
        told = ", ".join(f"{count:,} {name}" for name, count in counts.items())
        console.print(told or "no job was ever queued: `kalibre hub retrain` queues one")

    emit({"jobs": rows, "counts": counts}, as_json=as_json, show=print_it)


def _job_told(log: EventLog, row: JobRow) -> dict[str, Any]:
    """Return a job as its row says, with what its newest event says of it."""
    import msgspec

    from kalibre.core.hub_events import Job

    name = f"{row.name}|{row.key}"
    newest = log.latest("job", key=name)
    told = newest.payload if newest is not None else None
    last, at_ms = "", 0
    if newest is not None and isinstance(told, Job):
        at_ms = newest.recorded_at
        last = told.detail or ", ".join(f"{key} {value}" for key, value in told.result.items())
    return {**msgspec.to_builtins(row), "id": name, "last": last or row.state, "last_at_ms": at_ms}
