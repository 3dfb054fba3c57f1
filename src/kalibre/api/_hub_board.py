"""What the page shows, as it can be sent: named values, and rings of points, each with the position that it is from.

Because every value knows its position, one question serves first sight, live updates and coming back after a break:
what is newer than position p? Who reads slowly gets the newest of everything instead of everything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

MOST_CELLS = 4_000
"""Named values kept; a name that comes after that many is passed over, so that a log of any content fits."""


class Cell(NamedTuple):
    """A newest value: what, as of when (market or wall time, UTC ms), when recorded, and the position it is from."""

    value: Any
    at_ms: int
    recorded_ms: int
    seq: int


class Ring:
    """The newest points of a line, each under an id that a later point may take over.

    Parameters
    ----------
    size
        Points kept.
    by_id
        Kept in the order of their ids (times), the greatest ones stay; else in the order in which they came.

    Examples
    --------
    >>> ring = Ring(2)
    >>> for seq, (time, value) in enumerate([(10, "a"), (30, "c"), (20, "b"), (30, "C")], start=1):
    ...     ring.put(time, value, seq)
    >>> ring.values(), ring.newer(3)
    (['b', 'C'], (False, ['C']))
    """

    __slots__ = ("_changes", "_points", "_sorted", "by_id", "last_seq", "size")

    def __init__(self, size: int, *, by_id: bool = True) -> None:
        self.size, self.by_id = size, by_id
        self._points: dict[Any, tuple[Any, int]] = {}
        self._changes: deque[tuple[int, Any]] = deque(maxlen=size)
        self._sorted = True
        self.last_seq = 0

    def __len__(self) -> int:
        """Return the number of points."""
        return len(self._points)

    def get(self, name: Any) -> Any:
        """Return a point, None if it is not kept."""
        found = self._points.get(name)
        return None if found is None else found[0]

    def put(self, name: Any, value: Any, seq: int) -> None:
        """Put a point in its place."""
        if not self.by_id:
            self._points.pop(name, None)
        elif self._points and name not in self._points:
            self._order()
            if name < next(reversed(self._points)):
                if len(self._points) >= self.size and name < next(iter(self._points)):
                    return  # older than everything kept
                self._sorted = False
        self._points[name] = (value, seq)
        self._changes.append((seq, name))
        self.last_seq = max(self.last_seq, seq)
        if len(self._points) > self.size:
            self._order()
            del self._points[next(iter(self._points))]

    def values(self) -> list[Any]:
        """Return every point, in order."""
        self._order()
        return [value for value, _ in self._points.values()]

    def newest(self, n: int) -> list[Any]:
        """Return the last `n` points, in order."""
        self._order()
        return [value for value, _ in list(self._points.values())[-n:]]

    def newer(self, seq: int) -> tuple[bool, list[Any]]:
        """Return what came after a position, and whether that is the whole ring (nothing older is worth keeping)."""
        changed = []
        for at, name in reversed(self._changes):
            if at <= seq:
                break
            changed.append(name)
        else:
            # More than the changes that are remembered, or the first look.
            return True, self.values()
        if len(changed) >= len(self._points):
            return True, self.values()
        # Of several changes the last one says where a point stands now.
        names = [name for name in reversed(dict.fromkeys(changed)) if name in self._points]
        return False, [self._points[name][0] for name in (sorted(names) if self.by_id else names)]

    def _order(self) -> None:
        if not self._sorted:
            self._points = dict(sorted(self._points.items()))
            self._sorted = True


class Board:
    """Every named value and ring."""

    def __init__(self) -> None:
        self.cells: dict[str, Cell] = {}
        self.rings: dict[str, Ring] = {}
        self.seq = 0
        """The position up to which the board knows the log."""

    def put(self, name: str, value: Any, *, at_ms: int, recorded_ms: int, seq: int, by_time: bool = False) -> None:
        """Set a named value; with `by_time` not if a value of a later time is there, as where bars are back-filled."""
        known = self.cells.get(name)
        if known is None and len(self.cells) >= MOST_CELLS:
            return
        if known is None or not by_time or at_ms >= known.at_ms:
            self.cells[name] = Cell(value, at_ms, recorded_ms, seq)

    def ring(self, name: str, size: int, *, by_id: bool = True) -> Ring:
        """Return a ring, empty at first; beyond the limit of names it is kept by nobody."""
        found = self.rings.get(name)
        if found is None:
            found = Ring(size, by_id=by_id)
            if len(self.rings) < MOST_CELLS:
                self.rings[name] = found
        return found

    def value(self, name: str) -> Any:
        """Return a named value, None if it was never set."""
        cell = self.cells.get(name)
        return None if cell is None else cell.value

    def under(self, prefix: str) -> Iterator[tuple[str, Cell]]:
        """Return the values whose names begin so, by the rest of their names."""
        for name, cell in self.cells.items():
            if name.startswith(prefix):
                yield name[len(prefix) :], cell

    def since(self, seq: int, wanted: Callable[[str], bool]) -> Mapping[str, Any]:
        """Return everything newer than a position, of the rings that are wanted, in a form for JSON."""
        cells = {
            name: {"v": cell.value, "at": cell.at_ms, "rec": cell.recorded_ms}
            for name, cell in self.cells.items()
            if cell.seq > seq
        }
        rings = {}
        for name, ring in self.rings.items():
            if ring.last_seq > seq and wanted(name):
                whole, points = ring.newer(seq)
                rings[name] = {"whole": whole, "points": points}
        return {"seq": self.seq, "cells": cells, "rings": rings}
