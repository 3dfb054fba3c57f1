"""What cannot be a headline: it is abstained on with a reason, before any model sees it."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from kalibre.language.headlines.canonical import normalise

LONGEST: Final = 2_000
"""Characters; a longer text is an article: score its headline."""

_INSTRUCTION = re.compile(
    r"""(?:ignore|disregard|forget|override|bypass)\b.{0,30}\b(?:instructions?|prompts?)\b
      |(?:ignore|disregard|forget)\s(?:everything|all|anything)?\s?(?:the\ above|above|you\ (?:were|have\ been)\ told)\b
      |\b(?:follow|obey)\b.{0,30}\b(?:system|these|my|new|following)\ (?:instructions?|prompts?)\b
      |\bnew\ instructions?\s?:
      |(?:you\ are|act\ as|pretend\ to\ be|as)\s(?:an?\s|the\s|now\s){0,2}(?:helpful\s|free\s)?
        (?:ai|assistant|chatbot|(?:ai\ |large\ )?(?:language\ )?model)\b(?!\s?(?:maker|portfolio|says))
      |(?:return|answer|output|respond|reply|print|set|give|say)\b.{0,40}\b(?:impact|confidence|score)\b
        \s?(?:=|:|to|of|as|is)?\s?["']?[-+]?\d
      |(?:answer|output|respond|reply|return)\b.{0,15}\bjson\b
      |(?:return|answer|output)\s[-+]?\d(?:[.,]\d+)?\sfor\s(?:every|all|each|this)\b
      |["'](?:impact|confidence|asset)["']\s?:|\bimpact\s?=\s?["']?[-+]?\d
      |\bimpact\s?:\s?["']?[-+]?[01](?:[.,]\d+)?\s?(?:$|[,;.}])
      |(?:^|[\n\r<\[|])\s*/?(?:system|assistant|user)\s?(?:prompt)?\s?[:>\]]
      |<\|?\s?(?:im_start|im_end|system|endoftext|/?s)\s?\|?>|\[/?inst\]|\#{2,}\s?(?:instruction|system)|</\s?headlines?\s?>
      |(?:talimat|komut|yönerge|prompt|(?:önceki|yukarıdaki|tüm|bütün)\s.{0,20}\bkural)\w*\s.{0,20}
        (?:yok\ say|unut|görmezden\ gel|dikkate\ alma|geçersiz\ say|uyma)(?:y?[ıiuü]n(?:[ıiuü]z)?)?\b
      |\bsen\b.{0,30}\b(?:asistan|yapay\ zek[aâ]|dil\ modeli)\w*?s[ıi]n\b
      |\b(?:impact|confidence|etki|skor|puan)\w*\s?[:=]?\s.{0,15}?[-+]?\d(?:[.,]\d+)?\s(?:olarak\s)?
        (?:ver|döndür|ayarla|işaretle|yaz(?!\s(?:ay|dön|sez|mev|tat|okul)))(?:[ıiuü]n(?:[ıiuü]z)?)?\b
      |\bbu\ (?:haber|başlı[kğ]|metn)\w*\s.{0,40}\b(?:değerlendir|puanla|(?:olumlu|olumsuz)\ (?:de|say|puanla))
        (?:[ıiuü]n(?:[ıiuü]z)?)?\s?[.!]*$
      """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
"""Defence in depth: what slips through is still data in a document, and its answer has to fit the schema."""

_SPELT = re.compile(r"(?:\b\w\s){5,}\w\b")
_MIXED = re.compile(r"[a-zçğıöşü][а-яѐ-џα-ω]|[а-яѐ-џα-ω][a-zçğıöşü]", re.IGNORECASE)


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
    if sum(c.isalpha() for c in plain) < 2:
        return "no words" if plain else "empty"
    if _MIXED.search(plain):
        return "hides its words: it mixes the letters of two scripts in one"
    return "addresses a model: it reads like an instruction, not like a headline" if _instructs(plain) else None


def _instructs(plain: str) -> bool:
    # Letters of other widths, and words spelt out letter by letter, read the same to a model.
    folded = unicodedata.normalize("NFKC", plain)
    spelt = _SPELT.sub(lambda found: found[0].replace(" ", ""), folded)
    return bool(_INSTRUCTION.search(folded) or (spelt != folded and _INSTRUCTION.search(spelt)))


def _spoilt(text: str) -> str | None:
    if any(unicodedata.category(c) == "Cs" for c in text) or text.count("\ufffd") > 2:
        return "not text: it was read in the wrong encoding"
    # Those from U+0080 on are quotes and dashes of Windows, read as Latin-1: many Turkish pages have them.
    controls = sum(c < " " and c not in "\t\r\n" for c in text)
    return "not text: binary" if controls > 2 or "\x00" in text else None
