"""What reads text behind the API: the models, loaded at their first use, the cache of scores, and what was counted."""

from __future__ import annotations

import bisect
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec

from kalibre.api.counters import BUCKETS_S
from kalibre.core.errors import ApiError, KalibreError, ModelError, UsageError
from kalibre.core.settings import Settings
from kalibre.language.base import Answer, Entity, Passage, Sentiment

if TYPE_CHECKING:
    from kalibre.language.answering.answerer import Answerer
    from kalibre.language.headlines.cache import CacheStats, Reuse, ScoreCache
    from kalibre.language.headlines.score import Score
    from kalibre.language.headlines.scoring import Scorer

MOST_TEXTS: Final = 1_000
LONGEST_TEXT: Final = 100_000
"""Characters of one text; a book belongs into the corpus, not into a request."""


class Entities(msgspec.Struct, frozen=True):
    """The names in one text, without their suffixes; offsets in characters of the text as posted."""

    entities: list[Entity]


class Sentiments(msgspec.Struct, frozen=True):
    """A result for each text, in order."""

    results: list[Sentiment]
    model: str


class EntityLists(msgspec.Struct, frozen=True):
    """A result for each text, in order."""

    results: list[Entities]
    model: str


class ScoreView(msgspec.Struct, frozen=True):
    """A scored headline; `reused` says whether it cost nothing (`exact`, `near`) or was scored now (empty)."""

    asset: str | None
    impact: float | None
    horizon: str | None
    confidence: float | None
    also: list[dict[str, Any]]
    language: str
    abstained: str | None
    model: str
    reused: str


class ScoreViews(msgspec.Struct, frozen=True):
    """A score for each headline, in order, and what was recorded in the log if that was asked for."""

    results: list[ScoreView]
    recorded: dict[str, int] | None = None


class TextCounters:
    """Counts texts read and how long it took, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.texts: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.durations: defaultdict[str, list[float]] = defaultdict(lambda: [0.0] * (len(BUCKETS_S) + 2))
        """Per task: requests of each bucket, then the sum of seconds."""

    def count(self, task: str, outcomes: Sequence[str], seconds: float) -> None:
        """Count one request of a task and the outcome of each of its texts."""
        with self._lock:
            for outcome in outcomes:
                self.texts[task, outcome] += 1
            row = self.durations[task]
            row[bisect.bisect_left(BUCKETS_S, seconds)] += 1
            row[-1] += seconds


class Texts:
    """The models that the settings name.

    Parameters
    ----------
    settings
        Section `language`, and `home` for the cache and the index.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loading = threading.Lock()
        self._loaded: dict[str, Any] = {}
        self.turn = threading.Semaphore(1)
        """One at a time reads text: forecasts come first, and a second one would only slow the first."""
        self.counters = TextCounters()

    def sentiment(self, texts: Sequence[str]) -> Sentiments:
        """Return what each text says for the market."""
        check_texts(texts)
        model = self._model("sentiment")
        with self._counted("sentiment") as outcomes:
            results = model.predict(texts)
            outcomes += [one.label or "abstained" for one in results]
        return Sentiments(results, model.version)

    def entities(self, texts: Sequence[str]) -> EntityLists:
        """Return the names in each text."""
        check_texts(texts)
        model = self._model("entities")
        with self._counted("entities") as outcomes:
            results = [Entities(found) for found in model.predict(texts)]
            outcomes += ["found" if one.entities else "none" for one in results]
        return EntityLists(results, model.version)

    def answer(self, question: str, passages: Sequence[Passage] | None) -> Answer:
        """Return the answer to a question, from posted passages or from the index.

        Raises
        ------
        ApiError
            409 if there is no index to answer from; the message says how one is made.
        """
        check_texts([question, *(one.text for one in passages or ())])
        answerer = self._answerer(passages)
        with self._counted("answer") as outcomes:
            found: Answer = answerer.answer(question)
            outcomes.append("abstained" if found.text is None else "answered")
        return found

    def score(self, headlines: Sequence[str]) -> list[tuple[Score, Reuse]]:
        """Return a score for each headline, through the cache."""
        from kalibre.language.headlines.scoring import scored

        check_texts(headlines)
        scorer, cache = self._once("scorer", self._make_scorer), self.cache()
        with self._counted("news") as outcomes:
            universe = self._settings.language.universe or None
            results = scored(headlines, universe=universe, scorer=scorer, cache=cache)
            outcomes += [reuse or ("abstained" if one.abstained else "scored") for one, reuse in results]
        return results

    def cache(self) -> ScoreCache:
        """Return the cache of scored headlines."""

        def make() -> ScoreCache:
            from kalibre.language.headlines.cache import ScoreCache

            return ScoreCache(self._settings.home / "language" / "headlines.sqlite")

        found: ScoreCache = self._once("cache", make)
        return found

    def cache_stats(self) -> CacheStats | None:
        """Return the cache's counts, None before its first use."""
        found: ScoreCache | None = self._loaded.get("cache")
        return None if found is None else found.stats()

    def _make_scorer(self) -> Scorer:
        from kalibre.language.headlines.scoring import scorer_of

        return scorer_of(self._settings)

    def _model(self, task: str) -> Any:
        def make() -> Any:
            from kalibre.language.load import load

            return load(task, getattr(self._settings.language, task))

        return self._once(task, make)

    def _answerer(self, passages: Sequence[Passage] | None) -> Answerer:
        from kalibre.language.answering.answerer import Answerer
        from kalibre.language.answering.library import index_folder
        from kalibre.language.answering.retrieval import Index, open_index

        reader, precision = self._model("answering"), self._settings.language.answer_precision
        if passages is not None:
            return Answerer(Index.build(passages), reader, precision=precision)

        def make() -> Answerer:
            folder = index_folder(self._settings)
            if not folder.is_dir():
                raise ApiError(
                    f"there are no passages to answer from ({str(folder)!r} is not there): run `kalibre nlp index`, or "
                    "post `passages` with the question",
                    status=409,
                )
            return Answerer(open_index(folder), reader, precision=precision)

        found: Answerer = self._once("answerer", make)
        return found

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        found = self._loaded.get(name)
        if found is None:
            with self._loading:
                found = self._loaded.get(name)
            if found is None:
                made = make()
                with self._loading:
                    found = self._loaded.setdefault(name, made)
        return found

    @contextmanager
    def _counted(self, task: str) -> Iterator[list[str]]:
        outcomes: list[str] = []
        started = time.perf_counter()
        with self.turn:
            try:
                yield outcomes
            except (ModelError, UsageError):
                raise
            except KalibreError:
                outcomes.append("failed")
                raise
            finally:
                self.counters.count(task, outcomes, time.perf_counter() - started)


