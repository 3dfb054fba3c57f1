"""The kill switch: an event and a file, each of which alone stops every order.

The runner of the paper engine looks for both under the log's write lock, in the transaction that would commit an order:
no `order` is ever stored after an engaging `kill`. The file works with no process of ours alive and the log locked.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from kalibre.core.clock import Clock
from kalibre.core.errors import KillSwitchEngagedError, LogError
from kalibre.core.events import Kill, new_event
from kalibre.log.protocol import EventLog

WRITER = "kill-switch"
KEY = "kill"


@dataclass(frozen=True)
class KillState:
    """Whether orders are stopped, and by whom."""

    engaged: bool
    by: str | None = None
    reason: str = ""
    flatten: bool = False
    since_ms: int | None = None
    """Time of the command, UTC milliseconds; None if only the file says so, or nothing ever did."""
    file_present: bool = False


def pull(
    open_log: Callable[[], AbstractContextManager[EventLog]],
    kill_file: Path,
    clock: Clock,
    *,
    by: str,
    reason: str = "",
    flatten: bool = False,
) -> KillState:
    """Engage from a process that has no log open: the file is touched before anything is asked of the log.

    Raises
    ------
    LogError
        If the log cannot be opened or written; the file stays and stops all orders, and the message says so.
    """
    ours = _touch(kill_file, flatten)
    try:
        with open_log() as log:
            state = KillSwitch(log, kill_file, clock).engage(by, reason, flatten)
            if ours:
                kill_file.unlink(missing_ok=True)
                state = KillSwitch(log, kill_file, clock).state()
            return state
    except LogError as error:
        held = f"orders are stopped by the file {str(kill_file)!r}" if kill_file.exists() else "nothing is stopped"
        raise LogError(f"the kill command is not in the log ({error}); {held}") from error


def _touch(kill_file: Path, flatten: bool) -> bool:
    """Make the kill file; say whether it is ours to take away again."""
    try:
        kill_file.parent.mkdir(parents=True, exist_ok=True)
        with kill_file.open("x", encoding="utf-8") as file:
            file.write("flatten\n" if flatten else "stop\n")
    except OSError:  # it is there already, or the folder is read-only: the event alone must do
        return False
    return True


class KillSwitch:
    """Engages and releases the kill switch, and tells how it stands.

    Parameters
    ----------
    log
        Where the command is recorded.
    kill_file
        Its existence engages, whoever made it. A file that holds the word `flatten` also asks to sell.
    clock
        What dates the command.
    """

    def __init__(self, log: EventLog, kill_file: Path, clock: Clock) -> None:
        self._log = log
        self._file = kill_file
        self._clock = clock

    def state(self) -> KillState:
        """Return how the switch stands: engaged if the last command says so or the file is there."""
        present = self._file.exists()
        event = self._log.latest("kill", key=KEY)
        if event is not None and isinstance(event.payload, Kill) and event.payload.engaged:
            kill = event.payload
            return KillState(True, kill.by, kill.reason, kill.flatten, event.event_time, present)
        if present:
            return KillState(True, "kill file", f"{self._file.name} is there", file_present=True)
        return KillState(False, since_ms=None if event is None else event.event_time)

    def engage(self, by: str, reason: str = "", flatten: bool = False) -> KillState:
        """Stop all orders; with `flatten` also sell what is held, at the next open.

        The file comes first and goes when the event is stored: it acts at the very next commit of the paper engine,
        however long this process waits for the log. If the log cannot be written the file stays, and stops.

        Raises
        ------
        LogError
            If the event cannot be stored; orders are stopped by the file all the same, and the message says so.
        """
        ours = _touch(self._file, flatten)
        try:
            self._append(Kill(engaged=True, by=by, reason=reason, flatten=flatten))
        except LogError as error:
            held = (
                f"orders are stopped by the file {str(self._file)!r}" if self._file.exists() else "nothing is stopped"
            )
            raise type(error)(f"the kill command is not in the log ({error}); {held}") from error
        if ours:
            self._file.unlink(missing_ok=True)
        return self.state()

    def release(self, by: str) -> KillState:
        """Let the policy decide again.

        Raises
        ------
        KillSwitchEngagedError
            If the kill file is there: whoever made it must take it away; the message names it.
        """
        if self._file.exists():
            raise KillSwitchEngagedError(
                f"the kill file {str(self._file)!r} is there and keeps the switch engaged: remove it, then release"
            )
        if self.state().engaged:
            self._append(Kill(engaged=False, by=by))
        return self.state()

    def _append(self, kill: Kill) -> None:
        last = self._log.latest("kill", key=KEY)
        # Two commands of one millisecond, or a clock set back, must not become revisions of each other.
        time = max(self._clock.now_ms(), 0 if last is None else last.event_time + 1)
        self._log.append([new_event(KEY, time, kill)], writer=WRITER)
