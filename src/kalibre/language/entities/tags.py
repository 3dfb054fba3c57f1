"""Tags and the mentions they spell: IOB2 as files hold it, BIOES as the tagger learns it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

OUTSIDE = "O"


class Mention(NamedTuple):
    """A name in a sentence of tokens: `tokens[start:end]` is it."""

    start: int
    end: int
    type: str
    probability: float = 1.0


def mentions(tags: Sequence[str]) -> list[Mention]:
    """Read the mentions out of IOB2, IOB1 or BIOES tags.

    Broken sequences are read as the usual scorer (conlleval) does: an `I-` or `E-` that follows no mention of its type
    begins one, and what is not closed ends where the next begins.

    Examples
    --------
    >>> [tuple(found) for found in mentions(["B-ORG", "I-ORG", "O", "I-PER", "B-PER"])]
    [(0, 2, 'ORG', 1.0), (3, 4, 'PER', 1.0), (4, 5, 'PER', 1.0)]
    """
    found: list[Mention] = []
    begin, open_type = 0, ""
    for place, tag in enumerate((*tags, OUTSIDE)):
        sign, kind = tag[:1], tag[2:]
        goes_on = sign in ("I", "E", "M", "L") and kind == open_type and kind != ""
        if open_type and not goes_on:
            found.append(Mention(begin, place, open_type))
            open_type = ""
        if kind and not goes_on:
            begin, open_type = place, kind
        if open_type and sign in ("E", "S", "L", "U"):
            found.append(Mention(begin, place + 1, open_type))
            open_type = ""
    return found


def iob2(found: Iterable[Mention], length: int) -> list[str]:
    """Write mentions as IOB2 tags of a sentence of `length` tokens.

    Examples
    --------
    >>> iob2([Mention(1, 3, "ORG")], 4)
    ['O', 'B-ORG', 'I-ORG', 'O']
    """
    tags = [OUTSIDE] * length
    for one in found:
        tags[one.start : one.end] = [f"B-{one.type}", *[f"I-{one.type}"] * (one.end - one.start - 1)]
    return tags


def bioes(found: Iterable[Mention], length: int) -> list[str]:
    """Write mentions as BIOES tags: a mention of one token is `S-`, the last token of a longer one is `E-`.

    Examples
    --------
    >>> bioes([Mention(1, 3, "ORG"), Mention(3, 4, "PER")], 4)
    ['O', 'B-ORG', 'E-ORG', 'S-PER']
    """
    tags = [OUTSIDE] * length
    for one in found:
        if one.end - one.start == 1:
            tags[one.start] = f"S-{one.type}"
        else:
            inner = [f"I-{one.type}"] * (one.end - one.start - 2)
            tags[one.start : one.end] = [f"B-{one.type}", *inner, f"E-{one.type}"]
    return tags


def labels(types: Iterable[str]) -> tuple[str, ...]:
    """Return the BIOES tags of some types, `O` first."""
    return (OUTSIDE, *(f"{sign}-{kind}" for kind in sorted(set(types)) for sign in "BIES"))


def grammar(tags: Sequence[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Say which BIOES tag may follow which, which may begin and which may end a sentence.

    Returns
    -------
    Shapes (n_tags, n_tags) from row to column, (n_tags,) and (n_tags,).
    """
    sign, kind = np.array([tag[0] for tag in tags]), np.array([tag[2:] for tag in tags])
    closed, opens = np.isin(sign, ["O", "E", "S"]), np.isin(sign, ["O", "B", "S"])
    follows = np.where(
        closed[:, None], opens[None, :], np.isin(sign, ["I", "E"])[None, :] & (kind[:, None] == kind[None, :])
    )
    return follows.astype(np.bool_), opens, closed
