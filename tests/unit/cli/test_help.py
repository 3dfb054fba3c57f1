"""Help pages: every verb with its whole sentence, arguments before options, colours on a terminal only."""

from __future__ import annotations

import typer
from typer.testing import CliRunner

from kalibre.cli.app import build


def shown(*words: str, color: bool = False) -> str:
    done = CliRunner().invoke(build(), [*words, "--help"], prog_name="kalibre", color=color)
    assert done.exit_code == 0
    return done.output


def test_the_first_page_lists_every_verb_with_its_whole_sentence() -> None:
    page = " ".join(shown().split())
    group = typer.main.get_command(build())
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        sentence = " ".join((command.help or "").split("\n\n")[0].split())
        assert f"{name} {sentence}" in page
    assert "Commands:" in page


def test_a_verbs_page_names_arguments_then_options_with_their_defaults() -> None:
    page = shown("verify")
    assert page.index("Usage: kalibre verify") < page.index("Arguments:") < page.index("Options:")
    assert "features|log|state" in page
    assert "[default: 0; x>=0]" in page


def test_colours_are_for_terminals() -> None:
    assert "\x1b[" not in shown("promote")
    assert "\x1b[1mOptions\x1b[0m" in shown("promote", color=True)
