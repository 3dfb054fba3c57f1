"""What the ensemble's recorded word on a bar is worth to a book that follows it."""

from __future__ import annotations

import math

from kalibre.core.hub_events import EnsembleForecast
from kalibre.models.ensemble_version import EnsembleVersion

STANDS = "the ensemble is champion: its own forecast stands"
"""What the champion says of a bar, at once, while the ensemble is champion: the ensemble waits for its word too."""
NO_CHALLENGER = "an ensemble is no challenger: its forecasts are judged in the league"
_BASE_RATE = "base rate"
"""Who stands among the weights of every ensemble and is nobody that could be enabled; so named by `kalibre.hub`."""


def read_word(version: EnsembleVersion, word: EnsembleForecast | None) -> tuple[float, float, str]:
    """Return score, p_up and, where there is none, why.

    A version speaks for the ensemble that was judged only: with another forecaster, or over another horizon, it is
    another ensemble, which has proved nothing.

    Parameters
    ----------
    word
        What the ensemble said of the bar; None where it passed the bar over.
    """
    if word is None:
        return math.nan, math.nan, "the ensemble has said nothing of this bar, and has spoken of later ones"
    if word.horizon_bars != version.horizon_bars:
        return (
            math.nan,
            math.nan,
            (
                f"the ensemble foresees {word.horizon_bars} bars, it was judged over {version.horizon_bars}: judge it "
                "anew by `kalibre hub judge`"
            ),
        )
    made_of = (word.weights.keys() | word.silent.keys()) - {_BASE_RATE}
    if made_of != set(version.forecasters):
        return (
            math.nan,
            math.nan,
            (
                f"the ensemble is made of {', '.join(sorted(made_of))}, it was judged as made of "
                f"{', '.join(sorted(version.forecasters))}: judge it anew by `kalibre hub judge`"
            ),
        )
    score = math.nan if word.score is None else word.score
    if word.p_up is None:
        return score, math.nan, f"the ensemble says nothing: {word.abstained or 'it does not say why'}"
    return score, word.p_up, ""
