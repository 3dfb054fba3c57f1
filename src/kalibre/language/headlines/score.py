"""A scored headline: which asset, which way and how strongly, for how long, and how sure."""

from __future__ import annotations

import math

import msgspec

from kalibre.core.text_events import Horizon
from kalibre.language.base import AssetImpact


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """What a headline means. `asset` is None where it means nothing for any asset of the universe.

    Attributes
    ----------
    asset
        Symbol (`THYAO`, `BIST100`, `USD`, `BTC`) of what the headline is about.
    impact
        Expected direction and strength for it in [-1, 1]; None where the scorer abstains.
    horizon
        How long it matters; None where nothing supports one.
    confidence
        Calibrated probability in [0, 1] that the direction is right; None where the scorer abstains.
    also
        Further assets named, each with its own impact.
    abstained
        Why there is no score; then impact, confidence and horizon are None: a score is never made up.
    model
        Version of the model, or the endpoint's model with the prompt's version.
    """

    asset: str | None
    impact: float | None
    horizon: Horizon | None
    confidence: float | None
    model: str
    also: tuple[AssetImpact, ...] = ()
    language: str = "tr"
    abstained: str | None = None

    def __post_init__(self) -> None:
        """Refuse a score that says and abstains at once, or lies outside its range."""
        if (self.abstained is None) != (self.impact is not None and self.confidence is not None):
            raise ValueError(f"a score says or abstains: {self.abstained!r} beside impact {self.impact!r}")
        for name, value, low in (("impact", self.impact, -1.0), ("confidence", self.confidence, 0.0)):
            if value is not None and not (math.isfinite(value) and low <= value <= 1.0):
                raise ValueError(f"{name} {value!r} lies outside [{low:g}, 1]")
        for one in self.also:
            if not (math.isfinite(one.impact) and -1.0 <= one.impact <= 1.0):
                raise ValueError(f"impact {one.impact!r} of {one.asset!r} lies outside [-1, 1]")


def abstention(why: str, *, model: str, language: str = "unknown", asset: str | None = None) -> Score:
    """Return a score that says nothing, and why."""
    return Score(asset=asset, impact=None, horizon=None, confidence=None, model=model, language=language, abstained=why)
