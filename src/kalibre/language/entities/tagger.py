"""Tags sentences that are cut into tokens: features, one field, calibrated probabilities. What the benchmarks train."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import ModelError
from kalibre.language.entities.context import elsewhere, hints
from kalibre.language.entities.crf import Crf
from kalibre.language.entities.crf_training import PLAIN, Recipe, fit
from kalibre.language.entities.lexicon import Lexicon
from kalibre.language.entities.tags import Mention, bioes, labels, mentions
from kalibre.language.entities.templates import features, starts
from kalibre.language.entities.words import Hashes, Words

Sentence = Sequence[str]
"""Tokens; a suffix stays with its word."""
_FOLDS = 4
_ENOUGH = 1_500  # mentions judged out of fold: two numbers are learnt from them
_JUDGED = 100  # names out of fold from which on a type of which next to none is found is a collapse
_FOUND = 0.02  # share of them that has to be found
LEANS = (0.0, 0.3, 0.6, 0.9, 1.2)
_BATCH = 512  # sentences whose features are made at once


@dataclass(frozen=True)
class Trust:
    """From the field's probability of a mention to how often such mentions are right: a logistic curve on log-odds."""

    slope: float = 1.0
    shift: float = 0.0

    def __call__(self, probability: float) -> float:
        """Return the calibrated probability."""
        return 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, self.slope * _log_odds(probability) + self.shift))))


@dataclass
class Tagger:
    """A trained field with what it reads words by.

    Attributes
    ----------
    crf, lexicon
        See there.
    trust
        Calibration of mentions.
    helper
        A tagger trained on other sentences, perhaps of other types, whose opinion is a feature.
    running
        Whether sentences given together are one running text, in which the same name is looked for elsewhere.
    lean
        Taken off the score of `O`: what the field misses more than it makes up, F1 wants told more often.
    """

    crf: Crf
    lexicon: Lexicon | None = None
    trust: Trust = Trust()
    helper: Tagger | None = None
    running: bool = False
    lean: float = 0.0
    _words: Words = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._words = Words(self.lexicon)

    def _rows(self, sentences: Sequence[Sentence]) -> Hashes:
        return _rows(self._words, sentences, self.helper, self.running)

    def scores(self, sentences: Sequence[Sentence]) -> NDArray[np.float64]:
        """Return the field's score of each tag at each token of all sentences, leant towards names."""
        return leant(self.crf.scores(self._rows(sentences)), self.lean)

    def tag(self, sentences: Sequence[Sentence]) -> list[list[Mention]]:
        """Return the mentions of each sentence in order, each with its calibrated probability."""
        found: list[list[Mention]] = []
        for begin in range(0, len(sentences), _BATCH):
            batch = [list(one) for one in sentences[begin : begin + _BATCH]]
            bounds = starts(batch)
            scores = self.scores(batch)
            for first, last in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
                read = self.crf.read(scores[first:last])
                found.append([one._replace(probability=self.trust(one.probability)) for one in read])
        return found


def _rows(words: Words, sentences: Sequence[Sentence], helper: Tagger | None, running: bool) -> Hashes:
    rows = [features(words, sentences)]
    if running:
        rows.append(elsewhere(sentences))
    if helper is not None:
        rows.append(hints(helper.crf, helper.scores(sentences), sentences))
    return rows[0] if len(rows) == 1 else np.concatenate(rows, axis=1)


def train(
    sentences: Sequence[Sentence],
    tags: Sequence[Sequence[str]],
    *,
    lexicon: Lexicon | None = None,
    recipe: Recipe = PLAIN,
    helper: Tagger | None = None,
    running: bool = False,
    calibrate: bool = True,
    lean: bool = False,
) -> Tagger:
    """Train a tagger; its probabilities are calibrated out of fold, on contiguous folds.

    Parameters
    ----------
    sentences, tags
        Tokens, and as many tags (IOB2 or BIOES) for each.
    lexicon
        From unlabelled text that holds no sentence the tagger is to be judged on.
    recipe
        Of the field.
    helper, running
        See `Tagger`. The helper must not have seen these sentences.
    calibrate
        False leaves the field's own probabilities, in less than half of the time.
    lean
        Whether to choose a lean on the same folds. They have to be like what is tagged later: where annotators differ
        from one stretch of the text to the next, what is best on one stretch harms on another.

    Raises
    ------
    ModelError
        If there are fewer sentences than folds, a sentence has not as many tags as tokens, or the field collapses: of a
        hundred names out of fold, or of a type, it finds next to none.
    """
    for tokens, marks in zip(sentences, tags, strict=True):
        if len(tokens) != len(marks):
            raise ModelError(f"a sentence of {len(tokens)} tokens that begins {list(tokens[:3])} has {len(marks)} tags")
    if len(sentences) < _FOLDS:
        raise ModelError(f"{len(sentences)} sentences: a tagger is trained on at least {_FOLDS}")
    true = [mentions(one) for one in tags]
    known = labels(one.type for found in true for one in found)
    rows = _rows(Words(lexicon), [list(one) for one in sentences], helper, running)
    bounds = starts(sentences)
    spelt = [tag for found, tokens in zip(true, sentences, strict=True) for tag in bioes(found, len(tokens))]

    def fitted(chosen: list[int]) -> Crf:
        picked = np.concatenate([np.arange(bounds[one], bounds[one + 1]) for one in chosen]).astype(np.int64)
        ends = np.concatenate([[0], np.cumsum([bounds[one + 1] - bounds[one] for one in chosen])]).astype(np.int64)
        return fit(rows[picked], ends, [spelt[place] for place in picked.tolist()], known, recipe)

    everything = list(range(len(sentences)))
    trust, chosen = Trust(), 0.0
    if calibrate:
        judged: list[tuple[Crf, NDArray[np.float64], list[Mention]]] = []
        for fold in np.array_split(np.arange(len(sentences)), _FOLDS):
            if sum(len(found) for *_, found in judged) >= _ENOUGH:
                break
            out = set(fold.tolist())
            crf = fitted([one for one in everything if one not in out])
            judged += [(crf, crf.scores(rows[bounds[one] : bounds[one + 1]]), true[one]) for one in fold.tolist()]
        chosen, told = _leaning(judged, LEANS if lean else LEANS[:1])
        _guard(judged, chosen)
        trust = calibrated(told)
    return Tagger(fitted(everything), lexicon, trust, helper, running, chosen)


