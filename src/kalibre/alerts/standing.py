"""How alerting stands: each target's health, what waits, which troubles are open. Read from the memory file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from kalibre.alerts.dispatch import HOUR_MS, Rules
from kalibre.alerts.memory import fresh, healthy, memory_path, read_memory
from kalibre.alerts.targets import targets_of
from kalibre.core.errors import AlertError
from kalibre.core.settings import Settings


@dataclass(frozen=True)
class TargetStanding:
    """A target: when it took and failed to take a message (UTC ms, None for never), and what waits for it."""

    target: str
    delivered_ms: int | None
    failed_ms: int | None
    failures: int
    """In a row; 0 if the newest attempt went well."""
    waiting: int
    lost: int
    detail: str


@dataclass(frozen=True)
class Standing:
    """The whole of it."""

    targets: tuple[TargetStanding, ...]
    quiet: bool
    held: int
    """Alerts that wait for the end of the quiet hours or for room."""
    sent_within_an_hour: int
    per_hour: int
    open_troubles: tuple[str, ...]
    position: int

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        return asdict(self)


def standing(settings: Settings, now_ms: int) -> Standing:
    """Tell how alerting stands; changes nothing.

    Raises
    ------
    AlertError
        If the memory file cannot be read; the message names it.
    """
    try:
        memory = read_memory(memory_path(settings)) or fresh()
    except (ValueError, OSError) as error:
        raise AlertError(f"{error}; the hub moves it aside at its next start") from error
    rows = []
    for target in targets_of(settings):
        health = memory["health"].get(target.name, healthy())
        rows.append(
            TargetStanding(
                target.name,
                health["delivered_ms"] or None,
                health["failed_ms"] or None,
                health["failures"],
                len(memory["waiting"].get(target.name, ())),
                health["lost"],
                health["detail"],
            )
        )
    state, rules = memory["state"], Rules.of(settings.alerts)
    return Standing(
        targets=tuple(rows),
        quiet=rules.quiet_at(now_ms),
        held=len(state["held"]) + sum(state["left_out"].values()),
        sent_within_an_hour=sum(now_ms - HOUR_MS < sent <= now_ms for sent in state["sent_ms"]),
        per_hour=rules.per_hour,
        open_troubles=tuple(sorted(state["troubles"])),
        position=memory["position"],
    )
