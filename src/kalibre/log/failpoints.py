"""Named places where a process can be made to die: `KALIBRE_FAILPOINT="jobs.complete:2"` kills it the second time.

Dying is SIGKILL to oneself: no handler, no `finally`, no flush, as when the kernel's memory killer ends a process.
Where nothing is armed a place costs one comparison, so the places stay in what is shipped, and the very code that users
run is the code that is killed.
"""

from __future__ import annotations

import os
import re
import signal
from functools import cache
from pathlib import Path

from kalibre.core.errors import SettingsError

VARIABLE = "KALIBRE_FAILPOINT"
_PLACE = re.compile(r"^\s*failpoint\(\"([a-z_.]+)\"\)", re.MULTILINE)

_armed: str | None = None
_left = 0


def failpoint(name: str) -> None:
    """Die here if this place is armed and was reached often enough; else do nothing.

    Parameters
    ----------
    name
        `file.place`, for example `outbox.delivered`; written as a literal, so that `places` finds it.
    """
    if _armed is None:
        return
    _reached(name)


def _reached(name: str) -> None:
    global _left  # noqa: PLW0603 - one process, one place where it dies
    if name != _armed:
        return
    _left -= 1
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)


def arm(text: str) -> None:
    """Choose where this process dies: `name`, or `name:count` for the count-th time; empty for nowhere.

    Raises
    ------
    SettingsError
        If there is no such place or the count is no number from 1 on; the message quotes it.

    Examples
    --------
    >>> arm("")
    >>> arm("jobs.complete:0")
    Traceback (most recent call last):
    ...
    kalibre.core.errors.SettingsError: KALIBRE_FAILPOINT 'jobs.complete:0' does not count: write name or name:count
    """
    global _armed, _left  # noqa: PLW0603
    if not text:
        _armed = None
        return
    name, separator, count = text.partition(":")
    if separator and not (count.isascii() and count.isdigit() and int(count) > 0):
        raise SettingsError(f"{VARIABLE} {text!r} does not count: write name or name:count")
    if name not in places():
        raise SettingsError(f"{VARIABLE} {text!r} names no place: choose one of {', '.join(places())}")
    _armed, _left = name, int(count or 1)


@cache
def places() -> tuple[str, ...]:
    """Return every place that the code names, found in its files: whoever adds one has added it to the tests too."""
    root = Path(__file__).resolve().parents[1]
    found = {name for path in root.rglob("*.py") for name in _PLACE.findall(path.read_text(encoding="utf-8"))}
    return tuple(sorted(found))


arm(os.environ.get(VARIABLE, ""))
