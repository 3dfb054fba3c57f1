"""When two headlines say the same: a form that drops what a wire adds and keeps whatever could change a score.

A near-duplicate by likeness alone is a trap: "Garanti kârını artırdı" and "Garanti kârını artırmadı" share nine tenths
of their characters. So nothing here measures likeness. A headline is written down in a form from which fillers, tags,
case, punctuation and apostrophe suffixes are gone, and in which a few exact synonyms are one; two headlines are near
duplicates if and only if these forms are equal. Every number, date, name, negation and direction is part of the form,
so a changed one is another headline by construction.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import lru_cache

VERSION = "2"
"""Goes into every key: a cache filled under other rules is not asked."""

_LOWER = str.maketrans({"I": "ı", "İ": "i"})
_FLAT = str.maketrans("âîû", "aiu")
"""Circumflexes are often left out. Other marks are not folded: `oldu` (became) and `öldü` (died) are two words."""

_APOSTROPHES = "'’‘`´ʼ"

_TAGS = re.compile(
    r"""^\s*(?:[\[(](?:güncellendi|güncelleme|son\ dakika|flaş|acil|video|foto(?:\ galeri)?|canlı|özel(?:\ haber)?
        |analiz|haber|gündem|ekonomi|breaking(?:\ news)?|update\ ?\d?|exclusive|live)[\])]
      |(?:son\ dakika|flaş\ haber|flaş|flash|acil|canlı|özel\ haber|günün\ haberi|breaking(?:\ news)?|update\ ?\d?
        |exclusive)
        (?:\s+(?:haber|gelişme|haberi))?\s*[:!|–—-]+)\s*""",
    re.IGNORECASE | re.VERBOSE,
)
_TAILS = re.compile(
    r"""(?:(?:\s*\||\s+[–—-]\s)\s*(?:reuters|bloomberg(?:\ ht)?|anadolu\ ajansı|aa|dha|iha|ntv|cnn\ türk|cnbc-e|foreks
        |matriks|dünya|ekonomim|haberler(?:\.com)?|investing(?:\.com)?|para\ analiz|milliyet|habertürk|sözcü)
      |\s*\((?:aa|dha|iha|reuters|bloomberg(?:\ ht)?|foreks|matriks|güncellendi|güncelleme|video|foto|özel
        |update\ ?\d?)\)
      |\s*(?:\.{3,}|…))\s*$""",
    re.IGNORECASE | re.VERBOSE,
)

_FILLERS = frozenset(
    "ve ile de da ki bir bu için olarak ise yine önemli kritik dikkat çeken çarpıcı işte the an its".split()
)
"""Words without which a headline says the same. None of them negates, compares, points or counts. `yeni` (new), `büyük`
(big), `dev` (giant), `son` (last) and a single letter are none: they are also parts of names, tickers and dates."""

_TENS = frozenset("on yirmi otuz kırk elli altmış yetmiş seksen doksan yüz bin yüzde % her hiç".split())
_COUNTED = re.compile(
    r"(?:bin|mil|tril|puan|baz|gün|hafta|ay|yıl|sene|saat|dakika|çeyrek|dönem|sezon|akşam|sabah|gece|lira|tl|dolar|euro"
    r"|avro|kuruş|sent|lot|kat|adet|kişi|şirket|banka|ülke|ton|varil|ons|gram|kez|defa|numara)"
)
"""`bir` before one of these, or behind one of the tens, counts; `bu` before a time says which."""

_SYNONYMS = {
    word: group[0]
    for group in (
        "açıkladı duyurdu bildirdi ilan_etti".split(),
        "yükseldi arttı yükseliş_kaydetti artış_gösterdi yükseliş_gösterdi artış_kaydetti".split(),
        "düştü geriledi azaldı düşüş_kaydetti düşüş_gösterdi gerileme_kaydetti".split(),
        "yükseliyor artıyor".split(),
        "düşüyor geriliyor azalıyor".split(),
        "artırdı arttırdı yükseltti".split(),
        "düşürdü indirdi azalttı".split(),
        "yüzde %".split(),
        "tl lira ₺ try".split(),
        "dolar usd $".split(),
        "euro avro eur €".split(),
        "milyon mn mln".split(),
        "milyar mr mlr".split(),
        "tcmb merkez_bankası mb".split(),
        "abd amerika".split(),
    )
    for word in group
}
"""Exact words (and pairs of words) that are one. Each group holds one direction in one tense: `yükselecek` and
`yükseldi` stay apart, and so does every negated form. `indi` and `paylaştı` are in none: a plane lands, a profit is
shared out."""

_UNITS = frozenset("mn mln mr mlr try".split())
"""One with their long forms behind a number only: `Mr Powell` is no milliard, `bulls try` no lira."""
_FLYING = re.compile(r"\b(?:uça[kğ]|helikopter|jet|drone?|[isu]ha\b|füze|roket|balon)")
"""What is brought down is shot down or landed: verbs of falling stay as they are."""
_FALLING = frozenset("düştü geriledi azaldı düşürdü indirdi azalttı".split())

_DECORATION = frozenset("|🚨⚡🔔📢📣🗞📰🔥⏰⏳©®™★☆►▶•♦")
"""Signs that only decorate. All others count: arrows, charts, comparisons and flags turn what is said."""
_ASKING = frozenset("mı mi mu mü".split())

_CASES = {
    suffix: group[0]
    for group in (
        "da de ta te".split(),
        "dan den tan ten".split(),
        "a e ya ye na ne".split(),
        "ı i u ü yı yi yu yü nı ni nu nü".split(),
        "la le yla yle".split(),
        "lı li lu lü".split(),
        "daki deki taki teki".split(),
    )
    for suffix in group
}
"""Case suffixes after an apostrophe, whatever the vowel: they say from whom to whom (`ABD'den İran'a`), and `5'e`
(to 5) is not `5` (by 5)."""
_GENITIVE = re.compile(r"[ns]?[ıiuü]n")

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_TOKEN = re.compile(
    rf"(?P<minus>(?<!\w)[-−–—](?=\s?[%$€₺£]?\s?\d))|(?P<number>\d+(?:[.,:/]\d+)*)|(?P<word>[^\W\d_]+)"
    rf"|(?P<sign>[%$€₺£])|(?<=\w)[{_APOSTROPHES}]\s?(?P<suffix>[^\W\d_]{{1,7}})\b|(?P<asked>[?？؟])|(?P<other>[^\w\s])"
)
_MULTIPLIERS = frozenset({"bin", "milyon", "milyar", "trilyon"})


def normalise(text: str) -> str:
    r"""Return the text as exact hits compare it: NFC, Turkish lower case, single blanks, no marks that cannot be seen.

    Examples
    --------
    >>> normalise("  THYAO’nun  KÂRI\u200b arttı ")
    'thyao’nun kârı arttı'
    """
    composed = unicodedata.normalize("NFC", text)
    seen = "".join(" " if unicodedata.category(c) in {"Cc", "Zl", "Zp"} else c for c in composed)
    kept = "".join(c for c in seen if unicodedata.category(c) not in {"Cf", "Cs"})
    # Lowering that knows no Turkish leaves the dot of İ behind as a mark of its own.
    lowered = kept.translate(_LOWER).lower().replace("i\u0307", "i")
    return " ".join(unicodedata.normalize("NFC", lowered).split())


@lru_cache(maxsize=65_536)
def canonical(text: str) -> str:
    """Return the form in which near-duplicates are equal; empty where nothing is left.

    Parameters
    ----------
    text
        A headline; its case matters only where letters are folded.

    Examples
    --------
    >>> canonical("SON DAKİKA: THYAO'nun kârı %5,0 arttı - Reuters") == canonical("THYAO kârı yüzde 5 yükseldi")
    True
    >>> canonical("THYAO kârı yüzde 5 yükseldi") == canonical("THYAO kârı yüzde 6 yükseldi")
    False
    """
    plain = normalise(text)
    while True:
        shorter = _TAILS.sub("", _TAGS.sub("", plain))
        if shorter == plain:
            break
        plain = shorter
    tokens: list[str] = []
    for match in _TOKEN.finditer(plain):
        kind, word = str(match.lastgroup), match.group(str(match.lastgroup))
        if kind == "suffix":
            # A genitive only binds a name to what follows it; wires leave it out.
            tokens += [] if _GENITIVE.fullmatch(word) else [f"'{_CASES.get(word, word)}"]
        elif kind == "other":
            telling = unicodedata.category(word) in {"Sm", "So", "Sc"} and word not in _DECORATION
            tokens += [word] if telling else []
        elif kind == "asked":
            tokens += [] if "?" in tokens or not _ASKING.isdisjoint(tokens) else ["?"]
        else:
            tokens.append({"minus": "minus", "number": _number(word)}.get(kind, word))
    falling = _FALLING if _FLYING.search(plain) else frozenset[str]()
    return " ".join(_merged(_telling(tokens), falling)).translate(_FLAT)


def exact_key(text: str) -> str:
    """Return the hash under which an exact repetition is found."""
    return hashlib.sha256(f"exact|{normalise(text)}".encode()).hexdigest()[:32]


def near_key(text: str) -> str:
    """Return the hash under which a near-duplicate is found; that of the text itself where nothing else is left."""
    form = canonical(text)
    return hashlib.sha256(f"near{VERSION}|{form}".encode()).hexdigest()[:32] if form else exact_key(text)


def _telling(tokens: list[str]) -> list[str]:
    """Leave the fillers out, but not where they count or say which."""
    kept = []
    for place, word in enumerate(tokens):
        if word in _FILLERS:
            before, after = tokens[place - 1] if place else "", tokens[place + 1] if place + 1 < len(tokens) else ""
            if word not in {"bir", "bu"} or not (
                _COUNTED.match(after) or (word == "bir" and (before in _TENS or before[:1].isdigit()))
            ):
                continue
        kept.append(word)
    return kept


def _number(word: str) -> str:
    """Write `1.250,50`, `1250.5` alike as far as Turkish writing is sure: a comma is decimal, a dot before three digits
    groups, any other dot is decimal.

    What can be read in two ways stays as it is: `1,250` (English groups so), dates and times (`14.05.2023`, `1.10`,
    `14:30`).
    """
    if not _NUMBER.fullmatch(word) or (word.count(".") > 1 and not re.fullmatch(r"\d{1,3}(\.\d{3})+(,\d+)?", word)):
        return word
    if re.fullmatch(r"[1-9]\d{0,2},\d{3}", word) or re.fullmatch(r"(?:[12]?\d|3[01])\.10", word):
        return word
    if "," in word:
        whole, _, part = word.replace(".", "").rpartition(",") if word.count(",") == 1 else (word, "", "")
        part = part.rstrip("0")
        return f"{whole}.{part}" if part else whole
    if re.fullmatch(r"[1-9]\d{0,2}(\.\d{3})+", word):
        return word.replace(".", "")
    if "." in word:
        whole, _, part = word.partition(".")
        part = part.rstrip("0")
        return f"{whole}.{part}" if part else whole
    return word


def _merged(tokens: list[str], kept: frozenset[str]) -> list[str]:
    """Replace exact synonyms, of one word or two, and put a currency's sign behind its amount; leave `kept` alone."""
    found: list[str] = []
    place = 0
    while place < len(tokens):
        pair = "_".join(tokens[place : place + 2])
        if "_" in pair and pair in _SYNONYMS:
            found.append(_SYNONYMS[pair])
            place += 2
            continue
        word = tokens[place]
        if word in kept or (word in _UNITS and not (found and (found[-1][0].isdigit() or found[-1] in _MULTIPLIERS))):
            found.append(word)
            place += 1
            continue
        if word in "$€₺£" and tokens[place + 1 : place + 2] and tokens[place + 1][0].isdigit():
            found.append(tokens[place + 1])
            multiplier = _SYNONYMS.get(tokens[place + 2], tokens[place + 2]) if place + 2 < len(tokens) else ""
            found += [multiplier] if multiplier in _MULTIPLIERS else []
            place += 2 if multiplier in _MULTIPLIERS else 1
        found.append(_SYNONYMS.get(word, word))
        place += 1
    return found
