"""Dates, times, quarters and stretches of time in Turkish text, without their case suffixes.

`14 Mayıs'ta` is `14 Mayıs`, `Ocak ayında` is `Ocak ayı`, `bu yılın ikinci çeyreğinde` is `bu yılın ikinci çeyreği`.
Vague words (`kısa vadede`, `şu anda`) are none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from typing import NamedTuple

from kalibre.language.text.casing import fold
from kalibre.language.text.tokens import APOSTROPHES, SUFFIX

MONTHS = ("ocak", "subat", "mart", "nisan", "mayis", "haziran", "temmuz", "agustos", "eylul", "ekim", "kasim", "aralik")
_ORDINALS = {"ilk": 1, "birinci": 1, "ikinci": 2, "ucuncu": 3, "dorduncu": 4}

_MONTH = "(?:ocak|[şs]ubat|mart|nisan|mayıs|haziran|temmuz|a[ğg]ustos|eyl[üu]l|ekim|kasım|aralık)"
_SURE_MONTH = "(?:[şs]ubat|nisan|mayıs|haziran|temmuz|a[ğg]ustos|eyl[üu]l|kasım)"
_YEAR = r"(?:(?<![\d.,/-])(?:19[3-9]|20[0-6])\d(?![\d%]|[.,]\d))"
_YEARS = rf"(?:{_YEAR}(?:\s?[-–/]\s?(?:(?:19|20)\d\d|\d\d)(?!\d|[.,/-]\d))?)"
_DAY = r"(?:(?<![\d.,/])(?:0?[1-9]|[12]\d|3[01])(?!\d))"
_WEEKDAY = "(?:pazartesi|salı|çarşamba|perşembe|cumartesi|cuma)"
_LETTER = r"[^\W\d_]"
_END = rf"(?=(?:{SUFFIX.removesuffix('{1,6}')}{{0,4}}|lar|ler)?(?!{_LETTER}))"
_OWNED = rf"(?=(?:n[dt][ae]n?(?:ki\w*|y?[dt]\w+)?|n[ae]|n[ıiuü]n?|yl[ae]|l[ae]r\w*|[dt][ıiuü]r)?(?!{_LETTER}))"
_AP = f"[{APOSTROPHES}]"
_WHICH = r"(?:(?:bir\s)?önceki|(?:bir\s)?sonraki|bu|geçen|geçtiğimiz|gelecek|önümüzdeki|evvelki|ertesi|aynı)"
_COUNT = (
    r"(?:(?<![\d.,])\d{1,3}(?:[.,]\d{1,2})?(?:\s?[-–]\s?\d{1,3})?(?!\d)"
    r"|(?:(?:bir|iki|üç|dört|beş|altı|yedi|sekiz|dokuz|on|yirmi|otuz|kırk|elli|altmış|yüz)\s?){1,3}(?:buçuk)?|yarım)"
)
_UNIT = "(?:yıl|sene|hafta|gün|saat|dakika|saniye|çeyrek|ay|asır|yüzyıl)"
_NTH = r"(?:ilk|son|birinci|ikinci|üçüncü|dördüncü|[1-4](?:\.|'?inci|'?nci|'?üncü|'?ncü))"
_PART = rf"""(?:(?:
    {_NTH}\s(?:{_COUNT}\s)?(?:çeyreği|yarısı|ayı|haftası|işlem\sgünü|günü|dönemi)
    |aynı\s(?:dönemi|ayı|çeyreği|günü|haftası)|başı|sonu|ortası){_OWNED})"""
_NUMERIC = re.compile(r"(\d{1,4})[./-](\d{1,2})[./-](\d{2,4})")

_TIME = re.compile(
    rf"""
    (?<!\w)(?=\w)(?:
    (?P<numeric>(?<![\d.,/-])(?:{_DAY}[./-](?:0?[1-9]|1[0-2])[./-](?:(?:19|20)\d\d|\d\d)|(?:19|20)\d\d-[01]\d-[0-3]\d)
        (?![\d]|[./-]\d)(?:\s(?:{_WEEKDAY}|pazar)(?:\sgünü)?{_END})?)
    |(?P<date>{_DAY}(?:\s?[-–]\s?{_DAY}|\sve\s{_DAY})?\s?{_MONTH}
        (?:\s{_YEAR}(?:\syılı{_OWNED})?)?(?:,?\s(?:{_WEEKDAY}|pazar)(?:\sgünü{_OWNED}|{_END}))?{_END})
    |(?P<quarter>(?:20\d\d\s?[/-]\s?)?(?:[1-4][ÇQ]|[12]Y|(?:3|6|9|12)A)(?:\s?[{APOSTROPHES}]?(?:20)?\d\d[TB]?)?(?![\w])
        |[QH][1-4](?:\s?(?:20)?\d\d)?(?!\w))
    |(?P<of>(?:{_YEARS}\syılının|{_YEARS}{_AP}\w{{1,3}}|(?:{_YEARS}\s(?:yılı\s)?)?{_MONTH}\sayının|{_MONTH}{_AP}\w{{2,3}}
        |(?:{_WHICH}\s)?(?:yılın|senenin|ayın|haftanın|günün|dönemin))\s{_PART})
    |(?P<year>{_YEARS}(?:\s?(?:yılı{_OWNED}|senesi{_OWNED}))?(?:
        \s(?:(?P<in_month>{_MONTH})(?:\sayı{_OWNED})?{_END}|{_PART}|{_NTH}\s(?:çeyrek|yarı){_END}|yıl\s?(?:sonu|başı){_OWNED}))?
        (?!\s?(?:puan|adet|kişi|ton|lot|seviye|hisse|metre|kilo|ons|baz|varil|adım|kelime|model\s?kod|mw|kw|lira|tl|dolar)))
    |(?P<months>{_MONTH}\s?[-–]\s?{_MONTH}(?:\s{_YEAR})?(?:\s(?:ayı|ayları|yılı){_OWNED})?{_END})
    |(?P<month>{_MONTH}
        (?:\s{_YEAR}|\sayı(?:\s(?:başı|sonu|ortası){_OWNED}|{_OWNED})|\s(?:başı|sonu|ortası){_OWNED})
        (?:\s(?:ayı|yılı){_OWNED})?)
    |(?P<bare>{_MONTH}{_END})
    |(?P<nth>{_NTH}\s(?:çeyreği{_OWNED}|çeyreğ(?=e(?!{_LETTER}))|çeyrek{_END}|yarı(?:yıl)?{_END}))
    |(?P<weekday>(?:{_WHICH}\s)?(?:{_WEEKDAY}(?:\s(?:günü|sabahı|akşamı|gecesi){_OWNED}|{_END})
        |pazar\s(?:günü|sabahı|akşamı|gecesi){_OWNED}))
    |(?P<clock>saat(?:ler)?\s(?:[01]?\d|2[0-4])(?:[.:][0-5]\d)?(?:\s?[-–]\s?(?:[01]?\d|2[0-4])[.:][0-5]\d)?(?![\d%]|[.,]\d)
        |(?<![\d.,:])(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d)?(?![\d:%]))
    |(?P<day>(?:dün|bugün|yarın)(?:\s(?:gece\syarısı{_OWNED}|(?:sabah|öğle|akşam|gece){_END})
        |(?=(?:k[üi]\w*|[dt][ae]n|[ae]|ün|l[üı]k)?(?!{_LETTER}))))
    |(?P<which>{_WHICH}\s(?:sabah|akşam|gece|öğle|hafta\ssonu|hafta|ay|yıl|sene|çeyrek){_END}
        |(?:önceki|evvelki|ertesi|geçen)\sgün{_END})
    |(?P<stretch>(?:(?:son|ilk|{_WHICH})\s)?{_COUNT}\s?{_UNIT}(?:\s(?:önce(?!{_LETTER}|\s?likle)|sonra|boyunca){_END}|{_END}))
    |(?P<edge>(?:yıl|ay|hafta)\s?(?:sonu|başı){_OWNED})
    )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_IS_SURE = re.compile(_SURE_MONTH, re.IGNORECASE)


