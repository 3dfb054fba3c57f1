"""Organisations known by name: listed companies by the table of assets, and institutions that markets listen to.

What a tagger learnt from encyclopaedia and translated news knows little of Borsa Istanbul; its companies are a closed
list. A name of one word counts only where that word is hardly ever written small (`Mavi` and `Logo` are words too).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache

from kalibre.language.entities.endings import bare_end
from kalibre.language.text.assets import assets, link
from kalibre.language.text.casing import upper
from kalibre.language.text.tokens import Token

INSTITUTIONS = frozenset(
    """
    TCMB SPK BDDK TÜİK KAP TMSF EPDK BOTAŞ TOKİ TOBB TÜSİAD MÜSİAD TİM TBB SGK TEİAŞ Takasbank TBMM OECD IMF OPEC NATO
    Fed FED ECB AMB BoJ BOJ BoE BOE PBoC SNB SEC FDIC CFTC Moody's Fitch S&P JPMorgan Citi Citigroup HSBC UBS Barclays
    BofA BlackRock Nomura Reuters Bloomberg Apple Microsoft Google Alphabet Amazon Tesla Nvidia NVIDIA Netflix Intel AMD
    Boeing Airbus Samsung Sony Toyota Volkswagen Siemens Shell ExxonMobil Chevron Gazprom Aramco Binance Coinbase
    MicroStrategy Walmart Pfizer BioNTech Moderna OpenAI ByteDance Alibaba Tencent Huawei TSMC ASML
    """.split()
) | {
    "Goldman Sachs", "Morgan Stanley", "JP Morgan", "Deutsche Bank", "Bank of America", "Credit Suisse", "Wells Fargo",
    "Borsa İstanbul", "Dünya Bankası", "Avrupa Merkez Bankası", "Merkez Bankası", "Ticaret Bakanlığı",
    "Hazine ve Maliye Bakanlığı", "Avrupa Birliği", "Birleşmiş Milletler", "İngiltere Merkez Bankası",
    "Japonya Merkez Bankası", "Sermaye Piyasası Kurulu", "Rekabet Kurumu", "Rekabet Kurulu", "Financial Times",
    "Wall Street Journal",
}  # fmt: skip
_MOST = 6
"""Tokens of a name."""
_OFTEN_LARGE = frozenset({"5", "15", "25", "none"})  # bands of Lexicon.capital: large nine times in ten, or unknown


@cache
def _spellings() -> frozenset[str]:
    return INSTITUTIONS | {upper(name) for name in INSTITUTIONS}


def find_known(
    text: str, tokens: Sequence[Token], capital: Callable[[str], str], free: Callable[[int, int], bool]
) -> Iterator[tuple[int, int, str | None]]:
    """Yield where organisations known by name stand in a sentence, with their ticker; the longest first, none twice.

    Parameters
    ----------
    text, tokens
        The text and the sentence's tokens.
    capital
        How often a word is written large (`Lexicon.capital`).
    free
        Whether a stretch of the text may be taken.
    """
    at = 0
    while at < len(tokens):
        taken = 1
        if tokens[at].kind == "word" and tokens[at].text[0].isupper():
            for size in range(min(_MOST, len(tokens) - at), 0, -1):
                last = tokens[at + size - 1]
                start, end = tokens[at].start, bare_end(text, last.start, last.suffix_start)
                if last.kind != "word" or not free(start, end):
                    continue
                known, symbol = _known(text[start:end], size, capital)
                if known:
                    yield start, end, symbol
                    taken = size
                    break
        at += taken


def _known(name: str, size: int, capital: Callable[[str], str]) -> tuple[bool, str | None]:
    if " ".join(name.split()) in _spellings():
        return True, None
    words = name.split()
    if not words[-1][0].isupper() or not all(word[0].isupper() or word == "ve" for word in words):
        return False, None
    symbol = link(name)
    if symbol is None or assets()[symbol].kind != "share" or name == symbol:
        return False, None
    return size > 1 or (len(name) > 2 and capital(name) in _OFTEN_LARGE), symbol
