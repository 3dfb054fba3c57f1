"""Any other exchange that ccxt speaks to, among them BtcTurk, Kraken, OKX, Bybit and KuCoin."""

from __future__ import annotations

import difflib
import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, TypeVar

from kalibre.core.bars import Bar, Bars
from kalibre.core.clock import Clock, SystemClock, to_text
from kalibre.core.errors import (
    RateLimitedError,
    SourceError,
    SourceFormatError,
    SourceUnavailableError,
    UnknownSymbolError,
    UsageError,
)
from kalibre.core.timeframe import timeframe_ms
from kalibre.sources.base import check_range

T = TypeVar("T")
logger = logging.getLogger(__name__)
_PAGE_RATES = 100  # as many as the exchanges that allow the fewest
_USUAL_INTERVAL_MS, _LONGEST_INTERVAL_MS = 8 * 3_600_000, 24 * 3_600_000
_FIRST_MS = 1_483_228_800_000  # 2017: hardly an exchange still has older bars


class Ccxt:
    """Bars of an exchange through ccxt.

    Parameters
    ----------
    exchange
        As ccxt calls it: `btcturk`, `kraken`, `okx`.
    urls
        Addresses of the exchange's API by ccxt's names for them, in place of the real ones.
    config
        Passed to ccxt's constructor: proxies, keys, options.
    page_bars
        Bars asked for at once; an exchange may answer fewer.
    earliest_ms
        Where to begin if no start is asked for. Exchanges that answer a window of time, such as BtcTurk, are asked
        window by window from here on, so set it near the listing.
    attempts, backoff_s, backoff_cap_s, seed
        Tries of a request that failed on the way, and the full-jitter waits between them.
    clock, sleep
        The time, and what waits; tests pass their own.

    Raises
    ------
    UsageError
        If ccxt does not know the exchange, or the exchange offers no bars.
    """

    name: ClassVar[str] = "ccxt"

    def __init__(
        self,
        *,
        exchange: str,
        urls: Mapping[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
        page_bars: int = 500,
        earliest_ms: int = _FIRST_MS,
        attempts: int = 5,
        backoff_s: float = 0.5,
        backoff_cap_s: float = 30.0,
        seed: int | None = None,
        clock: Clock | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        try:
            import ccxt
        except ImportError as error:
            raise UsageError("the source ccxt needs the package ccxt: run pip install 'kalibre[ccxt]'") from error

        if exchange not in ccxt.exchanges:
            near = difflib.get_close_matches(exchange, ccxt.exchanges, n=5) or ccxt.exchanges[:5]
            raise UsageError(f"exchange {exchange!r} is unknown to ccxt: did you mean {', '.join(near)}?")
        if page_bars < 2 or attempts < 1:
            raise UsageError(
                f"page_bars = {page_bars}, attempts = {attempts}: at least 2 bars and 1 attempt are needed"
            )
        self._exchange: Any = getattr(ccxt, exchange)({"enableRateLimit": True, **(config or {})})
        if not self._exchange.has.get("fetchOHLCV"):
            raise UsageError(f"{exchange} offers no bars through ccxt: choose another exchange")
        if urls:
            self._exchange.urls["api"] = dict(urls)
        self._page_bars = page_bars
        self._earliest_ms = earliest_ms
        self._attempts = attempts
        self._backoff = (backoff_s, backoff_cap_s)
        self._rng = random.Random(seed)  # noqa: S311 (jitter is no secret)
        self._clock = clock or SystemClock()
        self._sleep = sleep

    def history(
        self, symbol: str, timeframe: str, *, start_ms: int | None = None, end_ms: int | None = None
    ) -> Iterator[Bars]:
        """Yield closed bars with `start_ms <= open_time < end_ms`, a page at a time, oldest first.

        The symbol is ccxt's (`BTC/USDT`) or the exchange's own (`BTCUSDT`). A page without bars is a hole and is passed
        over; only the present ends the asking.

        Raises
        ------
        UnknownSymbolError
            If the exchange does not list the symbol; the message names near ones.
        UsageError
            If it has no bars of the timeframe; the message lists those it has.
        RateLimitedError, SourceUnavailableError, SourceFormatError, SourceError
            If the exchange asks for patience, does not answer, answers what is no bar, or refuses.
        """
        step_ms = timeframe_ms(timeframe)
        check_range(start_ms, end_ms)
        offered = self._exchange.timeframes or {}
        if timeframe not in offered:
            raise UsageError(f"{self._exchange.id} has no bars of {timeframe!r}: choose one of {', '.join(offered)}")
        market = self._market(symbol)
        now_ms = self._now_ms()
        at, end = self._earliest_ms if start_ms is None else start_ms, now_ms if end_ms is None else min(end_ms, now_ms)
        at = -(-at // step_ms) * step_ms if timeframe[-1] != "w" else at
        while at < end:
            ask = partial(self._exchange.fetch_ohlcv, market, timeframe, since=at, limit=self._page_bars)
            rows = self._try(ask)
            bars = {bar.open_time: bar for bar in map(self._bar, rows)}
            page = [bars[t] for t in sorted(bars) if at <= t < end and t + step_ms <= now_ms]
            if page:
                self._check_step(page, timeframe, step_ms)
                yield Bars.from_rows(symbol, timeframe, page)
                at = page[-1].open_time + step_ms
            elif bars and min(bars) >= end:
                return
            else:
                at += (self._page_bars - 1) * step_ms

    def funding(self, symbol: str, *, start_ms: int, end_ms: int) -> Iterator[tuple[int, float]]:
        """Yield (settlement, rate) with `start_ms <= settlement < end_ms`, oldest first.

        Nothing where the exchange tells no history of rates, or the symbol is no perpetual. Exchanges that keep the
        newest rates only (OKX: three months) are taken at their word, with a warning that says from when on.

        Raises
        ------
        UnknownSymbolError, RateLimitedError, SourceUnavailableError, SourceFormatError, SourceError
            As `history`.
        """
        check_range(start_ms, end_ms)
        if self._exchange.has.get("fetchFundingRateHistory") is not True:
            return
        market = self._market(symbol)
        if not self._exchange.markets[market].get("swap"):
            return
        at, end = start_ms, min(end_ms, self._now_ms())
        while at < end:
            ask = partial(self._exchange.fetch_funding_rate_history, market, since=at, limit=_PAGE_RATES)
            rates = sorted(map(self._rate, self._try(ask)))
            page = [(time, rate) for time, rate in rates if at <= time < end]
            if len(rates) >= _PAGE_RATES and page and page[0][0] > at + _LONGEST_INTERVAL_MS:
                logger.warning(
                    "%s told the funding rates of %s from %s on only, asked from %s: what lies before is not charged",
                    *(self._exchange.id, symbol, to_text(page[0][0]), to_text(at)),
                )
            yield from page
            at = page[-1][0] + 1 if page else at + _PAGE_RATES * _USUAL_INTERVAL_MS

    def _rate(self, row: Any) -> tuple[int, float]:
        try:
            return int(row["timestamp"]), float(row["fundingRate"])
        except (TypeError, ValueError, KeyError) as error:
            raise SourceFormatError(
                f"{self._exchange.id} sent {row!r:.200}, which is no funding rate: {error!r}"
            ) from error

    def _market(self, symbol: str) -> str:
        markets = self._try(self._exchange.load_markets)
        if symbol in markets:
            return symbol
        own = (self._exchange.markets_by_id or {}).get(symbol)
        if own:
            return str(own[0]["symbol"])
        known = [*markets, *(self._exchange.markets_by_id or {})]
        near = difflib.get_close_matches(symbol, known, n=5) or sorted(markets)[:5]
        raise UnknownSymbolError(
            f"symbol {symbol!r} is not listed by {self._exchange.id}: did you mean {', '.join(near)}?"
        )

    def _now_ms(self) -> int:
        """Return the exchange's time where it tells it, else this machine's."""
        if self._exchange.has.get("fetchTime"):
            return int(self._try(self._exchange.fetch_time))
        return self._clock.now_ms()

    def _bar(self, row: Any) -> Bar:
        try:
            opened, *values = row[:6]
            numbers = [float("nan") if value is None else float(value) for value in values]
            keys = ("open", "high", "low", "close", "volume")
            return Bar(open_time=int(opened), **dict(zip(keys, numbers, strict=True)))
        except (TypeError, ValueError) as error:
            raise SourceFormatError(f"{self._exchange.id} sent {row!r:.200}, which is no bar: {error}") from error

    def _check_step(self, page: list[Bar], timeframe: str, step_ms: int) -> None:
        """Refuse bars closer than the timeframe: the exchange took no notice of it. Further apart is thin trading."""
        for earlier, later in pairwise(page):
            if later.open_time - earlier.open_time < step_ms:
                raise SourceFormatError(
                    f"{self._exchange.id} sent bars at {earlier.open_time} and {later.open_time} where {timeframe} was "
                    "asked for: ask for a timeframe that it really keeps"
                )

    def _try(self, call: Callable[[], T]) -> T:
        """Call ccxt, again where trying again can help, and turn its errors into the house's."""
        import ccxt

        name = self._exchange.id
        for attempt in range(1, self._attempts + 1):
            try:
                return call()
            except ccxt.BadSymbol as error:
                raise UnknownSymbolError(f"{name} does not know the symbol: {error}") from error
            except ccxt.NetworkError as error:
                if attempt < self._attempts:
                    base_s, cap_s = self._backoff
                    self._sleep(self._rng.uniform(0.0, min(cap_s, base_s * 2.0**attempt)))
                    continue
                if isinstance(error, ccxt.RateLimitExceeded | ccxt.DDoSProtection):
                    raise RateLimitedError(
                        f"{name} asks for patience, {attempt} times over ({error}): ask less often", retry_after_s=60.0
                    ) from error
                raise SourceUnavailableError(f"{name} did not answer in {attempt} attempts: {error}") from error
            except ccxt.BaseError as error:
                raise SourceError(f"{name} refused: {type(error).__name__} {error}") from error
        raise AssertionError("the last attempt returns or raises")


SOURCE = Ccxt
