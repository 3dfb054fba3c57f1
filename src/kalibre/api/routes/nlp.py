"""`/nlp/*`: sentiment, entities and answers of posted text, single or in a batch."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field

from kalibre.api.routes.base import Command, errors, needs, service_of
from kalibre.api.texts import EntityLists, Sentiments
from kalibre.core.errors import ApiError
from kalibre.language.base import Answer, Passage

router = APIRouter(tags=["nlp"])

# A forecast is an Answer too: among the forms of all routes these have a name of their own.
(_SENTIMENTS, _ENTITIES, _ANSWER), _FORMS = msgspec.json.schema_components(
    (Sentiments, EntityLists, Answer), ref_template="#/components/schemas/Text{name}"
)
SCHEMAS = {f"Text{name}": form for name, form in _FORMS.items()}


def documented(schema: dict[str, Any], description: str) -> dict[int | str, dict[str, Any]]:
    """Document the answer of a route that encodes by itself."""
    return {200: {"description": description, "content": {"application/json": {"schema": schema}}}}


def encoded(result: msgspec.Struct) -> Response:
    """Return a result as JSON that nobody may keep.

    Raises
    ------
    ApiError
        422 if it quotes half a character that was posted: JSON can spell those, and nothing can write them.
    """
    try:
        content = msgspec.json.encode(result)
    except UnicodeEncodeError as error:
        told = error.object[max(0, error.start - 20) : error.end + 10]
        raise ApiError(f"{told!r} holds half of a character (a lone surrogate): mend the text", status=422) from None
    return Response(content, media_type="application/json", headers={"cache-control": "no-store"})


def _is_json(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise ApiError(f"content-type {kind!r}: send JSON in UTF-8, with content-type application/json", status=415)


takes_json: Any = Depends(_is_json)
"""A dependency that refuses what says that it is something else."""


class PostedTexts(Command):
    """One `text` or several `texts`."""

    text: str | None = None
    texts: list[str] | None = None

    def all(self) -> list[str]:
        """Return the texts.

        Raises
        ------
        ApiError
            422 if both or neither is there.
        """
        if (self.text is None) == (self.texts is None):
            raise ApiError("send either `text` or `texts`", status=422)
        return [self.text] if self.text is not None else list(self.texts or [])


class PostedPassage(Command):
    """A piece of a document to answer from."""

    text: Annotated[str, Field(min_length=1)]
    title: Annotated[str, Field(max_length=1_000)] = ""
    source: Annotated[str, Field(max_length=2_000)] = ""
    date: Annotated[str, Field(max_length=100)] = ""


class PostedQuestion(Command):
    """A question, and the passages to answer it from; without them the index is asked."""

    question: Annotated[str, Field(min_length=1, max_length=2_000)]
    passages: Annotated[list[PostedPassage] | None, Field(max_length=200)] = None


@router.post(
    "/nlp/sentiment",
    response_class=Response,
    responses={**documented(_SENTIMENTS, "What each text says for the market."), **errors(413, 415, 429)},
    dependencies=[needs("predict"), takes_json],
)
def sentiment(request: Request, posted: PostedTexts) -> Response:
    """Say whether texts are negative, neutral or positive for the market or the asset named, and for each asset."""
    return encoded(service_of(request).texts.sentiment(posted.all()))


@router.post(
    "/nlp/entities",
    response_class=Response,
    responses={**documented(_ENTITIES, "The names in each text."), **errors(413, 415, 429)},
    dependencies=[needs("predict"), takes_json],
)
def entities(request: Request, posted: PostedTexts) -> Response:
    """Find organisations, persons, places, money, percentages, dates and tickers in texts, without their suffixes."""
    return encoded(service_of(request).texts.entities(posted.all()))


@router.post(
    "/nlp/answer",
    response_class=Response,
    responses={
        **documented(_ANSWER, "The answer with where it stands, or why there is none."),
        **errors(409, 413, 415, 429),
    },
    dependencies=[needs("predict"), takes_json],
)
def answer(request: Request, posted: PostedQuestion) -> Response:
    """Answer a question from posted passages or from the index; cite the source, or abstain."""
    passages = posted.passages
    found = None
    if passages is not None:
        if not passages:
            raise ApiError("`passages` is empty: send at least one, or leave it out to ask the index", status=422)
        found = [
            Passage(id=str(place), document=one.title, title=one.title, text=one.text, source=one.source, date=one.date)
            for place, one in enumerate(passages)
        ]
    return encoded(service_of(request).texts.answer(posted.question, found))
