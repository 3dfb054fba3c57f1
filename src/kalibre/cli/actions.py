"""`kalibre actions`: splits, bonus issues and reverse splits, found or announced, and who decided about them."""

from __future__ import annotations

from dataclasses import asdict
from getpass import getuser
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kalibre.cli.base import ConfigOption, JsonOption, emit, opened_log, settings_of
from kalibre.core.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from kalibre.core.settings import Settings

app = typer.Typer()


@app.command()
def actions(
    what: Annotated[Literal["list", "confirm", "reject", "add"], typer.Argument(help="What to do.")] = "list",
    share: Annotated[str | None, typer.Argument(metavar="SYMBOL", help="Its symbol, for example THYAO.")] = None,
    date: Annotated[str | None, typer.Argument(help="First session after it, Istanbul day: 2024-08-01.")] = None,
    factor: Annotated[
        float | None, typer.Option("--factor", help="What prices before it are divided by: 3 for a 3:1 split.")
    ] = None,
    symbol: Annotated[str | None, typer.Option("--symbol", "-s", help="The same; list: default is all.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List corporate actions, confirm or reject what was detected, or add one that was announced or missed."""
    settings = settings_of(config)
    if share is not None and symbol is not None and share != symbol:
        raise UsageError(f"--symbol {symbol!r} and {share!r} name two symbols: give one")
    chosen = share or symbol
    if factor is not None and what not in {"confirm", "add"}:
        raise UsageError(f"--factor {factor:g} does not go with `kalibre actions {what}`: confirm or add takes one")
    if what == "list":
        if date is not None:
            raise UsageError(f"date {date!r} does not go with `kalibre actions list`: it lists all of a symbol")
        _list(settings, chosen, as_json=as_json)
        return
    if chosen is None or date is None or (what == "add" and factor is None):
        needed = "SYMBOL DATE --factor F" if what == "add" else "SYMBOL DATE"
        raise UsageError(
            f"`kalibre actions {what}` needs {needed}, for example `kalibre actions {what} THYAO 2024-08-01"
            f"{' --factor 3' if what == 'add' else ''}`; `kalibre actions list` shows what there is"
        )
    from kalibre.bars.action_decisions import add_action, decide_action
    from kalibre.bars.calendars import get_calendar
    from kalibre.core.clock import SystemClock

    person, now_ms, market = getuser(), SystemClock().now_ms(), settings.market
    with opened_log(settings) as log:
        if what == "add":
            assert factor is not None
            calendar = get_calendar(market.calendar)
            done = add_action(
                log, chosen, date, factor, calendar=calendar, known=market.symbols, by=person, now_ms=now_ms
            )
        else:
            status: Literal["confirmed", "rejected"] = "confirmed" if what == "confirm" else "rejected"
            done = decide_action(log, chosen, date, status, factor=factor, by=person, now_ms=now_ms)

    def show(console: Console) -> None:
        row = done.action
        console.print(f"{row['symbol']} {row['date']} {row['status']}, factor {row['factor']:g}", markup=False)
        for sentence in done.follows:
            console.print(sentence, markup=False)

    emit(asdict(done), as_json=as_json, show=show)


def _list(settings: Settings, symbol: str | None, *, as_json: bool) -> None:
    from kalibre.bars.action_decisions import action_rows, check_symbol

    with opened_log(settings) as log:
        if symbol is not None:
            check_symbol(log, symbol, settings.market.symbols)
        rows = action_rows(log, symbol)
    undecided = [row for row in rows if row["status"] == "detected"]

    def show(console: Console) -> None:
        from rich.table import Table

        names = ("symbol", "date", "factor", "status", "by", "said", "evidence")
        table = Table(*names, box=None, padding=(0, 2, 0, 0))
        for row in rows:
            table.add_row(*(f"{row[name]:.6g}" if name == "factor" else str(row[name]) for name in names))
        of = f" of {symbol}" if symbol else ""
        console.print(table if rows else f"no corporate action{of} is recorded")
        for row in undecided:
            told = f"{row['symbol']} {row['date']}"
            verbs = f"`kalibre actions confirm {told}` or `kalibre actions reject {told}`"
            console.print(f"{told} is undecided, trading holds: {verbs}", markup=False)

    emit({"actions": rows, "undecided": len(undecided)}, as_json=as_json, show=show)
