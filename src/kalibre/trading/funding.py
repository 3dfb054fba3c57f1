"""Funding rates as they are recorded, and which of them a bar has to pay."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Mapping
from typing import Any

import numpy as np

from kalibre.core.protocols import FloatArray

_SECOND_MS = 1_000

Owed = tuple[tuple[int, float], ...]
"""(Settlement, rate) of rates that came, or came otherwise, after the bar that had to pay them."""


class FundingRates:
    """The rates of a symbol by settlement, whenever they were recorded.

    Settlements count to the second: exchanges stamp one of 08:00 some milliseconds late, and a bar that closes at 08:00
    has to pay it. Each is charged once: one that is recorded twice is one, one that is revised is charged the
    difference.

    Examples
    --------
    >>> rates = FundingRates()
    >>> rates.take(28_800_001, 0.0001), rates.take(28_800_000, 0.0001), rates.take(28_800_000, 0.0003)
    ((28800000, 0.0001), None, (28800000, 0.00019999999999999998))
    >>> rates.due(0, 28_800_000)
    0.0003
    """

    def __init__(self) -> None:
        self._times: list[int] = []
        self._rates: dict[int, float] = {}
        self._table: FloatArray | None = None

    def take(self, settlement_ms: int, rate: float) -> tuple[int, float] | None:
        """Take a rate in; return the settlement and by how much more it is than was known, None if it is not."""
        settled_ms = settlement_ms - settlement_ms % _SECOND_MS
        known = self._rates.get(settled_ms)
        if known is None:
            insort(self._times, settled_ms)
        self._rates[settled_ms] = rate
        self._table = None
        change = rate if known is None else rate - known
        return (settled_ms, change) if change else None

    def due(self, after_ms: int, upto_ms: int) -> float:
        """Return the sum of the rates with `after_ms < settlement <= upto_ms`."""
        total = 0.0
        if self._times and self._times[-1] > after_ms:
            for place in range(bisect_right(self._times, after_ms), bisect_right(self._times, upto_ms)):
                total += self._rates[self._times[place]]
        return total

    def forget(self, upto_ms: int) -> None:
        """Forget settlements up to a time."""
        if self._times and self._times[0] <= upto_ms:
            place = bisect_right(self._times, upto_ms)
            for time in self._times[:place]:
                del self._rates[time]
            del self._times[:place]
            self._table = None

    def state(self) -> dict[str, Any]:
        """Return everything that later answers depend on."""
        if self._table is None:
            rows = [(time, self._rates[time]) for time in self._times]
            self._table = np.array(rows, dtype=np.float64).reshape(-1, 2)
        return {"rates": self._table}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take on a state returned by `state`."""
        self._rates = {int(time): rate for time, rate in np.asarray(state["rates"]).tolist()}
        self._times = sorted(self._rates)
        self._table = None
