"""Binance's REST side as a protocol without I/O: what to ask, when to wait, when to give up.

Each method is a generator of steps, `Request` to send or `Pause` to wait, and takes back the `Answer`. `drive` runs one
over a blocking client, `AsyncDriver` over an async one, so that history and the stream's back-fill share every rule:
the weight budget, 429 with Retry-After, 418, 451, and the retries.
"""

from __future__ import annotations

import math
import random
import re
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from kalibre.core.bars import Bar
from kalibre.core.clock import Clock, to_text
from kalibre.core.errors import (
    KalibreError,
    RateLimitedError,
    SourceBannedError,
    SourceError,
    SourceFormatError,
    SourceRefusedError,
    SourceUnavailableError,
    UnknownSymbolError,
    UsageError,
)
from kalibre.sources.binance.markets import Market
from kalibre.sources.binance.wire import parse_json, parse_rate, parse_row

if TYPE_CHECKING:
    import httpx

PAGE_BARS = 1_000
PAGE_RATES = 1_000
MINUTE_MS = 60_000
FUNDING_LIMIT = 500
FUNDING_WINDOW_MS = 300_000
"""`fundingRate` is limited by itself: so many requests in five minutes."""


@dataclass(frozen=True)
class Request:
    """Send a GET and come back with an `Answer` or a `NoAnswer`."""

    path: str
    params: dict[str, str | int]


@dataclass(frozen=True)
class Pause:
    """Wait and come back with None."""

    seconds: float
    reason: str


