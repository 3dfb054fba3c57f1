"""Which features a token has: combinations of what its own word and the words around it show, hashed to 32 bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kalibre.language.entities.words import SLOTS, Hashes, Words, key

Part = tuple[str, int]
"""A slot and how many words behind (or, below 0, before) the token it is read."""

MARGIN = 3
_GOLDEN, _SHIFT = np.uint32(0x9E3779B1), np.uint32(15)


def _templates() -> tuple[tuple[Part, ...], ...]:
    single: list[tuple[Part, ...]] = [
        ((slot, at),)
        for at in (-2, -1, 0, 1, 2)
        for slot in ("low", "stem", "shape", "case", "cluster0", "cluster1", "cluster2", "cluster3")
    ]
    near = ("begin3", "begin4", "begin5", "end2", "end3", "end4", "suffix", "capital", "cased")
    single += [((slot, at),) for at in (-1, 0, 1) for slot in near]
    single += [((slot, 0),) for slot in ("begin2", "end1", "pattern", "length")]
    single += [((slot, at),) for at in (-3, 3) for slot in ("stem", "case", "cluster1")]
    pairs: list[tuple[Part, ...]] = [
        ((slot, at), (slot, at + 1)) for slot in ("stem", "case", "cluster1", "cluster2", "shape") for at in (-1, 0)
    ]
    with_case = (("end3", 1), ("stem", 1), ("stem", -1), ("cluster1", 1), ("cluster1", -1), ("capital", 0))
    pairs += [(("case", 0), part) for part in (*with_case, ("suffix", 0), ("cluster1", 0))]
    wide = [
        tuple(("case", at) for at in (-1, 0, 1)),
        tuple(("cluster0", at) for at in (-1, 0, 1)),
        tuple(("case", at) for at in (-2, -1, 0, 1, 2)),
    ]
    return (*single, *pairs, *wide)


TEMPLATES = _templates()


@dataclass(frozen=True)
class _Group:
    """Templates of as many parts, hashed together."""

    seeds: Hashes
    slots: NDArray[np.int64]
    offsets: NDArray[np.int64]


def _grouped() -> tuple[_Group, ...]:
    groups = []
    for size in sorted({len(template) for template in TEMPLATES}):
        chosen = [template for template in TEMPLATES if len(template) == size]
        groups.append(
            _Group(
                seeds=np.array([key(f"template {template}") for template in chosen], dtype=np.uint32),
                slots=np.array([[SLOTS.index(slot) for slot, _ in template] for template in chosen]),
                offsets=np.array([[at for _, at in template] for template in chosen]),
            )
        )
    return tuple(groups)


_GROUPS = _grouped()
_FIRST, _SHOUT, _GRAM = (np.uint32(key(f"template {name}")) for name in ("first", "capitals", "gram"))
_CASE = SLOTS.index("case")


def mixed(hashes: Hashes, values: Hashes | np.uint32) -> Hashes:
    """Stir values into hashes."""
    stirred: Hashes = (hashes ^ values) * _GOLDEN
    stirred ^= stirred >> _SHIFT
    return stirred


def starts(sentences: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """Return where each sentence begins in the row of all tokens, and last where the row ends."""
    return np.concatenate([[0], np.cumsum([len(one) for one in sentences], dtype=np.int64)]).astype(np.int64)


def features(words: Words, sentences: Sequence[Sequence[str]]) -> Hashes:
    """Return the features of every token of sentences.

    Returns
    -------
    Shape (n_tokens, n_features); a column is a template. 0 is no feature.
    """
    bounds = starts(sentences)
    lengths = np.diff(bounds)
    places, rows, grams = words.look_up(sentences, MARGIN)
    at = np.arange(bounds[-1]) + np.repeat((2 * np.arange(len(lengths)) + 1) * MARGIN, lengths)
    columns = []
    for group in _GROUPS:
        hashes = np.broadcast_to(group.seeds, (len(at), len(group.seeds))).copy()
        for part in range(group.slots.shape[1]):
            hashes = mixed(hashes, rows[places[at[:, None] + group.offsets[:, part]], group.slots[:, part]])
        columns.append(hashes)
    case = rows[places[at], _CASE]
    first = np.zeros(len(at), dtype=np.uint32)
    first[bounds[:-1][lengths > 0]] = 1
    shout = np.repeat(np.array([_shouts(one) for one in sentences], dtype=np.uint32), lengths)
    for seed, flag in ((_FIRST, first), (_SHOUT, shout)):
        columns.append(mixed(mixed(np.full(len(at), seed, dtype=np.uint32), flag), case)[:, None])
    own = grams[places[at]]
    columns.append(np.where(own > 0, mixed(np.full(own.shape, _GRAM, dtype=np.uint32), own), np.uint32(0)))
    return np.concatenate(columns, axis=1)


def _shouts(sentence: Sequence[str]) -> bool:
    """Say whether a sentence is written in capitals, where they say nothing of names."""
    words = [word for word in sentence if word[:1].isalpha()]
    return sum(word.isupper() for word in words) > 0.6 * max(1, len(words))
