"""How well a reader answers a file of questions in SQuAD's shape (v1.1, or v2 with `is_impossible`), with intervals.

Intervals are 95 % percentile bootstraps over groups (articles): questions of one article stand or fall together.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import EvaluationError
from kalibre.language.answering.examples import Example, read_squad
from kalibre.language.answering.scores import exact, overlap
from kalibre.language.base import Reader

Floats = NDArray[np.float64]
NORMALISATION = (
    "Turkish lower case (I to ı, İ to i); characters of Unicode's punctuation and symbol classes deleted; "
    "blanks made single; no articles"
)


def evaluate(
    path: Path, model: Reader, *, abstain_below: float | None = None, resamples: int = 2_000, seed: int = 1
) -> dict[str, Any]:
    """Judge a reader on a file.

    Parameters
    ----------
    path
        SQuAD-shaped JSON.
    model
        The reader.
    abstain_below
        Probability below which the answer is taken as "none". Unless given: 0 where every question can be answered,
        else 0.5.
    resamples, seed
        Of the bootstrap.

    Returns
    -------
    Figures as JSON's types; each of `figures` holds `value`, `low`, `high`.

    Raises
    ------
    LanguageError
        If the file cannot be read.
    EvaluationError
        If it holds no question.
    """
    return judge(read_squad(path), model, abstain_below=abstain_below, resamples=resamples, seed=seed)


def judge(
    examples: Sequence[Example],
    model: Reader,
    *,
    abstain_below: float | None = None,
    resamples: int = 2_000,
    seed: int = 1,
) -> dict[str, Any]:
    """Judge a reader on examples; see `evaluate`."""
    if not examples:
        raise EvaluationError("there is no question to judge by: give a file with at least one")
    impossible = np.array([not one.answers for one in examples])
    if abstain_below is None:
        abstain_below = 0.5 if impossible.any() else 0.0
    f1, em, sure, spoke = (np.zeros(len(examples)) for _ in range(4))
    for at, one in enumerate(examples):
        spans = model.read(one.question, [one.context], limit=1)
        text = spans[0].text if spans and spans[0].probability >= abstain_below else ""
        gold = [answer for answer, _ in one.answers] or [""]
        f1[at], em[at] = overlap(text, gold), exact(text, gold)
        sure[at], spoke[at] = (spans[0].probability if spans else 0.0), bool(text)
    groups = [one.group for one in examples]
    figures: dict[str, Any] = {
        "exact": interval(em, groups, resamples, seed),
        "f1": interval(f1, groups, resamples, seed),
    }
    if impossible.any():
        for name, part in (("answerable", ~impossible), ("impossible", impossible)):
            if part.any():
                some = [group for group, here in zip(groups, part, strict=True) if here]
                figures[f"{name}_exact"] = interval(em[part], some, resamples, seed)
                figures[f"{name}_f1"] = interval(f1[part], some, resamples, seed)
        figures["answered"] = interval(spoke, groups, resamples, seed)
    right = (f1 >= 0.5) & (spoke > 0)
    return {
        "task": "answering",
        "model": model.version,
        "questions": len(examples),
        "impossible": int(impossible.sum()),
        "groups": len(set(groups)),
        "normalisation": NORMALISATION,
        "abstain_below": abstain_below,
        "figures": figures,
        "auroc": auroc(sure, right),
    }


def interval(values: Floats, groups: Sequence[str], resamples: int = 2_000, seed: int = 1) -> dict[str, float]:
    """Return the mean of values with its 95 % interval when whole groups are drawn again."""
    _, number = np.unique(np.array(groups, dtype=object).astype(str), return_inverse=True)
    sums = np.bincount(number, weights=values)
    sizes = np.bincount(number)
    drawn = np.random.default_rng(seed).integers(0, len(sums), size=(resamples, len(sums)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {"value": float(values.mean()), "low": float(low), "high": float(high)}


def auroc(score: Floats, right: NDArray[np.bool_]) -> float | None:
    """Return the probability that a right answer has the larger score than a wrong one; None where either is absent."""
    n_right = int(right.sum())
    if n_right in (0, len(right)):
        return None
    from scipy.stats import rankdata

    ranks = rankdata(score)
    return float((ranks[right].sum() - n_right * (n_right + 1) / 2) / (n_right * (len(right) - n_right)))


def coverage_at(score: Floats, right: NDArray[np.bool_], precision: float) -> float:
    """Return the largest share that can be answered, the surest first, with at least that precision."""
    order = np.argsort(-score, kind="stable")
    so_far = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(so_far >= precision)
    return float((good[-1] + 1) / len(order)) if len(good) else 0.0
