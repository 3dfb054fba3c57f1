"""The hot wire: predict answered where the bytes arrive, without a task, a scope or a queue of events.

An ASGI server makes some thirty objects and wakes a task for each request; a prediction takes less than that. So where
one whole request for predict arrives at once, on a connection with nothing in flight, it is answered by this; whatever
is not exactly that goes the ordinary way, through uvicorn and the front, and gets the same answer.

A client that keeps its connection sends the same head again and again. The first time it is parsed by the same parser
that uvicorn uses and goes through the same door (Host, Origin, key, scope); then it is known by a keyed hash, so that
no API key stays in memory. Only what was let in is remembered.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kalibre.api import posted as post
from kalibre.api.front import PREDICT, error_body, parse_query
from kalibre.api.guard import require
from kalibre.core.errors import ApiError, KalibreError

if TYPE_CHECKING:
    from kalibre.api.service import Service

_LONGEST_HEAD = 4096
_MOST_HEADS = 4096
_BEGINNINGS = (b"POST /ml/predict ", b"GET /ml/predict ", b"GET /ml/predict?")
_FORBIDDEN = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"connection", b"cookie"})
"""Heads with these go the ordinary way; a cookie, because what is known by its head would outlive its session."""
_HEAD = b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncache-control: no-store\r\ncontent-length: %d\r\n\r\n%s"
_PHRASES = {200: b"OK", 404: b"Not Found", 422: b"Unprocessable Content", 400: b"Bad Request", 503: b"Unavailable"}
_encode = msgspec.json.Encoder().encode


class _Known(NamedTuple):
    """A head that was let in."""

    posted: bool
    length: int
    symbol: str | None
    shadow: bool


class _Head:
    """Collects what the parser finds in one head."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.whole = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.whole = True


class HotWire:
    """Answers whole predict requests from their bytes.

    Parameters
    ----------
    service
        What the routes share.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._secret = secrets.token_bytes(32)
        self._known: dict[bytes, _Known] = {}

    def answer(self, received: bytes) -> bytes | None:
        """Return the whole answer to what was received, or None if it has to go the ordinary way."""
        if not received.startswith(_BEGINNINGS):
            return None
        end = received.find(b"\r\n\r\n", 0, _LONGEST_HEAD) + 4
        if end < 4:
            return None
        started = time.perf_counter()
        head = received[:end]
        digest = hashlib.blake2b(head, digest_size=16, key=self._secret).digest()
        known = self._known.get(digest) or self._learn(head, digest)
        if known is None or len(received) != end + known.length:
            return None
        service = self._service
        status = 200
        try:
            if known.posted:
                posted = post.read(received[end:])
                if posted.bars is not None:
                    return None
                content = _encode(post.answer_features(service, posted))
            elif known.symbol is None:
                content = _encode(service.predict_all(shadow=known.shadow))
            else:
                content = _encode(service.predict(known.symbol, shadow=known.shadow))
        except ApiError as error:
            status, content = error.status, error_body(error)
            if status not in _PHRASES or error.headers:
                return None
        except KalibreError as error:
            status, content = 503, error_body(error)
        service.counters.request("POST" if known.posted else "GET", PREDICT, status, time.perf_counter() - started)
        return _HEAD % (status, _PHRASES[status], len(content), content)

    def _learn(self, head: bytes, digest: bytes) -> _Known | None:
        found = _Head()
        parser = httptools.HttpRequestParser(found)
        try:
            parser.feed_data(head)
            url = httptools.parse_url(found.url)
            names = [name for name, _ in found.headers]
            if (
                not found.whole
                or url.path != PREDICT.encode()
                or parser.get_http_version() != "1.1"
                or not parser.should_keep_alive()
                or not _FORBIDDEN.isdisjoint(names)
                or names.count(b"content-length") > 1
            ):
                return None
            scopes = self._service.guard.admit(found.headers)
            posted = parser.get_method() == b"POST"
            require(scopes, "predict" if posted else "read")
            length = int(dict(found.headers).get(b"content-length", b"0"))
            symbol, shadow = parse_query(url.query or b"")
        except (ApiError, httptools.HttpParserError):
            return None
        if len(self._known) >= _MOST_HEADS:
            self._known.clear()
        known = _Known(posted, length, symbol, shadow)
        self._known[digest] = known
        return known


def protocol(wire: HotWire) -> type[HttpToolsProtocol]:
    """Return uvicorn's HTTP protocol with the hot wire in front of it."""

    class HotProtocol(HttpToolsProtocol):
        """One connection."""

        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self._inside = False
            self._last_hot = 0.0

        def data_received(self, data: bytes) -> None:
            """Answer at once where that is possible, else leave it to uvicorn."""
            if not self._inside and (self.cycle is None or self.cycle.response_complete) and not self.pipeline:
                answer = wire.answer(data)
                if answer is not None and not self.transport.is_closing():
                    self.transport.write(answer)
                    self._stay()
                    return
            super().data_received(data)

        def on_message_begin(self) -> None:
            """Note that a request has begun to arrive the ordinary way."""
            self._inside = True
            super().on_message_begin()

        def on_message_complete(self) -> None:
            """Note that it has arrived whole."""
            self._inside = False
            super().on_message_complete()

        def _stay(self) -> None:
            # One timer for many answers: it looks at the time of the last one when it goes off.
            self._last_hot = self.loop.time()
            self.server_state.total_requests += 1
            if self.timeout_keep_alive_task is None:
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.timeout_keep_alive, self.timeout_keep_alive_handler
                )

        def timeout_keep_alive_handler(self) -> None:
            """Close the connection if nothing was asked for a while."""
            left = self._last_hot + self.timeout_keep_alive - self.loop.time()
            if left > 0.01:
                self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
            else:
                super().timeout_keep_alive_handler()

    return HotProtocol
