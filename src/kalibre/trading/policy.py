"""Policy: from a calibrated probability to ENTRY, EXIT or HOLD, and why, in plain words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from kalibre.core.errors import PolicyError

HOLD, ENTRY, EXIT = 0, 1, 2
ACTIONS: tuple[Literal["HOLD"], Literal["ENTRY"], Literal["EXIT"]] = ("HOLD", "ENTRY", "EXIT")

# Why a bar ended as it did; the engine returns these numbers, `explain` turns them into words.
NO_FORECAST, WAITS, ENTERS, KEEPS, EXITS, DAY_LOST, DAY_OVER, NO_VOLATILITY, HELD = range(9)


@dataclass(frozen=True)
class Policy:
    """When to be long: at or above `entry_threshold` get in, at or below `exit_threshold` get out, else stay.

    Raises
    ------
    PolicyError
        If a threshold is not between 0 and 1 or the exit is not below the entry; the message quotes them.

    Examples
    --------
    >>> Policy(entry_threshold=0.55, exit_threshold=0.50).exit_threshold
    0.5
    >>> Policy(entry_threshold=0.5, exit_threshold=0.6)
    Traceback (most recent call last):
    kalibre.core.errors.PolicyError: exit_threshold 0.6 is not below entry_threshold 0.5: ...
    """

    entry_threshold: float
    exit_threshold: float

    def __post_init__(self) -> None:
        """Refuse thresholds that no policy can follow."""
        for name in ("entry_threshold", "exit_threshold"):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 <= value <= 1):
                raise PolicyError(f"{name} = {value!r} is no probability: give a number from 0 to 1")
        if not self.exit_threshold < self.entry_threshold:
            raise PolicyError(
                f"exit_threshold {self.exit_threshold!r} is not below entry_threshold {self.entry_threshold!r}: "
                "a bar would ask to get in and out at once; lower the exit or raise the entry"
            )


def confidence(p_up: float) -> float:
    """Return how far a probability is from a coin toss: `|2p - 1|`, 0 to 1.

    Examples
    --------
    >>> confidence(0.75)
    0.5
    """
    return abs(2.0 * p_up - 1.0)


def explain(reason: int, p_up: float | None, policy: Policy, *, daily_loss: float, note: str = "") -> str:
    """Say in one sentence why a bar ended in its action.

    Parameters
    ----------
    reason
        One of this module's reason numbers, as the engine returns it.
    p_up
        The probability that was judged; None or NaN where there was none.
    daily_loss
        The limit in force, as a fraction.
    note
        What held the policy back, for `HELD`, or why there is no forecast, for `NO_FORECAST`.

    Examples
    --------
    >>> explain(ENTERS, 0.61, Policy(0.58, 0.5), daily_loss=0.05)
    'p_up 0.6100 is at or above the entry threshold 0.5800'
    """
    shown = "unknown" if p_up is None or math.isnan(p_up) else f"{p_up:.4f}"
    entry, exit_ = f"{policy.entry_threshold:.4f}", f"{policy.exit_threshold:.4f}"
    sentences = {
        NO_FORECAST: note or "there is no forecast for this bar",
        WAITS: f"flat, and p_up {shown} is below the entry threshold {entry}",
        ENTERS: f"p_up {shown} is at or above the entry threshold {entry}",
        KEEPS: f"long, and p_up {shown} is above the exit threshold {exit_}",
        EXITS: f"p_up {shown} is at or below the exit threshold {exit_}",
        DAY_LOST: f"equity is more than {daily_loss:.1%} below the close of the day before: out until tomorrow (UTC)",
        DAY_OVER: f"the daily loss limit of {daily_loss:.1%} was reached: no entry until tomorrow (UTC)",
        NO_VOLATILITY: "volatility is unknown or zero, so a position cannot be sized",
        HELD: note or "the policy is held",
    }
    return sentences[reason]
