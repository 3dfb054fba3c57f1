"""Stems: what is left of a Turkish word when its inflection is taken off, so that its forms meet under one key.

Light and without a lexicon: plural, possessive, case, copula and the commonest endings of verbs go, one after the
other, as long as three letters with a vowel stay. Derivation (`-lık`, `-cı`) stays. Two words may share a stem.
"""

from __future__ import annotations

import re
from functools import lru_cache

from kalibre.language.text.casing import lower
from kalibre.language.text.tokens import iterate

_LEAST = 3
_VOWEL = re.compile("[aeıioöuüâîû]")
_D = "(?:(?<=[fstkçşhp])t|(?<![fstkçşhpd])d)"
"""The d of an ending, which is t behind a voiceless letter and only there: `artıştı`, `kârdı`, not `şirke-ti`."""
_ENDINGS = tuple(
    (re.compile(f"(?:{pattern})$"), least)
    for pattern, least in (
        (f"{_D}[ıiuü]rl[ae]r|{_D}[ıiuü]r|yken", 3),  # copula
        ("y?m[ıiuü]ş(?:l[ae]r|t[ıiuü]r)?", 3),  # hearsay
        ("(?:m[ae]kt[ae]|[ıiuü]yor|[ae]c[ae][kğ])(?:yd[ıiuü]|l[ae]r|[ıiuü][mz])?|m[ae][kğ]", 3),  # -makta, -iyor, -ecek
        (f"{_D}[ıiuü](?:l[ae]r|[mk])?", 3),  # past
        ("ki(?:l[ae]r)?(?:n[ıiuü]n|nd[ae]n?|n[ae])?(?<=.{5})", 4),  # -ki
        (f"nd[ae]n?|{_D}[ae]n?|yl[ae]", 3),  # locative, ablative, instrumental
        ("(?<=[aeıiuü])n[ıiuü]n(?<!.[ıiuü]n[ıiuü]n)|[ıiuü]n[ıiuüae]|[ıiuü]n", 4),  # genitive, behind a possessive
        ("y[ae]|y[ıiuü]|l[ae](?<!l[ae]l[ae])", 3),  # dative, accusative, -la
        ("l[ae]r[ıi]m[ıi]z|l[ae]r[ıi]n[ıi]z|[ıiuü]m[ıiuü]z|[ıiuü]n[ıiuü]z|[aeıiuü]n", 4),  # our, your
        ("l[ae]r[ıi]n|l[ae]r[ıi]|s[ıiuü]n?", 3),  # their, its
        ("[aeıiuü]", 3),  # a last vowel: bare dative, accusative, possessive
        ("l[ae]r[ıiuü]?", 3),  # plural
        ("[aeıiuü]", 3),
    )
)
_HARD = {"b": "p", "c": "ç", "d": "t", "ğ": "k"}
_MANY = 50_000


@lru_cache(maxsize=_MANY)
def stem(word: str) -> str:
    """Return the stem of a word in small letters; a suffix behind an apostrophe goes whole, a number stays.

    Examples
    --------
    >>> [stem(word) for word in ("bankaların", "Bankalar", "bankası", "kitabından", "kitap", "TCMB'nin", "2023'te")]
    ['bank', 'bank', 'bank', 'kitap', 'kitap', 'tcmb', '2023']
    """
    token = next(iterate(word), None)
    if token is None:
        return lower(word)
    left = lower(token.body)
    if token.suffix or token.kind != "word" or not left.isalpha() or _VOWEL.search(left) is None:
        return left
    for ending, least in _ENDINGS:
        found = ending.search(left)
        if found and found.start() >= least and _VOWEL.search(left, 0, found.start()):
            left = left[: found.start()]
    return left[:-1] + _HARD.get(left[-1], left[-1]) if len(left) > _LEAST else left


def stems(text: str) -> list[str]:
    """Return the stems of a text's words and numbers, in order; marks are left out.

    Examples
    --------
    >>> stems("Enflasyonun düşmesi, faizleri etkiledi.")
    ['enflasyon', 'düşm', 'faiz', 'etk']
    """
    return [
        stem(token.text) if len(token.text) < 60 else lower(token.text)
        for token in iterate(text)
        if token.kind != "mark"
    ]
