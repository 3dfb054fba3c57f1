"""Kills what a supervisor leaves behind when it is killed itself; a script that needs the standard library only.

The kernel kills each worker with its supervisor, but not what a worker has started. The keeper is told on its standard
input which sessions live (`+4711`) and which have ended (`-4711`); when the input ends, the supervisor is gone, and
every session that still lives is killed whole.

    python -I -S keeper.py [SESSION ...] < pipe
"""

from __future__ import annotations

import os
import signal
import sys


def _members(session: int) -> list[int]:
    found = []
    try:
        names = os.listdir("/proc")
    except OSError:
        return [session]
    for name in names:
        if name.isdigit():
            try:
                if os.getsid(int(name)) == session:
                    found.append(int(name))
            except OSError:
                continue
    return found


def _kill(session: int) -> None:
    killed: set[int] = set()
    for _ in range(20):
        alive = set(_members(session)) - killed
        if not alive:
            return
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue
        killed |= alive


def main() -> int:
    """Follow the input to its end, then kill what lives."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sessions = {int(word) for word in sys.argv[1:]}
    for line in sys.stdin.buffer:
        word = line.strip()
        if word[1:].isdigit():
            (sessions.add if word[:1] == b"+" else sessions.discard)(int(word[1:]))
    for session in sessions:
        _kill(session)
    return 0


if __name__ == "__main__":
    sys.exit(main())
