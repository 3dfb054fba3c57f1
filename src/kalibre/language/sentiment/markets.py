"""Markets abroad, sectors and goods, as headlines name them: `Asya borsaları`, `banka hisseleri`, `doğal gaz`.

`borsa` alone is Borsa Istanbul; with another place before it, it is not.
"""

from __future__ import annotations

import re

from kalibre.language.text.casing import fold

_PLACES = {
    "SPX": r"new york|abd|amerika(?:n)?|wall street",
    "NKY": "japonya|japon|tokyo",
    "HSI": "hong kong",
    "SHCOMP": "cin|sanghay|shanghai",
    "KOSPI": "guney kore|kore|seul",
    "DAX": "almanya|alman|frankfurt",
    "FTSE": "ingiltere|ingiliz|londra",
    "CAC": "fransa|fransiz|paris",
    "MIB": "italya|italyan|milano",
    "IBEX": "ispanya|ispanyol|madrid",
    "BVSP": "brezilya",
    "SENSEX": "hindistan|hint|mumbai",
    "OTHER:Moskova borsası": "rusya|rus|moskova",
    "OTHER:Atina borsası": "yunanistan|yunan|atina",
    "OTHER:Avrupa borsaları": "avrupa",
    "OTHER:Asya borsaları": "asya",
    "OTHER:küresel piyasalar": "kuresel|dunya|gelismekte olan ulke|gelisen ulke",
}
_ENGLISH = {
    "SPX": r"wall street|(?:us|u\.s\.|american) (?:stocks?|shares|equities|markets?)",
    "OTHER:Avrupa borsaları": "european? (?:stocks?|shares|equities|markets?)",
    "OTHER:Asya borsaları": "asian? (?:stocks?|shares|equities|markets?)",
    "OTHER:küresel piyasalar": "(?:global|world) (?:stocks?|shares|equities|markets?)",
}
_SECTORS = {
    "banka": "banka(?:cilik|lar)?",
    "sigorta": "sigorta(?:cilik)?",
    "reasürans": "reasurans",
    "faktoring": "faktoring",
    "gayrimenkul": "gayrimenkul|konut|gyo",
    "inşaat": "insaat",
    "çimento": "cimento",
    "demir çelik": "demir[- ]celik|celik",
    "altın madenciliği": "altin madenciligi",
    "madencilik": "madencilik|maden",
    "kimya": "kimya|petrokimya",
    "ilaç": "ilac|saglik",
    "tekstil": "tekstil",
    "gıda": "gida",
    "perakende": "perakende(?: ticaret)?",
    "telekom": "telekom(?:unikasyon)?|iletisim",
    "teknoloji": "teknoloji|bilisim",
    "savunma": "savunma(?: ve havacilik)?",
    "havayolu": "havayolu|hava yolu|havacilik",
    "ulaştırma": "ulastirma|lojistik",
    "turizm": "turizm",
    "otomotiv": "otomotiv|otomobil",
    "enerji": "enerji",
    "elektrik": "elektrik",
    "spor": "spor",
}
_ONE = "|".join(_SECTORS.values())
_SECTOR = re.compile(
    rf"\b(?:{_ONE})(?:(?:, ?| ve | ile )(?:{_ONE}))*(?: ve [^\W\d_]+)? "
    r"(?:hisse|sektor|sirket|sanayi|uretici|firma|endeks|ihracat)[^\W\d_]*"
    r"|\b(?:konut|otomobil|otomotiv) (?:satis|fiyat|yatirim)[^\W\d_]*"
)
_GOODS = {
    "NATGAS": "dogal gaz",
    "ALUMINUM": "aluminyum",
    "WHEAT": "bugday",
    "XPT": "platin",
    "XPD": "paladyum",
    "TRY": "turk lira",
    "CNY": "yuan",
    "RUB": "ruble",
    "CHF": "frang",
}
_EACH = tuple((f"SECTOR:{name}", re.compile(rf"\b(?:{words})\b")) for name, words in _SECTORS.items())
_NAMED = tuple(
    (
        symbol,
        re.compile(
            rf"\b(?:{words})(?:['’]?[^\W\d_]{{1,4}})? (?:borsa|piyasa|hisse sene[td]|endeks)[^\W\d_]*"
            + (rf"|\b(?:{_ENGLISH[symbol]})\b" if symbol in _ENGLISH else "")
        ),
    )
    for symbol, words in _PLACES.items()
) + tuple((symbol, re.compile(rf"\b{word}[^\W\d_]{{0,6}}\b")) for symbol, word in _GOODS.items())


def find_markets(text: str) -> list[tuple[int, int, str]]:
    """Return the markets abroad, sectors and goods that a text names: begin, end, symbol; by begin.

    Examples
    --------
    >>> [symbol for *_, symbol in find_markets("New York borsası düştü, banka ve gıda hisseleri yükseldi")]
    ['SPX', 'SECTOR:banka', 'SECTOR:gıda']
    """
    folded = fold(text)
    found = [(one.start(), one.end(), symbol) for symbol, shape in _NAMED for one in shape.finditer(folded)]
    for run in _SECTOR.finditer(folded):
        for symbol, shape in _EACH:
            one = shape.search(folded, run.start(), run.end())
            if one and not any(start <= one.start() < end for start, end, _ in found):
                found.append((one.start(), one.end(), symbol))
    return sorted(found)
