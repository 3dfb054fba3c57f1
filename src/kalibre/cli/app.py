"""The command line: finds its verbs in this folder, turns errors into messages and exit codes."""

from __future__ import annotations

import sys

import typer
from typer.models import CommandInfo

from kalibre.cli._help import Verb, Verbs
from kalibre.cli.base import EXIT_INTERRUPTED, fail
from kalibre.core.catalog import parts
from kalibre.core.errors import KalibreError

_HELP = "Learns from a market's live stream, and lets no model act before it has proved itself."


def build() -> typer.Typer:
    """Collect the verbs of every file of this folder; a verb's help text is its docstring."""
    app = typer.Typer(
        name="kalibre",
        help=_HELP,
        cls=Verbs,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"max_content_width": 110},
    )
    app.callback()(_root)
    for module in parts(__package__).values():
        app.registered_commands.extend(module.app.registered_commands)
        app.registered_groups.extend(module.app.registered_groups)
    app.registered_commands.sort(key=_place)
    for command in app.registered_commands:
        command.cls = Verb
    return app


# Help lists the verbs in the order in which a user meets them; a verb that is not named here comes last.
_ORDER = (
    *("init", "ingest", "gaps", "actions", "features", "train", "calibrate", "backtest", "report"),
    *("promote", "rollback", "paper", "hub", "serve", "predict", "kill", "alerts", "verify", "doctor", "demo"),
)


def _place(command: CommandInfo) -> int:
    name = command.name or getattr(command.callback, "__name__", "")
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


def _version(show: bool) -> None:
    if show:
        from kalibre import __version__

        typer.echo(__version__)
        raise typer.Exit


def _root(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_version, is_eager=True),
) -> None:
    pass


def main() -> None:
    """Run the command line; exit codes: 0 ok, 1 failed, 2 usage, 3 degraded, 4 killed."""
    as_json = "--json" in sys.argv
    try:
        build()()
    except KalibreError as error:
        sys.exit(fail(error, as_json=as_json))
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped by Ctrl-C; nothing is half-written\n")
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
