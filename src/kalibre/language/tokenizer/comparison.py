"""How many tokens tokenizers need for the same texts, and whether they give the texts back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import UsageError

_RESAMPLES = 1_000


class Cutter(Protocol):
    """What can be compared; `Tokenizer` is one."""

    size: int

    def encode(self, text: str) -> list[int]:
        """Return the numbers of a text's tokens, without any that mark its beginning or end."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text."""
        ...

    def unknown(self, ids: Iterable[int]) -> int:
        """Count the tokens that stand for text nobody can get back."""
        ...


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """What a tokenizer made of the texts.

    A word is what stands between blanks. `tokens_per_word_95` resamples whole texts; `round_trip` is the share of texts
    that came back byte for byte.
    """

    name: str
    vocabulary: int
    tokens_per_word: float
    tokens_per_word_95: tuple[float, float]
    bytes_per_token: float
    unknown: int
    round_trip: float


def compare(
    texts: Sequence[str],
    tokenizers: Iterable[tuple[str, Cutter]],
    *,
    seed: int = 0,
    report: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> list[Compared]:
    """Let tokenizers cut the same texts.

    Parameters
    ----------
    texts
        Texts with at least one word between them.
    tokenizers
        Names with tokenizers; an iterator may load each when its turn comes.
    seed
        Of the resampling.
    report
        Told of the progress.

    Returns
    -------
    One row each, the fewest tokens a word first.

    Raises
    ------
    UsageError
        If there is no word in the texts.
    """
    words = np.array([len(text.split()) for text in texts], dtype=np.float64)
    if not words.sum():
        raise UsageError("the texts to compare tokenizers on hold no word: name files with text")
    n_bytes = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    rows = []
    for done, (name, cutter) in enumerate(tokenizers):
        report(f"compare {name}", done, 0)
        tokens = np.zeros(len(texts))
        unknown = same = 0
        for place, text in enumerate(texts):
            ids = cutter.encode(text)
            tokens[place] = len(ids)
            unknown += cutter.unknown(ids)
            same += cutter.decode(ids) == text
        low, high = _interval(tokens, words, seed)
        row = Compared(
            name=name,
            vocabulary=cutter.size,
            tokens_per_word=float(tokens.sum() / words.sum()),
            tokens_per_word_95=(low, high),
            bytes_per_token=float(n_bytes / max(1.0, tokens.sum())),
            unknown=unknown,
            round_trip=same / len(texts),
        )
        rows.append(row)
    return sorted(rows, key=lambda row: (row.tokens_per_word, row.name))


def _interval(tokens: NDArray[np.float64], words: NDArray[np.float64], seed: int) -> tuple[float, float]:
    """Return the 95 % interval of tokens a word, resampling texts: one draw at a time, for texts may be millions."""
    chance = np.random.default_rng(seed)
    rates = []
    for _ in range(_RESAMPLES):
        drawn = chance.integers(0, len(words), len(words))
        if of_draw := words[drawn].sum():
            rates.append(tokens[drawn].sum() / of_draw)
    low, high = np.quantile(rates, (0.025, 0.975))
    return float(low), float(high)


def as_table(rows: Iterable[Compared]) -> list[dict[str, Any]]:
    """Return rows as plain JSON."""
    return [dict(msgspec.to_builtins(row)) for row in rows]
