"""A question put to an index: find passages, read them, cite the one that answers, or say why there is no answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from kalibre.core.errors import UsageError
from kalibre.language.answering.bare import bare_end
from kalibre.language.answering.retrieval import Hit
from kalibre.language.answering.terms import plain
from kalibre.language.base import Answer, Reader

PASSAGES = 6
"""Passages that are read for one question."""

LONGEST = 600
"""Characters of a question, at most."""

BEHIND = 12.0
"""Logits that a span loses by a whole point of score that its passage stands behind the one found first: chosen on half
of the project's own questions, by document."""


class Finder(Protocol):
    """Finds passages: an index."""

    def search(self, question: str, limit: int = 10) -> list[Hit]:
        """Return the likeliest passages, the best first."""
        ...


class Answerer:
    """Answers questions from an index, and abstains when unsure.

    Parameters
    ----------
    index
        Where passages are found.
    reader
        Reads spans out of them.
    precision
        Share of the given answers that should be right: the reader's threshold for it was fitted in its training.
    threshold
        Probability below which it abstains, instead of the one for `precision`.
    bare
        Whether an answer is given without the case that its sentence gave it (`Adalet Bakanının`: `Adalet Bakanı`).

    Raises
    ------
    UsageError
        If the reader has no threshold for that precision, or the threshold is no probability.
    """

    def __init__(
        self,
        index: Finder,
        reader: Reader,
        *,
        precision: float = 0.8,
        threshold: float | None = None,
        bare: bool = True,
    ) -> None:
        self._index, self._reader, self._bare = index, reader, bare
        if threshold is None:
            fitted = getattr(reader, "thresholds", {})
            if f"{precision:.2f}" not in fitted:
                raise UsageError(
                    f"precision {precision!r} has no threshold in {reader.version}: choose one of "
                    f"{', '.join(sorted(fitted)) or 'none'}, or give threshold="
                )
            threshold = float(fitted[f"{precision:.2f}"])
        if not 0 <= threshold <= 1:
            raise UsageError(f"threshold {threshold!r} is no probability: give one from 0 to 1")
        self.threshold = threshold
        self.version = reader.version

    def answer(self, question: str) -> Answer:
        """Answer a question, with the passage and its source and date, or say why not; never raises for its text."""
        if len(question) > LONGEST:
            return self._none(f"the question has {len(question):,} characters: ask in at most {LONGEST}")
        if not plain(question):
            return self._none("the question holds no word")
        hits = self._index.search(question, PASSAGES)
        if not hits:
            return self._none("no passage of the index speaks of it")
        best = self.candidates(question, hits)
        if not best:
            return self._none("no passage that was found could be read")
        first = best[0]
        if first.probability is not None and first.probability < self.threshold:
            return Answer(
                text=None,
                probability=first.probability,
                passage=first.passage,
                start=first.start,
                end=first.end,
                abstained=f"unsure: the likeliest answer is right with {first.probability:.0%}, "
                f"{self.threshold:.0%} is needed",
                model=self.version,
            )
        return first

    def candidates(self, question: str, hits: Sequence[Hit], *, limit: int = 5) -> list[Answer]:
        """Return the likeliest answers out of found passages, unsure ones too, the best first."""
        spans = self._reader.read(question, [hit.passage.text for hit in hits], limit=len(hits) + limit)
        top = max(hit.score for hit in hits)
        found = []
        for span in spans:
            hit = hits[span.passage]
            end = bare_end(hit.passage.text, span.start, span.end) if self._bare else span.end
            found.append(
                Answer(
                    text=hit.passage.text[span.start : end],
                    probability=_behind(span.probability, BEHIND * (top - hit.score)),
                    passage=hit.passage,
                    start=span.start,
                    end=end,
                    model=self.version,
                )
            )
        found.sort(key=lambda one: -(one.probability or 0.0))
        return found[:limit]

    def _none(self, reason: str) -> Answer:
        return Answer(text=None, probability=None, abstained=reason, model=self.version)


def _behind(probability: float, logits: float) -> float:
    kept = min(max(probability, 1e-9), 1 - 1e-9)
    return 1 / (1 + (1 - kept) / kept * math.exp(logits))
