"""What the tasks' encoder families share: a validation set apart by near-duplicates, calibration, abstention."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from kalibre.core.errors import LanguageError
from kalibre.language.near import groups

LONGEST = 100_000
"""Characters of a text that are read."""


def apart(texts: Sequence[str], *, share: float = 0.15, seed: int = 0) -> tuple[list[int], list[int]]:
    """Split texts into those to learn from and those to validate on, near-duplicates on one side.

    Raises
    ------
    LanguageError
        If there are not two groups of texts.

    Examples
    --------
    >>> learn, validate = apart(["Kur arttı", "Kur arttı!", "Faiz indi", "Borsa düştü"], share=0.3)
    >>> {0, 1} <= set(learn) or {0, 1} <= set(validate)
    True
    """
    members = groups(texts)
    if len(set(members.tolist())) < 2:
        raise LanguageError(f"{len(texts)} texts are too alike to validate on some of them: bring more texts")
    order = np.random.default_rng(seed).permutation(np.unique(members))
    chosen: set[int] = set()
    wanted, many = max(1, round(share * len(texts))), 0
    for group in order.tolist():
        if many >= wanted or len(chosen) == len(order) - 1:
            break
        chosen.add(group)
        many += int((members == group).sum())
    validate = [at for at, group in enumerate(members.tolist()) if group in chosen]
    return [at for at, group in enumerate(members.tolist()) if group not in chosen], validate


def logistic(scores: Sequence[float], right: Sequence[bool], *, steps: int = 60) -> tuple[float, float]:
    """Return slope and offset of the logistic of a score that says best how often it is right (Platt).

    Targets are smoothed as Platt's, so that scores that part right from wrong perfectly give no infinite slope.

    Examples
    --------
    >>> slope, offset = logistic([-2.0, -1.0, 1.0, 2.0], [False, True, False, True])
    >>> slope > 0
    True
    """
    x, y = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=bool)
    wanted = np.where(y, (y.sum() + 1.0) / (y.sum() + 2.0), 1.0 / ((~y).sum() + 2.0))
    center, spread = float(x.mean()), float(x.std()) or 1.0
    design = np.column_stack([(x - center) / spread, np.ones_like(x)])
    found = np.zeros(2)
    for _ in range(steps):
        told = 1.0 / (1.0 + np.exp(-np.clip(design @ found, -30, 30)))
        slope = design.T @ (wanted - told) - 1e-3 * found
        bend = (design * (told * (1 - told))[:, None]).T @ design + 1e-3 * np.eye(2)
        step = np.linalg.solve(bend, slope)
        found += np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-9:
            break
    return float(found[0] / spread), float(found[1] - found[0] * center / spread)


def threshold(sure: Sequence[float], right: Sequence[bool], precision: float) -> float:
    """Return the least confidence from which on the told share is right; 1 where none is enough.

    Examples
    --------
    >>> threshold([0.9, 0.8, 0.6, 0.5], [True, True, False, False], 0.9)
    0.8
    """
    order = np.argsort(-np.asarray(sure), kind="stable")
    so_far = np.cumsum(np.asarray(right, dtype=np.float64)[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(so_far >= precision)
    return float(np.asarray(sure)[order[good[-1]]]) if len(good) else 1.0


def macro_f1(y_true: Sequence[int], named: Sequence[int], classes: int) -> float:
    """Return the mean F1 over the classes that are there or were named.

    Examples
    --------
    >>> macro_f1([0, 0, 1], [0, 1, 1], 3)
    0.6666666666666666
    """
    true, said = np.asarray(y_true), np.asarray(named)
    found = []
    for one in range(classes):
        either = int((true == one).sum() + (said == one).sum())
        if either:
            found.append(2.0 * int(((true == one) & (said == one)).sum()) / either)
    return float(np.mean(found)) if found else 0.0


def readable(text: str, most: int = LONGEST) -> str:
    """Return a text of the same length that every tokenizer takes: lone surrogates as U+FFFD, cut where endless."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text[:most])
