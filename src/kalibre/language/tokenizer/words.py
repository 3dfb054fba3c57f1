"""What a tokenizer learns from: weighted word counts, cut where no piece may cross.

A piece stays within letters, or within punctuation. The apostrophe before a Turkish suffix is the exception that makes
the rule worth having: it belongs to its suffix, so `THYAO'nun` is the name and `'nun`, whatever the name is.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kalibre.core.errors import UsageError

BORDER = "|||||"
"""Marks in a word where no piece crosses; SentencePiece takes it out again."""
_PARTS = re.compile(r"(?<=\w)['’](?=[^\W\d_])[^\W_]+|[^\W_]+|[\W_]+?(?=['’][^\W\d_]|[^\W_]|$)|[\W_]+")


@dataclass(frozen=True)
class Part:
    """A source of training text.

    Attributes
    ----------
    name
        What the report calls it.
    texts
        Documents; read once.
    weight
        How often each of its words counts.
    cap
        Words taken at most, whole texts chosen by hash (so neither order nor chance decides); 0 is no limit.
    """

    name: str
    texts: Iterable[str]
    weight: float = 1.0
    cap: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1_000:
            raise UsageError(f"weight {self.weight!r} of {self.name!r} is out of range: choose one above 0, up to 1000")
        if self.cap < 0:
            raise UsageError(f"cap {self.cap!r} of {self.name!r} is negative: choose a number of words, 0 for no limit")


@dataclass
class Mix:
    """Word counts of all parts together, and how many words each part gave (before its weight)."""

    counts: dict[str, int]
    words: dict[str, int] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Name of the mix: the same counts have the same, whatever files they came from."""
        told = hashlib.sha256()
        for word, count in self.counts.items():
            told.update(f"{word}\t{count}\n".encode("utf-8", "surrogatepass"))
        return told.hexdigest()


def mixed(parts: Iterable[Part]) -> Mix:
    """Count the words of all parts; a count below one after weighing is dropped.

    Examples
    --------
    >>> mixed([Part("a", ["kur arttı", "kur"]), Part("b", ["kur"], weight=0.25)]).counts
    {'kur': 2, 'arttı': 1}
    """
    total: dict[str, float] = {}
    words: dict[str, int] = {}
    for part in parts:
        counts = _counted(part)
        words[part.name] = words.get(part.name, 0) + sum(counts.values())
        for word, count in counts.items():
            total[word] = total.get(word, 0.0) + count * part.weight
    whole = {word: round(count) for word, count in total.items() if count >= 1}
    return Mix(dict(sorted(whole.items(), key=lambda item: (-item[1], item[0]))), words)


def _counted(part: Part) -> Counter[str]:
    counts: Counter[str] = Counter()
    texts = part.texts
    if part.cap:
        texts = sorted(texts, key=lambda text: hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
    taken = 0
    for text in texts:
        words = text.split()
        if part.cap and taken and taken + len(words) > part.cap:
            continue
        taken += len(words)
        counts.update(words)
    return counts


def bordered(word: str) -> str:
    """Return a word with `BORDER` wherever no piece may cross.

    Examples
    --------
    >>> bordered("(THYAO'nun).")
    "(|||||THYAO|||||'nun|||||)."
    >>> bordered("%4,5'lik")
    "%|||||4|||||,|||||5|||||'lik"
    """
    return BORDER.join(_PARTS.findall(word))


def lines(counts: Mapping[str, int]) -> Iterable[str]:
    """Write counts as SentencePiece reads them; what it could not read as one word is left out."""
    for word, count in counts.items():
        if BORDER not in word and _readable(word):
            yield f"{bordered(word)}\t{count}"


def _readable(word: str) -> bool:
    return "\u2581" not in word and "\x00" not in word and not any("\ud800" <= letter <= "\udfff" for letter in word)
