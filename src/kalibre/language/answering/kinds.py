"""What kind of thing a question asks for, and the pieces of a passage that are of such a kind.

A span of time, a rate, a sum, a date, an account, an office, a law, a count: rules for Turkish laws, notices and
history. A piece is only offered and marked; what is answered is the models' choice. Every repetition is bounded: a text
made to be slow to search is searched as fast as any.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kalibre.language.answering.question import Question
from kalibre.language.answering.words import Units, units

KINDS = ("none", "time", "rate", "money", "date", "account", "office", "law", "count")
ASKED = (*KINDS, "much", "whether", "meaning", "outcome")
"""Kinds of question: those above, then amounts of any kind, yes or no, definitions, what happens."""

TIME, RATE, MONEY, DATE, ACCOUNT, OFFICE, LAW, COUNT = range(1, len(KINDS))
MUCH, WHETHER, MEANING, OUTCOME = range(len(KINDS), len(ASKED))

NUMERAL = (
    r"(?:\d[\d.,]{0,24}(?<![.,])|(?:(?:on|yirmi|otuz|kırk|elli|altmış|yetmiş|seksen|doksan|yüz|bin)\s?){0,3}"
    r"(?:bir|iki|üç|dört|beş|altı|yedi|sekiz|dokuz|on|yirmi|otuz|kırk|elli|altmış|yetmiş|seksen|doksan|yüz|bin))"
)
_MONTH = r"(?:Ocak|Şubat|Mart|Nisan|Mayıs|Haziran|Temmuz|Ağustos|Eylül|Ekim|Kasım|Aralık)"
_HEADS = (
    r"(?:Bakanlığı|Kurulu|Kurumu|Başkanlığı|Bankası|Müdürlüğü|Mahkemesi|Müsteşarlığı|Komisyonu|Odası|Birliği|Meclisi|"
    r"Dairesi|Federasyonu|Fonu|Enstitüsü|Komitesi|Konseyi|Derneği|Vakfı|İdaresi|Belediyesi|Valiliği|Bakanı|Müdürü)"
)
_ALONE = (
    r"(?:Cumhurbaşkanı|Bakanlar Kurulu|Bakanlık|Bakan|Kurum|Kurul|Komisyon|Hazine|Birlik|Banka|Fon|Defterdarlık|"
    r"[Yy]önetim [Kk]urulu|[Gg]enel [Kk]urul|[Gg]enel [Mm]üdür|[Gg]enel [Ss]ekreter|"
    r"[Vv]ergi dairesi|[Mm]ahkeme|[Ii]dare|TMSF|SPK|BDDK|TCMB|SGK)"
)
_PIECES: tuple[tuple[int, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(form))
    for kind, form in (
        (ACCOUNT, r"(?<![\d.,/])\b\d{3}\s?[-–]?\s?(?!TL\b|Türk|ABD|Euro|Avro|Dolar|Sayılı|[Mm]adde)[A-ZÇĞİÖŞÜ]\w{0,30}"
                  r"(?:[ ,/\-–]{1,4}(?:ve |veya )?(?:[A-ZÇĞİÖŞÜ]\w{0,30}|\(-\))){0,20}"),
        (DATE, rf"\b\d{{1,2}}[/.]\d{{1,2}}[/.]\d{{4}}\b|\b\d{{1,2}} {_MONTH}(?:[ /]\d{{4}})?\b"),
        (DATE, rf"\b(?:1[89]|20)\d\d (?:hesap |takvim )?(?:yıl|sene)\w*(?: {_MONTH} ay\w*)?|\b{_MONTH}/\d{{4}}\b"),
        (DATE, r"(?:\w{2,30} ){0,2}\b(?:izleyen|izliyen|takip ?eden) (?:\w{2,30} ){1,7}?(?:kadar|itibaren)\b"),
        (LAW, r"\b(?:TMS|BDS|TFRS|TFYK) \d+(?: [A-ZÇĞİÖŞÜ]\w+(?: (?:ve )?[A-ZÇĞİÖŞÜ]\w+)*)?"),
        (LAW, r"\b\d{1,4} sayılı (?:[A-ZÇĞİÖŞÜ]\w+ (?:[Vv]e )?){0,9}?[Kk]anun\w*"),
        (LAW, r"\b(?:[A-ZÇĞİÖŞÜ]\w+ (?:[Vv]e )?){1,5}Kanun\w*"),
        (MONEY, r"\b\d[\d.,]{0,24}-?(?: \([^()]{3,40}\))? ?(?:milyon |milyar |trilyon |bin )?"
                r"(?:Türk [Ll]iras\w*|TL\b|lira\w*|avro\w*|[Ee]uro\w*|(?:ABD )?[Dd]olar\w*)"),
        (MONEY, rf"\b(?:{NUMERAL}|\w{{0,24}}(?:milyar|milyon|trilyon)\w{{0,24}})(?: (?:milyar|milyon|trilyon|bin))?"
                r" (?:[Yy]eni )?(?:Türk )?[Ll]ira\w*"),
        (RATE, rf"%\s?\d[\d.,]{{0,24}}(?<![.,])|\b(?:[Yy]üzde|[Bb]inde) {NUMERAL}\w*"),
        (RATE, r"\b(?:iki|üç|dört|beş|on)[td][ea] (?:bir|iki|üç|dört)\w*|\b\d{1,2}\s?/\s?\d{1,2}\b"),
        (RATE, r"\byarıs\w+|\btamam[ıi]\b"),
        (TIME, rf"\b{NUMERAL}(?:'?\w{{0,4}})? ?(?:iş ?|takvim |hesap |mali )?(?:günü?|ay|yıl|sene|hafta|saat|dönem)"
               r"(?:l[ıiuü]k|dır|dir|dur|dür|ı|i|u|ü|a|e|dan|den|da|de|ın|in|un|ün|lığına|a kadar|e kadar)?\b"),
        (OFFICE, rf"\b(?:[A-ZÇĞİÖŞÜ][\w.]{{0,30}},? (?:[Vv]e )?){{1,7}}{_HEADS}\w{{0,5}}"),
        (OFFICE, rf"\b{_ALONE}\w{{0,7}}"),
        (COUNT, rf"\b{NUMERAL} (?!sayılı|numaralı|inci|ıncı|uncu|üncü|nci|ncı|ncu|ncü|maddes)"
                rf"(?:eşit |ayrı )?[a-zçğıöşü]{{2,}}"),
    )
)  # fmt: skip

_UNIT = r"(?:is ?gunu?\w*|gun\w*|ay\w*|yil\w*|sene\w*|hafta\w*|saat\w*)"
_ASKS: tuple[tuple[int, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(form))
    for kind, form in (
        (ACCOUNT, r"\bhangi (?:(?!tarih)\w+ ){0,2}hesa[bp](?!\w* donem)|\bkac numarali hesa"
                  r"|\bhesa[bp]\w* hangi(?! taraf)"),
        (RATE, r"\byuzde kac|\b(?:hangi|ne) oran|\boran\w* (?:ne|kac)|\bhangi nispet|\bne kadarin?[ia]?\b(?! sure)"
               r"|\bkacta kac"),
        (TIME, rf"\bkac(?:inci)? {_UNIT}|\bkac {_UNIT}|\bne kadar sure|\bhangi sure|\bsuresi (?:ne|kac)|\bne kadarlik"
               r"|\bne kadar (?:once|sonra|zaman)|\bne siklik|\bsure(?:si)? nedir"),
        (DATE, r"\bne zaman|\bhangi (?:tarih|gun|yil|ay)|\bson (?:gun|tarih)|\bayin kac|\btarihi? (?:ne|kac)"),
        (MONEY, r"\bkac (?:lira|tl|dolar|avro|euro|para)|\bhangi tutar|\btutari? (?:ne|kac)"),
        (LAW, r"\bhangi (?:\w+ )?(?:kanun|yasa|standar|mevzuat|hukum(?!et)|teblig)"),
        (OFFICE, r"\bhangi (?:\w+ )?(?:bakan|kurum|kurul|idare|banka|mahkeme|birim|organ|makam|merci|daire|mudurl|"
                 r"komisyon|fon|birlik|federasyon|oda)|\bkim(?:e|in|den|i|ler|ce|lerin|dir|lere|le|de)?\b|\bnereye\b|\bnereden\b"),
        (MUCH, r"\bne kadar|\bkaca\b"),
        (COUNT, r"\bkac\w*"),
        (MEANING, r"\bne demek|\btanimlan|\bne ad\b|\bne denir|\bneyi ifade|\badi ne"),
        (WHETHER, r"\bm[iu](?:dir|dur|yim|siniz)?\s*\?|\bm[iu]\b"),
        (OUTCOME, r"\bne olur|\bne oldu|\bnasil\b|\bne yap|\bne sayilir|\bakibet|\bsonuc"),
        (MEANING, r"\bnedir\b"),
    )
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Pieces:
    """The pieces of a passage: first and last unit and kind of each, and the kind at each unit, 0 for none."""

    spans: NDArray[np.int64]
    kinds: NDArray[np.int64]
    at: NDArray[np.int64]


@lru_cache(maxsize=512)
def pieces(text: str) -> Pieces:
    """Find the pieces of a passage, given as `units` was."""
    cut = units(text)
    found: list[tuple[int, int, int]] = []
    at = np.zeros(len(cut), np.int64)
    for kind, form in _PIECES:
        for one in form.finditer(text):
            first = int(np.searchsorted(cut.ends, one.start(), side="right"))
            last = int(np.searchsorted(cut.starts, one.end(), side="left")) - 1
            if last < first or at[first : last + 1].any():
                continue
            at[first : last + 1] = kind
            found.append((first, last, kind))
    found.sort()
    table = np.array(found, np.int64).reshape(-1, 3)
    return Pieces(table[:, :2], table[:, 2], at)


def asked(question: Question) -> int:
    """Return the kind that a question asks for, an index of `ASKED`; 0 where no rule says."""
    return _asked(" ".join(question.units.words))


@lru_cache(maxsize=4096)
def _asked(words: str) -> int:
    return next((kind for kind, form in _ASKS if form.search(words)), 0)


FITS: dict[int, tuple[int, ...]] = {
    **{kind: (kind,) for kind in range(1, len(KINDS))},
    MUCH: (MONEY, RATE, TIME, COUNT),
    COUNT: (COUNT, TIME, MONEY),
    RATE: (RATE, COUNT),
}
"""Kinds of piece that may answer each kind of question."""


def good_pieces(question: Question, passage: Units) -> tuple[int, NDArray[np.int64], Pieces]:
    """Return the kind asked for, first and last unit of the pieces of such a kind, and all pieces of the passage."""
    kind, found = asked(question), pieces(passage.text)
    return kind, found.spans[np.isin(found.kinds, FITS.get(kind, ()))], found
