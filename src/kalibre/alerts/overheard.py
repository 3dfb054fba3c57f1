"""What apprise and urllib3 log while they send: read for the reason of a failure, and never passed on.

apprise tells its caller only whether a message was taken; why not, it logs. What it logs (and urllib3 at DEBUG: the
path of each request) holds tokens and passwords, so in a thread that sends nothing of it reaches a handler.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

_LOGGERS = ("apprise", "requests", "urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry")


class _Here(threading.local):
    lines: list[tuple[int, str]] | None = None


_here = _Here()


class _Overhear(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if _here.lines is None:
            # The level of apprise's logger is ours: what another thread logs below a warning would come unasked.
            return record.name != "apprise" or record.levelno >= logging.WARNING
        if record.name == "apprise":
            _here.lines.append((record.levelno, record.getMessage()))
        return False


_overhear = _Overhear()


@contextlib.contextmanager
def overheard() -> Iterator[list[tuple[int, str]]]:
    """Yield the list of (level, line) that apprise logs in this thread; handlers get none of it."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_overhear)  # adding it again changes nothing
    logging.getLogger("apprise").setLevel(logging.DEBUG)  # the exception behind a failure is told at this level only
    before = _here.lines
    lines: list[tuple[int, str]] = []
    _here.lines = lines
    try:
        yield lines
    finally:
        _here.lines = before
