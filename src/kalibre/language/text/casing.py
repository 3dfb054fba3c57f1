"""Casing with the Turkish i: `I` is the capital of `ı`, `İ` of `i`. No call changes the length, so offsets hold.

The text is taken as it stands (`normal.clean` composes it first). The few letters whose other case is longer than one
character (`ß`, ligatures) keep their case.
"""

from __future__ import annotations

import re
import unicodedata

_LOWER = {ord("I"): "ı", ord("İ"): "i"}
_UPPER = {ord("i"): "İ", ord("ı"): "I"}
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_PLAIN = {"ı": "i", "ø": "o", "ł": "l", "đ": "d", "ð": "d"}


def lower(text: str) -> str:
    """Return the text in small letters, Turkish.

    Examples
    --------
    >>> lower("IĞDIR'DA İHRACAT")
    "ığdır'da ihracat"
    """
    return text.translate(_LOWER).lower()


def upper(text: str) -> str:
    """Return the text in capitals, Turkish.

    Examples
    --------
    >>> upper("ılık bir pazartesi")
    'ILIK BİR PAZARTESİ'
    """
    turned = text.translate(_UPPER)
    whole = turned.upper()
    if len(whole) == len(turned):
        return whole
    return "".join(one if len(one.upper()) > 1 else one.upper() for one in turned)


def title(text: str) -> str:
    """Return the text with each word's first letter large and the rest small; a suffix stays small.

    Examples
    --------
    >>> title("istanbul'un ILIK günü")
    "İstanbul'un Ilık Günü"
    """
    return _WORD.sub(lambda found: upper(found[0][0]) + found[0][1:], lower(text))


def fold(text: str) -> str:
    """Return the text in small ASCII letters where they have one: a key under which spellings meet.

    Examples
    --------
    >>> fold("ŞİŞECAM"), fold("Şişecam"), fold("SISECAM"), fold("kâr")
    ('sisecam', 'sisecam', 'sisecam', 'kar')
    """
    small = lower(text)
    if small.isascii():
        return small
    return small.translate({ord(one): _plain(one) for one in set(small) if not one.isascii()})


def _plain(letter: str) -> str:
    if letter in _PLAIN:
        return _PLAIN[letter]
    parts = unicodedata.normalize("NFD", letter)
    return parts[0] if parts[0].isascii() and all(map(unicodedata.combining, parts[1:])) else letter
