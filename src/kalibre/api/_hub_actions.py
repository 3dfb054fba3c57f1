"""What the page asks of the hub, done by this process: through the supervisor's socket, the jobs and the alerts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from kalibre.core.clock import Clock
from kalibre.core.errors import ApiError, HubError
from kalibre.core.settings import Settings

if TYPE_CHECKING:
    from kalibre.log.protocol import EventLog

SIGN_OF_LIFE_S = 30.0
"""Without a beat of any worker for so long, no hub runs."""


class HubActions(Protocol):
    """What the hub does on request; each is told who asked (`by`), and records that."""

    def retrain(self, symbol: str, by: str, reason: str) -> str:
        """Queue a retrain of a symbol's model and return the job's id."""
        ...

    def worker(self, name: str, action: Literal["restart", "stop", "start"], by: str) -> str:
        """Restart, stop or start a worker, and return what became of that in words."""
        ...

    def test_alert(self, by: str) -> list[dict[str, Any]]:
        """Send an alert to every target; return for each whether it took it."""
        ...


class Heartbeat(msgspec.Struct, frozen=True):
    """A worker's sign of life: seconds since, the position it has read to, what it does, its memory and CPU time."""

    age_s: float
    position: int
    phase: str
    rss_bytes: int
    cpu_s: float


Heartbeats = Callable[[], Mapping[str, Heartbeat]]


def read_heartbeats(run_dir: Path) -> dict[str, Heartbeat]:
    """Return the newest beat of every worker that has beaten into a folder, by name.

    Examples
    --------
    >>> read_heartbeats(Path("there is no such folder"))
    {}
    """
    from kalibre.hub.worker_process import SUFFIX, read_beat

    found = {}
    for path in sorted(run_dir.glob(f"*{SUFFIX}")):
        beat = read_beat(path)
        if beat is not None:
            found[path.name.removesuffix(SUFFIX)] = Heartbeat(
                round(beat.age_s(), 1), beat.position, beat.phase, beat.rss_bytes, round(beat.cpu_s, 1)
            )
    return found


class LocalActions:
    """Asks the supervisor of this home, queues jobs in its log, and alerts by its settings.

    Parameters
    ----------
    settings
        Where home, log and targets of alerts are.
    open_log
        Returns the log.
    heartbeats
        Tells whether a hub runs at all.
    """

    def __init__(
        self, settings: Settings, open_log: Callable[[], EventLog], heartbeats: Heartbeats, clock: Clock
    ) -> None:
        self._settings = settings
        self._open_log = open_log
        self._heartbeats = heartbeats
        self._clock = clock

    def retrain(self, symbol: str, by: str, reason: str) -> str:
        """Queue a retrain, if a hub runs that would do it.

        Raises
        ------
        ApiError
            503 if no hub runs.
        """
        from kalibre.log.jobs import Jobs

        self._check_alive()
        now_ms = self._clock.now_ms()
        row = Jobs(self._open_log()).enqueue(
            "retrain", f"{symbol}|{now_ms}", {"symbol": symbol, "by": by, "reason": reason}, due_ms=now_ms
        )
        return f"{row.name}|{row.key}"

    def worker(self, name: str, action: Literal["restart", "stop", "start"], by: str) -> str:
        """Ask the supervisor.

        Raises
        ------
        ApiError
            503 if none listens, 409 if it says no.
        """
        from kalibre.hub.control import Request, ask

        try:
            answer = ask(self._settings.home / "run", Request(verb=action, worker=name, by=by))
        except HubError as error:
            raise ApiError(str(error), status=503) from error
        if not answer.ok:
            raise ApiError(answer.detail, status=409)
        return answer.detail

    def test_alert(self, by: str) -> list[dict[str, Any]]:
        """Send a test to every target.

        Raises
        ------
        ApiError
            409 if there is none.
        """
        from kalibre.alerts.send import send_test

        if not self._settings.alerts.urls:
            raise ApiError("alerts.urls is empty, so nobody is told: name targets in kalibre.toml", status=409)
        return [result.as_dict() for result in send_test(self._settings)]

    def _check_alive(self) -> None:
        if not any(beat.age_s < SIGN_OF_LIFE_S for beat in self._heartbeats().values()):
            raise ApiError("no hub runs on this home: start one with `kalibre hub up`", status=503)
