"""Every answer of an endpoint that was paid for, kept so that it is never paid for twice."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

from kalibre.core.errors import LanguageError
from kalibre.language.headlines._database import opened


class Recording:
    """Every answer that was paid for, by the hash of what was asked; one SQLite file.

    Parameters
    ----------
    path
        The file; None keeps it in memory.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            self._db = opened(path)
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS answer (request TEXT PRIMARY KEY, model TEXT NOT NULL, content BLOB NOT "
                "NULL, at_ms INTEGER NOT NULL) WITHOUT ROWID"
            )
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS spent (what TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID"
            )
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def find(self, request: str) -> bytes | None:
        """Return the recorded answer to a request, None if it was never asked."""
        with self._lock:
            try:
                row = self._db.execute("SELECT content FROM answer WHERE request = ?", (request,)).fetchone()
            except sqlite3.Error as error:
                raise self._unusable(error) from error
        return None if row is None else bytes(row[0])

    def keep(self, request: str, model: str, content: bytes) -> None:
        """Record an answer."""
        with self._lock:
            try:
                self._db.execute(
                    "INSERT OR REPLACE INTO answer VALUES (?, ?, ?, ?)",
                    (request, model, content, time.time_ns() // 1_000_000),
                )
            except sqlite3.Error as error:
                raise self._unusable(error) from error

    def spend(self, what: str, n: int) -> None:
        """Add to what was spent."""
        with self._lock:
            try:
                self._db.execute(
                    "INSERT INTO spent VALUES (?, ?) ON CONFLICT (what) DO UPDATE SET n = n + excluded.n", (what, n)
                )
            except sqlite3.Error as error:
                raise self._unusable(error) from error

    def spent(self, what: str) -> int:
        """Return what was spent so far."""
        with self._lock:
            try:
                row = self._db.execute("SELECT n FROM spent WHERE what = ?", (what,)).fetchone()
            except sqlite3.Error as error:
                raise self._unusable(error) from error
        return 0 if row is None else int(row[0])

    def _unusable(self, error: Exception) -> LanguageError:
        return LanguageError(
            f"the recording of answers {str(self._path or 'in memory')!r} cannot be used ({error}): free space or mend "
            "it; nothing is asked that cannot be recorded"
        )
