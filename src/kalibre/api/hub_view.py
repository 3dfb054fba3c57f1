"""The hub's view: a thread that tails the log and keeps what the page shows; it reads, and nobody waits for it.

It takes at most a fifth of a core. Where the log grows faster than that allows, as in a replay at full speed, it does
not run after every event but looks at the newest ones anew: the page shows less often, and never late.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from kalibre.api._hub_board import Board, Cell
from kalibre.api._hub_fold import BY_BAR, BY_COUNT, KINDS, N_POINTS, Fold, Live, step_of
from kalibre.core.errors import KalibreError
from kalibre.core.events import Event, series_key
from kalibre.core.settings import Settings

if TYPE_CHECKING:
    from kalibre.log.protocol import EventLog

_PAGE = 150
_REST = 4.0
"""Seconds of rest for each second of work: a fifth of a core at most."""
_LONGEST_REST_S = 0.5
_JUMP = 20_000
"""Events behind from which on looking anew is cheaper than running after."""
_SLICE_BARS = 48
_logger = logging.getLogger("kalibre.api")


class HubView:
    """Follows the log and answers what is newer than a position.

    Parameters
    ----------
    settings
        Which series to follow, and what trading costs.
    open_log
        Returns the log, opening it if it is not open; the view never writes.
    patience_s, retry_s
        Longest time between two looks at the log, and between two tries to read one that could not be read.
    """

    def __init__(
        self, settings: Settings, open_log: Callable[[], EventLog], *, patience_s: float = 0.25, retry_s: float = 1.0
    ) -> None:
        self._settings = settings
        self._open_log = open_log
        self._patience_s, self._retry_s = patience_s, retry_s
        self._fee = (settings.costs.fee_bps + settings.costs.slippage_bps) / 10_000
        self._followed = [series_key(symbol, settings.market.timeframe) for symbol in settings.market.symbols]
        self._lock = threading.Lock()
        self._board = Board()
        self._fold = Fold(self._board, fee=self._fee)
        self._frames: dict[tuple[int, str], bytes] = {}
        self._listeners: set[Callable[[], None]] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="kalibre-hub-view", daemon=True)
        self._beat = time.monotonic()
        self.hosts: dict[str, str] = {}
        """Which worker runs a learner, the ensemble or the champion."""
        self.ready = False
        self.problem = "the server is starting: it has not read the log yet"

    # --- what requests ask --------------------------------------------------------------------------------------------

    @property
    def seq(self) -> int:
        """The position up to which the view knows the log."""
        return self._board.seq

    @property
    def heartbeat_age_s(self) -> float:
        """Seconds since the thread last looked at the log."""
        return time.monotonic() - self._beat

    @property
    def market_lead_ms(self) -> int:
        """How far the market's clock is ahead of the machine's: 0 in live trading."""
        return self._fold.market_lead_ms

    def series(self) -> list[str]:
        """Return the keys of every series: those followed by the settings, then others that the log holds."""
        with self._lock:
            found = [name[: -len("/bar")] for name in self._board.cells if name.endswith("/bar")]
        return self._followed + sorted(set(found) - set(self._followed))

    def since(self, seq: int, series: str) -> bytes:
        """Return as JSON everything newer than a position, with the points of one series; the whole for 0."""
        return self.frame(seq, series)[0]

    def frame(self, seq: int, series: str) -> tuple[bytes, int]:
        """Return what `since` does, and the position that it knows up to."""
        with self._lock:
            if seq > self._board.seq:
                seq = 0  # a position of another log, or of one that lost its end: begin anew
            frame = self._frames.get((seq, series))
            if frame is None:
                known = [name[: -len("bar")] for name in self._board.cells if name.endswith("/bar")]
                own = f"{series}/"

                def wanted(name: str) -> bool:
                    if "/./" in name:
                        return False
                    return name.startswith(own) or not name.startswith(tuple(known))

                frame = encode(self._board.since(seq, wanted))
                if len(self._frames) < 16:
                    self._frames[seq, series] = frame
            return frame, self._board.seq

    def cell(self, name: str) -> Cell | None:
        """Return a named value with its times, None if it was never set."""
        with self._lock:
            return self._board.cells.get(name)

    def points(self, name: str) -> list[Any]:
        """Return the points of a ring, oldest first."""
        with self._lock:
            ring = self._board.rings.get(name)
            return [] if ring is None else ring.values()

    def rings(self, prefix: str) -> dict[str, list[Any]]:
        """Return the points of every ring whose name begins so, by the rest of their names."""
        with self._lock:
            return {
                name[len(prefix) :]: ring.values()
                for name, ring in self._board.rings.items()
                if name.startswith(prefix) and "/./" not in name
            }

    def cells(self, prefix: str) -> dict[str, Any]:
        """Return every named value whose name begins so, by the rest of their names."""
        with self._lock:
            return {name: cell.value for name, cell in self._board.under(prefix)}

    def listen(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Have a function called, in the view's thread, whenever something is new; returns what ends that."""
        self._listeners.add(wake)
        return lambda: self._listeners.discard(wake)

    # --- the thread ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to follow; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10.0)

    def draw_once(self) -> None:
        """Look at the log once, in the caller's own thread and instead of `start`."""
        self.hosts = _hosts(self._settings)
        self._begin(self._open_log())

    def _follow(self) -> None:
        self.hosts = _hosts(self._settings)
        while not self._stop.is_set():
            try:
                self._follow_log(self._open_log())
            except KalibreError as error:
                problem = f"the log cannot be read: {error}"
                if problem != self.problem:
                    _logger.warning("hub view: %s", problem)
                self.problem, self.ready = problem, False
                self._tell()
                self._stop.wait(self._retry_s)

    def _follow_log(self, log: EventLog) -> None:
        position = self._begin(log)
        while not self._stop.is_set():
            head = log.wait(position, self._patience_s, self._stop.is_set)
            self._beat = time.monotonic()
            if head <= position:
                continue
            began = time.thread_time()
            if head - position > _JUMP:
                position = self._begin(log)
            else:
                events = log.read(after=position, upto=head, kinds=KINDS, limit=_PAGE)
                position = events[-1].seq if len(events) == _PAGE else head
                with self._lock:
                    for event in events:
                        self._fold.take(event)
                    self._board.seq = position
                    self._frames.clear()
            self._tell()
            self._stop.wait(min(_REST * (time.thread_time() - began), _LONGEST_REST_S))

    def _tell(self) -> None:
        for wake in tuple(self._listeners):
            wake()

    # --- the first look -----------------------------------------------------------------------------------------------

    def _begin(self, log: EventLog) -> int:
        """Draw a new board from the newest of everything; return the position that it knows up to."""
        head = log.head()
        fold = Fold(Board(), fee=self._fee)
        for kind, most in BY_COUNT.items():
            for event in reversed(log.read(kinds={kind}, upto=head, limit=most, descending=True)):
                fold.take(event)
            self._beat = time.monotonic()
        self._begin_series(log, head, fold)
        fold.board.seq = head
        with self._lock:
            self._fold, self._board = fold, fold.board
            self._frames.clear()
        self.problem, self.ready = "", True
        self._tell()
        return head

    def _keys(self, log: EventLog, head: int) -> list[str]:
        newest = log.read(kinds={"bar"}, upto=head, limit=_PAGE, descending=True)
        return self._followed + sorted({event.key for event in newest} - set(self._followed))

    def _begin_series(self, log: EventLog, head: int, fold: Fold) -> None:
        """Read the newest bars of each series, then what was said of them, each stretch of time once for all series."""
        windows: dict[str, tuple[int, int]] = {}
        for key in self._keys(log, head):
            bars = self._newest_bars(log, head, key)
            for event in bars:
                fold.take(event)
            if bars:
                windows[key] = (bars[0].event_time, bars[-1].event_time + step_of(key))
        step_ms = min(map(step_of, windows), default=0)
        done_ms = None
        for begin_ms, end_ms in sorted(windows.values()):
            start_ms = begin_ms if done_ms is None else max(begin_ms, done_ms)
            # What is said at a close carries the close's time, and a period may end a little after it.
            for slice_ms in range(start_ms, end_ms + _SLICE_BARS * step_ms, _SLICE_BARS * step_ms):
                if self._stop.is_set():
                    return
                till_ms = slice_ms + _SLICE_BARS * step_ms
                for event in log.read(kinds=BY_BAR, start_ms=slice_ms, end_ms=till_ms, upto=head):
                    series = "|".join(event.key.split("|", 2)[:2])
                    if series in windows and event.event_time >= windows[series][0]:
                        fold.take(event)
                done_ms = till_ms
                self._beat = time.monotonic()

    def _newest_bars(self, log: EventLog, head: int, key: str) -> list[Event]:
        step_ms = step_of(key)
        newest = log.latest("bar", key=key, by="event_time")
        if newest is None or not step_ms:
            return []
        bars: list[Event] = []
        for wider in (1, 2, 4):  # nights and weekends: as many bars may lie in a longer time
            start_ms = newest.event_time - wider * N_POINTS * step_ms
            bars = log.read(kinds={"bar"}, key=key, start_ms=start_ms, upto=head, newest_revision=True)
            if len(bars) >= N_POINTS:
                break
        # A back-filled bar comes late: in the order of time they are a line.
        return sorted(bars, key=lambda event: event.event_time)[-N_POINTS:]


def _hosts(settings: Settings) -> dict[str, str]:
    from kalibre.hub.worker import groups

    hosts = {one: worker for worker, members in groups(settings).items() for one in members}
    if "paper" in hosts:
        hosts["champion"] = hosts["paper"]
    return hosts


def _hook(value: Any) -> Any:
    if isinstance(value, Live):
        return value.figures()
    # msgspec's own way to be told that a type has no JSON form.
    raise NotImplementedError(f"{type(value).__name__} cannot be sent")


encode = msgspec.json.Encoder(enc_hook=_hook).encode
"""Writes what the view returns as JSON."""
