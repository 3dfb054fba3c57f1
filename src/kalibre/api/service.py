"""What the routes share: the live view, the clock, the keys, the counters and a way to the log."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from kalibre.api._hub_actions import Heartbeat, Heartbeats, HubActions, LocalActions, read_heartbeats
from kalibre.api.answers import Answer, Standing, answer
from kalibre.api.auth import keys_of
from kalibre.api.counters import Counters
from kalibre.api.guard import Guard
from kalibre.api.hub_view import HubView
from kalibre.api.live import HEARTBEAT_LIMIT_S, LiveView, Picture, SeriesView
from kalibre.api.logins import Logins, logins_dir
from kalibre.api.sessions import Sessions
from kalibre.api.texts import Texts
from kalibre.core.clock import Clock, SystemClock, span_text
from kalibre.core.errors import ApiError
from kalibre.core.settings import Settings, make_home
from kalibre.core.timeframe import timeframe_ms
from kalibre.hub.costs import read_costs

if TYPE_CHECKING:
    from kalibre.log.protocol import EventLog


class AnswerWithChallenger(Answer, frozen=True):
    """The champion's answer, and beside it what the challenger (a model in shadow) would answer."""

    challenger: Answer | None = None


class Answers(msgspec.Struct, frozen=True):
    """An answer for each symbol that is followed, with `challenger` where it was asked for."""

    predictions: list[Answer]


