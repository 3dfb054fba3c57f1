"""Number plates: a province, letters, digits. So is much ordinary prose (`30 ABD 70`): something has to speak for it.

What speaks: a word that says plate or vehicle, nothing between the parts, standing alone, a province that other numbers
seldom are. What speaks against: units, months, classes, code and headings in capitals.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from kalibre.language.text.casing import fold, lower

_PLATE = re.compile(
    r"(?<![\w.,/%+-])(?P<city>0[1-9]|[1-7][0-9]|8[01])(?P<s>[ \u00a0-]?)(?P<letters>[A-PR-VYZa-pr-vyz]{1,3})(?P=s)"
    r"(?P<number>[0-9]{2,5})(?![\w]|[.,/-][0-9]|[ \u00a0]?[%₺$€]|[ ](?:TL|USD|EUR|lira|dolar)\b)"
)
_PLATE_DIGITS = {1: (4, 5), 2: (3, 4), 3: (2, 3)}
_PLATE_BEFORE = re.compile(r"(?:plaka|ruhsat)\w{0,10}(?: no\w{0,8})?\W{0,3}$")
_PLATE_BEHIND = re.compile(r"\W{0,2}(?:plaka|numaralı araç|araç|otomobil|kamyon|minibüs)", re.IGNORECASE)
_VEHICLE_WORDS = re.compile("|".join((
    "plaka", "ruhsat", r"\barac", r"\baraba", "otomobil", "kamyon", "minibus", "midibus", "otobus", "motosiklet",
    "motor bisiklet", r"\btir(?:i|in)?\b", r"\btaksi", "dolmus", "tanker", "cekici", "trafik", "muayene", "kiralik",
    r"\bkaza(?:si|da|ya|nin)?\b", r"\bpark\b", "otopark", r"\bvale\b", "surucu", "sofor", "radar", r"\b[ho]gs\b",
    r"\bfilo", r"\bservis", r"\bcip\b", "panelvan", "garaj", "kopru", "otoyol", "gise",
)))  # fmt: skip
_NO_PLATE = frozenset(
    """
    TL USD EUR GBP TRY JPY KG GB MB TB KM CM MM ML LT AY GUN YIL BIN MLN MN NO LOT VE VB MW KW KWH HZ BAR YAS GR
    TON DK SA SN PRO MAX GEN OCA SUB MAR NIS MAY HAZ TEM AGU EYL EKI KAS ARA JAN FEB APR JUN JUL AUG SEP OCT NOV
    DEC PT BP HP LE LA DE DA TO OF IN MHZ GHZ MAH VS YY KDV HA DPI PPM RPM FPS CC DB ILE BU MG MCG NM VA KVA WH AH
    INC AND NOT FOR THE OR GOL MAC KAT LIG HAF SET OYU ODA VIP UNI SAN DAK SAA ADT ADE MP MD ACP BPS BTC ETH BNB
    SOL PAX KAL CAL VAT VOL AVG MIN SON VAR YOK NET KEZ TUR
    """.split()
)
_MONTHS = frozenset("OCA SUB MAR NIS MAY HAZ TEM AGU EYL EKI KAS ARA JAN FEB APR JUN JUL AUG SEP OCT NOV DEC".split())
_REACH = 48
"""Characters read on each side for words that speak of vehicles."""


def plates(text: str, before: Callable[[str, int], str]) -> list[tuple[int, int, float]]:
    """Return where plates stand, and how sure that is; `before` folds what stands before a place."""
    found: list[tuple[int, int, float]] = []
    for one in _PLATE.finditer(text):
        letters, digits = one["letters"], one["number"]
        said = _PLATE_BEFORE.search(before(text, one.start())) or _PLATE_BEHIND.match(text, one.end())
        if said and said.re is _PLATE_BEHIND and letters.upper() in _NO_PLATE and "plaka" not in lower(said[0]):
            said = None  # `21 bin 244 otomobil`
        least, most = _PLATE_DIGITS[len(letters)]
        word = letters in _NO_PLATE and (one["s"] != "-" or letters in _MONTHS)
        usual = least <= len(digits) <= most and letters.isupper()
        if said:
            found.append((one.start(), one.end(), 1.0))
        elif usual and (not word or not one["s"]) and _of_vehicle(text, *one.span()):
            found.append((one.start(), one.end(), 0.9))
        elif usual and not word and _is_bare(text, one, found):
            found.append((one.start(), one.end(), 0.7))
    return found


def _of_vehicle(text: str, start: int, end: int) -> bool:
    """Say whether what is around speaks of vehicles."""
    around = fold(f"{text[max(0, start - _REACH) : start]} | {text[end : end + _REACH]}")
    return _VEHICLE_WORDS.search(around) is not None


def _is_bare(text: str, plate: re.Match[str], found: list[tuple[int, int, float]]) -> bool:
    """Say whether what no word calls a plate is one all the same, as one of a list may be."""
    if _may_be_else(plate["letters"], plate["number"]):
        return False
    return _is_apart(text, plate) or (bool(found) and plate.start() - found[-1][1] <= len(", "))


def _may_be_else(letters: str, digits: str) -> bool:
    """Say whether it reads as a class or a unit before a number or year: `10 A 2023`, `12 V 7000`."""
    return len(letters) == 1 and (letters in "ABCDFGKMUVW" or digits[:2] in ("19", "20"))


def _is_apart(text: str, plate: re.Match[str]) -> bool:
    """Say whether it is set apart from ordinary prose, in which a number, an acronym and a number are no plate.

    It is where nothing is between its parts, where it stands alone between marks or line ends, and where its number is
    one that prose seldom has and plates often do: a zero ahead, or Istanbul's.
    """
    before, behind = text[max(0, plate.start() - 20) : plate.start()], text[plate.end() : plate.end() + 20]
    if _CAPITAL_BEFORE.search(before) or _CAPITAL_BEHIND.match(behind):
        return False  # code and headings: `BETWEEN 10 AND 20`
    alone = _ALONE_BEFORE.search(before) and _ALONE_BEHIND.match(behind)
    return not plate["s"] or bool(alone) or plate["city"][0] == "0" or plate["city"] == "34"


_ALONE_BEFORE = re.compile(r"(?:^|[\n:;|(\[“•*])\s*$|\s[-–]\s$")
_ALONE_BEHIND = re.compile(r"\s*(?:$|[\n;,.|)\]”!?]|\s[-–]\s)")
_CAPITAL_BEFORE = re.compile(r"[A-ZÇĞİÖŞÜ]{2,}\W{1,2}$")
_CAPITAL_BEHIND = re.compile(r"\W{1,2}[A-ZÇĞİÖŞÜ]{2,}(?![\w])")
