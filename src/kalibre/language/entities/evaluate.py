"""Scores any entity model on any tagged file, so that anyone can bring a test set."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kalibre.core.errors import UsageError
from kalibre.language.base import Entity, EntityModel
from kalibre.language.entities.conll import check_types, read_conll
from kalibre.language.entities.metrics import Score, calibration_error, score
from kalibre.language.entities.tags import Mention, mentions

_BATCH = 256


def evaluate(path: Path, model: EntityModel, types_map: Mapping[str, str], *, seed: int = 0) -> dict[str, Any]:
    """Score a model on a file of IOB2 tags.

    Tokens are joined by blanks and given as text; what the model marks there is laid back onto whole tokens, so a
    suffix inside a token neither helps nor harms. A mention counts if its tokens and its type are exactly right.

    Parameters
    ----------
    path
        CoNLL: a token and its tag a line.
    model
        Anything that keeps `EntityModel`.
    types_map
        The file's types and what they are called here. Types that are not named are left out, on both sides.
    seed
        Of the bootstrap (blocks of ten neighbouring sentences).

    Returns
    -------
    Plain JSON: `f1` (`value` with `low` and `high`, 95 %), `precision`, `recall`, counts, the same `by_type`, and `ece`
    of the probabilities.

    Raises
    ------
    SourceError
        If the file cannot be read.
    UsageError
        If the map is empty or leads to an unknown type, or the file holds none of its types.
    """
    if not types_map:
        raise UsageError("no types are given: say which of the file's types to score, as ORG=ORGANIZATION,LOC=LOCATION")
    check_types(types_map)
    sentences = read_conll(path)
    true = [
        [one._replace(type=types_map[one.type]) for one in mentions(sentence.tags) if one.type in types_map]
        for sentence in sentences
    ]
    if not any(true):
        there = sorted({tag[2:] for sentence in sentences for tag in sentence.tags if tag != "O"})
        raise UsageError(f"{str(path)!r} holds no mention of {', '.join(types_map)}: its types are {', '.join(there)}")
    wanted = set(types_map.values())
    told: list[list[Mention]] = []
    for begin in range(0, len(sentences), _BATCH):
        batch = [sentence.tokens for sentence in sentences[begin : begin + _BATCH]]
        for tokens, found in zip(batch, model.predict([" ".join(tokens) for tokens in batch]), strict=True):
            told.append([one for one in onto_tokens(tokens, found) if one.type in wanted])
    judged = [
        (one.probability, one[:3] in {other[:3] for other in right})
        for right, said in zip(true, told, strict=True)
        for one in said
    ]
    return {
        **_plain(score(true, told, seed=seed)),
        "by_type": {kind: _plain(score(true, told, kind, seed=seed)) for kind in sorted(wanted)},
        "ece": calibration_error(judged),
        "sentences": len(sentences),
        "model": model.version,
    }


def _plain(found: Score) -> dict[str, Any]:
    return {
        "f1": {"value": found.f1, "low": found.low, "high": found.high},
        "precision": found.precision,
        "recall": found.recall,
        "mentions": found.mentions,
        "told": found.told,
    }


def onto_tokens(tokens: Sequence[str], found: Sequence[Entity]) -> list[Mention]:
    """Lay entities of the joined text onto its tokens: a mention is every token that it touches.

    Examples
    --------
    >>> onto_tokens(["THYAO'nun", "kârı"], [Entity(start=0, end=5, text="THYAO", type="TICKER")])
    [Mention(start=0, end=1, type='TICKER', probability=1.0)]
    """
    begins, at = [], 0
    for token in tokens:
        begins.append(at)
        at += len(token) + 1
    laid = [
        Mention(
            bisect_right(begins, one.start) - 1,
            bisect_left(begins, one.end),
            one.type,
            1.0 if one.probability is None else one.probability,
        )
        for one in found
    ]
    return [one for one in laid if one.end > one.start >= 0]
