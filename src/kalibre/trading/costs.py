"""Costs: what a fill on paper pays, per side, and when it is too late to buy."""

from __future__ import annotations

from typing import NamedTuple

from kalibre.core.errors import PolicyError
from kalibre.core.settings import CostSettings

BASIS_POINT = 1e-4


class Rates(NamedTuple):
    """Costs as plain fractions of the traded value, as the compiled engine reads them."""

    fee: float
    slippage: float


def rates(costs: CostSettings) -> Rates:
    """Turn the settings' basis points into fractions.

    Raises
    ------
    PolicyError
        If a cost is 100 % or more, which would leave nothing of a sale; the message quotes it.

    Examples
    --------
    >>> rates(CostSettings(fee_bps=10, slippage_bps=0)).fee
    0.001
    """
    fee, slippage = costs.fee_bps * BASIS_POINT, costs.slippage_bps * BASIS_POINT
    for name, value in (("fee_bps", fee), ("slippage_bps", slippage)):
        if not 0 <= value < 1:
            raise PolicyError(
                f"{name} = {value / BASIS_POINT:g} is not a cost: give basis points from 0 to below 10000"
            )
    return Rates(fee=fee, slippage=slippage)


def round_trip(costs: CostSettings) -> float:
    """Return the fraction of value that buying and selling at an unchanged price costs.

    Examples
    --------
    >>> round(round_trip(CostSettings(fee_bps=4, slippage_bps=1)) * 1e4, 3)
    9.995
    """
    fee, slippage = rates(costs)
    return 1 - (1 - slippage) * (1 - fee) / ((1 + slippage) * (1 + fee))
