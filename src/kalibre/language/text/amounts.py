"""Money, percentages and times in Turkish text, where they stand without their suffix, and what they are worth."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Literal

import msgspec

from kalibre.language.text import dates, numbers
from kalibre.language.text.casing import fold
from kalibre.language.text.tokens import SUFFIX

AmountType = Literal["MONEY", "PERCENT", "TIME"]

_SIGNS = {"₺": "TRY", "$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₽": "RUB", "₹": "INR", "₩": "KRW"}
_NAMES = {
    "lira": "TRY", "kurus": "TRY", "dolar": "USD", "sent": "USD", "euro": "EUR", "avro": "EUR", "sterlin": "GBP",
    "pound": "GBP", "yen": "JPY", "yuan": "CNY", "frank": "CHF", "ruble": "RUB", "riyal": "SAR", "dirhem": "AED",
    "manat": "AZN", "rupi": "INR", "kron": "SEK", "zloti": "PLN", "sekel": "ILS", "dinar": "KWD", "tenge": "KZT",
}  # fmt: skip
_HUNDREDTHS = ("kurus", "sent")
_CODES = "TRY|TL|USD|EUR|EURO|GBP|JPY|CHF|RUB|CNY|AUD|CAD|SEK|NOK|DKK|AED|SAR|AZN|KWD|ILS|PLN|INR|KRW"
_OWNED_BY = {
    "abd": "USD", "amerikan": "USD", "kanada": "CAD", "avustralya": "AUD", "turk": "TRY", "yeni turk": "TRY",
    "japon": "JPY", "cin": "CNY", "isvicre": "CHF", "ingiliz": "GBP", "rus": "RUB", "hong kong": "HKD",
    "suudi": "SAR", "singapur": "SGD", "isvec": "SEK", "norvec": "NOK", "danimarka": "DKK",
}  # fmt: skip
_LETTER = r"[^\W\d_]"
_END = rf"(?={SUFFIX.removesuffix('{1,6}')}{{0,4}}(?!{_LETTER}))"
_OWNED = rf"(?=(?:n[dt][ae]n?(?:ki\w*)?|n[ae]|n[ıiuü]n?|yl[ae]|[dt][ıiuü]r|l[ıiuü]k)?(?!{_LETTER}))"
_NAME = rf"""(?:lira|kuruş|dolar|euro|avro|sterlin|pound|yuan|frank|ruble|riyal|dirhem|manat|rupi|kron|zloti|şekel|dinar
    |tenge|sent){_END}|yen(?=(?:lik|den|in|e)?(?!{_LETTER}))|frang(?=[ıa]?(?!{_LETTER}))"""
_AFTER = re.compile(
    rf"""[ \u00a0]?(?:
    (?P<sign>(?:US|ABD|A|C)?[₺$€£¥₽₹₩])
    |(?P<code>(?-i:{_CODES})|tl|euro)(?!{_LETTER})(?!\s?/\s?(?:{_CODES}|dolar|euro|lira)\b)
    |(?P<whose>abd|amerikan|kanada|avustralya|(?:yeni\s)?türk|japon|çin|isviçre|ingiliz|rus|hong\skong|suudi|singapur|isveç
        |norveç|danimarka)\s(?:(?:lirası|doları|sterlini|yeni|yuanı|frangı|rublesi|riyali|kronu){_OWNED}|(?:{_NAME}))
    |(?P<name>{_NAME})
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_BEFORE = re.compile(
    rf"(?:(?<![^\W\d_])(?P<sign>(?:US|ABD|A|C)?[₺$€£¥₽₹₩])|(?<![\w/-])(?P<code>{_CODES}))[ \u00a0]?[-+−]?[ \u00a0]?$"
)
_PERCENT_BEFORE = re.compile(r"(?:(?P<lead>[-+−]?)%[ \u00a0]?[-+−]?|(?<!\w)yüzde\s+[-+−]?)$", re.IGNORECASE)
_PERCENT_AFTER = re.compile(r"[ \u00a0]?%(?![ \u00a0]?[-+−]?\d)")
_RANGE = re.compile(r"\s?[-–—]\s?[%₺$€£]?|\s(?:ila|ilâ)\s(?:yüzde\s|[%₺$€£]\s?)?", re.IGNORECASE)
_SIGN = re.compile(r"(?:^|(?<=[\s(\[:;,]))[-+−]$")
_VAGUE = re.compile(r"(?:birkaç|kaç|birçok)\s$", re.IGNORECASE)
_REACH = 14


class Amount(msgspec.Struct, frozen=True, kw_only=True):
    """An amount in a text, without its suffix: `text == whole[start:end]`.

    `value` and, of a range, `upper` are what it is worth (percent in hundredths: `%4,5` is 4.5), `currency` an ISO 4217
    code, `iso` the ISO 8601 form of a time; None or empty where the text does not say.
    """

    start: int
    end: int
    text: str
    type: AmountType
    value: Decimal | None = None
    upper: Decimal | None = None
    currency: str = ""
    iso: str = ""


class _Part(msgspec.Struct):
    number: numbers.Number
    start: int
    end: int
    value: Decimal
    currency: str = ""
    percent: bool = False
    marked_behind: bool = False


def find_amounts(text: str) -> list[Amount]:
    """Return the amounts of money, percentages and times of a text, by start, not overlapping.

    The rules are those of docs/labelling-guide.md: an amount without currency is none, a pair (`USD/TRY`) is none, a
    range is one, a sign before the number belongs to it, `baz puan` is no percent.

    Examples
    --------
    >>> text = "Kâr yüzde 5'lik artışla 2,5 milyar TL'ye, ihracat 10-12 milyon dolara çıktı (-%2)"
    >>> [(one.text, one.type, str(one.value)) for one in find_amounts(text)]  # doctest: +NORMALIZE_WHITESPACE
    [('yüzde 5', 'PERCENT', '5'), ('2,5 milyar TL', 'MONEY', '2500000000.0'),
     ('10-12 milyon dolar', 'MONEY', '10000000'), ('-%2', 'PERCENT', '-2')]
    """
    parts: list[_Part] = []
    for number in numbers.iterate(text):
        parts.append(_part(text, number, parts[-1].end if parts else 0))
    found = _merged(text, parts)
    taken = [(one.start, one.end) for one in found]
    at = 0
    for start, end, iso in dates.iterate(text):
        while at < len(taken) and taken[at][1] <= start:
            at += 1
        if at == len(taken) or taken[at][0] >= end:
            found.append(Amount(start=start, end=end, text=text[start:end], type="TIME", iso=iso))
    return sorted(found, key=lambda one: one.start)


def _part(text: str, number: numbers.Number, floor: int) -> _Part:
    """Read the marks of a number; what stands before `floor` belongs to the number before."""
    start, end, value, words = number
    low = max(floor, start - _REACH)
    before = text[low:start]
    percent = _PERCENT_BEFORE.search(before)
    if percent:
        start, (end, value) = low + percent.start(), _short(text, number)
        negative = any(sign in percent[0] for sign in "-−")
        if negative and percent["lead"] and start > 0 and (text[start - 1].isalnum() or text[start - 1] == "%"):
            start, negative = start + 1, False  # `%5-%7`: the dash stands between two
        return _Part(number, start, end, -value if negative else value, percent=True)
    behind = _PERCENT_AFTER.match(text, end)
    if behind and not words:
        start, value = _signed(text, start, value)
        return _Part(number, start, behind.end(), value, percent=True, marked_behind=True)
    if _VAGUE.search(before):
        return _Part(number, start, end, value)
    ahead, after = _BEFORE.search(before), _AFTER.match(text, end)
    if after and after["sign"] and text[end] in " \u00a0" and text[after.end() : after.end() + 1].isdigit():
        after = None  # `5 $10`: the sign leans on the next number
    if ahead and not words:
        if (
            "," in text[start:end]
            and (ahead["sign"] or "").endswith(("$", "£"))
            and re.fullmatch(r"[\d,]+", text[start:end])
        ):
            value = numbers.parse_figure(text[start:end], english=True)
        code = _SIGNS.get((ahead["sign"] or " ")[-1]) or _code(ahead["code"] or "")
        begin = low + ahead.start()
        return _Part(number, begin, end, -value if re.search("[-−]", ahead[0]) else value, currency=code)
    if after:
        start, value = _signed(text, start, value)
        if fold(after["name"] or "").startswith(_HUNDREDTHS):
            value /= 100
        return _Part(number, start, after.end(), value, currency=_currency(after), marked_behind=True)
    return _Part(number, start, end, value)


def _short(text: str, number: numbers.Number) -> tuple[int, Decimal]:
    """Cut a percentage to what is one: `%25 bin kişi` is 25 per cent."""
    if number.value <= 1_000 and " bin" not in fold(text[number.start : number.end]):
        return number.end, number.value
    figure = re.compile(numbers.FIGURE).match(text, number.start, number.end)
    return (figure.end(), numbers.parse_figure(figure[0])) if figure else (number.end, number.value)


def _signed(text: str, start: int, value: Decimal) -> tuple[int, Decimal]:
    sign = _SIGN.search(text[max(0, start - 2) : start])
    if not sign:
        return start, value
    return start - 1, -value if sign[0] != "+" else value


def _currency(after: re.Match[str]) -> str:
    if after["sign"]:
        return _SIGNS[after["sign"][-1]]
    if after["code"]:
        return _code(after["code"])
    if after["whose"]:
        return _OWNED_BY[" ".join(fold(after["whose"]).split())]
    name = fold(after["name"])
    return next((code for key, code in _NAMES.items() if name.startswith(key)), "CHF")


def _code(text: str) -> str:
    return {"TL": "TRY", "EURO": "EUR"}.get(text.upper(), text.upper())


def _merged(text: str, parts: list[_Part]) -> list[Amount]:
    found: list[Amount] = []
    k = 0
    while k < len(parts):
        part, upper = parts[k], None
        end, value = part.end, part.value
        following = parts[k + 1] if k + 1 < len(parts) else None
        if (
            following
            and (link := _RANGE.fullmatch(text, part.end, following.number.start))
            and _one_kind(part, following)
        ):
            end, upper = following.end, abs(following.value)
            value = _scaled(text, part, following, value)
            part = following if not (part.currency or part.percent) else part
            k += 1 if link else 0
        elif following and _goes_on(text, part, following):
            end, value = following.end, part.value + following.value
            k += 1
        if part.percent or part.currency:
            start = min(part.start, parts[k - (upper is not None)].start) if upper is not None else part.start
            found.append(
                Amount(
                    start=start,
                    end=end,
                    text=text[start:end],
                    type="PERCENT" if part.percent else "MONEY",
                    value=value,
                    upper=upper,
                    currency=part.currency,
                )
            )
        k += 1
    return found


def _one_kind(part: _Part, following: _Part) -> bool:
    if part.percent:
        return not part.marked_behind and not following.currency and (following.percent or not following.marked_behind)
    if part.currency:
        return not part.marked_behind and not following.percent and following.currency in ("", part.currency)
    return following.marked_behind and part.number.end == part.end


def _scaled(text: str, part: _Part, following: _Part, value: Decimal) -> Decimal:
    """Give the lower end of `10-12 milyon` the scale that only the upper end says."""
    if value >= 1_000 or re.search(_LETTER, text[part.number.start : part.number.end]):
        return value
    scale = Decimal(1)
    for power in (12, 9, 6, 3):
        if following.number.value >= Decimal(10) ** power and value < 1_000:
            scale = Decimal(10) ** power
            break
    figure = re.match(numbers.FIGURE, text[following.number.start : following.number.end])
    return value * scale if figure and following.number.end - following.number.start > figure.end() else value


def _goes_on(text: str, part: _Part, following: _Part) -> bool:
    """Say whether it is `5 lira 50 kuruş`."""
    small = fold(text[following.number.end : following.end]).strip()
    return (
        part.marked_behind
        and bool(part.currency)
        and small in _HUNDREDTHS
        and text[part.end : following.number.start] == " "
    )
