"""Where a passage speaks of what the question speaks of: soft matches of its units, and how they lie around each place.

Most questions are a sentence of the passage with the answer taken out, so the place to read is where the question's
left part ends and its right part begins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kalibre.language.answering.question import Question
from kalibre.language.answering.words import NUMBER, SUFFIX, Units

Floats = NDArray[np.float32]
APART = 8
"""Units that a sentence's end counts for when distances are measured."""
REACHES = (3.0, 12.0)


@dataclass(frozen=True, eq=False)
class Pair:
    """A question laid over a passage.

    Attributes
    ----------
    question, passage
        The two.
    similarity
        Shape (m, n), of each unit of the question with each of the passage, 0 to 1; 0 for what is not to be matched.
    weight
        Shape (m,), rarity of the question's units, sums to 1.
    """

    question: Question
    passage: Units
    similarity: Floats
    weight: Floats


def pair(question: Question, passage: Units, rarity: Callable[[Units], Floats]) -> Pair:
    """Lay a question over a passage; `rarity` says how rare each unit is."""
    similarity = similarities(question.units, passage)
    similarity[~question.content] = 0.0
    weight = np.where(question.content, rarity(question.units), 0.0).astype(np.float32)
    if question.focus >= 0:
        weight[question.focus] *= 0.5
    return Pair(question, passage, similarity, weight / max(float(weight.sum()), 1e-6))


def similarities(a: Units, b: Units) -> Floats:
    """Return how alike the units of two texts are, by the prefix they share; numbers and points only where equal."""
    same = a.letters[:, None, :] == b.letters[None, :, :]
    shared = np.cumprod(same, axis=2, dtype=np.int8).sum(axis=2)
    lengths_a, lengths_b = a.lengths[:, None], b.lengths[None, :]
    shortest = np.minimum(lengths_a, lengths_b)
    shared = np.minimum(shared, shortest).astype(np.float32)
    found = shared / np.maximum(shortest, 1) * (0.5 + 0.5 * np.minimum(1.0, shared / 5))
    found[(found < 0.45) | (shared < 3)] = 0.0
    found[(shared == lengths_a) & (shared == lengths_b) & (shared > 0)] = 1.0
    odd_a, odd_b = a.kinds >= SUFFIX, b.kinds >= SUFFIX
    found[odd_a] = 0.0
    found[:, odd_b] = 0.0
    number = (a.kinds == NUMBER)[:, None] | (b.kinds == NUMBER)[None, :]
    found[number & ~((lengths_a == lengths_b) & (shared == lengths_a))] = 0.0
    result: Floats = found.astype(np.float32)
    return result


def closeness(laid: Pair) -> tuple[float, float]:
    """Return how much of the question two neighbouring sentences hold, and how much the whole passage, by rarity."""
    if not len(laid.passage):
        return 0.0, 0.0
    n = int(laid.passage.sentence[-1]) + 1
    best = np.maximum.reduceat(laid.similarity, np.searchsorted(laid.passage.sentence, np.arange(n)), axis=1)
    two = np.maximum(best, np.column_stack([best[:, 1:], np.zeros(len(best), np.float32)]))
    return float((laid.weight @ two).max()), float(laid.weight @ best.max(axis=1))


def sentence_features(laid: Pair) -> Floats:
    """Return what speaks for each sentence, shape (sentences, `N_SENTENCE`)."""
    passage, question = laid.passage, laid.question
    n = int(passage.sentence[-1]) + 1 if len(passage) else 0
    first = np.searchsorted(passage.sentence, np.arange(n))
    best = np.maximum.reduceat(laid.similarity, first, axis=1)
    covered = laid.weight @ best
    hits = (best > 0).sum(axis=0)
    strongest = (laid.weight[:, None] * best).max(axis=0)
    size = np.diff(np.append(first, len(passage)))
    follows = _runs(laid.similarity)
    longest = np.maximum.reduceat(follows, first)
    unmatched = laid.similarity.max(axis=0) == 0
    shapes = passage.shapes * unmatched[:, None]
    kinds = np.add.reduceat(shapes[:, :6], first, axis=0)
    left, right = np.arange(len(question.units)) < question.asking, np.arange(len(question.units)) > question.asking
    ranks = np.argsort(np.argsort(-covered, kind="stable"), kind="stable")
    before, after = np.append(0.0, covered[:-1]), np.append(covered[1:], 0.0)
    union_before = laid.weight @ np.maximum(best, np.column_stack([np.zeros(len(best)), best[:, :-1]]))
    union_after = laid.weight @ np.maximum(best, np.column_stack([best[:, 1:], np.zeros(len(best))]))
    so_far = laid.weight @ np.maximum.accumulate(best, axis=1)
    focus = best[question.focus] if question.focus >= 0 else np.zeros(n)
    columns = [
        covered, covered - covered.max(), ranks, hits, hits / max(int(question.content.sum()), 1), strongest,
        (laid.weight * left) @ best, (laid.weight * right) @ best, longest, size, np.arange(n), np.full(n, n),
        before, after, union_before - covered, union_after - covered, so_far - covered, focus,
        *kinds.T, np.full(n, question.kind), covered / np.log2(2 + size), np.full(n, len(question.units)),
        best[-2] if len(best) > 1 else np.zeros(n), best[-1] if len(best) else np.zeros(n), best[0],
    ]  # fmt: skip
    return np.column_stack(columns).astype(np.float32)


