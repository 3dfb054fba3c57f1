"""How far a text moves each asset it names, from -1 to 1.

The text's own score belongs to the asset it is about, the one named first (Borsa Istanbul where none is). Another asset
has the direction of the clauses that speak of it; where rules say that two assets part, they part.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from kalibre.language.sentiment.directions import Reading
from kalibre.language.sentiment.markets import find_markets
from kalibre.language.text.amounts import find_amounts
from kalibre.language.text.assets import link
from kalibre.language.text.casing import fold
from kalibre.language.text.tickers import find_tickers

MARKET = "BIST100"
_AGAINST = re.compile(r"[^\W_]+(?:['’][^\W_]+)? karsi(?:sinda)?\b")
_BEFORE = re.compile(r"\b(?:against|versus|vs)\.? (?:the )?$")
_NAME = re.compile(r"[A-ZÇĞİÖŞÜ][\w&'’.]*(?:[ -][A-ZÇĞİÖŞÜ][\w&'’.]*)*")
_HEADLINE = 300
"""Characters of a headline at most."""
_WORDS = 4
"""Words of a company's name at most."""
_LEAST = 0.05
_SAID = 0.25
"""What a clause's direction is worth at least, where it contradicts the text's score."""


def scale_of(scores: NDArray[np.float64], impacts: NDArray[np.float64] | None) -> float:
    """Return the factor that brings scores (probability of up less that of down) closest to impacts; 0.6 if unknown."""
    if impacts is None or not np.any(scores):
        return 0.6
    return float(np.clip(scores @ impacts / (scores @ scores), 0.1, 1.0))


def impacts_of(text: str, reading: Reading, score: float) -> list[tuple[str, float]]:
    """Return (asset, impact) in the order in which the text names the assets.

    Parameters
    ----------
    text, reading
        The text and what the rules found in it.
    score
        The text's score, on the scale of impacts.
    """
    said, _ = _said(text, reading)
    if not said:
        return [(MARKET, round(score, 3))] if abs(score) >= _LEAST else []
    first = next(iter(said))
    parted = _part(said)
    found = []
    for asset, direction in said.items():
        if asset == first and not (parted and direction * score < 0):
            value = score
        elif asset == first or parted:
            value = math.copysign(max(abs(score), _SAID), direction) if direction else 0.0
        elif direction:
            value = math.copysign(abs(score), direction)
        else:
            value = 0.5 * score
        found.append((asset, round(float(np.clip(value, -1.0, 1.0)), 3)))
    return found


def focused(text: str, reading: Reading) -> str:
    """Return what a text says of the asset that it is about, blanks in place of the rest: of the same length.

    Only in a headline, where two assets part: `Dolar düştü, altın yükseldi` is about the dollar, and bad news for it.
    Any other text is returned as it is: a note that speaks of many things is read as a whole.

    Parameters
    ----------
    text, reading
        The text and what the rules found in it.
    """
    if len(text) > _HEADLINE:
        return text
    said, spoken = _said(text, reading)
    if not _part(said):
        return text
    first = next(iter(said))
    kept = [" "] * len(text)
    for (start, end), about in zip(reading.spans, spoken, strict=True):
        if first in about:
            kept[start:end] = text[start:end]
    return "".join(kept)


def _part(said: Mapping[str, float]) -> bool:
    """Say whether one asset goes up and another down."""
    return any(one * two < 0 for one in said.values() for two in said.values())


def _said(text: str, reading: Reading) -> tuple[dict[str, float], list[list[str]]]:
    """Return what the clauses that speak of each asset say, the asset named first first, and of whom each speaks.

    A clause that names none goes on about those of the clause before. What another is measured by (`dolar karşısında`,
    `against the dollar`) goes the other way, and is not what the text is about.
    """
    named = assets_of(text, reading)
    folded = fold(text)
    measures = {place for place, _ in named if _AGAINST.match(folded, place) or _BEFORE.search(folded[:place])}
    if len(measures) == len(named):
        measures = set()
    said = dict.fromkeys((asset for place, asset in named if place not in measures), 0.0)
    said |= dict.fromkeys((asset for place, asset in named if asset not in said), 0.0)
    about: list[str] = []
    turned: set[str] = set()
    spoken: list[list[str]] = []
    for number, (start, end) in enumerate(reading.spans):
        here = [(place, asset) for place, asset in named if start <= place < end]
        if here:
            about = [asset for _, asset in here]
            straight = {asset for place, asset in here if place not in measures}
            turned = set(about) - straight if straight else set()
        spoken.append(about)
        weight = math.tanh(sum(one.weight for one in reading.findings if one.clause == number))
        for asset in set(about):
            said[asset] += -weight if asset in turned else weight
    return said, spoken


def assets_of(text: str, reading: Reading) -> list[tuple[int, str]]:
    """Return (place, asset) of what a text names: codes, companies, sectors, markets, and what the lexicon knows.

    The unit of an amount (`250 milyon TL`) is none, nor is what stands inside a market's name.

    Parameters
    ----------
    text, reading
        The text and what the rules found in it.
    """
    markets = find_markets(text)
    places = {one.start: one.symbol for one in find_tickers(text)}
    for run in _NAME.finditer(text):
        words = list(re.finditer(r"[^\s-]+", run[0]))
        at = 0
        while at < len(words):
            for last in range(min(at + _WORDS, len(words)), at, -1):
                symbol = link(run[0][words[at].start() : words[last - 1].end()])
                if symbol:
                    places.setdefault(run.start() + words[at].start(), symbol)
                    at = last - 1
                    break
            at += 1
    for place, asset in reading.assets:
        places.setdefault(place, asset)
    money = [(one.start, one.end) for one in find_amounts(text) if one.type == "MONEY"]
    inside = [(start, end) for start, end, _ in markets]
    named = {place: asset for place, asset in places.items() if not _within(inside, place)}
    named |= {start: symbol for start, _, symbol in markets}
    return sorted((place, asset) for place, asset in named.items() if not _within(money, place))


def _within(stretches: list[tuple[int, int]], place: int) -> bool:
    return any(start <= place < end for start, end in stretches)
