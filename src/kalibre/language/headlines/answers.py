"""Every answer of an endpoint that was paid for, kept so that it is never paid for twice."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kalibre.core.errors import LanguageError
from kalibre.language.headlines._database import opened

_SPEND: Final = "INSERT INTO spent VALUES (?, ?) ON CONFLICT (what) DO UPDATE SET n = n + excluded.n"


class Recording:
    """Every answer that was paid for, by the hash of what was asked, and what was spent; one SQLite file.

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
                "CREATE TABLE IF NOT EXISTS line (request TEXT PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID"
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
        found: bytes | None = self._one("SELECT content FROM answer WHERE request = ?", request)
        return found

    def line(self, request: str) -> bytes | None:
        """Return what was answered of one headline, by the request that asks for it alone."""
        found: bytes | None = self._one("SELECT content FROM line WHERE request = ?", request)
        return found

    def keep(
        self, request: str, model: str, content: bytes, *, tokens: int = 0, lines: Mapping[str, bytes] | None = None
    ) -> None:
        """Record an answer, what it says of each headline, and what it cost: all or nothing."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    self._db.execute(
                        "INSERT OR REPLACE INTO answer VALUES (?, ?, ?, ?)",
                        (request, model, content, time.time_ns() // 1_000_000),
                    )
                    self._db.executemany("INSERT OR REPLACE INTO line VALUES (?, ?)", list((lines or {}).items()))
                    self._db.execute(_SPEND, ("tokens", tokens))
                except BaseException:
                    self._db.execute("ROLLBACK")
                    raise
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                raise self._unusable(error) from error

    def take(self, what: str, limit: int) -> bool:
        """Spend one more unless that is above the limit; of several processes too, none goes beyond it."""
        with self._lock:
            try:
                taken = self._db.execute(
                    "INSERT INTO spent SELECT ?, 1 WHERE ? >= 1 ON CONFLICT (what) DO UPDATE SET n = n + 1 WHERE n < ?",
                    (what, limit, limit),
                )
            except sqlite3.Error as error:
                raise self._unusable(error) from error
        return taken.rowcount > 0

    def spend(self, what: str, n: int) -> None:
        """Add to what was spent."""
        with self._lock:
            try:
                self._db.execute(_SPEND, (what, n))
            except sqlite3.Error as error:
                raise self._unusable(error) from error

    def spent(self, what: str) -> int:
        """Return what was spent so far."""
        found = self._one("SELECT n FROM spent WHERE what = ?", what)
        return 0 if found is None else int(found)

    def _one(self, query: str, name: str) -> Any:
        with self._lock:
            try:
                row = self._db.execute(query, (name,)).fetchone()
            except sqlite3.Error as error:
                raise self._unusable(error) from error
        return None if row is None else row[0]

    def _unusable(self, error: Exception) -> LanguageError:
        return LanguageError(
            f"the recording of answers {str(self._path or 'in memory')!r} cannot be used ({error}): free space or mend "
            "it; nothing is asked that cannot be recorded"
        )
