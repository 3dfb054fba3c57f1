"""`builtin:encoder`: answers by the project's encoder (or one of a hub), which names both ends of a span or neither.

A passage is read in windows behind the question; the first sign of a window is where "no answer" stands. How much
likelier the best span is than that sign gives, through a fitted logistic, the probability that it is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from kalibre.core.errors import LanguageError, ModelError
from kalibre.language.answering.examples import Example as Asked
from kalibre.language.answering.scores import overlap
from kalibre.language.answering.training import RIGHT, wrong_passages
from kalibre.language.base import Span
from kalibre.language.bundle import LanguageBundle
from kalibre.language.encoder.decoding import Candidate, candidates, probability, trimmed
from kalibre.language.encoder.foundations import Foundation, Runner, bundled, foundation, runner, settings_of
from kalibre.language.encoder.heads import Example, Tuning, tune
from kalibre.language.encoder.networks import Codec, Encoded, Network, outputs
from kalibre.language.encoder.tasks import logistic, readable, threshold

LONGEST, STRIDE = 384, 96
LONGEST_QUESTION = 600
LARGEST = 1_000_000
"""Characters of a passage, at most."""

WINDOWS = 24
"""Windows that a question is read over, at most: those that share most words with it."""

TUNING = Tuning(epochs=5, patience=2)


def train(
    examples: Sequence[Asked],
    *,
    encoder: str | Foundation = "builtin:encoder",
    tuning: Tuning = TUNING,
    wrong: float = 0.3,
    share: float = 0.1,
    seed: int = 0,
    card: Mapping[str, Any] | None = None,
    told: Callable[[dict[str, Any]], None] = lambda point: None,
) -> LanguageBundle:
    """Fine-tune an encoder on questions with answers.

    A part of the groups (articles) is kept for early stopping (F1), calibration and thresholds; no other question is
    looked at.

    Parameters
    ----------
    examples
        Questions with their passage; `group` keeps what belongs together on one side.
    encoder, tuning, share, seed, card, told
        As `sentiment.encoder.train` takes them.
    wrong
        Share of the questions that are shown once more over the wrong passage that BM25 finds, to learn "no answer".

    Raises
    ------
    LanguageError
        If there are not two groups.
    ModelError
        If nothing is learnt.
    """
    read = (text for one in examples for text in (one.question, one.context))
    base = foundation("answering", encoder, read) if isinstance(encoder, str) else encoder
    codec, length = base.codec, min(base.length, LONGEST)
    learn, kept = _apart(examples, share, seed)
    others = wrong_passages(examples)
    drawn = np.random.default_rng(seed)
    rows = [row for at in learn for row in _rows(codec, length, examples[at], examples[at].context)]
    for at in learn:
        other = others[at]
        if other is not None and drawn.random() < wrong:
            nothing = Asked(id="", question=examples[at].question, context=other, answers=())
            rows += list(_rows(codec, length, nothing, other))[:1]
    judged = [examples[at] for at in kept if examples[at].answers]

    def metric(network: Network) -> float:
        return float(np.mean([value for value, _ in _scored(network, codec, length, judged)]))

    tuned = tune(
        lambda seed: base.network("pieces", ("start", "end"), seed, tuning.on()), rows, metric, tuning, told=told
    )
    scores = _scored(tuned.network, codec, length, judged)
    right = [value >= RIGHT for value, _ in scores]
    strength = [score for _, score in scores]
    astray = [
        Asked(id="", question=examples[at].question, context=other, answers=())
        for at in kept
        if (other := others[at]) is not None
    ]
    strength += [score for _, score in _scored(tuned.network, codec, length, astray)]
    right += [False] * len(astray)
    slope, offset = logistic(strength, right)
    sure = [probability(score, slope, offset) for score in strength]
    settings = {
        "length": length,
        "slope": slope,
        "offset": offset,
        "thresholds": {f"{target:.2f}": threshold(sure, right, target) for target in (0.5, 0.6, 0.7, 0.8, 0.9)},
    }
    figures = {
        "validation": {"questions": len(judged), "wrong_passages": len(astray), "f1": tuned.metric, "seed": tuned.seed},
        "learnt_from": len(learn),
        "rounds": tuned.rounds,
        "right": f"F1 of at least {RIGHT} with the answer",
    }
    shown = [row.ids for row in rows[:32]]
    return bundled("answering", base, tuned.network, "pieces", shown, settings, {**figures, **(card or {})})


def _apart(examples: Sequence[Asked], share: float, seed: int) -> tuple[list[int], list[int]]:
    groups = sorted({one.group for one in examples})
    if len(groups) < 2:
        raise LanguageError(f"the questions are of {len(groups)} group: name at least two articles or documents")
    order = np.random.default_rng(seed).permutation(len(groups))
    chosen = {groups[at] for at in order[: min(len(groups) - 1, max(1, round(share * len(groups))))].tolist()}
    kept = [at for at, one in enumerate(examples) if one.group in chosen]
    return [at for at, one in enumerate(examples) if one.group not in chosen], kept


def _rows(codec: Codec, length: int, asked: Asked, context: str) -> Iterator[Example]:
    """Yield a question's windows: those that hold the answer whole say where, the others that there is none."""
    for window in _windows(codec, length, asked.question, context):
        allowed = [at == 0 or (span is not None and span[1] > span[0]) for at, span in enumerate(window.spans)]
        yield Example(ids=window.ids, span=_ends(window, asked), allowed=allowed)


