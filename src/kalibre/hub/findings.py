"""What the doctor finds in the hub: workers that fell silent or failed, readers that lag or wait, deaf targets."""

from __future__ import annotations

from collections.abc import Iterator

from kalibre.core.clock import SystemClock, span_text
from kalibre.core.errors import KalibreError
from kalibre.core.events import Promotion, series_key
from kalibre.core.hub_events import WorkerState
from kalibre.core.settings import Settings
from kalibre.registry.doctor import Finding

_SILENT_S = 60.0
_LAG = 10_000
"""Positions that a reader may be behind while the hub runs: it may just be catching up."""


def hub_findings(settings: Settings) -> list[Finding]:
    """Look at the hub of this home; nothing where none ever ran. Changes nothing."""
    return [*_workers(settings), *_readers(settings), *_waits(settings), *_ensembles(settings), *_targets(settings)]


def _workers(settings: Settings) -> Iterator[Finding]:
    from kalibre.hub.roster import roster

    seen = roster(settings.home / "run")
    running = [one for one in seen if not one.stopped]
    for one in running:
        if one.age_s > _SILENT_S:
            yield Finding(
                f"worker {one.name}",
                "degraded",
                f"it last beat {span_text(one.age_s)} ago, as process {one.beat.pid}",
                f"kalibre hub restart {one.name}",
            )
    if running and all(one.age_s <= _SILENT_S for one in running):
        yield Finding("hub", "ok", f"{len(running)} workers beat: {', '.join(one.name for one in running)}")


def _readers(settings: Settings) -> Iterator[Finding]:
    from kalibre.hub.up import behind, readers
    from kalibre.log import open_log

    if not settings.log.url and not (settings.home / "log.sqlite").is_file():
        return
    try:
        with open_log(settings.log_url) as log:
            reading = {name: reads for name, reads in readers(settings).items() if log.progress(name) is not None}
            late = {name: lag for name, lag in behind(log, reading).items() if lag > _LAG}
            failed = {
                event.key: event.payload
                for event in (log.latest("worker", key=name) for name in _names(settings))
                if event is not None and isinstance(event.payload, WorkerState) and event.payload.state == "error"
            }
    except KalibreError:  # the doctor says elsewhere what is wrong with the log
        return
    for name, lag in late.items():
        yield Finding(name, "degraded", f"it is {lag:,} positions behind the log", "kalibre hub up")
    for name, state in failed.items():
        yield Finding(f"worker {name}", "degraded", f"it is in error: {state.reason}", f"kalibre hub restart {name}")


def _waits(settings: Settings) -> Iterator[Finding]:
    from kalibre.hub.waits import waits_of

    for one in waits_of(settings):
        yield Finding(f"{one.reader} of {one.series}", "degraded" if one.mend else "ok", one.text, one.mend)


def _ensembles(settings: Settings) -> Iterator[Finding]:
    """Say where an ensemble is champion that is made of others now than it was judged with."""
    from kalibre.hub.ensemble import forecasters_of
    from kalibre.log import open_log
    from kalibre.models.ensemble_version import is_ensemble, load_ensemble
    from kalibre.registry.promotion import other_forecasters

    if not settings.log.url and not (settings.home / "log.sqlite").is_file():
        return
    for symbol in settings.market.symbols:
        try:
            with open_log(settings.log_url) as log:
                event = log.latest("promotion", key=f"{series_key(symbol, settings.market.timeframe)}|champion")
            model = event.payload.model if event is not None and isinstance(event.payload, Promotion) else None
            if model is None or not is_ensemble(model):
                continue
            others = other_forecasters(load_ensemble(settings.models_dir, model), forecasters_of(settings))
        except KalibreError:  # the doctor says elsewhere what is wrong with the log or the version
            continue
        if others:
            mend = f"kalibre hub judge --symbol {symbol}, or set [hub] learners to those of then"
            yield Finding(f"ensemble {symbol}", "degraded", f"{model} cannot act. {others}", mend)


def _names(settings: Settings) -> tuple[str, ...]:
    from kalibre.hub.worker import SERVICES, groups

    return (*SERVICES, *groups(settings))


def _targets(settings: Settings) -> Iterator[Finding]:
    from kalibre.alerts.standing import standing

    if not settings.alerts.urls:
        return
    try:
        now = standing(settings, SystemClock().now_ms())
    except KalibreError as error:
        yield Finding("alerts", "degraded", str(error), "kalibre hub up")
        return
    for target in now.targets:
        if target.detail:
            yield Finding(f"alerts to {target.target}", "degraded", target.detail, "kalibre alerts test")
