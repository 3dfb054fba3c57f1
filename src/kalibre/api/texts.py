"""What reads text behind the API: the models, loaded at their first use, the cache of scores, and what was counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec

from kalibre.api.counters import TextCounters
from kalibre.core.errors import ApiError, KalibreError, LanguageError, ModelError, UsageError
from kalibre.core.settings import Settings
from kalibre.language.base import Answer, Entity, Passage, Sentiment

if TYPE_CHECKING:
    from kalibre.language.answering.answerer import Answerer
    from kalibre.language.headlines.answers import Recording
    from kalibre.language.headlines.cache import CacheStats, Reuse, ScoreCache
    from kalibre.language.headlines.inbox import Inbox, Standing
    from kalibre.language.headlines.score import Score
    from kalibre.language.headlines.scoring import Scorer

MOST_TEXTS: Final = 1_000
LONGEST_TEXT: Final = 100_000
"""Characters of one text; a book belongs into the corpus, not into a request."""
MOST_CHARACTERS: Final = 1_000_000
"""Of all texts of a request: more would keep everyone else waiting for half a minute."""
SEATS: Final = 8
"""Requests that are read or wait for their turn; more would take the threads that the kill switch needs."""


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
        self._seats = threading.BoundedSemaphore(SEATS)
        self.asking = threading.Semaphore(1)
        """One at a time waits for an endpoint, and keeps nobody else from reading; two would pay for the same twice."""
        self.counters = TextCounters()

    def sentiment(self, texts: Sequence[str]) -> Sentiments:
        """Return what each text says for the market."""
        check_texts(texts)
        with self._seat():
            return self._sentiment(texts)

    def _sentiment(self, texts: Sequence[str]) -> Sentiments:
        model = self._model("sentiment")
        with self._counted("sentiment") as outcomes:
            results = model.predict(texts)
            outcomes += [one.label or "abstained" for one in results]
        return Sentiments(results, model.version)

    def entities(self, texts: Sequence[str]) -> EntityLists:
        """Return the names in each text."""
        check_texts(texts)
        with self._seat():
            return self._entities(texts)

    def _entities(self, texts: Sequence[str]) -> EntityLists:
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
        with self._seat():
            return self._answer(question, passages)

    def _answer(self, question: str, passages: Sequence[Passage] | None) -> Answer:
        answerer = self._answerer(passages)
        with self._counted("answer") as outcomes:
            found: Answer = answerer.answer(question)
            outcomes.append("abstained" if found.text is None else "answered")
        return found

    def score(self, headlines: Sequence[str]) -> list[tuple[Score, Reuse]]:
        """Return a score for each headline, through the cache."""
        check_texts(headlines)
        with self._seat():
            return self._score(headlines)

    def _score(self, headlines: Sequence[str]) -> list[tuple[Score, Reuse]]:
        from kalibre.language.headlines.scoring import scored

        scorer, cache = self._once("scorer", self._make_scorer), self.cache()
        with self._counted("news", self.asking if scorer.prompt_version else self.turn) as outcomes:
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

    def followed(self) -> list[Standing]:
        """Return how each source stands that `kalibre news follow` follows into this home; empty where none is."""
        path = self._settings.home / "language" / "following.sqlite"
        if not path.is_file():
            return []

        def make() -> Inbox:
            from kalibre.language.headlines.inbox import Inbox

            return Inbox(path)

        try:
            found: list[Standing] = self._once("inbox", make).standings()
        except LanguageError:
            # A scrape shows what it can; who follows says what is wrong with the file.
            return []
        return found

    def endpoint_spent(self) -> dict[str, int]:
        """Return the requests and tokens that an endpoint has cost, all processes together; empty without one."""
        path = self._settings.home / "language" / "answers.sqlite"
        if not path.is_file():
            return {}

        def make() -> Recording:
            from kalibre.language.headlines.answers import Recording

            return Recording(path)

        try:
            recording: Recording = self._once("answers", make)
            return {what: recording.spent(what) for what in ("requests", "tokens")}
        except LanguageError:
            return {}

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

        # An index that was made anew meanwhile is another folder under the same name.
        try:
            stamp = index_folder(self._settings).stat()
            name = f"answerer {stamp.st_ino} {stamp.st_mtime_ns}"
        except OSError:
            name = "answerer"
        found: Answerer = self._once(name, make)
        with self._loading:
            for old in [one for one in self._loaded if one.startswith("answerer") and one != name]:
                del self._loaded[old]
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
    def _seat(self) -> Iterator[None]:
        if not self._seats.acquire(blocking=False):
            raise ApiError(
                f"{SEATS} requests with text are read or wait: try again in a second, or send more texts in one",
                status=429,
                headers=(("retry-after", "1"),),
            )
        try:
            yield
        finally:
            self._seats.release()

    @contextmanager
    def _counted(self, task: str, turn: threading.Semaphore | None = None) -> Iterator[list[str]]:
        outcomes: list[str] = []
        started = time.perf_counter()
        with turn or self.turn:
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
        413 for too many texts or characters; the message quotes how much and what is allowed.
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
    if (whole := sum(map(len, texts))) > MOST_CHARACTERS:
        raise ApiError(
            f"{len(texts):,} texts have {whole:,} characters: at most {MOST_CHARACTERS:,} are read in one request; "
            "send them in several",
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