class Service:
    """What answers: everything that the routes need, and nothing global. Whether it may listen is not its question.

    Parameters
    ----------
    settings
        Where to listen, which series to follow, where log and models are.
    log
        The log, if it is open already; else it is opened by the settings.
    clock
        The machine's clock, unless a test holds it.

    Raises
    ------
    SettingsError
        If a key's scope is unknown.
    """

    def __init__(self, settings: Settings, *, log: EventLog | None = None, clock: Clock | None = None) -> None:
        keys, self.session_key = keys_of(settings.api)
        self.clock = clock or SystemClock()
        self.sessions = Sessions(
            self.clock,
            file=settings.home / "run" / "sessions.json",
            place=str(settings.home.absolute()),
            logins=Logins(logins_dir(settings.home), self.clock),
        )
        self.guard = Guard(settings.api, keys, self.sessions)
        # Nobody needs the keys in clear from here on.
        self.settings = settings.model_copy(update={"api": settings.api.model_copy(update={"keys": {}})})
        self.counters = Counters()
        self.texts = Texts(self.settings)
        self._log = log
        self._own_log = False
        self._opening = threading.Lock()
        self.live = LiveView(self.settings, self.log)
        self.hub = HubView(self.settings, self.log)
        self.heartbeats: Heartbeats = partial(read_heartbeats, settings.home / "run")
        """Signs of life of the workers, by name."""
        self.costs = partial(read_costs, settings.home / "run")
        """What each projection costs, by name."""
        self.hub_actions: HubActions = LocalActions(self.settings, self.log, self._beats, self.clock)
        """What the hub does on request; who runs the hub otherwise puts its own here."""
        self.step_ms = timeframe_ms(settings.market.timeframe)
        self._stale_ms = settings.risk.stale_bars * self.step_ms
        self._kill_file = str(settings.kill_file)
        self.streams = 0
        self.reading = threading.Semaphore(2)
        """Two at a time may read long stretches of the log: predictions come first."""
        self.closing = False

    def log(self) -> EventLog:
        """Return the log, which all threads share; opens it at the first call.

        Raises
        ------
        LogError
            If it cannot be opened now; the next call tries again.
        """
        with self._opening:
            if self._log is None:
                from kalibre.log import open_log

                if not self.settings.log.url:
                    make_home(self.settings.home)
                self._log = open_log(self.settings.log_url)
                self._own_log = True
            return self._log

    def _beats(self) -> Mapping[str, Heartbeat]:
        return self.heartbeats()

    def close(self) -> None:
        """Stop following the log, and close it if it was opened here."""
        self.closing = True
        self.live.stop()
        self.hub.stop()
        with self._opening:
            if self._own_log and self._log is not None:
                self._log.close()
                self._log = None

    # --- predicting ---------------------------------------------------------------------------------------------------

    def predict(self, symbol: str, *, shadow: bool = False) -> Answer:
        """Answer for one symbol's newest bar, from one picture.

        Raises
        ------
        ApiError
            404 if the symbol is not followed; the message lists those that are.
        """
        return self._predict(self.live.picture, symbol, shadow=shadow)

    def predict_all(self, *, shadow: bool = False) -> Answers:
        """Answer for every symbol, all from one picture."""
        picture = self.live.picture
        return Answers([self._predict(picture, symbol, shadow=shadow) for symbol in picture.series])

    def _predict(self, picture: Picture, symbol: str, *, shadow: bool) -> Answer:
        view = picture.series.get(symbol)
        if view is None:
            raise self.unknown_symbol(symbol)
        staleness = self.staleness_seconds(picture, view.as_of_ms)
        holds = self.holds(picture, staleness)
        if view.frozen:
            holds.append(view.frozen)
        if view.as_of_ms is None and picture.ready:
            holds.append(f"the log holds no bars of {symbol}: run `kalibre ingest --symbol {symbol}`")
        champion = self._answer(picture, symbol, view.roles["champion"], holds, view.as_of_ms, staleness)
        self.counters.prediction(symbol, champion.signal)
        if not shadow:
            return champion
        standing = view.roles["challenger"]
        challenger = (
            None if standing.vacant else self._answer(picture, symbol, standing, holds, view.as_of_ms, staleness)
        )
        return AnswerWithChallenger(**msgspec.structs.asdict(champion), challenger=challenger)

    def _answer(
        self,
        picture: Picture,
        symbol: str,
        standing: Standing,
        holds: list[str],
        as_of_ms: int | None,
        staleness: float | None,
    ) -> Answer:
        return answer(symbol, standing, holds=holds, as_of_ms=as_of_ms, staleness_seconds=staleness, seq=picture.seq)

    def holds(self, picture: Picture, staleness: float | None) -> list[str]:
        """List what holds every decision back now, whatever the model says; empty if nothing does."""
        reasons = []
        if self.killed(picture):
            by = f" by {picture.kill.by}" if picture.kill is not None and picture.killed else ""
            why = f": {picture.kill.reason}" if picture.kill is not None and picture.kill.reason else ""
            reasons.append(f"the kill switch is engaged{by}{why}; release it to trade again")
        if picture.problem:
            reasons.append(picture.problem)
        elif self.live.heartbeat_age_s > HEARTBEAT_LIMIT_S:
            reasons.append(f"the log was last read {self.live.heartbeat_age_s:.0f} seconds ago: restart the server")
        if staleness is not None and staleness * 1000 > self._stale_ms:
            reasons.append(
                f"features are stale: the newest bar closed {span_text(staleness)} ago, more than "
                f"{self.settings.risk.stale_bars} bars of {self.settings.market.timeframe}"
            )
        return reasons

    def killed(self, picture: Picture) -> bool:
        """Say whether the kill switch is engaged, by event or by file."""
        return picture.killed or os.path.exists(self._kill_file)

    def engaged(self, picture: Picture) -> bool | None:
        """Say whether the kill switch is engaged; None while nobody can know: the log is not read, no file is there."""
        return self.killed(picture) or (False if picture.ready else None)

    def staleness_seconds(self, picture: Picture, as_of_ms: int | None) -> float | None:
        """Return the seconds since a bar closed, on the market's clock; None without a bar."""
        if as_of_ms is None:
            return None
        return max(0, self.clock.now_ms() + picture.market_lead_ms - as_of_ms) / 1000

    def overdue(self, picture: Picture, view: SeriesView) -> bool:
        """Say whether bars are missing that the market's calendar expects: a closed market is no fault."""
        return view.overdue_ms is not None and self.clock.now_ms() + picture.market_lead_ms > view.overdue_ms

    def unknown_symbol(self, symbol: str) -> ApiError:
        """Say that a symbol is not followed, and which are."""
        known = ", ".join(self.live.symbols)
        return ApiError(
            f"symbol {symbol[:60]!r} is not followed here: choose one of {known}, or add it to market.symbols",
            status=404,
        )


def predict_once(settings: Settings, symbol: str, *, shadow: bool = False) -> Answer:
    """Answer for one symbol's newest bar as the server would, without a server: nobody else can ask it.

    Raises
    ------
    ApiError
        404 if the symbol is not in `market.symbols`.
    LogError
        If the log cannot be read.
    """
    service = Service(settings)
    try:
        service.live.draw_once()
        return service.predict(symbol, shadow=shadow)
    finally:
        service.close()
