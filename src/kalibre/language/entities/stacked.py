"""Two opinions on names read as one: the field's score of each tag and an encoder's log-probability of it are added.

The field's own moves from tag to tag decide the path. How much the encoder counts, and how far `O` is held back, is
chosen on sentences that neither has learnt from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kalibre.language.encoder.decoding import softmax
from kalibre.language.entities.metrics import score
from kalibre.language.entities.tagger import Sentence, Tagger, leant
from kalibre.language.entities.tags import Mention, mentions

WEIGHTS, LEANS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0), (0.0, 0.5, 1.0)
Floats = NDArray[np.float64]


class Opinion(Protocol):
    """Says what each word may be: `entities.encoder.EncoderTagger`."""

    tags: tuple[str, ...]

    def logits(self, tokens: Sentence) -> Floats:
        """Return logits of `tags`, shape (tokens, tags)."""
        ...


@dataclass(frozen=True)
class Stacked:
    """A field with an encoder's opinion.

    Attributes
    ----------
    field, opinion
        The two.
    weight, lean
        How much the opinion counts, and what is taken off the score of `O`.
    """

    field: Tagger
    opinion: Opinion
    weight: float = 1.0
    lean: float = 0.0

    def tag(self, sentences: Sequence[Sentence]) -> list[list[Mention]]:
        """Return the mentions of each sentence, with the joint path's own probability."""
        return [self._read(*_both(self.field, self.opinion, tokens)) for tokens in sentences]

    def _read(self, own: Floats, other: Floats) -> list[Mention]:
        return self.field.crf.read(leant(own + self.weight * other, self.lean)) if len(own) else []


def weighed(field: Tagger, opinion: Opinion, sentences: Sequence[Sentence], tags: Sequence[Sequence[str]]) -> Stacked:
    """Choose weight and lean by F1 on tagged sentences that neither has learnt from; of equals the smaller ones."""
    gold = [mentions(one) for one in tags]
    both = [_both(field, opinion, tokens) for tokens in sentences]
    best, chosen = -1.0, Stacked(field, opinion)
    for weight, lean in product(WEIGHTS, LEANS):
        tried = Stacked(field, opinion, weight, lean)
        found = score(gold, [tried._read(own, other) for own, other in both]).f1
        if found > best:
            best, chosen = found, tried
    return chosen


def _both(field: Tagger, opinion: Opinion, tokens: Sentence) -> tuple[Floats, Floats]:
    """Return both opinions on the field's tags. The encoder tells beginnings from the rest, and not where names end."""
    if not len(tokens):
        return np.zeros((0, 1)), np.zeros((0, 1))
    said = np.log(np.maximum(softmax(opinion.logits(tokens)), 1e-12))
    known = list(opinion.tags)
    columns = [
        known.index(tag if tag == "O" else f"{'B' if tag[0] in 'BS' else 'I'}-{tag[2:]}") for tag in field.crf.tags
    ]
    return field.scores([tokens]), said[:, columns]
