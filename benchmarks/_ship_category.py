"""Train the category model that is shipped: Turkish news in six categories.

python -m benchmarks._ship_category [--into FOLDER]
"""

from __future__ import annotations

import benchmarks._single_thread  # noqa: F401  # isort: skip

import shutil
import sys
from pathlib import Path

from benchmarks import _turkish as shared
from benchmarks.turkish_category import SEED

from kalibre.language.bundle import WEIGHTS
from kalibre.language.category import fast

NAME = "category-fast"


def main() -> int:
    """Train, save, and say what was made."""
    into = Path(sys.argv[sys.argv.index("--into") + 1]) if "--into" in sys.argv else WEIGHTS
    rows = shared.news()
    bundle = fast.train(
        [text for text, _ in rows],
        [category for _, category in rows],
        seed=SEED,
        card={
            "trained_on": f"{len(rows):,} Turkish news texts of six categories (TTC-3600, deduplicated)",
            "licence": "weights under the project's licence; the texts state none and are not in it: hashed features",
            "measured": "python -m benchmarks.turkish_category; docs/benchmarks.md",
            "limits": "news of about 2010-2013; `ekonomi` is what headlines of markets fall into",
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
