"""The doctor: looks at settings, folders, log, bars, models and the kill switch; each finding names what mends it."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kalibre.core.clock import SystemClock, to_text
from kalibre.core.errors import CalendarError, KalibreError
from kalibre.core.events import Event, Kill, Promotion, series_key
from kalibre.core.settings import Settings
from kalibre.core.timeframe import timeframe_ms

if TYPE_CHECKING:
    from kalibre.log.protocol import EventLog
    from kalibre.models.ensemble_version import EnsembleVersion

Level = Literal["ok", "degraded", "broken"]
_LEAST_FREE_BYTES = 1 << 30


@dataclass(frozen=True)
class Finding:
    """What was found about one part, and the command that mends it (empty if nothing has to be mended)."""

    part: str
    level: Level
    found: str
    mend: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as JSON-able values."""
        return asdict(self)


def examine(settings: Settings) -> list[Finding]:
    """Look at everything that a command or the server needs; changes nothing.

    Returns
    -------
    One finding a part, in the order in which they should be mended.
    """
    findings = [_home(settings.home), *_market(settings), _port(settings), _kill_file(settings.kill_file)]
    if findings[0].level == "broken" and not settings.log.url:
        return findings
    if settings.log.url or os.path.isfile(settings.home / "log.sqlite"):
        findings.extend(_log(settings))
    else:
        findings.append(Finding("log", "degraded", "there is no log yet", "kalibre ingest --days 365"))
    return findings


def _home(home: Path) -> Finding:
    # What is not there yet is made below the nearest that is.
    place = next(one for one in (home.absolute(), *home.absolute().parents) if os.path.lexists(one))
    elsewhere = "set KALIBRE_HOME to another folder"
    if not place.is_dir():
        return Finding("home", "broken", f"{str(place)!r} is no folder", elsewhere)
    if not os.access(place, os.W_OK):
        return Finding("home", "broken", f"{str(place)!r} cannot be written", elsewhere)
    free = shutil.disk_usage(place).free
    text = f"{str(home)!r}, {free / 2**30:.1f} GiB free"
    if free < _LEAST_FREE_BYTES:
        return Finding("home", "degraded", text, "free at least 1 GiB on its disk")
    return Finding("home", "ok", text)


def _market(settings: Settings) -> Iterator[Finding]:
    """Open calendar and source as the verbs do; nothing is fetched."""
    from kalibre.bars.calendars import get_calendar
    from kalibre.sources import open_source

    market = settings.market
    try:
        get_calendar(market.calendar)
        yield Finding("calendar", "ok", market.calendar)
    except KalibreError as error:
        yield Finding("calendar", "broken", str(error), "set [market] calendar to one of these")
    try:
        open_source(market.source, **market.source_options)
        yield Finding("source", "ok", market.source)
    except KalibreError as error:
        yield Finding("source", "degraded", str(error), "mend [market] source and source_options, or ingest by --path")


def _port(settings: Settings) -> Finding:
    address = f"{settings.api.host}:{settings.api.port}"
    try:
        with socket.create_server((settings.api.host, settings.api.port)):
            return Finding("port", "ok", f"{address} is free")
    except OSError as error:
        why = error.strerror or str(error)
        return Finding("port", "ok", f"{address} is taken ({why}): by a running server, or serve with --port")


def _kill_file(path: Path) -> Finding:
    if path.exists():
        return Finding(
            "kill file",
            "degraded",
            f"{str(path)!r} is there: nothing is ordered",
            f"rm {path} && kalibre kill --release",
        )
    return Finding("kill file", "ok", "not there")


def _log(settings: Settings) -> Iterator[Finding]:
    from kalibre.log import open_log

    try:
        with open_log(settings.log_url) as log:
            damage = log.check()
            if damage:
                yield Finding("log", "broken", "; ".join(damage), "stop everything and restore the log from a copy")
                return
            yield Finding("log", "ok", f"{log.head():,} events, whole")
            yield _kill_switch(log)
            for symbol in settings.market.symbols:
                yield _bars(log, settings, symbol)
                yield from _actions(log, symbol)
                yield from _models(log, settings, symbol)
            yield from _registry(log, settings)
    except KalibreError as error:
        yield Finding("log", "broken", str(error), "mend what the message says, then run kalibre doctor again")


def _kill_switch(log: EventLog) -> Finding:
    newest = log.latest("kill")
    if newest is not None and isinstance(newest.payload, Kill) and newest.payload.engaged:
        found = f"engaged by {newest.payload.by} at {to_text(newest.event_time)} {newest.payload.reason}".rstrip()
        return Finding("kill switch", "degraded", found, "kalibre kill --release")
    return Finding("kill switch", "ok", "released")


