"""How far a text moves each asset it names, from -1 to 1.

The text's own score belongs to the asset it is about, the one named first (Borsa Istanbul where none is). Another asset
has the direction of the clauses that speak of it; where rules say that two assets part, they part.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kalibre.language.sentiment.directions import Reading

MARKET = "BIST100"
_LEAST = 0.05
_SAID = 0.25
"""What a clause's direction is worth at least, where it contradicts the text's score."""


def scale_of(scores: NDArray[np.float64], impacts: NDArray[np.float64] | None) -> float:
    """Return the factor that brings scores (probability of up less that of down) closest to impacts; 0.6 if unknown."""
    if impacts is None or not np.any(scores):
        return 0.6
    return float(np.clip(scores @ impacts / (scores @ scores), 0.1, 1.0))


def impacts_of(text: str, reading: Reading, score: float) -> list[tuple[str, float]]:
    """Return (asset, impact) in the order in which the text names the assets.

    Parameters
    ----------
    text, reading
        The text and what the rules found in it.
    score
        The text's score, on the scale of impacts.
    """
    named = assets_of(text, reading)
    if not named:
        return [(MARKET, round(score, 3))] if abs(score) >= _LEAST else []
    said = {asset: _said(reading, asset) for asset in named}
    first = named[0]
    found = []
    parted = any(said[one] * said[two] < 0 for one in named for two in named)
    for asset in named:
        if asset == first and not (parted and said[asset] * score < 0):
            value = score
        elif asset == first or parted:
            value = math.copysign(max(abs(score), _SAID), said[asset]) if said[asset] else 0.0
        elif said[asset]:
            value = math.copysign(abs(score), said[asset])
        else:
            value = 0.5 * score
        found.append((asset, round(float(np.clip(value, -1.0, 1.0)), 3)))
    return found


def _said(reading: Reading, asset: str) -> float:
    return math.tanh(sum(one.weight for one in reading.findings if one.asset == asset))


def assets_of(text: str, reading: Reading) -> list[str]:
    """Return the assets that a text names, the first first."""
    place = dict(reading.assets)
    found = sorted(place, key=lambda asset: place[asset])
    return [f"OTHER:{asset}" if asset == "TRY" else asset for asset in found]
