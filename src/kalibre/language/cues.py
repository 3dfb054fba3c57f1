"""What a writer shows besides words: drawn-out letters, faces, tags, what is negated, and what goes with what.

Each cue is a short name beside the word that gives it away; a classifier counts them like n-grams. They say more of
posts than of news.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_RUN = re.compile(r"([^\W\d_])\1{2,}")
_FACES = frozenset({"d", "dd", "ddd", "p", "s", "ss", "3", "o", "x"})
_EYES = frozenset(":;=")
_NEGATORS = frozenset("degil degildi degilim degiliz yok yoktu hic asla olmaz olmadi olmuyor".split())
_NEGATED = re.compile(r".{2,}?m(?:[iu]yo|[ae](?:di|[dzm]|yi|ya|ye|si|mis))")
_TURNS = frozenset("ama fakat lakin ancak".split())
_LAUGHS = re.compile(r"\w*(?:haha|sjs|ksk|ajs|sjd|asdf|dkfj|jdkf|sksk|hsjs)\w*")
_FAR = 4
"""How many words apart a pair may stand."""


def squeezed(word: str) -> str:
    """Return a word without letters drawn out.

    Examples
    --------
    >>> squeezed("guzeeeel"), squeezed("dikkat")
    ('guzel', 'dikkat')
    """
    return _RUN.sub(r"\1", word)


def cues(words: Sequence[str], starts: Sequence[int], ends: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Yield the cues of one text as (number of the word, name).

    Parameters
    ----------
    words
        Words and marks of the text, folded (`ngrams.cut` with `letters=False`).
    starts, ends
        Where each stands.

    Examples
    --------
    >>> found = [name for _, name in cues(["guzeeel", "degil", ":", "d"], [0, 8, 14, 15], [7, 13, 15, 16])]
    >>> {"long guzel", "not guzel", "face d"} <= set(found)
    True
    """
    spoken = [i for i, word in enumerate(words) if word[0].isalnum()]
    turned = False
    for place, i in enumerate(spoken):
        for name in _of_word(words[i]):
            yield i, name
        if i and ends[i - 1] == starts[i] and (name := _glued(words[i - 1][-1], words[i])):
            yield i, name
        for name in _of_place([words[k] for k in spoken[max(0, place - 3) : place + 1 + _FAR]], min(place, 3)):
            yield i, name
        if turned:
            yield i, f"after {words[i][:5]}"
        turned |= words[i] in _TURNS
    if spoken:
        first, last = words[spoken[0]], words[spoken[-1]]
        yield spoken[0], f"first {first[:5]}"
        yield spoken[-1], f"last {last[:5]}"
        yield spoken[-1], f"last end {last[-4:]}"
        yield spoken[0], f"words {min(len(spoken) // 5, 5)}"
    for i, mark in enumerate(words):
        if not mark[0].isalnum():
            yield i, f"mark {mark[:2]}"
            yield from ((i, f"sign {sign}") for sign in set(mark) if ord(sign) > 0x2000)


def _of_word(word: str) -> Iterator[str]:
    """Yield what a word shows by itself."""
    if _RUN.search(word):
        yield "long"
        yield f"long {squeezed(word)[:6]}"
    if _LAUGHS.fullmatch(word):
        yield "laugh"
    if _NEGATED.match(word):
        yield f"unverb {word[:5]}"
    yield f"end {word[-3:]}"


def _glued(mark: str, word: str) -> str:
    """Return what a word is with the mark right before it; empty where nothing."""
    if mark == "#":
        return f"tag {word[:8]}"
    return f"face {word[0]}" if mark in _EYES and word in _FACES else ""


def _of_place(near: Sequence[str], at: int) -> Iterator[str]:
    """Yield what a word shows with the words around it: `near[at]` is it."""
    word = near[at]
    if word in _NEGATORS:
        yield from (f"not {squeezed(before)[:5]}" for before in near[:at])
    if len(word) > 2:
        yield from (f"with {word[:5]} {behind[:5]}" for behind in near[at + 2 :] if len(behind) > 2)
