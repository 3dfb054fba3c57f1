"""How the reader is trained: each stage on what the stage before says of questions it has not seen (by group).

Sentences, words, places, spans, doubt: five stages of small models. `rows` holds every training question over its own
passage and, for doubt alone, over its rivals, or where it has none over the passage that BM25 would wrongly give it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import ModelError
from kalibre.language.answering import fitting, reading
from kalibre.language.answering.examples import Example, answer_units
from kalibre.language.answering.passages import document_key
from kalibre.language.answering.reading import HEADS
from kalibre.language.answering.retrieval import Index
from kalibre.language.answering.scores import exact, normalised, overlap
from kalibre.language.answering.words import units
from kalibre.language.base import Passage

Floats = NDArray[np.float32]
T = TypeVar("T")
RIGHT = 0.5
"""An answer counts as right from this F1 on."""


@dataclass(frozen=True, eq=False)
class Trained:
    """The models of every stage, and what their training showed of questions held out of it.

    Attributes
    ----------
    probability, right, own
        Of every training question over its own and over a wrong passage: the cross-fitted probability that the answer
        is right, whether it was, and whether the passage was its own.
    held_out
        Cross-fitted `f1` and `exact` over the questions' own passages.
    """

    rarity: reading.Rarity
    sentences: Any
    lexical: Floats
    places: tuple[Any, Any, Any]
    worth: Any
    hits: Any
    doubt: Any
    slope: tuple[float, float]
    probability: NDArray[np.float64]
    right: NDArray[np.bool_]
    own: NDArray[np.bool_]
    held_out: dict[str, float]


@dataclass(frozen=True, eq=False)
class _Rows:
    """Questions over passages: `fold` says which models must not have seen them, `gold` where the answer is."""

    sightings: list[reading.Sighting]
    fold: NDArray[np.int64]
    own: NDArray[np.bool_]
    gold: list[tuple[int, int]]
    answers: list[list[str]]


def train_stages(
    examples: Sequence[Example], *, folds: int = 3, rounds: int = 200, say: Callable[[str], None] = lambda _: None
) -> Trained:
    """Train every stage.

    Parameters
    ----------
    examples
        With an answer each, of at least two groups; those without one are left out.
    folds
        Parts that the groups are divided into: no stage learns from what an earlier one says of its own training.
    rounds
        Trees of each model of places and spans.
    say
        Is told what is under way.

    Raises
    ------
    ModelError
        If there are too few questions or groups.
    """
    known = [one for one in examples if one.answers]
    groups = {one.group for one in known}
    if len(known) < 50 or len(groups) < 2 * folds:
        raise ModelError(
            f"{len(known)} answered questions of {len(groups)} groups are too few: give at least 50 of {2 * folds}"
        )
    rarity = reading.learn_rarity([units(text) for text in sorted({one.context for one in known})])
    rows = _rows(known, rarity, folds)
    say(f"{len(rows.sightings):,} questions over passages")
    own = np.flatnonzero(rows.own)
    n = len(rows.sightings)

    def crossed(fit: Callable[[list[int]], T], speak: Callable[[T, list[int]], list[Floats]]) -> tuple[T, list[Floats]]:
        """Fit on everything; and for every row, let a model speak that was fitted without its fold."""
        said: list[Floats] = [np.zeros(0, np.float32)] * n
        for fold in range(folds):
            model = fit([at for at in own.tolist() if rows.fold[at] != fold])
            asked = np.flatnonzero(rows.fold == fold).tolist()
            for at, one in zip(asked, speak(model, asked), strict=True):
                said[at] = one
        return fit(own.tolist()), said

    sentences, scores = crossed(
        lambda among: fitting.fit_sentences(rows.sightings, rows.gold, among),
        lambda model, asked: fitting.said(model, [rows.sightings[at].sentences for at in asked]),
    )
    close = [reading.choose(one, score) for one, score in zip(rows.sightings, scores, strict=True)]
    targets = [_targets(close[at], rows.gold[at]) for at in range(n)]
    say("sentences")
    lexical, words = crossed(
        lambda among: fitting.fit_words(close, targets, among),
        lambda model, asked: [reading.lexical_scores(rows.sightings[at], close[at], model) for at in asked],
    )
    say("words")
    tables = [reading.place_table(rows.sightings[at], close[at], words[at]) for at in range(n)]
    kept = fitting.kept(targets)
    heads: list[Any] = []
    logits = [np.zeros((len(one), 3), np.float32) for one in tables]
    for head in range(len(HEADS)):
        model, said = crossed(
            partial(fitting.fit_places, tables, targets, kept, head, rounds),
            lambda model, asked: fitting.said(model, [tables[at] for at in asked], raw_score=True),
        )
        heads.append(model)
        for at in range(n):
            logits[at][:, head] = said[at]
        say(f"places: {HEADS[head]}")
    offers = [reading.offer(rows.sightings[at], close[at], words[at], logits[at]) for at in range(n)]
    f1, em = _rewards(rows, offers)
    worth, worths = crossed(
        lambda among: fitting.fit_spans("regression", offers, f1, among, rounds),
        lambda model, asked: fitting.said(model, [offers[at].rows for at in asked]),
    )
    hits, hit = crossed(
        lambda among: fitting.fit_spans("binary", offers, em, among, rounds),
        lambda model, asked: fitting.said(model, [offers[at].rows for at in asked]),
    )
    say("spans")
    best = [int(np.argmax(reading.blend(a, b))) for a, b in zip(worths, hit, strict=True)]
    right = np.array([rows.own[at] and f1[at][best[at]] >= RIGHT for at in range(n)])
    doubts = np.stack(
        [reading.doubt_features(rows.sightings[at], close[at], offers[at], worths[at], hit[at]) for at in range(n)]
    )
    doubt, probability, slope = fitting.fit_doubt(doubts, right, rows.fold, folds)
    held_out = {
        "f1": float(np.mean([f1[at][best[at]] for at in own])),
        "exact": float(np.mean([em[at][best[at]] for at in own])),
    }
    say(f"held out: {held_out}")
    return Trained(
        rarity, sentences, lexical, (heads[0], heads[1], heads[2]), worth, hits, doubt, slope, probability, right,
        rows.own, held_out,
    )  # fmt: skip


# --- rows -------------------------------------------------------------------------------------------------------------


def fold_of(group: str, folds: int) -> int:
    """Return the fold of a group, the same in whatever company it comes."""
    return zlib.crc32(f"fold {group}".encode("utf-8", "surrogatepass")) % folds


def wrong_passages(examples: Sequence[Example], pool: Sequence[Example] = ()) -> list[str | None]:
    """Return for each question the best passage of another group that does not hold its answer, as BM25 finds it.

    Looked for among the examples' own passages and those of `pool`; None where there is none.
    """
    by_id: dict[str, Example] = {}
    for one in (*examples, *pool):
        by_id.setdefault(f"{document_key(one.context)}:0", one)
    index = Index.build(Passage(id=key, document=key, title=one.group, text=one.context) for key, one in by_id.items())

    def wrong(one: Example) -> str | None:
        answers = [found for text, _ in one.answers if (found := normalised(text))]
        for hit in index.search(one.question, 40, look=False):
            said = normalised(hit.passage.text)
            if by_id[hit.passage.id].group != one.group and not any(answer in said for answer in answers):
                return hit.passage.text
        return None

    return [wrong(one) for one in examples]


def _rows(examples: Sequence[Example], rarity: reading.Rarity, folds: int) -> _Rows:
    sightings: list[reading.Sighting] = []
    fold: list[int] = []
    own: list[bool] = []
    gold: list[tuple[int, int]] = []
    answers: list[list[str]] = []
    alone = [one for one in examples if not one.rivals]
    wrong = zip(alone, wrong_passages(alone), strict=True)
    given = [(one, one.context, True) for one in examples]
    given += [(one, other, False) for one in examples for other in one.rivals]
    given += [(one, other, False) for one, other in wrong if other is not None]
    for one, passage, is_own in given:
        seen = reading.sight(one.question, passage, rarity)
        if seen is None:
            continue
        sightings.append(seen)
        fold.append(fold_of(one.group, folds))
        own.append(is_own)
        text, start = one.answers[0]
        gold.append(answer_units(seen.found.laid.passage, text, start) if is_own else (-1, -1))
        answers.append([text for text, _ in one.answers])
    return _Rows(sightings, np.array(fold), np.array(own), gold, answers)


def _targets(close: reading.Close, gold: tuple[int, int]) -> Floats:
    first, last = gold
    at = close.chosen
    return np.column_stack([at == first, at == last, (at >= first) & (at <= last) & (first >= 0)]).astype(np.float32)


def _rewards(rows: _Rows, offers: Sequence[reading.Offer]) -> tuple[list[Floats], list[Floats]]:
    f1, em = [], []
    for sighting, offered, answers in zip(rows.sightings, offers, rows.answers, strict=True):
        cut = sighting.found.laid.passage
        texts = [cut.text[cut.starts[a] : cut.ends[b]] for a, b in offered.spans.tolist()]
        f1.append(np.array([overlap(text, answers) for text in texts], np.float32))
        em.append(np.array([exact(text, answers) for text in texts], np.float32))
    return f1, em
