"""`/metrics/prom`: the process and its models in Prometheus' text form."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from kalibre.api._hub_samples import hub_samples
from kalibre.api.exposition import exposition
from kalibre.api.routes.base import errors, needs, service_of
from kalibre.api.text_metrics import text_exposition

router = APIRouter(tags=["metrics"])


@router.get(
    "/metrics/prom",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Metrics."}, **errors()},
    dependencies=[needs("read")],
)
def metrics(request: Request) -> Response:
    """Show every metric, in base units."""
    from kalibre.hub.metrics import exposition as hub_exposition

    service = service_of(request)
    text = exposition(service) + hub_exposition(hub_samples(service)) + text_exposition(service.texts)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
