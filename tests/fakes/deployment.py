"""What the tests of deploy/ share: its files, the programs they are for, and the command line that they call."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from kalibre.cli.app import build
from kalibre.core.catalog import part_names

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
LEARNERS = part_names("kalibre.learners")
APART = {"ingest", "judges", "jobs", "outbox", "api"}
"""The workers that are no learners."""


def needs(program: str, package: str) -> str:
    """Return the path of a program; without it skip, and under CI=true fail."""
    found = shutil.which(program)
    if found is None:
        message = f"{program} is not here: install it with `apt-get install {package}`"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found


def run(
    *command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )


def parses(words: list[str]) -> None:
    """Let the command line parse a command without running it; raises what it would complain of."""
    command: Any = typer.main.get_command(build())
    context = command.make_context("kalibre", list(words))
    while isinstance(command, typer.core.TyperGroup):
        name, *words = words
        command = command.get_command(context, name)
        assert command is not None, f"there is no verb {name!r}"
        context = command.make_context(name, list(words), parent=context)
