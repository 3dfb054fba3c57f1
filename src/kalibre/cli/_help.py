"""Help pages, set by hand: rich's would take longer to import than everything else that `kalibre --help` does."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


def _write_list(formatter: Any, heading: str, rows: list[tuple[str, str]]) -> None:
    if rows:
        with formatter.section(typer.style(heading, bold=True)):
            formatter.write_dl([(typer.style(name, fg="cyan"), text) for name, text in rows])


class _Page:
    """Writes usage, text, arguments and options; colours are stripped where the output is no terminal."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        records: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
        for parameter in ctx.command.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is not None:
                records[parameter.param_type_name].append(record)
        _write_list(formatter, "Arguments", records["argument"])
        _write_list(formatter, "Options", records["option"])


class Verb(_Page, TyperCommand):
    """A verb and its page."""


class Verbs(_Page, TyperGroup):
    """All verbs, each with its whole sentence."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options, then every verb in the order in which a user meets them."""
        super().format_options(ctx, formatter)
        rows = [
            (name, (command.help or "").split("\n\n")[0].replace("\n", " "))
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) is not None and not command.hidden
        ]
        _write_list(formatter, "Commands", rows)
