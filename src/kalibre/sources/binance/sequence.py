"""Put one symbol's bars in order: nothing lost, nothing twice, corrections passed on. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from kalibre.core.bars import Bar

Delivery = tuple[Bar, Literal["received", "backfilled"]]


class Sequence:
    """What of a series has been delivered, and what waits behind a hole.

    Every bar that opened before `known_upto` has been delivered or is known not to exist. A bar beyond it waits until
    the hole before it is healed, so what comes out is in order, whatever came in. Only a correction, or a bar the
    exchange first said did not exist, comes out of turn: at once.

    Parameters
    ----------
    known_upto
        Open time, UTC ms, of the first bar that is to be delivered.
    step_ms
        Length of a bar.
    memory
        Bars delivered that are remembered, to tell a correction from a double.

    Examples
    --------
    >>> bars = [Bar(open_time=t, open=1, high=1, low=1, close=1, volume=1) for t in (0, 10, 20)]
    >>> sequence = Sequence(0, 10)
    >>> [bar.open_time for bar, _ in sequence.live(bars[1], told_ms=20)], sequence.hole
    ([], (0, 10))
    >>> [(bar.open_time, how) for bar, how in sequence.healed(bars[:2], complete_upto=20)]
    [(0, 'backfilled'), (10, 'received')]
    """

    def __init__(self, known_upto: int, step_ms: int, *, memory: int = 2_000) -> None:
        self.first = known_upto
        self.known_upto = known_upto
        self._step_ms = step_ms
        self._memory = memory
        self._waiting: dict[int, Bar] = {}
        self._delivered: dict[int, Bar] = {}
        self._heard: set[int] = set()
        self._told_ms: dict[int, int] = {}
        self.in_doubt = False
        """Whether a bar came over the stream while REST was being asked and the two differ: ask once more."""

    @property
    def hole(self) -> tuple[int, int] | None:
        """The range of open times that is missing before the first bar that waits."""
        return (self.known_upto, min(self._waiting)) if self._waiting else None

    def missing(self, bars: Iterable[Bar], complete_upto: int) -> list[int]:
        """Return the open times that should have closed by `complete_upto` and neither wait nor are among `bars`."""
        there = {bar.open_time for bar in bars} | self._waiting.keys()
        return [
            time
            for time in range(self.known_upto, complete_upto - self._step_ms + 1, self._step_ms)
            if time not in there
        ]

    def begin_healing(self) -> None:
        """Note that REST is asked from now on: what it answers is newer than what the stream said before."""
        self._heard.clear()
        self.in_doubt = False

    def live(self, bar: Bar, told_ms: int) -> list[Delivery]:
        """Take in a final bar from the stream and return what can be delivered now.

        `told_ms` is the exchange's time of the event: an event that is older than what is known of its bar, as after a
        reordering, is a late double and no correction.
        """
        if told_ms < self._told_ms.get(bar.open_time, told_ms):
            return []
        self._told_ms[bar.open_time] = told_ms
        self._heard.add(bar.open_time)
        if bar.open_time < self.known_upto:
            return self._correct(bar, "received")
        self._waiting[bar.open_time] = bar
        return self._drain()

    def healed(self, bars: Iterable[Bar], *, complete_upto: int, told_ms: int | None = None) -> list[Delivery]:
        """Take in what REST says and return what can be delivered now.

        Parameters
        ----------
        bars
            Bars of the exchange's history, oldest first, without holes of the asking's making.
        complete_upto
            UTC ms: a bar that had closed by then, was asked for, and is neither in `bars` nor waiting, does not exist.
        told_ms
            The exchange's time before it was asked; None: `complete_upto`.
        """
        out: list[Delivery] = []
        told_ms = complete_upto if told_ms is None else told_ms
        for bar in bars:
            time = bar.open_time
            heard = self._waiting.get(time, self._delivered.get(time)) if time in self._heard else None
            if heard is not None and heard != bar:
                self.in_doubt = True
                continue  # which of the two is newer is not known: the stream's stands until REST is asked again
            self._told_ms[time] = max(told_ms, self._told_ms.get(time, 0))
            if time < self.known_upto:
                out += self._correct(bar, "backfilled")
                continue
            # What waits between was sent by the stream, though REST does not know it yet.
            out += self._pass_upto(time)
            waiting = self._waiting.pop(time, None)
            out.append(self._deliver(bar, "received" if waiting == bar else "backfilled"))
            self.known_upto = time + self._step_ms
        last = self.known_upto + (complete_upto - self.known_upto) // self._step_ms * self._step_ms
        out += self._pass_upto(max(last, self.known_upto))
        return out + self._drain()

    def _pass_upto(self, time: int) -> list[Delivery]:
        """Deliver what waits before `time`, and take it that the rest does not exist."""
        due = sorted(waiting for waiting in self._waiting if waiting < time)
        out = [self._deliver(self._waiting.pop(key), "received") for key in due]
        self.known_upto = time
        return out

    def _drain(self) -> list[Delivery]:
        out: list[Delivery] = []
        while (bar := self._waiting.pop(self.known_upto, None)) is not None:
            out.append(self._deliver(bar, "received"))
            self.known_upto += self._step_ms
        return out

    def _correct(self, bar: Bar, how: Literal["received", "backfilled"]) -> list[Delivery]:
        if bar.open_time < self.first or self._delivered.get(bar.open_time) == bar:
            return []
        return [self._deliver(bar, how)]

    def _deliver(self, bar: Bar, how: Literal["received", "backfilled"]) -> Delivery:
        self._delivered.pop(bar.open_time, None)
        self._delivered[bar.open_time] = bar
        if len(self._delivered) > self._memory:
            oldest = min(self._delivered)
            del self._delivered[oldest]
            self._told_ms.pop(oldest, None)
        return bar, how
