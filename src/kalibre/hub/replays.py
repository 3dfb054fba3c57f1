"""A replay as a hub of its own: which settings the workers get where a stored history is played."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kalibre.core.errors import UsageError
from kalibre.core.settings import Settings


def replay_settings(settings: Settings, path: Path, *, speed: str, folder: Path | None) -> Settings:
    """Return the settings under which a file is played: the market's own, its bars from the file, a home of its own.

    Its checkpoints go nowhere else: at the market's address they would take the place of the market's.

    Raises
    ------
    UsageError
        If the file is not there; the message quotes it.
    """
    if not path.exists():
        raise UsageError(f"--replay {str(path)!r} is not there: name a CSV or Parquet file, or a folder of them")
    market = settings.market
    inner = dict(market.source_options) if market.source == "files" else {}
    inner["path"] = str(path.absolute())
    options: dict[str, Any] = {"source": "files", "source_options": inner, "speed": speed}
    home = folder or settings.home / "replay" / path.stem
    return settings.model_copy(
        update={
            "home": home.absolute(),
            "market": market.model_copy(update={"source": "replay", "source_options": options}),
            "hub": settings.hub.model_copy(update={"checkpoint_copies": ""}),
        }
    )


def environment_of(settings: Settings, sections: Sequence[str]) -> dict[str, str]:
    """Return what workers have to be told, as `KALIBRE_*` variables: home, copies and these sections."""
    told = {"KALIBRE_HOME": str(settings.home.absolute())}
    told["KALIBRE_HUB__CHECKPOINT_COPIES"] = settings.hub.checkpoint_copies
    for section in sections:
        for name, value in getattr(settings, section).model_dump(mode="json").items():
            told[f"KALIBRE_{section.upper()}__{name.upper()}"] = value if isinstance(value, str) else json.dumps(value)
    return told
