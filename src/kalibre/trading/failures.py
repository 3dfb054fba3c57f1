"""Models that could not be loaded: what lies on a disk is no function of the log, so it is recorded and read back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from kalibre.core.events import ModelUnable
from kalibre.core.settings import Settings
from kalibre.log.protocol import Reader

At = Literal["promotion", "bar"]
Failures = Mapping[tuple[str, int, int, At], ModelUnable]
"""By key, event time and revision of `model_unable`, and at what it was found."""


class FailureRecord:
    """Why models could not be loaded when an event was first taken in; read from the log when it is first asked."""

    def __init__(self, read: Callable[[], Failures]) -> None:
        self._read = read
        self._found: Failures | None = None

    def forget(self) -> None:
        """Read again before the next answer: what was said meanwhile may be recorded by now."""
        self._found = None

    def reason(self, key: str, time: int, revision: int, at: At, model: str | None) -> str:
        """Return why a model could not be loaded at an event; empty if it could."""
        if self._found is None:
            self._found = self._read()
        found = self._found.get((key, time, revision, at)) if self._found else None
        return found.reason if found is not None and found.model == model else ""


def recorded_failures(log: Reader) -> Failures:
    """Read which models could not be loaded when they were needed."""
    return {
        (event.key, event.event_time, event.revision, event.payload.at): event.payload
        for event in log.read(kinds={"model_unable"})
        if isinstance(event.payload, ModelUnable)
    }


def failures_of(settings: Settings) -> Failures:
    """Read them from the log of the settings."""
    from kalibre.log import open_log

    with open_log(settings.log_url) as log:
        return recorded_failures(log)
