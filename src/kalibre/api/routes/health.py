"""`/healthz`: whether a person has to do something."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request, Response

from kalibre.api.live import HEARTBEAT_LIMIT_S
from kalibre.api.routes.base import View, service_of
from kalibre.core.clock import span_text
from kalibre.core.errors import KalibreError

router = APIRouter(tags=["health"])


class ModelHealth(View):
    """Who acts for a symbol, and how fresh what it sees is."""

    champion: str | None
    challenger: str | None
    problem: str | None
    staleness_seconds: float | None


class LogHealth(View):
    """How far the server has read the log."""

    position: int
    head: int | None
    lag_events: int | None
    heartbeat_age_seconds: float


class KillHealth(View):
    """Whether the kill switch is engaged; null while nobody can know: the log is not read, and no file is there."""

    engaged: bool | None
    by: str | None
    reason: str | None


class Health(View):
    """The state of the serving process; `reasons` says what degrades it and what to do."""

    status: Literal["ok", "degraded"]
    reasons: list[str]
    models: dict[str, ModelHealth]
    kill: KillHealth
    log: LogHealth
    automation_running: bool | None


@router.get(
    "/healthz",
    response_model=Health,
    responses={503: {"model": Health, "description": "Degraded: `reasons` says why."}},
)
def health(request: Request, response: Response) -> Health:
    """Say how the server is: 200 if all is well, 503 if something is stale, broken or behind."""
    service = service_of(request)
    picture = service.live.picture
    reasons = [picture.problem] if picture.problem else []
    head: int | None = None
    try:
        head = service.log().head()
    except KalibreError as error:
        reasons.append(f"the log cannot be read: {error}")
    age = service.live.heartbeat_age_s
    if age > HEARTBEAT_LIMIT_S:
        reasons.append(f"the live view last read the log {age:.0f} seconds ago: restart `kalibre serve`")
    models = {}
    for symbol, view in picture.series.items():
        champion, challenger = view.roles["champion"], view.roles["challenger"]
        staleness = service.staleness_seconds(picture, view.as_of_ms)
        models[symbol] = ModelHealth(
            champion=None if champion.model is None else champion.model.model_id,
            challenger=None if challenger.model is None else challenger.model.model_id,
            problem=champion.problem or None,
            staleness_seconds=staleness,
        )
        if champion.problem and not (champion.vacant or champion.on_its_way):
            reasons.append(f"{symbol}: {champion.problem}")
        if view.frozen:
            reasons.append(view.frozen)
        if staleness is None and picture.ready:  # before the log was read, nobody knows what it holds
            reasons.append(f"{symbol}: the log holds no bars; run `kalibre ingest --symbol {symbol}`")
        elif staleness is not None and service.overdue(picture, view):
            reasons.append(
                f"{symbol}: the newest bar closed {span_text(staleness)} ago; see that `kalibre ingest --follow` runs"
            )
    if reasons:
        response.status_code = 503
    kill = picture.kill if picture.killed else None
    return Health(
        status="degraded" if reasons else "ok",
        reasons=reasons,
        models=models,
        kill=KillHealth(
            engaged=service.engaged(picture), by=kill.by if kill else None, reason=kill.reason if kill else None
        ),
        log=LogHealth(
            position=picture.seq,
            head=head,
            lag_events=None if head is None else max(0, head - picture.seq),
            heartbeat_age_seconds=round(age, 3),
        ),
        automation_running=picture.running if picture.ready else None,
    )