def _bars(log: EventLog, settings: Settings, symbol: str) -> Finding:
    from kalibre.bars.calendars import get_calendar

    timeframe = settings.market.timeframe
    part = f"bars {symbol}"
    newest = log.latest("bar", key=series_key(symbol, timeframe), by="event_time")
    fetch = f"kalibre ingest --symbol {symbol} --timeframe {timeframe}"
    if newest is None:
        return Finding(part, "degraded", f"no {timeframe} bar is stored", fetch)
    now_ms = SystemClock().now_ms()
    since = newest.event_time + timeframe_ms(timeframe)
    try:
        expected = get_calendar(settings.market.calendar).expected_opens(timeframe, since, now_ms)
    except CalendarError as error:  # how far it is behind only a calendar says
        return Finding(part, "degraded", str(error), "set [market] calendar to one that reaches to today")
    missing = max(0, len(expected) - 1)
    found = f"newest {timeframe} bar of {to_text(newest.event_time)}, {missing} behind the clock"
    if missing > settings.risk.stale_bars:
        return Finding(part, "degraded", found, _fetch_more(settings, fetch, newest))
    return Finding(part, "ok", found)


def _fetch_more(settings: Settings, fetch: str, newest: Event) -> str:
    """Return what brings newer bars: a stream where the source has one, and the file where that may be their origin."""
    from kalibre.sources import source_class

    if not hasattr(source_class(settings.market.source), "stream"):
        return fetch
    # A history may have come from the exchange or by --path: the log does not say from where.
    from_file = "" if newest.provenance == "received" else f"; if they came from a file: {fetch} --path FILE"
    return f"{fetch} --follow{from_file}"


def _actions(log: EventLog, symbol: str) -> Iterator[Finding]:
    from kalibre.bars.history import undecided_actions

    waiting = undecided_actions(log, symbol)
    if waiting:
        named = ", ".join(f"factor {one.action.factor:g} from {to_text(one.event_time)}" for one in waiting)
        found = f"undecided: {named}; paper and server hold until a person confirms or rejects"
        yield Finding(f"corporate actions {symbol}", "degraded", found, "kalibre actions")


def _registry(log: EventLog, settings: Settings) -> Iterator[Finding]:
    """Compare MLflow's aliases with the log; asked only where something was promoted, since it takes a while."""
    from kalibre.registry.promotion import differences
    from kalibre.registry.store import Registry

    if log.latest("promotion") is None:
        return
    registry = Registry(settings)
    try:
        amiss = [
            text for s in settings.market.symbols for text in differences(log, registry, s, settings.market.timeframe)
        ]
    except KalibreError as error:
        yield Finding("MLflow", "degraded", str(error), "start MLflow or mend registry_url; trading goes on without it")
        return
    if amiss:
        yield Finding("MLflow", "degraded", "; ".join(amiss), "kalibre doctor --mend")
    else:
        yield Finding("MLflow", "ok", "aliases as in the log")


def _models(log: EventLog, settings: Settings, symbol: str) -> Iterator[Finding]:
    from kalibre.models.acting import load_acting
    from kalibre.models.ensemble_version import EnsembleVersion
    from kalibre.registry.promotion import stale_features
    from kalibre.registry.standing import drifted, undrifted

    key = series_key(symbol, settings.market.timeframe)
    for alias in ("champion", "challenger"):
        part = f"{alias} {symbol}"
        event = log.latest("promotion", key=f"{key}|{alias}")
        payload = event.payload if event is not None else None
        if not isinstance(payload, Promotion) or payload.model is None:
            if alias == "champion":
                yield Finding(part, "ok", "none: the policy holds until a model qualifies")
            continue
        try:
            acting = load_acting(settings.models_dir, payload.model, payload.digest)
        except KalibreError as error:
            yield Finding(part, "broken", str(error), "kalibre rollback" if alias == "champion" else "kalibre train")
            continue
        anew = f"kalibre train --symbol {symbol} --timeframe {acting.timeframe}"
        if isinstance(acting, EnsembleVersion):
            anew = f"kalibre hub judge --symbol {symbol}"
            yield from _ensemble(log, settings, acting, anew)
        elif stale := stale_features(acting):
            yield Finding(part, "degraded", f"{acting.model_id} cannot act. {stale}", anew)
            continue
        if apart := drifted(acting, settings):
            found = f"{acting.model_id} is not traded as it was judged. {'; '.join(apart)}"
            yield Finding(part, "degraded", found, f"set {undrifted(acting, settings)}, or judge one anew: {anew}")
        else:
            yield Finding(part, "ok", f"{payload.model}, every byte as recorded")


def _ensemble(log: EventLog, settings: Settings, version: EnsembleVersion, anew: str) -> Iterator[Finding]:
    """Say whether the ensemble that is champion speaks, and of what it was judged for."""
    from kalibre.registry.standing import waiting

    part = f"ensemble {version.symbol}"
    if version.horizon_bars != settings.model.horizon_bars:
        found = (
            f"{version.model_id} cannot act: it was judged over {version.horizon_bars} bars, by the settings the "
            f"ensemble foresees {settings.model.horizon_bars}"
        )
        yield Finding(part, "degraded", found, f"set [model] horizon_bars = {version.horizon_bars}, or: {anew}")
    key = series_key(version.symbol, version.timeframe)
    for row in waiting(log, settings):
        if row["series"] == key and row["bars"] > settings.risk.stale_bars:
            found = (
                f"nothing is decided: it has not spoken of {row['bars']:,} bars, since that of {row['since']} (it "
                "speaks in the hub, once every forecaster has)"
            )
            yield Finding(part, "degraded", found, "kalibre hub up; where it runs, see who lags: kalibre hub status")
