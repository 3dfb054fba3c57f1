"""The live view: a thread that tails the log, folds features and leaves an immutable picture for the requests to read.

The features come from the same engine as in training and on paper, fed the bars by time and in one scale. A request
never waits for this thread; if the thread stops, its heartbeat grows old and every answer becomes HOLD.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from kalibre.api.answers import Standing
from kalibre.api.folds import FeatureFold, Ledger
from kalibre.api.served import ServedEnsemble, ServedModel, served
from kalibre.bars.timeline import Timeline
from kalibre.core.clock import to_text
from kalibre.core.errors import CalendarError, KalibreError
from kalibre.core.events import (
    Account,
    Automation,
    BarClosed,
    CorporateAction,
    Event,
    Kill,
    Order,
    OrderCancelled,
    Signal,
    Tick,
    series_key,
)
from kalibre.core.settings import Settings
from kalibre.core.timeframe import DAY_MS, timeframe_ms
from kalibre.registry.champion import Alias, ChampionFollower, Holder

if TYPE_CHECKING:
    from kalibre.log.protocol import EventLog

Served = ServedModel | ServedEnsemble
ROLES: tuple[Alias, ...] = ("champion", "challenger")
HEARTBEAT_LIMIT_S = 10.0
"""A picture older than this is no picture: the thread that draws it has stopped or hangs."""

_KINDS = {
    *("bar", "corporate_action", "tick", "kill", "automation", "promotion"),
    *("signal", "order", "order_cancelled", "account"),
}
_PAGE = 250
_REST = 4.0
"""Seconds of rest for each second of work while a replay runs ahead: answering comes first, and takes the same core."""
_LONGEST_REST_S = 0.1
_LONGEST_CLOSURE_MS = 14 * DAY_MS
_logger = logging.getLogger("kalibre.api")


@dataclass(frozen=True)
class SeriesView:
    """One series at one position: its newest bar and what each role makes of it.

    `overdue_ms` is when, by the market's calendar, so many bars should have come since that something must be wrong;
    `frozen` says why its prices cannot be trusted until a person has decided, empty if they can.
    """

    symbol: str
    as_of_ms: int | None
    roles: Mapping[Alias, Standing]
    overdue_ms: int | None = None
    frozen: str = ""


@dataclass(frozen=True)
class Picture:
    """Everything that requests read, at one position of the log; replaced as a whole.

    `market_lead_ms` is how far the market's clock (recorded ticks) is ahead of this machine's: 0 in live trading, more
    or less in a replay.
    """

    seq: int = 0
    series: Mapping[str, SeriesView] = field(default_factory=dict)
    kill: Kill | None = None
    kill_since_ms: int | None = None
    automation: Automation | None = None
    market_lead_ms: int = 0
    ready: bool = False
    problem: str = "the server is starting: it has not read the log yet"

    @property
    def running(self) -> bool:
        """Whether paper trading may go on: it does until someone stops it."""
        return self.automation is None or self.automation.running

    @property
    def killed(self) -> bool:
        """Whether the kill switch is engaged."""
        return self.kill is not None and self.kill.engaged


class LiveView:
    """Follows the log in a thread of its own and keeps `picture` up to date.

    Parameters
    ----------
    settings
        Which series to follow, where the models are, how stale is stale.
    open_log
        Returns the log, opening it if it is not open.
    patience_s
        Longest time between two looks at the log.
    retry_s
        Time between two tries to read a log that could not be read.
    """

    def __init__(
        self, settings: Settings, open_log: Callable[[], EventLog], *, patience_s: float = 0.25, retry_s: float = 1.0
    ) -> None:
        self._settings = settings
        self._open_log = open_log
        self._patience_s = patience_s
        self._retry_s = retry_s
        self._series = {series_key(s, settings.market.timeframe): s for s in settings.market.symbols}
        self._series_of = {**{series: series for series in self._series}, **{s: key for key, s in self._series.items()}}
        self._lines: dict[str, Timeline] = {}
        self._folds: dict[tuple[str, str], FeatureFold] = {}
        self._ledgers: dict[tuple[str, Alias], Ledger] = {}
        self._stop = threading.Event()
        self._drawn = threading.Condition()
        self._thread = threading.Thread(target=self._follow, name="kalibre-live", daemon=True)
        self._beat = time.monotonic()
        self.picture = Picture(
            series=MappingProxyType({s: SeriesView(s, None, _waiting("the server is starting")) for s in self.symbols})
        )

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols that are followed."""
        return self._settings.market.symbols

    @property
    def heartbeat_age_s(self) -> float:
        """Seconds since the thread last looked at the log."""
        return time.monotonic() - self._beat

    def start(self) -> None:
        """Begin to follow; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10.0)

    def draw_once(self) -> None:
        """Draw one picture of the log as it is now, in the caller's own thread and instead of `start`.

        Raises
        ------
        LogError
            If the log cannot be read: nothing is tried again.
        """
        self._begin(self._open_log())

    def wait_for(self, seq: int, *, timeout_s: float) -> bool:
        """Wait until the picture knows the log up to `seq`; returns whether it does."""
        with self._drawn:
            return self._drawn.wait_for(lambda: self.picture.ready and self.picture.seq >= seq, timeout=timeout_s)

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow_log(self._open_log())
            except KalibreError as error:
                # The log may come back (a database restarts); until then nothing is decided.
                problem = f"the log cannot be read: {error}"
                if problem != self.picture.problem:  # tried again every second, told once
                    _logger.warning("live view: %s", problem)
                self._publish(replace(self.picture, problem=problem, ready=False))
                self._stop.wait(self._retry_s)

    def _begin(self, log: EventLog) -> tuple[ChampionFollower[Served], int]:
        """Draw the picture of the log as it is now; return who follows its models, and the position."""
        follower = ChampionFollower(log, self._settings.models_dir, prepare=served)
        self._folds.clear()
        self._ledgers.clear()
        position = log.head()
        picture = self._first_picture(log, position)
        follower.poll(upto=position)
        self._fold_missing(log, follower, position)
        self._publish(self._draw(picture, follower, position))
        return follower, position

    def _follow_log(self, log: EventLog) -> None:
        follower, position = self._begin(log)
        while not self._stop.is_set():
            head = log.wait(position, self._patience_s, self._stop.is_set)
            self._beat = time.monotonic()
            picture = self.picture
            changed = False
            while position < head and not self._stop.is_set():
                began = time.thread_time()
                events = log.read(after=position, upto=head, kinds=_KINDS, limit=_PAGE)
                for event in events:
                    picture = self._take(event, picture)
                position = events[-1].seq if len(events) == _PAGE else head
                changed = True
                self._touch()
                if len(events) == _PAGE:
                    self._stop.wait(min(_REST * (time.thread_time() - began), _LONGEST_REST_S))
            if follower.poll(upto=position):
                self._fold_missing(log, follower, position)
                changed = True
            if changed or not picture.ready:
                self._publish(self._draw(picture, follower, position))

    def _first_picture(self, log: EventLog, position: int) -> Picture:
        picture = Picture()
        timeframe = self._settings.market.timeframe
        # Of each series only its newest bar and its actions: the folds keep the bars that features need.
        self._lines = {series: Timeline(symbol, timeframe, keep=1) for series, symbol in self._series.items()}
        for kind in ("tick", "kill", "automation"):
            event = log.latest(kind)
            if event is not None and event.seq <= position:
                picture = self._take(event, picture)
        for series, symbol in self._series.items():
            for event in log.read(kinds={"corporate_action"}, key=symbol, upto=position, newest_revision=True):
                picture = self._take(event, picture)
            newest = log.latest("bar", key=series, by="event_time")
            if newest is not None and newest.seq <= position:
                picture = self._take(newest, picture)
            for role in ROLES:
                for kind in ("account", "order", "order_cancelled", "signal"):
                    event = log.latest(kind, key=f"{series}|{role}")
                    if event is not None and event.seq <= position:
                        picture = self._take(event, picture)
        return picture

    def _take(self, event: Event, picture: Picture) -> Picture:
        match event.payload:
            case BarClosed() | CorporateAction():
                series = self._series_of.get(event.key)
                if series is not None:
                    self._lines[series].take(event)
                    for fold in self._folds.values():
                        if fold.series == series:
                            fold.take(event)
            case Tick(now_ms=now_ms):
                return replace(picture, market_lead_ms=now_ms - event.recorded_at)
            case Kill() as kill:
                return replace(picture, kill=kill, kill_since_ms=event.event_time)
            case Automation() as automation:
                return replace(picture, automation=automation)
            case Signal(role=role) | Order(role=role) | OrderCancelled(role=role) | Account(role=role):
                series = event.key.rpartition("|")[0]
                for known in ROLES:
                    if known == role and series in self._series:
                        self._ledgers.setdefault((series, known), Ledger()).take(event)
        return picture

    def _fold_missing(self, log: EventLog, follower: ChampionFollower[Served], position: int) -> None:
        """Fold the history of every feature set that a model needs and that is not folded yet; drop those unused."""
        needed: dict[tuple[str, str], ServedModel] = {}
        for series in self._series:
            for role in ROLES:
                holder = follower.current.get((series, role))
                if holder is not None and isinstance(holder.prepared, ServedModel):
                    needed[series, holder.prepared.features_key] = holder.prepared
        for place in set(self._folds) - set(needed):
            del self._folds[place]
        for place, model in needed.items():
            if place not in self._folds:
                fold = FeatureFold(self._series[place[0]], self._settings.market.timeframe, model.bundle.spec)
                fold.read(log, upto=position, beat=self._touch, should_stop=self._stop.is_set)
                self._folds[place] = fold

    def _touch(self) -> None:
        self._beat = time.monotonic()

    def _draw(self, picture: Picture, follower: ChampionFollower[Served], position: int) -> Picture:
        views = {}
        for fold in self._folds.values():
            fold.settle(self._touch)
        for series, symbol in self._series.items():
            roles = {role: self._stand(series, role, follower.current.get((series, role))) for role in ROLES}
            line = self._lines[series]
            as_of_ms = None if line.last is None else line.last.open_time + timeframe_ms(line.timeframe)
            doubts = (fold.doubt_ms for fold in self._folds.values() if fold.series == series)
            frozen = _frozen(symbol, min((doubt for doubt in doubts if doubt is not None), default=None))
            if frozen:
                # As on paper: what was made of prices in two scales is no forecast.
                roles = {role: msgspec.structs.replace(standing, p_up=None) for role, standing in roles.items()}
            views[symbol] = SeriesView(symbol, as_of_ms, MappingProxyType(roles), self._overdue_ms(as_of_ms), frozen)
        return replace(picture, seq=position, series=MappingProxyType(views), ready=True, problem="")

    def _stand(self, series: str, role: Alias, holder: Holder[Served] | None) -> Standing:
        if holder is None or holder.model_id is None:
            return Standing(problem=f"no model is {role} of {series}: train one and promote it", vacant=True)
        model = holder.prepared
        if model is None:
            return Standing(problem=holder.problem)
        if isinstance(model, ServedEnsemble):
            return self._recorded(series, role, model)
        fold = self._folds[series, model.features_key]
        if problem := fold.problem(model):
            return Standing(model=model, problem=problem)
        ledger = self._ledgers.get((series, role))
        p_up = fold.p_up(model)
        return Standing(
            model=model,
            p_up=p_up,
            problem="" if p_up is not None else "a feature is unknown at this bar",
            holding=None if ledger is None else ledger.holding(fold.as_of_ms),
            decided=None if ledger is None else ledger.decided(fold.as_of_ms, model.model_id),
        )

    def _recorded(self, series: str, role: Alias, model: ServedEnsemble) -> Standing:
        """Return where the ensemble stands that is champion: as the paper engine recorded it."""
        line, ledger = self._lines[series], self._ledgers.get((series, role))
        step_ms = timeframe_ms(line.timeframe)
        as_of_ms = None if line.last is None else line.last.open_time + step_ms
        decided = None if ledger is None else ledger.decided(as_of_ms, model.model_id)
        known = decided is not None and decided.p_up is not None
        problem = "" if known else "paper has not decided on this bar yet: the word of the ensemble is on its way"
        if decided is not None and not known:
            problem = "; ".join(decided.reasons)
        decided_ms = 0 if ledger is None else ledger.decided_ms
        behind = (as_of_ms or 0) - decided_ms > self._settings.risk.stale_bars * step_ms
        if behind:
            problem = "paper waits for the word of the ensemble: see `kalibre hub status`"
        return Standing(
            model=model,
            p_up=None if decided is None else decided.p_up,
            problem=problem,
            holding=None if ledger is None else ledger.holding(as_of_ms),
            decided=decided,
            on_its_way=not behind,
        )

    def _overdue_ms(self, as_of_ms: int | None) -> int | None:
        if as_of_ms is None:
            return None
        from kalibre.bars.calendars import get_calendar

        market, late = self._settings.market, self._settings.risk.stale_bars
        step_ms = timeframe_ms(market.timeframe)
        try:
            until = as_of_ms + (late + 1) * step_ms + _LONGEST_CLOSURE_MS
            opens = get_calendar(market.calendar).expected_opens(market.timeframe, as_of_ms, until)
        except CalendarError:
            # The calendar ends before these bars: judge as if the market were always open.
            return as_of_ms + late * step_ms
        return int(opens[late]) if len(opens) > late else until

    def _publish(self, picture: Picture) -> None:
        with self._drawn:
            self.picture = picture
            self._beat = time.monotonic()
            self._drawn.notify_all()


def _frozen(symbol: str, undecided_ms: int | None) -> str:
    if undecided_ms is None:
        return ""
    told = f"{symbol} {to_text(undecided_ms)[:10]}"
    return (
        f"a corporate action of {told} was detected and nobody has decided on it, so nobody knows the scale of its "
        f"prices: run `kalibre actions confirm {told}` or `kalibre actions reject {told}`"
    )


def _waiting(problem: str) -> Mapping[Alias, Standing]:
    return MappingProxyType({role: Standing(problem=problem, vacant=True) for role in ROLES})
