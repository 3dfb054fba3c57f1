"""`/hub/stream`: what is new, as server-sent events that go on from a position. A slow reader gets less, not late."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from kalibre.api.hub_view import encode
from kalibre.api.routes.base import errors, needs, service_of
from kalibre.api.routes.events import MAX_STREAMS
from kalibre.api.routes.hub import Symbol, now_of, series_of
from kalibre.api.service import Service
from kalibre.core.errors import ApiError

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

router = APIRouter(tags=["hub"])

BEAT_S = 2.0
"""Time between two signs of life, which carry what is no event."""
BETWEEN_S = 0.05
"""Least time between two frames: what comes within it comes together."""
PATIENCE_S = 10.0
"""A reader who takes nothing for so long is let go; it comes back by its position."""

_FRAME = {
    "type": "object",
    "description": "`event: board` with `id` the position that it knows up to, or `event: now`; `data` is JSON.",
    "properties": {"id": {"type": "string"}, "event": {"type": "string"}, "data": {"type": "string"}},
}


@router.get(
    "/hub/stream",
    response_class=Response,
    responses={
        200: {"content": {"text/event-stream": {"schema": _FRAME}}, "description": "Frames."},
        **errors(404, 429),
    },
    dependencies=[needs("read")],
)
async def stream(
    request: Request,
    symbol: Symbol = None,
    after: Annotated[int, Query(ge=0, le=2**62, description="Position to go on after; 0 for everything.")] = 0,
    follow: Annotated[bool, Query(description="False: one frame instead of a stream without end.")] = True,
    last_event_id: Annotated[str | None, Header(description="What a browser sends when it connects again.")] = None,
) -> Response:
    """Stream what is newer than a position: named values, and the points of one series."""
    service = service_of(request)
    if last_event_id is not None:
        if not (last_event_id.isascii() and last_event_id.isdigit() and int(last_event_id) <= 2**62):
            raise ApiError(f"Last-Event-ID {last_event_id[:60]!r} is no position: send the id of a frame", status=422)
        after = int(last_event_id)
    series = await run_in_threadpool(series_of, service, symbol)
    if service.streams >= MAX_STREAMS:
        raise ApiError(f"{service.streams} streams are open, as many as there may be: close one", status=429)
    return _Stream(service, series, after, follow=follow)


class _Stream(Response):
    """Sends frames until the reader goes, the server ends, or the reader takes nothing any more."""

    media_type = "text/event-stream"

    def __init__(self, service: Service, series: str, after: int, *, follow: bool) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._service, self._series, self._position, self._follow = service, series, after, follow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection."""
        service, hub, loop = self._service, self._service.hub, asyncio.get_running_loop()
        news = asyncio.Event()
        gone = asyncio.ensure_future(_until_gone(receive))

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(news.set)

        deaf = hub.listen(wake)
        service.streams += 1
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._put(send, b"retry: 1000\n\n")
            beat_due = 0.0
            while not (service.closing or gone.done()):
                news.clear()
                if hub.ready and hub.seq != self._position:
                    await self._board(send)
                if time.monotonic() >= beat_due:
                    beat_due = time.monotonic() + BEAT_S
                    now = encode(await run_in_threadpool(now_of, service))
                    await self._put(send, b"event: now\ndata: %s\n\n" % now)
                if not self._follow:
                    break
                await asyncio.sleep(BETWEEN_S)
                await _wait(news, beat_due - time.monotonic())
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            pass  # it took nothing for so long that nobody waits for it any more
        finally:
            service.streams -= 1
            deaf()
            gone.cancel()

    async def _board(self, send: Send) -> None:
        frame, seq = await run_in_threadpool(self._service.hub.frame, self._position, self._series)
        self._position = seq
        await self._put(send, b"id: %d\nevent: board\ndata: %s\n\n" % (seq, frame))

    async def _put(self, send: Send, content: bytes) -> None:
        # The server's own buffer takes the first; who does not read lets the next one wait.
        async with asyncio.timeout(PATIENCE_S):
            await send({"type": "http.response.body", "body": content, "more_body": True})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _wait(news: asyncio.Event, seconds: float) -> None:
    """Wait for news or the time, at most so long that the server can end and a reader's going is seen."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(min(max(seconds, 0.0), 0.25)):
            await news.wait()
