"""Where personal data stands in a text: identity and tax numbers, accounts, cards, phones, e-mail, plates, handles.

A pattern alone is not enough where it could be anything: a checksum must hold, a number that any order could have
(a tax number, ten bare digits) needs a word beside it that says so, and a word that says otherwise (`sipariş no`)
counts against it.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

import msgspec

from kalibre.core.errors import LanguageError, UsageError
from kalibre.language.pii.checksums import iban_length, is_card, is_iban, is_tckn, is_vkn
from kalibre.language.pii.plates import plates
from kalibre.language.text.casing import fold

Kind = Literal["TCKN", "VKN", "IBAN", "CARD", "PHONE", "EMAIL", "PLATE", "HANDLE"]
KINDS: tuple[Kind, ...] = ("EMAIL", "IBAN", "CARD", "TCKN", "PHONE", "VKN", "PLATE", "HANDLE")
"""What is looked for; where two overlap the first of these stands."""


class Pii(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of personal data: `text == whole[start:end]`.

    `score` is 1 where a checksum and its context or an unmistakable form say so, less where only one does.
    """

    start: int
    end: int
    text: str
    kind: Kind
    score: float


_S = r"[ \u00a0\u202f.\-]?"
_GAP = r"[ \u00a0.\-/]{0,2}"
_NO_MORE = r"(?![\w]|[.,/-][0-9])"
_EMAIL = re.compile(
    r"(?<![\w.+%@-])[\w.+%-]{1,64}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,5}[^\W\d_]{2,24}(?!\w|\.\w)(?:@[\w.-]+)*"
    r"|(?<![\w.+%@-])[\w.+%-]{1,64}\s?[\[(]\s?(?:at|et)\s?[\])]\s?[\w-]{1,63}"
    r"(?:\s?(?:\.|[\[(]\s?(?:dot|nokta)\s?[\])])\s?[^\W\d_]{2,24}){1,3}",
    re.IGNORECASE,
)
_MAY_MAIL = re.compile(r"@|[\[(]\s?[ae]t\s?[\])]", re.IGNORECASE)
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}(?:[ \u00a0\u202f.\-]{0,2}[A-Za-z0-9]){11,30}")
_CARD = re.compile(
    r"(?<![\w.,/-])(?:[2-69][0-9]{12,18}|[2-69][0-9]{3}(?P<s>[ \u00a0.-])(?:[0-9]{4}(?P=s)[0-9]{4}(?P=s)[0-9]{4}"
    rf"(?:(?P=s)[0-9]{{3}})?|[0-9]{{6}}(?P=s)[0-9]{{4,5}})){_NO_MORE}"
)
_ELEVEN = re.compile(
    r"(?<![\w.,/+])(?:[1-9][0-9]{10}|[1-9][0-9]{2}(?P<s>[ \u00a0-])[0-9]{3}(?P=s)[0-9]{3}(?P=s)[0-9]{2})" + _NO_MORE
)
_TEN = re.compile(
    r"(?<![\w.,/+])(?:[0-9]{10}|[0-9]{3}(?P<s>[ \u00a0.-])[0-9]{3}(?P=s)(?:[0-9]{4}|[0-9]{2}(?P=s)[0-9]{2}))" + _NO_MORE
)
_CODE = r"(?:50[1567]|5[1345][0-9]|561|2[1-8][0-9]|3[1-8][0-9]|4[1-8][0-9]|8[0158]0|850|900)"
_LINE = rf"[0-9]{{3}}{_S}[0-9]{{2}}{_S}[0-9]{{2}}"
_PHONE = re.compile(
    rf"""(?:(?<![\w/+])(?<![\w][.,-])|(?<=[0-9])(?=\())(?:
    (?P<long>(?:\+|00)\s?90[ \u00a0.\-]{{0,2}}\(?0?{_CODE}\)?{_GAP}{_LINE}
        |\(?0[ .\-]?\(?{_CODE}\)?{_GAP}{_LINE}
        |\({_CODE}\){_GAP}{_LINE}
        |905[0-6][0-9]{{8}})
    |(?P<grouped>(?:90[ ])?5[0-6][0-9](?P<s>[ \u00a0.\-])[0-9]{{3}}(?P=s)[0-9]{{2}}(?P=s)[0-9]{{2}})
    |(?P<bare>(?:90)?{_CODE}{_S}{_LINE}|444[ ]?[0-9][ ]?[0-9]{{3}}|444[ ][0-9]{{2}}[ ][0-9]{{2}})
    |(?P<abroad>\+(?!90)[1-9][0-9]{{0,2}}(?:[ \u00a0.\-]?\(?[0-9]{{1,5}}\)?){{2,6}})
    ){_NO_MORE}""",
    re.VERBOSE,
)
_HANDLE = re.compile(r"(?<![\w.+%-])@[^\W\d][\w.]{0,28}[\w](?:@\w+)*")

