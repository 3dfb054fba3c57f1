"""Listen to a live source in a test: collect what it delivers, wait for it, check that nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import numpy as np

from kalibre.core.bars import Bar, Bars
from kalibre.core.protocols import LiveSource, SourceBar


class Listener:
    def __init__(self) -> None:
        self.items: list[SourceBar] = []
        self.error: BaseException | None = None
        self._changed = asyncio.Condition()

    async def listen(self, stream: AsyncIterator[SourceBar]) -> None:
        try:
            async for item in stream:
                self.items.append(item)
                async with self._changed:
                    self._changed.notify_all()
        except Exception as error:  # noqa: BLE001 (handed to the test)
            self.error = error
            async with self._changed:
                self._changed.notify_all()

    async def until(self, condition: Callable[[], bool], *, timeout_s: float = 20) -> None:
        """Wait until the condition holds; an error of the stream is raised here."""

        def over() -> bool:
            if self.error is not None:
                raise self.error
            return condition()

        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(over)

    async def failed(self, *, timeout_s: float = 20) -> BaseException:
        """Wait for the stream's error and return it."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: self.error is not None)
        assert self.error is not None
        return self.error

    def of(self, symbol: str) -> list[SourceBar]:
        return [item for item in self.items if item.symbol == symbol]

    def newest(self, symbol: str) -> dict[int, Bar]:
        """Return what a reader that keeps the last word on each bar now knows."""
        return {item.bar.open_time: item.bar for item in self.of(symbol)}

    def knows(self, expected: Bars) -> bool:
        return self.newest(expected.symbol) == {bar.open_time: bar for bar in expected}

    def check_order(self, symbol: str) -> None:
        """Fail if a bar came before an earlier one that had not come yet, or came again unchanged."""
        known: dict[int, Bar] = {}
        for item in self.of(symbol):
            time = item.bar.open_time
            if time in known:
                assert known[time] != item.bar, f"{symbol} {time} was delivered twice"
            else:
                assert time > max(known, default=-1), f"{symbol} {time} came after {max(known, default=-1)}"
            known[time] = item.bar


@contextlib.asynccontextmanager
async def listening(
    source: LiveSource, symbols: Sequence[str], timeframe: str, *, since_ms: Mapping[str, int] | None = None
) -> AsyncIterator[Listener]:
    """Run `source.stream` in a task and offer what it delivers."""
    listener = Listener()
    stream = source.stream(symbols, timeframe, since_ms=since_ms)
    task = asyncio.create_task(listener.listen(stream))
    try:
        yield listener
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await stream.aclose()  # type: ignore[attr-defined]


def random_market(
    symbol: str, n_bars: int, *, timeframe: str = "1m", start_ms: int = 1_704_067_200_000, seed: int = 1
) -> Bars:
    """Return plausible bars with every optional column, prices in cents."""
    rng = np.random.default_rng([seed, *symbol.encode()])
    close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 0.002, n_bars))), 2)
    opened = np.concatenate([[100.0], close[:-1]])
    spread = np.round(rng.uniform(0.01, 0.2, (2, n_bars)), 2)
    volume = np.round(rng.uniform(1, 50, n_bars), 5)
    bars = Bars(
        symbol=symbol,
        timeframe=timeframe,
        open_time=np.zeros(n_bars, dtype=np.int64),
        open=opened,
        high=np.round(np.maximum(opened, close) + spread[0], 2),
        low=np.round(np.minimum(opened, close) - spread[1], 2),
        close=close,
        volume=volume,
        quote_volume=np.round(volume * close, 4),
        trades=rng.integers(1, 500, n_bars).astype(float),
        taker_buy_volume=np.round(volume * rng.uniform(0, 1, n_bars), 5),
    )
    object.__setattr__(bars, "open_time", start_ms + bars.step_ms * np.arange(n_bars, dtype=np.int64))
    return bars
