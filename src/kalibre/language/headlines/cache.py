"""The cache of scored headlines: an exact repetition and a near-duplicate cost nothing, and are counted apart.

A key holds the headline, the universe, the model and the prompt's version: a score is never reused for another
question. Scores and counts live in one SQLite file, so a restart loses neither; several processes may share it.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from kalibre.core.errors import LanguageError
from kalibre.language.headlines._database import opened
from kalibre.language.headlines.canonical import exact_key, near_key
from kalibre.language.headlines.score import Score

Reuse = Literal["", "exact", "near"]

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS score (
    question TEXT NOT NULL, exact TEXT NOT NULL, near TEXT NOT NULL, content BLOB NOT NULL,
    PRIMARY KEY (question, exact)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS score_near ON score (question, near);
CREATE TABLE IF NOT EXISTS count (what TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class CacheStats:
    """What the cache has done since its file was made."""

    lookups: int
    exact_hits: int
    near_hits: int
    misses: int
    entries: int

    @property
    def hit_rate(self) -> float | None:
        """Share of lookups that were answered, exact or near; None before the first."""
        return (self.exact_hits + self.near_hits) / self.lookups if self.lookups else None


def question_of(universe: Sequence[str] | None, model: str, prompt_version: str) -> str:
    """Return the hash of what is asked of a headline: for which assets, of which model, in which words."""
    content = msgspec.json.encode([None if universe is None else sorted(set(universe)), model, prompt_version])
    return hashlib.sha256(content).hexdigest()[:32]


class ScoreCache:
    """Scores by headline and question; safe to share between threads and processes.

    Parameters
    ----------
    path
        Its SQLite file, made where it is not there; None keeps everything in memory.

    Raises
    ------
    LanguageError
        From every method, if the file cannot be read or written; the message names it.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            self._db = opened(path)
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def get(self, headlines: Sequence[str], question: str) -> list[tuple[Score, Reuse] | None]:
        """Return what is known of each headline under a question, and whether it stands there word for word.

        Every headline is counted: as an exact hit, a near hit or a miss.
        """
        found: list[tuple[Score, Reuse] | None] = []
        counts = {"exact": 0, "near": 0, "miss": 0}
        with self._lock:
            try:
                for headline in headlines:
                    hit = self._find(headline, question)
                    counts["miss" if hit is None else hit[1]] += 1
                    found.append(hit)
                self._count(counts)
            except sqlite3.Error as error:
                raise self._unusable(error) from error
        return found

    def count_repeats(self, exact: int, near: int) -> None:
        """Count headlines that were answered by another of the same batch, before that one was stored."""
        with self._lock:
            try:
                # `get` has counted them as misses, for there was nothing yet.
                self._count({"exact": exact, "near": near, "miss": -(exact + near)})
            except sqlite3.Error as error:
                raise self._unusable(error) from error

    def put(self, scored: Sequence[tuple[str, Score]], question: str) -> None:
        """Store scores, all or none; what is there under the same headline and question is replaced."""
        rows = [(question, exact_key(text), near_key(text), msgspec.json.encode(score)) for text, score in scored]
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    self._db.executemany("INSERT OR REPLACE INTO score VALUES (?, ?, ?, ?)", rows)
                except BaseException:
                    self._db.execute("ROLLBACK")
                    raise
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                raise self._unusable(error) from error

    def stats(self) -> CacheStats:
        """Return the counts."""
        with self._lock:
            try:
                counts = dict(self._db.execute("SELECT what, n FROM count"))
                (entries,) = self._db.execute("SELECT count(*) FROM score").fetchone()
            except sqlite3.Error as error:
                raise self._unusable(error) from error
        exact, near, misses = (int(counts.get(what, 0)) for what in ("exact", "near", "miss"))
        return CacheStats(exact + near + misses, exact, near, misses, int(entries))

    def _find(self, headline: str, question: str) -> tuple[Score, Reuse] | None:
        asked = "SELECT content FROM score WHERE question = ? AND {} = ? LIMIT 1"
        for column, key, reuse in (("exact", exact_key(headline), "exact"), ("near", near_key(headline), "near")):
            row = self._db.execute(asked.format(column), (question, key)).fetchone()
            if row is not None:
                try:
                    return msgspec.json.decode(row[0], type=Score), "exact" if reuse == "exact" else "near"
                except msgspec.MsgspecError:
                    # What an older release wrote is asked again, and replaced.
                    return None
        return None

    def _count(self, counts: dict[str, int]) -> None:
        self._db.executemany(
            "INSERT INTO count VALUES (?, ?) ON CONFLICT (what) DO UPDATE SET n = n + excluded.n",
            [(what, n) for what, n in counts.items() if n],
        )

    def _unusable(self, error: Exception) -> LanguageError:
        return LanguageError(
            f"the cache of scored headlines {str(self._path or 'in memory')!r} cannot be used ({error}): free space, "
            "or move the file away; it is filled anew"
        )
