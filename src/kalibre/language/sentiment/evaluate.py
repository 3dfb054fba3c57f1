"""How right a sentiment model is on a file of anybody's: CSV or JSON lines with text and label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from kalibre.language.base import SENTIMENTS, SentimentModel
from kalibre.language.class_scores import scores


def evaluate(path: Path, model: SentimentModel, *, seed: int = 7) -> dict[str, Any]:
    """Judge a model on a file; plain JSON figures with 95 % intervals.

    Figures are of the likeliest class of every text that the model gave probabilities for; `abstained` says why others
    have none, `named` how many it would have put a name to, and how often that was right.

    Parameters
    ----------
    path
        `.csv`, `.tsv` or `.jsonl` with `text` and `label` (negative, neutral, positive).
    model
        Any sentiment model.
    seed
        Of the bootstrap.

    Raises
    ------
    UsageError, LanguageError
        If the file or a row cannot be used.
    EvaluationError
        If the model can read none of the texts.
    """
    from kalibre.language.files import labelled

    texts, labels = labelled(path, SENTIMENTS)
    told = model.predict(texts)
    read = [i for i, one in enumerate(told) if one.probabilities is not None]
    y = np.array([SENTIMENTS.index(labels[i]) for i in read], np.int64)
    p = np.array([told[i].probabilities for i in read], np.float64).reshape(len(read), len(SENTIMENTS))
    found = scores([texts[i] for i in read], y, p, SENTIMENTS, seed=seed)
    named = [i for i in read if told[i].label is not None]
    right = sum(told[i].label == labels[i] for i in named)
    why: dict[str, int] = {}
    for one in told:
        if one.abstained is not None:
            why[one.abstained] = why.get(one.abstained, 0) + 1
    return {
        "task": "sentiment",
        "model": model.version,
        "texts": len(texts),
        **found,
        "named": {
            "coverage": len(named) / len(texts),
            "precision": right / len(named) if named else None,
        },
        "abstained": dict(sorted(why.items())),
    }
