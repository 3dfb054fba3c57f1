"""Events of the Turkish wing: what was published, and what a scorer makes of it for each asset.

Both are outside news: a score is recorded once and never computed again in replay, whoever gave it (a model of
Kalibre's or a language model's answer).
"""

from __future__ import annotations

from typing import Literal

from kalibre.core.events import Payload

Horizon = Literal["intraday", "daily", "weekly"]


class Headline(Payload, frozen=True, kw_only=True):
    """A published text. Key: source|hash of the text; event time: when it could be known (`known_ms`).

    `published` is what the source says, as text: a date alone is known from the next session on, not from midnight.
    """

    kind = "headline"
    text: str
    source: str
    published: str
    language: str = "tr"
    url: str = ""


class HeadlineScore(Payload, frozen=True, kw_only=True):
    """What a headline means for one asset. Key: asset|hash of the text|model; event time: when it could be acted on.

    That is the headline's own time where an archive is scored, and not before the score was there where it is scored
    live. `impact` in [-1, 1] is the expected direction and strength, `confidence` in [0, 1] the calibrated probability
    that the direction is right. `story` is shared by near-duplicates, so that a reader can count a story once however
    often it is retold. A scorer that abstains records nothing for the asset. `trained_until_ms` is the time of the
    newest text that the scorer learnt from, at most the score's own where it is scored live; None where nobody knows.
    A score that counts from an earlier time than that may know the future, and no bar is told of it.
    """

    kind = "headline_score"
    headline: str
    story: str
    asset: str
    impact: float
    confidence: float
    horizon: Horizon | None
    model: str
    trained_until_ms: int | None = None
