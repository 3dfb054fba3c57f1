"""Exact match and F1 of an answer, as SQuAD has them, in Turkish.

Normalisation: Turkish lower case (`I` to `ı`, `İ` to `i`), every character of Unicode's punctuation and symbol classes
deleted (not replaced by a blank, so `1461'de` becomes `1461de`), blanks made single. There are no articles to drop.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from kalibre.language.text.casing import lower


@lru_cache(maxsize=100_000)
def normalised(text: str) -> str:
    """Return what of an answer is compared.

    Examples
    --------
    >>> normalised("  IŞIK,   1923'te. ")
    'ışık 1923te'
    """
    plain = "".join(one for one in lower(text) if unicodedata.category(one)[0] not in "PS")
    return " ".join(plain.split())


def exact(found: str, gold: Sequence[str]) -> float:
    """Return 1 where the answer is one of the gold ones, else 0."""
    return float(any(normalised(found) == normalised(one) for one in gold))


def overlap(found: str, gold: Sequence[str]) -> float:
    """Return the best F1 over words with any gold answer; two empty answers agree.

    Examples
    --------
    >>> overlap("Mimar Sinan", ["büyük usta Mimar Sinan"])
    0.6666666666666666
    """
    return max((_overlap(normalised(found), normalised(one)) for one in gold), default=0.0)


def _overlap(found: str, gold: str) -> float:
    a, b = found.split(), gold.split()
    if not a or not b:
        return float(a == b)
    shared = sum((Counter(a) & Counter(b)).values())
    return 0.0 if not shared else 2 * shared / (len(a) + len(b))
