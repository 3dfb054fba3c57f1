"""An OpenAI-compatible endpoint on loopback, in the wire format of `POST /v1/chat/completions` (API version 2024-08).

Covered: real HTTP, the request as it arrives, the answer's envelope (choices, message, refusal, finish_reason, usage),
HTTP errors with Retry-After, hanging, an answer that comes in drops. Not covered: streaming, tools, any
model's actual words.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Call:
    path: str
    headers: dict[str, str]
    body: Any

    @property
    def document(self) -> Any:
        return json.loads(self.body["messages"][1]["content"])


@dataclass
class FakeEndpoint:
    base_url: str
    calls: list[Call] = field(default_factory=list)
    answer: Callable[[Call], tuple[int, bytes, dict[str, str]]] = lambda call: (500, b"", {})
    pause_s: float = 0.0
    """Between two bytes of an answer."""
    let_go: threading.Event = field(default_factory=threading.Event)


def completion(content: str | None, *, refusal: str | None = None, finish: str = "stop", tokens: int = 100) -> bytes:
    message = {"role": "assistant", "content": content, "refusal": refusal}
    return json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_764_000_000,
            "model": "scorer-1",
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
            "usage": {"prompt_tokens": tokens - 10, "completion_tokens": 10, "total_tokens": tokens},
        }
    ).encode()


def line(number: int, **changed: Any) -> dict[str, Any]:
    said = {"number": number, "asset": "BIST100", "impact": 0.5, "horizon": "daily", "confidence": 0.8, "also": []}
    return {**said, **changed}


def lines(call: Call, **changed: Any) -> bytes:
    """Answer every headline of a call alike."""
    return completion(json.dumps({"scores": [line(one["number"], **changed) for one in call.document["headlines"]]}))


@contextlib.contextmanager
def fake_endpoint() -> Iterator[FakeEndpoint]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("content-length", 0))
            call = Call(self.path, {k.lower(): v for k, v in self.headers.items()}, json.loads(self.rfile.read(length)))
            fake.calls.append(call)
            status, body, headers = fake.answer(call)
            if status == 0:
                fake.let_go.wait(10)
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                if not fake.pause_s:
                    self.wfile.write(body)
                    return
                for byte in body:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    if fake.let_go.wait(fake.pause_s):
                        return

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake = FakeEndpoint(f"http://127.0.0.1:{server.server_address[1]}/v1")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        fake.let_go.set()
        server.shutdown()
        server.server_close()
        thread.join()