class Moment(NamedTuple):
    """A time with its place and its ISO 8601 form, empty where it has none (`dün`, `son üç ay`)."""

    start: int
    end: int
    iso: str


def iterate(text: str) -> Iterator[Moment]:
    """Yield the times of a text in order, not overlapping.

    Examples
    --------
    >>> text = "THYAO 3Ç22 kârını 14 Mayıs 2023'te, pazartesi günü saat 14.00'te açıkladı"
    >>> [(text[start:end], iso) for start, end, iso in iterate(text)]
    [('3Ç22', '2022-Q3'), ('14 Mayıs 2023', '2023-05-14'), ('pazartesi günü', ''), ('saat 14.00', 'T14:00')]
    """
    for found in _TIME.finditer(text):
        kind = next(name for name in _NAMES if found[name] is not None)
        if kind == "bare" and not _calendar(text, found):
            continue
        yield Moment(found.start(), found.end(), _iso(kind, found[0]))


_NAMES = (
    "numeric", "date", "of", "year", "months", "month", "bare", "quarter", "nth", "weekday", "clock", "day", "which",
    "stretch", "edge",
)  # fmt: skip


def _calendar(text: str, found: re.Match[str]) -> bool:
    """Say whether a lone month's name means the month: `aralık` is also a gap, `ekim` sowing, `ocak` a stove."""
    sure = _IS_SURE.match(text, found.start()) is not None
    if found[0][0].islower():
        return sure
    behind = text[found.end() : found.end() + 1]
    if text[found.start() - 1 : found.start()] in ("-", "&", "/") and found.start():
        return False  # `Wal-Mart`
    before = (
        text[: found.start()].rstrip()[-1:] if found.start() < 200 else text[found.start() - 5 : found.start()].strip()
    )
    after = text[found.end() : found.end() + 2]
    if len(after) == 2 and after[0] == " " and after[1].isupper() and not found[0].isupper():
        return False  # `Nisan Yılmaz`, `Ekim Turizm`
    return sure or behind in APOSTROPHES or bool(before and before[-1] not in ".!?")


