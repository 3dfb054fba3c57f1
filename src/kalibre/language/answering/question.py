"""What a question asks for: its question word, the noun that it asks about, and the kind of answer."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kalibre.language.answering.words import POINT, SUFFIX, Units, units

KINDS = (
    "other", "who", "whose", "whom_dative", "whom_ablative", "whom_accusative", "who_with", "when", "year", "how_many",
    "nth", "where", "where_to", "where_from", "where_other", "why", "how", "what", "what_accusative", "what_dative",
    "what_plural", "which", "how_much", "name", "of_what",
)  # fmt: skip
"""Kinds of question; a feature holds the index."""

_ASKING: tuple[tuple[str, str], ...] = (
    (r"kimin(?:dir)?|kimlerin", "whose"),
    (r"kim(?:e|lere)", "whom_dative"),
    (r"kim(?:den|lerden)", "whom_ablative"),
    (r"kim(?:i|leri)", "whom_accusative"),
    (r"kim(?:le|inle|lerle|de|lerde)", "who_with"),
    (r"kim(?:ler)?(?:dir|di|mis)?", "who"),
    (r"kacinci(?:si|dir|sidir)?", "nth"),
    (r"kac(?:i|a|tir|ti|tan|ar|ta|inin)?", "how_many"),
    (r"nere(?:ye|lere)", "where_to"),
    (r"nere?(?:den|lerden)", "where_from"),
    (r"nere?(?:de|lerde|dedir|deydi|lerdedir|deki)", "where"),
    (r"nere(?:si|sidir|siydi|nin|li|lidir|liydi|yi|ler|leri|lerdir|sinde|sine|dir)?", "where_other"),
    (r"neden(?:ini|leri|i)?|nicin|niye", "why"),
    (r"nasil(?:dir|di)?", "how"),
    (r"hangi(?:si|sidir|leri|leridir|sini|sinde|lerinde|sine|ler)?", "which"),
    (r"neyi|nesini|nelerini|neleri", "what_accusative"),
    (r"ney?e|nelere", "what_dative"),
    (r"nelerdir|neler|nelerdi", "what_plural"),
    (r"neyin|nelerin|neyden|nelerden|neyle|neyde|nelerde", "of_what"),
    (r"ne(?:dir|ydi|yidir|si|sidir)?", "what"),
)
_FORMS = tuple((re.compile(form + r"\Z"), name) for form, name in _ASKING)
_YEAR = re.compile(r"(?:yil|tarih|sene|donem|yuzyil|asir|asr|gun|ay[a-z]?\Z|zaman)")
_CAUSE = re.compile(r"(?:neden|sebe[bp]|gerekce|amac)")
_NAME = re.compile(r"(?:ad|adi|ism|isim|unvan|lakab|lakap)(?:i|ini|na|ina)?\Z|ismi|unvani|lakabi|mahlas")


@dataclass(frozen=True, eq=False)
class Question:
    """A question as units.

    Attributes
    ----------
    units
        Of the question.
    kind
        Index into `KINDS`.
    asking
        Index of the unit that asks; the last one where none was found.
    width
        Units that the asking takes: 2 for `ne zaman`.
    focus
        Index of the noun asked about (`hangi SAVAS`, `ADI nedir`), -1 where there is none.
    content
        Shape (n,), whether a unit should be looked for in the passage.
    """

    units: Units
    kind: int
    asking: int
    width: int
    focus: int
    content: NDArray[np.bool_]


def analyse(text: str) -> Question:
    """Find what a question asks for."""
    cut = units(text)
    words = cut.words
    asking, name, width = _asking(words)
    focus = -1
    if asking >= 0:
        after = words[asking + width] if asking + width < len(words) else ""
        before = words[asking - 1] if asking else ""
        if name == "what" and after.startswith("zaman"):
            name, width = "when", 2
        elif name == "what" and after.startswith("kadar"):
            name, width = "how_much", 2
        elif name == "what" and _CAUSE.match(after):
            name, width = "why", 2
        elif name in ("what", "what_plural") and _CAUSE.match(before):
            name = "why"
        elif name in ("what", "which") and _NAME.match(before):
            name = "name"
        elif name in ("what", "which", "nth") and (_YEAR.match(after) or (name == "what" and _YEAR.match(before))):
            name = "year"
        focus = _focus(cut, asking, width, name)
    content = (cut.kinds != POINT) & (cut.kinds != SUFFIX)
    if asking >= 0:
        content[asking : asking + width] = False
    elif len(cut):
        asking, width = len(cut) - 1, 1
    return Question(cut, KINDS.index(name), asking, width, focus, content)


def _asking(words: list[str]) -> tuple[int, str, int]:
    found = (-1, "other", 1)
    for at, word in enumerate(words):
        for form, name in _FORMS:
            if form.match(word):
                # The likeliest one is kept: "ne" and "neden" also stand inside sentences, "hangi" and "kim" hardly do.
                if found[0] < 0 or (found[1] in ("what", "why", "how") and name not in ("what", "why", "how")):
                    found = (at, name, 1)
                break
    return found


def _focus(cut: Units, asking: int, width: int, name: str) -> int:
    def noun(at: int) -> bool:
        return 0 <= at < len(cut) and cut.kinds[at] != POINT and cut.kinds[at] != SUFFIX

    after, before = asking + width, asking - 1
    if before >= 0 and cut.kinds[before] == SUFFIX:
        before -= 1
    if name in ("which", "how_many", "nth", "year", "whose", "of_what") and noun(after):
        return after
    if name in ("what", "what_plural", "name", "who", "where_other", "why", "how_much") and noun(before):
        last = asking + width >= len(cut) or not noun(after)
        return before if last else (after if noun(after) else -1)
    return -1
