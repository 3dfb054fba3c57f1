"""An answer without the case that its sentence gave it: `Adalet Bakanının` is `Adalet Bakanı`, `üç aydır` is `üç ay`.

Only endings are taken off that can hardly be anything else: those behind an apostrophe, the cases behind a possessive
(`-sının`, `-ına`, `-ından`, `-ınca`), ablative, locative and copula of longer words. The rest is a piece of the text.
"""

from __future__ import annotations

import re

_POSSESSED = re.compile(r"(?<=[ıiuü])n(?:[ıiuü]n|[ae]|[ıiuü]|d[ae]n?|c[ae]|l[ae])(?:d[ıiuü]r)?$")
_PLAIN = re.compile(r"(?<=\w\w)(?:[dt][ıiuü]r|[dt][ae]n|[dt][ae]|yl[ae]|n[ıiuü]n)$")
_APOSTROPHE = re.compile(r"(?<=\w)['’‘`´ʼ][^\W\d_]{1,9}$")
_LEAST = 6


def bare_end(text: str, start: int, end: int) -> int:
    """Return where the answer at `start`, `end` ends without its case.

    Examples
    --------
    >>> [one[: bare_end(one, 0, len(one))] for one in ("Adalet Bakanının", "Kars'a", "üç aydır", "gemi adamı")]
    ['Adalet Bakanı', 'Kars', 'üç ay', 'gemi adamı']
    """
    answer = text[start:end]
    found = _APOSTROPHE.search(answer)
    if found:
        return start + found.start()
    word = re.search(r"[^\W\d_]+$", answer)
    if word is None:
        return end
    found = _POSSESSED.search(word.group())
    if found and found.start() >= 4:
        return start + word.start() + found.start()
    found = _PLAIN.search(word.group())
    if found and (found.start() >= _LEAST or found.group()[-1] == "r"):
        return start + word.start() + found.start()
    return end
