"""Keeps test texts out of what is trained on: exact, nearly so, inside longer texts, and longer texts they stand in.

Two ways: `exclude` drops whole lines (plenty of text, nothing to lose), `without` first tries to lose only the
sentences that are somebody's test (little text). Both end with the same check, and `verify` makes it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from kalibre.core.errors import VerificationError
from kalibre.language.near import contained, overlap

LONG_ENOUGH = 40
"""Characters of a text that is looked for inside test texts: shorter ones are anybody's words."""
_CHUNK = 100_000
_SENTENCE = 0.5
"""Share of a test's stretches from which on a sentence is its: lower than for texts, for a test may have several."""


@dataclass(frozen=True)
class Excluded:
    """Documents without what stands in a test text, which they were, and how many lines that cost (of how many)."""

    documents: list[str]
    owners: list[int]
    lines_dropped: int
    lines: int


@dataclass(frozen=True)
class Standing:
    """Which texts hold a test text, are nearly one, or stand inside one; by their place."""

    holding: frozenset[int]
    alike: frozenset[int]
    inside: frozenset[int]

    @property
    def places(self) -> frozenset[int]:
        """All of them."""
        return self.holding | self.alike | self.inside

    def as_dict(self) -> dict[str, int]:
        """Return how many there are of each kind."""
        return {
            "exact or near": len(self.alike),
            "holding a test text": len(self.holding),
            "inside a test text": len(self.inside),
        }


def standing(
    texts: Sequence[str],
    tests: Sequence[str],
    whole: Sequence[str] | None = None,
    *,
    threshold: float = 0.7,
    near: float = 0.7,
) -> Standing:
    """Find the texts that have anything in common with test texts.

    Parameters
    ----------
    texts
        What is trained on, best a line each.
    tests
        Every text that any task is scored on, as short as it is scored.
    whole
        Test texts in their full length, for texts that stand inside them; `tests` unless said.
    threshold
        Share of a text's stretches from which on it counts as standing in another.
    near
        Similarity from which on two texts are nearly the same.

    Examples
    --------
    >>> standing(["Dün şirket bedelsiz sermaye artırdı.", "Hava açık."], ["Şirket bedelsiz sermaye artırdı"]).places
    frozenset({0})
    """
    holding = {found.document_index for found in contained(tests, texts, threshold)}
    alike: set[int] = set()
    inside: set[int] = set()
    for begin in range(0, len(texts), _CHUNK):
        chunk = texts[begin : begin + _CHUNK]
        alike |= {begin + found.train_index for found in overlap(chunk, tests, near)}
        long = [at for at, text in enumerate(chunk) if len(text) >= LONG_ENOUGH]
        longer = tests if whole is None else whole
        inside |= {begin + long[one.test_index] for one in contained([chunk[at] for at in long], longer, threshold)}
    return Standing(frozenset(holding), frozenset(alike), frozenset(inside))


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
    dropped = standing(lines, tests, threshold=threshold).places
    kept: dict[int, list[str]] = {}
    for at, (line, owner) in enumerate(zip(lines, owners, strict=True)):
        if at not in dropped:
            kept.setdefault(owner, []).append(line)
    owners_left, left = list(kept), ["\n".join(group) for group in kept.values()]
    # A test text that runs over the end of a line is in no line, and short lines may be one together: such a document
    # goes as a whole.
    spoilt = standing(left, tests, threshold=threshold).places
    lost = sum(left[at].count("\n") + 1 for at in spoilt)
    clean = [at for at in range(len(left)) if at not in spoilt]
    return Excluded([left[at] for at in clean], [owners_left[at] for at in clean], len(dropped) + lost, len(lines))


def without(
    texts: Sequence[str],
    tests: Sequence[str],
    whole: Sequence[str],
    sentences: Callable[[str], Sequence[str]],
    *,
    threshold: float = 0.7,
    near: float = 0.7,
) -> list[str]:
    """Return texts without what stands among the tests, in their place; what is nothing else becomes empty.

    A text that holds one of `tests` loses those of its sentences; one that still holds one, is nearly one, or stands
    inside a text of `whole` goes altogether.

    Parameters
    ----------
    texts, tests, whole, threshold, near
        As of `standing`.
    sentences
        How a text is cut; the sentences that stay are joined by a blank.

    Examples
    --------
    >>> text = "Hava bugün açık ve güneşli. Şirket bedelsiz sermaye artırdı. Yarın yağmur bekleniyor."
    >>> tests = ["Şirket bedelsiz sermaye artırdı!"]
    >>> without([text, "Kur arttı."], tests, tests, lambda text: text.split(". "))
    ['Hava bugün açık ve güneşli Yarın yağmur bekleniyor.', 'Kur arttı.']
    """
    kept = list(texts)
    hit = sorted({found.document_index for found in contained(tests, texts, threshold)})
    cut = [(place, sentence) for place in hit for sentence in sentences(texts[place])]
    bad = {found.document_index for found in contained(tests, [sentence for _, sentence in cut], _SENTENCE)}
    left: dict[int, list[str]] = {place: [] for place in hit}
    for number, (place, sentence) in enumerate(cut):
        if number not in bad:
            left[place].append(sentence)
    for place in hit:
        kept[place] = " ".join(left[place])
    places = [place for place, text in enumerate(kept) if text]
    for at in standing([kept[place] for place in places], tests, whole, threshold=threshold, near=near).places:
        kept[places[at]] = ""
    return kept


def verify(documents: Sequence[str], tests: Sequence[str], *, threshold: float = 0.7) -> None:
    """Check that no test text stands in the documents, and no document in a test text.

    Raises
    ------
    VerificationError
        If one does; the message quotes the first document.
    """
    found = standing(documents, tests, threshold=threshold)
    if found.places:
        quoted = documents[min(found.places)]
        raise VerificationError(
            f"{len(found.places)} training texts have test texts in common ({found.as_dict()}), the first is "
            f"{quoted[:60]!r}: leave them out with kalibre.language.exclusion.exclude"
        )
