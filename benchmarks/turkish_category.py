"""What Turkish news are about: six categories, near-duplicates in one fold, beside TF-IDF on the same folds.

python -m benchmarks.turkish_category
"""

from __future__ import annotations

import benchmarks._single_thread  # noqa: F401  # isort: skip

import time

import numpy as np
from benchmarks import _turkish as shared
from benchmarks._turkish_scores import calibration_lines, nested, rows_of, table, tfidf

from kalibre.language import near
from kalibre.language.category import fast

SEED, FOLDS = 7, 10


def main() -> int:
    """Judge the fast tier, and print it."""
    if not shared.there():
        print("the shared Turkish sets are not here: nothing can be judged")
        return 1
    started = time.monotonic()
    texts = [text for text, _ in shared.news()]
    classes = sorted({category for _, category in shared.news()})
    y = np.array([classes.index(category) for _, category in shared.news()])
    groups = near.groups(texts, 0.5)
    p = nested(texts, y, classes, groups, fast.RECIPE, k=FOLDS, seed=SEED)
    words = tfidf(texts, y, groups, k=FOLDS, seed=SEED, longest=1)
    bar = (0.95, None)
    rows = rows_of("fast", y, p.argmax(axis=1), groups, len(classes), bar)
    rows = [*rows, *rows_of("TF-IDF", y, words, groups, len(classes))]
    most = np.full(len(y), np.bincount(y).argmax())
    rows += rows_of("most frequent class", y, most, groups, len(classes))
    size = f"{len(y):,} texts, {len(np.unique(groups)):,} groups of near-duplicates, {FOLDS} folds"
    holds = table(f"news category ({size}; {time.monotonic() - started:.0f} s)", rows)
    lines, calibrated = calibration_lines(p, y)
    print("\n".join(lines))
    return 0 if holds and calibrated else 1


if __name__ == "__main__":
    raise SystemExit(main())
