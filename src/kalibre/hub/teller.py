"""Hands transitions on in order, from a thread of its own: a log that is locked or full never holds up the watch."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from kalibre.core.hub_events import WorkerState

OnState = Callable[[str, WorkerState], None]
"""Is told a worker's name and what became of it."""

_logger = logging.getLogger(__name__)
_MOST_KEPT = 10_000


class Teller:
    """Calls `on_state` for each transition, one at a time, and again until it succeeds.

    Parameters
    ----------
    on_state
        What to call; whatever it raises is logged once, and the same transition handed to it again later.
    retry_s
        Time between two tries.
    """

    def __init__(self, on_state: OnState, *, retry_s: float = 0.5) -> None:
        self._on_state, self._retry_s = on_state, retry_s
        self._kept: deque[tuple[str, WorkerState]] = deque(maxlen=_MOST_KEPT)
        self._changed = threading.Condition()
        self._closing = False
        self._complained = False
        self._thread = threading.Thread(target=self._tell_all, name="kalibre-teller", daemon=True)
        self._thread.start()

    def tell(self, name: str, state: WorkerState) -> None:
        """Hand a transition on; returns at once."""
        with self._changed:
            self._kept.append((name, state))
            self._changed.notify()

    def close(self, timeout_s: float) -> int:
        """Wait for what is still to be told, at most so long; return how much could not be told."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        return len(self._kept)

    def _tell_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._kept) or self._closing)
                if not self._kept:
                    return
                told = self._kept[0]
            if self._told(*told):
                with self._changed:
                    # Where more came than is kept, the oldest has gone by itself.
                    if self._kept and self._kept[0] is told:
                        self._kept.popleft()
            else:
                with self._changed:
                    self._changed.wait(self._retry_s)

    def _told(self, name: str, state: WorkerState) -> bool:
        try:
            self._on_state(name, state)
        except Exception as error:  # noqa: BLE001  (it is the caller's; supervision must outlive whatever it raises)
            if not self._complained:
                _logger.warning("%s is %s, which cannot be recorded yet: %s", name, state.state, error)
            self._complained = True
            return False
        self._complained = False
        return True
