"""How fast text is read on one core: sentiment, entities, answers at 10,000 passages, 1,000 headlines.

Real texts of the shared sets. Bars: sentiment and entities p95 under 20 ms a text, an answer under 200 ms (p95) over at
least 10,000 passages, 1,000 different headlines through the cache in under 5 s. Models are loaded and warmed up first;
what loading takes stands beside. Run it alone: a busy machine doubles every figure.
"""

from __future__ import annotations

import benchmarks._single_thread  # noqa: F401  # isort: skip

import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks import _turkish as sets

from kalibre.language.answering.answerer import Answerer
from kalibre.language.answering.passages import Document, passages
from kalibre.language.answering.retrieval import Index
from kalibre.language.headlines.cache import ScoreCache
from kalibre.language.headlines.scoring import builtin_scorer, scored
from kalibre.language.load import load


def _timed(what: Callable[[Any], Any], over: Sequence[Any]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return milliseconds of each call, after twenty that do not count."""
    for one in over[:20]:
        what(one)
    taken = []
    for one in over:
        began = time.perf_counter()
        what(one)
        taken.append(1_000 * (time.perf_counter() - began))
    return np.array(taken)


def main() -> int:
    """Print the table; exit 0 if every bar holds."""
    if not sets.there():
        print("the shared sets are not here")
        return 1
    print(f"{datetime.now(tz=UTC):%Y-%m-%d %H:%M} UTC, {platform.machine()}, Python {platform.python_version()}\n")
    texts = list(sets.texts_by_hash().values())
    rng = np.random.default_rng(7)
    chosen = [texts[k] for k in rng.choice(len(texts), 1_000, replace=False)]
    held = True
    print(f"{'':<44} {'load s':>7} {'p50 ms':>8} {'p95 ms':>8} {'max ms':>8}")

    def row(name: str, loaded: float, taken: np.ndarray[Any, Any], bar: float) -> None:
        nonlocal held
        p50, p95, most = np.quantile(taken, 0.5), np.quantile(taken, 0.95), taken.max()
        held &= bool(p95 < bar)
        print(f"{name:<44} {loaded:>7.2f} {p50:>8.2f} {p95:>8.2f} {most:>8.1f}  p95 < {bar:g} ms {_word(p95 < bar)}")

    for task in ("sentiment", "entities"):
        began = time.perf_counter()
        model = load(task)
        loaded = time.perf_counter() - began
        row(
            f"{task}, a text of {np.mean([len(t) for t in chosen]):.0f} characters",
            loaded,
            _timed(lambda text, model=model: model.predict([text]), chosen),
            20,
        )
    documents = [Document(text=one["text"], title=one["title"]) for one in (*sets.laws(), *sets.notices())]
    found = passages(documents)
    began = time.perf_counter()
    index = Index.build(found)
    built = time.perf_counter() - began
    with (sets.LABELS / "questions.jsonl").open(encoding="utf-8") as stream:
        questions = [json.loads(line)["question"] for line in stream]
    answerer = Answerer(index, load("answering"))
    row(f"answer, {len(found):,} passages", built, _timed(answerer.answer, questions), 200)
    held &= len(found) >= 10_000
    scorer = builtin_scorer()
    scored(chosen[:20], scorer=scorer)
    with tempfile.TemporaryDirectory() as folder:
        cache = ScoreCache(Path(folder) / "cache.sqlite")
        taken = []
        for _ in range(2):
            began = time.perf_counter()
            scored(chosen, scorer=scorer, cache=cache)
            taken.append(time.perf_counter() - began)
    held &= taken[0] < 5
    print(f"\n1,000 headlines scored anew {taken[0]:.2f} s (bar: < 5 s) {_word(taken[0] < 5)}")
    print(f"the same out of the cache {taken[1]:.3f} s")
    return 0 if held else 1


def _word(ok: Any) -> str:
    return "PASS" if ok else "MISS"


if __name__ == "__main__":
    sys.exit(main())
