"""Where an institution's name ends when its suffix has no apostrophe: `Merkez Bankasının` is `Merkez Bankası`.

Turkish spelling puts no apostrophe behind the names of institutions. Their last word is then one of a short list in
its possessive form, with a case suffix behind the buffer `n` or `y`.
"""

from __future__ import annotations

import re

from kalibre.language.text.casing import lower

_HEADS = (
    "bankası|kurumu|kurulu|kuruluşu|bakanlığı|başkanlığı|müdürlüğü|müsteşarlığı|birliği|odası|borsası|şirketi|ortaklığı"
    "|holdingi|partisi|meclisi|mahkemesi|üniversitesi|fakültesi|enstitüsü|vakfı|derneği|sendikası|federasyonu"
    "|konfederasyonu|komisyonu|komitesi|ajansı|idaresi|belediyesi|valiliği|fonu|fabrikası|gazetesi|televizyonu|kulübü"
    "|örgütü|teşkilatı|cumhuriyeti|devletleri|krallığı|merkezi|dairesi|konseyi|divanı|hazinesi|servisi|grubu"
)
_CASED = re.compile(rf"(?P<bare>(?:{_HEADS}))(?:n[ıiuü]n?|n[ae]|n[dt][ae]n?|nca|nce|yla|yle)")


def bare_end(text: str, start: int, end: int) -> int:
    """Return where a name ends whose last word is `text[start:end]`, its case suffix left out.

    Examples
    --------
    >>> text = "Merkez Bankasının kararı"
    >>> text[: bare_end(text, 7, 17)]
    'Merkez Bankası'
    """
    word = text[start:end]
    if not word[:1].isupper():
        return end
    found = _CASED.fullmatch(lower(word))
    return start + len(found["bare"]) if found else end
