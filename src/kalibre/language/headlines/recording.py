"""Headlines and their scores as events: recorded once, known from their publication, never computed again in replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kalibre.bars.bar_news import WRITER_OF_NEWS
from kalibre.bars.calendars import Calendar
from kalibre.core.events import Event, new_event
from kalibre.core.text_events import Headline, HeadlineScore
from kalibre.language.headlines.cache import Reuse
from kalibre.language.headlines.canonical import exact_key, near_key
from kalibre.language.headlines.publication import known_ms
from kalibre.language.headlines.score import Score
from kalibre.log.protocol import EventLog


@dataclass(frozen=True)
class Published:
    """A headline as its source gave it; `published` as `known_ms` takes it."""

    text: str
    published: str
    source: str
    url: str = ""


@dataclass(frozen=True)
class Recorded:
    """What was stored now: events that the log already held are not counted again."""

    headlines: int
    scores: int


def record(
    log: EventLog,
    headlines: Sequence[Published],
    scored: Sequence[tuple[Score, Reuse]],
    *,
    calendar: Calendar,
    live_at_ms: int | None = None,
    trained_until_ms: int | None = None,
) -> Recorded:
    """Append headlines and what was made of them, in one transaction.

    Parameters
    ----------
    headlines, scored
        One score per headline; of an abstention only the headline is recorded.
    calendar
        Whose sessions count for a headline with a date only.
    live_at_ms
        Wall time at which the scores were there; no score can be acted on before. None for an archive.
    trained_until_ms
        Time of the newest text that the scorer of an archive learnt from, None where it is not known: of such a score,
        and of one whose headline is older, no bar is told.

    Raises
    ------
    LanguageError
        If a time of publication cannot be read; nothing is stored then.
    """
    events: list[Event] = []
    for headline, (score, reuse) in zip(headlines, scored, strict=True):
        name = exact_key(headline.text)[:16]
        published = known_ms(headline.published, calendar)
        said = Headline(
            text=headline.text,
            source=headline.source,
            published=headline.published,
            language=score.language,
            url=headline.url,
        )
        events.append(new_event(f"{headline.source}|{name}", published, said, provenance=_provenance(live_at_ms)))
        known = published if live_at_ms is None else max(published, live_at_ms)
        until = trained_until_ms if live_at_ms is None else min(trained_until_ms or live_at_ms, live_at_ms)
        for when, key, what in score_events(headline, score, known, trained_until_ms=until):
            # Scored live a second time (after a restart, say), the first time counts: that one could be acted on. The
            # same words published later than that are news again.
            earlier = None if live_at_ms is None else log.latest("headline_score", key=key, by="event_time")
            if earlier is None or earlier.event_time < published:
                # Whether it came out of the cache is about the record, not about what was said.
                events.append(new_event(key, when, what, provenance=f"{_provenance(live_at_ms)} {reuse}".strip()))
    before = log.head()
    stored = [event for event in log.append(events, writer=WRITER_OF_NEWS) if event.seq > before]
    return Recorded(
        headlines=sum(event.kind == "headline" for event in stored),
        scores=sum(event.kind == "headline_score" for event in stored),
    )


def score_events(
    headline: Published, score: Score, known: int, *, trained_until_ms: int | None = None
) -> list[tuple[int, str, HeadlineScore]]:
    """Return what a score says of each asset, as (event time, key, payload); nothing of an abstention."""
    if score.impact is None or score.confidence is None:
        return []
    name = exact_key(headline.text)[:16]
    impacts = [(score.asset, score.impact), *((one.asset, one.impact) for one in score.also)]
    return [
        (
            known,
            f"{asset}|{name}|{score.model}",
            HeadlineScore(
                headline=name,
                story=near_key(headline.text)[:16],
                asset=asset,
                impact=impact,
                confidence=score.confidence,
                horizon=score.horizon,
                model=score.model,
                trained_until_ms=trained_until_ms,
            ),
        )
        for asset, impact in impacts
        if asset is not None
    ]


def recorded_scores(log: EventLog, *, model: str | None = None) -> list[tuple[int, HeadlineScore]]:
    """Return every recorded score with its event time, of one model or of all."""
    events = log.read(kinds={"headline_score"}, newest_revision=True)
    return [
        (event.event_time, event.payload)
        for event in events
        if isinstance(event.payload, HeadlineScore) and model in {None, event.payload.model}
    ]


def _provenance(live_at_ms: int | None) -> str:
    return "archive" if live_at_ms is None else "received"
