"""`/ml/predict`: what the model says. The front answers it first; this is its documentation and its slow twin."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from kalibre.api import posted as post
from kalibre.api.answers import Answer
from kalibre.api.front import parse_query
from kalibre.api.routes.base import errors, needs, service_of
from kalibre.api.service import Answers, AnswerWithChallenger

router = APIRouter(tags=["predict"])

(_ANSWER, _ANSWER_WITH_CHALLENGER, _ANSWERS, _POSTED), SCHEMAS = msgspec.json.schema_components(
    (Answer, AnswerWithChallenger, Answers, post.Posted), ref_template="#/components/schemas/{name}"
)


def _documented(*schemas: dict[str, Any]) -> dict[str, Any]:
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}
    return {"description": "The forecast and the policy's word.", "content": {"application/json": {"schema": schema}}}


def _json(result: Answer | Answers) -> Response:
    return Response(msgspec.json.encode(result), media_type="application/json", headers={"cache-control": "no-store"})


@router.get(
    "/ml/predict",
    response_class=Response,
    responses={200: _documented(_ANSWER_WITH_CHALLENGER, _ANSWERS), **errors(404)},
    dependencies=[needs("read")],
)
def predict_stored(
    request: Request,
    symbol: Annotated[str | None, Query(description="Leave it out for all symbols that are followed.")] = None,
    shadow: Annotated[bool, Query(description="Add what the challenger would answer.")] = False,
) -> Response:
    """Answer for the newest bar in the log, of one symbol or of all."""
    _, with_challenger = parse_query(request.scope["query_string"])
    service = service_of(request)
    if symbol is None:
        return _json(service.predict_all(shadow=with_challenger))
    return _json(service.predict(symbol, shadow=with_challenger))


@router.post(
    "/ml/predict",
    response_class=Response,
    responses={200: _documented(_ANSWER), **errors(404, 413)},
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _POSTED}}}},
    dependencies=[needs("predict")],
)
async def predict_posted(request: Request) -> Response:
    """Answer for posted bars, or for one posted row of features.

    Posted bars are read in the caller's own scale of prices: the corporate actions that the server knows are not
    applied to them. Send bars that are adjusted where a split lies among them.
    """
    service = service_of(request)
    posted = post.read(await request.body())
    answer = post.answer_features if posted.bars is None else post.answer_bars
    return _json(await run_in_threadpool(answer, service, posted))
