"""`kalibre alerts`: does every target get what it is told, and how does alerting stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kalibre.cli.base import EXIT_DEGRADED, EXIT_FAILED, ConfigOption, JsonOption, emit, settings_of
from kalibre.core.errors import SettingsError

if TYPE_CHECKING:
    from rich.console import Console

    from kalibre.core.settings import Settings

app = typer.Typer()


@app.command()
def alerts(
    what: Annotated[Literal["status", "test"], typer.Argument(help="What to do.")] = "status",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show how alerting stands, or send a test alert to each target."""
    settings = settings_of(config)
    if what == "test":
        _test(settings, as_json=as_json)
    else:
        _status(settings, as_json=as_json)


def _test(settings: Settings, *, as_json: bool) -> None:
    from kalibre.alerts.send import send_test

    if not settings.alerts.urls:
        raise SettingsError(
            "alerts.urls is empty, so nobody is told: set it in kalibre.toml, for example "
            'urls = ["tgram://token/chat"]; https://appriseit.com/services shows the form of each service'
        )
    results = send_test(settings)
    failed = sum(not result.ok for result in results)

    def show(console: Console) -> None:
        for result in results:
            said = f"{result.target} took it in {result.seconds:.1f} s" if result.ok else result.detail
            console.print(said, markup=False)

    emit({"results": [result.as_dict() for result in results], "failed": failed}, as_json=as_json, show=show)
    if failed:
        raise typer.Exit(EXIT_FAILED if failed == len(results) else EXIT_DEGRADED)


def _status(settings: Settings, *, as_json: bool) -> None:
    from kalibre.alerts.standing import standing
    from kalibre.core.clock import SystemClock, to_text

    now = standing(settings, SystemClock().now_ms())

    def show(console: Console) -> None:
        from rich.table import Table

        if not now.targets:
            console.print("nobody is told: alerts.urls is empty")
        else:
            table = Table(box=None, padding=(0, 2, 0, 0))
            for name in ("target", "delivered", "failed", "in a row", "waiting", "lost"):
                table.add_column(name, overflow="fold")
            for row in now.targets:
                times = (to_text(ms) if ms else "-" for ms in (row.delivered_ms, row.failed_ms))
                table.add_row(row.target, *times, *map(str, (row.failures, row.waiting, row.lost)))
            console.print(table)
        for row in now.targets:
            if row.detail:
                console.print(row.detail, markup=False)
        console.print(f"{now.sent_within_an_hour} of {now.per_hour} messages within an hour; {now.held} alerts wait")
        if now.quiet:
            console.print(f"quiet hours ({settings.alerts.quiet_hours}): only what is critical is told")
        for key in now.open_troubles:
            console.print(f"open: {key}", markup=False)

    emit(now.as_dict(), as_json=as_json, show=show)
