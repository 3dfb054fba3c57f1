"""The project's own labelled sets: how many, and how far two blind passes agree.

Both passes were made by language models that read docs/labelling-guide.md, so agreement is an upper bound of what two
people would reach. Bars: at least 1,000 headlines, 200 sentences to score on, 200 questions; every text found again by
its hash; kappa above 0.8.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from benchmarks import _turkish as sets

LABELS = ("negative", "neutral", "positive")


def rows(name: str) -> list[dict[str, Any]]:
    """Read a set of labels."""
    with (sets.LABELS / name).open(encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def kappa(first: Sequence[str], second: Sequence[str]) -> float:
    """Return Cohen's kappa of two passes over the same texts."""
    names = sorted({*first, *second})
    table = np.zeros((len(names), len(names)))
    for one, other in zip(first, second, strict=True):
        table[names.index(one), names.index(other)] += 1
    table /= table.sum()
    expected = float(table.sum(axis=1) @ table.sum(axis=0))
    return (float(np.trace(table)) - expected) / (1 - expected)


def interval(first: Sequence[str], second: Sequence[str], *, resamples: int = 1_000) -> tuple[float, float]:
    """Return a 95 % bootstrap interval of kappa."""
    rng = np.random.default_rng(7)
    n = len(first)
    drawn = [rng.integers(0, n, n) for _ in range(resamples)]
    found = [kappa([first[k] for k in places], [second[k] for k in places]) for places in drawn]
    return float(np.quantile(found, 0.025)), float(np.quantile(found, 0.975))


def main() -> int:
    """Print the tables; exit 0 if every bar holds."""
    if not sets.there():
        print("the shared sets are not here: nothing can be found by its hash")
        return 1
    held = True

    def say(what: str, figure: str, ok: bool | None = None) -> None:
        nonlocal held
        held &= ok is not False
        print(f"{what:<58} {figure:>34} {'' if ok is None else 'PASS' if ok else 'MISS'}")

    known = sets.texts_by_hash()
    headlines, entities, questions = (rows(f"{name}.jsonl") for name in ("headlines", "entities", "questions"))
    say("headlines (bar 1,000)", f"{len(headlines):,}", len(headlines) >= 1_000)
    say(
        "  found by their hash",
        f"{sum(row['hash'] in known for row in headlines):,}",
        all(row["hash"] in known for row in headlines),
    )
    counts = Counter(row["label"] for row in headlines)
    say("  negative / neutral / positive", " / ".join(str(counts[label]) for label in LABELS))
    say("  decided by a third", f"{sum(row['decided'] == 'third' for row in headlines)}")
    passes = [[row[name] for row in headlines] for name in ("first", "second")]
    labels = [[one[0] for one in passed] for passed in passes]
    low, high = interval(*labels)
    agreed = kappa(*labels)
    say("  kappa of the labels", f"{agreed:.3f} [{low:.3f}, {high:.3f}]", agreed > 0.8)
    horizons = [[one[3] or "none" for one in passed] for passed in passes]
    low, high = interval(*horizons)
    say("  kappa of the horizons", f"{kappa(*horizons):.3f} [{low:.3f}, {high:.3f}]")
    impacts = np.array([[one[1] for one in passed] for passed in passes])
    say("  correlation of the impacts", f"{np.corrcoef(impacts)[0, 1]:.3f}")
    assets = [[one[2] for one in passed] for passed in passes]
    say("  same asset named", f"{np.mean([a == b for a, b in zip(*assets, strict=True)]):.1%}")
    for source in sorted({row["source"] for row in headlines}):
        places = [k for k, row in enumerate(headlines) if row["source"] == source]
        figure = kappa([labels[0][k] for k in places], [labels[1][k] for k in places])
        say(f"    of which {source}", f"{len(places):,}, kappa {figure:.3f}")
    tested = sum(row["split"] == "test" for row in entities)
    say("entity sentences to score on (bar 200)", f"{tested:,} (dev {len(entities) - tested:,})", tested >= 200)
    say(
        "  found by their hash",
        f"{sum(row['hash'] in known for row in entities):,}",
        all(row["hash"] in known for row in entities),
    )
    for kind in ("TICKER", "MONEY", "PERCENT", "TIME", None):
        first, second = (
            {(k, *span) for k, row in enumerate(entities) for span in row[name] if kind in (None, span[2])}
            for name in ("first", "second")
        )
        f1 = 2 * len(first & second) / (len(first) + len(second))
        say(f"  agreement on {kind or 'all'} (F1 of exact spans)", f"{f1:.3f} of {len(first):,}")
    documents = {sets.text_hash(one["text"]): one["text"] for one in (*sets.laws(), *sets.notices())}
    found = [row["document_hash"] in documents for row in questions]
    say("questions (bar 200)", f"{len(questions):,}", len(questions) >= 200)
    say("  documents found by their hash", f"{sum(found):,}", all(found))
    kinds = Counter(row["kind"] for row in questions)
    spread = {kind: len({row["document_hash"] for row in questions if row["kind"] == kind}) for kind in kinds}
    say("  over laws / notices (documents)", " / ".join(f"{kinds[k]} ({spread[k]})" for k in ("law", "notice")))
    print("\nAll three sets were labelled by language models under a written guide; no person has read them.")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
