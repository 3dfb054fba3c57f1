"""An answer without the case that its sentence gave it: `Adalet Bakanının` is `Adalet Bakanı`, `üç aydır` is `üç ay`.

Only endings are taken off that can hardly be anything else: those behind an apostrophe, behind a counted measure
(`otuz günlük`) and behind a plural, the cases behind a possessive (`-sının`, `-ına`, `-ından`, `-ınca`), ablative,
locative and copula of longer words. The rest is a piece of the text.
"""

from __future__ import annotations

import re

_NUMERAL = r"(?:bir|iki|üç|dört|beş|altı|yedi|sekiz|dokuz|on|yirmi|otuz|kırk|elli|altmış|yetmiş|seksen|doksan|yüz|bin)"
_MEASURE = r"(?:gün|ay|yıl|sene|hafta|saat|kişi|üye|pay|hisse|ortak|katı|lira)"
_BODY = (
    r"(?:Hazine|[Bb]ütçe|Fon|Kanun|Kurum|[Kk]urul|Banka|Birlik|Bakanlık|[Mm]üdür|[Kk]omisyon|Yargıtay|Danıştay|mükellef|"
    r"[Mm]ahkeme|[Ii]şveren|[Hh]eyet)"
)
_WHOLE = re.compile(
    r"(?:\b(?:[Hh]azine|[Kk]anunu|(?:iş ?|takvim )günü|"
    r"h[aâ]linde|durumunda|suretiyle|itibar[ıi]yl[ae]|üzerin(?:e|den)|içerisinde|"
    r"aracılığıyla|boyunca|sonrasında|oranında|tutarında|değildir|vardır|yoktur|muaftır|yasaktır|sahiptir|istisnadır|"
    r"müstesnadır|ilgilidir)|\b(?:1[89]|20)\d\d (?:takvim )?yılı|\w(?<!ahke)m[ae]d[ae]n|[dt][ıiuü][ğg][ıiuü]nd[ae]|"
    r"m[ıiuü]şt[ıiuü]r|m[ae]kt[ae]d[ıiuü]r|dışında(?:dır)?)$"
)
"""Ends that are no case, or that an answer needs."""

_ENDINGS = tuple(
    re.compile(ending)
    for ending in (
        r"(?<=\w)(?P<case>['’‘`´ʼ][^\W\d_]{1,9})$",
        r"(?:iş ?|takvim )günü(?P<case>n[^\W\d_]{1,4})$",
        r"\b(?:1[89]|20)\d\d (?:(?:takvim|hesap|mali) )?yılı(?P<case>n[^\W\d_]{1,4})$",
        rf"(?:\d|\b\w*{_NUMERAL}) (?:(?:iş|takvim) )?{_MEASURE}(?P<case>[^\W\d_]{{1,6}})$",
        rf"\b{_BODY}(?P<case>[yn]?[ae]|n?[ıiuü]n|[dt][ae]n?|[cç][ae])$",
        r"[^\W\d_]l[ae]r(?P<case>[ae]|d[ae]n?|l[ae]|[ıi]n|c[ae])$",
        r"[^\W\d_]{3}[ıiuü](?P<case>n(?:[ıiuü]n|[ae]|[ıiuü]|d[ae]n?|c[ae]|l[ae])(?:d[ıiuü]r)?)$",
        r"[^\W\d_]{2}(?P<case>[dt][ıiuü]r)$",
        r"[^\W\d_]{6}(?P<case>[dt][ae]n?|yl[ae]|n[ıiuü]n)$",
    )
)
_LONGEST = 80
"""Characters from its end on that the ending of an answer can depend on."""


def bare_end(text: str, start: int, end: int) -> int:
    """Return where the answer at `start`, `end` ends without its case.

    Examples
    --------
    >>> [one[: bare_end(one, 0, len(one))] for one in ("Adalet Bakanının", "Kars'a", "üç aydır", "gemi adamı")]
    ['Adalet Bakanı', 'Kars', 'üç ay', 'gemi adamı']
    """
    tail = text[max(start, end - _LONGEST) : end]
    if _WHOLE.search(tail):
        return end
    for ending in _ENDINGS:
        found = ending.search(tail)
        if found:
            return end - len(tail) + found.start("case")
    return end
