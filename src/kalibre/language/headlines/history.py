"""Scores for a back-test: as they were recorded, or made now by a scorer that knows nothing of the time it judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kalibre.bars.calendars import Calendar
from kalibre.core.clock import to_text
from kalibre.core.errors import KalibreError, ModelError, UsageError
from kalibre.core.settings import Settings
from kalibre.core.text_events import HeadlineScore
from kalibre.language.base import SENTIMENTS, SentimentModel
from kalibre.language.bundle import LanguageBundle
from kalibre.language.headlines.publication import known_ms
from kalibre.language.headlines.recording import Published, recorded_scores, score_events
from kalibre.language.headlines.scoring import BuiltinScorer, scored
from kalibre.language.rows import read_rows
from kalibre.log.protocol import EventLog

_ALSO = {
    "text": ("title", "headline", "baslik", "başlık"),
    "published": ("date", "time", "tarih", "datetime"),
    "label": ("sentiment", "etiket"),
}


@dataclass(frozen=True)
class DatedScores:
    """Scores with their event times, who made them, and until when the texts reach that the scorer learnt from."""

    scores: list[tuple[int, HeadlineScore]]
    model: str
    trained_until_ms: int | None


def dated_scores(
    log: EventLog, settings: Settings, *, file: Path | None, labels: Path | None, calendar: Calendar
) -> DatedScores:
    """Return the scores that a back-test judges.

    Parameters
    ----------
    log
        Where recorded scores lie.
    settings
        Which model scores a file.
    file
        Headlines (text, published) to score now; None takes the recorded ones.
    labels
        Dated labels (text, label, date): a scorer is trained on those that were known before the first headline of the
        file, and on nothing else.
    calendar
        Whose sessions count for a date alone.

    Raises
    ------
    UsageError
        If there is nothing to judge, or labels are given without a file.
    ModelError
        If too few labels are dated before the first headline.
    """
    if file is None:
        if labels is not None:
            raise UsageError("--labels trains a scorer for a file of headlines: add --file FILE")
        return _recorded(log, settings)
    rows = read_rows(file, ("text", "published"), ("source",), also=_ALSO)
    told = [Published(row["text"], row["published"], row["source"] or file.name) for row in rows]
    first = min(known_ms(one.published, calendar) for one in told)
    model, until = (
        _trained_before(labels, first, calendar)
        if labels is not None
        else (_stored(settings), _until("sentiment", settings.language.sentiment))
    )
    # Horizons of the shipped model were learnt from later texts; without one, a headline counts by days.
    scorer = BuiltinScorer(model, None, settings.language.universe or None)
    results = scored([one.text for one in told], universe=settings.language.universe or None, scorer=scorer)
    events = [
        event
        for one, (score, _) in zip(told, results, strict=True)
        for event in score_events(one, score, known_ms(one.published, calendar))
    ]
    return DatedScores([(when, score) for when, _, score in events], scorer.version, until)


def _recorded(log: EventLog, settings: Settings) -> DatedScores:
    scores = recorded_scores(log)
    if not scores:
        raise UsageError(
            "the log holds no scored headline: record some with `kalibre news score --file FILE --record`, or judge a "
            "file with --file"
        )
    models = sorted({score.model for _, score in scores})
    if len(models) > 1:
        raise UsageError(f"the log holds scores of several models ({', '.join(models)}): judge a file with --file")
    version = _stored(settings).version
    # Only of the model that is at hand is it known what it learnt from.
    known = models[0].split("+")[0] == version
    return DatedScores(scores, models[0], _until("sentiment", settings.language.sentiment) if known else None)


def _stored(settings: Settings) -> SentimentModel:
    from kalibre.language.load import load

    model: SentimentModel = load("sentiment", settings.language.sentiment)
    return model


def trained_until(settings: Settings) -> int | None:
    """Return the time of the newest text that the configured scorer learnt from, None where it is not known.

    An endpoint's model does not say; of the builtin one both parts, direction and horizon, have to.
    """
    if settings.language.endpoint_url:
        return None
    parts = [_until("sentiment", settings.language.sentiment), _until("horizon", "builtin:fast")]
    return None if None in parts else max(part for part in parts if part is not None)


def _until(task: str, name: str) -> int | None:
    """Return the end of the day of the newest text that a model learnt from, as its card says it."""
    from kalibre.bars.calendars import get_calendar
    from kalibre.language.bundle import MANIFEST, open_bundle, shipped

    try:
        if name.startswith("builtin:"):
            card = shipped(task, name.removeprefix("builtin:")).card
        elif (Path(name) / MANIFEST).is_file():
            card = open_bundle(Path(name), task).card
        else:
            return None
        until = card.get("trained_until")
        return None if not until else known_ms(str(until), get_calendar("24/7"))
    except KalibreError:
        return None


def _trained_before(labels: Path, first_ms: int, calendar: Calendar) -> tuple[SentimentModel, int]:
    from kalibre.language.load import from_bundle

    rows = read_rows(labels, ("text", "label", "published"), also=_ALSO)
    dated = [(known_ms(row["published"], calendar), row["text"], row["label"].strip().lower()) for row in rows]
    before = [row for row in dated if row[0] < first_ms]
    bundle = _trained([text for _, text, _ in before], [label for *_, label in before], labels, first_ms)
    model: Any = from_bundle(bundle)
    return model, max(when for when, *_ in before)


def _trained(texts: Sequence[str], said: Sequence[str], labels: Path, first_ms: int) -> LanguageBundle:
    from kalibre.language.sentiment.fast import train

    counts = {name: list(said).count(name) for name in SENTIMENTS}
    if min(counts.values()) < 5 or len(texts) < 50:
        raise ModelError(
            f"{str(labels)!r} holds {counts} labels dated before the first headline ({to_text(first_ms)}): a scorer "
            "needs at least 50, and 5 of each; bring older labels or newer headlines"
        )
    return train(texts, said)
