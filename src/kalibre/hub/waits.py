"""Who waits for whom: the ensemble for the forecasters and for word on who is benched, the scorer for all of them.

A worker that fails is released from waiting by a recorded `bench`. One that was stopped, or never started, is not: then
the others stand still, and nothing of what they record says so. Here that is read off the log: of which bar somebody
has spoken and somebody else, who is waited for, has not.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from kalibre.core.clock import Clock, SystemClock, to_text
from kalibre.core.errors import KalibreError
from kalibre.core.events import Event, new_event, series_key
from kalibre.core.hub_events import Alert, Bench
from kalibre.core.settings import Settings
from kalibre.core.timeframe import timeframe_ms
from kalibre.hub import ensemble, scorer
from kalibre.hub.periods import Periods, bench_ms
from kalibre.hub.roster import Seen, roster
from kalibre.hub.worker import groups
from kalibre.log.protocol import EventLog

SILENT_S = 60.0
"""Seconds without a beat after which a worker counts as down."""
LATE_MS = 120_000
"""A wait that is over within so long, wall time, is told to nobody: workers are restarted, and catch up."""
WRITER = "waits"
_VOICES = {ensemble.CHAMPION: "paper"}
_KINDS = {ensemble.NAME: "ensemble", scorer.REGIME: "annotation"}


class Wait(NamedTuple):
    """A projection that cannot go on with a series."""

    series: str
    reader: str
    of: tuple[str, ...]
    """Whom it waits for."""
    since_ms: int
    """Close of the bar that it cannot go on with."""
    told_ms: int
    """When the first word on that bar was recorded, wall time."""
    reason: str
    """What keeps those who are waited for, in words."""
    mend: str
    """The command that starts them; empty where they run, and only have to catch up."""

    @property
    def text(self) -> str:
        """Say it in a sentence."""
        return f"it waits for {' and '.join(self.of)} since the bar of {to_text(self.since_ms)}: {self.reason}"


def waits(log: EventLog, settings: Settings) -> list[Wait]:
    """Return who cannot go on, as the log and the heartbeats of this moment have it; nothing while no hub runs.

    Raises
    ------
    LogError
        If the log cannot be read.
    """
    seen = {one.name: one for one in roster(settings.home / "run")}
    if not any(_beats(one) for one in seen.values()):
        return []
    forecasters = ensemble.forecasters_of(settings)
    context = scorer.context_of(settings)
    found = []
    for symbol in settings.market.symbols:
        series = series_key(symbol, settings.market.timeframe)
        market = _Series(log, series, timeframe_ms(settings.market.timeframe), (*forecasters, ensemble.NAME, *context))
        here: dict[str, tuple[tuple[str, ...], Event]] = {}
        for reader, names in (
            (ensemble.NAME, forecasters),
            (scorer.NAME, (*forecasters, ensemble.NAME, *context)),
        ):
            progress = log.progress(reader)
            if progress is None:
                continue
            stuck = market.stuck(names, done_ms=market.done(reader, since=progress.since))
            if reader == ensemble.NAME:
                unjudged = market.unjudged()
                if unjudged is not None and (stuck is None or unjudged[1].event_time < stuck[1].event_time):
                    stuck = unjudged
            # Where the scorer keeps the ensemble, it does not wait for it: it is down.
            kept = ensemble.NAME in here and here[ensemble.NAME][0] == (scorer.NAME,)
            if stuck is not None and not (kept and stuck[0] == (ensemble.NAME,)):
                here[reader] = stuck
        for reader, (names, bar) in here.items():
            reason, mend = _standing(names, settings, seen)
            found.append(Wait(series, reader, names, bar.event_time, bar.recorded_at, reason, mend))
    return found


class _Series:
    """What was said of one series, asked for no more than once."""

    def __init__(self, log: EventLog, series: str, step_ms: int, names: Sequence[str]) -> None:
        self._log, self._series, self._step_ms = log, series, step_ms
        self._reach = {name: self._newest(name) for name in names}
        self._releases = {name: self._told(name) for name in names}

    def _newest(self, name: str) -> int:
        event = self._log.latest(_KINDS.get(name, "forecast"), key=f"{self._series}|{name}", by="event_time")
        return -1 if event is None else event.event_time

    def _told(self, name: str) -> list[tuple[int, bool]]:
        found = self._log.read(kinds={"bench"}, key=name)
        told = [(one.event_time, one.payload.benched) for one in found if isinstance(one.payload, Bench)]
        return sorted(told, key=lambda span: span[0])  # of two at one time the one that was told later counts

    def _first(self, names: Sequence[str], after_ms: int) -> Event | None:
        """Return the first word on the oldest bar after a time of which one of these has spoken."""
        words = [
            event
            for name in names
            if self._reach[name] > after_ms
            for event in self._log.read(
                kinds={_KINDS.get(name, "forecast")}, key=f"{self._series}|{name}", start_ms=after_ms + 1, limit=1
            )
        ]
        return min(words, key=lambda event: (event.event_time, event.recorded_at), default=None)

    def done(self, reader: str, *, since: int) -> int:
        """Return a time up to which a reader is done with the bars; -1 while its code reads the log anew."""
        kind, key = ("ensemble", f"{self._series}|{reader}") if reader == ensemble.NAME else ("league", self._series)
        newest = self._log.latest(kind, key=key, by="event_time")
        return -1 if newest is None or newest.seq <= since else newest.event_time

    def stuck(self, names: Sequence[str], *, done_ms: int) -> tuple[tuple[str, ...], Event] | None:
        """Return who among these is waited for and has not spoken of a bar of which another has; and that bar."""
        reach = {name: max(self._reach[name], done_ms) for name in names}
        while reach:
            bar = self._first(names, min(reach.values()))
            if bar is None:
                return None
            silent = [name for name in reach if reach[name] < bar.event_time]
            missing = tuple(name for name in silent if not self._is_released(name, bar.event_time))
            if missing:
                return missing, bar
            for name in silent:  # nobody waits for it here; perhaps from a later bar on
                again = [at for at, benched in self._releases[name] if at > bar.event_time and not benched]
                if again:
                    reach[name] = again[0] - 1
                else:
                    del reach[name]
        return None

    def _is_released(self, name: str, close_ms: int) -> bool:
        spans = self._releases[name]
        place = bisect_right(spans, close_ms, key=lambda span: span[0])
        return place > 0 and spans[place - 1][1]

    def unjudged(self) -> tuple[tuple[str, ...], Event] | None:
        """Return the ensemble's next bar, if who is benched there has not been told."""
        others = [name for name in self._reach if name not in _KINDS]
        bar = self._first(others, self._reach[ensemble.NAME])
        if bar is None:
            return None
        periods = Periods(bench_ms(self._step_ms))
        for end_ms in reversed(list(self._days(periods))):
            periods.enter(end_ms)
        needed = periods.before_last(bar.event_time)
        judged = self._log.latest("benched", key=self._series, by="event_time")
        if needed is None or (judged is not None and judged.event_time >= needed):
            return None
        return (scorer.NAME,), bar

    def _days(self, periods: Periods) -> Iterator[int]:
        """Yield a bar of each of the newest three days of which the ensemble has spoken, newest first."""
        before_ms = self._reach[ensemble.NAME] + 1
        for _ in range(3):
            found = self._log.read(
                kinds={"ensemble"}, key=f"{self._series}|{ensemble.NAME}", end_ms=before_ms, limit=1, descending=True
            )
            if not found:
                return
            yield found[0].event_time
            before_ms = periods.end(found[0].event_time) - periods.length_ms + 1


