"""Questions made out of plain sentences: a piece is taken out and asked for, and the rest is told in fewer words.

A reader learns from them what a duration, a rate, an amount, an office or a date looks like in texts that nobody has
asked questions over. They are no test: what they ask is worded too much like the text.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterable

from kalibre.language.answering.examples import Example
from kalibre.language.answering.words import POINT, SUFFIX, Units, units
from kalibre.language.base import Passage

_NUMERAL = (
    r"(?:\d[\d.,]*|(?:(?:on|yirmi|otuz|kırk|elli|altmış|yetmiş|seksen|doksan|yüz)\s?)?"
    r"(?:bir|iki|üç|dört|beş|altı|yedi|sekiz|dokuz|on|yirmi|otuz|kırk|elli|altmış|yetmiş|seksen|doksan|yüz|bin))"
)
_OFFICES = "Bakanlığı Kurulu Kurumu Başkanlığı Bankası Müdürlüğü Mahkemesi Müsteşarlığı Komisyonu Odası Birliği Meclisi"
_HEADS = "|".join(_OFFICES.split())
KINDS: dict[str, tuple[re.Pattern[str], tuple[str, ...]]] = {
    "time": (
        re.compile(rf"\b{_NUMERAL} (?P<of>iş günü|takvim yılı|gün|ay|yıl|sene|hafta|saat)\b(?!['’])"),
        ("kaç {of}", "kaç {of} içinde", "ne kadar sürede", "ne kadar süre", "en çok ne kadar süreyle", "hangi sürede",
         "en geç kaç {of} içinde", "ne kadar"),
    ),
    "rate": (
        re.compile(rf"%\s?\d[\d.,]*\b(?!['’])|\byüzde {_NUMERAL}\b"),
        ("yüzde kaç", "hangi oranda", "ne oranda", "hangi oran", "ne kadar", "yüzde kaçı"),
    ),
    "money": (
        re.compile(r"\b\d[\d.,]* (?:milyon |milyar |bin )?(?:Türk [Ll]irası|TL|lira|avro|euro|ABD doları)\b(?!['’])"),
        ("ne kadar", "kaç lira", "hangi tutar", "kaç TL", "en az ne kadar", "en çok ne kadar"),
    ),
    "office": (
        # Behind a small letter: the capital that begins a sentence says nothing of a name.
        re.compile(rf"(?<=[a-zçğıöşü,] )(?:(?:[A-ZÇĞİÖŞÜ]\w+ (?:ve )?){{1,5}}(?:{_HEADS})|Cumhurbaşkanı)\b"),
        ("kim", "hangi kurum", "hangi idare", "hangi kurul", "hangi merci", "kim tarafından"),
    ),
    "date": (
        re.compile(r"\b\d{1,2}[/.]\d{1,2}[/.]\d{4}\b(?! ?-)|\b\d{1,2} [A-ZŞ][a-zçğıöşü]+ \d{4}\b"),
        ("ne zaman", "hangi tarihte", "hangi tarihten itibaren", "hangi tarih"),
    ),
    "count": (
        re.compile(rf"\b{_NUMERAL} (?P<of>kişi|üye|pay|hisse|ortak|kurucu|nüsha|kat|puan|kez|defa)\b"),
        ("kaç {of}", "en az kaç {of}", "en çok kaç {of}"),
    ),
    "account": (
        re.compile(r"\b\d{3} [A-ZÇĞİÖŞÜ]{3,}(?:[ ,\-]+[A-ZÇĞİÖŞÜ]{2,})*"),
        ("hangi hesapta", "hangi hesaba", "hangi hesap", "hangi hesapla"),
    ),
}  # fmt: skip
NEAR = 22
"""Units on either side of the piece that the question is made of."""

_ASIDE = re.compile(r"\([^()]{0,80}\)")


def cloze(passages: Iterable[Passage], *, most: int = 500, seed: int = 1) -> list[Example]:
    """Make questions out of passages.

    Parameters
    ----------
    passages
        Plain text. At most two questions each.
    most
        Questions of each kind, at most.
    seed
        Of what is kept of a sentence.
    """
    draw = random.Random(seed)  # noqa: S311 - no secret hangs on it
    found: dict[str, list[Example]] = defaultdict(list)
    ordered = sorted(passages, key=lambda one: one.id)
    draw.shuffle(ordered)
    for passage in ordered:
        cut = units(passage.text)
        aside = [(one.start(), one.end()) for one in _ASIDE.finditer(passage.text)]
        here = 0
        for kind in sorted(KINDS, key=lambda _: draw.random()):
            if here == 2 or len(found[kind]) >= most:
                continue
            places = [
                one
                for one in KINDS[kind][0].finditer(passage.text)
                if not any(start < one.end() and one.start() < end for start, end in aside)
            ]
            if not places:
                continue
            piece = draw.choice(places)
            question = _question(cut, piece, draw.choice(KINDS[kind][1]), draw)
            if question:
                found[kind].append(
                    Example(
                        id=f"cloze:{passage.id}:{kind}",
                        question=question,
                        context=passage.text,
                        answers=((piece.group(), piece.start()),),
                        group=passage.document,
                    )
                )
                here += 1
    return [one for kind in sorted(found) for one in found[kind]]


def _question(cut: Units, piece: re.Match[str], ask: str, draw: random.Random) -> str:
    """Tell the sentence around a piece in fewer words, with the asking where the piece was or before the verb."""
    start, end = piece.span()
    inside = [at for at in range(len(cut)) if cut.starts[at] < end and cut.ends[at] > start]
    if not inside:
        return ""
    sentence = cut.sentence == cut.sentence[inside[0]]
    kept = draw.uniform(0.45, 0.95)
    sides: list[list[str]] = []
    before, behind = range(max(0, inside[0] - NEAR), inside[0]), range(inside[-1] + 1, min(len(cut), inside[-1] + NEAR))
    for places in (before, behind):
        words = []
        for at in places:
            word = cut.text[cut.starts[at] : cut.ends[at]]
            plain = sentence[at] and cut.kinds[at] not in (POINT, SUFFIX) and (len(word) > 2 or word.isupper())
            if plain and draw.random() < kept:
                words.append(_told(word, draw))
        sides.append(words)
    left, right = sides
    if len(left) + len(right) < 4:
        return ""
    asking = ask.format(of=piece.groupdict().get("of") or "")
    if draw.random() < 0.5:
        return " ".join([*left, asking, *right]) + "?"
    words = [*right[:-1], *left] if draw.random() < 0.3 else [*left, *right[:-1]]
    return " ".join([*words, asking, *right[-1:]]) + "?"


def _told(word: str, draw: random.Random) -> str:
    """Return a word, now and then with another ending."""
    if len(word) < 7 or draw.random() < 0.6:
        return word
    return word[: draw.randint(5, len(word) - 1)]
