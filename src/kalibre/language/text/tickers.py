"""Codes of shares, indices and coins in a text: `THYAO'nun`, `GARAN.IS`, `BIST:THYAO`, `[akbnk]`, `BIST-100`, `$BTC`.

A code counts in capitals, or in any case within brackets or behind `#` and `$`. Codes that are words too (`HEDEF`,
`MAVI`, `LINK`, `NEAR`) count only where something about them says that they are meant: brackets, the exchange, a
neighbour that is a code, or `hisse` behind them. The span is the code, without what hangs on it.
"""

from __future__ import annotations

import re
from functools import cache

import msgspec

from kalibre.language.text.assets import AssetKind, assets, link
from kalibre.language.text.tokens import APOSTROPHES, is_suffix

_CODE = re.compile(
    rf"""
    (?P<bracket>[\[(])\s?(?P<inside>[^\W_]{{2,6}}(?:[ -]?\d{{2,3}})?)(?:\.(?:IS|E))?\s?[\])]
    |(?<![\w.&])(?P<index>(?:BIST|BİST|İMKB|IMKB)[ -]?(?:100|50|30)|XU(?:100|050|030|TUM))(?![\d%]|[.,]\d)
    |(?P<market>(?:BIST|BİST|IST|IMKB|İMKB):\s?)(?P<listed>[A-Z][A-Z0-9]{{2,5}})(?![A-Z0-9])
    |(?<![\w.])(?P<tag>[$\#])(?P<tagged>[A-Za-z][A-Za-z0-9]{{1,6}})(?![\w])
    |(?<![\w.@/&-])(?P<plain>[A-Z][A-Z0-9]{{1,5}}|1000|A1CAP)(?:(?P<yahoo>\.(?:IS|E)(?![\w]))|/?(?P<quote>USDT|TRY|BUSD)(?!\w))?
        (?P<behind>[{APOSTROPHES}]?[a-zçğıöşü]{{1,14}}(?!\w)|(?![\w]))
    """,
    re.VERBOSE,
)
_MEANT_BEHIND = re.compile(
    rf"(?:[{APOSTROPHES}]?\w{{1,6}})?\W{{1,3}}"
    r"(?:hisse|pay senedi|payı|payları|lot\b|kodlu|coin|token|kripto|hedef fiyat|[1-4]Ç)",
    re.IGNORECASE,
)
_MEANT_BEFORE = re.compile(r"(?:hisse(?:si|leri)?|kod(?:u|lu)?|coin|kripto|ticker|borsa kodu)\W{1,3}$", re.IGNORECASE)
_LIST = re.compile(r"[A-Z0-9]{4,6}\s?[,;/]\s?$")
_LIST_BEHIND = re.compile(r"\s?[,;/]\s?([A-Z0-9]{4,6})(?![A-Z0-9])")
_WORDS = frozenset(
    """
    ADA ADEL ADESE AKSA ALGO ALKA APT ARB ARENA ARSAN ASTOR ATOM AVOD BALSU BARMA BAT BERA BEYAZ BIZIM BONK
    BOSSA BRISA CASA COMP COSMO CRO CRV DAGI DAI DASH DENGE DERIM DESA DEVA DITAS DOT EDIP ELITE ENA ENJ EOS
    ERSU ESCAR ESEN FADE FENER FET FIL FLAP FONET FORTE GALA GEDIK GRT HEDEF HITIT HOT HYPE ICP IHLAS INFO INJ
    INTEM IOTA JUP KAREL KAS KENT KONKA KONYA KOTON KRONT LDO LIDER LINK LOGO MACKO MANA MARTI MAVI MERIT METRO
    MOGAN MOPAS NEAR NEO NETAS ONDO OP ORGE OTTO PENTA PEPE PYTH QNT RUNE SAND SANKO SEI SELVA SHIB SMART SNX
    SOKE SOL STX SUI TAO TERA THETA TIA TON TRUMP TUKAS UFUK ULAS UNI UNLU USAK VAKKO VET WIF YATAS YAYLA YIGIT
    YUNSA
    """.split()
)
"""Codes that are words, names or other abbreviations too."""
_REACH = 40


