"""Candidate answers: the likeliest pairs of first and last unit inside a sentence, and what speaks for each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kalibre.language.answering.places import Places, register
from kalibre.language.answering.words import POINT, SUFFIX

Floats = NDArray[np.float32]
LONGEST = 40
"""Units of a candidate, at most."""

PIECES = 8
"""Pieces of the kind asked for that are offered beside the likeliest candidates, at most."""


def candidates(found: Places, chosen: NDArray[np.int64], logits: Floats, *, limit: int = 28) -> NDArray[np.int64]:
    """Return first and last unit of the likeliest candidates, shape (at most `limit`, 2).

    Parameters
    ----------
    found
        Of the question over the passage.
    chosen
        Indices of the units that were looked at, rising.
    logits
        Shape (len(chosen), 3): start, end, inside.
    limit
        Candidates, at most.
    """
    passage = found.laid.passage
    kinds, sentence = passage.kinds[chosen], passage.sentence[chosen]
    begins = np.flatnonzero((kinds != SUFFIX) & ((kinds != POINT) | _opens(found, chosen)))
    if not len(begins):
        begins = np.arange(len(chosen))
    begins = begins[np.argsort(-logits[begins, 0], kind="stable")[:24]]
    inside = np.concatenate([[0.0], np.cumsum(np.clip(logits[:, 2], -4, 4))])
    rows: list[tuple[float, int, int]] = []
    for begin in begins.tolist():
        stop = int(np.searchsorted(sentence, sentence[begin], side="right"))
        ends = np.arange(begin, min(stop, begin + LONGEST))
        if not len(ends):
            continue
        ends = ends[(chosen[ends] - chosen[begin]) == (ends - begin)]
        score = logits[begin, 0] + logits[ends, 1] + 0.15 * (inside[ends + 1] - inside[begin])
        best = ends[np.argsort(-score, kind="stable")[:10]].tolist()
        rows.extend((float(score[end - begin]), begin, end) for end in best)
    rows.sort(key=lambda row: (-row[0], row[1], row[2]))
    taken = [(int(chosen[begin]), int(chosen[end])) for _, begin, end in rows[:limit]]
    known, here = set(taken), set(chosen.tolist())
    place = {unit: at for at, unit in enumerate(chosen.tolist())}
    more = [(a, b) for a, b in found.pieces.tolist() if (a, b) not in known and a in here and b in here]
    more.sort(key=lambda span: -float(logits[place[span[0]], 0] + logits[place[span[1]], 1]))
    return np.array([*taken, *more[:PIECES]], np.int64).reshape(-1, 2)


def _opens(found: Places, chosen: NDArray[np.int64]) -> NDArray[np.bool_]:
    mark = found.channels["mark"][chosen]
    opens: NDArray[np.bool_] = (mark == 6) | (mark == 11) | (mark == 13)
    return opens


def features(
    found: Places,
    spans: NDArray[np.int64],
    chosen: NDArray[np.int64],
    logits: Floats,
    lexical: Floats,
    sentence_score: Floats,
) -> Floats:
    """Return what speaks for each candidate, shape (len(spans), k)."""
    laid, passage, channels = found.laid, found.laid.passage, found.channels
    n = len(passage)
    full = np.full((n + 2, 3), -8.0, np.float32)
    full[chosen + 1] = logits
    words = np.full((n + 2, 3), -8.0, np.float32)
    words[1:-1] = lexical
    begin, end = spans[:, 0], spans[:, 1]
    length = end - begin + 1
    padded = {name: np.concatenate([[-1.0], channel, [-1.0]]) for name, channel in channels.items()}

    def total(values: NDArray[np.float32]) -> Floats:
        summed = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
        result: Floats = (summed[end + 1] - summed[begin]).astype(np.float32)
        return result

    start_logit, end_logit, inside = full[begin + 1, 0], full[end + 1, 1], full[1:-1, 2]
    kinds = passage.kinds
    comma = (channels["mark"] == 4).astype(np.float32)
    match = channels["match"]
    sentence = passage.sentence
    rank = np.argsort(np.argsort(-sentence_score, kind="stable"), kind="stable")
    question = laid.question
    asked = question.units.endings
    focus_end = float(asked[question.focus]) if question.focus >= 0 else -1.0
    ask_end = float(asked[question.asking]) if len(asked) else 0.0
    joint = start_logit + end_logit
    order = np.argsort(np.argsort(-joint, kind="stable"), kind="stable")
    similar = laid.similarity
    best = np.concatenate([np.zeros((len(similar), 1)), np.cumsum(similar > 0, axis=1)], axis=1)
    within = (laid.weight[:, None] * ((best[:, end + 1] - best[:, begin]) > 0)).sum(axis=0)
    stops = np.searchsorted(sentence, sentence, side="right")
    begins = np.searchsorted(sentence, sentence)
    rest = (
        laid.weight[:, None]
        * (((best[:, stops[end]] - best[:, end + 1]) > 0) | ((best[:, begin] - best[:, begins[begin]]) > 0))
    ).sum(axis=0)
    exactly = {(a, b) for a, b in found.pieces.tolist()}
    same = np.array([(a, b) in exactly for a, b in spans.tolist()], np.float32)
    inside_peak = np.array([inside[a : b + 1].max() for a, b in spans.tolist()], np.float32)
    inside_low = np.array([inside[a : b + 1].min() for a, b in spans.tolist()], np.float32)
    columns = [
        start_logit, end_logit, joint, order, joint - joint.max(), full[begin + 1, 1], full[end + 1, 0],
        full[begin, 2], full[end + 2, 2], full[begin, 0], full[np.minimum(begin + 2, n + 1), 0], full[end, 1],
        full[end + 2, 1], total(inside) / length, total(inside), inside_peak, inside_low,
        words[begin + 1, 0], words[end + 1, 1], total(lexical[:, 2]) / length, words[end + 2, 2], words[begin, 2],
        length, passage.ends[end] - passage.starts[begin], total(match), total(match) / length, within, rest,
        total((match > 0).astype(np.float32)), total(channels["focus"]), channels["focus"][end],
        padded["focus"][end + 2], padded["match"][begin], padded["match"][end + 2], padded["sided"][begin],
        padded["sided"][end + 2], padded["mark"][begin], padded["mark"][begin + 1], padded["mark"][end + 1],
        padded["mark"][end + 2], channels["ending"][end], padded["ending"][end + 2], padded["ending"][begin],
        channels["ending"][end] == focus_end, channels["ending"][end] == ask_end, total(channels["capital"]) / length,
        channels["capital"][begin], padded["capital"][begin], padded["capital"][end + 2],
        total((channels["number"] > 0).astype(np.float32)), total(passage.shapes[:, 2]), total(passage.shapes[:, 3]),
        total(comma), total((kinds == POINT).astype(np.float32)), total((channels["mark"] == 6).astype(np.float32)),
        total((channels["mark"] == 7).astype(np.float32)), total(channels["rare"]) / length,
        sentence_score[sentence[begin]], (sentence_score - sentence_score.max())[sentence[begin]],
        rank[sentence[begin]], np.full(len(spans), question.kind), np.full(len(spans), focus_end),
        np.full(len(spans), ask_end), begin - begins[begin], stops[end] - 1 - end,
        found.around[begin, 0:1].ravel(), *found.around[begin][:, (1, 2, 3, 4, 10, 12, 14)].T,
        *found.around[end][:, (1, 2, 3, 11, 13)].T, found.around[begin, -2], found.around[end, -1],
        same, total(channels["good"]) / length, total(channels["opens"]), total(channels["closes"]),
        channels["opens"][begin], channels["closes"][end], channels["kind"][begin], channels["kind"][end],
        np.full(len(spans), found.kind), np.full(len(spans), len(found.pieces)), np.full(len(spans), same.sum()),
        np.full(len(spans), len(asked)), *(np.full(len(spans), value) for value in register(found)),
    ]  # fmt: skip
    return np.column_stack(columns).astype(np.float32)
