"""What the models of the Turkish wing say, whoever says it, and the protocols that every tier keeps.

Offsets are in characters of the text as it was given: the caller marks them in its own string.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

Task = Literal["sentiment", "entities", "answering", "category", "horizon"]
TASKS: tuple[Task, ...] = ("sentiment", "entities", "answering", "category", "horizon")

SENTIMENTS = ("negative", "neutral", "positive")
"""Expected direction for Borsa Istanbul or the asset named; what is irrelevant for it is neutral."""

ENTITY_TYPES = ("ORGANIZATION", "PERSON", "LOCATION", "MONEY", "PERCENT", "TIME", "TICKER")


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of the text that moved a decision, and how far: above 0 towards positive, below towards negative."""

    start: int
    end: int
    weight: float


class AssetImpact(msgspec.Struct, frozen=True, kw_only=True):
    """What a text means for one asset it names: -1 is as bad as it gets, 0 nothing, 1 as good as it gets."""

    asset: str
    impact: float


class Sentiment(msgspec.Struct, frozen=True, kw_only=True):
    """What a text says for the market. `label` is None where the model abstains, and `abstained` says why.

    `probabilities` are calibrated, in the order of `SENTIMENTS`; None where the text could not be read at all.
    """

    label: str | None
    probabilities: tuple[float, float, float] | None
    assets: tuple[AssetImpact, ...] = ()
    reasons: tuple[Reason, ...] = ()
    abstained: str | None = None
    language: str = "tr"
    model: str


class Entity(msgspec.Struct, frozen=True, kw_only=True):
    """A name in a text, without its suffix: `text == whole[start:end]`. `link` is the ticker of an organisation."""

    start: int
    end: int
    text: str
    type: str
    probability: float | None = None
    link: str | None = None


class Category(msgspec.Struct, frozen=True, kw_only=True):
    """What a text is about; `probabilities` in the order of the model's classes. Both are None where it abstains."""

    label: str | None
    probabilities: tuple[float, ...] | None
    abstained: str | None = None
    model: str


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a document that can be found and cited. `date` is ISO, empty where it has none."""

    id: str
    document: str
    title: str
    text: str
    source: str = ""
    date: str = ""


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """An answer inside one passage (index into those given), with the probability that it is right."""

    passage: int
    start: int
    end: int
    text: str
    probability: float


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer with where it stands; `text` is None where the reader abstains, and `abstained` says why."""

    text: str | None
    probability: float | None
    passage: Passage | None = None
    start: int = 0
    end: int = 0
    abstained: str | None = None
    model: str


class SentimentModel(Protocol):
    """Says the sentiment of texts."""

    version: str

    def predict(self, texts: Sequence[str]) -> list[Sentiment]:
        """Return one result per text, in order; never raises for what a text holds."""
        ...


class EntityModel(Protocol):
    """Finds names in texts."""

    version: str

    def predict(self, texts: Sequence[str]) -> list[list[Entity]]:
        """Return the entities of each text, by start, not overlapping."""
        ...


class Reader(Protocol):
    """Reads answers out of passages."""

    version: str

    def read(self, question: str, passages: Sequence[str], *, limit: int = 5) -> list[Span]:
        """Return the likeliest spans, the best first."""
        ...


class CategoryModel(Protocol):
    """Says what a text is about."""

    version: str
    classes: tuple[str, ...]

    def predict_proba(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """Return calibrated probabilities in the order of `classes`, of texts that can be judged."""
        ...

    def predict(self, texts: Sequence[str]) -> list[Category]:
        """Return one result per text, in order; never raises for what a text holds."""
        ...
