"""What can go wrong at an exchange, on demand."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable

from tests.fakes.exchange_http import HttpAnswer


def error_body(code: int, message: str) -> bytes:
    return json.dumps({"code": code, "msg": message}).encode()


class Faults:
    """The faults that are pending. REST faults are used up one request each, in the order they were asked for."""

    def __init__(self) -> None:
        self.rest: deque[HttpAnswer | None] = deque()
        self.always: Callable[[int], HttpAnswer] | None = None
        self.handshake: deque[tuple[int, dict[str, str]]] = deque()
        self.losing: Counter[str] = Counter()
        self.duplicating: Counter[str] = Counter()
        self.reordering: Counter[str] = Counter()
        self.delayed_until_ms: dict[str, int] = {}
        self.malformed_events = 0
        self.lagging_answers = 0
        self.shuffled_answers = 0

    # --- REST -------------------------------------------------------------------------------------------------------

    def rate_limit(self, times: int = 1, *, retry_after_s: float = 1) -> None:
        """Answer 429 with Retry-After."""
        body = error_body(-1003, "Too much request weight used; current limit is 6000 request weight per 1 MINUTE.")
        self.rest.extend([HttpAnswer(429, body, {"Retry-After": str(retry_after_s)})] * times)

    def ban(self, *, retry_after_s: int = 120) -> None:
        """Answer 418 to everything until `lift`."""

        def banned(now_ms: int) -> HttpAnswer:
            until = now_ms + retry_after_s * 1_000
            message = f"Way too much request weight used; IP banned until {until}. Please use WebSocket Streams."
            return HttpAnswer(418, error_body(-1003, message), {"Retry-After": str(retry_after_s)})

        self.always = banned

    def refuse_region(self) -> None:
        """Answer 451 to everything until `lift`, as Binance does by country."""
        message = "Service unavailable from a restricted location according to 'b. Eligibility'"
        self.always = lambda _: HttpAnswer(451, json.dumps({"code": 0, "msg": message}).encode())

    def wait(self, requests: int) -> None:
        """Answer so many requests well before the next REST fault."""
        self.rest.extend([None] * requests)

    def lift(self) -> None:
        """End a ban or a refusal, and the REST faults that are pending."""
        self.always = None
        self.rest.clear()

    def fail(self, times: int = 1, *, status: int = 503) -> None:
        """Answer 5xx, with HTML as a gateway does."""
        self.rest.extend([HttpAnswer(status, b"<html>Bad Gateway</html>", {"Content-Type": "text/html"})] * times)

    def hang(self, times: int = 1) -> None:
        """Take the request and never answer."""
        self.rest.extend([HttpAnswer(hang=True)] * times)

    def cut(self, times: int = 1) -> None:
        """Send half of an answer and drop the connection."""
        self.rest.extend([HttpAnswer(body=b"[" + b" " * 64 + b"]", cut=True)] * times)

    def malformed(self, times: int = 1, *, body: bytes = b'[[1499040000000,"0.0163') -> None:
        """Answer 200 with what is not JSON."""
        self.rest.extend([HttpAnswer(body=body)] * times)

    def refuse(self, status: int, code: int, message: str, times: int = 1) -> None:
        """Answer an error of Binance's."""
        self.rest.extend([HttpAnswer(status, error_body(code, message))] * times)

    def lag(self, answers: int = 1) -> None:
        """Let the next klines answers lack their newest closed bar, as a read replica that is behind does."""
        self.lagging_answers += answers

    def shuffle(self, answers: int = 1) -> None:
        """Let the next klines answers come newest first, with the first bar twice."""
        self.shuffled_answers += answers

    # --- stream -----------------------------------------------------------------------------------------------------

    def refuse_stream(self, times: int = 1, *, status: int = 503, headers: dict[str, str] | None = None) -> None:
        """Answer the WebSocket handshake with an HTTP error."""
        self.handshake.extend([(status, headers or {})] * times)

    def lose(self, symbol: str, times: int = 1) -> None:
        """Never send the next final klines."""
        self.losing[symbol] += times

    def duplicate(self, symbol: str, times: int = 1) -> None:
        """Send the next final klines twice."""
        self.duplicating[symbol] += times

    def reorder(self, symbol: str, times: int = 1) -> None:
        """Send the next final kline after the one that follows it."""
        self.reordering[symbol] += times

    def delay(self, symbol: str, until_ms: int) -> None:
        """Hold back all events of a symbol until that market time."""
        self.delayed_until_ms[symbol] = until_ms

    def malformed_event(self, times: int = 1) -> None:
        """Send broken JSON ahead of the next events."""
        self.malformed_events += times
