"""The reader's stages one after another: sentences, then places in the best of them, then spans, then how sure it is.

Training and reading run the same code: training hands each stage models that have not seen the question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kalibre.language.answering.matching import pair, sentence_features
from kalibre.language.answering.places import Places, lexical_columns, places, register, table
from kalibre.language.answering.question import analyse
from kalibre.language.answering.spans import candidates, features
from kalibre.language.answering.words import POINT, PREFIX, Units, hashed, units

Floats = NDArray[np.float32]
RARITIES = 1 << 15
SENTENCES = 3
"""Sentences of a passage that are read closely."""

HEADS = ("start", "end", "inside")


@dataclass(frozen=True, eq=False)
class Rarity:
    """How rare a stem is, by hash: `levels[bucket]` is the logarithm of its rarity in 1/16."""

    levels: NDArray[np.uint8]

    def __call__(self, text: Units) -> Floats:
        """Return the rarity of each unit."""
        found = [_bucket(word[:PREFIX]) for word in text.words]
        result: Floats = (self.levels[np.array(found, np.int64)] / np.float32(16)).astype(np.float32)
        return result


def learn_rarity(texts: Sequence[Units]) -> Rarity:
    """Count in how many texts each stem stands."""
    counts = np.zeros(RARITIES, np.int64)
    for text in texts:
        counts[list({_bucket(word[:PREFIX]) for word in text.words})] += 1
    return Rarity(np.minimum(255, np.round(16 * np.log(1 + len(texts) / (0.5 + counts)))).astype(np.uint8))


_buckets: dict[str, int] = {}


def _bucket(stem: str) -> int:
    found = _buckets.get(stem)
    if found is None:
        if len(_buckets) > 200_000:
            _buckets.clear()
        found = _buckets[stem] = hashed(stem, RARITIES)
    return found


@dataclass(frozen=True, eq=False)
class Sighting:
    """A question over a passage, before any model has spoken: the matches and the sentences' features."""

    found: Places
    sentences: Floats


def sight(question: str, passage: str, rarity: Rarity) -> Sighting | None:
    """Lay a question over a passage; None where one of them holds no word."""
    cut, asked = units(passage), analyse(question)
    if not (cut.kinds != POINT).any() or not asked.content.any():
        return None
    laid = pair(asked, cut, rarity)
    found = places(laid, rarity(cut))
    n = int(cut.sentence[-1]) + 1
    first = np.searchsorted(cut.sentence, np.arange(n))
    opens = np.add.reduceat(found.channels["opens"], first)
    extra = np.column_stack(
        [opens, np.full(n, found.kind), np.full(n, opens.sum()), np.diff(np.append(first, len(cut)))]
    )
    return Sighting(found, np.column_stack([sentence_features(laid), extra]).astype(np.float32))


@dataclass(frozen=True, eq=False)
class Close:
    """The sentences read closely: `chosen` units, sentence scores, and the buckets of the lexical models."""

    chosen: NDArray[np.int64]
    scores: Floats
    buckets: NDArray[np.int64]


def choose(sighting: Sighting, scores: Floats) -> Close:
    """Choose the sentences to be read closely."""
    top = np.argsort(-scores, kind="stable")[:SENTENCES]
    chosen = np.flatnonzero(np.isin(sighting.found.laid.passage.sentence, top))
    return Close(chosen, scores, lexical_columns(sighting.found, chosen))


def lexical_scores(sighting: Sighting, close: Close, weights: Floats) -> Floats:
    """Return what the words alone say of each unit, shape (n, 3); `weights` has shape (3, BUCKETS + 1), bias last."""
    said = np.full((len(sighting.found.laid.passage), 3), -6.0, np.float32)
    said[close.chosen] = weights[:, close.buckets].sum(axis=2).T + weights[:, -1]
    return np.clip(said, -12, 8)


def place_table(sighting: Sighting, close: Close, lexical: Floats) -> Floats:
    """Return the features of the chosen units."""
    return table(sighting.found, close.chosen, close.scores, lexical)


@dataclass(frozen=True, eq=False)
class Offer:
    """Candidate answers: first and last unit of each, and their features."""

    spans: NDArray[np.int64]
    rows: Floats


def offer(sighting: Sighting, close: Close, lexical: Floats, logits: Floats) -> Offer:
    """Return the candidates that the models of places suggest."""
    spans = candidates(sighting.found, close.chosen, logits)
    return Offer(spans, features(sighting.found, spans, close.chosen, logits, lexical, close.scores))


def doubt_features(sighting: Sighting, close: Close, offered: Offer, worth: Floats, hits: Floats) -> Floats:
    """Return what says how sure the best candidate is, shape (k,).

    Parameters
    ----------
    sighting, close, offered
        Of the question over the passage.
    worth, hits
        Expected F1 and probability of an exact match of each candidate.
    """
    laid = sighting.found.laid
    value = blend(worth, hits)
    best = int(np.argmax(value))
    spans = offered.spans
    apart = (spans[:, 0] > spans[best, 1]) | (spans[:, 1] < spans[best, 0])
    rival = float(value[apart].max()) if apart.any() else 0.0
    sentence = int(laid.passage.sentence[spans[best, 0]])
    matched = laid.similarity.max(axis=1)
    in_sentence = laid.passage.sentence == sentence
    here = laid.similarity[:, in_sentence].max(axis=1)
    capital = (laid.question.units.shapes[:, 0] > 0) & laid.question.content
    capital[0] = False
    number = laid.question.units.shapes[:, 4] > 0
    rare = laid.weight * (matched == 0)
    best_row = offered.rows[best]
    extra = [
        float(value[best]), float(worth[best]), float(hits[best]), float(value[best]) - rival,
        float(worth[~apart].mean()), float(np.sort(worth)[-3:].mean()),
        float(laid.weight @ matched), float(laid.weight @ here), float(rare.max()),
        float((here[capital] > 0).mean()) if capital.any() else 1.0,
        float((matched[capital] > 0).mean()) if capital.any() else 1.0,
        float((matched[number] > 0).mean()) if number.any() else 1.0,
        float((laid.weight * (matched >= 0.999)).sum()), float(len(laid.passage)), float(len(laid.question.units)),
        *register(sighting.found), float(close.scores.max()),
        float(np.sort(close.scores)[-2]) if len(close.scores) > 1 else 0.0,
        float(sighting.found.kind), float(len(sighting.found.pieces)),
        float(any((spans[best] == one).all() for one in sighting.found.pieces)),
        float(sighting.found.channels["good"][spans[best, 0] : spans[best, 1] + 1].mean()),
    ]  # fmt: skip
    return np.concatenate([np.array(extra, np.float32), sighting.sentences[sentence], best_row[:23]]).astype(np.float32)


def blend(worth: Floats, hits: Floats) -> Floats:
    """Return what a candidate is chosen by: its expected F1, and how likely it is exact."""
    result: Floats = (0.6 * worth + 0.4 * hits).astype(np.float32)
    return result
