"""`model=`: one string for every tier: `builtin:fast`, `builtin:encoder`, or a folder or hub id.

A folder is a model that Kalibre saved, or one of transformers; a hub id (`dbmdz/bert-base-turkish-cased`) needs
internet and the packages transformers and torch.
"""

from __future__ import annotations

import importlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from kalibre.core.errors import UsageError
from kalibre.language.base import TASKS
from kalibre.language.bundle import MANIFEST, LanguageBundle, open_bundle, shipped
from kalibre.language.encoder.hub import is_hub_id
from kalibre.language.gemma.source import GEMMA


def load(task: str, model: str = "builtin:fast") -> Any:
    """Return the model of a task; it keeps the task's protocol (`SentimentModel`, `EntityModel`, ...).

    Parameters
    ----------
    task
        One of `TASKS`.
    model
        `builtin:fast`, `builtin:encoder`, the path of a saved bundle or of a model of transformers, or a hub id.

    Raises
    ------
    UsageError
        If there is no such task or model.
    ModelError
        If it cannot be read, is of another task, or needs what is not there (a package, the network).
    """
    if task not in TASKS:
        raise UsageError(f"task {task!r} is unknown: choose one of {', '.join(TASKS)}")
    if model == GEMMA:
        raise UsageError(
            f"model {model!r} ships with no trained head (its weights come under terms of their own): train one with "
            f"`kalibre nlp train {task} FILE --family encoder --encoder {model}`, and name its folder"
        )
    if model.startswith("builtin:"):
        return _shipped(task, model.removeprefix("builtin:"))
    folder = Path(model).expanduser()
    if (folder / MANIFEST).is_file():
        return from_bundle(open_bundle(folder, task))
    if not folder.is_dir() and not is_hub_id(model):
        raise UsageError(
            f"model {model!r} is none: say builtin:fast, a folder (one that `kalibre nlp train` saved, or of "
            "transformers), or a hub id (owner/name)"
        )
    # Only who names such a model pays for what reads it.
    from kalibre.language.pretrained import load as load_pretrained

    return load_pretrained(task, model)


@lru_cache(maxsize=16)
def _shipped(task: str, family: str) -> Any:
    return from_bundle(shipped(task, family))


def from_bundle(bundle: LanguageBundle) -> Any:
    """Make the model that a bundle holds."""
    return importlib.import_module(f"kalibre.language.{bundle.task}.{bundle.family}").from_bundle(bundle)
