"""`/metrics/prom`: the process and its models in Prometheus' text form."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from kalibre.api.exposition import exposition
from kalibre.api.routes.base import errors, needs, service_of

router = APIRouter(tags=["metrics"])


@router.get(
    "/metrics/prom",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Metrics."}, **errors()},
    dependencies=[needs("read")],
)
def metrics(request: Request) -> Response:
    """Show every metric, in base units."""
    return Response(exposition(service_of(request)), media_type="text/plain; version=0.0.4; charset=utf-8")
