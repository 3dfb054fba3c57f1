"""Triple barrier: which is touched first, the barrier above, the one below, or the end of the horizon."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from kalibre.core.bars import Bars
from kalibre.core.errors import LabelError
from kalibre.core.protocols import FloatArray
from kalibre.labels.base import ExpectedOpens, check_horizon, market_position

_CHUNK_ROWS = 65_536


@dataclass(frozen=True)
class TripleBarrier:
    """The first of three barriers that the path of the bars after row t touches.

    From `close[t]`, the upper barrier lies `upper_width` and the lower one `lower_width` expected moves away, in log
    price; an expected move is the volatility of the last `volatility_window` log returns times the square root of the
    horizon. `y[t]` is 1.0 if the upper one is touched first and 0.0 if the lower one is. If neither is touched within
    `horizon_bars`, the vertical barrier decides: 1.0 if that close is above `close[t]`, else 0.0.

    Within one bar the path is unknown, so what cannot be ordered is resolved against the long side: a bar that opens
    between the barriers and reaches both counts as a loss (0.0). A bar that opens beyond a barrier touched that one
    first, which its open proves.

    Row t's barriers read bars up to t only; the label is known at the close of the touching bar, which may come well
    before the horizon's end. Rows without `volatility_window` returns behind them, without any volatility, or whose
    path spans missing bars (with a calendar) before a barrier is touched are unknown (NaN, row -1).

    Parameters
    ----------
    horizon_bars
        Where the vertical barrier stands, at least 1.
    upper_width, lower_width
        Distance in expected moves, above 0.
    volatility_window
        Log returns of the volatility estimate, at least 2.
    calendar
        Tells missing bars from nights; None counts rows.

    Raises
    ------
    LabelError
        If a parameter is out of range; the message quotes it.

    References
    ----------
    Lopez de Prado (2018), Advances in Financial Machine Learning, section 3.4.

    Examples
    --------
    >>> close = np.array([1.0, 1.1, 1.0, 1.02, 1.3])
    >>> bars = Bars("X", "1h", np.arange(5) * 3_600_000, close, close, close, close, close)
    >>> y, known_row = TripleBarrier(horizon_bars=2, volatility_window=2).compute(bars)
    >>> y.tolist(), known_row.tolist()
    ([nan, nan, 1.0, 1.0, nan], [-1, -1, 4, 4, -1])
    """

    name: ClassVar[str] = "triple_barrier"

    horizon_bars: int
    upper_width: float = 1.0
    lower_width: float = 1.0
    volatility_window: int = 100
    calendar: ExpectedOpens | None = None

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        check_horizon(self.horizon_bars)
        for side in ("upper_width", "lower_width"):
            width = getattr(self, side)
            if not (math.isfinite(width) and width > 0):
                raise LabelError(f"{side} {width!r} is not above 0: pass expected moves, for example 1.0")
        if self.volatility_window < 2:
            raise LabelError(f"volatility_window {self.volatility_window!r} is too short: pass at least 2 returns")

    @property
    def lookback_bars(self) -> int:
        """Bars before a sample that its barriers read."""
        return self.volatility_window

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
        move = trailing_volatility(bars.close, self.volatility_window) * math.sqrt(horizon)
        upper = bars.close * np.exp(self.upper_width * move)
        lower = bars.close * np.exp(-self.lower_width * move)
        place = market_position(bars, self.calendar)
        waiting = np.flatnonzero(move > 0)
        for ahead in range(1, horizon + 1):
            waiting = waiting[waiting + ahead < n_bars]
            row = waiting + ahead
            whole = place[row] - place[waiting] == ahead
            waiting, row = waiting[whole], row[whole]
            if not waiting.size:
                break
            above, below = upper[waiting], lower[waiting]
            opened_above = bars.open[row] >= above
            fell = (bars.low[row] <= below) & ~opened_above
            rose = (bars.high[row] >= above) & ~fell
            touched = fell | rose
            y[waiting[touched]] = rose[touched].astype(np.float64)
            known_row[waiting[touched]] = row[touched]
            waiting, row = waiting[~touched], row[~touched]
            if ahead == horizon:
                y[waiting] = (bars.close[row] > bars.close[waiting]).astype(np.float64)
                known_row[waiting] = row
        return y, known_row


def trailing_volatility(close: FloatArray, window: int) -> FloatArray:
    """Return the standard deviation of the last `window` log returns at each row.

    Row t reads closes `t - window` to t only. Each window is summed by itself: a running sum would carry what came
    before the window, and a label must not depend on where the history began.

    Parameters
    ----------
    close
        Shape (n_bars,), above 0.
    window
        Returns, at least 2.

    Returns
    -------
    Shape (n_bars,), log return per bar; NaN in the first `window` rows.
    """
    volatility = np.full(close.shape, np.nan)
    log_return = np.diff(np.log(close))
    if len(log_return) < window:
        return volatility
    windows = np.lib.stride_tricks.sliding_window_view(log_return, window)
    for start in range(0, len(windows), _CHUNK_ROWS):
        part = windows[start : start + _CHUNK_ROWS].std(axis=1, ddof=1)
        volatility[window + start : window + start + len(part)] = part
    return volatility


LABEL = TripleBarrier
