"""Direction: whether the close after the horizon is above the close now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from kalibre.core.bars import Bars
from kalibre.core.protocols import FloatArray
from kalibre.labels.base import ExpectedOpens, check_horizon, market_position


@dataclass(frozen=True)
class Direction:
    """The sign of the return over `horizon_bars`.

    `y[t]` is 1.0 if `close[t + horizon_bars] > close[t]`, else 0.0: the house's `p_up` is the probability that the
    close is *above*, so an unchanged close is not up. It is known at the close of row `t + horizon_bars`; the last
    `horizon_bars` rows are unknown (NaN, row -1).

    Parameters
    ----------
    horizon_bars
        Bars looked ahead, at least 1.
    calendar
        With it, a label whose horizon spans missing bars is unknown for ever: a return over a 33-hour hole is no
        return over four bars. None counts rows, whatever the time between them; right where the bars are whole, and
        for sessions, where a night is no hole.

    Raises
    ------
    LabelError
        If the horizon is not a positive whole number.

    Examples
    --------
    >>> price = np.array([1.0, 2.0, 2.0, 1.0])
    >>> bars = Bars("X", "1h", np.arange(4) * 3_600_000, price, price, price, price, price)
    >>> y, known_row = Direction(horizon_bars=1).compute(bars)
    >>> y.tolist(), known_row.tolist()
    ([1.0, 0.0, 0.0, nan], [1, 2, 3, -1])
    """

    name: ClassVar[str] = "direction"

    horizon_bars: int
    calendar: ExpectedOpens | None = None

    def __post_init__(self) -> None:
        """Refuse a horizon that is none."""
        check_horizon(self.horizon_bars)

    def compute(self, bars: Bars) -> tuple[FloatArray, NDArray[np.int64]]:
        """Return `y` (n_bars,) in {0.0, 1.0, NaN} and the row at whose close each is known, -1 where it never is.

        Raises
        ------
        BarError
            If the bars are none (see `Bars.check`).
        """
        bars.check()
        n_bars, horizon = len(bars), self.horizon_bars
        y = np.full(n_bars, np.nan)
        known_row = np.full(n_bars, -1, dtype=np.int64)
        if n_bars <= horizon:
            return y, known_row
        place = market_position(bars, self.calendar)
        whole = place[horizon:] - place[:-horizon] == horizon
        row = np.flatnonzero(whole)
        y[row] = (bars.close[row + horizon] > bars.close[row]).astype(np.float64)
        known_row[row] = row + horizon
        return y, known_row


LABEL = Direction
