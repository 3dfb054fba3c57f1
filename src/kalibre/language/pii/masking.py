"""Personal data masked: each piece becomes its kind in angle brackets, `<TCKN>`, and cannot be found again."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

from kalibre.language.pii.detection import KINDS, Kind, Pii, find

_PASSES = 6
"""How often what masking uncovers is looked for; a text made to uncover more loses its digits and at-signs."""
_LAST = re.compile(r"[0-9]+|@|[\[(]\s?[ae]t\s?[\])]", re.IGNORECASE)


@dataclass(frozen=True)
class Masked:
    """A masked text, and what was masked where in the text as it was given (which nobody should store)."""

    text: str
    found: tuple[Pii, ...]


def mask(text: str, kinds: tuple[Kind, ...] = KINDS) -> Masked:
    """Return the text with its personal data masked by kind: `<TCKN>`, `<PHONE>`.

    What masking itself uncovers (a handle glued to an address) is masked as well: nothing of the kinds is found in the
    result.

    Examples
    --------
    >>> mask("Ara: 0532 123 45 67 ya da yaz: ali@ornek.com").text
    'Ara: <PHONE> ya da yaz: <EMAIL>'
    """
    found: list[Pii] = []
    pieces = _Pieces(text)
    for _ in range(_PASSES):
        new = find(pieces.text, kinds)
        if not new:
            return Masked(pieces.text, tuple(sorted(found, key=lambda one: one.start)))
        places = [pieces.origin(one.start, one.end) for one in new]
        found += [
            Pii(start=start, end=end, text=text[start:end], kind=one.kind, score=one.score)
            for one, (start, end) in zip(new, places, strict=True)
        ]
        pieces.replace(new)
    return Masked(_LAST.sub("#", pieces.text), tuple(sorted(found, key=lambda one: one.start)))


class _Pieces:
    """A text in which pieces were replaced, and where what is left of it stood."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._edits: list[tuple[list[int], list[int]]] = []

    def replace(self, found: list[Pii]) -> None:
        parts: list[str] = []
        ends, shifts = [0], [0]
        at = 0
        for one in found:
            sign = f"<{one.kind}>"
            parts += (self.text[at : one.start], sign)
            shifts.append(shifts[-1] + len(sign) - (one.end - one.start))
            ends.append(one.end + shifts[-1])
            at = one.end
        parts.append(self.text[at:])
        self.text = "".join(parts)
        self._edits.append((ends, shifts))

    def origin(self, start: int, end: int) -> tuple[int, int]:
        for ends, shifts in reversed(self._edits):
            start -= shifts[bisect_right(ends, start) - 1]
            end -= shifts[bisect_right(ends, end) - 1]
        return start, end