def _iso(kind: str, text: str) -> str:
    if kind == "numeric":
        return _numeric(text)
    key = fold(text)
    numbers = [int(one) for one in re.findall(r"\d+", key)]
    months = [k + 1 for k, name in enumerate(MONTHS) if re.search(rf"(?<![a-z]){name}", key)]
    years = [one for one in numbers if one >= 1900]
    stretch = re.search(r"\d\s?[-–]|\sve\s|basi|sonu|ortasi", key) is not None
    if kind == "clock":
        return "" if stretch else f"T{numbers[0]:02d}:{numbers[1] if len(numbers) > 1 else 0:02d}"
    if kind == "date":
        return "" if stretch or len(months) != 1 else _day(years[0] if years else None, months[0], numbers[0])
    if kind in ("month", "year", "bare") and len(months) == 1 and not stretch:
        return f"{years[0]}-{months[0]:02d}" if years else f"--{months[0]:02d}"
    if kind == "year" and re.fullmatch(r"\d{4}(?: yili| senesi)?", key):
        return str(years[0])
    return _quarter(key, years) if kind in ("quarter", "year", "of") else ""


def _numeric(text: str) -> str:
    found = _NUMERIC.match(text)
    if found is None:
        return ""
    first, second, third = (int(one) for one in found.groups())
    if len(found[1]) == 4:
        return _day(first, second, third)
    return _day(third + (2000 if third < 70 else 1900) if third < 100 else third, second, first)


def _day(year: int | None, month: int, day: int) -> str:
    try:
        found = date(year or 2000, month, day)
    except ValueError:
        return ""
    return found.isoformat() if year else found.strftime("--%m-%d")


def _quarter(key: str, years: list[int]) -> str:
    short = re.search(r"([1-4])[cq]|q([1-4])", key)
    if short:
        behind = re.search(r"(\d\d)[tb]?$", key[short.end() :])
        year = years[0] if years else 2000 + int(behind[1]) if behind else None
        quarter = int(short[1] or short[2])
        return f"{year}-Q{quarter}" if year else f"Q{quarter}"
    named = re.search(r"(?:(\w+)|([1-4])\S*)\s+ceyre", key)
    if not named or not years:
        return ""
    nth = int(named[1]) if (named[1] or "").isdigit() else _ORDINALS.get(named[1] or "", int(named[2] or 0))
    return f"{years[0]}-Q{nth}" if 1 <= nth <= 4 else ""