def _runs(similarity: Floats) -> Floats:
    """Return for each unit the longest run of matches in the question's order that ends there."""
    m, n = similarity.shape
    runs = np.zeros((m + 1, n + 1), np.float32)
    for row in range(m):
        runs[row + 1, 1:] = np.where(similarity[row] > 0, runs[row, :-1] + 1, 0)
    longest: Floats = runs[1:, 1:].max(axis=0)
    return longest


def place_features(laid: Pair) -> tuple[Floats, dict[str, Floats]]:
    """Return how the matches lie around each unit of the passage, shape (n, k), and the channels that windows read."""
    passage, question, similarity = laid.passage, laid.question, laid.similarity
    m, n = similarity.shape
    at, width = question.asking, question.width
    order = np.arange(m)
    left, right = order < at, order >= at + width
    weighted = similarity * laid.weight[:, None]
    position = (np.arange(n) + APART * passage.sentence).astype(np.float32)
    logs = np.log(np.maximum(similarity, 1e-30))
    columns: list[Floats] = []
    for reach in REACHES:
        rise = position / reach
        ahead = np.full((m, n), -1e9, np.float32)
        ahead[:, 1:] = np.maximum.accumulate(logs + rise, axis=1)[:, :-1]
        behind = np.full((m, n), -1e9, np.float32)
        behind[:, :-1] = np.maximum.accumulate((logs - rise)[:, ::-1], axis=1)[:, ::-1][:, 1:]
        before = np.exp(np.clip(ahead - rise, -60, 0))
        after = np.exp(np.clip(behind + rise, -60, 0))
        for part in (left, right):
            columns += [(laid.weight * part) @ before, (laid.weight * part) @ after]
        columns += [laid.weight @ np.maximum(before, after)]
    for near in (_content(question, at - 1, -1), _content(question, at + width, 1)):
        there = similarity[near] > 0 if near >= 0 else np.zeros(n, bool)
        columns += [_distance(there, position), _distance(there[::-1], -position[::-1])[::-1]]
    run_left, run_right = np.zeros(n, np.float32), np.zeros(n, np.float32)
    joined_left, joined_right = np.ones(n, bool), np.ones(n, bool)
    for step in range(1, 6):
        joined_left &= _shift(similarity[at - step] > 0 if at - step >= 0 else np.zeros(n, bool), step)
        ask = at + width + step - 1
        joined_right &= _shift(similarity[ask] > 0 if ask < m else np.zeros(n, bool), -step)
        run_left += joined_left
        run_right += joined_right
    match = weighted.max(axis=0) * max(int(question.content.sum()), 1)
    best = similarity.argmax(axis=0)
    sided = np.where(similarity.max(axis=0) > 0, np.sign(best - at + 0.5) * (1 + np.abs(best - at)), 0)
    focus = similarity[question.focus] if question.focus >= 0 else np.zeros(n)
    channels = {
        "match": match.astype(np.float32),
        "sided": sided.astype(np.float32),
        "focus": focus.astype(np.float32),
        "whole": similarity.max(axis=0),
    }
    return np.column_stack([*columns, run_left, run_right]).astype(np.float32), channels


def _content(question: Question, at: int, step: int) -> int:
    while 0 <= at < len(question.content):
        if question.content[at]:
            return at
        at += step
    return -1


def _distance(there: NDArray[np.bool_], position: Floats) -> Floats:
    """Return how far behind the last match lies, 99 where there is none."""
    last = np.where(there, position, -1e9)
    seen = np.maximum.accumulate(last) if len(last) else last
    return np.minimum(position - seen, 99.0).astype(np.float32)


def _shift(values: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    moved = np.zeros_like(values)
    if by > 0:
        moved[by:] = values[:-by]
    elif by < 0:
        moved[:by] = values[-by:]
    return moved
