"""May the ensemble act? Its recorded forecasts, read from the log, checked against it, and put through the gates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from kalibre.core.clock import Clock, SystemClock
from kalibre.core.errors import HubError, UsageError
from kalibre.core.events import Event, Forecast, Outcome, series_key
from kalibre.core.hub_events import EnsembleForecast
from kalibre.core.settings import Settings
from kalibre.hub.ensemble import CHAMPION, NAME, EnsembleProjection, ensemble_projection, forecasters_of
from kalibre.log.protocol import EventLog, Progress
from kalibre.log.replay import Feeder, close, read_on

if TYPE_CHECKING:
    from kalibre.core.bars import Bars
    from kalibre.evaluation.recorded import Record
    from kalibre.models.ensemble_version import EnsembleVersion

Report = Callable[[str, int, int], None]
_EVERY = 5_000
"""Events read again between two reports of progress."""

SILENT = "abstained"
LATE = "late: nobody could have acted on them"
OTHERWISE = "said by other code or another set of forecasters"


class JudgedEnsemble(NamedTuple):
    """An ensemble that was judged and stored: its study as plain data, its folder, its version."""

    study: Mapping[str, Any]
    folder: Path
    version: EnsembleVersion


def judge_ensemble(
    log: EventLog,
    bars: Bars,
    settings: Settings,
    *,
    progress: Report | None = None,
    clock: Clock | None = None,
) -> JudgedEnsemble:
    """Put the recorded forecasts of an ensemble through the gates, and store what was found as a version of it.

    The version is stored before the log names it. Nothing is promoted.

    Parameters
    ----------
    bars
        The stored bars of the series; they say which ensemble is meant.
    settings
        Those of the hub: who its forecasters are, costs, limits and gates.

    Raises
    ------
    UsageError
        If the hub does not follow the series.
    HubError
        If the ensemble has not read the log, or not with this code and these settings.
    EvaluationError
        If there are too few forecasts; the message says how many there are and how many are needed.
    """
    from kalibre.bars.calendars import get_calendar
    from kalibre.bars.funding import load_funding, missing_funding
    from kalibre.evaluation.recorded import judge_recorded
    from kalibre.models.ensemble_version import store_ensemble
    from kalibre.registry.candidates import record_model, store_study

    check_followed(settings, bars.symbol, bars.timeframe)
    now_ms = (clock or SystemClock()).now_ms()
    record = read_record(log, settings, bars.symbol, progress=progress)
    result = judge_recorded(
        bars,
        record,
        settings,
        log=log,
        calendar=get_calendar(settings.market.calendar),
        progress=progress,
        created_at_ms=now_ms,
        funding=load_funding(log, bars),
    )
    study = {
        **result.as_dict(),
        "funding_missing": missing_funding(log, bars),
        "without_champion": record.without_champion,
    }
    folder = store_ensemble(settings.models_dir, result.bundle)
    store_study(settings, study)
    record_model(log, result.bundle, now_ms)
    return JudgedEnsemble(study, folder, result.bundle)


def check_followed(settings: Settings, symbol: str, timeframe: str) -> None:
    """Refuse a series that the hub does not follow.

    Raises
    ------
    UsageError
        The message quotes it and lists those that it follows.
    """
    market = settings.market
    if symbol not in market.symbols or timeframe != market.timeframe:
        raise UsageError(
            f"the hub has no ensemble of {symbol!r} {timeframe}: it follows {', '.join(market.symbols)} in "
            f"{market.timeframe}; name one of these"
        )


def read_record(log: EventLog, settings: Settings, symbol: str, *, progress: Report | None = None) -> Record:
    """Read what an ensemble said, as far as it may be judged by it.

    The log is read again by a fresh ensemble. A forecast counts if it was said first, in time, and the fresh ensemble
    says the same of the bar: what other code or other forecasters said is no word of this ensemble. A forecast that
    this code is on record with and that it does not say again (or says and is not on record with) was not made from
    what the log holds: it is `doubtful`, and the verification gate refuses it.

    Once the ensemble is champion, no model is. So what is judged of such a bar is what the ensemble would have said of
    it without the champion: else it could pass on a word that falls silent the moment it acts.

    Raises
    ------
    HubError
        If the ensemble has not read the log, or not with this code and these settings.
    """
    from kalibre.evaluation.recorded import Record

    key = series_key(symbol, settings.market.timeframe)
    projection = ensemble_projection(settings)
    # Read around the progress, as the hub may be writing: what stands before it is certainly among what was read, and
    # what was read is certainly recorded by the head after it.
    certain = log.head()
    read = _progress(log, projection)
    recorded = _recorded(log, f"{key}|{projection.name}", upto=log.head())
    forecasters = tuple(sorted(forecasters_of(settings)))
    report = progress or (lambda stage, done, total: None)
    again = _read_again(log, settings, key, forecasters, upto=read.seq, report=report)

    closes, p_up, weights = list[int](), list[float](), dict[str, float]()
    left_out, doubtful = Counter[str](), 0
    for close_ms in sorted(recorded.keys() | again.said.keys()):
        revisions, said = recorded.get(close_ms, []), again.said.get(close_ms)
        first = next((event for event in revisions if not event.revision), None)
        if _doubtful(first, revisions, said, since=read.since, certain=certain):
            doubtful += 1
        if first is None or (said is None and first.seq > certain):
            continue
        word = again.without_champion.get(close_ms)
        if said is None or word is None or not _agree(_word(first), said):
            left_out[OTHERWISE] += 1
        elif word.p_up is None or said.p_up is None:
            left_out[SILENT] += 1
        elif close_ms in again.late:
            left_out[LATE] += 1
        else:
            closes.append(close_ms)
            p_up.append(word.p_up)
            for name, weight in word.weights.items():
                weights[name] = weights.get(name, 0.0) + weight
    return Record(
        close_time=np.array(closes, dtype=np.int64),
        p_up=np.array(p_up, dtype=np.float64),
        forecasters=forecasters,
        code=projection.version,
        weights={name: weight / len(closes) for name, weight in weights.items()},
        left_out=dict(left_out),
        doubtful=doubtful,
        without_champion=again.champion_spoke,
    )


def _doubtful(
    first: Event | None, revisions: Sequence[Event], again: EnsembleForecast | None, *, since: int, certain: int
) -> bool:
    """Say whether the log and what it leads to disagree about a bar."""
    if again is None:
        # Older code may have said what this one does not; this one's own word has to come again.
        return any(since < event.seq <= certain for event in revisions)
    if first is not None and first.seq > since:
        return not _agree(_word(first), again)
    return not any(_agree(_word(event), again) for event in revisions)


def _word(event: Event) -> EnsembleForecast:
    assert isinstance(event.payload, EnsembleForecast)
    return event.payload


def _agree(one: EnsembleForecast, other: EnsembleForecast) -> bool:
    """Compare what acts: another machine may differ in the last bits."""
    return close((one.p_up, one.score), (other.p_up, other.score))


def _progress(log: EventLog, projection: EnsembleProjection) -> Progress:
    read = log.progress(projection.name)
    if read is None:
        raise HubError("the ensemble has never read this log: let the hub read it (`kalibre hub up`), then judge")
    if read.version != projection.version:
        raise HubError(
            f"the ensemble read this log as version {read.version}, and with this code, these symbols and these "
            f"forecasters it is {projection.version}: let the hub read it anew (`kalibre hub up`), then judge"
        )
    if read.seq < read.rebuilt:
        raise HubError(
            f"the ensemble is at {read.seq:,} of the {read.rebuilt:,} events that it reads anew: wait for it "
            "(`kalibre hub status`), then judge"
        )
    return read


def _recorded(log: EventLog, key: str, *, upto: int) -> dict[int, list[Event]]:
    """Return what is recorded, by close; every revision of it."""
    found: dict[int, list[Event]] = {}
    for event in read_on(log, {EnsembleForecast.kind}, 0, upto):
        if event.key == key:
            found.setdefault(event.event_time, []).append(event)
    return found


class _Again(NamedTuple):
    """What a fresh ensemble says of a series when it reads the log."""

    said: dict[int, EnsembleForecast]
    without_champion: dict[int, EnsembleForecast]
    late: set[int]
    """Bars of which a forecaster spoke when they were old news: nobody could have acted on who waited for it."""
    champion_spoke: bool


def _read_again(
    log: EventLog, settings: Settings, key: str, forecasters: Sequence[str], *, upto: int, report: Report
) -> _Again:
    """Let two fresh ensembles read the log, one of which never hears the champion."""
    whole, others = ensemble_projection(settings), ensemble_projection(settings)
    feeders = (Feeder(whole, log), Feeder(others, log))
    found = _Again({}, {}, set(), champion_spoke=False)
    kept = (found.said, found.without_champion)
    spoke = False
    for number, event in enumerate(read_on(log, whole.reads, 0, upto)):
        if number % _EVERY == 0:
            report("record", event.seq, upto)
        series, _, name = event.key.rpartition("|")
        if isinstance(event.payload, Forecast) and series == key and not event.revision:
            if event.payload.late and name in forecasters:
                found.late.add(event.event_time)
            spoke |= name == CHAMPION and event.payload.p_up is not None
        for feeder, says, heard in zip(feeders, kept, (event, _muted(event, name)), strict=True):
            for emitted in feeder.feed(heard) if heard is not None else ():
                if emitted.key == f"{key}|{NAME}" and isinstance(emitted.payload, EnsembleForecast):
                    says[emitted.event_time] = emitted.payload
    report("record", upto, upto)
    return found._replace(champion_spoke=spoke)


def _muted(event: Event, name: str) -> Event | None:
    """Return an event as it would be if the ensemble were champion: the champion's forecasts abstain, none matures."""
    if name != CHAMPION:
        return event
    if isinstance(event.payload, Outcome):
        return None
    if not isinstance(event.payload, Forecast):
        return event
    silent = msgspec.structs.replace(event.payload, score=None, p_up=None, abstained="the ensemble is champion")
    return msgspec.structs.replace(event, payload=silent)
