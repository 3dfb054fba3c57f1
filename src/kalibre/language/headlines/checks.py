"""What cannot be a headline: it is abstained on with a reason, before any model sees it."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from kalibre.language.headlines.canonical import normalise

LONGEST: Final = 2_000
"""Characters; a longer text is an article: score its headline."""

_INSTRUCTION = re.compile(
    r"""(?:ignore|disregard|forget|override)\s.{0,30}\b(?:instruction|prompt|rule|direction|above|previous)
      |(?:you\ are|act\ as|pretend\ to\ be)\s.{0,20}\b(?:assistant|model|ai|chatbot|system)\b
      |(?:return|answer|output|respond|reply|print|set)\s.{0,30}\b(?:impact|confidence|json|score)\b
      |\b(?:system|assistant|user)\s?(?:prompt)?\s?[:>\]]\s?\S
      |<\|?\s?(?:im_start|im_end|system|endoftext|/?s)\s?\|?>|\[/?inst\]|\#{2,}\s?(?:instruction|system)
      |(?:önceki|yukarıdaki|tüm|bütün)\s.{0,30}\b(?:talimat|komut|kural|yönerge)\w*\s.{0,20}
        (?:yok\ say|unut|görmezden|dikkate\ alma|geçersiz)
      |(?:talimat|komut|yönerge)\w*\s.{0,20}(?:yok\ say|unut|görmezden\ gel|dikkate\ alma)
      |(?:sen|artık)\s.{0,20}\b(?:asistan|yapay\ zek[aâ]|dil\ modeli)\w*\b.{0,20}(?:sın|sin|gibi|davran)
      |\b(?:impact|confidence|etki|skor|puan)\w*\s?(?:değerini|olarak|=|:)\s?["']?[-+]?(?:\d|ver|yaz|döndür|ayarla)
      """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


def reason_against(text: str) -> str | None:
    """Return why a text is no headline that could be scored; None where nothing speaks against it.

    Examples
    --------
    >>> reason_against("THYAO yolcu sayısını açıkladı") is None, reason_against("🚀🚀🚀")
    (True, 'no words')
    """
    if len(text) > LONGEST:
        return f"too long: {len(text):,} characters, {LONGEST:,} are read; score the headline, not the article"
    if (spoilt := _spoilt(text)) is not None:
        return spoilt
    plain = normalise(text)
    if not plain:
        return "empty"
    if sum(c.isalpha() for c in plain) < 2:
        return "no words"
    if _INSTRUCTION.search(plain):
        return "addresses a model: it reads like an instruction, not like a headline"
    return None


def _spoilt(text: str) -> str | None:
    if any(unicodedata.category(c) == "Cs" for c in text) or text.count("\ufffd") > 2:
        return "not text: it was read in the wrong encoding"
    controls = sum(unicodedata.category(c) == "Cc" and c not in "\t\r\n" for c in text)
    return "not text: binary" if controls > 2 or "\x00" in text else None
