"""Risk: how large a position may be, and when a day has lost enough."""

from __future__ import annotations

import math
from typing import NamedTuple

from kalibre.core.errors import PolicyError
from kalibre.core.settings import RiskSettings


class Limits(NamedTuple):
    """Risk settings as the compiled engine reads them."""

    max_exposure: float
    risk_per_trade: float
    root_horizon: float
    """Square root of the horizon in bars: a horizon move is `volatility * root_horizon`."""
    day_floor: float
    """Share of the last equity of the day before, under which the day is over."""


def limits(risk: RiskSettings, horizon_bars: int) -> Limits:
    """Bring the risk settings into the engine's terms.

    Raises
    ------
    PolicyError
        If `horizon_bars` is below 1; the message quotes it.

    Examples
    --------
    >>> limits(RiskSettings(daily_loss=0.25), 4).day_floor
    0.75
    """
    if horizon_bars < 1:
        raise PolicyError(f"horizon_bars = {horizon_bars} is no horizon: give the model's, at least 1")
    return Limits(
        max_exposure=float(risk.max_exposure),
        risk_per_trade=float(risk.risk_per_trade),
        root_horizon=math.sqrt(horizon_bars),
        day_floor=1.0 - risk.daily_loss,
    )
