"""`/news/*`: headlines scored for the assets they name, and what the cache has done."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import Field

from kalibre.api.guard import require
from kalibre.api.routes.base import Command, View, errors, needs, scopes_of, service_of
from kalibre.api.routes.nlp import documented, encoded, takes_json
from kalibre.api.texts import ScoreViews, check_texts, score_view
from kalibre.bars.calendars import Calendar, get_calendar
from kalibre.core.errors import ApiError, LanguageError
from kalibre.core.timeframe import DAY_MS

router = APIRouter(tags=["news"])

_LONGEST_AHEAD_MS = 20 * DAY_MS
"""A date alone counts from the next session, which may be a long holiday away; nothing else is ahead of us."""

(_SCORES,), SCHEMAS = msgspec.json.schema_components((ScoreViews,), ref_template="#/components/schemas/{name}")


class PostedHeadline(Command):
    """A headline; `published` (ISO, dd.mm.yyyy or with HH:MM, Istanbul's without zone) is needed to record it."""

    text: str
    published: str | None = None
    source: Annotated[str, Field(max_length=100, pattern=r"^[^|\x00-\x1f\x7f]*$")] = "api"
    url: Annotated[str, Field(max_length=2_000)] = ""


class PostedHeadlines(Command):
    """Headlines to score; with `record` they and their scores enter the log (scope `operate`)."""

    headlines: list[str | PostedHeadline]
    record: bool = False


class CacheView(View):
    """What the cache of scored headlines has done; `hit_rate` is null before its first lookup."""

    lookups: int
    exact_hits: int
    near_hits: int
    misses: int
    entries: int
    hit_rate: float | None


@router.post(
    "/news/score",
    response_class=Response,
    responses={**documented(_SCORES, "A score for each headline."), **errors(413, 415, 429)},
    dependencies=[needs("predict"), takes_json],
)
def score(request: Request, posted: PostedHeadlines) -> Response:
    """Score headlines, Turkish or English: asset, impact, horizon and confidence, or why there is no score."""
    from kalibre.language.headlines.recording import Published, record

    service = service_of(request)
    check_texts([one if isinstance(one, str) else one.text for one in posted.headlines])
    told = [PostedHeadline(text=one) if isinstance(one, str) else one for one in posted.headlines]
    calendar = get_calendar(service.settings.market.calendar)
    if posted.record:
        require(scopes_of(request), "operate")
        # Before anything is asked of a model, or paid for.
        for place, one in enumerate(told):
            _check_recordable(place, one, calendar, service.clock.now_ms())
    results = service.texts.score([one.text for one in told])
    recorded = None
    if posted.record:
        published = [Published(one.text, one.published or "", one.source or "api", one.url) for one in told]
        try:
            stored = record(
                service.log(),
                published,
                results,
                calendar=calendar,
                live_at_ms=service.clock.now_ms(),
            )
        except LanguageError as error:
            raise ApiError(str(error), status=422) from error
        recorded = {"headlines": stored.headlines, "scores": stored.scores}
    return encoded(ScoreViews([score_view(one, reuse) for one, reuse in results], recorded))


def _check_recordable(place: int, headline: PostedHeadline, calendar: Calendar, now_ms: int) -> None:
    from kalibre.language.headlines.publication import known_ms

    if headline.published is None:
        raise ApiError(f"headline {place} says no `published`: what is recorded needs its time", status=422)
    try:
        known = known_ms(headline.published, calendar)
    except LanguageError as error:
        raise ApiError(f"headline {place}: {error}", status=422) from error
    if not 0 <= known <= now_ms + _LONGEST_AHEAD_MS:
        raise ApiError(
            f"headline {place}: published {headline.published!r} lies before 1970 or is still to come: mend it",
            status=422,
        )
    if not headline.text.isprintable() and any("\ud800" <= c <= "\udfff" for c in headline.text):
        raise ApiError(
            f"headline {place} ({headline.text[:40]!r}) holds half of a character (a lone surrogate) and cannot be "
            "recorded: mend it, or leave it out",
            status=422,
        )


@router.get("/news/cache", responses=errors(), dependencies=[needs("read")])
def cache(request: Request) -> CacheView:
    """Show how many headlines were answered from the cache, exact repetitions and near-duplicates apart."""
    stats = service_of(request).texts.cache().stats()
    return CacheView(
        lookups=stats.lookups,
        exact_hits=stats.exact_hits,
        near_hits=stats.near_hits,
        misses=stats.misses,
        entries=stats.entries,
        hit_rate=stats.hit_rate,
    )
