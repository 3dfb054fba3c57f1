"""Why, in words: columns by the names that people use, in English and Turkish, and what their values are like."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, NamedTuple, Protocol

from kalibre.core.errors import FeatureError
from kalibre.features.engine import describe, find_column
from kalibre.learners._explain_names import FAMILIES, NAMES, THIRDS, Name

Language = Literal["en", "tr"]

BIAS, REST = "bias", "rest"
"""What stands beside the columns in a note: the mean score, and what the other columns add."""


_STATES = {
    "low": "düşük",
    "high": "yüksek",
    "in the middle": "ortada",
    "positive": "pozitif",
    "negative": "negatif",
    "zero": "sıfır",
    "open": "açık",
    "closed": "kapalı",
}
_SAYS = {
    "en": ("raises the probability", "lowers the probability", "no column speaks for either side"),
    "tr": ("olasılığı artırıyor", "olasılığı azaltıyor", "hiçbir gösterge bir yönü desteklemiyor"),
}


class Told(Protocol):
    """A note, or the annotation that the log keeps of it."""

    @property
    def label(self) -> str:
        """The strongest reason, as `sentence` says it in English."""
        ...

    @property
    def values(self) -> dict[str, float]:
        """What the strongest columns add, `bias` and `rest`."""
        ...


class Reading(NamedTuple):
    """How a model was told a column: the third below and above which its splits lie, and whether it was scaled."""

    usual: tuple[float, float] | None = None
    scaled: bool = False


AS_IT_IS = Reading()


@cache
def column_name(column: str, lang: Language = "en") -> str:
    """Return what people call a column.

    Examples
    --------
    >>> column_name("rsi_14"), column_name("realised_volatility_20@1h", "tr")
    ('RSI(14)', 'oynaklık(20), 1h')
    """
    base, _, at = column.partition("@")
    name, parameters = _kind(base)
    told = name.tr if lang == "tr" else name.en
    return told + (f"({', '.join(map(str, parameters))})" if parameters else "") + (f", {at}" if at else "")


@cache
def _kind(base: str) -> tuple[Name, tuple[int, ...]]:
    try:
        column, chosen = find_column(base)
    except FeatureError:  # of a model that is older or newer than this version
        return Name(base, base), ()
    known = NAMES.get(re.sub(r"_\{\w+\}", "", column.pattern))
    if known is None:
        told = describe(base)
        what = re.split(r"[.:(,]", told["doc"])[0].strip()
        family = FAMILIES.get(told["family"], (told["family"],) * 2)[1]
        known = Name(what[:1].lower() + what[1:], f"{family}: {base}")
    return known, tuple(chosen.values())


def state_of(column: str, value: float, reading: Reading = AS_IT_IS) -> str:
    """Return what a value is like, in English; empty where there is nothing to say.

    Examples
    --------
    >>> state_of("rsi_14", 23.4), state_of("log_return_3", -0.01), state_of("hour_sin", 0.5)
    ('low', 'negative', '')
    """
    name, _ = _kind(column.partition("@")[0])
    if name.reading == "plain":
        return ""
    if name.reading == "switch":
        return "open" if value > 0.5 else "closed"
    if name.reading == "sign" and not _rescaled(column, reading):
        return "zero" if value == 0.0 else "positive" if value > 0.0 else "negative"
    limits = THIRDS if _rescaled(column, reading) else name.limits or reading.usual
    if limits is None:
        return ""
    return "low" if value <= limits[0] else "high" if value > limits[1] else "in the middle"


def _rescaled(column: str, reading: Reading) -> bool:
    """Whether a value is its place among the latest ones. A column with bounds is scaled by those: that is undone."""
    return reading.scaled and _bounds(column) is None


@cache
def _bounds(column: str) -> Any:
    try:
        return describe(column.partition("@")[0])["bounds"]
    except FeatureError:
        return None


def sentence(column: str, value: float | None, added: float, lang: Language = "en", reading: Reading = AS_IT_IS) -> str:
    """Say what a column does to the probability.

    Parameters
    ----------
    column, value
        The column, and its value in the model's row; None where that is not known.
    added
        What it adds to the log-odds.

    Examples
    --------
    >>> sentence("rsi_14", 23.4, 0.1)
    'RSI(14) is low (23.4): raises the probability'
    >>> sentence("rsi_14", 23.4, 0.1, "tr")
    'RSI(14) düşük (23,4): olasılığı artırıyor'
    """
    if value is None:
        return _say(column, "", "", added, lang)
    bounds = _bounds(column)
    if reading.scaled and bounds is not None:
        value, reading = bounds[0] + value * (bounds[1] - bounds[0]), reading._replace(scaled=False)
    return _say(column, state_of(column, value, reading), _figure(value), added, lang)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000.0 else f"{value:.3g}"


def _say(column: str, state: str, figure: str, added: float, lang: Language) -> str:
    name, does = column_name(column, lang), _SAYS[lang][0 if added > 0.0 else 1]
    if lang == "tr":
        state, figure = _STATES.get(state, state), figure.translate(str.maketrans(".,", ",."))
        return name + (f" {state}" if state else "") + (f" ({figure})" if figure else "") + f": {does}"
    return name + (f" is {state}" if state else "") + (f" ({figure})" if figure else "") + f": {does}"


def silent(lang: Language = "en") -> str:
    """Say that no column speaks for either side."""
    return _SAYS[lang][2]


def strongest(values: Mapping[str, float]) -> list[tuple[str, float]]:
    """Return the columns of a note that add anything, the strongest first."""
    columns = [(name, added) for name, added in values.items() if name not in (BIAS, REST) and added != 0.0]
    return sorted(columns, key=lambda one: (-abs(one[1]), one[0]))


def words(note: Told, lang: Language = "en") -> list[str]:
    """Say why, a sentence for each column of a note, the strongest first.

    The note's label tells the value of the strongest one, so its sentence does in either language; the others' values
    are not in a note. With the row at hand, `kalibre.learners.explain.reasons` tells them all.

    Examples
    --------
    >>> from kalibre.core.learning import Note
    >>> told = Note("RSI(14) is low (23.4): raises the probability", {"rsi_14": 0.1, "natr_14": -0.02, "bias": 0.3})
    >>> words(told, "tr")
    ['RSI(14) düşük (23,4): olasılığı artırıyor', 'ortalama gerçek aralık(14): olasılığı azaltıyor']
    """
    found = strongest(note.values)
    if not found:
        return [silent(lang)]
    column, added = found[0]
    state = figure = ""
    label = re.fullmatch(
        re.escape(column_name(column)) + r"(?: is (?P<state>[a-z ]+))?(?: \((?P<figure>[^()]+)\))?: .*", note.label
    )
    if label is not None:
        state, figure = label["state"] or "", label["figure"] or ""
    return [
        _say(column, state, figure, added, lang),
        *(_say(column, "", "", added, lang) for column, added in found[1:]),
    ]
