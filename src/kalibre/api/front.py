"""The front: plain ASGI that guards every request and answers predict itself; the rest goes on to FastAPI.

Routing, dependency injection and serialisation by pydantic cost several times what a prediction does, so the one route
that is asked thousands of times a second does without them (`benchmarks/serving.py` measures both).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import msgspec

from kalibre.api import posted as post
from kalibre.api.answers import Answer
from kalibre.api.guard import check_length, require
from kalibre.api.service import Answers, Service
from kalibre.api.sessions import LOGIN_PATH
from kalibre.core.errors import ApiError, KalibreError

if TYPE_CHECKING:
    from fastapi import FastAPI

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PREDICT = "/ml/predict"
_OPEN = frozenset({"/", "/ai-learning-hub/monitoring", "/login", "/logout", "/healthz", "/docs", "/openapi.json"})
"""Paths that need no key even where keys are set: a probe has none, and documentation and bare page hold no secret."""

_PAGE = "/page/"
"""What the page is made of lies under this path, open as well."""

_DRAINED_BYTES = 64 * 1024 * 1024
_JSON = (b"content-type", b"application/json")
_NO_STORE = (b"cache-control", b"no-store")
_encode = msgspec.json.Encoder().encode


class Front:
    """The whole server as one ASGI application.

    Parameters
    ----------
    service
        What the routes share.
    behind
        The FastAPI application for every other route.
    """

    def __init__(self, service: Service, behind: FastAPI) -> None:
        self.service = service
        self._behind = behind
        # Two at a time: posted bars take milliseconds of a core each, and predictions come first.
        self._bars_turn = asyncio.Semaphore(2)

    def description(self) -> dict[str, Any]:
        """Return the OpenAPI description of every route."""
        return self._behind.openapi()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection's lifespan or one request."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._request(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.service.live.start()
                self.service.hub.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                self.service.closing = True
                await asyncio.to_thread(self.service.close)
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        extra: tuple[tuple[str, str], ...] = ()
        method, path = scope["method"], scope["path"]
        try:
            try:
                # Who logs in proves it by a one-time token, whatever cookie there is.
                scopes = self.service.guard.admit(scope["headers"], "GET" if path == LOGIN_PATH else method)
            except ApiError:
                await _drain(receive)
                raise
            if path == PREDICT and method == "POST":
                require(scopes, "predict")
                content = _encode(await self._predict_posted(await _body(receive)))
            elif path == PREDICT and method == "GET":
                require(scopes, "read")
                content = _encode(self._predict_stored(scope["query_string"]))
            else:
                if path not in _OPEN and not scopes and not path.startswith(_PAGE):
                    require(scopes, "read")
                await self._pass_on(scope, scopes, receive, send, started)
                return
            status = 200
        except ApiError as error:
            status, content, extra = error.status, error_body(error), error.headers
        except KalibreError as error:
            status, content = 503, error_body(error)
        await respond(send, status, content, extra)
        self.service.counters.request(
            method, PREDICT if path == PREDICT else "other", status, time.perf_counter() - started
        )

    def _predict_stored(self, query: bytes) -> Answer | Answers:
        symbol, shadow = parse_query(query)
        if symbol is None:
            return self.service.predict_all(shadow=shadow)
        return self.service.predict(symbol, shadow=shadow)

    async def _predict_posted(self, body: bytes) -> Answer:
        posted = post.read(body)
        if posted.bars is None:
            return post.answer_features(self.service, posted)
        async with self._bars_turn:
            return await asyncio.to_thread(post.answer_bars, self.service, posted)

    async def _pass_on(
        self, scope: Scope, scopes: frozenset[str], receive: Receive, send: Send, started: float
    ) -> None:
        scope["kalibre.scopes"] = scopes
        status = 500
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            check_length(received)
            return message

        async def send_watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._behind(scope, receive_limited, send_watched)
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
            self.service.counters.request(scope["method"], route, status, time.perf_counter() - started)


async def _body(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body", False):
        message = await receive()
        body += message.get("body", b"")
        check_length(len(body))
    return body


async def _drain(receive: Receive) -> None:
    """Let a body run dry that nobody will read: a client that is still sending would miss the answer otherwise."""
    left = _DRAINED_BYTES
    message = await receive()
    while message["type"] == "http.request" and message.get("more_body", False) and left > 0:
        left -= len(message.get("body", b""))
        message = await receive()


async def respond(send: Send, status: int, content: bytes, extra: tuple[tuple[str, str], ...] = ()) -> None:
    """Send one JSON answer."""
    headers = [_JSON, _NO_STORE, (b"content-length", b"%d" % len(content))]
    headers += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in extra]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def error_body(error: Exception) -> bytes:
    """Write an error as the command line's `--json` does: its type and a message that says what to do."""
    return _encode({"error": {"type": type(error).__name__, "message": str(error)}})


@lru_cache(maxsize=512)
def parse_query(query: bytes) -> tuple[str | None, bool]:
    """Read `symbol` and `shadow` from a query string.

    Raises
    ------
    ApiError
        422 for a `shadow` that is neither 0 nor 1.

    Examples
    --------
    >>> parse_query(b"symbol=BTCUSDT&shadow=1")
    ('BTCUSDT', True)
    """
    values = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    shadow = values.get("shadow", "0").lower()
    if shadow not in ("0", "1", "true", "false"):
        raise ApiError(f"shadow = {shadow[:60]!r}: write 1 to see the challenger too, or leave it out", status=422)
    return values.get("symbol"), shadow in ("1", "true")
