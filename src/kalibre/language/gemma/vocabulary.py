"""Pieces of Gemma's tokenizer, whole or pruned to those that a language uses: a word to piece numbers.

A word is merged as SentencePiece merges it: of all neighbours that together are a piece, the pair whose piece has the
best score, the leftmost of equals. What no piece covers is written in bytes, which are always kept; so every text has
pieces. Pruning keeps with a piece all that it is merged from: a word whose pieces are all kept is cut as it was before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from kalibre.core.errors import ModelError

BLANK = "\u2581"
LONGEST_WORD = 200
"""Characters that are merged at once."""

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_PARTS = re.compile(r"[^\W_]+|(?:[^\w\s]|_)+|\s+")


class Part(NamedTuple):
    """A run of letters and digits, or of other signs, in a text; `first` where a blank or the beginning is before."""

    start: int
    end: int
    first: bool


def parts(text: str) -> Iterator[Part]:
    """Yield what a text is read by: words, with what an apostrophe or another sign parts from them by itself.

    Examples
    --------
    >>> [text[a:b] for text in ["Örnek'in kârı %5."] for a, b, _ in parts(text)]
    ['Örnek', "'", 'in', 'kârı', '%', '5', '.']
    """
    first = True
    for found in _PARTS.finditer(text):
        if found.group()[0].isspace():
            first = True
            continue
        for start in range(found.start(), found.end(), LONGEST_WORD):
            yield Part(start, min(start + LONGEST_WORD, found.end()), first)
            first = False


class Vocabulary:
    """Pieces with their scores.

    Parameters
    ----------
    pieces
        What each piece is written as; None for signs that no text has. Bytes are `<0x00>` to `<0xFF>`.
    scores
        The higher, the earlier a piece is merged.
    begin
        Number of the sign at the beginning of a text.
    base
        Number of each piece in the vocabulary that this one was pruned from.

    Raises
    ------
    ModelError
        If a byte is missing.
    """

    def __init__(
        self,
        pieces: Sequence[str | None],
        scores: Sequence[float],
        *,
        begin: int,
        base: Sequence[int] | None = None,
    ) -> None:
        self.pieces, self.scores, self.begin = list(pieces), list(scores), begin
        self.base = list(range(len(self.pieces))) if base is None else list(base)
        self._numbers: dict[str, int] = {}
        found: dict[int, int] = {}
        for number, piece in enumerate(self.pieces):
            if piece is None:
                continue
            byte = _BYTE.fullmatch(piece)
            if byte is None:
                self._numbers.setdefault(piece, number)
            else:
                found[int(byte.group(1), 16)] = number
        if missing := sorted(set(range(256)) - set(found)):
            raise ModelError(f"the vocabulary lacks the byte {missing[0]}: not every text could be read, restore it")
        self._bytes = [found[byte] for byte in range(256)]
        self.numbers = lru_cache(maxsize=200_000)(self._merged)

    @property
    def size(self) -> int:
        """Number of pieces."""
        return len(self.pieces)

    def of(self, text: str, part: Part) -> tuple[int, ...]:
        """Return the piece numbers of a part of a text."""
        word = text[part.start : part.end].replace(BLANK, "\u2582")
        found: tuple[int, ...] = self.numbers((BLANK if part.first else "") + word)
        return found

    def pruned(self, kept: Iterable[int]) -> Vocabulary:
        """Return a vocabulary of some pieces, with the bytes, the beginning, and all that they are merged from."""
        chosen = {self.begin, *self._bytes}
        for number in kept:
            if number not in chosen:
                self._gather(number, chosen)
        order = sorted(chosen)
        return Vocabulary(
            [self.pieces[number] for number in order],
            [self.scores[number] for number in order],
            begin=order.index(self.begin),
            base=[self.base[number] for number in order],
        )

    def used(self, texts: Iterable[str]) -> set[int]:
        """Return the pieces of texts."""
        return {number for text in texts for part in parts(text) for number in self.of(text, part)}

    def _gather(self, number: int, chosen: set[int]) -> None:
        chosen.add(number)
        piece = self.pieces[number]
        if piece is not None:
            for merged in self._steps(list(piece)):
                chosen.update(self._numbers[one] for one in merged if one in self._numbers)

    def _merged(self, word: str) -> tuple[int, ...]:
        last = list(word)
        for step in self._steps(last):
            last = step
        found: list[int] = []
        for piece in last:
            number = self._numbers.get(piece)
            if number is None:
                found += [self._bytes[byte] for byte in piece.encode("utf-8", errors="replace")]
            else:
                found.append(number)
        return tuple(found)

    def _steps(self, pieces: list[str]) -> Iterator[list[str]]:
        """Yield the pieces of a word before, between and after the merges."""
        pieces = list(pieces)
        yield pieces
        while len(pieces) > 1:
            best, score = -1, -float("inf")
            for at, (left, right) in enumerate(pairwise(pieces)):
                number = self._numbers.get(left + right)
                if number is not None and self.scores[number] > score:
                    best, score = at, self.scores[number]
            if best < 0:
                return
            pieces = [*pieces[:best], pieces[best] + pieces[best + 1], *pieces[best + 2 :]]
            yield pieces
