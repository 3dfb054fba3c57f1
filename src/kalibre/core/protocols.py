"""The swappable parts of the house: what a source, label, model and projection must offer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray

from kalibre.core.bars import Bar, Bars
from kalibre.core.clock import Clock
from kalibre.core.events import Event

FloatArray = NDArray[np.float64]
State = Mapping[str, NDArray[Any] | int | float | str | bool | None]
"""A projection's state: named arrays and scalars, nothing that would need pickle."""


class SourceBar(msgspec.Struct, frozen=True, kw_only=True):
    """A bar as a live source delivers it, with where it came from: `received`, `backfilled` or `replayed`."""

    symbol: str
    timeframe: str
    bar: Bar
    provenance: str


@runtime_checkable
class Source(Protocol):
    """Where bars come from. One file each in `sources/`; the class `Source` implementation is found by its file.

    A source delivers what it has, oldest first, and judges nothing: the checks of `bars/` do.
    """

    name: ClassVar[str]

    def history(
        self, symbol: str, timeframe: str, *, start_ms: int | None = None, end_ms: int | None = None
    ) -> Iterator[Bars]:
        """Yield closed bars with `start_ms <= open_time < end_ms` in chunks, oldest first."""
        ...


@runtime_checkable
class StoredSource(Source, Protocol):
    """A source whose bars lie somewhere and end there: days are counted back from its newest bar."""

    def span(self, symbol: str, timeframe: str) -> tuple[int, int] | None:
        """Return the open times of the first and the last bar; None if there is no bar."""
        ...


@runtime_checkable
class LiveSource(Source, Protocol):
    """A source that also streams."""

    def stream(
        self, symbols: Sequence[str], timeframe: str, *, since_ms: Mapping[str, int] | None = None
    ) -> AsyncIterator[SourceBar]:
        """Yield closed bars as they close, after a back-fill from `since_ms` (open time of the last bar known)."""
        ...


@runtime_checkable
class PlayedSource(LiveSource, Protocol):
    """A source that plays a history as if it were happening, by a clock of its own.

    The clock moves on only when the next bar of `stream` is asked for: who asks after having stored the last one
    records a time that no bar is behind of.
    """

    clock: Clock
    pace: Callable[[], Awaitable[object]] | None
    """Awaited before each bar, where it is set: whoever reads what is played may need time."""

    def first_close(
        self, symbols: Sequence[str], timeframe: str, *, since_ms: Mapping[str, int] | None = None
    ) -> int | None:
        """Return when the first bar closes that is left to be played, UTC ms; None if none is left."""
        ...

    def begin(
        self,
        symbols: Sequence[str],
        timeframe: str,
        *,
        since_ms: Mapping[str, int] | None = None,
        clock_ms: int | None = None,
    ) -> None:
        """Set the clock behind what the reader has (`since_ms`, open times) and the time that it recorded last."""
        ...


@runtime_checkable
class HeardSource(Source, Protocol):
    """A source that also brings the headlines that were recorded beside its bars: another log."""

    def headlines(self) -> Sequence[Event]:
        """Return `headline` and `headline_score` events as they were recorded, in their order."""
        ...


@runtime_checkable
class FundedSource(Source, Protocol):
    """A source that also knows what holding a perpetual future cost."""

    def funding(self, symbol: str, *, start_ms: int, end_ms: int) -> Iterator[tuple[int, float]]:
        """Yield (settlement, rate) with `start_ms <= settlement < end_ms`, oldest first; nothing if it knows none.

        Settlements as the exchange stamps them, UTC ms; a long pays `rate` on its value.
        """
        ...


@runtime_checkable
class Label(Protocol):
    """What a model learns to foresee. One file each in `labels/`.

    `horizon_bars` says how far it looks ahead, and `lookback_bars` (0 where it is not declared) how many bars before
    its sample it reads: the verification holds it to both.
    """

    name: ClassVar[str]

    def compute(self, bars: Bars) -> tuple[FloatArray, NDArray[np.int64]]:
        """Return `y` (n_bars,), 1.0, 0.0 or NaN (unknown), and the row at whose close each is known (-1: never)."""
        ...


@runtime_checkable
class Model(Protocol):
    """A classifier of `up`."""

    def predict_proba(self, features: FloatArray) -> FloatArray:
        """Return the uncalibrated probability of up, shape (n_rows,), for features of shape (n_rows, n_columns)."""
        ...


@runtime_checkable
class Projection(Protocol):
    """A function of what it reads, one event at a time. It never sees a position, a clock or a network."""

    name: str
    version: str
    """Fingerprint of the code and settings that shape its emissions: another version means rebuild."""
    reads: frozenset[str]
    """The event kinds that it reads."""

    def apply(self, event: Event) -> Iterable[Event]:
        """Take one event in and return what follows from it, in order."""
        ...

    def state(self) -> State:
        """Return everything that later emissions depend on; arrays may be live, the runner copies them."""
        ...

    def restore(self, state: State) -> None:
        """Take on a state returned by `state`."""
        ...
