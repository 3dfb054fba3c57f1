"""Headlines between feed and log: each is put down once, with when it was first seen, before anything is made of it.

So a kill at any instant loses none and doubles none: what was seen is on the disk together with how far its source has
been read, and what is read again is the same item. One SQLite file, written by one process at a time.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from kalibre.core.errors import LanguageError, UsageError
from kalibre.language.headlines._database import opened

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS item (
    place INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, source TEXT NOT NULL, text TEXT NOT NULL, url TEXT NOT NULL,
    published TEXT NOT NULL, note TEXT NOT NULL, seen_ms INTEGER NOT NULL, stale INTEGER NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0, done INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS item_waiting ON item (done, place);
CREATE TABLE IF NOT EXISTS source (
    name TEXT PRIMARY KEY, memory BLOB NOT NULL, tried_ms INTEGER NOT NULL, read_ms INTEGER NOT NULL,
    next_ms INTEGER NOT NULL, failures INTEGER NOT NULL, trouble TEXT NOT NULL, headlines INTEGER NOT NULL
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Item:
    """A headline as it was first seen.

    Attributes
    ----------
    place
        In the order in which they came; 0 before it is kept.
    id
        What makes it one item, however often it is read.
    published
        As its source says, or when it was first seen where that cannot be used; `note` then says why.
    stale
        Whether it was too old for news when it was first seen.
    tries
        How often a score was asked for in vain.
    """

    id: str
    source: str
    text: str
    url: str
    published: str
    note: str
    seen_ms: int
    stale: bool
    place: int = 0
    tries: int = 0


@dataclass(frozen=True)
class Standing:
    """How a source stands: when it was last tried and read whole (UTC ms, 0 for never), and what is wrong with it."""

    name: str
    memory: Mapping[str, Any]
    tried_ms: int = 0
    read_ms: int = 0
    next_ms: int = 0
    failures: int = 0
    trouble: str = ""
    headlines: int = 0


class Inbox:
    """The file.

    Parameters
    ----------
    path
        The file, made where it is not there.

    Raises
    ------
    LanguageError
        From every method, if the file cannot be read or written; the message names it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._used():
            self._db = opened(path)
            self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def take(self, items: Sequence[Item], standing: Standing) -> int:
        """Put down what a look at a source brought, with how the source stands; return how many items are new."""
        memory = msgspec.json.encode(standing.memory)
        with self._used(), self._transaction():
            new = 0
            for one in items:
                row = (one.id, one.source, one.text, one.url, one.published, one.note, one.seen_ms, one.stale)
                new += self._db.execute(
                    "INSERT INTO item (id, source, text, url, published, note, seen_ms, stale) VALUES "
                    "(?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
                    row,
                ).rowcount
            self._db.execute(
                "INSERT OR REPLACE INTO source VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    standing.name,
                    memory,
                    standing.tried_ms,
                    standing.read_ms,
                    standing.next_ms,
                    standing.failures,
                    standing.trouble[:500],
                    standing.headlines + new,
                ),
            )
        return new

    def waiting(self, limit: int, *, untried: bool = False) -> list[Item]:
        """Return items that are not done, those that were tried least first, then in the order in which they came."""
        asked = (
            "SELECT id, source, text, url, published, note, seen_ms, stale, place, tries FROM item "
            "WHERE done = 0 AND tries <= ? ORDER BY tries, place LIMIT ?"
        )
        with self._used():
            rows = self._db.execute(asked, (0 if untried else 2**31, limit)).fetchall()
        return [
            Item(name, source, text, url, published, note, seen_ms, bool(stale), place, tries)
            for name, source, text, url, published, note, seen_ms, stale, place, tries in rows
        ]

    def settle(self, done: Sequence[Item], again: Sequence[Item]) -> None:
        """Note what is done with, and what has to be asked once more."""
        with self._used(), self._transaction():
            self._db.executemany("UPDATE item SET done = 1 WHERE id = ?", [(one.id,) for one in done])
            self._db.executemany("UPDATE item SET tries = tries + 1 WHERE id = ?", [(one.id,) for one in again])

    def standing(self, name: str) -> Standing:
        """Return how a source stands; a new one stands at its beginning."""
        return next((one for one in self.standings() if one.name == name), Standing(name, {}))

    def standings(self) -> list[Standing]:
        """Return how every source stands that was ever followed here."""
        with self._used():
            rows = self._db.execute("SELECT * FROM source ORDER BY name").fetchall()
        return [Standing(row[0], msgspec.json.decode(row[1]), *row[2:]) for row in rows]

    def counts(self) -> tuple[int, int]:
        """Return how many items there are, and how many of them wait."""
        with self._used():
            whole, waiting = self._db.execute("SELECT count(*), coalesce(sum(done = 0), 0) FROM item").fetchone()
        return int(whole), int(waiting)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the file for one follower.

        Raises
        ------
        UsageError
            If another one holds it.
        """
        lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UsageError(
                    f"another process follows feeds into {str(self._path)!r}: stop it, or give this one another home"
                ) from None
            yield
        finally:
            os.close(lock)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextmanager
    def _used(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, msgspec.MsgspecError) as error:
            raise LanguageError(
                f"the headlines that were seen {str(self._path)!r} cannot be kept ({error}): free space, or move the "
                "file away; what the feeds still show is then seen anew"
            ) from error
