"""`/ml/explain`: why the champion says what it says, in figures and in words."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request

from kalibre.api.answers import utc_text
from kalibre.api.routes.base import View, errors, needs, service_of
from kalibre.api.routes.hub import Symbol, series_of
from kalibre.core.errors import ApiError
from kalibre.core.hub_events import Annotation

router = APIRouter(tags=["model"])

EXPLAINER = "explain"


class Explanation(View):
    """The newest explanation: what each feature added to the forecast (`values`), of which model, and in words."""

    symbol: str
    as_of: str
    about: str
    label: str
    values: dict[str, float]
    abstained: str | None
    words: list[str]
    seq: int


@router.get("/ml/explain", responses=errors(404), dependencies=[needs("read")])
def explain(
    request: Request,
    symbol: Symbol = None,
    lang: Annotated[Literal["en", "tr"] | None, Query(description="Language; the server's if left out.")] = None,
) -> Explanation:
    """Say why the champion made its newest forecast."""
    service = service_of(request)
    series = series_of(service, symbol)
    cell = service.hub.cell(f"{series}/note/{EXPLAINER}")
    if cell is None or not isinstance(cell.value, Annotation):
        raise ApiError(
            f"nothing has explained a forecast of {series} yet: the learner {EXPLAINER!r} does, once a champion speaks",
            status=404,
        )
    note = cell.value
    return Explanation(
        symbol=series.partition("|")[0],
        as_of=utc_text(cell.at_ms),
        about=note.about,
        label=note.label,
        values=dict(sorted(note.values.items(), key=lambda item: -abs(item[1]))),
        abstained=note.abstained,
        words=words_of(note, lang or service.settings.lang),
        seq=cell.seq,
    )


def words_of(note: Annotation, lang: str) -> list[str]:
    """Return an explanation in words, as the explainer itself says it; empty where it cannot."""
    from kalibre.core.catalog import part, part_names

    if note.abstained or EXPLAINER not in part_names("kalibre.learners"):
        return []
    say = getattr(part("kalibre.learners", EXPLAINER), "words", None)
    said = [] if say is None else say(note, lang)
    return [said] if isinstance(said, str) else [str(line) for line in said]
