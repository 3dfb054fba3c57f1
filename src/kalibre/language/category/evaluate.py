"""How right a category model is on a file of anybody's: CSV or JSON lines with text and label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from kalibre.core.errors import LanguageError
from kalibre.language.base import CategoryModel
from kalibre.language.class_scores import scores


def evaluate(path: Path, model: CategoryModel, *, seed: int = 7) -> dict[str, Any]:
    """Judge a model on a file; plain JSON figures with 95 % intervals.

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
    """
    from kalibre.language.files import labelled

    texts, labels = labelled(path, None)
    unknown = sorted(set(labels) - set(model.classes))
    if unknown:
        raise LanguageError(
            f"{str(path)!r}: label {unknown[0]!r} is none of the model's {', '.join(model.classes)}: rename it"
        )
    y = np.array([model.classes.index(label) for label in labels], np.int64)
    p = np.array(model.predict_proba(texts), np.float64)
    return {"task": "category", "model": model.version, **scores(texts, y, p, model.classes, seed=seed)}
