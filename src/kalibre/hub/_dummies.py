"""Dummies of the league: what anybody could have said without learning anything."""

from __future__ import annotations

import json
from hashlib import sha256

DUMMIES = ("base rate", "persistence", "random")
_KEPT = 2_000
"""Matured bars whose share of ups makes a rate; older ones fade at that pace."""


class Dummies:
    """The base rate, how often up follows up (persistence), and a guess (random), known before each bar.

    Examples
    --------
    >>> dummies = Dummies("X|1h")
    >>> for k in range(500):
    ...     dummies.learn(went_up=k % 2 == 0)
    >>> said = dummies.said(close_ms=0)
    >>> round(said["base rate"], 1), said["persistence"] > 0.9
    (0.5, True)
    """

    def __init__(self, key: str) -> None:
        self._key = key
        self._rate = [1.0, 2.0]
        self._after = {False: [1.0, 2.0], True: [1.0, 2.0]}
        self._last: bool | None = None

    def said(self, close_ms: int) -> dict[str, float]:
        """Return what each dummy says of a bar."""
        base = self._rate[0] / self._rate[1]
        after = base if self._last is None else self._after[self._last][0] / self._after[self._last][1]
        guess = int.from_bytes(sha256(f"{self._key}|{close_ms}".encode()).digest()[:6], "big") / 2.0**48
        return {"base rate": base, "persistence": after, "random": 0.3 + 0.4 * guess}

    def learn(self, *, went_up: bool) -> None:
        """Learn what became of a bar; in the order in which it was told."""
        _count(self._rate, went_up)
        if self._last is not None:
            _count(self._after[self._last], went_up)
        self._last = went_up

    def state(self) -> str:
        """Return everything that later answers depend on, as JSON."""
        return json.dumps([self._rate, self._after[False], self._after[True], self._last])

    def restore(self, state: str) -> None:
        """Take on what `state` returned."""
        self._rate, self._after[False], self._after[True], self._last = json.loads(state)


def _count(rate: list[float], went_up: bool) -> None:
    if rate[1] < _KEPT:
        rate[0] += went_up
        rate[1] += 1.0
    else:
        rate[0] += went_up - rate[0] / rate[1]