def _guard(judged: Sequence[tuple[Crf, NDArray[np.float64], list[Mention]]], lean: float) -> None:
    """Stop a field that finds next to none of the names, or of a frequent type, in sentences out of fold."""
    wanted, hits = Counter[str](), Counter[str]()
    for crf, scores, found in judged:
        right = {mention[:3] for mention in found}
        wanted.update(mention.type for mention in found)
        hits.update(one.type for one in crf.read(leant(scores, lean)) if one[:3] in right)
    lost = [kind for kind, often in sorted(wanted.items()) if often >= _JUDGED and hits[kind] < _FOUND * often]
    if lost or (wanted.total() >= _JUDGED and hits.total() < _FOUND * wanted.total()):
        missed = f"of {wanted[lost[0]]} names of {lost[0]}" if lost else f"of {wanted.total()} names"
        raise ModelError(
            f"the field has collapsed: {missed} in sentences out of fold it finds next to none (found of each type: "
            f"{dict(sorted(hits.items()))}). Give more sentences, or see whether the tags fit the names"
        )


def leant(scores: NDArray[np.float64], lean: float) -> NDArray[np.float64]:
    """Return scores with `lean` taken off the first tag, `O`."""
    moved = scores.copy()
    moved[:, 0] -= lean
    return moved


def _leaning(
    judged: Sequence[tuple[Crf, NDArray[np.float64], list[Mention]]], leans: Sequence[float]
) -> tuple[float, list[tuple[float, bool]]]:
    """Choose the lean of the best F1 on sentences out of fold; return what was told by it and whether it was right."""
    best, chosen, kept = -1.0, 0.0, list[tuple[float, bool]]()
    n_true = sum(len(found) for *_, found in judged)
    for lean in leans:
        told = []
        for crf, scores, found in judged:
            right = {mention[:3] for mention in found}
            told += [(one.probability, one[:3] in right) for one in crf.read(leant(scores, lean))]
        f1 = 2 * sum(right for _, right in told) / max(1, n_true + len(told))
        if f1 > best:
            best, chosen, kept = f1, lean, told
    return chosen, kept


def calibrated(told: Sequence[tuple[float, bool]], *, steps: int = 50) -> Trust:
    """Fit the curve of `Trust` to probabilities and whether each mention was right (Newton, a weak prior on 1 and 0).

    Examples
    --------
    >>> trust = calibrated([(0.9, True)] * 60 + [(0.9, False)] * 40 + [(0.2, False)] * 20)
    >>> round(trust(0.9), 1)
    0.6
    """
    if not told:
        return Trust()
    x = np.array([_log_odds(probability) for probability, _ in told])
    y = np.array([right for _, right in told], dtype=np.float64)
    design = np.stack([x, np.ones(len(x))], axis=1)
    start = np.array([1.0, 0.0])
    curve = start.copy()
    for _ in range(steps):
        p = 1.0 / (1.0 + np.exp(-np.clip(design @ curve, -60, 60)))
        slope = design.T @ (p - y) + (curve - start)
        bend = (design * (p * (1 - p))[:, None]).T @ design + np.eye(2)
        move = np.linalg.solve(bend, slope)
        curve -= np.clip(move, -2, 2)
        if np.abs(move).max() < 1e-9:
            break
    return Trust(float(curve[0]), float(curve[1]))


def _log_odds(probability: float) -> float:
    kept = min(1 - 1e-7, max(1e-7, probability))
    return math.log(kept / (1 - kept))
