"""The real command line, asked only whether it understands a command."""

from __future__ import annotations

import shlex
from typing import Any

import typer
from click import Context

from kalibre.cli.app import build


def understood(line: str) -> str:
    """Parse a command down to its options, run nothing, and return the verbs; click raises where that cannot be."""
    words = shlex.split(line)
    assert words.pop(0) == "kalibre"
    command: Any = typer.main.get_command(build())
    context, verbs = Context(command, info_name="kalibre"), list[str]()
    while hasattr(command, "get_command"):
        verbs.append(words.pop(0))
        command = command.get_command(context, verbs[-1])
        assert command is not None, f"{line!r}: there is no verb {verbs[-1]!r}"
        context = Context(command, info_name=verbs[-1], parent=context)
    command.make_context(verbs[-1], words, parent=context.parent)
    return " ".join(verbs)
