"""What verbs that read text share: texts and models as they are named on the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

from kalibre.core.errors import UsageError

if TYPE_CHECKING:
    from kalibre.core.settings import Settings


def texts_of(arguments: Sequence[str] | None) -> list[str]:
    r"""Return arguments as text: bytes that are no UTF-8 are Windows-1254's, as in files.

    Examples
    --------
    >>> texts_of([b"\xdeirket".decode("utf-8", "surrogateescape"), "Borsa"])
    ['Şirket', 'Borsa']
    """
    return [_text(one) for one in arguments or ()]


def _text(argument: str) -> str:
    try:
        argument.encode("utf-8")
    except UnicodeEncodeError:
        return argument.encode("utf-8", "surrogateescape").decode("cp1254", "replace")
    return argument


def check_model(model: str | None) -> str | None:
    """Return a model as it was named; refuse an empty name, such as that of a variable that is not set."""
    if model is not None and not model.strip():
        raise UsageError("--model is empty: name builtin:fast, a folder or a hub id, or leave it out")
    return model


def scored_by(settings: Settings, model: str | None) -> Settings:
    """Return the settings with another scorer of headlines; what it learnt from goes along."""
    if check_model(model) is None:
        return settings
    changed = {"sentiment": model, "endpoint_url": "", "endpoint_model": ""}
    return settings.model_copy(update={"language": settings.language.model_copy(update=changed)})


def check_day(told: str) -> str:
    """Return a day as ISO writes it, or nothing where nothing was said."""
    if told:
        try:
            if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", told):
                raise ValueError
            date.fromisoformat(told)
        except ValueError:
            raise UsageError(f"--until {told!r} is no day: write it as 2024-05-31") from None
    return told