def _beats(seen: Seen) -> bool:
    return not seen.stopped and seen.age_s <= SILENT_S


def _standing(names: Sequence[str], settings: Settings, seen: Mapping[str, Seen]) -> tuple[str, str]:
    """Return what keeps those that are waited for, and the commands that mend it."""
    reasons: dict[str, None] = {}
    mends: dict[str, None] = {}
    for name in names:
        projection = _VOICES.get(name, name)
        hosts = [worker for worker, members in groups(settings).items() if projection in members]
        # Under PM2 or systemd a projection may have a worker of its own, whatever the settings group.
        known = [seen[worker] for worker in dict.fromkeys((projection, *hosts)) if worker in seen]
        running = next((one for one in known if _beats(one)), None)
        newest = min(known, key=lambda one: one.age_s, default=None)
        if running is not None:
            reasons[f"worker {running.name} runs, and has to catch up"] = None
        elif newest is None:
            worker = hosts[0] if hosts else projection
            reasons[f"worker {worker} was never started"] = None
            mends[f"kalibre hub worker {worker}"] = None
        elif newest.stopped:
            reasons[f"worker {newest.name} was stopped"] = None
            mends[f"kalibre hub start {newest.name}"] = None
        else:
            reasons[f"worker {newest.name} does not beat"] = None
            mends[f"kalibre hub restart {newest.name}"] = None
    return "; ".join(reasons), "; ".join(mends)


class WaitsWatch:
    """Tells people of waits that do not end by themselves, and when they are over.

    It is no projection: what it says hangs on who runs at a moment, as what the supervisor says does.
    """

    def __init__(self, log: EventLog, settings: Settings, *, clock: Clock | None = None) -> None:
        self._log, self._settings, self._clock = log, settings, clock or SystemClock()

    def look(self) -> None:
        """Record what began or ended since the last look.

        Raises
        ------
        LogError
            If the log cannot be read or written now.
        """
        now_ms = self._clock.now_ms()
        found = {(one.reader, one.series): one for one in waits(self._log, self._settings) if one.mend}
        market = self._settings.market
        for reader in (ensemble.NAME, scorer.NAME):
            for symbol in market.symbols:
                series = series_key(symbol, market.timeframe)
                self._tell(reader, series, found.get((reader, series)), now_ms)

    def _tell(self, reader: str, series: str, wait: Wait | None, now_ms: int) -> None:
        key = f"waits|{reader}|{series}"
        before = self._log.latest("alert", key=key)
        last = before.payload if before is not None and isinstance(before.payload, Alert) else None
        is_open = last is not None and not last.recovered
        if wait is None:
            if not is_open:
                return
            alert = Alert(
                level="info",
                title=f"{series}: the {reader} waits no longer",
                cause="everyone whom it waited for runs again",
                consequence="what it left out follows",
                recovered=True,
            )
        else:
            if now_ms - wait.told_ms < LATE_MS:
                return
            alert = Alert(
                level="warning",
                title=f"{series}: the {reader} waits for {' and '.join(wait.of)}",
                cause=wait.text,
                consequence="no word of the ensemble and no league of later bars until then",
                mend=wait.mend,
            )
            if is_open and last is not None and last.cause == alert.cause:
                return
        # Two within a millisecond are two events.
        at_ms = now_ms if before is None else max(now_ms, before.event_time + 1)
        self._log.append([new_event(key, at_ms, alert)], writer=WRITER)


def waits_of(settings: Settings) -> list[Wait]:
    """Return who cannot go on in the hub of these settings; nothing where there is no log that can be read."""
    from kalibre.log import open_log

    if not settings.log.url and not (settings.home / "log.sqlite").is_file():
        return []
    try:
        with open_log(settings.log_url) as log:
            return waits(log, settings)
    except KalibreError:  # the doctor says elsewhere what is wrong with the log
        return []
