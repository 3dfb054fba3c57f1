"""How the cache of scores and the recording of answers open their SQLite files."""

from __future__ import annotations

import sqlite3
from pathlib import Path


def opened(path: Path | None) -> sqlite3.Connection:
    """Open a file, made with its folder where it is not there; None keeps everything in memory.

    Threads may share it behind a lock, processes share the file.
    """
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(
        ":memory:" if path is None else path, timeout=10.0, isolation_level=None, check_same_thread=False
    )
    database.execute("PRAGMA journal_mode=WAL")
    return database
