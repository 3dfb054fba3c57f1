"""Numbers as Turkish texts write them: `1.250,50`, `2,5 milyar`, `10 bin 500`, `iki buçuk milyon`, `100mn`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from kalibre.language.text.casing import fold

_UNITS = {
    "sifir": 0, "bir": 1, "iki": 2, "uc": 3, "dort": 4, "bes": 5, "alti": 6, "yedi": 7, "sekiz": 8, "dokuz": 9,
    "on": 10, "yirmi": 20, "otuz": 30, "kirk": 40, "elli": 50, "altmis": 60, "yetmis": 70, "seksen": 80, "doksan": 90,
}  # fmt: skip
_SCALES = {
    "bin": 10**3, "k": 10**3, "thousand": 10**3,
    "milyon": 10**6, "mn": 10**6, "mln": 10**6, "mlyn": 10**6, "mio": 10**6, "m": 10**6, "million": 10**6,
    "milyar": 10**9, "mlr": 10**9, "mlyr": 10**9, "mrd": 10**9, "mia": 10**9, "bn": 10**9, "b": 10**9, "billion": 10**9,
    "trilyon": 10**12, "trln": 10**12, "trn": 10**12, "tn": 10**12, "trillion": 10**12,
}  # fmt: skip
_LONG_SCALES = frozenset({"milyon", "milyar", "trilyon", "million", "billion", "trillion", "thousand"})
_LONGEST = 14
"""Parts of the longest number that is read as one."""
_HALF = Decimal("0.5")

FIGURE = r"(?:\d{1,3}(?:\.\d{3})+(?:,\d+)?|\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:[.,]\d+)?)(?!\d|[.,:]\d)"
WORD = (
    r"(?:sıfır|yarım|birer|bir|iki|üç|dört|beş|altmış|altı|yetmiş|yedi|sekiz|seksen|dokuz|doksan|on|yirmi|otuz|kırk|elli"
    r"|yüz|bin|milyon|milyar|trilyon|buçuk|virgül)"
)
_SHORT = r"(?:mln|mlyn|mlyr|mn|mio|mlr|mrd|mia|trln|trn|tn|bn|million|billion|trillion|thousand|k|m|b)"
_STOP = (
    r"(?:(?![^\W\d_])|(?<=milyon|milyar)(?=(?:[ae]|d[ae]n?|u|ı|l[ıu]k)(?![^\W\d_]))"
    r"|(?<=trilyon)(?=(?:a|dan?|u|luk)(?![^\W\d_]))|(?=(?-i:TL|TRY|USD|EUR)))"
)
"""Where a word of a number ends: with the word, before a case suffix, or before a code that is glued to it."""
_ATOM = re.compile(
    rf"(?P<figure>{FIGURE})|(?P<word>{WORD})|(?P<short>(?<=[\d ]){_SHORT}(?=[^\w]|TL|TRY|USD|EUR|$))", re.IGNORECASE
)
_SEQUENCE = re.compile(
    rf"(?<![\w.,])(?<![\d][:/])(?:{FIGURE}|{WORD}(?:{WORD})*+{_STOP})"
    rf"(?:[ \u00a0]?(?:{_SHORT}(?=[^\w]|TL|TRY|USD|EUR|$)|(?:{WORD})++{_STOP}|(?<=[ \u00a0]){FIGURE}))*+",
    re.IGNORECASE,
)
_ASCII_DECIMAL = re.compile(r"\d{1,3}(?:,\d{3})+")


class Number(NamedTuple):
    """A number with its place; `words` says that it begins with a word (`iki milyon`)."""

    start: int
    end: int
    value: Decimal
    words: bool


def parse_figure(text: str, *, english: bool = False) -> Decimal:
    """Return the value of Turkish digits; `english` reads a lone comma before three digits as thousands.

    A point before exactly three digits groups thousands (`1.950` is 1950), unless the whole part is 0 (`0.400`).

    Examples
    --------
    >>> [str(parse_figure(text)) for text in ("1.250,50", "1.950", "2.5", "2,5", "0.400", "1,250,000.5")]
    ['1250.50', '1950', '2.5', '2.5', '0.400', '1250000.5']
    """
    point, comma = text.rfind("."), text.rfind(",")
    if point >= 0 and comma >= 0:
        grouping, mark = (".", ",") if comma > point else (",", ".")
        return Decimal(text.replace(grouping, "").replace(mark, "."))
    if comma >= 0:
        grouped = text.count(",") > 1 or (english and _ASCII_DECIMAL.fullmatch(text) is not None)
        return Decimal(text.replace(",", "") if grouped else text.replace(",", "."))
    if point >= 0 and len(text) - point == 4 and not text.startswith("0"):
        return Decimal(text.replace(".", ""))
    return Decimal(text)


def iterate(text: str) -> Iterator[Number]:
    """Yield the numbers of a text in order; two side by side that make none together (`5 10`) are two."""
    for found in _SEQUENCE.finditer(text):
        atoms = list(_ATOM.finditer(text, found.start(), found.end()))
        at = 0
        while at < len(atoms):
            stop = min(len(atoms), at + _LONGEST)
            while stop > at:
                value, read = _value(atoms[at:stop])
                if value is not None:
                    yield Number(atoms[at].start(), atoms[stop - 1].end(), value, atoms[at].lastgroup == "word")
                    break
                stop = min(at + read, stop - 1)
            at = max(stop, at + 1)


def _value(atoms: list[re.Match[str]]) -> tuple[Decimal | None, int]:
    """Return the value of the parts together, or None with how many of them may make a number."""
    total = _Sum()
    for k, atom in enumerate(atoms):
        if not total.add(fold(atom[0]), atom.lastgroup == "figure"):
            return None, k
    return total.value(), len(atoms)


class _Sum:
    """A number as it is read: what is summed up, and the part before the scale that has not come yet."""

    def __init__(self) -> None:
        self.total = Decimal(0)
        self.part: Decimal | None = None
        self.decimals: str | None = None
        self.scale, self.last, self.kind = Decimal(10) ** 18, Decimal(0), ""

    def add(self, text: str, figure: bool) -> bool:
        """Take the next part; False if it cannot follow."""
        if figure:
            fits = self.kind in ("", "scale")
            self.part, self.last, self.kind = (parse_figure(text) if fits else self.part), Decimal(1), "figure"
            return fits
        if text == "virgul":
            fits, self.decimals, self.kind = self.kind == "unit", "", "comma"
            return fits
        if text in _UNITS:
            return self._unit(Decimal(_UNITS[text]))
        if text == "yuz":
            fits = self.kind != "figure" and (self.part or 0) < 10 and self.decimals is None
            self.part, self.last, self.kind = (self.part or Decimal(1)) * 100, Decimal(100), "unit"
            return fits
        if text in ("bucuk", "yarim"):
            fits = (text == "yarim") != bool(self.kind) and self.kind != "scale" and self.decimals is None
            self.part, self.kind = (self.part or Decimal(0)) + _HALF, "figure"
            return fits
        return self._scale(text) if text in _SCALES else False

    def _unit(self, unit: Decimal) -> bool:
        if self.decimals is not None:
            self.decimals, self.kind = f"{self.decimals}{unit}", "unit"
            return True
        if self.kind == "figure" or (self.kind == "unit" and (unit >= self.last or self.last < 10)):
            return False
        self.part, self.last, self.kind = (self.part or Decimal(0)) + unit, unit or Decimal(1), "unit"
        return True

    def _scale(self, text: str) -> bool:
        size = Decimal(_SCALES[text])
        if (not self.kind and text in _LONG_SCALES) or self.kind == "comma" or size >= self.scale:
            return False
        number = Decimal(1) if self.part is None else self._whole()
        if self.kind == "scale" and self.part is None:
            return False
        self.total, self.part, self.decimals = self.total + number * size, None, None
        self.scale, self.kind = size, "scale"
        return True

    def _whole(self) -> Decimal:
        return Decimal(f"{self.part}.{self.decimals}") if self.decimals else (self.part or Decimal(0))

    def value(self) -> Decimal | None:
        """Return what it comes to, None where it ends half way."""
        if not self.kind or self.kind == "comma":
            return None
        if self.part is None:
            return self.total
        number = self._whole()
        return None if self.total and number >= self.scale else self.total + number