_AROUND, _BEHIND = 48, 26
"""Characters read before and behind a number for words that say what it is."""


def _words(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns))


_TCKN_WORDS = _words("tckn", r"\bt\.? ?c\.?\b", "kimlik", "nufus", "vatandaslik", r"\btc\b")
_VKN_WORDS = _words("vkn", "vergi", r"\bv\. ?d\.?", r"\bvd\b", "mukellef", "tax")
_PHONE_WORDS = _words(
    r"tel\b", r"tel\.", "telefon", r"\bcep", "gsm", "whatsapp", r"\bara\b", "aray[ai]n", "ulas", "iletisim", "numaram",
    "mobil", "faks", "fax", "phone", r"\bsms", "cagri merkezi", r"\bhat",
)  # fmt: skip
_CARD_WORDS = _words("kart", "card", "visa", "master", "troy", "amex", "cvv", "cvc", "son kullanma")
_OTHER_WORDS = _words(
    "siparis", "fatura", "takip (?:no|numara|kod)", "referans", r"\bref\b", "barkod", "kargo", "dekont",
    "islem no", "seri no", "irsaliye", "sozlesme no", "police", r"\bisin\b", "dosya no", "urun kodu", "stok",
    "parca no", "evrak", "abone no", "sicil", "karar no", "esas no", "kayit no", "hesap no", "belge no", "sayac",
    "imei", "order", "invoice", "tracking", "adet", r"\bid\b",
)  # fmt: skip


def find(text: str, kinds: tuple[Kind, ...] = KINDS) -> list[Pii]:
    """Return the personal data of a text, by start, not overlapping.

    Digits and signs of other alphabets count as their own (`１００`), marks that nobody sees do not part a number.

    Raises
    ------
    LanguageError
        If it is not text.
    UsageError
        If a kind is unknown.

    Examples
    --------
    >>> text = "TCKN 10000000146, tel 0532 123 45 67; sipariş no 10000000146, IBAN TR33 0006 1005 1978 6457 8413 26"
    >>> [(one.kind, one.text) for one in find(text)]
    [('TCKN', '10000000146'), ('PHONE', '0532 123 45 67'), ('IBAN', 'TR33 0006 1005 1978 6457 8413 26')]
    """
    if not isinstance(text, str):
        raise LanguageError(f"{type(text).__name__} is not text: decode it first, or give a string")  # not quoted
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise UsageError(f"kind {unknown[0]!r} is unknown: choose of {', '.join(KINDS)}")
    seen, places = _seen(text)
    found: list[Pii] = []
    for kind in KINDS:
        if kind in kinds:
            for first, behind, score in _FINDERS[kind](seen):
                start, end = (first, behind) if places is None else (places[first], places[behind - 1] + 1)
                found.append(Pii(start=start, end=end, text=text[start:end], kind=kind, score=score))
    if len(found) < 2:
        return found
    order = {kind: k for k, kind in enumerate(KINDS)}
    kept: list[Pii] = []
    for one in sorted(found, key=lambda pii: (pii.start, order[pii.kind])):
        while kept and one.start < kept[-1].end and order[one.kind] < order[kept[-1].kind]:
            kept.pop()
        if not kept or one.start >= kept[-1].end:
            kept.append(one)
    return kept


_HIDDEN = re.compile("[\u00ad\u034f\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff]")
_ELSEWHERE = re.compile("[\u0660-\u0669\u06f0-\u06f9\u0966-\u096f\uff0b-\uff0f\uff10-\uff19\uff20-\uff5a]")


def _seen(text: str) -> tuple[str, list[int] | None]:
    """Return a text as it is read by eye, and where its characters stand if not where they stood."""
    if text.isascii():
        return text, None
    if _ELSEWHERE.search(text):
        text = _ELSEWHERE.sub(_plain, text)
    if not _HIDDEN.search(text):
        return text, None
    places = [place for place, one in enumerate(text) if not _HIDDEN.match(one)]
    return "".join(text[place] for place in places), places


def _plain(one: re.Match[str]) -> str:
    return unicodedata.normalize("NFKC", one[0]) if one[0] > "\uff00" else str(unicodedata.digit(one[0]))


Places = list[tuple[int, int, float]]


def _before(text: str, start: int) -> str:
    """Return what stands before, up to the last piece of the same kind: a word counts for what is nearest."""
    return fold(_PLACEHOLDER.sub(" ", text[max(0, start - _AROUND) : start]))


_PLACEHOLDER = re.compile(r"<[A-Z]+>")


