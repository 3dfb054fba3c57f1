"""What texts speak of and markets trade: shares, indices, currencies, commodities, coins, by name.

`link` finds the symbol that a name stands for; the symbols are those of docs/labelling-guide.md (`THYAO`, `BIST100`,
`USD`, `XAU`, `BTC`).
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import Literal, NamedTuple

from kalibre.language.text import _bist, _world
from kalibre.language.text.casing import fold
from kalibre.language.text.tokens import APOSTROPHES, is_suffix

AssetKind = Literal["share", "index", "fund", "currency", "commodity", "coin", "foreign"]

_TABLES: tuple[tuple[AssetKind, str], ...] = (
    ("share", _bist.SHARES),
    ("index", _world.INDICES),
    ("fund", _world.FUNDS),
    ("currency", _world.CURRENCIES),
    ("commodity", _world.COMMODITIES),
    ("coin", _world.COINS),
    ("foreign", _world.FOREIGN),
)
_MARKS = re.compile(r"[^a-z0-9&+/ ]+")
_LEGAL = re.compile(
    r"(?: (?:a ?s|t ?a ?s|a ?o|t ?a ?o|ltd|sti|san|sanayi|sanayii|tic|ticaret|ve|anonim|sirketi|ortakligi|inc|hissesi"
    r"|hisseleri|hisse|senedi|holdingi|coin|fabrikalari|elektronik|endustri))+$"
)
_SOFT = re.compile(
    r" (?:holding|grubu|bankasi|gyo|gayrimenkul yatirim ortakligi|yatirim|enerji|otomotiv|menkul degerler)$"
)
_GYO = re.compile(r"gayrimenkul yatirim ort(?:akligi)?")
_YAHOO = re.compile(r"([A-Z0-9]{3,6})\.(?:IS|E)", re.IGNORECASE | re.ASCII)
_LONGEST = 120


class Asset(NamedTuple):
    """Something traded: its symbol, what it is, and the names it goes by, the usual one first."""

    symbol: str
    kind: AssetKind
    names: tuple[str, ...]


@cache
def assets() -> dict[str, Asset]:
    """Return every asset by symbol; a coin that has the symbol of a share (`LINK`) is `LINK-COIN`."""
    found: dict[str, Asset] = {}
    for kind, table in _TABLES:
        for row in table.replace("\n", "; ").strip("; ").split("; "):
            symbol, _, names = row.partition("=")
            key = symbol if symbol not in found else f"{symbol}-{kind.upper()}"
            found[key] = Asset(key, kind, tuple(names.split(",")))
    return found


@cache
def _by_name() -> dict[str, str]:
    found: dict[str, str] = {}
    for asset in assets().values():
        for name in (asset.symbol, *asset.names):
            found.setdefault(_key(name), asset.symbol)
    for asset in assets().values():
        for name in asset.names:
            short = _LEGAL.sub("", _key(name))
            if len(short) > 3:
                found.setdefault(short, asset.symbol)
    return found


def _key(name: str) -> str:
    return " ".join(_MARKS.sub(" ", _GYO.sub("gyo", fold(name))).split())


@lru_cache(maxsize=16_384)
def link(name: str) -> str | None:
    """Return the symbol of the asset that a name stands for, None where there is none.

    The name may carry a suffix, capitals of any kind and what companies are called by law (`A.Ş.`); a code may carry
    the exchange (`GARAN.IS`).

    Examples
    --------
    >>> link("Türk Hava Yolları A.O."), link("TÜPRAŞ'ın"), link("Garanti BBVA"), link("dolar"), link("bitkoin")
    ('THYAO', 'TUPRS', 'GARAN', 'USD', 'BTC')
    >>> link("Kaya Tarım") is None
    True
    """
    if len(name) > _LONGEST:
        return None
    if (code := _YAHOO.fullmatch(name.strip())) and (asset := assets().get(code[1].upper())) and asset.kind == "share":
        return asset.symbol
    names = _by_name()
    key = _key(name)
    cut = _key(re.split(f"[{APOSTROPHES}](?=[^\\W\\d_]+$)", name.strip(), maxsplit=1)[0])
    for one in (key, cut):
        for shape in (one, _LEGAL.sub("", one), _SOFT.sub("", _LEGAL.sub("", one))):
            if shape in names and (len(shape) > 2 or shape == one):
                return names[shape]
    for end in range(len(cut) - 1, max(3, len(cut) - 8), -1):
        if cut[:end] in names and cut[end:].isalpha() and is_suffix(cut[end:]):
            return names[cut[:end]]
    return None
