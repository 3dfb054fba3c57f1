"""`/events`: the log as a stream (server-sent events) that goes on where the client left off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from kalibre.api.routes.base import errors, needs, service_of
from kalibre.api.service import Service
from kalibre.core.errors import ApiError
from kalibre.core.events import Event, payload_types

router = APIRouter(tags=["events"])

MAX_STREAMS = 64
"""Most streams at once: each holds a connection for as long as its client likes."""

_PAGE = 500
_LOOK_S = 0.1
_COMMENT_EVERY_S = 15.0
_FRAME = {
    "type": "object",
    "description": "`id` is the event's position, `event` its kind, `data` the event as JSON.",
    "properties": {"id": {"type": "string"}, "event": {"type": "string"}, "data": {"type": "string"}},
}


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {"schema": _FRAME}}, "description": "A stream of events."},
        **errors(429),
    },
    dependencies=[needs("read")],
)
async def events(
    request: Request,
    after: Annotated[int | None, Query(ge=0, le=2**62, description="Position to go on after.")] = None,
    kinds: Annotated[str | None, Query(description="Comma separated kinds; leave it out for all.")] = None,
    key: Annotated[str | None, Query(description="Only events of this key, for example BTCUSDT|15m.")] = None,
    follow: Annotated[bool, Query(description="False: end at the newest event instead of waiting for more.")] = True,
    last_event_id: Annotated[str | None, Header(description="What a browser sends when it connects again.")] = None,
) -> StreamingResponse:
    """Stream the log's events after a position; without one, only what comes from now on."""
    service = service_of(request)
    wanted = _kinds(kinds)
    position = after
    if last_event_id is not None:
        # A reconnecting browser repeats the address it began with: what it saw last counts.
        if not (last_event_id.isascii() and last_event_id.isdigit() and int(last_event_id) <= 2**62):
            raise ApiError(f"Last-Event-ID {last_event_id[:60]!r} is no position: send the id of an event", status=422)
        position = int(last_event_id)
    if position is None:
        position = service.live.picture.seq if follow else 0
    if service.streams >= MAX_STREAMS:
        raise ApiError(f"{service.streams} streams are open, as many as there may be: close one", status=429)
    return StreamingResponse(
        _stream(request, service, position, wanted, key, follow),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


async def _stream(
    request: Request, service: Service, position: int, kinds: set[str] | None, key: str | None, follow: bool
) -> AsyncIterator[bytes]:
    service.streams += 1
    try:
        silent_s = 0.0
        yield b"retry: 1000\n\n"
        while not service.closing:
            page, reached = await run_in_threadpool(_read, service, position, kinds, key)
            for event in page:
                yield _frame(event)
            if page:
                silent_s = 0.0
            more = len(page) == _PAGE
            position = reached
            if more:
                continue
            if not follow:
                return
            while service.live.picture.seq <= position and not service.closing:
                if await request.is_disconnected():
                    return
                if silent_s >= _COMMENT_EVERY_S:
                    silent_s = 0.0
                    yield b": still here\n\n"
                await asyncio.sleep(_LOOK_S)
                silent_s += _LOOK_S
    finally:
        service.streams -= 1


def _read(service: Service, position: int, kinds: set[str] | None, key: str | None) -> tuple[list[Event], int]:
    """Return up to a page of events, and the position up to which they are all."""
    log = service.log()
    head = log.head()
    page = log.read(after=position, upto=head, kinds=kinds, key=key, limit=_PAGE)
    return page, (page[-1].seq if len(page) == _PAGE else max(head, position))


def _kinds(text: str | None) -> set[str] | None:
    if text is None:
        return None
    wanted = {kind.strip() for kind in text.split(",") if kind.strip()}
    if unknown := sorted(wanted - set(payload_types())):
        raise ApiError(
            f"event kind {unknown[0][:60]!r} is unknown: choose some of {', '.join(sorted(payload_types()))}",
            status=422,
        )
    return wanted or None


def _frame(event: Event) -> bytes:
    """Write one event for the wire: its position is its id, so that a client can come back after it."""
    content = msgspec.json.encode(
        {
            "seq": event.seq,
            "kind": event.kind,
            "key": event.key,
            "event_time": event.event_time,
            "revision": event.revision,
            "recorded_at": event.recorded_at,
            "payload": event.payload,
        }
    )
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.seq, event.kind.encode(), content)
