"""What alerting remembers, in one JSON file: what was decided, what each target still has to get, how each one does.

Written temp -> fsync -> rename -> fsync of the folder. A file that cannot be read is moved aside with a warning: an
alert told twice is better than none.
"""

from __future__ import annotations

import itertools
import logging
import os
from pathlib import Path
from typing import Literal, TypedDict

import msgspec

from kalibre.alerts.dispatch import Level, State, empty
from kalibre.core.settings import Settings

FORMAT = 1

_logger = logging.getLogger(__name__)


class Waiting(TypedDict):
    """A message that a target still has to get."""

    title: str
    body: str
    level: Level
    recovered: bool
    since_ms: int
    refusals: int


class Health(TypedDict):
    """How a target does: its newest delivery and failure, and when it is tried again."""

    delivered_ms: int
    delivered: int
    failed_ms: int
    failures: int
    verdict: Literal["", "later", "refused", "wrong"]
    detail: str
    next_ms: int
    lost: int


class Memory(TypedDict):
    """The whole file. `position` is that of the event that was decided last, `newest_ms` the latest time of any."""

    format: int
    position: int
    newest_ms: int
    state: State
    waiting: dict[str, list[Waiting]]
    health: dict[str, Health]


def memory_path(settings: Settings) -> Path:
    """Return where the hub keeps it."""
    return settings.home / "alerts.json"


def fresh() -> Memory:
    """Return the memory of somebody who was told nothing yet."""
    return {"format": FORMAT, "position": 0, "newest_ms": 0, "state": empty(), "waiting": {}, "health": {}}


def healthy() -> Health:
    """Return the health of a target that was never tried."""
    return {
        "delivered_ms": 0,
        "delivered": 0,
        "failed_ms": 0,
        "failures": 0,
        "verdict": "",
        "detail": "",
        "next_ms": 0,
        "lost": 0,
    }


def read_memory(path: Path) -> Memory | None:
    """Read the file; None if there is none.

    Raises
    ------
    ValueError
        If it is damaged or of another format; the message says how.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        memory = msgspec.json.decode(raw, type=Memory)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{str(path)!r} cannot be read ({error})") from error
    if memory["format"] != FORMAT:
        raise ValueError(f"{str(path)!r} is of format {memory['format']}, this version writes {FORMAT}")
    return memory


def load_memory(path: Path) -> Memory:
    """Read the file; one that is damaged is moved aside, and what was told before is then not known."""
    try:
        return read_memory(path) or fresh()
    except (ValueError, OSError) as error:
        taken = (path.with_name(f"{path.name}.broken-{number}") for number in itertools.count(1))
        aside = next(one for one in taken if not one.exists())
        try:
            path.rename(aside)
            _logger.warning("%s; it is moved to %s, and some alerts may be told again", error, aside.name)
        except OSError as other:
            _logger.warning("%s, and it cannot be moved aside (%s); some alerts may be told again", error, other)
        return fresh()


def save_memory(path: Path, memory: Memory) -> None:
    """Write the file whole or not at all.

    Raises
    ------
    OSError
        If it cannot be written; what was there before is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    # Causes may name hosts and paths: for the owner's eyes.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(memory))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
