"""What the rules found in a text, as the numbers that a model weighs; each remembers which words it came from."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kalibre.language.sentiment.directions import Finding, Reading, read
from kalibre.language.sentiment.english import ENGLISH
from kalibre.language.sentiment.lexicon import TURKISH, Lexicon
from kalibre.language.sentiment.tone import tones

_FACE_GLAD = re.compile(r"[:;=]['-]?[)dDpP*]|<3|[😀-😆😉-😎😍😘😻🎉👏💪❤💙💛💜🥳🙏🚀]")
_FACE_SAD = re.compile(r"[:=]['-]?[(/]|[😒-😖😞-😤😨-😭😡😠😢💔👎🤮🤬😩]")
_LONG = re.compile(r"([^\W\d_])\1\1")

DIRECTED = ("net", "good", "bad", "moves", "events", "first", "last", "named_net")
"""Signals that findings add up to, in order of `_directed`: only these have words behind them."""
PLAIN = (
    "both", "rises", "falls", "asked", "question", "named", "currency", "oil", "gold", "index", "numbers", "percent",
    "clauses", "negated", "softened", "strengthened", "length", "exclaims", "quotes", "colon", "glad", "sad", "long",
    "shouted", "handles", "links", "tone", "tone_good", "tone_bad", "tone_sworn",
)  # fmt: skip
NAMES = DIRECTED + PLAIN
COMMON = len(DIRECTED) + 5
"""Signals from the first on that mean the same in every language the rules read."""


def signals(texts: Sequence[str], lexicon: Lexicon = TURKISH) -> NDArray[np.float32]:
    """Return the signals of texts: shape (n_texts, len(NAMES)), each about -1 to 1."""
    rows = [_row(text, reading_of(text, lexicon)) for text in texts]
    return np.array(rows, np.float32).reshape(len(texts), len(NAMES))


def reading_of(text: str, lexicon: Lexicon = TURKISH) -> Reading:
    """Read a text once, however many ask for it; nobody may change what is returned."""
    return _read(text, lexicon is TURKISH)


@lru_cache(maxsize=4_096)
def _read(text: str, turkish: bool) -> Reading:
    return read(text, TURKISH if turkish else ENGLISH)


def resolved(text: str) -> dict[int, str]:
    """Return what moves and events are called once their sense is settled, by where they begin.

    `Enflasyon geriledi` and `kâr arttı` become the same good news, and `kâr geriledi` its reverse.
    """
    return {
        one.word[0]: ("xgood" if one.weight > 0 else "xbad") + ("q" if abs(one.weight) > 0.9 else "")
        for one in reading_of(text).findings
        if abs(one.weight) >= 0.1
    }


def _row(text: str, reading: Reading) -> list[float]:
    return [math.tanh(sum(one.weight for one in part)) for part in directed(reading)] + _plain(text, reading)


def directed(reading: Reading) -> tuple[list[Finding], ...]:
    """Return the findings behind each of the directed signals."""
    found = reading.findings
    first = found[0].clause if found else 0
    last = found[-1].clause if found else 0
    return (
        found,
        [one for one in found if one.weight > 0],
        [one for one in found if one.weight < 0],
        [one for one in found if one.kind == "move"],
        [one for one in found if one.kind == "event"],
        [one for one in found if one.clause == first],
        [one for one in found if one.clause == last],
        [one for one in found if one.asset],
    )


def _plain(text: str, reading: Reading) -> list[float]:
    net = sum(one.weight for one in reading.findings)
    good = math.tanh(sum(one.weight for one in reading.findings if one.weight > 0))
    bad = math.tanh(-sum(one.weight for one in reading.findings if one.weight < 0))
    assets = {asset for _, asset in reading.assets}
    glad, sad, sworn = tones(text)
    letters = max(sum(one.isalpha() for one in text[:2_000]), 1)
    return [
        good * bad,
        float(net > 0.25),
        float(net < -0.25),
        min(reading.asked, 2) / 2,
        float("?" in text),
        float(bool(assets)),
        float(bool(assets & {"USD", "EUR", "GBP", "TRY"})),
        float("BRENT" in assets),
        float("XAU" in assets or "XAG" in assets),
        float("BIST100" in assets),
        min(reading.numbers, 4) / 4,
        float("%" in text or "yüzde" in text),
        min(reading.clauses, 5) / 5,
        float(reading.negated > 0),
        float(reading.softened > 0),
        float(reading.strengthened > 0),
        min(len(text), 300) / 300,
        min(text.count("!"), 3) / 3,
        float(any(mark in text for mark in "\"“”'‘’")),
        float(":" in text),
        min(len(_FACE_GLAD.findall(text)), 3) / 3,
        min(len(_FACE_SAD.findall(text)), 3) / 3,
        float(_LONG.search(text) is not None),
        min(sum(one.isupper() for one in text[:2_000]) / letters, 1.0),
        min(text.count("@"), 3) / 3,
        float("http" in text or "pic.twitter" in text),
        math.tanh(glad - sad),
        math.tanh(glad),
        math.tanh(sad),
        min(sworn, 1.0),
    ]
