"""Keeps test texts out of what an encoder, or a tokenizer, is trained on: exact, nearly so, and inside longer texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kalibre.core.errors import VerificationError
from kalibre.language.near import contained, overlap

LONG_ENOUGH = 40
"""Characters of a line that is looked for inside test texts: shorter ones are anybody's words."""
_CHUNK = 100_000


@dataclass(frozen=True)
class Excluded:
    """Documents without what stands in a test text, which they were, and how many lines that cost (of how many)."""

    documents: list[str]
    owners: list[int]
    lines_dropped: int
    lines: int


def exclude(documents: Iterable[str], tests: Sequence[str], *, threshold: float = 0.7) -> Excluded:
    r"""Drop every line that holds a test text, is nearly one, or stands in one.

    Parameters
    ----------
    documents
        Texts of lines (paragraphs).
    tests
        Every text that any task is scored on: sentences, headlines, questions, passages.
    threshold
        Share of a text's stretches from which on it counts as standing in another.

    Returns
    -------
    The documents in order; those of which nothing is left are gone.

    Examples
    --------
    >>> documents = ["Bugün hava açık.\nŞirket bedelsiz sermaye artırdı bugün."]
    >>> kept = exclude(documents, ["Şirket bedelsiz sermaye artırdı!"])
    >>> kept.documents, kept.lines_dropped
    (['Bugün hava açık.'], 1)
    """
    lines: list[str] = []
    owners: list[int] = []
    for number, document in enumerate(documents):
        for line in document.split("\n"):
            if line.strip():
                lines.append(line)
                owners.append(number)
    dropped = _standing_in_tests(lines, tests, threshold)
    kept: dict[int, list[str]] = {}
    for at, (line, owner) in enumerate(zip(lines, owners, strict=True)):
        if at not in dropped:
            kept.setdefault(owner, []).append(line)
    owners_left, left = list(kept), ["\n".join(group) for group in kept.values()]
    # A test text that runs over the end of a line is in no line: such a document goes as a whole.
    spoilt = {found.document_index for found in contained(tests, left, threshold)}
    lost = sum(left[at].count("\n") + 1 for at in spoilt)
    clean = [at for at in range(len(left)) if at not in spoilt]
    return Excluded([left[at] for at in clean], [owners_left[at] for at in clean], len(dropped) + lost, len(lines))


def _standing_in_tests(lines: Sequence[str], tests: Sequence[str], threshold: float) -> set[int]:
    dropped = {found.document_index for found in contained(tests, lines, threshold)}
    for begin in range(0, len(lines), _CHUNK):
        chunk = lines[begin : begin + _CHUNK]
        dropped |= {begin + found.train_index for found in overlap(chunk, tests, threshold)}
        long = [at for at, line in enumerate(chunk) if len(line) >= LONG_ENOUGH]
        dropped |= {begin + long[found.test_index] for found in contained([chunk[at] for at in long], tests, threshold)}
    return dropped


def verify(documents: Sequence[str], tests: Sequence[str], *, threshold: float = 0.7) -> None:
    """Check that no test text stands in the documents.

    Raises
    ------
    VerificationError
        If one does; the message quotes the first.
    """
    inside = contained(tests, documents, threshold)
    alike = overlap(documents, tests, threshold)
    if inside or alike:
        quoted = tests[inside[0].test_index if inside else alike[0].test_index]
        raise VerificationError(
            f"{len(inside) + len(alike)} test texts stand in the training text, the first is {quoted[:60]!r}: "
            "leave them out with kalibre.language.encoder.exclusion.exclude"
        )