class Ticker(msgspec.Struct, frozen=True, kw_only=True):
    """A code in a text: `text == whole[start:end]`; `symbol` is what it stands for (`THY` in brackets: `THYAO`)."""

    start: int
    end: int
    text: str
    symbol: str
    kind: AssetKind


@cache
def _codes() -> dict[str, tuple[str, AssetKind]]:
    return {
        asset.symbol: (asset.symbol, asset.kind)
        for asset in assets().values()
        if asset.kind in ("share", "fund", "coin") or (asset.kind == "index" and asset.symbol[0] == "X")
    }


def find_tickers(text: str) -> list[Ticker]:
    """Return the codes of a text, by start.

    Examples
    --------
    >>> text = "THYAO'nun ve GARAN.IS'in payı; [akbnk] güçlü, BIST-100 yatay. HEDEF FİYAT: MAVI hissesi"
    >>> [(one.text, one.symbol) for one in find_tickers(text)]
    [('THYAO', 'THYAO'), ('GARAN', 'GARAN'), ('akbnk', 'AKBNK'), ('BIST-100', 'BIST100'), ('MAVI', 'MAVI')]
    """
    found: list[Ticker] = []
    for match in _CODE.finditer(text):
        group = next(name for name in ("inside", "index", "listed", "tagged", "plain") if match[name] is not None)
        start, end = match.span(group)
        code = match[group]
        known = _known(text, match, group, code)
        if known:
            found.append(Ticker(start=start, end=end, text=text[start:end], symbol=known[0], kind=known[1]))
    return found


def _known(text: str, match: re.Match[str], group: str, code: str) -> tuple[str, AssetKind] | None:
    if group == "index":
        digits = re.sub(r"\D", "", code)
        return (f"BIST{int(digits)}" if digits else code, "index")
    if group == "inside":
        return _bracketed(match["bracket"], code)
    if group in ("listed", "tagged"):
        return None if match["tag"] == "#" and code.upper() in _WORDS else _codes().get(code.upper())
    if match["quote"]:
        symbol = link(code)
        return (symbol, assets()[symbol].kind) if symbol and assets()[symbol].kind == "coin" else None
    return _plain(text, match, code)


def _plain(text: str, match: re.Match[str], code: str) -> tuple[str, AssetKind] | None:
    known = _codes().get(code)
    behind = match["behind"] or ""
    if not known or (behind and not is_suffix(behind.lstrip(APOSTROPHES)) and not match["yahoo"]):
        return None
    if code in _WORDS and not (match["yahoo"] or _meant(text, match, behind)):
        return None
    return known


def _bracketed(bracket: str, code: str) -> tuple[str, AssetKind] | None:
    upper = code.upper().replace("İ", "I").replace("ı", "I")
    known = _codes().get(upper)
    if known:
        return known if bracket == "[" or code.isupper() or upper not in _WORDS else None
    symbol = link(code) if bracket == "[" or code.isupper() else None
    if symbol and assets()[symbol].kind in ("share", "index", "coin") and (len(code) > 2 or bracket == "["):
        return symbol, assets()[symbol].kind
    return None


def _meant(text: str, match: re.Match[str], behind: str) -> bool:
    """Say whether a code that is a word too is meant as a code."""
    start, end = match.start("plain"), match.end("plain")
    before, after = text[max(0, start - _REACH) : start], text[end : end + _REACH]
    if _MEANT_BEHIND.match(after) or _MEANT_BEFORE.search(before) or (_LIST.search(before) and "," in before[-3:]):
        return True
    listed = _LIST_BEHIND.match(after)
    if listed and listed[1] in _codes() and listed[1] not in _WORDS:
        return True
    around = before[-20:] + after[:20]
    small = sum(one.islower() for one in around)
    return behind[:1] in APOSTROPHES and bool(behind) and small > sum(one.isupper() for one in around)