@dataclass(frozen=True)
class Answer:
    """What came back; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class NoAnswer:
    """Nothing whole came back: a timeout, or the connection failed or broke."""

    reason: str


Reply = Answer | NoAnswer | None
T = TypeVar("T")
Steps = Generator[Request | Pause, Reply, T]


@dataclass(frozen=True)
class Patience:
    """How long to try: full jitter between attempts, the longest wait that a 429 may ask for."""

    attempts: int = 6
    backoff_s: float = 0.5
    backoff_cap_s: float = 30.0
    max_wait_s: float = 120.0

    def pause_s(self, attempt: int, rng: random.Random) -> float:
        """Return how long to wait after failed attempt 0, 1, ...: uniform up to a doubling, capped bound."""
        return rng.uniform(0.0, min(self.backoff_cap_s, self.backoff_s * 2.0 ** min(attempt, 32)))


@dataclass
class WeightBudget:
    """Request weight used in this minute, as Binance counts it for the whole address, other programs included."""

    limit: int = 6_000
    share: float = 0.8
    _minute: int = field(default=-1, init=False)
    _used: int = field(default=0, init=False)

    def note(self, used: int, now_ms: int) -> None:
        """Take over what a response says is used."""
        self._minute, self._used = now_ms // MINUTE_MS, used

    def wait_s(self, weight: int, now_ms: int) -> float:
        """Return how long to wait until a request of this weight fits into our share of the limit."""
        if now_ms // MINUTE_MS != self._minute or self._used + weight <= self.limit * self.share:
            return 0.0
        return ((self._minute + 1) * MINUTE_MS - now_ms) / 1_000


@dataclass
class RequestBudget:
    """Requests of a path that is limited by their number in a sliding window, whatever their weight."""

    limit: int = FUNDING_LIMIT
    window_ms: int = FUNDING_WINDOW_MS
    share: float = 0.8
    _sent: deque[int] = field(default_factory=deque, init=False)

    def wait_s(self, now_ms: int) -> float:
        """Return how long to wait until one more request fits into our share of the limit."""
        while self._sent and self._sent[0] <= now_ms - self.window_ms:
            self._sent.popleft()
        allowed = max(1, int(self.limit * self.share))
        return 0.0 if len(self._sent) < allowed else (self._sent[-allowed] + self.window_ms - now_ms) / 1_000

    def note(self, now_ms: int) -> None:
        """Count a request that is sent now."""
        self._sent.append(now_ms)


class RestProtocol:
    """The rules of Binance's REST interface; one per source, as weight and bans are counted per address."""

    def __init__(
        self, *, market: Market, patience: Patience, budget: WeightBudget, rng: random.Random, clock: Clock
    ) -> None:
        self.market = market
        self.patience = patience
        self.budget = budget
        self.funding_budget = RequestBudget(share=budget.share)
        self.rng = rng
        self._clock = clock
        self._banned_until_ms = 0
        self._not_before_ms = 0
        self._limits_known = False

    def server_time(self) -> Steps[int]:
        """Ask for the exchange's time, UTC ms. A bar that has closed by then is closed in every later answer."""
        content = yield from self._get("time", {})
        if not isinstance(content, dict) or not isinstance(content.get("serverTime"), int):
            raise SourceFormatError(f"Binance answered {content!r:.200} where its time was asked for")
        return int(content["serverTime"])

    def limits(self, symbol: str) -> Steps[None]:
        """Ask once for the weight limit, which Binance may change, and so also whether the symbol is listed."""
        if self._limits_known:
            return
        content = yield from self._get("exchangeInfo", {"symbol": symbol} if self.market.info_by_symbol else {})
        try:
            for limit in content["rateLimits"]:
                if limit["rateLimitType"] == "REQUEST_WEIGHT" and limit["interval"] == "MINUTE":
                    self.budget.limit = int(limit["limit"]) // int(limit["intervalNum"])
        except (TypeError, KeyError, ValueError) as error:
            raise SourceFormatError(
                f"Binance's exchangeInfo {content!r:.200} names no rate limits: {error!r}"
            ) from error
        self._limits_known = True

    def page(
        self, symbol: str, timeframe: str, start_ms: int, end_ms: int, *, step_ms: int, now_ms: int
    ) -> Steps[list[Bar]]:
        """Ask for the first page of bars with `start_ms <= open_time < end_ms` that had closed by `now_ms`.

        Returns
        -------
        At most a page, oldest first, without doubles; empty where there are no more.

        Raises
        ------
        SourceFormatError
            If the answer is no list of klines, or none of them lies in the range.
        """
        params: dict[str, str | int] = {"symbol": symbol, "interval": timeframe, "limit": PAGE_BARS}
        rows = yield from self._get("klines", {**params, "startTime": start_ms, "endTime": end_ms - 1})
        if not isinstance(rows, list):
            raise SourceFormatError(f"Binance answered {rows!r:.200} where klines of {symbol} were asked for")
        bars = {bar.open_time: bar for bar in map(parse_row, rows)}
        fitting = [bars[time] for time in sorted(bars) if start_ms <= time < end_ms]
        if bars and not fitting:
            raise SourceFormatError(
                f"Binance answered klines of {symbol} from {min(bars)} where {start_ms} to {end_ms} was asked for: is "
                "something between here and Binance answering from a store?"
            )
        return [bar for bar in fitting if bar.open_time + step_ms <= now_ms]

    def rates(self, symbol: str, start_ms: int, end_ms: int) -> Steps[tuple[list[tuple[int, float]], bool]]:
        """Ask for the first page of funding rates with `start_ms <= settlement < end_ms`.

        Returns
        -------
        The page, oldest first, and whether there may be more behind it.

        Raises
        ------
        SourceFormatError
            If the answer is no list of rates of that symbol, or not in order within the range.
        """
        params: dict[str, str | int] = {"symbol": symbol, "startTime": start_ms, "endTime": end_ms - 1}
        rows = yield from self._get("fundingRate", {**params, "limit": PAGE_RATES})
        if not isinstance(rows, list):
            raise SourceFormatError(f"Binance answered {rows!r:.200} where funding rates of {symbol} were asked for")
        rates = [parse_rate(row) for row in rows]
        if strange := [row for row in rows if row.get("symbol") != symbol]:
            raise SourceFormatError(f"Binance sent {strange[0]!r:.200} where funding rates of {symbol} were asked for")
        times = [start_ms - 1, *(time for time, _ in rates), end_ms]
        for earlier, later in pairwise(times):
            if not earlier < later:
                raise SourceFormatError(
                    f"Binance sent funding rates of {symbol} at {earlier} and then {later} where {start_ms} to "
                    f"{end_ms} was asked for, oldest first: does something between answer "
                    "from a store?"
                )
        return rates, len(rates) >= PAGE_RATES

    def _get(self, name: str, params: dict[str, str | int]) -> Steps[Any]:
        """Send a request as often as it takes, within bounds, and return what its JSON says."""
        path = f"{self.market.root}/{name}"
        trouble: KalibreError | None = None
        for attempt in range(self.patience.attempts):
            if attempt and not isinstance(trouble, RateLimitedError):
                yield Pause(self.patience.pause_s(attempt - 1, self.rng), str(trouble))
            yield from self._wait_turn(name)
            reply = yield Request(path, params)
            assert reply is not None
            try:
                return self._judge(path, params, reply)
            except RateLimitedError as error:
                if error.retry_after_s > self.patience.max_wait_s:
                    raise
                trouble = error
            except SourceRefusedError:
                raise
            except (SourceFormatError, SourceUnavailableError) as error:
                trouble = error
        if trouble is None or isinstance(trouble, RateLimitedError):
            raise trouble or UsageError(f"attempts = {self.patience.attempts} leaves none: set at least 1")
        raise type(trouble)(
            f"{trouble}; gave up after {self.patience.attempts} attempts: see that this machine reaches "
            "it, or store bars of a file by `kalibre ingest --path FILE`"
        )

    def _wait_turn(self, name: str) -> Steps[None]:
        weight = self.market.weights[name]
        now_ms = self._clock.now_ms()
        if now_ms < self._banned_until_ms:
            raise self._banned()
        if self._not_before_ms > now_ms:
            yield Pause((self._not_before_ms - now_ms) / 1_000, "Binance asked for patience (429)")
        if (wait_s := self.budget.wait_s(weight, self._clock.now_ms())) > 0:
            yield Pause(wait_s, f"{self.budget.share:.0%} of {self.budget.limit} request weight is used in this minute")
        if name == "fundingRate":
            if (wait_s := self.funding_budget.wait_s(self._clock.now_ms())) > 0:
                yield Pause(wait_s, f"{FUNDING_LIMIT} requests for funding rates are allowed in five minutes")
            self.funding_budget.note(self._clock.now_ms())

    def _judge(self, path: str, params: dict[str, str | int], reply: Answer | NoAnswer) -> Any:
        """Return the content of a good answer; raise what a bad one means."""
        if isinstance(reply, NoAnswer):
            raise SourceUnavailableError(f"Binance {path} did not answer: {reply.reason}")
        now_ms = self._clock.now_ms()
        used = reply.headers.get("x-mbx-used-weight-1m", "")
        if used.isdigit():
            self.budget.note(int(used), now_ms)
        if reply.status == 200:
            return parse_json(reply.body, what=f"answer to {path}")
        self.check_status(reply.status, reply.headers, reply.body)
        code, message = _error_of(reply.body)
        if code == -1121:
            raise UnknownSymbolError(
                f"symbol {params.get('symbol')!r} is not listed by Binance: write it as there, for example BTCUSDT"
            )
        if code == -1120:
            raise UsageError(f"Binance has no klines of {params.get('interval')!r} for {params.get('symbol')}")
        raise SourceError(f"Binance refused {path} with {params}: HTTP {reply.status}, {code} {message!r}")

    def check_status(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Raise what an HTTP status means that has nothing to do with the question: 418, 429, 403, 451, 5xx.

        Raises
        ------
        SourceBannedError
            At 418; every later call raises it too, without asking Binance, until the ban is over.
        RateLimitedError
            At 429; later calls wait as long as it asked.
        SourceRefusedError
            At 451 and 403.
        SourceUnavailableError
            At 5xx.
        """
        now_ms = self._clock.now_ms()
        if status == 418:
            told = re.search(rb"until (\d{13})", body)
            self._banned_until_ms = int(told[1]) if told else now_ms + int(_retry_after_s(headers, 120.0) * 1_000)
            raise self._banned()
        if status == 429:
            wait_s = _retry_after_s(headers, 60.0)
            self._not_before_ms = max(self._not_before_ms, now_ms + int(wait_s * 1_000))
            raise RateLimitedError(
                f"Binance asks to wait {wait_s:g} s (HTTP 429): ask less often, or set max_wait_s above that",
                retry_after_s=wait_s,
            )
        if status == 451:
            raise SourceRefusedError(
                "Binance refuses this address for legal reasons (HTTP 451), so asking again is no use. "
                f"{self.market.elsewhere}"
            )
        if status == 403:
            raise SourceRefusedError(
                "Binance's firewall refuses this address (HTTP 403): wait some minutes, ask less often"
            )
        if status >= 500:
            raise SourceUnavailableError(f"Binance is not well: HTTP {status}, it says {body[:80]!r}")

    def _banned(self) -> SourceBannedError:
        return SourceBannedError(
            f"Binance has banned this address until {to_text(self._banned_until_ms)} Istanbul time "
            f"({self._banned_until_ms}) for ignoring its limits (HTTP 418): wait until then, asking sooner lengthens it"
        )


def _retry_after_s(headers: Mapping[str, str], default_s: float) -> float:
    try:
        told = float(headers.get("retry-after", default_s))
    except ValueError:
        return default_s
    return max(0.0, told) if math.isfinite(told) else default_s


def _error_of(body: bytes) -> tuple[int | None, str]:
    try:
        content = parse_json(body, what="error")
        return int(content["code"]), str(content["msg"])
    except (SourceFormatError, TypeError, KeyError, ValueError):
        return None, body[:80].decode(errors="replace")


def drive(steps: Steps[T], client: httpx.Client, sleep: Callable[[float], None]) -> T:
    """Run steps over a blocking client."""
    reply: Reply = None
    while True:
        try:
            step = steps.send(reply)
        except StopIteration as done:
            result: T = done.value
            return result
        if isinstance(step, Pause):
            sleep(step.seconds)
            reply = None
        else:
            reply = _send(step, client)


def _send(request: Request, client: httpx.Client) -> Answer | NoAnswer:
    import httpx

    try:
        return _answer(client.get(request.path, params=request.params))
    except httpx.RequestError as error:
        return NoAnswer(_reason(error))


class AsyncDriver:
    """Runs steps over an async client."""

    def __init__(self, client: httpx.AsyncClient, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._client = client
        self._sleep = sleep

    async def __call__(self, steps: Steps[T]) -> T:
        """Run steps to their end and return what they return."""
        import httpx

        reply: Reply = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as done:
                result: T = done.value
                return result
            if isinstance(step, Pause):
                await self._sleep(step.seconds)
                reply = None
                continue
            try:
                reply = _answer(await self._client.get(step.path, params=step.params))
            except httpx.RequestError as error:
                reply = NoAnswer(_reason(error))


def _answer(response: httpx.Response) -> Answer:
    headers = {key.lower(): value for key, value in response.headers.items()}
    return Answer(response.status_code, headers, response.content)


def _reason(error: httpx.RequestError) -> str:
    return f"{type(error).__name__} {error}".strip()
