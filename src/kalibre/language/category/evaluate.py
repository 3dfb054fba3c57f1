"""How right a category model is on a file of anybody's: CSV or JSON lines with text and label."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from kalibre.core.errors import LanguageError
from kalibre.language.base import CategoryModel
from kalibre.language.class_scores import scores


def evaluate(path: Path, model: CategoryModel, *, seed: int = 7) -> dict[str, Any]:
    """Judge a model on a file; plain JSON figures with 95 % intervals.

    Figures are of the texts that the model judged; `abstained` says why others were not.

    Parameters
    ----------
    path
        `.csv`, `.tsv` or `.jsonl` with `text` and `label`.
    model
        Any category model.
    seed
        Of the bootstrap.

    Raises
    ------
    UsageError, LanguageError
        If the file or a row cannot be used, or a label is none of the model's classes.
    EvaluationError
        If the model can judge none of the texts.
    """
    from kalibre.language.files import labelled

    texts, labels = labelled(path, None)
    unknown = sorted(set(labels) - set(model.classes))
    if unknown:
        raise LanguageError(
            f"{str(path)!r}: label {unknown[0]!r} is none of the model's {', '.join(model.classes)}: rename it"
        )
    told = model.predict(texts)
    read = [i for i, one in enumerate(told) if one.probabilities is not None]
    y = np.array([model.classes.index(labels[i]) for i in read], np.int64)
    p = np.array([told[i].probabilities for i in read], np.float64).reshape(len(read), len(model.classes))
    return {
        "task": "category",
        "model": model.version,
        "texts": len(texts),
        **scores([texts[i] for i in read], y, p, model.classes, seed=seed),
        "abstained": dict(sorted(Counter(one.abstained for one in told if one.abstained is not None).items())),
    }
