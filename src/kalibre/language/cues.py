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
        word = words[i]
        if _RUN.search(word):
            yield i, "long"
            yield i, f"long {squeezed(word)[:6]}"
        if _LAUGHS.fullmatch(word):
            yield i, "laugh"
        if i and ends[i - 1] == starts[i]:
            if words[i - 1][-1] == "#":
                yield i, f"tag {word[:8]}"
            elif words[i - 1][-1] in _EYES and word in _FACES:
                yield i, f"face {word[0]}"
        if word in _NEGATORS:
            for before in spoken[max(0, place - 3) : place]:
                yield i, f"not {squeezed(words[before])[:5]}"
        if _NEGATED.match(word):
            yield i, f"unverb {word[:5]}"
        if turned:
            yield i, f"after {word[:5]}"
        turned |= word in _TURNS
        yield i, f"end {word[-3:]}"
        if len(word) > 2:
            for behind in spoken[place + 2 : place + 1 + _FAR]:
                if len(words[behind]) > 2:
                    yield i, f"with {word[:5]} {words[behind][:5]}"
    if spoken:
        first, last = words[spoken[0]], words[spoken[-1]]
        yield spoken[0], f"first {first[:5]}"
        yield spoken[-1], f"last {last[:5]}"
        yield spoken[-1], f"last end {last[-4:]}"
        yield spoken[0], f"words {min(len(spoken) // 5, 5)}"
    for i, mark in enumerate(words):
        if not mark[0].isalnum():
            yield i, f"mark {mark[:2]}"
            for sign in set(mark):
                if ord(sign) > 0x2000:
                    yield i, f"sign {sign}"
