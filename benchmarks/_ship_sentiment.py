"""Train the sentiment model that is shipped: the project's own headlines, word vectors of the shared running text.

Of the own English headlines only the training half is learnt from.

python -m benchmarks._ship_sentiment [--into FOLDER]
"""

from __future__ import annotations

import benchmarks._single_thread  # noqa: F401  # isort: skip

import shutil
import sys
from pathlib import Path

from benchmarks import _turkish as shared
from benchmarks._turkish_vectors import NAMES, vectors
from benchmarks.turkish_sentiment import SEED, english, own

from kalibre.language import near
from kalibre.language.bundle import WEIGHTS
from kalibre.language.sentiment import fast

NAME = "sentiment-fast"


def main() -> int:
    """Train, save, and say what was made."""
    into = Path(sys.argv[sys.argv.index("--into") + 1]) if "--into" in sys.argv else WEIGHTS
    texts, rows = own()
    titles = [row["title"] for row in shared.bist_headlines()]
    found, said = vectors([*titles, *texts, *(text for text, _ in shared.tweets())])
    more, more_rows = english("train")
    texts, rows = texts + more, rows + more_rows
    bundle = fast.train(
        texts,
        [row["label"] for row in rows],
        impacts=[row["impact"] for row in rows],
        vectors=found,
        groups=near.groups(texts, 0.7),
        seed=SEED,
        card={
            "trained_until": "2026-06-12",
            "trained_on": f"{len(rows) - len(more):,} Turkish headlines, notes and forum posts of the project's own "
            "labelled set (benchmarks/labels/headlines.jsonl, docs/labelling-guide.md) and "
            f"{len(more)} English headlines of our own invention (half of english_headlines.jsonl)",
            "labels": "two blind passes by language models under a written guide, a third where they differed",
            "word_vectors": f"counted on {', '.join(NAMES)}: {said}",
            "licence": "weights under the project's licence; the texts (MIT, none stated) are not in it: features are "
            "hashed, training texts stand in it as sums with random signs",
            "measured": "python -m benchmarks.turkish_sentiment; docs/benchmarks.md",
            "limits": "headlines and short notes; English by rules and words, learnt from few and invented headlines; "
            "other languages are not judged; labels are models' reading of a guide, not prices",
        },
    )
    if (into / NAME).exists():
        shutil.rmtree(into / NAME)
    folder = bundle.save(into, NAME)
    size = sum(len(content) for content in bundle.files.values())
    print(f"{bundle.version}: {size / 1e6:.2f} MB in {folder.name}; out of fold {bundle.card['out_of_fold']}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
