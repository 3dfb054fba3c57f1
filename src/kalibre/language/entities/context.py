"""Features from beyond the sentence: where the same name stands elsewhere in the text, and what another tagger says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kalibre.language.entities.crf import Crf
from kalibre.language.entities.templates import mixed, starts
from kalibre.language.entities.words import Hashes, case_of, key, parts
from kalibre.language.text.casing import lower

REACH = 25
"""Sentences before and behind in which the same name is looked for."""
_NEAREST = 3
_BINS = 6


def elsewhere(sentences: Sequence[Sequence[str]]) -> Hashes:
    """Return what surrounds the same word, written large, in the sentences before and behind.

    Parameters
    ----------
    sentences
        A running text, in order.

    Returns
    -------
    Shape (n_tokens, 8): how often it stands nearby, whether inside a sentence, and of the nearest one before and
    behind the word behind it, the word before it, and how they are written. 0 for small words.
    """
    bounds = starts(sentences).tolist()
    found = np.zeros((bounds[-1], 8), dtype=np.uint32)
    stems = [[parts(word)[0] for word in sentence] for sentence in sentences]
    places: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for row, sentence in enumerate(stems):
        for column, stem in enumerate(sentence):
            if len(stem) > 1 and stem[0].isupper():
                places[stem].append((row, column))
    for those in places.values():
        for at, (row, column) in enumerate(those):
            before = [one for one in those[max(0, at - _NEAREST) : at] if row - one[0] <= REACH]
            behind = [one for one in those[at + 1 : at + 1 + _NEAREST] if one[0] - row <= REACH]
            around = before + behind
            inside = any(place > 0 for _, place in around)
            told = found[bounds[row] + column]
            told[:2] = key(f"nearby {min(len(around), 3)}"), key(f"inside {inside}")
            for side, (there, place) in enumerate(before[-1:] + behind[:1]):
                sentence = ["^", *stems[there], "$"]
                left, right = sentence[place], sentence[place + 2]
                suffix = parts(sentences[there][place])[1]
                told[2 + side] = key(f"right {lower(right)}")
                told[4 + side] = key(f"left {lower(left)}")
                told[6 + side] = key(f"form {left[0].isupper()} {right[0].isupper()} {place == 0} {suffix}")
    return found


def hints(crf: Crf, scores: NDArray[np.float64], sentences: Sequence[Sequence[str]]) -> Hashes:
    """Return what another field says of each token, as features: its likeliest tags and how sure it is of each type.

    Parameters
    ----------
    crf, scores
        The other field and its scores of all tokens.
    sentences
        The tokens.

    Returns
    -------
    Shape (n_tokens, 7 + number of its types).
    """
    bounds = starts(sentences).tolist()
    chances = np.zeros(scores.shape)
    for begin, end in pairwise(bounds):
        chances[begin:end] = crf.posteriors(scores[begin:end])
    tags = np.array([key(f"hint {tag}") for tag in crf.tags], dtype=np.uint32)[chances.argmax(axis=1)]
    sure = np.minimum(chances.max(axis=1, initial=0.0) * 5, 4).astype(np.uint32)
    case = np.array([key(case_of(parts(word)[0])) for one in sentences for word in one], dtype=np.uint32)
    padded = np.concatenate([np.full(1, 7, np.uint32), tags, np.full(1, 7, np.uint32)])
    left, right = padded[:-2], padded[2:]

    def seeded(name: str) -> Hashes:
        return np.full(len(tags), key(f"hint {name}"), dtype=np.uint32)

    columns = [mixed(seeded("left"), left), mixed(seeded("own"), tags), mixed(seeded("right"), right)]
    for name, other in (("sure", sure), ("with left", left), ("with right", right), ("case", case)):
        columns.append(mixed(mixed(seeded(name), tags), other))
    for kind in sorted({tag[2:] for tag in crf.tags if tag != "O"}):
        mass = chances[:, [place for place, tag in enumerate(crf.tags) if tag[2:] == kind]].sum(axis=1)
        columns.append(mixed(seeded(f"mass {kind}"), np.minimum(mass * _BINS, _BINS - 1).astype(np.uint32)))
    return np.stack(columns, axis=1)