def check_texts(texts: Sequence[str]) -> None:
    """Refuse what no request should hold.

    Raises
    ------
    ApiError
        413 for too many texts or one that is too long; the message quotes how much and what is allowed.
    """
    if len(texts) > MOST_TEXTS:
        raise ApiError(f"{len(texts):,} texts are too many: send at most {MOST_TEXTS:,} in one request", status=413)
    for place, text in enumerate(texts):
        if len(text) > LONGEST_TEXT:
            raise ApiError(
                f"text {place} has {len(text):,} characters ({text[:40]!r}...): at most {LONGEST_TEXT:,} are read; "
                "send it in pieces",
                status=413,
            )


def score_view(score: Score, reuse: str) -> ScoreView:
    """Return a score as the API shows it."""
    return ScoreView(
        asset=score.asset,
        impact=score.impact,
        horizon=score.horizon,
        confidence=score.confidence,
        also=[{"asset": one.asset, "impact": one.impact} for one in score.also],
        language=score.language,
        abstained=score.abstained,
        model=score.model,
        reused=reuse,
    )


def text_exposition(texts: Texts) -> str:
    """Return the metrics of what read text, in Prometheus' text form."""
    counters = texts.counters
    lines = [
        "# HELP kalibre_nlp_texts_total Texts read, by task and outcome.",
        "# TYPE kalibre_nlp_texts_total counter",
        *(
            f'kalibre_nlp_texts_total{{task="{task}",outcome="{outcome}"}} {count}'
            for (task, outcome), count in sorted(counters.texts.items())
        ),
    ]
    name = "kalibre_nlp_request_duration_seconds"
    lines += [f"# HELP {name} Time that reading the texts of a request took.", f"# TYPE {name} histogram"]
    for task, row in sorted(counters.durations.items()):
        total = 0.0
        for place, bound in enumerate((*BUCKETS_S, "+Inf")):
            total += row[place]
            lines.append(f'{name}_bucket{{task="{task}",le="{bound}"}} {total:.0f}')
        lines += [f'{name}_sum{{task="{task}"}} {row[-1]:.6f}', f'{name}_count{{task="{task}"}} {total:.0f}']
    if (stats := texts.cache_stats()) is not None:
        name = "kalibre_nlp_headline_lookups_total"
        lines += [f"# HELP {name} Headlines looked up in the cache, by what was found.", f"# TYPE {name} counter"]
        for found, count in (("exact", stats.exact_hits), ("near", stats.near_hits), ("miss", stats.misses)):
            lines.append(f'{name}{{found="{found}"}} {count}')
    return "\n".join(lines) + "\n"