def _nearest(text: str, start: int, end: int, meant: re.Pattern[str], other: re.Pattern[str] = _OTHER_WORDS) -> int:
    """Return 1 if the words around say it is meant, -1 if they say it is something else, 0 if they say nothing.

    The nearest word before decides, if it stands in the same sentence and has not already spoken of another number;
    else what follows at once, unless that is the label of the next number.
    """
    before = _before(text, start)
    says = max((one.end() for one in meant.finditer(before)), default=-1)
    denies = max((one.end() for one in other.finditer(before)), default=-1)
    near = max(says, denies)
    listed = says == near and _LISTED.search(before)
    if near >= 0 and not _NEW_SENTENCE.search(before, near) and (listed or not _SPENT.search(before, near)):
        return 1 if says == near else -1
    behind = fold(_PLACEHOLDER.sub(" ", text[end : end + _BEHIND + 16]))
    clause = _CLAUSE_END.split(behind[:_BEHIND], maxsplit=1)[0]
    of_this = _OF_THIS.match(clause)
    for pattern, sign in ((meant, 1), (other, -1)):
        one = pattern.search(clause)
        if one and (sign > 0 or one.start() < 10) and (of_this or not _LABEL.match(behind, one.end())):
            return sign
    return 0


_CLAUSE_END = re.compile(r"[,;:.\n()]")
_NEW_SENTENCE = re.compile(r";|(?<!no)\. |[.!?]\s*\n|\n\s*\w")
_LABEL = re.compile(r"[\w']*(?: [\w']+){0,3}[: ]{0,2}[:\d]")
_OF_THIS = re.compile(r"\W?(?:no'?lu|numarali|l[iu]\b)")
_LISTED = re.compile(r"\d\s*(?:[,/-]|ve|veya|ya da)\s*$")
_SPENT = re.compile(r"\d[\w.-]{3,}|\b\w*\d\w*\d\w*\d")
"""A number between a word and what is looked at: the word spoke of that."""


def _digits(text: str) -> str:
    return "".join(one for one in text if "0" <= one <= "9")


def _emails(text: str) -> Places:
    return (
        [(one.start(), one.end(), 1.0) for one in _EMAIL.finditer(text)]
        if "@" in text or "(" in text or "[" in text
        else []
    )


def _ibans(text: str) -> Places:
    found: Places = []
    at = 0
    while (one := _IBAN.search(text, at)) is not None:
        want, end, code = iban_length(one[0][:2].upper()), one.start(), ""
        at = one.start() + 2
        for end in range(one.start(), one.end()):
            if text[end].isalnum():
                code += text[end].upper()
                if len(code) == want:
                    break
        if len(code) == want and not text[end + 1 : end + 2].isalnum() and is_iban(code):
            found.append((one.start(), end + 1, 1.0))
            at = end + 1
    return found


def _cards(text: str) -> Places:
    found: Places = []
    last = -2
    for one in _CARD.finditer(text):
        start, end = one.span()
        tail = (
            one["s"] in (" ", "\u00a0")
            and start > 1
            and text[start - 1] in " \u00a0"
            and text[start - 2].isdigit()
            and last != start - 1
        )
        last = end
        if is_card(_digits(one[0])):
            said = _nearest(text, start, end, _CARD_WORDS)
            if said > 0 or (said == 0 and not tail):
                found.append((start, end, 1.0 if said else 0.8))
    return found


def _tckns(text: str) -> Places:
    found: Places = []
    for one in _ELEVEN.finditer(text):
        if is_tckn(_digits(one[0])):
            said = _nearest(text, one.start(), one.end(), _TCKN_WORDS)
            if said >= 0:
                found.append((one.start(), one.end(), 1.0 if said else 0.7))
    return found


def _vkns(text: str) -> Places:
    found: Places = []
    for one in _TEN.finditer(text):
        if is_vkn(_digits(one[0])) and _nearest(text, one.start(), one.end(), _VKN_WORDS, _NOT_TAX) > 0:
            found.append((one.start(), one.end(), 1.0))
    return found


_NOT_TAX = re.compile(f"{_OTHER_WORDS.pattern}|{_PHONE_WORDS.pattern}")


def _phones(text: str) -> Places:
    found: Places = []
    for one in _PHONE.finditer(text):
        said = _nearest(text, one.start(), one.end(), _PHONE_WORDS, _NOT_PHONE)
        form = "grouped" if one["grouped"] else one.lastgroup
        if form == "abroad" and not 9 <= len(_digits(one[0])) <= 15:
            continue
        if said > 0 or (said == 0 and form != "bare") or (form == "long" and one[0][0] == "+"):
            found.append((one.start(), one.end(), 1.0 if said > 0 else 0.8))
    return found


_NOT_PHONE = re.compile(f"{_OTHER_WORDS.pattern}|{_VKN_WORDS.pattern}")


def _handles(text: str) -> Places:
    return [(one.start(), one.end(), 0.9) for one in _HANDLE.finditer(text)] if "@" in text else []


_FINDERS = {
    "EMAIL": _emails,
    "IBAN": _ibans,
    "CARD": _cards,
    "TCKN": _tckns,
    "PHONE": _phones,
    "VKN": _vkns,
    "PLATE": lambda text: plates(text, _before),
    "HANDLE": _handles,
}