def _windows(codec: Codec, length: int, question: str, passage: str) -> list[Encoded]:
    asked = readable(question)[:LONGEST_QUESTION]
    return codec.windows(readable(passage, most=LARGEST), question=asked, length=length, stride=STRIDE)


def _ends(window: Encoded, asked: Asked) -> tuple[int, int]:
    if not asked.answers:
        return 0, 0
    text, start = asked.answers[0]
    end = start + len(text)
    inside = [
        at
        for at, span in enumerate(window.spans)
        if span is not None and span[1] > span[0] and span[1] > start and span[0] < end
    ]
    if not inside:
        return 0, 0
    opening, closing = window.spans[inside[0]], window.spans[inside[-1]]
    # An answer that the window cuts off is not in it.
    whole = opening is not None and closing is not None and opening[0] <= start and closing[1] >= end
    return (inside[0], inside[-1]) if whole else (0, 0)


def _scored(network: Network, codec: Codec, length: int, asked: Sequence[Asked]) -> list[tuple[float, float]]:
    """Return for each question the F1 of its best span (0 where it has no answer) and that span's score."""
    cut = [
        codec.windows(
            readable(one.context), question=readable(one.question)[:LONGEST_QUESTION], length=length, stride=STRIDE
        )
        for one in asked
    ]
    said = iter(outputs(network, [window.ids for windows in cut for window in windows]))
    found: list[tuple[float, float]] = []
    for one, windows in zip(asked, cut, strict=True):
        offered = [best for window in windows for best in candidates(window, next(said), most=1)]
        if not offered:
            found.append((0.0, -20.0))
            continue
        best = max(offered, key=lambda candidate: candidate.score)
        start, end = trimmed(one.context, best.start, best.end)
        found.append((overlap(one.context[start:end], [text for text, _ in one.answers]), best.score))
    return found


class EncoderReader:
    """Keeps the protocol `Reader`."""

    def __init__(
        self, version: str, found: Runner, length: int, curve: tuple[float, float], thresholds: Mapping[str, float]
    ) -> None:
        self.version = version
        self.thresholds = dict(thresholds)
        self._runner, self._length, self._curve = found, length, curve

    def read(self, question: str, passages: Sequence[str], *, limit: int = 5) -> list[Span]:
        """Return the likeliest spans, the best first: at most one a passage, before further ones of any passage.

        Raises
        ------
        LanguageError
            If a passage is larger than `LARGEST`.
        """
        asked = readable(question)[:LONGEST_QUESTION]
        if not asked.strip() or limit < 1:
            return []
        found: dict[tuple[int, int, int], Span] = {}
        for number, window in self._windows(asked, passages):
            for one in candidates(window, self._runner.run(window.ids), most=limit):
                span = self._span(number, one, passages[number])
                key = (number, span.start, span.end)
                if span.start < span.end and (key not in found or found[key].probability < span.probability):
                    found[key] = span
        ranked = sorted(found.values(), key=lambda span: -span.probability)
        best: dict[int, Span] = {}
        for span in ranked:
            best.setdefault(span.passage, span)
        first = list(best.values())
        return [*first, *(span for span in ranked if span not in first)][:limit]

    def _windows(self, asked: str, passages: Sequence[str]) -> list[tuple[int, Encoded]]:
        cut: list[tuple[int, Encoded]] = []
        for number, passage in enumerate(passages):
            if len(passage) > LARGEST:
                raise LanguageError(
                    f"passage {number} has {len(passage):,} characters, at most {LARGEST:,} are read: index it "
                    "(kalibre.language.answering.retrieval) and ask the index"
                )
            if passage.strip():
                windows = _windows(self._runner.codec, self._length, asked, passage)
                cut += [(number, window) for window in windows]
        if len(cut) <= WINDOWS:
            return cut
        wanted = set(self._runner.codec.windows(asked, length=self._length)[0].ids[1:-1])
        shared = [-len(wanted.intersection(window.ids[len(wanted) + 2 :])) for _, window in cut]
        return [cut[at] for at in sorted(np.argsort(shared, kind="stable")[:WINDOWS].tolist())]

    def _span(self, number: int, one: Candidate, passage: str) -> Span:
        start, end = trimmed(passage, one.start, one.end)
        sure = probability(one.score, *self._curve)
        return Span(passage=number, start=start, end=end, text=passage[start:end], probability=sure)


def from_bundle(bundle: LanguageBundle) -> EncoderReader:
    """Make the reader that a bundle holds.

    Raises
    ------
    ModelError
        If a file of it is missing or not what it should be, or a package that it runs on is not installed.
    """
    settings = settings_of(bundle)
    try:
        curve = (float(settings["slope"]), float(settings["offset"]))
        thresholds = {str(key): float(value) for key, value in settings["thresholds"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{bundle.version} cannot be read as a reader ({error}): restore it or train anew") from error
    return EncoderReader(bundle.version, runner(bundle, threads=2), settings["length"], curve, thresholds)
