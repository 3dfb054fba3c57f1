"""How the cache of scores, the recording of answers and the inbox open their SQLite files."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Final

_PATIENCE_S: Final = 10.0


def opened(path: Path | None) -> sqlite3.Connection:
    """Open a file, made with its folder where it is not there; None keeps everything in memory.

    Threads may share it behind a lock, processes share the file.
    """
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(
        ":memory:" if path is None else path, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False
    )
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            database.execute("PRAGMA journal_mode=WAL")
            return database
        except sqlite3.Error as error:
            # SQLite itself waits for nobody here: several processes that start on a new file would lose each other.
            if "locked" not in str(error) or time.monotonic() > deadline:
                database.close()
                raise
            time.sleep(0.01)
