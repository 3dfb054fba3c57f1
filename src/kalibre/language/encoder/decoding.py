"""From logits of pieces to what is said of a text: tags of words, names with their place, spans that answer.

The same for the project's encoder and for a hub's; numpy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kalibre.language.base import Entity
from kalibre.language.encoder.networks import Encoded
from kalibre.language.text.tokens import Token

Floats = NDArray[np.float64]

OUTSIDE = "O"
_NEVER = -1e9


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> Floats:
    """Return probabilities along the last axis."""
    scaled = logits.astype(np.float64) / temperature
    scaled = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    found: Floats = scaled / scaled.sum(axis=-1, keepdims=True)
    return found


# --- words and names --------------------------------------------------------------------------------------------------


def first_pieces(encoded: Encoded, words: Sequence[tuple[int, int]]) -> list[int]:
    """Return for each word (start, end in characters, rising) its first piece in a window, -1 where it has none there.

    Examples
    --------
    >>> first_pieces(Encoded([9, 1, 2, 3, 9], [None, (0, 2), (2, 4), (4, 7), None]), [(0, 4), (5, 7), (8, 9)])
    [1, 3, -1]
    """
    found, at = [], 0
    for start, end in words:
        while at < len(encoded.spans):
            span = encoded.spans[at]
            if span is not None and span[1] > start and span[1] > span[0]:
                break
            at += 1
        span = encoded.spans[at] if at < len(encoded.spans) else None
        found.append(at if span is not None and span[0] < end else -1)
    return found


def word_logits(
    windows: Sequence[Encoded], logits: Sequence[NDArray[np.floating]], words: Sequence[tuple[int, int]]
) -> Floats:
    """Return the logits of each word's first piece, shape (words, classes).

    Where windows overlap, that in which the word stands farther from the edge speaks. A word that stands in none (a
    blank of its own, say) gets zeros.
    """
    classes = logits[0].shape[-1]
    found, room = np.zeros((len(words), classes)), np.full(len(words), -1)
    for encoded, said in zip(windows, logits, strict=True):
        for word, piece in enumerate(first_pieces(encoded, words)):
            edge = min(piece, len(encoded.ids) - piece)
            if piece >= 0 and edge > room[word]:
                found[word], room[word] = said[piece], edge
    return found


def best_tags(logits: Floats, tags: Sequence[str]) -> list[int]:
    """Return the likeliest tags that IOB2 allows: `I-X` only behind `B-X` or `I-X`.

    Examples
    --------
    >>> tags = ["O", "B-PERSON", "I-PERSON"]
    >>> best_tags(np.array([[2.0, 1.0, 0.0], [0.0, 1.0, 3.0]]), tags)
    [1, 2]
    """
    if not len(logits):
        return []
    scores = np.log(np.maximum(softmax(logits), 1e-12))
    follows = np.zeros((len(tags), len(tags)))
    begins = np.zeros(len(tags))
    for at, tag in enumerate(tags):
        if tag.startswith("I-"):
            allowed = {f"B-{tag[2:]}", tag}
            follows[:, at] = [0.0 if before in allowed else _NEVER for before in tags]
            begins[at] = _NEVER
    path, back = scores[0] + begins, []
    for row in scores[1:]:
        steps = path[:, None] + follows
        back.append(steps.argmax(axis=0))
        path = steps.max(axis=0) + row
    found = [int(path.argmax())]
    for came in reversed(back):
        found.append(int(came[found[-1]]))
    return found[::-1]


def names(text: str, tokens: Sequence[Token], logits: Floats, tags: Sequence[str]) -> list[Entity]:
    """Return the names that tags of words mark: without the suffix of the last word, with their mean probability.

    Parameters
    ----------
    text, tokens
        The text and its words.
    logits
        Shape (tokens, tags), from `word_logits`.
    tags
        `O`, and `B-` and `I-` with a type.
    """
    chosen = best_tags(logits, tags)
    sure = softmax(logits) if len(logits) else logits
    found: list[Entity] = []
    at = 0
    while at < len(chosen):
        tag = tags[chosen[at]]
        if not tag.startswith("B-"):
            at += 1
            continue
        stop = at + 1
        while stop < len(chosen) and tags[chosen[stop]] == f"I-{tag[2:]}":
            stop += 1
        start, end = tokens[at].start, tokens[stop - 1].suffix_start
        probability = float(np.mean([sure[word, chosen[word]] for word in range(at, stop)]))
        if end > start:
            found.append(Entity(start=start, end=end, text=text[start:end], type=tag[2:], probability=probability))
        at = stop
    return found


# --- answers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Candidate:
    """A span of a passage in characters; `score` is how much likelier it is than no answer, in logits."""

    start: int
    end: int
    score: float


def candidates(encoded: Encoded, logits: NDArray[np.floating], *, most: int = 5, longest: int = 40) -> list[Candidate]:
    """Return the best spans of a window, the best first.

    Parameters
    ----------
    encoded
        The window: question and passage.
    logits
        Shape (pieces, 2): that the answer begins, and ends, at a piece; at the first sign: that there is none.
    most, longest
        Spans returned, and pieces in one, at most.
    """
    inside = np.array([at for at, span in enumerate(encoded.spans) if span is not None and span[1] > span[0]], int)
    if not len(inside):
        return []
    begin, end = logits[inside, 0].astype(np.float64), logits[inside, 1].astype(np.float64)
    apart = inside[None, :] - inside[:, None]
    scores = np.where((apart >= 0) & (apart < longest), begin[:, None] + end[None, :], -np.inf)
    none = float(logits[0, 0]) + float(logits[0, 1])
    order = np.argsort(-scores, axis=None, kind="stable")[: most * 4]
    found: dict[tuple[int, int], float] = {}
    for flat in order.tolist():
        first, last = divmod(flat, len(inside))
        opening, closing = encoded.spans[inside[first]], encoded.spans[inside[last]]
        if np.isfinite(scores[first, last]) and opening is not None and closing is not None:
            found.setdefault((opening[0], closing[1]), float(scores[first, last]) - none)
    return [Candidate(start, end, score) for (start, end), score in list(found.items())[:most]]


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Take white space off both ends of a span."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def probability(score: float, slope: float, offset: float) -> float:
    """Return a calibrated probability from a score: a logistic with a fitted slope and offset."""
    return float(1.0 / (1.0 + np.exp(-np.clip(slope * score + offset, -50.0, 50.0))))
