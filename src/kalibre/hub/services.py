"""The workers that are no projections: ingest, server, jobs, and what leaves the house."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from kalibre.core.errors import HubError
from kalibre.core.settings import Settings, make_home
from kalibre.hub.worker_process import WorkerProcess
from kalibre.log.protocol import EventLog


def _open(settings: Settings) -> EventLog:
    from kalibre.log import open_log

    if not settings.log.url:
        make_home(settings.home)
    return open_log(settings.log_url)


def ingest(settings: Settings, process: WorkerProcess) -> None:
    """Bring the market into the log."""
    from kalibre.hub.feed import feed

    with _open(settings) as log:
        feed(log, settings, should_stop=process.should_stop, beat=process.beat, pause=process.wait)


def jobs(settings: Settings, process: WorkerProcess) -> None:
    """Do what is due: trainings, exports."""
    from kalibre.hub.jobs import work

    with _open(settings) as log:
        work(log, settings, process)


def outbox(settings: Settings, process: WorkerProcess) -> None:
    """Deliver alerts to people, and forecasts to other programs."""
    from kalibre.hub.outlets import deliver

    with _open(settings) as log:
        deliver(log, settings, process)


SERVICES: dict[str, Callable[[Settings, WorkerProcess], None]] = {"ingest": ingest, "jobs": jobs, "outbox": outbox}


_NICE = {"api": 0, "ingest": 12, "outbox": 12, "jobs": 19}
_LEARNING_NICE, _JUDGING_NICE = 19, 17


def niceness(name: str, settings: Settings) -> int:
    """Return how far a worker yields to others: learners to judges, all of them to whoever answers people.

    Raises
    ------
    HubError
        If there is no such worker.
    """
    if name in _NICE:
        return _NICE[name]
    from kalibre.hub.worker import JUDGED, members

    return _JUDGING_NICE if set(members(name, settings)) <= set(JUDGED) else _LEARNING_NICE


def run_worker(name: str, settings: Settings, process: WorkerProcess) -> None:
    """Run a worker of this name until told to stop: a service, a group of projections, or one projection.

    Raises
    ------
    HubError
        If there is no such worker.
    """
    if name in SERVICES:
        SERVICES[name](settings, process)
        return
    if name == "api":
        raise HubError("the server is started by `kalibre hub worker api` itself")
    from kalibre.hub.worker import members, run_projections

    run_projections(members(name, settings), settings, process)


def announce(address: str, login: str) -> None:
    """Tell the supervisor's terminal where the page is, as a line of JSON."""
    sys.stderr.write("kalibre-hub " + json.dumps({"address": address, "login": login}) + "\n")
    sys.stderr.flush()
